"""Finds the passages that fit a question, in one or several stores: full text and vectors, fused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vivavoce.ports import BackendError
from vivavoce.search.fusion import fused, merits, relevance
from vivavoce.search.index import Question
from vivavoce.search.shapes import Hit, LibraryError
from vivavoce.search.words import Coverage, keywords

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vivavoce.ports import Embedder
    from vivavoce.search.index import Candidate, Index, Key
    from vivavoce.search.shapes import Filters, Ranking

_POOL: Final = 50
"""Chunks that each kind of search brings up for the fusion."""
_UNRELATED: Final = (
    "How do I reset my password?",
    "The cathedral was finished in the fourteenth century.",
    "Stir the onions until they are golden.",
    "Penguins take turns to keep the egg warm.",
    "The function returns an iterator over the keys.",
    "Tickets are sold at the counter until noon.",
    "Her second symphony is in a minor key.",
    "Shares fell after the bank raised its rates.",
)
"""Texts that have nothing to do with each other."""


class Finder:
    """Searches an index; safe to use from many threads."""

    def __init__(self, index: Index, embedder: Embedder) -> None:
        self._index = index
        self._embedder = embedder
        self._unrelated: float | None = None

    def find(
        self,
        store_ids: Sequence[str],
        queries: Sequence[str],
        limit: int,
        filters: Filters | None,
        ranking: Ranking,
        now: int,
    ) -> tuple[Hit, ...]:
        """Return what fits one of the queries, the best first."""
        try:
            vectors = self._embedder.embed(queries, query=True)
            unrelated = self._cosine_of_unrelated()
        except BackendError as wrong:
            raise LibraryError("embedder_failed", wrong.message) from wrong
        both = ranking.text_weight > 0 and ranking.embedding_weight > 0
        rankings: list[tuple[float, Sequence[Key]]] = []
        chunks: dict[Key, Candidate] = {}
        scores: dict[Key, float] = {}
        fits: dict[Key, float] = {}
        for query, vector in zip(queries, vectors, strict=True):
            question = Question(keywords(query), vector, ranking.text_weight > 0, ranking.embedding_weight > 0)
            evidence: dict[Key, tuple[float, float]] = {}
            for store_id in store_ids:
                found = self._index.candidates(store_id, question, filters, max(_POOL, limit), now)
                rankings += [(ranking.text_weight, found.by_text), (ranking.embedding_weight, found.by_vector)]
                chunks |= found.chunks
                coverage = Coverage(found.rarity)
                for key, chunk in found.chunks.items():
                    evidence[key] = (chunk.cosine, coverage.of(f"{chunk.name} {chunk.heading} {chunk.text}"))
            scores = _greater(scores, {key: relevance(*seen, unrelated) for key, seen in evidence.items()})
            if both:
                fits = _greater(fits, merits(evidence, ranking.text_weight / ranking.embedding_weight))
        order = sorted(fits, key=fits.__getitem__, reverse=True) if both else fused(rankings)
        best = [key for key in order if scores[key] >= ranking.threshold]
        return tuple(_hit(chunks[key], key, scores[key]) for key in best[:limit])

    def _cosine_of_unrelated(self) -> float:
        """Return what the embedding model gives texts that have nothing to do with each other: from 0 to 0.8."""
        if self._unrelated is None:
            vectors = self._embedder.embed(_UNRELATED)
            pairs = len(vectors) * (len(vectors) - 1)
            self._unrelated = max(0.0, float((vectors @ vectors.T).sum() - len(vectors)) / pairs)
        return self._unrelated


def _greater(some: dict[Key, float], others: dict[Key, float]) -> dict[Key, float]:
    """Return the greater of two values for each key."""
    return others | {key: max(value, others.get(key, value)) for key, value in some.items()}


def _hit(chunk: Candidate, key: Key, score: float) -> Hit:
    return Hit(
        store_id=key[0],
        file_id=chunk.file_id,
        name=chunk.name,
        attributes=chunk.attributes,
        number=chunk.number,
        text=chunk.text,
        place=chunk.place,
        score=score,
    )
