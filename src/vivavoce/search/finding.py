"""Finds the passages that fit a question, in one or several stores: full text and vectors, fused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vivavoce.ports import BackendError
from vivavoce.search.fusion import fused, relevance
from vivavoce.search.index import Question
from vivavoce.search.shapes import Hit, LibraryError
from vivavoce.search.words import coverage, keywords

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vivavoce.ports import Embedder
    from vivavoce.search.index import Candidate, Index, Key
    from vivavoce.search.shapes import Filters, Ranking

_POOL: Final = 50
"""Chunks that each kind of search brings up for the fusion."""


class Finder:
    """Searches an index; safe to use from many threads."""

    def __init__(self, index: Index, embedder: Embedder) -> None:
        self._index = index
        self._embedder = embedder

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
        except BackendError as wrong:
            raise LibraryError("embedder_failed", wrong.message) from wrong
        rankings: list[tuple[float, Sequence[Key]]] = []
        chunks: dict[Key, Candidate] = {}
        scores: dict[Key, float] = {}
        for query, vector in zip(queries, vectors, strict=True):
            by_text, by_vector = ranking.text_weight > 0, ranking.embedding_weight > 0
            question = Question(keywords(query), vector, by_text, by_vector)
            for store_id in store_ids:
                found = self._index.candidates(store_id, question, filters, max(_POOL, limit), now)
                rankings += [(ranking.text_weight, found.by_text), (ranking.embedding_weight, found.by_vector)]
                chunks |= found.chunks
                for key, chunk in found.chunks.items():
                    fits = relevance(chunk.cosine, coverage(found.rarity, f"{chunk.name} {chunk.heading} {chunk.text}"))
                    scores[key] = max(scores.get(key, 0.0), fits)
        best = [key for key in fused(rankings) if scores[key] >= ranking.threshold]
        return tuple(_hit(chunks[key], key, scores[key]) for key in best[:limit])


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
