"""A server in a process of its own, for the tests of signals: prints its URL when it is ready."""

from __future__ import annotations

import sys

import anyio

from vivavoce.server.app import serve
from vivavoce.server.engine import Engines
from vivavoce.server.hub import Hub
from vivavoce.testing import ScriptedLanguageModel, ScriptedSpeechToText, ScriptedTextToSpeech, ScriptedVad


async def main(delay: float) -> None:
    hub = Hub(
        Engines(
            vad=ScriptedVad(),
            stt=ScriptedSpeechToText(["what time is it"]),
            llm=ScriptedLanguageModel(["It is noon, and time to eat."], delay=delay),
            tts=ScriptedTextToSpeech(),
        )
    )
    await serve(hub, port=0, on_ready=lambda url: print(url, flush=True))  # noqa: T201


anyio.run(main, float(sys.argv[1]))
