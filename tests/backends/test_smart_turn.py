from __future__ import annotations

import numpy as np
import pytest
from anyio import create_task_group

from vivavoce.backends.hibari import Hibari
from vivavoce.backends.smart_turn import SmartTurn
from vivavoce.speech.pcm import resample

pytestmark = [pytest.mark.anyio, pytest.mark.speech]


@pytest.fixture(scope="module")
def judge():
    return SmartTurn()


async def spoken(text):
    pieces = [samples async for samples in Hibari().speak(text)]
    return resample(np.concatenate(pieces), 24_000, 16_000)


async def test_a_whole_request_is_finished_and_a_broken_one_is_not(judge):
    whole = await spoken("Could you tell me what the weather is like in Paris today?")
    assert await judge.finished(whole) > 0.5
    assert await judge.finished(whole[: len(whole) // 2]) < 0.5


async def test_any_length_of_sound_is_judged(judge):
    for length in (0, 1, 160, 16_000, 400_000):
        assert 0.0 <= await judge.finished(np.zeros(length, np.float32)) <= 1.0


async def test_the_same_sound_is_judged_the_same_side_by_side(judge):
    sound, judged = await spoken("I think that we should"), []

    async def once():
        judged.append(await judge.finished(sound))

    async with create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(once)
    assert len(set(judged)) == 1
