"""The verdict on what is heard over an answer."""

# ruff: noqa: RUF001 - words of other scripts are meant

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.speech.overlap import (
    ALIKE,
    FAINT_DB,
    LONGEST_BACKCHANNEL_MS,
    SUSTAINED_MS,
    UNDERSTOOD_MS,
    UNHEARD_MS,
    Evidence,
    is_backchannel,
    is_order,
    judge,
    plain,
)

SIGNS = [
    "mm-hm",
    "Mm-hmm.",
    "Uh-huh.",
    "Right?",
    "Okay,",
    "Ok, Ok.",
    "Yeah, yeah.",
    "I see.",
    "Wow!",
    "Oh, really?",
    "Aha!",
]
SIGNS += ["Угу.", "Да, да.", "Понятно.", "Ага, ясно."]
ORDERS = [
    "Stop.",
    "Stop it.",
    "Wait a minute.",
    "No.",
    "Hold on!",
    "Hey, you.",
    "Okay, stop.",
    "Подожди!",
    "Нет, стой.",
]
OTHERS = [
    "What about tomorrow?",
    "Right, and what about tomorrow?",
    "Yeah, but",
    "You don't mean",
    "Rightly",
    "А сколько стоит?",
]


@pytest.mark.parametrize("words", SIGNS)
def test_signs_of_a_listener(words: str) -> None:
    assert is_backchannel(plain(words))
    assert not is_order(plain(words))


@pytest.mark.parametrize("words", ORDERS)
def test_orders(words: str) -> None:
    assert is_order(plain(words))
    assert judge(Evidence(400, words=words)) == "addressed"


@pytest.mark.parametrize("words", OTHERS)
def test_other_words_are_neither(words: str) -> None:
    assert not is_backchannel(plain(words))
    assert not is_order(plain(words))


@pytest.mark.parametrize(
    ("evidence", "verdict"),
    [
        (Evidence(200), None),
        (Evidence(UNHEARD_MS), "addressed"),
        (Evidence(300, words="What"), None),
        (Evidence(SUSTAINED_MS, words="What about", covered_ms=448), "addressed"),
        (Evidence(SUSTAINED_MS, words="What about", covered_ms=320), None),
        (Evidence(SUSTAINED_MS, 32, words="What about"), None),
        (Evidence(400, 96, words="What?", settled=True), "addressed"),
        (Evidence(SUSTAINED_MS, words="Right"), None),
        (Evidence(LONGEST_BACKCHANNEL_MS, words="Yeah right yeah", covered_ms=1000), "addressed"),
        (Evidence(400, 96, words="Right.", settled=True), "backchannel"),
        (Evidence(400, 96, words="Right."), None),
        (Evidence(1500, 96, words="Mm-hm, right, yeah.", settled=True), "backchannel"),
        (Evidence(300, words=""), None),
        (Evidence(300, 96, words="", settled=True), "aside"),
        (Evidence(700, words=""), "aside"),
        (Evidence(150, 96, words="P.", settled=True), "aside"),
        (Evidence(150, 96, words="No.", settled=True), "addressed"),
        (Evidence(250, words="No."), None),
        (Evidence(300, faint_db=15, words="What about tomorrow"), "aside"),
        (Evidence(64, faint_db=15), None),
        (Evidence(2000, faint_db=FAINT_DB - 1, words="What about tomorrow", covered_ms=1900), "addressed"),
        (Evidence(400, 400, words="Right.", ended=True), "addressed"),
        (Evidence(400, 400, ended=True), "addressed"),
        (Evidence(400, 400, words="Right.", settled=True, ended=True), "backchannel"),
        (Evidence(400, 400, words="Right.", covered_ms=320, ended=True), "backchannel"),
        (Evidence(400, 96, words="Bright.", settled=True, alike=ALIKE), "backchannel"),
        (Evidence(400, 96, words="Bright.", settled=True, alike=ALIKE - 0.1), "addressed"),
        (Evidence(400, 96, words="Bright.", settled=True, alike=None), None),
        (Evidence(400, 400, words="Bright.", settled=True, alike=None, ended=True), "addressed"),
        (Evidence(400, 96, words="Why?", settled=True, alike=ALIKE), "addressed"),
        (Evidence(400, 96, words="Wait.", settled=True, alike=ALIKE), "addressed"),
        (Evidence(LONGEST_BACKCHANNEL_MS + 1, 96, words="Bright.", settled=True, alike=ALIKE), "addressed"),
    ],
)
def test_verdicts(evidence: Evidence, verdict: str | None) -> None:
    assert judge(evidence) == verdict


evidences = st.builds(
    Evidence,
    spoken_ms=st.floats(0, 5000),
    silent_ms=st.floats(0, 500),
    words=st.none() | st.sampled_from(["", *SIGNS, *ORDERS, *OTHERS]) | st.text(max_size=20),
    covered_ms=st.floats(0, 2000),
    settled=st.booleans(),
    ended=st.booleans(),
    faint_db=st.floats(-30, 30),
    alike=st.none() | st.floats(-30, 5),
)


@given(evidences)
def test_there_is_a_verdict_in_the_end(evidence: Evidence) -> None:
    if evidence.ended:
        assert judge(evidence) is not None


@given(evidences)
def test_words_that_go_on_are_heard_unless_they_are_far_away(evidence: Evidence) -> None:
    understood = evidence.covered_ms >= UNDERSTOOD_MS
    sustained = (
        understood and evidence.spoken_ms >= LONGEST_BACKCHANNEL_MS and not evidence.silent_ms and not evidence.settled
    )
    if sustained and not evidence.ended and evidence.faint_db < FAINT_DB and plain(evidence.words or ""):
        assert judge(evidence) == "addressed"


@given(evidences)
def test_without_words_nobody_is_interrupted_before_it_lasts(evidence: Evidence) -> None:
    if not evidence.words and not evidence.ended and evidence.spoken_ms < UNHEARD_MS:
        assert judge(evidence) != "addressed"


@given(evidences, st.floats(0, 3000))
def test_in_ongoing_speech_more_time_takes_no_attention_back(evidence: Evidence, more: float) -> None:
    covered = evidence.covered_ms
    longer = Evidence(evidence.spoken_ms + more, words=evidence.words, covered_ms=covered)
    if judge(Evidence(evidence.spoken_ms, words=evidence.words, covered_ms=covered)) == "addressed":
        assert judge(longer) == "addressed"
