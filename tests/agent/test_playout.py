"""The sound on its way out: nothing lost, nothing doubled, nothing clicks."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.agent.framing import Framer
from vivavoce.agent.playout import Playout, Run

RATE = 8_000
STEP = 2 * np.pi * 100 * 0.5 / RATE * 1.1
"""More than a tone of 100 Hz at half scale moves from one sample to the next."""
FADE_STEP = 0.5 * np.pi / 2 / 40 + STEP
"""Likewise while its gain goes from 0 to 1 over 40 samples."""


def tone(start: int, count: int) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * 100 * np.arange(start, start + count) / RATE)).astype(np.float32)


def take(playout: Playout, count: int) -> tuple[np.ndarray, list[Run]]:
    out = np.full(count, 9, np.float32)
    return out, playout.fill(out)


@given(st.lists(st.one_of(st.integers(1, 300), st.integers(-300, -1), st.just(0)), max_size=40))
def test_no_order_of_puts_takes_and_hushes_clicks_or_loses_a_sample(steps: list[int]) -> None:
    """A positive step puts that many samples, a negative one takes them, 0 hushes and starts another item."""
    playout, item, position, heard, outs = Playout(RATE), 0, 0, [], [np.zeros(1, np.float32)]
    for step in steps:
        if step > 0:
            playout.put(str(item), tone(position, step))
            position += step
        elif step < 0:
            out, runs = take(playout, -step)
            outs.append(out)
            heard += runs
        else:
            playout.hush()
            item, position = item + 1, 0
    outs.append(take(playout, playout.queued + 200)[0])
    sound = np.concatenate(outs)
    assert np.abs(np.diff(sound)).max() <= FADE_STEP
    assert sound[-1] == 0
    assert playout.queued == 0
    for before, after in pairwise(heard):
        if before.item_id == after.item_id:
            assert after.start == before.start + before.length


def test_a_piece_is_heard_as_it_is_between_the_fades() -> None:
    playout = Playout(RATE)
    playout.put("a", tone(0, 100))
    playout.put("a", tone(100, 100))
    out, runs = take(playout, 300)
    assert np.array_equal(out[40:200], tone(40, 160))
    assert not out[240:].any()
    assert runs == [Run(0, "a", 0, 100), Run(100, "a", 100, 100)]


def test_hush_ends_the_sound_within_five_milliseconds_and_keeps_what_comes_after() -> None:
    playout = Playout(RATE)
    playout.put("a", np.full(1000, 0.5, np.float32))
    take(playout, 100)
    playout.hush()
    playout.put("b", np.full(100, 0.25, np.float32))
    out, runs = take(playout, 200)
    assert runs == [Run(0, "a", 100, 40), Run(40, "b", 0, 100)]
    assert out[38] < 0.01
    assert out[79:140].tolist() == [0.25] * 61


def test_underruns_count_only_within_an_item() -> None:
    playout = Playout(RATE)
    playout.put("a", tone(0, 100))
    take(playout, 200)
    playout.put("b", tone(0, 100))
    assert playout.underruns == 0
    take(playout, 200)
    playout.put("b", tone(100, 100))
    assert playout.underruns == 1
    playout.put("b", tone(200, 100))
    assert playout.underruns == 1


@given(st.lists(st.integers(1, 999), min_size=1, max_size=20), st.sampled_from([8_000, 24_000, 44_100]))
def test_frames_are_whole_whatever_the_blocks(blocks: list[int], rate: int) -> None:
    framer = Framer(rate, 24_000)
    frames = [frame for count in blocks for frame in framer.feed(np.ones(count, np.float32))]
    frames += framer.feed(np.empty(0, np.float32), last=True)
    assert {len(frame) for frame in frames} == {480}
    assert len(frames) == -(-round(sum(blocks) * 24_000 / rate) // 480)
