"""What a client of ours is to hear, where playout is the server's: in order, and how much of it was given out."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from vivavoce.ports import Samples


class Told(NamedTuple):
    """Something that a client is told of its playout."""

    response_id: str
    begun: bool
    """Whether it begins to be heard, else has been heard to its end."""


class Cut(NamedTuple):
    """An answer that was cut off."""

    response_id: str
    item_id: str
    heard_ms: int
    """How much of the item was given out."""


@dataclass
class _Take:
    """The sound of one response; its items follow each other."""

    response_id: str
    pieces: deque[tuple[str, Samples]] = field(default_factory=deque)
    item_id: str = ""
    played: int = 0
    """Samples of that item that were given out."""
    begun: bool = False
    whole: bool = False
    """Whether no more of it will come."""


class Reel:
    """A queue of sound that knows to whom it belongs."""

    def __init__(self, rate: int) -> None:
        """Begin empty; `rate` is that of the samples, Hz."""
        self.paused = False
        self._rate = rate
        self._takes: deque[_Take] = deque()

    @property
    def idle(self) -> bool:
        """Tell whether everything has been given out."""
        return not any(take.pieces for take in self._takes)

    def put(self, response_id: str, item_id: str, samples: Samples) -> None:
        """Add sound of an item of a response."""
        take = next((take for take in self._takes if take.response_id == response_id), None)
        if take is None:
            self._takes.append(take := _Take(response_id))
        take.pieces.append((item_id, samples))

    def end(self, response_id: str) -> None:
        """Note that no more of a response will come."""
        for take in self._takes:
            take.whole = take.whole or take.response_id == response_id

    def give(self, count: int) -> tuple[Samples, list[Told]]:
        """Return the next samples, silence where there are none, and what is to be told of them."""
        out, filled, told = np.zeros(count, np.float32), 0, list[Told]()
        while self._takes and not self.paused:
            take = self._takes[0]
            if take.pieces and not take.begun:
                take.begun = True
                told.append(Told(take.response_id, begun=True))
            while take.pieces and filled < count:
                filled += self._fill(take, out[filled:])
            if take.pieces or not take.whole:
                break
            self._takes.popleft()
            if take.begun:
                told.append(Told(take.response_id, begun=False))
        return out, told

    def cut(self) -> Cut | None:
        """Forget everything, and return what was being heard, if anything was still to be."""
        busy = [take for take in self._takes if take.pieces or (take.begun and not take.whole)]
        self._takes.clear()
        self.paused = False
        if not busy:
            return None
        take = busy[0]
        item_id = take.item_id or take.pieces[0][0]
        return Cut(take.response_id, item_id, take.played * 1000 // self._rate)

    @staticmethod
    def _fill(take: _Take, room: Samples) -> int:
        item_id, samples = take.pieces.popleft()
        if item_id != take.item_id:
            take.item_id, take.played = item_id, 0
        length = min(len(room), len(samples))
        room[:length] = samples[:length]
        take.played += length
        if length < len(samples):
            take.pieces.appendleft((item_id, samples[length:]))
        return length
