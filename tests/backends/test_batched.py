from __future__ import annotations

from contextlib import aclosing

import anyio
import numpy as np
import pytest
from trio.testing import MockClock

from vivavoce.backends.batched import in_batches
from vivavoce.ports import Heard

pytestmark = pytest.mark.anyio

RATE = 100
PAUSE = np.zeros(0, np.float32)


@pytest.fixture
def anyio_backend():
    return "trio", {"clock": MockClock(autojump_threshold=0)}


def chunk(seconds: float, level: float = 1.0):
    return np.full(round(seconds * RATE), level, np.float32)


class Recogniser:
    """Hears how long a sound is, in as many seconds as it is told."""

    def __init__(self, cost: float = 0.0) -> None:
        self.cost = cost
        self.heard: list[float] = []
        self.running = 0

    async def __call__(self, sound) -> str:
        self.running += 1
        assert self.running == 1
        await anyio.sleep(self.cost)
        self.running -= 1
        self.heard.append(len(sound) / RATE)
        return f"{len(sound) / RATE:g}"


async def stored(*chunks):
    for piece in chunks:
        yield piece


async def live(*chunks):
    """The chunks at the pace at which they are spoken."""
    for piece in chunks:
        await anyio.sleep(len(piece) / RATE)
        yield piece


async def collect(audio, decode, **options):
    async with aclosing(audio):
        return [heard async for heard in in_batches(audio, decode, sample_rate=RATE, **options)]


async def test_without_pauses_there_is_one_decoding_at_the_end():
    decode = Recogniser()
    assert await collect(live(*[chunk(0.1)] * 50), decode) == [Heard("5", final=True)]


@pytest.mark.parametrize("chunks", [[], [PAUSE], [PAUSE, PAUSE]])
async def test_no_sound_is_no_text_and_no_work(chunks):
    decode = Recogniser()
    assert (await collect(stored(*chunks), decode))[-1] == Heard("", final=True)
    assert decode.heard == []


async def test_what_was_heard_at_a_pause_is_final_if_the_stream_ends_there():
    decode = Recogniser()
    assert await collect(stored(chunk(2), PAUSE), decode) == [Heard("2"), Heard("2", final=True)]
    assert decode.heard == [2]


async def test_after_a_pause_the_speaker_may_go_on():
    decode = Recogniser()
    heard = await collect(stored(chunk(2), PAUSE, chunk(1), PAUSE, PAUSE), decode)
    assert heard == [Heard("2"), Heard("3"), Heard("3"), Heard("3", final=True)]
    assert decode.heard == [2, 3]


async def test_partials_come_about_once_a_second_and_grow():
    heard = await collect(live(*[chunk(0.1)] * 45), Recogniser(cost=0.05), partials=1.0)
    lengths = [float(one.text) for one in heard]
    assert lengths == sorted(lengths)
    assert len(heard) == 5
    assert [one.final for one in heard] == [False] * 4 + [True]


async def test_a_slow_machine_makes_fewer_partials_and_the_end_waits_for_one_at_most():
    decode = Recogniser(cost=2.0)
    send, receive = anyio.create_memory_object_stream[object](1000)

    async def speak():
        async for piece in live(*[chunk(0.1)] * 50):
            await send.send(piece)
        await send.aclose()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(speak)
        heard = await collect(receive, decode, partials=1.0)
        ended = anyio.current_time()
    assert heard[-1] == Heard("5", final=True)
    assert len(heard) == 2
    assert ended < 5 + 2 * decode.cost + 1


async def test_sound_that_is_there_at_once_is_decoded_once():
    decode = Recogniser(cost=1.0)
    await collect(stored(*[chunk(0.1)] * 100), decode, partials=1.0)
    assert decode.heard == [10]


async def test_long_sound_is_cut_where_it_is_quiet_and_each_part_settles_once():
    decode = Recogniser()
    loud, quiet = chunk(7), chunk(0.5, 0.001)
    heard = await collect(stored(loud, quiet, loud, quiet, loud, PAUSE), decode, window=10)
    assert sum(decode.heard) == 22
    assert [round(length, 1) for length in decode.heard[:2]] == [7.1, 7.5]
    assert heard[-1].text == " ".join(f"{length:g}" for length in decode.heard)


async def test_settled_parts_are_not_decoded_again():
    decode = Recogniser()
    await collect(stored(chunk(12), PAUSE, chunk(1), PAUSE), decode, window=10)
    settled, tail, longer = decode.heard
    assert settled + tail == 12
    assert longer == tail + 1


async def test_the_generator_can_be_closed_while_it_decodes():
    decode = Recogniser(cost=100)
    with anyio.move_on_after(1) as scope:
        await collect(stored(chunk(1), PAUSE), decode)
    assert scope.cancelled_caught
    assert decode.heard == []
