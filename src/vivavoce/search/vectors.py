"""The vectors of one store in memory, for finding the nearest: all of them while they are few, else a bit a component.

The sign of each component is a code of 48 bytes for 384 components; a question's is compared with all in one pass, and
the best are looked at again with the real vectors. There is nothing to train, to rebuild or to lose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vivavoce.ports import Vectors

FEW: Final = 20_000
"""Chunks up to which all vectors are kept, and the nearest found exactly."""
ROUGHLY: Final = 8000
"""Of the codes with the fewest bits unlike the question's, how many are weighed by what each bit is worth to it."""
AGAIN: Final = 1000
"""Of these, how many are compared again by their vectors."""
_BLOCK: Final = 1 << 15
"""Codes that are compared in one go: they stay in the processor's cache."""
_FARTHEST: Final = 2**16 - 1
"""Distance of what isn't looked at."""
_SLACK: Final = 4
"""Of the rows, one in so many may be dead before they are swept together."""

Codes = NDArray[np.uint64]
Ids = NDArray[np.int64]


class Segment(NamedTuple):
    """The chunks of one file in one store, numbered without gaps."""

    first: int
    """Its name, too: it is never used twice."""
    size: int


def encode(vectors: Vectors) -> Codes:
    """Return a code for each vector, shape (vectors, components / 64)."""
    bits = np.packbits(vectors > 0, axis=1)
    short = -bits.shape[1] % 8
    return np.pad(bits, ((0, 0), (0, short))).view(np.uint64)


class Columns:
    """An array that grows along its last axis; what was handed out stays where it is."""

    def __init__(self, start: NDArray[Any]) -> None:
        self._room = start

    def put(self, used: int, more: NDArray[Any]) -> None:
        """Write behind the first `used` columns."""
        needed = used + more.shape[-1]
        if needed > self._room.shape[-1]:
            size = max(2 * used, needed, 1024)
            room = np.empty((*self._room.shape[:-1], size), self._room.dtype)
            room[..., :used] = self._room[..., :used]
            self._room = room
        self._room[..., used:needed] = more

    def first(self, used: int) -> NDArray[Any]:
        """Return the first `used` columns."""
        return self._room[..., :used]


class Matrix:
    """Vectors or codes with the ids of their chunks, by segments; one thread at a time may use it."""

    def __init__(self, dimension: int, *, coded: bool) -> None:
        self.coded = coded
        self.segments: dict[int, Segment] = {}
        rows, kind = (-(-dimension // 64), np.uint64) if coded else (dimension, np.float32)
        self._ids = Columns(np.empty(0, np.int64))
        self._columns = Columns(np.empty((rows, 0), kind))
        self._used = 0
        self._dead = 0

    def __len__(self) -> int:
        return self._used - self._dead

    def add(self, segment: Segment, rows: NDArray[Any]) -> None:
        """Take in the vectors of a segment, or its codes, one a row."""
        self._ids.put(self._used, np.arange(segment.first, segment.first + segment.size, dtype=np.int64))
        self._columns.put(self._used, rows.T)
        self._used += segment.size
        self.segments[segment.first] = segment

    def drop(self, first: int) -> None:
        """Forget a segment."""
        segment = self.segments.pop(first)
        ids = self._ids.first(self._used)
        ids[(ids >= segment.first) & (ids < segment.first + segment.size)] = -1
        self._dead += segment.size
        if self._dead * _SLACK > self._used:
            alive = ids >= 0
            self._ids, self._columns = Columns(ids[alive]), Columns(self._columns.first(self._used)[:, alive])
            self._used, self._dead = len(self), 0

    def nearest(self, vector: Vectors, limit: int, allowed: Iterable[int] | None = None) -> list[int]:
        """Return the ids of the chunks that seem nearest, the best first; `AGAIN` of them where coded.

        Args:
            vector: a unit vector, shape (dimension,).
            limit: how many.
            allowed: segments that are looked at; all where absent.
        """
        ids, columns = self._ids.first(self._used), self._columns.first(self._used)
        if self.coded:
            distances = _distances(columns, encode(vector[np.newaxis])[0])
            distances[self._hidden(ids, allowed)] = _FARTHEST
            places = _least(distances, max(ROUGHLY, limit))
            signs = np.unpackbits(np.ascontiguousarray(columns[:, places].T).view(np.uint8), axis=1, count=len(vector))
            places = places[_greatest(signs.astype(np.float32) @ vector, max(AGAIN, limit))]
        else:
            likeness = vector @ columns
            likeness[self._hidden(ids, allowed)] = -np.inf
            places = _greatest(likeness, limit)
        found: list[int] = ids[places].tolist()
        return found

    def _hidden(self, ids: Ids, allowed: Iterable[int] | None) -> NDArray[np.bool_] | slice:
        if allowed is None:
            return ids < 0 if self._dead else slice(0)
        segments = sorted(self.segments[first] for first in allowed if first in self.segments)
        if not segments:
            return slice(None)
        starts, counts = np.array(segments, np.int64).T
        owner = np.maximum(np.searchsorted(starts, ids, side="right") - 1, 0)
        return np.asarray((ids < starts[owner]) | (ids >= starts[owner] + counts[owner]))


def _distances(columns: Codes, code: Codes) -> NDArray[np.uint16]:
    """Return in how many bits each code differs."""
    found = np.zeros(columns.shape[1], np.uint16)
    for start in range(0, len(found), _BLOCK):
        block = slice(start, start + _BLOCK)
        for column, part in zip(columns, code, strict=True):
            found[block] += np.bitwise_count(column[block] ^ part)
    return found


def _least(distances: NDArray[np.uint16], limit: int) -> NDArray[np.intp]:
    """Return where the least distances are, in order, and those that are as good as the last of them."""
    upto = np.cumsum(np.bincount(distances[distances < _FARTHEST]))
    within = min(int(np.searchsorted(upto, limit)), _FARTHEST - 1)
    places = np.flatnonzero(distances <= within)
    return places[np.argsort(distances[places], kind="stable")]


def _greatest(likeness: NDArray[np.float32], limit: int) -> NDArray[np.intp]:
    """Return where the greatest values are, in order; none that are hidden."""
    places = np.argpartition(-likeness, limit)[:limit] if len(likeness) > limit else np.arange(len(likeness))
    places = places[np.argsort(-likeness[places], kind="stable")]
    return places[np.isfinite(likeness[places])]
