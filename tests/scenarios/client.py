"""A client that is only a test: it streams sound as fast as the server takes it and reads events."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from tests.scenarios.speech import FRAME, silence

from vivavoce.agent.connection import connect
from vivavoce.realtime.events import (
    AnyClientEvent,
    InputAudioBufferAppend,
    ServerEvent,
    SessionCreated,
    SessionUpdate,
    SessionUpdated,
)
from vivavoce.speech.pcm import to_pcm16

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Any

    from vivavoce.ports import Link, Samples
    from vivavoce.realtime.events import AnyServerEvent, Unknown

    Wire = Link[AnyServerEvent | Unknown, AnyClientEvent]

T = TypeVar("T", bound=ServerEvent)

PAUSE_S = 1.0
"""After an utterance: longer than any silence that ends a turn here."""


class Client:
    """One session, event by event."""

    def __init__(self, link: Wire) -> None:
        self.seen: list[AnyServerEvent | Unknown] = []
        self._link = link

    async def send(self, event: AnyClientEvent) -> None:
        await self._link.send(event)

    async def say(self, sound: Samples) -> None:
        """Stream an utterance and a pause, in frames of 20 ms."""
        sound = silence(PAUSE_S) if not len(sound) else sound
        pcm = to_pcm16(sound) + to_pcm16(silence(PAUSE_S))
        for at in range(0, len(pcm), 2 * FRAME):
            await self._link.send(InputAudioBufferAppend(audio=pcm[at : at + 2 * FRAME]))

    async def until(self, kind: type[T]) -> T:
        """Read on to the next event of a kind."""
        while True:
            event = await self._link.receive()
            self.seen.append(event)
            if isinstance(event, kind):
                return event

    def all(self, kind: type[T]) -> list[T]:
        """Return what was seen of a kind."""
        return [event for event in self.seen if isinstance(event, kind)]


@asynccontextmanager
async def session(url: str, **settings: Any) -> AsyncIterator[Client]:
    """Open a session over a WebSocket with these settings."""
    async with connect(url) as link:
        client = Client(link)
        await client.until(SessionCreated)
        await client.send(SessionUpdate(session={"type": "realtime", **settings}))
        await client.until(SessionUpdated)
        yield client
