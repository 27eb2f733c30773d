"""Puts what full text and what vectors have found into one order, and says how well it fits; pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence
    from typing import TypeVar

    K = TypeVar("K", bound=Hashable)

_FLAT: Final = 60
"""The constant of reciprocal rank fusion: how little the first places stand out (Cormack and others, 2009)."""
_MIDDLE: Final = 0.386
"""Likeness plus lexical share at which a passage is as likely to answer as not."""
_STEEPNESS: Final = 10.4
_LEXICAL: Final = 0.265
"""What the words of a question are worth beside the likeness."""
_COVERED: Final = 2.2
"""What having all words of a question is worth, in standard deviations of the candidates' cosines."""


def fused(rankings: Sequence[tuple[float, Sequence[K]]]) -> list[K]:
    """Return the keys of several rankings, the best first, by reciprocal rank fusion.

    Args:
        rankings: each with its weight.
    """
    merits: dict[K, float] = {}
    for weight, keys in rankings:
        for rank, key in enumerate(keys, 1):
            merits[key] = merits.get(key, 0.0) + weight / (_FLAT + rank)
    return sorted(merits, key=merits.__getitem__, reverse=True)


def merits(evidence: Mapping[K, tuple[float, float]], lexical: float = 1.0) -> dict[K, float]:
    """Return how well each candidate of one question fits beside the others, whatever the scale of its cosines.

    Args:
        evidence: the cosine of each candidate, and the share of the question's words that it has.
        lexical: how much more than usual the words count.
    """
    cosines = [cosine for cosine, _ in evidence.values()]
    middle = sum(cosines) / max(1, len(cosines))
    spread = math.sqrt(sum((cosine - middle) ** 2 for cosine in cosines) / max(1, len(cosines))) or 1.0
    return {
        key: (cosine - middle) / spread + _COVERED * lexical * covered for key, (cosine, covered) in evidence.items()
    }


def relevance(cosine: float, covered: float, unrelated: float = 0.0) -> float:
    """Return how likely a passage has to do with a question, in [0, 1].

    Args:
        cosine: of their vectors.
        covered: share of the question's words that the passage has, the rare ones weighing more.
        unrelated: what the embedding model gives texts that have nothing to do with each other.
    """
    alike = (cosine - unrelated) / (1 - unrelated)
    return 1 / (1 + math.exp(-_STEEPNESS * (alike + _LEXICAL * covered - _MIDDLE)))
