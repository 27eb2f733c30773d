"""A server whose engines are scripted, for the clients that others have written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pytest
from tests.server.conftest import embedder, serving  # noqa: F401 - fixtures

from vivavoce.ports import Call
from vivavoce.server.engine import Engines
from vivavoce.server.hub import Hub
from vivavoce.speech.pcm import to_pcm16
from vivavoce.testing import ScriptedLanguageModel, ScriptedSpeechToText, ScriptedTextToSpeech, ScriptedVad, tone

if TYPE_CHECKING:
    from vivavoce.realtime.conversation import Prompt
    from vivavoce.testing import Reply

TIME: Final = "It is noon. Time to eat."
STORY: Final = " ".join(["Once upon a time there was a very long story."] * 100)
HEARD: Final = "What time is it?"


@pytest.fixture
def hub() -> Hub:
    """Return a hub that knows the time, the weather through a tool, and a story of some 20 seconds."""
    return Hub(
        Engines(
            vad=ScriptedVad(),
            stt=ScriptedSpeechToText([HEARD]),
            llm=ScriptedLanguageModel(_reply, delay=0.02),
            tts=ScriptedTextToSpeech(),
        )
    )


@pytest.fixture
def speech() -> list[bytes]:
    """Return an utterance and the silence after it: PCM of 24 kHz, in frames of 20 ms."""
    sound = np.concatenate([np.zeros(4_800, np.float32), tone(220, 0.8, 24_000), np.zeros(24_000, np.float32)])
    pcm = to_pcm16(sound)
    return [pcm[start : start + 960] for start in range(0, len(pcm), 960)]


def _reply(prompt: Prompt) -> Reply:
    last = prompt.messages[-1]
    if last.role == "tool":
        return f"Outside it is {last.text}."
    if "weather" in last.text:
        (name,) = (tool.name for tool in prompt.tools if tool.name.endswith("weather"))
        return [Call(name, '{"city": "Oslo"}')]
    return STORY if "story" in last.text else TIME
