from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.speech.turns import HYSTERESIS, ONSET_MS, PAUSE_MS, Edge, Turns

FRAME = 32.0


def feed(turns, *frames):
    return [edge for frame in frames for edge in turns.feed(frame)]


def runs(*pairs):
    return [probability for count, probability in pairs for _ in range(count)]


def told(frames, **settings):
    return [(edge.kind, edge.ms) for edge in feed(Turns(FRAME, **settings), *frames)]


@pytest.mark.parametrize(
    ("frames", "edges"),
    [
        (runs((30, 0.0)), []),
        (runs((3, 0.0), (1, 0.9), (3, 0.0), (1, 0.9), (30, 0.0)), []),
        (runs((3, 0.0), (2, 0.9)), [("started", 96)]),
        (runs((3, 0.0), (1, 0.9), (1, 0.49), (2, 0.5)), [("started", 160)]),
        (runs((2, 0.9), (1, 0.0)), [("started", 0)]),
        (runs((2, 0.9), (3, 0.0)), [("started", 0), ("paused", 128)]),
        (runs((2, 0.9), (30, 0.36)), [("started", 0)]),
        (runs((2, 0.9), (3, 0.0), (1, 0.36), (1, 0.0)), [("started", 0), ("paused", 128), ("resumed", 192)]),
        (runs((2, 0.9), (13, 0.0)), [("started", 0), ("paused", 128), ("stopped", 480)]),
        (
            runs((2, 0.9), (12, 0.0), (1, 0.9), (13, 0.0)),
            [("started", 0), ("paused", 128), ("resumed", 480), ("paused", 544), ("stopped", 896)],
        ),
        (runs((2, 0.9), (13, 0.0), (1, 0.9), (5, 0.0), (2, 0.9))[:23], None),
    ],
    ids=[
        "silence",
        "clicks",
        "onset",
        "onset anew",
        "a short gap",
        "pause",
        "hysteresis",
        "resumed",
        "stopped",
        "resumed at the last moment",
        "two turns",
    ],
)
def test_edges(frames, edges):
    expected = [("started", 0), ("paused", 128), ("stopped", 480), ("started", 672)] if edges is None else edges
    assert told(frames) == expected


def test_how_long_it_was_silent():
    edges = feed(Turns(FRAME, silence_ms=150), *runs((2, 0.9), (10, 0.0)))
    assert edges == [Edge("started", 0.0), Edge("paused", 128.0, 64.0), Edge("stopped", 224.0, 160.0)]


def test_without_patience_a_turn_ends_at_the_first_silence():
    assert told(runs((2, 0.9), (1, 0.0)), silence_ms=0) == [("started", 0), ("paused", 96), ("stopped", 96)]


def test_a_turn_that_is_forgotten_leaves_the_time():
    turns = Turns(FRAME)
    feed(turns, *runs((4, 0.9)))
    assert turns.speaking
    turns.reset()
    assert not turns.speaking
    assert feed(turns, *runs((30, 0.0))) == []
    assert feed(turns, *runs((2, 0.9))) == [Edge("started", 34 * FRAME)]


def test_speech_goes_on_after_a_turn_that_is_forgotten():
    turns = Turns(FRAME)
    feed(turns, *runs((4, 0.9)))
    turns.reset()
    assert feed(turns, *runs((2, 0.9))) == [Edge("started", 4 * FRAME)]


def test_time_goes_by_that_nobody_listens_to():
    turns = Turns(FRAME)
    turns.skip(1000)
    assert feed(turns, *runs((2, 0.9))) == [Edge("started", 1000.0)]


def test_settings_can_change_amid_a_turn():
    turns = Turns(FRAME)
    feed(turns, *runs((4, 0.6)))
    turns.threshold = 0.9
    turns.silence_ms = 64.0
    assert [edge.kind for edge in feed(turns, *runs((2, 0.6)))] == ["paused", "stopped"]


@pytest.mark.parametrize("threshold", [0.01, 0.1, 0.15, 0.5, 1.0])
def test_every_turn_ends_in_silence(threshold):
    frames = runs((2, 1.0), (20, 0.0))
    assert [kind for kind, _ in told(frames, threshold=threshold)] == ["started", "paused", "stopped"]


def test_what_is_not_a_number_is_silence():
    assert [kind for kind, _ in told(runs((2, 1.0), (20, float("nan"))))] == ["started", "paused", "stopped"]


AFTER = {
    None: {"started"},
    "started": {"paused"},
    "paused": {"resumed", "stopped"},
    "resumed": {"paused"},
    "stopped": {"started"},
}


@given(st.lists(st.sampled_from([0.0, 0.3, 0.4, 0.6, 1.0]), max_size=150), st.sampled_from([0.0, 64.0, 200.0, 400.0]))
def test_edges_come_in_order_and_in_time(frames, silence_ms):
    turns = Turns(FRAME, silence_ms=silence_ms)
    edges, quiet = [], 0.0
    for index, probability in enumerate(frames, 1):
        now = index * FRAME
        before = turns.speaking
        quiet = 0.0 if probability >= 0.5 - HYSTERESIS else quiet + FRAME
        for edge in turns.feed(probability):
            edges.append(edge)
            if edge.kind == "started":
                assert not before
                assert all(p >= 0.5 for p in frames[round(edge.ms / FRAME) : index])
                assert now - edge.ms >= ONSET_MS
            else:
                assert edge.ms == now
            if edge.kind == "paused":
                assert edge.silence_ms == quiet >= min(PAUSE_MS, silence_ms)
            if edge.kind == "stopped":
                assert edge.silence_ms == quiet >= silence_ms
                assert quiet - FRAME < max(silence_ms, FRAME)
    kinds = [None, *(edge.kind for edge in edges)]
    assert all(later in AFTER[earlier] for earlier, later in pairwise(kinds))
    assert [edge.ms for edge in edges] == sorted(edge.ms for edge in edges)
    assert turns.speaking == (kinds[-1] not in {None, "stopped"})


def test_a_pause_may_be_given_another_length_and_the_next_has_its_own():
    turns = Turns(FRAME, silence_ms=400)
    turns.wait(1.0)
    assert [edge.kind for edge in feed(turns, *runs((2, 0.9), (3, 0.0)))] == ["started", "paused"]
    turns.wait(700.0)
    assert [edge.kind for edge in feed(turns, *runs((15, 0.0)))] == []
    assert [edge.kind for edge in feed(turns, *runs((1, 0.9), (13, 0.0)))] == ["resumed", "paused", "stopped"]


def test_a_pause_that_has_lasted_long_enough_ends_the_turn_at_once():
    turns = Turns(FRAME, silence_ms=1000)
    feed(turns, *runs((2, 0.9), (10, 0.0)))
    turns.wait(200.0)
    assert [edge.kind for edge in feed(turns, 0.0)] == ["stopped"]
