"""Nothing with consequences is run unless the person says yes to it, whatever the order of events."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from vivavoce.agent.consent import PATIENCE_S, TURNS, Again, Ask, Busy, Consent, Join, understand
from vivavoce.realtime.client import Run

QUESTION = "Shall I send ten euros to Bob?"
YES = ("yes", "go ahead", "да")
NO = ("no", "don't", "yes, no, wait", "нет")
OTHER = ("what is the weather", "okay, tell me a joke", "yes?", "yes but to Alice", "hmm")


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("Yes.", "yes"),
        ("Yes, please.", "yes"),
        ("Okay, go ahead.", "yes"),
        ("Sure, do it, thanks!", "yes"),
        ("Yes, send ten euros to Bob.", "yes"),
        ("Of course.", "yes"),
        ("Да, конечно.", "yes"),
        ("Давай!", "yes"),
        ("No.", "no"),
        ("No, thank you.", "no"),
        ("Don\N{RIGHT SINGLE QUOTATION MARK}t do it.", "no"),
        ("Yes. No, wait.", "no"),
        ("Not now.", "no"),
        ("Нет, не надо.", "no"),
        ("Отмена.", "no"),
        ("Yes, but to Alice.", "other"),
        ("Yes?", "other"),
        ("Okay, what is the weather?", "other"),
        ("Okay tell me a joke", "other"),
        ("Ten euros to Bob", "other"),
        ("Are you sure?", "other"),
        ("Yes, send twenty euros to Bob.", "other"),
        ("", "other"),
    ],
)
def test_only_a_plain_yes_agrees(said, meant):
    assert understand(said, QUESTION) == meant


def call(number: int, amount: int) -> Run:
    return Run(f"call_{number}", "send_money", f'{{"amount": {amount}}}')


def test_one_call_waits_at_a_time_and_is_asked_once():
    consent = Consent()
    assert consent.called(call(1, 10), QUESTION, 0.0) == Ask(QUESTION)
    assert consent.called(call(2, 10), QUESTION, 1.0) == Again(QUESTION)
    assert consent.called(call(3, 20), "And twenty?", 1.0) == Busy(QUESTION)
    decision = consent.said("yes")
    assert decision is not None
    assert (decision.run.call_id, decision.verdict) == ("call_1", "agreed")
    assert consent.waiting is None
    assert consent.said("yes") is None


def test_the_same_call_again_joins_the_one_that_was_agreed_to_until_the_person_goes_on():
    consent = Consent()
    consent.called(call(1, 10), QUESTION, 0.0)
    consent.said("yes")
    assert consent.called(Run("call_2", "send_money", '{ "amount":10 }'), QUESTION, 1.0) == Join(call(1, 10))
    consent.settled(call(1, 10))
    assert consent.called(call(3, 10), QUESTION, 2.0) == Join(call(1, 10))
    consent.said("thanks")
    assert consent.called(call(4, 10), QUESTION, 3.0) == Ask(QUESTION)


def test_a_call_is_dropped_when_the_person_talks_of_something_else():
    consent = Consent()
    consent.called(call(1, 10), QUESTION, 0.0)
    for _ in range(TURNS - 1):
        assert consent.said("what is the weather") is None
    dropped = consent.said("and tomorrow")
    assert dropped is not None
    assert dropped.verdict == "forgotten"
    assert consent.said("yes") is None


def test_a_call_is_dropped_when_nobody_answers():
    consent = Consent()
    consent.called(call(1, 10), QUESTION, 5.0)
    assert consent.deadline == 5.0 + PATIENCE_S
    assert consent.tick(5.0 + PATIENCE_S - 0.1) is None
    dropped = consent.tick(5.0 + PATIENCE_S)
    assert dropped is not None
    assert dropped.verdict == "unanswered"
    assert consent.deadline is None
    assert consent.said("yes") is None


class AnyOrder(RuleBasedStateMachine):
    """Calls, words, keys and time, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.consent = Consent()
        self.now = 0.0
        self.made = 0
        self.ran: list[Run] = []
        self.asked: Any = None
        self.decided: set[str] = set()

    @rule(amount=st.integers(1, 2))
    def called(self, amount):
        self.made += 1
        run = call(self.made, amount)
        if isinstance(self.consent.called(run, QUESTION, self.now), Ask):
            assert self.asked is None
            self.asked = run

    @rule(text=st.sampled_from(YES + NO + OTHER))
    def said(self, text):
        self.take(self.consent.said(text), may_run=text in YES)

    @rule(yes=st.booleans())
    def chosen(self, yes):
        self.take(self.consent.chosen(yes=yes), may_run=yes)

    @rule(seconds=st.floats(0, PATIENCE_S))
    def waits(self, seconds):
        self.now += seconds
        self.take(self.consent.tick(self.now), may_run=False)

    @rule()
    def answered(self):
        if self.ran:
            self.consent.settled(self.ran[-1])

    def take(self, decision, *, may_run):
        if decision is None:
            return
        assert decision.run == self.asked, "only what was asked is decided"
        assert decision.run.call_id not in self.decided, "and only once"
        self.decided.add(decision.run.call_id)
        self.asked = None
        if decision.verdict == "agreed":
            assert may_run, "only a yes agrees"
            self.ran.append(decision.run)

    @invariant()
    def what_waits_was_asked(self):
        assert self.consent.waiting == self.asked


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = hypothesis_settings(max_examples=200, stateful_step_count=30, deadline=None)
