"""A server with scripted engines, for the tests of the server."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio import create_task_group

from vivavoce import models, plugins
from vivavoce.server.app import serve
from vivavoce.server.engine import Engines
from vivavoce.testing import ScriptedLanguageModel, ScriptedSpeechToText, ScriptedTextToSpeech, ScriptedVad

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from typing import Any, TypeAlias

    from vivavoce.ports import Embedder, LanguageModel, Vad
    from vivavoce.server.hub import Hub

    Serving: TypeAlias = Callable[..., AbstractAsyncContextManager[str]]


@pytest.fixture
def engines() -> Callable[..., Engines]:
    def make(llm: LanguageModel | None = None, vad: Vad | None = None, stt_delay: float = 0.0) -> Engines:
        return Engines(
            vad=vad or ScriptedVad(),
            stt=ScriptedSpeechToText(["what time is it"], delay=stt_delay),
            llm=llm or ScriptedLanguageModel(["It is noon. Time to eat."]),
            tts=ScriptedTextToSpeech(),
        )

    return make


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    """The embedded model; a machine that has no weights and cannot get them skips the test."""
    made: Embedder = plugins.make("embed", "minilm")
    try:
        models.fetch(made.name)
    except models.ModelError as error:
        pytest.skip(str(error))
    return made


@pytest.fixture
def serving() -> Serving:
    """Return a context in which a hub is served at a free port, ready, with its URL."""

    @asynccontextmanager
    async def run(hub: Hub, **options: Any) -> AsyncIterator[str]:
        urls: list[str] = []
        ready = anyio.Event()

        def on_ready(url: str) -> None:
            urls.append(url)
            ready.set()

        async def body() -> None:
            await serve(hub, port=0, on_ready=on_ready, **options)

        async with create_task_group() as tasks:
            tasks.start_soon(body)
            with anyio.fail_after(10):
                await ready.wait()
            yield urls[0]
            tasks.cancel_scope.cancel()

    return run
