"""What a person does to an agent, against our own server with scripted engines."""

from __future__ import annotations

from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import numpy as np
import pytest
from tests.scenarios.people import Onlooker

from vivavoce import compose
from vivavoce.agent import services
from vivavoce.agent.agent import OUTBOX_FRAMES, Agent
from vivavoce.agent.mouth import REPLAY
from vivavoce.agent.tools import Toolbox
from vivavoce.config import Settings
from vivavoce.realtime import events as wire
from vivavoce.realtime.server import Ids
from vivavoce.server.engine import Engines
from vivavoce.server.hub import Hub
from vivavoce.testing import (
    ScriptedLanguageModel,
    ScriptedSpeechToText,
    ScriptedTextToSpeech,
    ScriptedVad,
    tone,
)

pytestmark = pytest.mark.anyio

RATE = 24_000


class Line:
    """A microphone that hears what it is told to."""

    sample_rate = RATE

    def __init__(self):
        self._told: deque[Any] = deque()

    def hear(self, samples):
        self._told.extend(samples[start : start + 480] for start in range(0, len(samples), 480))

    async def frames(self):
        while True:
            while self._told:
                yield self._told.popleft()
            await anyio.sleep(0.005)


class Slow:
    """A speaker whose listener hears what was played when the test says so."""

    sample_rate = RATE

    def __init__(self):
        self.played: list[tuple[str, int]] = []
        self.finished: list[str] = []
        self.pace_ms: float = float("inf")
        self._item = ""
        self._ms = 0.0

    async def play(self, item_id, samples):
        if item_id != self._item:
            self._item, self._ms = item_id, 0.0
        self._ms += len(samples) * 1000 / RATE
        self.played.append((item_id, len(samples)))
        await anyio.lowlevel.checkpoint()

    def hush(self):
        self.played.append(("hush", 0))

    def finish(self, item_id):
        self.finished.append(item_id)

    def heard(self):
        return (self._item, int(min(self._ms, self.pace_ms))) if self._item else None

    def idle(self):
        return self._ms <= self.pace_ms


@dataclass
class Scene:
    agent: Agent
    line: Line
    speaker: Slow
    view: Onlooker
    seen: list[Any]

    async def until(self, true):
        with anyio.fail_after(10):
            while not true():  # noqa: ASYNC110 - what is awaited has no bell
                await anyio.sleep(0.005)

    def sent(self, kind):
        return [each for each in self.seen if isinstance(each, kind)]

    def answers(self):
        return [show.text for show in self.view.said("assistant")]


@asynccontextmanager
async def scene(*answers, **agent):
    engines = Engines(
        ScriptedVad(),
        ScriptedSpeechToText(["What is it?"]),
        ScriptedLanguageModel(answers or ["A fish."]),
        ScriptedTextToSpeech(),
    )
    line, speaker, view = Line(), Slow(), Onlooker()
    seen: list[Any] = []
    settings = services.session_settings(Settings(), services.Service("", session={"vivavoce": {}}), [])
    hub = Hub(engines)
    await hub.warm_up()
    async with compose.in_process(hub) as link, anyio.create_task_group() as tasks:
        it = Agent(
            link,
            settings,
            mint=Ids("t"),
            view=view,
            tools=Toolbox(),
            microphone=line,
            speaker=speaker,
            watchers=[seen.append],
            **agent,
        )
        tasks.start_soon(it.run)
        here = Scene(it, line, speaker, view, seen)
        await here.until(lambda: it.quiet)
        yield here
        it.stop()


async def test_push_to_talk_hears_only_while_it_is_pressed_and_answers_then():
    async with scene("A fish.") as here:
        here.agent.push_to_talk = True
        await here.until(lambda: len(here.sent(wire.SessionUpdated)) == 2)
        assert here.sent(wire.SessionUpdated)[-1].session.audio.input.turn_detection is None
        here.line.hear(tone(440, 0.5, RATE))
        await anyio.sleep(0.05)
        assert not here.sent(wire.InputAudioBufferAppend)
        here.agent.press()
        here.line.hear(tone(440, 0.5, RATE))
        await here.until(lambda: len(here.sent(wire.InputAudioBufferAppend)) == 25)
        here.agent.release()
        here.agent.release()
        await here.until(lambda: here.answers() == ["A fish."] and here.agent.quiet)
        here.agent.push_to_talk = False
        await here.until(lambda: len(here.sent(wire.SessionUpdated)) == 3)
        detection = here.sent(wire.SessionUpdated)[-1].session.audio.input.turn_detection
        assert detection.silence_duration_ms == Settings().silence_ms


async def test_pressing_silences_the_answer():
    async with scene("One two three four five six.", "Well.") as here:
        here.speaker.pace_ms = 100
        here.agent.say("Count.")
        await here.until(lambda: here.agent._client.playing_item)
        here.agent.push_to_talk = True
        here.agent.press()
        assert ("hush", 0) in here.speaker.played
        await here.until(lambda: here.sent(wire.ConversationItemTruncated))
        assert [one.audio_end_ms for one in here.sent(wire.ConversationItemTruncated)] == [100]


async def test_muted_the_server_hears_nothing():
    async with scene() as here:
        here.agent.muted = True
        here.line.hear(np.zeros(4800, np.float32))
        await anyio.sleep(0.05)
        here.agent.muted = False
        here.line.hear(np.zeros(480, np.float32))
        await here.until(lambda: here.sent(wire.InputAudioBufferAppend))
        assert len(here.sent(wire.InputAudioBufferAppend)) == 1


async def test_a_turn_that_goes_on_when_the_microphone_is_muted_is_ended_and_answered():
    async with scene("A fish.") as here:
        here.line.hear(tone(440, 0.5, RATE))
        await here.until(lambda: here.agent._client.state == "hearing you")
        await here.until(lambda: len(here.sent(wire.InputAudioBufferAppend)) == 25)
        here.agent.muted = True
        here.line.hear(tone(440, 1.0, RATE))
        await here.until(lambda: here.answers() == ["A fish."])
        loud = [each for each in here.sent(wire.InputAudioBufferAppend) if any(each.audio)]
        assert len(loud) == 25


async def test_a_turn_that_goes_on_when_push_to_talk_begins_is_forgotten():
    async with scene("A fish.") as here:
        here.line.hear(tone(440, 0.5, RATE))
        await here.until(lambda: here.agent._client.state == "hearing you")
        here.agent.push_to_talk = True
        await here.until(lambda: here.agent.quiet)
        here.agent.say("What is it?")
        await here.until(lambda: here.answers() == ["A fish."])


async def test_sound_is_dropped_where_the_network_stalls_and_nothing_else():
    async with scene("A fish.") as here:
        news = [wire.ConversationItemDelete(item_id=str(number)) for number in range(OUTBOX_FRAMES)]
        for event in news:
            here.agent._post(event)
        sound = wire.InputAudioBufferAppend(audio=bytes(960))
        here.agent._post(sound)
        here.agent._post(sound)
        assert [*here.agent._outbox][: len(news)] == news
        here.agent._outbox.clear()


async def test_what_utf_8_cannot_carry_does_not_end_the_talk():
    async with scene("A fish.") as here:
        here.agent.say("What is \udce4?")
        await here.until(lambda: here.answers() == ["A fish."])
        assert wire.encode(here.sent(wire.ConversationItemCreate)[0])


async def test_the_last_answer_is_repeated_in_full():
    async with scene("A fish.") as here:
        assert not here.agent.replay()
        here.agent.say("What is it?")
        await here.until(lambda: here.answers() and here.agent.quiet)
        said = sum(length for item, length in here.speaker.played if item != "hush")
        assert here.agent.replay()
        await here.until(lambda: any(item == REPLAY for item, _ in here.speaker.played))
        assert sum(length for item, length in here.speaker.played if item == REPLAY) == said
        assert here.agent.quiet
        assert not here.sent(wire.ConversationItemTruncate)


async def test_who_speaks_over_the_repetition_silences_it():
    async with scene("A fish.") as here:
        here.agent.say("What is it?")
        await here.until(lambda: here.answers() and here.agent.quiet)
        here.speaker.pace_ms = 10
        here.agent.replay()
        await here.until(lambda: any(item == REPLAY for item, _ in here.speaker.played))
        here.line.hear(tone(440, 0.4, RATE))
        await here.until(lambda: here.speaker.played[-1] == ("hush", 0))
        assert not here.sent(wire.ConversationItemTruncate)


async def test_the_speaker_waits_for_no_more_sound_when_the_link_has_gone():
    async with scene("A fish.") as here:
        here.agent.say("What is it?")
        await here.until(lambda: here.answers() and here.agent.quiet)
        finished = len(here.speaker.finished)
        here.agent._lose()
        await here.until(lambda: len(here.speaker.finished) > finished)


async def test_voices_are_learnt_and_changed():
    async with scene() as here:
        assert list(here.agent.voices) == list(ScriptedTextToSpeech().voices)
        here.agent.change_voice(here.agent.voices[-1])
        await here.until(lambda: len(here.sent(wire.SessionUpdated)) == 2)
        assert (
            here.sent(wire.SessionUpdated)[-1].session.audio.output.voice == here.agent.voice == here.agent.voices[-1]
        )
