"""When a turn is over, where more than silence counts."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from tests.server.test_thinking import sound

from vivavoce.aio import link_pair
from vivavoce.ports import BackendError
from vivavoce.realtime import events as wire
from vivavoce.server.engine import Engines
from vivavoce.server.hub import Hub
from vivavoce.testing import (
    ScriptedLanguageModel,
    ScriptedSpeechToText,
    ScriptedTextToSpeech,
    ScriptedVad,
)

pytestmark = pytest.mark.anyio

SEMANTIC = {"type": "semantic_vad", "eagerness": "high"}
SILENCE = {"type": "server_vad", "silence_duration_ms": 400}
FRAME_MS = 32


class Judge:
    sample_rate = 16_000

    def __init__(self, *opinions):
        self.opinions = list(opinions)
        self.heard: list[float] = []

    async def finished(self, sound):
        self.heard.append(len(sound) / self.sample_rate)
        opinion = self.opinions.pop(0) if len(self.opinions) > 1 else self.opinions[0]
        if isinstance(opinion, Exception):
            raise opinion
        if opinion is None:
            await anyio.sleep_forever()
        return opinion


async def ended(eot, audio, detection=SEMANTIC, words="Hello there.", vivavoce=None):
    """Return after how many milliseconds of sound each turn was over, a frame more or less."""
    engines = Engines(
        ScriptedVad(), ScriptedSpeechToText([words]), ScriptedLanguageModel(["Yes."]), ScriptedTextToSpeech(), eot
    )
    hub = Hub(engines)
    await hub.warm_up()
    ours, theirs = link_pair(10_000)  # type: ignore[var-annotated]
    session: dict[str, Any] = {"type": "realtime", "audio": {"input": {"turn_detection": detection}}}
    if vivavoce:
        session["vivavoce"] = vivavoce
    over = []
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hub.open, theirs, "m")
            await ours.send(wire.SessionUpdate(session=session))

            async def listen():
                while True:
                    event = await ours.receive()
                    if isinstance(event, wire.SpeechStopped):
                        over.append(event.audio_end_ms)

            tasks.start_soon(listen)
            for start in range(0, len(audio), 960):
                await ours.send(wire.InputAudioBufferAppend(audio=audio[start : start + 960]))
                await anyio.sleep(0.002)
            await anyio.sleep(0.05)
            tasks.cancel_scope.cancel()
    await ours.close()
    await theirs.close()
    return over


ONCE = sound(-0.5, 0.5, -2.0)
"""Speech ends at 1,000 ms."""


async def test_who_has_surely_finished_is_answered_sooner():
    (end,) = await ended(Judge(0.999), ONCE)
    assert end - 1000 <= 300 + 2 * FRAME_MS


async def test_who_has_not_is_waited_for_but_not_for_ever():
    (end,) = await ended(Judge(0.01), ONCE)
    assert abs(end - 1000 - 1200) <= 2 * FRAME_MS


async def test_a_pause_in_the_middle_does_not_cut_who_has_not_finished():
    judge = Judge(0.01, 0.999)
    (end,) = await ended(judge, sound(-0.5, 0.5, -0.8, 0.5, -2.0))
    assert end > 2300
    assert judge.heard == pytest.approx([0.6, 1.9], abs=0.15)


async def test_words_are_heard_too():
    (end,) = await ended(Judge(0.97), ONCE, words="I would like a table for")
    assert end - 1000 > 1000


@pytest.mark.parametrize("opinion", [None, BackendError("lost", "Lost."), RuntimeError("broken"), 7.0])
async def test_a_judge_that_fails_leaves_the_usual_silence(opinion):
    (end,) = await ended(Judge(opinion), ONCE)
    assert abs(end - 1000 - 400) <= 2 * FRAME_MS


async def test_without_a_judge_words_and_silence_decide():
    assert abs((await ended(None, ONCE))[0] - 1400) <= 2 * FRAME_MS
    assert (await ended(None, ONCE, words="I would like a table for"))[0] > 2000


async def test_plain_silence_is_exact_and_asks_nobody():
    judge = Judge(0.999)
    (end,) = await ended(judge, ONCE, SILENCE)
    assert abs(end - 1000 - 400) <= 2 * FRAME_MS
    assert not judge.heard


async def test_silence_adapts_where_it_is_asked_to():
    (soon,) = await ended(Judge(0.999), ONCE, SILENCE, vivavoce={"adaptive": True})
    (late,) = await ended(Judge(0.01), ONCE, SILENCE, vivavoce={"adaptive": True})
    assert soon - 1000 <= 200 + 3 * FRAME_MS
    assert abs(late - 1000 - 1200) <= 2 * FRAME_MS
