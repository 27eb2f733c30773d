"""Speech over an answer, from the sound to the verdict, with scripted engines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests.server.test_thinking import sound

from vivavoce.aio import link_pair
from vivavoce.ports import BackendError, Heard
from vivavoce.realtime import events as wire
from vivavoce.server.engine import Engines
from vivavoce.server.hub import Hub
from vivavoce.speech.pcm import from_pcm16, to_pcm16
from vivavoce.testing import ScriptedLanguageModel, ScriptedTextToSpeech, ScriptedVad

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Sequence

    from vivavoce.ports import Samples

pytestmark = pytest.mark.anyio

STORY = "Once upon a time there was a lighthouse. " * 50
QUESTION = 1.2
FRAME = 960
TOLD = (
    wire.OverlapStarted,
    wire.OverlapEnded,
    wire.SpeechStarted,
    wire.SpeechStopped,
)


class Reader:
    """Says what it is told to have understood of the first utterance, the second and so on, at each pause."""

    sample_rate = 16_000

    def __init__(self, *words: str | None) -> None:
        self._words = list(words)

    async def transcribe(self, audio: AsyncIterable[Samples], **_: Any) -> AsyncGenerator[Heard, None]:
        words = self._words.pop(0)
        async for chunk in audio:
            if not chunk.size and words is not None:
                yield Heard(words)
        yield Heard(words or "Deaf.", final=True)


class Doubter(Reader):
    """Tells how much it sounded like something else."""

    def __init__(self, alike: float | Exception | None, *words: str | None) -> None:
        super().__init__(*words)
        self.alike = alike
        self.compared: list[float] = []

    async def compare(self, sound: Samples, phrases: Sequence[str]) -> float:
        assert "Mm-hmm." in phrases
        self.compared.append(len(sound) / self.sample_rate)
        if isinstance(self.alike, Exception):
            raise self.alike
        if self.alike is None:
            await anyio.sleep_forever()
            raise AssertionError
        return self.alike


async def told(over: bytes, words: str | None, *, considerate: bool = True, reader: Reader | None = None) -> list[str]:
    """Return what a client is told after it has asked, and this has come over the answer."""
    reader = reader or Reader("Hello.", words)
    hub = Hub(Engines(ScriptedVad(), reader, ScriptedLanguageModel([STORY]), ScriptedTextToSpeech()))
    await hub.warm_up()
    ours, theirs = link_pair(10_000)  # type: ignore[var-annotated]
    detection = {"type": "server_vad", "silence_duration_ms": 400}
    session: dict[str, Any] = {"type": "realtime", "audio": {"input": {"turn_detection": detection}}}
    session["audio"]["input"]["transcription"] = {"model": "any"}
    if considerate:
        session["vivavoce"] = {"considerate": True}
    seen: list[Any] = []
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hub.open, theirs, "m")

            async def listen() -> None:
                while True:
                    seen.append(await ours.receive())

            async def say(audio: bytes) -> None:
                for start in range(0, len(audio), FRAME):
                    await ours.send(wire.InputAudioBufferAppend(audio=audio[start : start + FRAME]))
                    await anyio.sleep(0.001)

            tasks.start_soon(listen)
            await ours.send(wire.SessionUpdate(session=session))
            await say(sound(-0.5, QUESTION, -0.6))
            while not any(isinstance(event, wire.ResponseDone) for event in seen):  # noqa: ASYNC110 - a list
                await anyio.sleep(0.01)
            before = len(seen)
            await say(over)
            await anyio.sleep(0.05)
            tasks.cancel_scope.cancel()
    await ours.close()
    await theirs.close()
    return [type(event).__name__ for event in seen[before:] if isinstance(event, TOLD)]


def faintly(audio: bytes) -> bytes:
    return to_pcm16(from_pcm16(audio) * 0.12)


async def test_a_sign_of_a_listener_stops_nothing():
    assert await told(sound(-0.3, 0.4, -0.6), "Right.") == ["OverlapStarted", "OverlapEnded"]


async def test_a_noise_stops_nothing():
    assert await told(sound(-0.3, 0.9, -0.6), "") == ["OverlapStarted", "OverlapEnded"]


async def test_somebody_far_away_stops_nothing():
    assert await told(faintly(sound(-0.3, 1.5, -0.6)), "What about tomorrow?") == ["OverlapStarted", "OverlapEnded"]


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "Stop."), (0.4, "What?"), (1.5, "What about tomorrow?")])
async def test_words_for_us_end_the_answer(seconds, words):
    assert await told(sound(-0.3, seconds, -0.6), words) == [
        "OverlapStarted",
        "SpeechStarted",
        "SpeechStopped",
    ]


async def test_what_sounds_like_a_sign_stops_nothing_whatever_was_understood():
    doubter = Doubter(-1.0, "Hello.", "Mommy.")
    assert await told(sound(-0.3, 0.4, -0.6), "", reader=doubter) == ["OverlapStarted", "OverlapEnded"]
    assert doubter.compared == pytest.approx([0.3 + 0.4 + 0.1], abs=0.1)


@pytest.mark.parametrize("alike", [-20.0, None, BackendError("lost", "Lost."), RuntimeError("broken")])
async def test_what_sounds_like_none_or_cannot_be_compared_ends_the_answer(alike):
    doubter = Doubter(alike, "Hello.", "Mommy.")
    assert (await told(sound(-0.3, 0.4, -0.6), "", reader=doubter))[:2] == ["OverlapStarted", "SpeechStarted"]


@pytest.mark.parametrize("words", ["Stop.", "What?", "Right."])
async def test_plain_words_are_not_compared(words):
    doubter = Doubter(-1.0, "Hello.", words)
    await told(sound(-0.3, 0.4, -0.6), "", reader=doubter)
    assert not doubter.compared


async def test_a_sign_that_goes_on_ends_the_answer():
    seen = await told(sound(-0.3, 0.4, -0.2, 1.6, -0.6), "Right, right, right")
    assert seen[:3] == ["OverlapStarted", "OverlapEnded", "SpeechStarted"]


async def test_a_deaf_recogniser_leaves_speech_an_interruption():
    assert (await told(sound(-0.3, 1.5, -0.6), None))[:2] == ["OverlapStarted", "SpeechStarted"]
    assert (await told(sound(-0.3, 0.3, -0.6), None))[:2] == ["OverlapStarted", "SpeechStarted"]


async def test_without_the_option_any_speech_ends_the_answer():
    assert (await told(sound(-0.3, 0.4, -0.6), "Right.", considerate=False))[:1] == ["SpeechStarted"]
