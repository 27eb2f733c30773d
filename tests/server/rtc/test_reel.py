"""What is heard, and how much of it, in any order."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.server.rtc.reel import Cut, Reel, Told

RATE = 1000


def ones(count: int) -> np.ndarray:
    return np.ones(count, np.float32)


def test_a_response_begins_with_its_first_sample_and_stops_with_its_last() -> None:
    reel = Reel(RATE)
    assert reel.give(10)[1] == []
    reel.put("r", "a", ones(15))
    assert reel.give(10)[1] == [Told("r", begun=True)]
    sound, told = reel.give(10)
    assert (sound.sum(), told) == (5, [])  # more of it may come
    reel.end("r")
    assert reel.give(10)[1] == [Told("r", begun=False)]
    assert reel.idle


def test_what_was_cut_is_told_by_item() -> None:
    reel = Reel(RATE)
    reel.put("r", "a", ones(100))
    reel.put("r", "b", ones(100))
    reel.give(150)
    assert reel.cut() == Cut("r", "b", 50)
    assert reel.cut() is None
    assert reel.give(10)[0].sum() == 0


def test_what_was_heard_to_its_end_cannot_be_cut() -> None:
    reel = Reel(RATE)
    reel.put("r", "a", ones(10))
    reel.end("r")
    reel.give(20)
    assert reel.cut() is None


def test_an_answer_without_sound_is_never_told_of() -> None:
    reel = Reel(RATE)
    reel.end("r")
    assert reel.give(10)[1] == []


def test_a_pause_gives_silence_and_loses_nothing() -> None:
    reel = Reel(RATE)
    reel.put("r", "a", ones(30))
    reel.give(10)
    reel.paused = True
    assert reel.give(50)[0].sum() == 0
    reel.paused = False
    assert reel.give(50)[0].sum() == 20


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.sampled_from("abc"), st.integers(1, 50)),
            st.tuples(st.just("end"), st.sampled_from("abc"), st.just(0)),
            st.tuples(st.just("give"), st.just(""), st.integers(1, 60)),
        ),
        max_size=40,
    )
)
def test_nothing_is_lost_and_each_response_begins_and_stops_once(program: list[tuple[str, str, int]]) -> None:
    reel, put, given_out, told = Reel(RATE), 0, 0.0, list[Told]()
    ended: set[str] = set()
    for step, name, count in program:
        if step == "put" and name not in ended:
            reel.put(name, f"item_{name}", ones(count))
            put += count
        elif step == "end":
            reel.end(name)
            ended.add(name)
        elif step == "give":
            sound, news = reel.give(count)
            given_out += sound.sum()
            told += news
    for name in "abc":
        reel.end(name)
    while not reel.idle:
        sound, news = reel.give(60)
        given_out += sound.sum()
        told += news
    told += reel.give(1)[1]
    assert given_out == put
    assert len(told) == len(set(told))
    assert {each.response_id for each in told if each.begun} == {each.response_id for each in told if not each.begun}
