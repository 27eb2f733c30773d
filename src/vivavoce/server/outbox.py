"""What waits for a client, bounded in bytes."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import anyio
from anyio.lowlevel import checkpoint

from vivavoce.realtime.events import OutputAudioDelta, encode

if TYPE_CHECKING:
    from vivavoce.realtime.events import AnyServerEvent

LIMIT: Final = 1024 * 1024
"""Bytes of JSON that may wait, beyond the sound that is sent ahead of time on purpose."""
UNPACED_S: Final = 600.0
"""Seconds of sound that may wait where nothing is paced."""

HELPING: Final = 32 * 1024
"""Bytes that are given out before others have their turn; they leave in one system call where the loop can do that."""

_ENVELOPE: Final = 300
"""Bytes around the sound in its event, about."""


class OutboxFullError(Exception):
    """The client reads too slowly."""


class Outbox:
    """Events on their way to a client."""

    def __init__(self) -> None:
        self.paced = 0
        """Bytes of sound, as base64, that may wait beyond the limit."""
        self._events: deque[tuple[AnyServerEvent, int]] = deque()
        self._more = anyio.Event()
        self._closed = False
        self._sound = 0
        self._rest = 0
        self._given = 0

    def put(self, event: AnyServerEvent) -> None:
        """Add an event; after the close it is dropped.

        Raises:
            OutboxFullError: too much is waiting.
        """
        if self._closed:
            return
        size = _size(event)
        self._count(event, size)
        if self._rest + max(self._sound - self.paced, 0) > LIMIT:
            raise OutboxFullError
        self._events.append((event, size))
        self._more.set()

    async def get(self) -> AnyServerEvent | None:
        """Return the next event, None after the last one."""
        if self._given >= HELPING:
            self._given = 0
            await checkpoint()
        while not self._events:
            if self._closed:
                return None
            self._more = anyio.Event()
            await self._more.wait()
            self._given = 0
        event, size = self._events.popleft()
        self._count(event, -size)
        self._given += size
        return event

    def close(self) -> None:
        """Take no more events; those that wait are still given out."""
        self._closed = True
        self._more.set()

    def _count(self, event: AnyServerEvent, size: int) -> None:
        if isinstance(event, OutputAudioDelta):
            self._sound += size
        else:
            self._rest += size


def _size(event: AnyServerEvent) -> int:
    if isinstance(event, OutputAudioDelta):
        return len(event.delta) * 4 // 3 + _ENVELOPE
    return len(encode(event))
