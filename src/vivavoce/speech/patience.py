"""How long to wait in a pause before the turn is called over, given how finished the speaker sounds."""

from __future__ import annotations

import math
from typing import NamedTuple

SHARPNESS = 5.0
"""How much of the way from the longest to the shortest wait the evidence makes at once."""
CAUTION = 5.0
"""Log odds, times the sharpness, from which the wait is nearer to the shortest than to the longest: 73 %.

With it a little more than half of those who finish wait no longer than 350 ms (`benchmarks/endpointing.py`).
"""
SUREST = 0.999
"""A probability beyond it says no more."""


class Patience(NamedTuple):
    """The silence that ends a turn, milliseconds."""

    shortest: float
    """After a speaker who has surely finished."""
    usual: float
    """Where nothing is known."""
    longest: float
    """After one who has surely not; however wrong the judgement, nobody waits longer."""

    def wait(self, sound: float | None, words: float = 0.0, *, caution: float = CAUTION) -> float:
        """Return the wait that the evidence asks for.

        Args:
            sound: the probability, judged from the sound, that the speaker has finished; None where it is not known.
            words: log odds of the same, judged from the words; 0 where they do not tell.
            caution: how sure it must be.
        """
        if sound is None:
            return max(self.usual, self._between(words * SHARPNESS)) if words < 0 else self.usual
        odds = _log_odds(min(max(sound, 1 - SUREST), SUREST)) + words
        return self._between(odds * SHARPNESS - caution)

    def _between(self, evidence: float) -> float:
        return self.shortest + (self.longest - self.shortest) / (1 + math.exp(evidence))


def _log_odds(probability: float) -> float:
    return math.log(probability / (1 - probability))
