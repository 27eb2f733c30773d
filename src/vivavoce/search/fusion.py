"""Puts what full text and what vectors have found into one order, and says how well it fits; pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence
    from typing import TypeVar

    K = TypeVar("K", bound=Hashable)

_FLAT: Final = 60
"""The constant of reciprocal rank fusion: how little the first places stand out (Cormack and others, 2009)."""
_MIDDLE: Final = 0.42
"""Cosine plus lexical share at which a passage is as likely to answer as not."""
_STEEPNESS: Final = 11.0
_LEXICAL: Final = 0.25
"""What the words of a question are worth beside the cosine."""


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


def relevance(cosine: float, covered: float) -> float:
    """Return how likely a passage has to do with a question, in [0, 1].

    Args:
        cosine: of their vectors.
        covered: share of the question's words that the passage has, the rare ones weighing more.
    """
    return 1 / (1 + math.exp(-_STEEPNESS * (cosine + _LEXICAL * covered - _MIDDLE)))
