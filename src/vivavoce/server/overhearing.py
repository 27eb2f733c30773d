"""What is known of the speech over an answer while it lasts: how long, how loud, and which words by now."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vivavoce.speech.overlap import Evidence, judge, may_be_sign, plain

if TYPE_CHECKING:
    from vivavoce.server.ears import Ears, Utterance
    from vivavoce.speech.overlap import Verdict

FIRST_MS, STEP_MS = 320.0, 128.0
"""The words are asked for when somebody has spoken so long, and again after each step."""


@dataclass
class Overhearing:
    """One utterance over an answer."""

    item_id: str
    verdict: Verdict | None = None
    """The last one."""
    _words: str | None = None
    _asked: int = 0
    """Questions to the recogniser, those at pauses included."""
    _told: int = 0
    """Its answers: it gives them in the order of the questions."""
    _whole: int = 0
    """The question at the pause that goes on; 0 where none does."""
    _next_ms: float = FIRST_MS
    _spoken_ms: float = 0.0
    _asked_ms: float = 0.0
    """So much had been said at the last question before a pause."""
    _covered_ms: float = 0.0
    """So much the words are of."""
    _alike: float | None = -math.inf
    """How much likelier the sign of a listener is than the words; None while that is found out."""
    _silent_ms: float = 0.0

    def follow(self, ears: Ears, utterance: Utterance) -> None:
        """Ask the recogniser for the words so far when it is time, one question after the other."""
        self._spoken_ms, self._silent_ms = ears.spoken_ms, ears.silent_ms
        if utterance.paused:
            return
        self._whole, self._alike = 0, -math.inf
        if self._spoken_ms >= self._next_ms and self._told >= self._asked:
            self._next_ms = self._spoken_ms + STEP_MS
            self._asked += 1
            self._asked_ms = self._spoken_ms
            utterance.ask()

    def pause(self) -> None:
        """Note that the recogniser was asked at a pause."""
        self._asked += 1
        self._whole = self._asked

    def hear(self, words: str) -> None:
        """Take what the recogniser understood."""
        self._words, self._covered_ms = words, self._asked_ms
        self._told += 1

    def doubt(self) -> int:
        """Return which pause it is after which it is worth asking what else the words may be; 0 for none."""
        if not self._settled or self._words is None or not may_be_sign(self._spoken_ms, plain(self._words)):
            return 0
        self._alike = None
        return self._whole

    def compare(self, pause: int, alike: float) -> None:
        """Take how much likelier the sign of a listener is than the words; too late, it is ignored."""
        if pause == self._whole:
            self._alike = alike

    def judge(self, ears: Ears, *, ended: bool = False) -> Verdict | None:
        """Return the verdict where it is another one than before."""
        before, self.verdict = self.verdict, judge(self._evidence(ears, ended=ended)) or self.verdict
        return self.verdict if self.verdict != before else None

    def _evidence(self, ears: Ears, *, ended: bool) -> Evidence:
        return Evidence(
            spoken_ms=self._spoken_ms,
            silent_ms=self._silent_ms,
            words=self._words,
            covered_ms=self._covered_ms,
            settled=self._settled,
            ended=ended,
            faint_db=ears.faint_db,
            alike=self._alike,
        )

    @property
    def _settled(self) -> bool:
        return 0 < self._whole <= self._told
