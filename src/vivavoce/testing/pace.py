"""Knows when everybody has done what was to do, so that time can pass: what makes a talk the same at every run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

import anyio

from vivavoce.aio import link_pair
from vivavoce.realtime.client import Hush, Play, Returned, Run
from vivavoce.realtime.events import ClientEvent, ResponseCreated, ResponseDone, ServerEvent

if TYPE_CHECKING:
    from vivavoce.aio import MemoryLink
    from vivavoce.ports import Link
    from vivavoce.realtime.client import Input, Output
    from vivavoce.realtime.events import AnyClientEvent, AnyServerEvent, Unknown
    from vivavoce.testing.person import Person

    ClientSays: TypeAlias = AnyClientEvent
    ServerSays: TypeAlias = AnyServerEvent | Unknown

InT = TypeVar("InT")
OutT = TypeVar("OutT")


class CountedLink(Generic[InT, OutT]):
    """One end of a link that counts what passes (port `Link`)."""

    def __init__(self, link: Link[InT, OutT], pace: Pace) -> None:
        self.sent = 0
        self.received = 0
        self.waiting = False
        """Whether whoever reads has done with all that it has read."""
        self._link = link
        self._pace = pace

    async def receive(self) -> InT:
        """Return the next event."""
        self.waiting = True
        self._pace.changed()
        event = await self._link.receive()
        self.waiting = False
        self.received += 1
        return event

    async def send(self, event: OutT) -> None:
        """Hand an event over."""
        await self._link.send(event)
        self.sent += 1
        self._pace.changed()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close both directions."""
        await self._link.close(code, reason)


class Pace:
    """Watches the agent, the server and the link between them."""

    def __init__(self) -> None:
        self.answers = 0
        """Responses that are done, but for those that were cancelled."""
        self._news = anyio.Event()
        self._posted = 0
        """Events that the agent wants to send."""
        self._uttered = 0
        """Events that the server wants to send."""
        self._pieces = 0
        """Pieces of sound that the person has not been given yet."""
        self._responses: set[str] = set()
        """Those that are open."""
        self._calls: set[str] = set()
        """Those that run."""

    def link(self) -> tuple[CountedLink[ServerSays, ClientSays], CountedLink[ClientSays, ServerSays]]:
        """Return both ends of a link, the agent's first."""
        theirs: MemoryLink[ClientSays, ServerSays]
        ours: MemoryLink[ServerSays, ClientSays]
        theirs, ours = link_pair(1)
        self._agent, self._server = CountedLink(ours, self), CountedLink(theirs, self)
        return self._agent, self._server

    def given(self) -> None:
        """Say that the person was given a piece of sound."""
        self._pieces = max(self._pieces - 1, 0)
        self.changed()

    def changed(self) -> None:
        """Say that something is done."""
        self._news.set()
        self._news = anyio.Event()

    async def news(self) -> None:
        """Wait until something is done."""
        await self._news.wait()

    def watch_agent(self, what: Input | Output) -> None:
        """See what goes in and out of the agent's half of the session."""
        match what:
            case ClientEvent():
                self._posted += 1
            case Play():
                self._pieces += 1
            case Hush():
                self._pieces = 0  # what was not given yet never will be
            case Run():
                self._calls.add(what.call_id)
            case Returned():
                self._calls.discard(what.call_id)
            case ResponseCreated():
                self._responses.add(what.response.id)
            case ResponseDone():
                self._responses.discard(what.response.id)
                self.answers += what.response.status != "cancelled"
            case _:
                pass
        self.changed()

    def watch_server(self, what: object) -> None:
        """See what goes in and out of the server's half of the session."""
        self._uttered += isinstance(what, ServerEvent)

    def agreed(self, call_id: str) -> None:
        """Say that the person agreed to a call: it runs now."""
        self._calls.add(call_id)

    def called(self, call_id: str) -> None:
        """Say that a call has a result."""
        self._calls.discard(call_id)

    def let_run(self) -> None:
        """Wait for the calls that run now no longer: time passes over them."""
        self._calls.clear()

    def settled(self, person: Person) -> bool:
        """Tell whether nothing is under way: no event, no sound, no answer, no call."""
        agent, server = self._agent, self._server
        return (
            person.attended
            and agent.waiting
            and server.waiting
            and self._posted == agent.sent == server.received
            and self._uttered == server.sent == agent.received
            and not (self._pieces or self._responses or self._calls)
        )
