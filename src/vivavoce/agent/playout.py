"""What stands between those who queue sound and the device that takes it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from vivavoce.ports import Samples

FADE_S = 0.005
"""Long enough that no start or stop clicks, too short to be noticed."""


class _Piece(NamedTuple):
    samples: Samples
    item_id: str
    start: int
    """Samples of the item before this piece."""
    epoch: int
    """How often the speaker had been hushed."""
    continues: bool
    """Whether it follows on from the piece before it without a seam."""


class Run(NamedTuple):
    """A stretch of one item within a block of output."""

    offset: int
    """Samples into the block."""
    item_id: str
    start: int
    """Samples into the item."""
    length: int


class Playout:
    """Sound on its way out: the event loop puts it in, the audio thread takes it out, and nothing clicks.

    There is one producer and one consumer. They share a deque, whose append and popleft are atomic; every other
    attribute is written by one of them alone. Hushing counts up an epoch, and the consumer discards what belongs to an
    earlier one: no lock is held, and nothing that is put after the hush can be lost to it.

    Where the sound starts, stops or runs dry its gain moves over 5 ms; what has run dry is continued by its last
    sample on the way down.
    """

    def __init__(self, sample_rate: int) -> None:
        steps = max(round(sample_rate * FADE_S), 1)
        self._ramp = np.sin(np.linspace(0, np.pi / 2, steps + 1)[1:], dtype=np.float32) ** 2
        self._queue: deque[_Piece] = deque()
        # The producer's.
        self.underruns = 0
        self._epoch = 0
        self._put = 0
        self._item_id: str | None = None
        self._position = 0
        self._last_epoch = -1
        self._droughts_seen = 0
        # The consumer's.
        self._taken = 0
        self._piece: _Piece | None = None
        self._at = 0
        self._gain = 0
        self._last = np.float32(0)
        self._droughts = 0

    @property
    def queued(self) -> int:
        """Samples that are still to be taken."""
        return self._put - self._taken

    def put(self, item_id: str, samples: Samples) -> None:
        """Queue sound; it counts as an underrun if the item had run dry meanwhile."""
        continues = item_id == self._item_id and self._epoch == self._last_epoch
        if not continues:
            self._position = 0 if item_id != self._item_id else self._position
        elif self._droughts != self._droughts_seen:
            self.underruns += 1
        self._droughts_seen = self._droughts
        self._item_id, self._last_epoch = item_id, self._epoch
        self._queue.append(_Piece(samples, item_id, self._position, self._epoch, continues))
        self._position += len(samples)
        self._put += len(samples)

    def hush(self) -> None:
        """Fade out and forget everything that was put so far."""
        self._epoch += 1

    def fill(self, out: Samples) -> list[Run]:
        """Write the next samples and say what they were."""
        runs: list[Run] = []
        done = 0
        while done < len(out):
            piece = self._next()
            if piece is None or (self._gain and not self._at and not piece.continues):
                done += self._decay(out[done:], dry=piece is None)
            elif piece.epoch != self._epoch and not self._gain:
                self._advance(piece, len(piece.samples) - self._at)
            else:
                start = piece.start + self._at
                count = self._copy(piece, out[done:])
                runs.append(Run(done, piece.item_id, start, count))
                done += count
        return runs

    def _next(self) -> _Piece | None:
        if self._piece is None:
            try:
                self._piece = self._queue.popleft()
            except IndexError:
                return None
            self._at = 0
        return self._piece

    def _advance(self, piece: _Piece, count: int) -> None:
        self._at += count
        self._taken += count
        if self._at == len(piece.samples):
            self._piece = None

    def _copy(self, piece: _Piece, out: Samples) -> int:
        """Play from the piece, on the way up or, after a hush, down; return how many samples."""
        stale = piece.epoch != self._epoch
        count = min(len(out), len(piece.samples) - self._at, self._gain if stale else len(out))
        out[:count] = piece.samples[self._at : self._at + count]
        if count:
            self._last = piece.samples[self._at + count - 1]
        if stale:
            out[:count] *= self._ramp[self._gain - count : self._gain][::-1]
            self._gain -= count
        elif self._gain < len(self._ramp):
            rising = self._ramp[self._gain : self._gain + count]
            out[: len(rising)] *= rising
            self._gain += len(rising)
        self._advance(piece, count)
        return count

    def _decay(self, out: Samples, *, dry: bool) -> int:
        """Let the last sample fade; return how many samples that took, all of them where nothing follows."""
        self._droughts += dry and self._gain == len(self._ramp)
        count = min(len(out), self._gain)
        out[:count] = self._last * self._ramp[self._gain - count : self._gain][::-1]
        self._gain -= count
        if not dry:
            return count
        out[count:] = 0
        return len(out)
