"""The sound on its way out: nothing lost, nothing doubled, nothing clicks."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.agent.framing import Framer
from vivavoce.agent.playout import DELAY_S, DEPTH_S, FORGETTING, LIMIT_S, Playout, Run

RATE = 8_000
STEP = 2 * np.pi * 100 * 0.5 / RATE * 1.1
"""More than a tone of 100 Hz at half scale moves from one sample to the next."""
DEPTH, DELAY, LIMIT = (round(RATE * seconds) for seconds in (DEPTH_S, DELAY_S, LIMIT_S))
BLOCK = 80
"""What the device takes at once, 10 ms."""
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
    outs.append(take(playout, playout.queued + LIMIT + 200)[0])
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
    playout.finish("a")
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
    playout.finish("b")
    out, runs = take(playout, 200)
    assert runs == [Run(0, "a", 100, 40), Run(40, "b", 0, 100)]
    assert out[38] < 0.01
    assert out[79:140].tolist() == [0.25] * 61


def test_a_pause_keeps_the_place_without_a_click() -> None:
    playout = Playout(RATE)
    playout.put("a", tone(0, 1000))
    playout.finish("a")
    before, first = take(playout, 200)
    playout.pause()
    during, fading = take(playout, 400)
    assert fading == [Run(0, "a", 200, 40)]
    assert not during[40:].any()
    assert playout.queued == 760
    playout.resume()
    after, rest = take(playout, 900)
    assert rest == [Run(0, "a", 240, 760)]
    assert np.array_equal(after[40:760], tone(280, 720))
    sound = np.concatenate([before, during, after])
    assert np.abs(np.diff(sound)).max() <= FADE_STEP
    assert first == [Run(0, "a", 0, 200)]


def test_a_hush_ends_a_pause() -> None:
    playout = Playout(RATE)
    playout.put("a", tone(0, 1000))
    take(playout, 200)
    playout.pause()
    take(playout, 100)
    playout.hush()
    playout.put("b", tone(0, 500))
    playout.finish("b")
    _, runs = take(playout, 600)
    assert [run.item_id for run in runs] == ["b"]
    assert playout.queued == 0


@given(st.lists(st.sampled_from(["put", "take", "pause", "resume", "hush"]), max_size=60), st.integers(1, 99))
def test_no_order_of_pauses_clicks_or_loses_a_sample(steps: list[str], count: int) -> None:
    playout, item, position, heard, outs = Playout(RATE), 0, 0, [], [np.zeros(1, np.float32)]
    for step in steps:
        match step:
            case "put":
                playout.put(str(item), tone(position, 2 * count))
                position += 2 * count
            case "take":
                out, runs = take(playout, count)
                outs.append(out)
                heard += runs
            case "pause":
                playout.pause()
            case "resume":
                playout.resume()
            case _:
                playout.hush()
                item, position = item + 1, 0
    playout.resume()
    outs.append(take(playout, playout.queued + LIMIT + 200)[0])
    assert np.abs(np.diff(np.concatenate(outs))).max() <= FADE_STEP
    assert playout.queued == 0
    for before, after in pairwise(heard):
        assert before.item_id != after.item_id or after.start == before.start + before.length


def test_underruns_count_only_within_an_item() -> None:
    playout = Playout(RATE)
    playout.put("a", tone(0, DEPTH))
    take(playout, DEPTH + 100)
    playout.put("b", tone(0, DEPTH))
    assert playout.underruns == 0
    take(playout, DEPTH + 100)
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


# The prebuffer -------------------------------------------------------------------------------------------------------

Arrivals = list[tuple[int, int]]
"""When sound came, in milliseconds since the first, and how many milliseconds of it."""

LOCAL_SHORT: Arrivals = [(0, 100), (0, 100), *[(44, 100)] * 4, (44, 30)]
"""Recorded at our own server with its embedded models: "Yes ..." in one sentence, its beginning made ahead."""
LOCAL_LONG: Arrivals = [*[(0, 100)] * 6, *[(8, 100)] * 9, *[(16, 100)] * 13, *[(60, 100)] * 6, (61, 60)]
LOCAL_LONG += [*[(1023, 100)] * 12, *[(1027, 100)] * 14, (1069, 160)]
"""Likewise a story: its second sentence came a second after the first, of three and a half seconds."""
PACED: Arrivals = [(20 * number, 20) for number in range(100)]
"""A sender that keeps to real time, with no jitter at all."""
STALLED: Arrivals = [(20 * number + (150 if number >= 30 else 0), 20) for number in range(100)]
"""The same over a network that stalls once for 150 ms, and never catches up."""
BURSTY: Arrivals = [(20 * (number // 5 * 5), 20) for number in range(100)]
"""The same by way of something that passes it on every 100 ms."""
JITTERY: Arrivals = [(100 * number + (0, 15, 5, 30)[number % 4], 100) for number in range(20)]
"""The same in pieces of 100 ms over a network that delays some of them by up to 30 ms."""
STREAMS = {
    "short": LOCAL_SHORT,
    "long": LOCAL_LONG,
    "paced": PACED,
    "stalled": STALLED,
    "bursty": BURSTY,
    "jittery": JITTERY,
}


class Listener:
    """Takes sound in blocks, item after item, as it arrives."""

    def __init__(self) -> None:
        self.playout = Playout(RATE)
        self.items = 0
        self.sound = [np.zeros(1, np.float32)]

    def hear(self, arrivals: Arrivals, *, finish: bool = False) -> tuple[int, int]:
        """Return how often an item was interrupted by silence, and the latency before it, in milliseconds."""
        item, position, begun, now = str(self.items), 0, self.playout.underruns, 0
        self.items += 1
        runs: list[tuple[int, Run]] = []
        for moment, length in arrivals:
            while now < moment * RATE // 1000:
                now += self._block(now, runs)
            self.playout.put(item, tone(position, length * RATE // 1000))
            position += length * RATE // 1000
        if finish:
            self.playout.finish(item)
        while self.playout.queued:
            now += self._block(now, runs)
        self._block(now, runs)
        assert sum(run.length for _, run in runs) == position
        gaps = sum(at != before + run.length for (before, run), (at, _) in pairwise(runs))
        assert self.playout.underruns - begun == gaps
        return gaps, runs[0][0] * 1000 // RATE

    def _block(self, now: int, runs: list[tuple[int, Run]]) -> int:
        out, new = take(self.playout, BLOCK)
        self.sound.append(out)
        runs.extend((now + run.offset, run) for run in new)
        return BLOCK


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_was_seen_once_never_runs_dry_again(name: str) -> None:
    listener = Listener()
    listener.hear(STREAMS[name])
    heard = [listener.hear(STREAMS[name]) for _ in range(20)]
    assert sum(gaps for gaps, _ in heard) == 0
    assert max(latency for _, latency in heard) <= LIMIT_S * 1000
    assert np.abs(np.diff(np.concatenate(listener.sound))).max() <= FADE_STEP


def test_a_sender_that_is_faster_than_real_time_is_heard_at_once() -> None:
    listener = Listener()
    assert {listener.hear(stream) for stream in [LOCAL_SHORT, LOCAL_LONG] * 5} == {(0, 0)}


def test_a_steady_sender_costs_the_least_delay() -> None:
    listener = Listener()
    assert {listener.hear(PACED) for _ in range(5)} == {(0, 40)}
    assert listener.playout.held_back == DELAY


def test_a_stall_costs_one_underrun_and_is_forgotten_little_by_little() -> None:
    listener = Listener()
    assert listener.hear(STALLED)[0] == 1
    latencies = []
    for _ in range(40):
        gaps, latency = listener.hear(PACED)
        assert not gaps
        latencies.append(latency)
    assert 150 < latencies[0] <= LIMIT_S * 1000
    assert all(later <= earlier for earlier, later in pairwise(latencies))
    assert latencies[10] > 50, "not at once"
    assert latencies[-1] <= 50


def test_a_pause_longer_than_any_prebuffer_does_not_make_the_next_answer_late() -> None:
    listener = Listener()
    assert listener.hear([(0, 100), (1000, 100)]) == (1, 0)
    assert listener.hear([(0, 100)]) == (0, 0)


@pytest.mark.parametrize(("finish", "latency"), [(True, 0), (False, 40)])
def test_a_very_short_answer_is_not_held_back(finish: bool, latency: int) -> None:
    assert Listener().hear([(0, 15)], finish=finish) == (0, latency)


def test_what_was_held_back_is_dropped_by_a_hush() -> None:
    playout = Playout(RATE)
    playout.put("a", tone(0, 100))
    assert not take(playout, 50)[1]
    assert playout.waiting
    playout.hush()
    out, runs = take(playout, LIMIT)
    assert not runs
    assert not out.any()
    assert playout.queued == 0
    assert not playout.waiting


def least(arrivals: Arrivals) -> tuple[int, int]:
    """Return the delay, and the sound in hand, in samples, that an item needs: by trying every beginning."""
    times = [-(-(moment * RATE // 1000) // BLOCK) * BLOCK for moment, _ in arrivals]
    came = [0, *np.cumsum([length * RATE // 1000 for _, length in arrivals]).tolist()]
    delay = max(time - before for time, before in zip(times, came, strict=False))
    first = next(number for number, time in enumerate(times) if time >= delay)
    return delay, came[first] + 1 if first else 0


def forgotten(samples: int) -> int:
    """Return what is left at least of a prebuffer when the next item begins."""
    return samples - samples // FORGETTING


arrivals = st.lists(st.tuples(st.integers(0, 120), st.integers(5, 120)), min_size=1, max_size=25).map(
    lambda steps: [(sum(gap for gap, _ in steps[1 : at + 1]), length) for at, (_, length) in enumerate(steps)]
)


@given(st.lists(arrivals, min_size=1, max_size=6))
def test_no_item_runs_dry_whose_jitter_is_below_what_was_seen(items: list[Arrivals]) -> None:
    listener = Listener()
    seen = listener.playout.prebuffer
    for item in items:
        delay, depth = least(item)
        safe = delay <= forgotten(seen.delay) and depth <= forgotten(seen.depth)
        gaps, latency = listener.hear(item)
        assert not (safe and gaps)
        assert latency <= LIMIT_S * 1000
    assert np.abs(np.diff(np.concatenate(listener.sound))).max() <= FADE_STEP


def test_the_audio_thread_allocates_next_to_nothing() -> None:
    playout = Playout(RATE)
    for number in range(20):
        playout.put("a", tone(number * 400, 400))
    take(playout, BLOCK)
    out = np.zeros(BLOCK, np.float32)
    tracemalloc.start()
    try:
        playout.fill(out)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(50):
            playout.fill(out)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 512
    assert peak - before < 2048
