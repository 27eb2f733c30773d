"""How much the words of a question tell, by how many chunks of a store have them; pure but for the counting."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MATCHED: Final = 8_000
"""Chunks that full text search may rank for one question: what keeps it in tens of milliseconds at a million."""
_KEPT: Final = 10_000
"""Words whose counts are remembered."""


class Frequencies:
    """In how many chunks of one store words are, as far as that was asked."""

    def __init__(self) -> None:
        self._version = -1
        self._counts: dict[str, int] = {}

    def telling(
        self, words: Sequence[str], version: int, count: Callable[[str, int], int], *, needed: bool
    ) -> list[str]:
        """Return the words that are worth searching for: the rarest, while not too many chunks have them.

        Args:
            words: of the question.
            version: of the store: counts of another one are forgotten.
            count: counts the chunks with a word, up to a number.
            needed: whether something is to be searched for even if everything has it.
        """
        if version != self._version or len(self._counts) > _KEPT:
            self._version, self._counts = version, {}
        counts = self._counts
        for word in words:
            if word not in counts:
                counts[word] = count(word, MATCHED + 1)
        there = sorted((word for word in words if counts[word]), key=counts.__getitem__)
        chosen, matched = [], 0
        for word in there:
            matched += counts[word]
            if matched > MATCHED:
                break
            chosen.append(word)
        return chosen or (there[:1] if needed else [])

    def rarity(self, words: Sequence[str], chunks: int) -> dict[str, float]:
        """Return how much each word tells (inverse document frequency); those that nothing has tell the most."""
        return {word: math.log1p(chunks / (0.5 + self._counts.get(word, 0))) for word in words}
