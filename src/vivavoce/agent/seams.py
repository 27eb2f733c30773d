"""When the sound of a recording was there: the clock, the frames that were sent, and the seams between pieces."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Literal, TypeAlias

from vivavoce.speech.pcm import Resampler

if TYPE_CHECKING:
    from vivavoce.ports import Samples

RATE = 24_000
"""Hz, of the sound that is sent and of the file."""
SEAM_S = 0.04
"""A piece whose time differs by more does not follow on from the one before it."""
DRIFT_S = 0.005
"""Clocks that differ by more in the mean are brought together again."""
MEAN_OVER = 50
"""Pieces."""
OTHER_CLOCK_S = 10.0
"""Times that differ by more when they are told at the same moment are not of the same clock."""
BACKLOG_S = 0.3
"""Captured sound that waits for longer was not for the server: the microphone was muted."""

Track: TypeAlias = Literal[0, 1]
PERSON: Track = 0
AGENT: Track = 1


class TrackLine:
    """One track of the file: pieces follow on from each other unless their times say otherwise."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._resampler = Resampler(rate, RATE)
        self._taken = self._made = 0
        self._next: int | None = None
        self._drift = 0.0
        """How much later than they are put pieces seem to be, in the mean, samples."""
        self._pieces = 0
        """Over which that is the mean."""

    def place(self, when: float, samples: Samples) -> tuple[int, Samples]:
        """Return where a piece goes, samples into the file, and what is to be put there.

        Args:
            when: time of its first sample, seconds into the file.
            samples: at the track's own rate.
        """
        held_back = self._taken / self.rate - self._made / RATE
        sound = self._resampler.feed(samples)
        self._taken, self._made = self._taken + len(samples), self._made + len(sound)
        start = self._start((when - held_back) * RATE)
        self._next = start + len(sound)
        return start, sound

    def _start(self, wanted: float) -> int:
        if self._next is None or abs(wanted - self._next) > SEAM_S * RATE:
            self._drift, self._pieces = 0.0, 0
            return round(wanted)
        self._pieces += 1
        self._drift += (wanted - self._next - self._drift) / min(self._pieces, MEAN_OVER)
        if abs(self._drift) < DRIFT_S * RATE or self._pieces < MEAN_OVER // 2:
            return self._next
        start = self._next + round(self._drift)
        self._drift, self._pieces = 0.0, 0
        return start


class SentFrames:
    """Says when the frame was captured that the agent sends now.

    A microphone whose taps are called by the event loop tells of a frame just before it yields it. One that calls
    them from its own thread is ahead by what waits in its queue.
    """

    def __init__(self) -> None:
        self._blocks: deque[tuple[float, float]] = deque(maxlen=1000)
        """When each block that was captured began and ended."""
        self._thread = threading.get_ident()
        self._least = float("inf")
        self._frames = 0
        self.here = True
        """Whether the taps are called by the event loop."""

    def tap(self, when: float, seconds: float) -> None:
        """Take that a block of this length was captured, from any thread."""
        self.here = threading.get_ident() == self._thread
        self._blocks.append((when, when + seconds))

    def take(self, seconds: float) -> float | None:
        """Return when a frame of this length began, None where nothing is known."""
        if not self._blocks:
            return None
        if self.here:
            when = self._blocks[-1][0]
            self._blocks.clear()
            return when
        if self._backlog() > BACKLOG_S + seconds:
            self._skip(self._backlog() - seconds)
        when = self._blocks[0][0]
        self._skip(seconds)
        self._notice_gaps()
        return when

    def _backlog(self) -> float:
        return sum(end - start for start, end in self._blocks)

    def _skip(self, seconds: float) -> None:
        while self._blocks and seconds > 0:
            start, end = self._blocks.popleft()
            if seconds < end - start:
                self._blocks.appendleft((start + seconds, end))
            seconds -= end - start

    def _notice_gaps(self) -> None:
        """Skip what has been waiting for a second: it will not be sent."""
        self._least = min(self._least, self._backlog())
        self._frames += 1
        if self._frames % 50 == 0:
            if self._least > SEAM_S:
                self._skip(self._least)
            self._least = float("inf")


class SoundClock:
    """The clock of the sound."""

    def __init__(self, *, in_step: bool) -> None:
        self._in_step = in_step
        self._shifts: dict[Track, float] = {}
        self._offset: float | None = None
        """Of the computer's clock."""
        self._now = 0.0
        self._told = 0.0

    def tell(self, track: Track, end: float) -> float:
        """Take when a piece ended, by the clock of its end, and return how far that one is off."""
        here = time.monotonic()
        self._offset = here - end if self._offset is None else self._offset
        shift = self._shifts.get(track, 0.0)
        if abs(here - self._offset - end - shift) > OTHER_CLOCK_S and not self._in_step:
            shift = here - self._offset - end
        self._shifts[track] = shift
        if self._in_step:
            self._now = max(self._now, end)
        elif track == PERSON or PERSON not in self._shifts:
            self._now, self._told = end + shift, here
        return shift

    def now(self) -> float:
        """Return the time, as far as the sound has told it."""
        if self._offset is None:
            return time.monotonic()
        return self._now if self._in_step else self._now + time.monotonic() - self._told
