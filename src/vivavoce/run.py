"""What `talk` and `serve` do, from settings to the end of the conversation."""

from __future__ import annotations

import gc
import os
import secrets
import sys
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from vivavoce import compose, config
from vivavoce.agent import services
from vivavoce.agent.agent import Agent
from vivavoce.agent.hands import Manner
from vivavoce.agent.phrases import phrases
from vivavoce.agent.tools import Toolbox, load_tools
from vivavoce.config import ConfigError
from vivavoce.errors import VivavoceError
from vivavoce.realtime.server import Ids

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from vivavoce.agent.hotplug import Devices
    from vivavoce.agent.lasting import ClientLink, Opening
    from vivavoce.agent.services import Service
    from vivavoce.agent.view import View
    from vivavoce.config import Settings
    from vivavoce.ports import Microphone, Speaker, Tool
    from vivavoce.realtime.client import Input, Output

SETTLE_S = 0.7
"""Time in which Yandex adds to a transcript that it has called complete, seconds."""
ANSWER_FILE = "vivavoce-answer.wav"
LOOP = {"use_uvloop": find_spec("uvloop") is not None}
"""Options of `anyio.run` for a server: the fast event loop where the platform has it."""
LEAD_S = 20.0
"""How far ahead of real time `serve` sends speech, seconds."""


@dataclass(frozen=True)
class TalkOptions:
    """How one talk is held, beyond the settings."""

    text: bool = False
    """Type and read instead of speaking and listening."""
    input_file: str | None = None
    """Speak this recording instead of the microphone."""
    output_file: str | None = None
    """Write what a listener would hear to this WAV file instead of the speaker."""
    fast: bool = False
    """With a recording: as fast as it can, not in real time."""
    tools: tuple[str | Tool | Callable[..., Any], ...] = ()
    """What the model may call besides the weather; "module:function" or tools."""
    print_json: bool = False
    """One JSON object a line."""


@dataclass(frozen=True)
class Sound:
    """Where sound comes from and goes to, and what to call it."""

    microphone: Microphone | None
    speaker: Speaker | None
    microphone_name: str = ""
    speaker_name: str = ""
    in_step: bool = False
    """Whether only sound takes time."""
    devices: Devices | None = None
    """Who tells what becomes of the devices, where they are real ones."""


async def talk(settings: Settings, options: TalkOptions) -> None:
    """Hold a conversation until it ends or the caller cancels.

    Raises:
        VivavoceError: it cannot be held; the message names the remedy.
    """
    service = services.find(settings)
    options = _without_devices(settings, options)
    _check_files(options)
    async with AsyncExitStack() as stack:
        tools = await stack.enter_async_context(open_tools(settings, service, options.tools))
        sound = await stack.enter_async_context(open_sound(settings, options, service))
        opening = await stack.enter_async_context(compose.open_service(settings, service, waiting))
        with waiting("Connecting"):
            link = await stack.enter_async_context(opening())
        await converse(settings, options, service, tools, sound, link, opening)


@asynccontextmanager
async def open_tools(
    settings: Settings, service: Service, wanted: Sequence[str | Tool | Callable[..., Any]] = ()
) -> AsyncIterator[Toolbox]:
    """Put together what the model may call: what the program brings, what is built in, and the servers of tools.

    Raises:
        VivavoceError: a tool cannot be had; the message names the remedy.
    """
    from vivavoce.agent import mcp_servers

    tools = toolbox(settings, service, wanted)
    async with mcp_servers.open_sources(config.mcp_servers(settings)) as sources:
        for source in sources:
            if not source.listed_tools:
                _tell(f"No tools of {source.name}: {source.failure}.")
        for tool in mcp_servers.tools_of(sources, (definition.name for definition in tools.definitions())):
            tools.add(tool)
        yield tools


def toolbox(settings: Settings, service: Service, wanted: Sequence[str | Tool | Callable[..., Any]] = ()) -> Toolbox:
    """Return the tools that a program brings, and the built-in ones that neither it nor the service has.

    Raises:
        VivavoceError: a tool cannot be had; the message names the remedy.
    """
    from vivavoce.agent.toolbox import built_in
    from vivavoce.search import web

    tools = Toolbox()
    for each in wanted:
        for tool in load_tools(each) if isinstance(each, str) else [each]:
            tools.add(tool)
    theirs = {*service.hosted, *(tool["name"] for tool in service.session.get("tools", ()))}
    if settings.files and not Path(settings.files).expanduser().is_dir():
        raise ConfigError(f"There is no folder {settings.files}: check what files or --files says.")
    for tool in built_in(files=settings.files, web=web.chosen(settings)):
        if tool.name not in tools and tool.name not in theirs:
            tools.add(tool)
    return tools


def manner_of(settings: Settings) -> Manner:
    """Return how to behave around calls; Yandex cannot speak out of turn, and tells what it hears piece by piece."""
    pieces = settings.service == "yandex"
    return Manner(
        words=phrases(settings.language),
        fillers=settings.filler_s > 0 and not pieces,
        filler_after_s=settings.filler_s,
        settle_s=SETTLE_S if pieces else 0.0,
    )


def _check_files(options: TalkOptions) -> None:
    if options.input_file and options.output_file:
        given, wanted = Path(options.input_file).resolve(), Path(options.output_file).resolve()
        if given == wanted:
            raise ConfigError(f"{options.output_file} is the recording itself; choose another file for the answers.")


def _without_devices(settings: Settings, options: TalkOptions) -> TalkOptions:
    """Without a sound card, unless a device is named, answer the bundled question from file to file, and say so."""
    if options.text or options.input_file or settings.input_device or settings.output_device:
        return options
    from vivavoce.agent.devices import has_devices

    if has_devices():
        return options
    output = options.output_file or ANSWER_FILE
    _tell(
        "There is no sound card on this machine, so the bundled spoken question is answered from file to file:\n"
        f"  the answer goes to {output}\n"
        "To go on: `vivavoce talk --text` to type; `vivavoce talk --input FILE --output FILE.wav` for a recording;\n"
        "`vivavoce serve` to talk from another machine; `vivavoce doctor` to see what is missing.\n"
    )
    question = str(resources.files("vivavoce") / "assets" / "question.flac")
    return replace(options, input_file=question, output_file=output, fast=True)


@asynccontextmanager
async def open_sound(settings: Settings, options: TalkOptions, service: Service) -> AsyncIterator[Sound]:
    """Open files or devices, as the options say.

    Raises:
        DeviceError: one of them cannot be opened.
    """
    from vivavoce.agent.echo import EchoFreeMicrophone
    from vivavoce.agent.files import AudioClock, WavMicrophone, WavSpeaker
    from vivavoce.agent.hotplug import Devices

    in_rate, out_rate = services.IN_RATE, service.out_rate
    clock = AudioClock(realtime=not (options.fast and options.input_file))
    devices = Devices()
    async with AsyncExitStack() as stack:
        microphone: Any = None
        speaker: Any = None
        if options.input_file:
            microphone = WavMicrophone(options.input_file, clock=clock, sample_rate=in_rate)
            await stack.enter_async_context(microphone)
        elif not options.text:
            microphone = devices.microphone(settings.input_device, sample_rate=in_rate)
        if options.output_file:
            speaker = WavSpeaker(options.output_file, clock=clock, sample_rate=out_rate)
            await stack.enter_async_context(speaker)
        elif not options.text and not options.input_file:
            speaker = devices.speaker(settings.output_device, sample_rate=out_rate)
            if settings.aec:
                microphone = EchoFreeMicrophone(microphone, speaker, noise=0)
        await stack.enter_async_context(devices.opened())
        names = [str(getattr(device, "name", "")) for device in (microphone, speaker)]
        yield Sound(
            microphone,
            speaker,
            Path(options.input_file).name if options.input_file else names[0],
            Path(options.output_file).name if options.output_file else names[1],
            in_step=not clock.realtime,
            devices=devices,
        )


async def converse(
    settings: Settings,
    options: TalkOptions,
    service: Service,
    tools: Toolbox,
    sound: Sound,
    link: ClientLink,
    reopen: Opening,
) -> None:
    """Hold the conversation over a link that is open, and over others when it has gone."""
    from vivavoce.agent.console import console_for
    from vivavoce.agent.steering import attend

    with console_for(
        _naming(sound.microphone, sound.microphone_name),
        _naming(sound.speaker, sound.speaker_name),
        title=_title(settings),
        recording=settings.record is not None,
        print_json=options.print_json,
        text=options.text,
    ) as console:
        with assemble(console, settings, options, service, tools, sound, link, reopen=reopen) as agent:
            await attend(agent, console)


@contextmanager
def assemble(
    view: View,
    settings: Settings,
    options: TalkOptions,
    service: Service,
    tools: Toolbox,
    sound: Sound,
    link: ClientLink,
    *,
    reopen: Opening | None = None,
    watchers: Sequence[Callable[[Input | Output], None]] = (),
) -> Iterator[Agent]:
    """Put an agent together under a view, recorded if the settings ask for it.

    Raises:
        RecordError: the recording cannot begin.
    """
    from vivavoce.agent.echo import SelfHearing

    if sound.devices is not None:
        sound.devices.note = view.note
    opening = greeting(settings, options)
    definitions = [msgspec.to_builtins(definition) for definition in tools.definitions()]
    session = services.session_settings(settings, service, definitions, spoken=sound.speaker is not None)
    with record(settings, service, sound, view, session=session, greeting=opening) as recording:
        yield Agent(
            link,
            session,
            mint=Ids(secrets.token_hex(4)),
            view=view,
            tools=tools,
            microphone=sound.microphone,
            speaker=sound.speaker,
            greeting=opening,
            in_step=sound.in_step,
            voices=service.voices,
            manner=manner_of(settings),
            watchers=[*watchers, *recording, SelfHearing(view.note)],
            reopen=reopen,
        )


@contextmanager
def record(
    settings: Settings, service: Service, sound: Sound, view: View, **about: Any
) -> Iterator[Sequence[Callable[[Input | Output], None]]]:
    """Record the conversation if the settings ask for it: yield who must watch the session.

    Raises:
        RecordError: the recording cannot begin.
    """
    if settings.record is None:
        yield ()
        return
    from vivavoce.agent.masking import Mask
    from vivavoce.agent.recorder import Recorder
    from vivavoce.realtime.client import Warn

    keys = [value.split()[-1] for value in service.headers.values() if value.strip()]
    recorder = Recorder(
        Path(settings.record).expanduser(),
        {"settings": msgspec.to_builtins(settings), **about},
        microphone=sound.microphone,
        speaker=sound.speaker,
        mask=Mask.of_environment(os.environ, keys),
        complain=lambda trouble: view.warn(Warn("recording_stopped", trouble)),
        in_step=sound.in_step,
    )
    with recorder:
        yield (recorder.watch,)


def _naming(device: Microphone | Speaker | None, name: str) -> Callable[[], str]:
    """Return what tells how a device is called now: another may have taken its place."""
    return lambda: str(getattr(device, "name", "")) or name


def _title(settings: Settings) -> str:
    """Return whom the person talks to: the service or its address, and its model."""
    embedded = settings.service == "local" and settings.url is None
    model = (settings.llm_model or settings.llm) if embedded else settings.model
    return ", ".join(filter(None, (urlsplit(settings.url or "").hostname or settings.service, model)))


def greeting(settings: Settings, options: TalkOptions) -> str | None:
    """Return how a conversation at the devices is opened; a recording or a typist begins by itself."""
    if options.text or options.input_file or not settings.greeting:
        return None
    return f"{settings.instructions}\n{settings.greeting}"


async def serve(settings: Settings, *, allow_remote: bool = False) -> None:
    """Offer the server to others until a signal ends it.

    Raises:
        VivavoceError: it cannot listen, or a model cannot be had.
    """
    from vivavoce.server.app import serve as listen
    from vivavoce.server.auth import Access, load_keys

    access = Access(load_keys(_path(settings.api_keys_file), os.environ), origins=settings.allowed_origins)
    async with compose.open_library_if_any(settings) as library:
        searchable = None if isinstance(library, VivavoceError) else library
        if searchable is None:
            _tell(f"Without files and vector stores: {library}")
        async with compose.open_hub(settings, lead_s=LEAD_S, library=searchable) as hub:
            await listen(
                hub,
                host=settings.host,
                port=settings.port,
                certfile=_path(settings.certfile),
                keyfile=_path(settings.keyfile),
                allow_remote=allow_remote,
                access=access,
                library=library,
                max_upload=settings.max_upload_mb * 2**20,
                ice_addresses=settings.ice_addresses,
                on_listening=lambda url: _tell(f"{url} is open; loading the models …"),
                on_ready=_ready,
            )


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show what is waited for, on a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(f"{what} …"):
        yield


def _ready(url: str) -> None:
    gc.collect()
    gc.freeze()  # what start-up made stays: collections that walk it would only make answers late
    where = urlsplit(url)
    page = f"{where.scheme.replace('ws', 'http')}://{where.netloc}/"
    _tell(f"Ready: {url} (Ctrl+C ends)\nTalk and look on in a browser: {page}")


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - what whoever started the server waits for


def _path(name: str | None) -> Path | None:
    return None if name is None else Path(name)
