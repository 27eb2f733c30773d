from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.speech.patience import Patience
from vivavoce.speech.wording import COMPLETE, DICTATING, MORE, finished

PATIENCE = Patience(200.0, 400.0, 1200.0)


@given(
    sound=st.one_of(st.none(), st.floats(0.0, 1.0)),
    words=st.sampled_from([MORE, DICTATING, 0.0, COMPLETE]),
)
def test_nobody_waits_longer_than_the_longest(sound, words):
    assert PATIENCE.shortest <= PATIENCE.wait(sound, words) <= PATIENCE.longest


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_the_more_finished_the_shorter(one, other):
    less, more = sorted((one, other))
    assert PATIENCE.wait(more) <= PATIENCE.wait(less)


def test_what_the_evidence_says():
    assert PATIENCE.wait(None) == 400.0
    assert PATIENCE.wait(0.999) < 210
    assert PATIENCE.wait(0.02) > 1190
    assert PATIENCE.wait(0.97, MORE) > 1100
    assert PATIENCE.wait(0.9, COMPLETE) < PATIENCE.wait(0.9)
    assert PATIENCE.wait(None, MORE) > 1100
    assert PATIENCE.wait(None, COMPLETE) == 400.0


@pytest.mark.parametrize(
    ("words", "odds"),
    [
        ("", 0.0),
        ("...", 0.0),
        ("I would like a table for.", MORE),
        ("Well, I went there and", MORE),
        ("The first thing,", MORE),
        ("Let me think —", MORE),
        ("My number is five five", DICTATING),
        ("It is 4 8 1 5.", DICTATING),
        ("I have two.", 0.0),
        ("What is the weather in Paris?", COMPLETE),
        ("Is it?", 0.0),
        ("What is the weather like?", COMPLETE),
        ("Where is it from?", COMPLETE),
        ("Я хочу чтобы", MORE),
        ("Какая сегодня будет погода?", COMPLETE),
        ("Tell me a story.", 0.0),
        ("Could you remind me to?", MORE),
        ("Can you tell me?", MORE),
        ("Can you help me with this?", COMPLETE),
        ("I was wondering whether.", MORE),
        ("What I want to know is.", MORE),
        ("I do not know where it is.", 0.0),
        ("What did you talk about?", COMPLETE),
    ],
)
def test_words_tell_whether_more_will_come(words, odds):
    assert finished(words) == odds
