"""A speaker for devices that ask for sound: telephone lines, robots, pages that play what they are sent."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np
from anyio import lowlevel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vivavoce.ports import Samples, Tap


class PulledSpeaker:
    """Keeps what is to be played until it is taken (ports `Speaker`, `Tapped`): what was taken has been heard."""

    def __init__(self, sample_rate: int) -> None:
        """Get ready.

        Args:
            sample_rate: of the sound that is taken, Hz; that of the session may be another.
        """
        self.sample_rate = self.tap_rate = sample_rate
        self.taps: list[Tap] = []
        self._passed = 0
        """Samples taken so far, silence included: the clock of the device."""
        self._queue: deque[tuple[str, Samples]] = deque()
        self._item_id, self._taken = "", 0
        self._paused = False

    def take(self, samples: int) -> Samples:
        """Return so many samples of what is to be heard now, with silence where there is nothing."""
        sound = np.concatenate([np.zeros(0, np.float32), *(piece for _, piece in self.pieces(samples))])
        sound = np.pad(sound, (0, samples - len(sound)))
        for tap in self.taps:
            tap(self._passed / self.sample_rate, sound)
        self._passed += samples
        return sound

    def pieces(self, samples: int) -> Iterator[tuple[str, Samples]]:
        """Yield at most so many samples of what is to be heard now, with the items that they belong to."""
        while self._queue and samples and not self._paused:
            item_id, sound = self._queue.popleft()
            piece, rest = sound[:samples], sound[samples:]
            if len(rest):
                self._queue.appendleft((item_id, rest))
            if item_id != self._item_id:
                self._item_id, self._taken = item_id, 0
            self._taken += len(piece)
            samples -= len(piece)
            yield item_id, piece

    async def play(self, item_id: str, samples: Samples) -> None:
        """Queue sound that belongs to an item; never waits for room."""
        self._queue.append((item_id, samples))
        await lowlevel.checkpoint()

    def hush(self) -> None:
        """Forget what was not taken yet."""
        self._queue.clear()
        self._paused = False

    def pause(self) -> None:
        """Give silence until `resume` or `hush`."""
        self._paused = True

    def resume(self) -> None:
        """Go on."""
        self._paused = False

    def heard(self) -> tuple[str, int] | None:
        """Return the item that was taken last, and how many milliseconds of it."""
        return (self._item_id, self._taken * 1000 // self.sample_rate) if self._item_id else None

    def idle(self) -> bool:
        """Tell whether everything queued has been taken."""
        return not self._queue
