"""The line to the server: one link after the other, opened again when it has gone."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import anyio
from anyio import CancelScope

from vivavoce.ports import LinkClosed
from vivavoce.realtime.client import Warn
from vivavoce.realtime.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from vivavoce.ports import Link
    from vivavoce.realtime.events import AnyClientEvent, AnyServerEvent, Unknown

    ClientLink: TypeAlias = Link[AnyServerEvent | Unknown, AnyClientEvent]
    Opening: TypeAlias = Callable[[], AbstractAsyncContextManager[ClientLink]]

FIRST_S: Final = 0.5
"""Bound of the wait before the second try."""
CLOSE_S: Final = 2.0
"""Time for a server to take leave."""
LONGEST_S: Final = 15.0
"""Bound of any wait that the server does not ask for."""
STEADY_S: Final = 10.0
"""A session that has lasted so long was no try."""
HOPELESS: Final = frozenset({3000, 3003, 4000, 4004})
"""Close codes that another try will meet again: no such key, right, model or endpoint."""
NOT_YET: Final = frozenset({1012, 1013})
"""Close codes of a server that will take a session in a moment."""


class Backoff:
    """Waits between tries: none, then random ones up to a bound that doubles (exponential, with full jitter)."""

    def __init__(self, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._uniform = uniform
        self._tries = 0

    def next(self) -> float:
        """Return the seconds to wait before the next try."""
        self._tries += 1
        doublings = min(self._tries - 2, 16)
        return self._uniform(0.0, min(FIRST_S * 2**doublings, LONGEST_S)) if self._tries > 1 else 0.0

    def reset(self) -> None:
        """Note that a try has succeeded."""
        self._tries = 0


class Watcher(Protocol):
    """Who is told how the line does."""

    def note(self, text: str) -> None:
        """Show a line that nobody said."""

    def warn(self, warn: Warn) -> None:
        """Show that something is wrong."""


class Line:
    """What carries the events of one conversation."""

    def __init__(
        self,
        link: ClientLink,
        reopen: Opening | None,
        *,
        watcher: Watcher,
        hear: Callable[[AnyServerEvent | Unknown], None],
        lost: Callable[[], None],
    ) -> None:
        """Get ready.

        Args:
            link: the first one, open.
            reopen: opens another one; without it the conversation ends with the first.
            watcher: told in a few words.
            hear: takes each event.
            lost: told that a link has gone, before another one is opened.
        """
        self._link = link
        self._reopen = reopen
        self._watcher = watcher
        self._hear = hear
        self._lost = lost
        self._backoff = Backoff()
        self._reading = CancelScope()
        self._lost_at: float | None = None
        self._ready_at: float | None = None
        self._worked = False
        """Whether there has been a session."""

    async def run(self) -> None:
        """Receive until the caller cancels.

        Raises:
            LinkClosed: the server has gone, and another try will not help; the message says why.
        """
        opening: AbstractAsyncContextManager[ClientLink] = nullcontext(self._link)
        while True:
            wait_s = 0.0
            try:
                async with opening as self._link, aclosing(self):
                    with CancelScope() as self._reading:
                        await self._receive()
                self._leave()
            except LinkClosed as closed:
                if self._reopen is None or hopeless(closed) or not (self._worked or closed.code in NOT_YET):
                    raise
                wait_s = closed.retry_after
                self._lose()
            if self._reopen is None:
                return
            opening = _opened_again(self._reopen, self._backoff, wait_s)

    async def send(self, event: AnyClientEvent) -> None:
        """Send an event; without a link it is forgotten.

        Raises:
            LinkClosed: the server has gone, and nothing opens another link.
        """
        try:
            await self._link.send(event)
        except LinkClosed:
            if self._reopen is None:
                raise

    async def aclose(self) -> None:
        """End the connection that there is."""
        with CancelScope(shield=True), anyio.move_on_after(CLOSE_S):
            await self._link.close()

    def renew(self) -> None:
        """Open another link instead of this one."""
        self._reading.cancel()

    def follow(self, *, ready: bool) -> None:
        """Note whether there is a session."""
        if not ready or self._ready_at is not None:
            return
        self._worked, self._ready_at = True, anyio.current_time()
        if self._lost_at is not None:
            self._watcher.note(f"Reconnected after {self._ready_at - self._lost_at:.1f} s.")
        self._lost_at = None

    async def _receive(self) -> None:
        while not self._reading.cancel_called:  # what has come already is received without a chance to be cancelled
            try:
                event = await self._link.receive()
            except ProtocolError as wrong:
                self._watcher.warn(Warn(wrong.code or "invalid_event", wrong.message))
            else:
                self._hear(event)

    def _leave(self) -> None:
        """Note that the session is over."""
        if self._ready_at is not None and anyio.current_time() - self._ready_at >= STEADY_S:
            self._backoff.reset()
        self._ready_at = None

    def _lose(self) -> None:
        self._leave()
        if self._lost_at is None:
            self._lost_at = anyio.current_time()
            lost = "Connection lost; reconnecting …"
            self._watcher.note(lost if self._worked else "The server takes no session yet; trying again …")
        self._lost()


@asynccontextmanager
async def _opened_again(opening: Opening, backoff: Backoff, wait_s: float) -> AsyncIterator[ClientLink]:
    """Open a link, however often that takes.

    Args:
        opening: opens one.
        backoff: how long to wait before each try.
        wait_s: what the server asks us to wait before the first one.

    Raises:
        LinkClosed: another try would meet the same refusal; the message names the remedy.
    """
    async with AsyncExitStack() as stack:
        yield await _patiently(stack, opening, backoff, wait_s)


async def _patiently(stack: AsyncExitStack, opening: Opening, backoff: Backoff, wait_s: float) -> ClientLink:
    while True:
        await anyio.sleep(wait_s + backoff.next())
        try:
            return await stack.enter_async_context(opening())
        except LinkClosed as refused:
            if hopeless(refused):
                raise
            wait_s = refused.retry_after


def hopeless(closed: LinkClosed) -> bool:
    """Tell whether trying again cannot mend it."""
    return closed.code in HOPELESS
