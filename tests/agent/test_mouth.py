from __future__ import annotations

from contextlib import asynccontextmanager

import anyio
import numpy as np
import pytest

from vivavoce.agent.mouth import Mouth
from vivavoce.agent.pulled import PulledSpeaker
from vivavoce.agent.rates import ResampledSpeaker
from vivavoce.realtime.client import Play

pytestmark = pytest.mark.anyio

PIECE = bytes(960)


class Slow:
    sample_rate = 24_000

    def __init__(self):
        self.taken = []
        self.room = anyio.Event()

    async def play(self, item_id, samples):
        await self.room.wait()
        self.taken.append(item_id)

    def hush(self):
        self.taken.append("hush")

    def heard(self):
        return None

    def idle(self):
        return True


@asynccontextmanager
async def mouth_of(speaker):
    mouth = Mouth(speaker)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(mouth.run)
        await anyio.wait_all_tasks_blocked()
        yield mouth
        tasks.cancel_scope.cancel()
    mouth.close()


async def test_what_was_given_before_a_hush_is_not_played_after_it():
    speaker = Slow()
    speaker.room.set()
    async with mouth_of(speaker) as mouth:
        mouth.play(Play("a", PIECE))
        mouth.hush()
        mouth.play(Play("b", PIECE))
        await anyio.wait_all_tasks_blocked()
        assert speaker.taken == ["hush", "b"]
        assert mouth.idle


async def test_a_hush_ends_the_wait_for_a_full_speaker():
    speaker = Slow()
    async with mouth_of(speaker) as mouth:
        mouth.play(Play("a", PIECE))
        mouth.play(Play("a", PIECE))
        await anyio.wait_all_tasks_blocked()
        assert not mouth.idle
        mouth.hush()
        assert mouth.idle
        speaker.room.set()
        mouth.play(Play("b", PIECE))
        await anyio.wait_all_tasks_blocked()
        assert speaker.taken == ["hush", "b"]


async def test_the_last_answer_is_the_one_that_is_repeated():
    speaker = Slow()
    speaker.room.set()
    async with mouth_of(speaker) as mouth:
        assert not mouth.replay()
        mouth.play(Play("a", PIECE))
        mouth.play(Play("b", np.zeros(3, np.int16).tobytes()))
        assert mouth.replay()
        await anyio.wait_all_tasks_blocked()
        assert speaker.taken[-1] == "replay"


async def test_a_repetition_at_another_rate_is_played_to_its_end():
    device = PulledSpeaker(8_000)
    speaker = ResampledSpeaker(24_000, device)
    async with mouth_of(speaker) as mouth, anyio.create_task_group() as tasks:
        tasks.start_soon(speaker.run)
        mouth.play(Play("a", PIECE))
        mouth.finish("a")
        await anyio.wait_all_tasks_blocked()
        device.take(8_000)
        assert mouth.replay()
        await anyio.wait_all_tasks_blocked()
        device.take(8_000)
        mouth.heard(None)
        assert mouth.idle
        assert not mouth.replaying
        tasks.cancel_scope.cancel()
