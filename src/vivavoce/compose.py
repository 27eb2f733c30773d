"""Puts the parts together: engines from settings, a server in this process, an agent with its devices."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeAlias

from anyio import to_thread

from vivavoce import models, plugins
from vivavoce.aio import beside, link_pair
from vivavoce.errors import VivavoceError
from vivavoce.plugins import PluginError
from vivavoce.ports import Closing, Weighted
from vivavoce.realtime.hosted import FILES, WEB
from vivavoce.realtime.values import Audio, AudioInput, AudioOutput, ServerVad, Session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from contextlib import AbstractContextManager

    from vivavoce.agent.lasting import ClientLink, Opening
    from vivavoce.agent.services import Service
    from vivavoce.config import Settings
    from vivavoce.plugins import Kind
    from vivavoce.ports import Link, Search
    from vivavoce.realtime.events import AnyClientEvent, AnyServerEvent
    from vivavoce.search.library import Library
    from vivavoce.search.shapes import Store
    from vivavoce.server.engine import Engines
    from vivavoce.server.hub import Hub

    ServerLink: TypeAlias = Link[AnyClientEvent, AnyServerEvent]

SEARCH = ("lxml", "onnxruntime", "pypdfium2", "tokenizers")
"""Packages without which nothing can be read, or embedded."""
PROFILES = {"quality": "qwen2.5-coder-1.5b", "fast": "qwen2.5-coder-0.5b"}


def build_engines(settings: Settings) -> Engines:
    """Return the engines that the settings name; nothing is loaded or fetched yet.

    Raises:
        PluginError: an engine is unknown or not installed.
    """
    from vivavoce.server.engine import Engines

    return Engines(
        vad=plugins.make("vad", settings.vad),
        eot=None if settings.eot == "none" else plugins.make("eot", settings.eot),
        stt=_make("stt", settings.stt, settings.stt_url, settings.stt_model),
        llm=_make("llm", settings.llm, settings.llm_url, settings.llm_model, PROFILES[settings.profile]),
        tts=_make("tts", settings.tts, settings.tts_url, settings.tts_model),
    )


def _make(kind: Kind, name: str, url: str | None, model: str | None, embedded_model: str | None = None) -> Any:
    """Return an engine; an address without a name means an OpenAI-compatible endpoint."""
    embedded = {"stt": "moonshine", "llm": "llama", "tts": "hibari"}[kind]
    if url is not None and name == embedded:
        name = "openai"
    model = model or (embedded_model if name == embedded else None)
    options = {"url": url, "model": model}
    return plugins.make(kind, name, **{option: value for option, value in options.items() if value is not None})


def weights_of(engines: Engines) -> list[str]:
    """List the models that the engines need from the store."""
    return [name for part in engines.parts() if isinstance(part, Weighted) for name in part.weights]


async def fetch_weights(names: Iterable[str]) -> None:
    """Fetch what is missing, with a progress bar.

    Raises:
        ModelError: no source has it; the message names the remedy.
    """
    missing = [name for name in names if models.path(name) is None]
    if not missing:
        return

    def pull() -> None:
        with models.console_progress() as progress:
            models.pull(missing, progress=progress)

    await to_thread.run_sync(pull, abandon_on_cancel=True)


@asynccontextmanager
async def open_library(settings: Settings, *, index: bool = True) -> AsyncIterator[Library]:
    """Open the person's indexed files, with the embedding model fetched.

    Args:
        settings: which folder, and which embedding model.
        index: whether this process indexes what is added.

    Raises:
        PluginError: the embedding model's engine is unknown or not installed.
        ModelError: the model cannot be had.
        LibraryError: the folder cannot be used.
    """
    from vivavoce.search import library

    embedder = plugins.make("embed", settings.embedder)
    await fetch_weights(embedder.weights if isinstance(embedder, Weighted) else ())
    async with library.open_library(settings.library, embedder=embedder, index=index) as opened:
        yield opened


@asynccontextmanager
async def open_library_if_any(settings: Settings) -> AsyncIterator[Library | VivavoceError]:
    """Open the person's indexed files, or tell why there are none: a server talks without them, too."""
    async with AsyncExitStack() as stack:
        try:
            if lacking := next((name for name in SEARCH if find_spec(name) is None), None):
                extra = 'pip install "vivavoce[search]"'
                raise PluginError(f"Files and vector stores need {lacking!r}, which is not installed: {extra}")
            opened: Library | VivavoceError = await stack.enter_async_context(open_library(settings))
        except VivavoceError as wrong:
            opened = wrong
        yield opened


@asynccontextmanager
async def open_hub(
    settings: Settings, *, engines: Engines | None = None, lead_s: float = float("inf"), library: Library | None = None
) -> AsyncIterator[Hub]:
    """Make the server's heart: engines with their models fetched, not yet warm.

    Args:
        settings: which engines, and what sessions begin with.
        engines: instead of those that the settings name.
        lead_s: how far ahead of real time speech may be sent, seconds.
        library: whose files sessions may search.

    Raises:
        PluginError: an engine is unknown or not installed.
        ModelError: a model cannot be had.
        ConfigError: what searches the web lacks its address or key.
    """
    from vivavoce.server.ahead import Budget
    from vivavoce.server.hub import Hub
    from vivavoce.server.limits import Limits
    from vivavoce.server.searching import Searching

    engines = engines or build_engines(settings)
    engines = replace(engines, llm=Searching(engines.llm, searches(settings, library)))
    await fetch_weights(weights_of(engines))
    async with AsyncExitStack() as stack:
        for engine in engines.parts():
            if isinstance(engine, Closing):
                stack.push_async_callback(engine.aclose)
        defaults = default_session(settings, engines)
        yield Hub(
            engines,
            defaults=defaults,
            max_sessions=settings.max_sessions,
            lifetime_s=settings.session_minutes * 60,
            lead_s=lead_s,
            budget=Budget() if settings.speculate else Budget(tries=0),
            limits=Limits(
                sessions_per_key=settings.max_sessions_per_key,
                sessions_per_address=settings.max_sessions_per_address,
                openings_per_s=settings.max_openings_per_s,
            ),
            models=(settings.stt_model or settings.stt, settings.tts_model or settings.tts),
        )


def searches(settings: Settings, library: Library | None) -> dict[str, Search]:
    """Return what sessions may search, by the name of its tool.

    Raises:
        ConfigError: what searches the web lacks its address or key.
    """
    from vivavoce.search import web
    from vivavoce.search.library import FileSearch

    found: dict[str, Search] = {} if library is None else {FILES: FileSearch(library)}
    if (engine := web.chosen(settings)) is not None:
        found[WEB] = engine
    return found


async def made_store(library: Library, name: str) -> Store:
    """Return the vector store of a name, which is made where there is none.

    Raises:
        LibraryError: it cannot be.
    """
    from vivavoce.search.shapes import LibraryError

    try:
        return await library.stores.named(name)
    except LibraryError as wrong:
        if wrong.code != "not_found":
            raise
        return await library.stores.create(name=name)


@asynccontextmanager
async def open_folder(settings: Settings) -> AsyncIterator[Library | None]:
    """Open the library where the agent may search it, with the folder that the settings name indexed.

    Raises:
        LibraryError: it cannot be.
    """
    from vivavoce.agent.services import folder_store
    from vivavoce.search.folders import keep

    if not settings.files and not settings.store:
        yield None
        return
    async with open_library(settings) as library:
        if settings.files:
            store = await made_store(library, folder_store(settings.files))
            await keep(library, store.id, [settings.files])
        yield library


def default_session(settings: Settings, engines: Engines) -> Session:
    """Return what a session of our server begins with."""
    voice = settings.voice or next(iter(engines.tts.voices), "default")
    detection = ServerVad(threshold=settings.threshold, silence_duration_ms=settings.silence_ms)
    return Session(
        model=settings.llm_model or settings.llm,
        instructions=settings.instructions,
        audio=Audio(input=AudioInput(turn_detection=detection), output=AudioOutput(voice=voice)),
    )


@asynccontextmanager
async def in_process(hub: Hub, model: str | None = None) -> AsyncIterator[ClientLink]:
    """Open a session of a hub in this process: event objects, no socket."""
    theirs: ServerLink
    ours: ClientLink
    theirs, ours = link_pair(1)
    async with beside(hub.open, theirs, model):
        yield ours


@asynccontextmanager
async def open_service(
    settings: Settings, service: Service, waiting: Callable[[str], AbstractContextManager[object]]
) -> AsyncIterator[Opening]:
    """Make ready what opens links to the service that the settings choose; the embedded one is warmed here.

    Args:
        settings: the person's.
        service: whom to reach.
        waiting: shows what is waited for, while it is.

    Raises:
        VivavoceError: it cannot be started.
    """
    if service.url:
        from vivavoce.agent.connection import connect

        yield lambda: connect(service.url, headers=service.headers, accent=service.accent(), key_name=service.key_name)
        return
    async with AsyncExitStack() as stack:
        with waiting("Reading the files"):
            library = await stack.enter_async_context(open_folder(settings))
        hub = await stack.enter_async_context(open_hub(settings, library=library))
        with waiting("Loading the models"):
            await hub.warm_up()
        yield lambda: in_process(hub, settings.model)
