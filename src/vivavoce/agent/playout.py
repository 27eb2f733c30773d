"""What stands between those who queue sound and the device that takes it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from vivavoce.ports import Samples

FADE_S = 0.005
"""Long enough that no start or stop clicks, too short to be noticed."""

DEPTH_S = 0.06
"""Sound in hand with which an item begins at once while nothing is known of the sender's jitter."""

DELAY_S = 0.04
"""Likewise the time after which it begins with less."""

LIMIT_S = 0.3
"""What jitter may cost at most: a longer gap is a pause of the sender, which waiting ahead of it would not bridge."""

MARGIN_S = 0.02
"""On top of the jitter seen: a device takes sound in blocks of about this length."""

FORGETTING = 8
"""What an item did not need of the prebuffer is given back by this fraction."""


class _Lead(NamedTuple):
    """What an item is given before it begins, in samples: so much sound in hand, or else so much time."""

    depth: int
    delay: int


class Prebuffer:
    """How long an item is held back: as long as the sender's jitter asks for.

    An item that begins `delay` after its first sound came, or with `depth` in hand, does not run dry if it needs no
    more of either than the items before it. Both grow as soon as sound comes too late and shrink item by item. All is
    counted in samples of a clock that the caller reads.
    """

    def __init__(self, sample_rate: int) -> None:
        self._limit, self._margin = round(sample_rate * LIMIT_S), round(sample_rate * MARGIN_S)
        self._least = _Lead(round(sample_rate * DEPTH_S), round(sample_rate * DELAY_S))
        self.depth, self.delay = self._least
        self._needed = self._least
        self._began = self._came = self._late = 0
        self._arrivals: list[tuple[int, int]] = []

    def begin(self, now: int) -> None:
        """Start on an item, and give back some of what the one before did not need."""
        self.depth -= (self.depth - self._needed.depth) // FORGETTING
        self.delay -= (self.delay - self._needed.delay) // FORGETTING
        self._needed = self._least
        self._restart(now)

    def came(self, now: int, count: int, *, dry: bool = False) -> None:
        """Note that so many samples have come; begin later from now on if playing at once would have run dry.

        Args:
            now: the time.
            count: the samples.
            dry: whether it has run dry indeed, so that it begins afresh.
        """
        late = now - self._began - self._came
        if self._late < late <= self._limit:
            self._grow(late)
        self._late = max(self._late, late)
        if dry:
            self._restart(now)
        if self._came < self._limit:
            self._arrivals.append((now - self._began, min(self._came + count, self._limit)))
        self._came += count

    def _restart(self, now: int) -> None:
        self._began, self._came, self._late = now, 0, 0
        self._arrivals.clear()

    def _grow(self, late: int) -> None:
        """Ask for the delay that would have sufficed, and for more than was in hand before it had passed."""
        held = max((came for moment, came in self._arrivals if moment < late), default=0)
        needed = _Lead(min(held + self._margin, self._limit), min(late + self._margin, self._limit))
        self._needed = _Lead(max(self._needed.depth, needed.depth), max(self._needed.delay, needed.delay))
        self.depth, self.delay = max(self.depth, needed.depth), max(self.delay, needed.delay)


class _Piece(NamedTuple):
    samples: Samples
    item_id: str
    start: int
    """Samples of the item before this piece."""
    epoch: int
    """How often the speaker had been hushed."""
    continues: bool
    """Whether it follows on from the piece before it without a seam."""
    came: int
    """When it was put, in samples that the device had taken by then."""


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
    earlier one: no lock is held, and nothing that is put after the hush can be lost to it. A pause is a flag that only
    the producer writes: the consumer fades out and stays where it is until the flag is gone.

    Where the sound starts, stops or runs dry its gain moves over 5 ms; what has run dry is continued by its last
    sample on the way down. What begins, or goes on after it had run dry, is held back as the `Prebuffer` says, unless
    all of its sound is here. Time is what the consumer has taken.
    """

    def __init__(self, sample_rate: int) -> None:
        steps = max(round(sample_rate * FADE_S), 1)
        self._ramp = np.sin(np.linspace(0, np.pi / 2, steps + 1)[1:], dtype=np.float32) ** 2
        self._queue: deque[_Piece] = deque()
        # The producer's.
        self.underruns = 0
        self.prebuffer = Prebuffer(sample_rate)
        self._epoch = 0
        self._put = 0
        self._whole = 0
        self._item_id: str | None = None
        self._position = 0
        self._last_epoch = -1
        self._paused = False
        self._droughts_seen = 0
        # The consumer's.
        self.held_back = 0
        """Samples of silence before what is playing, or was last, began: the latency that the prebuffer adds."""
        self._clock = 0
        self._taken = 0
        self._going = False
        self._silence = 0
        self._piece: _Piece | None = None
        self._at = 0
        self._gain = 0
        self._last = np.float32(0)
        self._droughts = 0

    @property
    def queued(self) -> int:
        """Samples that are still to be taken."""
        return self._put - self._taken

    @property
    def waiting(self) -> bool:
        """Tell whether sound is here that is held back until more has come."""
        return self.queued > 0 and not self._going

    def put(self, item_id: str, samples: Samples) -> None:
        """Queue sound; it counts as an underrun if the item had run dry meanwhile."""
        now = self._clock
        continues = item_id == self._item_id and self._epoch == self._last_epoch
        dry = continues and self._droughts != self._droughts_seen
        self.underruns += dry
        if not continues:
            self._whole = self._put
            self._position = 0 if item_id != self._item_id else self._position
            self.prebuffer.begin(now)
        self.prebuffer.came(now, len(samples), dry=dry)
        self._droughts_seen = self._droughts
        self._item_id, self._last_epoch = item_id, self._epoch
        self._queue.append(_Piece(samples, item_id, self._position, self._epoch, continues, now))
        self._position += len(samples)
        self._put += len(samples)

    def finish(self, item_id: str) -> None:
        """Say that the item's sound is complete: there is nothing left to wait for."""
        if item_id == self._item_id:
            self._whole = self._put

    def hush(self) -> None:
        """Fade out and forget everything that was put so far."""
        self._epoch += 1
        self._paused = False

    def pause(self) -> None:
        """Fade out and stay there."""
        self._paused = True

    def resume(self) -> None:
        """Fade in and go on."""
        self._paused = False

    def fill(self, out: Samples) -> list[Run]:
        """Write the next samples and say what they were."""
        runs: list[Run] = []
        done = 0
        paused = self._paused
        while done < len(out):
            if paused and not self._gain:
                out[done:] = 0
                done = len(out)
                break
            piece = self._next()
            if piece is None or (self._gain and not self._at and not piece.continues):
                self._going = False
                done += self._decay(out[done:], dry=piece is None)
            elif piece.epoch != self._epoch and not self._gain:
                self._advance(piece, len(piece.samples) - self._at)
                self._silence = 0
            elif not self._going and (rest := self._missing(piece, self._clock + done)):
                silent = self._decay(out[done : done + rest], dry=True)
                self._silence += silent
                done += silent
            else:
                self._go()
                start = piece.start + self._at
                count = self._copy(piece, out[done:], falling=paused or piece.epoch != self._epoch)
                runs.append(Run(done, piece.item_id, start, count))
                done += count
        self._clock += done
        return runs

    def _next(self) -> _Piece | None:
        if self._piece is None:
            try:
                self._piece = self._queue.popleft()
            except IndexError:
                return None
            self._at = 0
            self._going = self._going and self._piece.continues
        return self._piece

    def _go(self) -> None:
        if not self._going:
            self._going = True
            self.held_back, self._silence = self._silence, 0

    def _missing(self, piece: _Piece, now: int) -> int:
        """Return how many samples of silence come before the piece, as far as is known now."""
        if piece.epoch != self._epoch:
            return self._gain
        if self._whole > self._taken or self.queued >= self.prebuffer.depth:
            return 0
        return max(piece.came + self.prebuffer.delay - now, 0)

    def _advance(self, piece: _Piece, count: int) -> None:
        self._at += count
        self._taken += count
        if self._at == len(piece.samples):
            self._piece = None

    def _copy(self, piece: _Piece, out: Samples, *, falling: bool) -> int:
        """Play from the piece, on the way up or, after a hush or a pause, down; return how many samples."""
        count = min(len(out), len(piece.samples) - self._at, self._gain if falling else len(out))
        out[:count] = piece.samples[self._at : self._at + count]
        if count:
            self._last = piece.samples[self._at + count - 1]
        if falling:
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
