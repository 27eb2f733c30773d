"""Bridges between blocking code, links and structured concurrency."""

from __future__ import annotations

import functools
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

import anyio
from anyio import create_task_group, to_thread

from vivavoce.ports import LinkClosed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator

    from anyio.abc import ObjectReceiveStream, ObjectSendStream

P = ParamSpec("P")
T = TypeVar("T")
InT = TypeVar("InT")
OutT = TypeVar("OutT")

_END = object()


def in_thread(generate: Callable[P, Iterator[T]]) -> Callable[P, AsyncGenerator[T, None]]:
    """Make an async generator of a blocking one: each step runs in a worker thread.

    A step is never abandoned: cancellation takes effect after it, so keep steps short.
    """

    @functools.wraps(generate)
    async def run(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T, None]:
        steps = generate(*args, **kwargs)
        try:
            while (step := await to_thread.run_sync(next, steps, _END)) is not _END:
                yield step  # type: ignore[misc]
        finally:
            close = getattr(steps, "close", None)
            if close is not None:
                with anyio.CancelScope(shield=True):
                    await to_thread.run_sync(close)

    return run


@asynccontextmanager
async def beside(work: Callable[..., Awaitable[object]], *arguments: Any) -> AsyncIterator[None]:
    """Run work beside the block, until the block ends; the block ends early where the work fails.

    Raises:
        Exception: what failed first of the two, as it is; a task group would wrap it.
    """
    failures: list[Exception] = []

    async def run() -> None:
        try:
            await work(*arguments)
        except Exception as failure:  # noqa: BLE001 - raised again outside the group
            failures.append(failure)
            tasks.cancel_scope.cancel()

    async with create_task_group() as tasks:
        tasks.start_soon(run)
        try:
            yield
        except Exception as failure:  # noqa: BLE001 - likewise
            failures.append(failure)
        tasks.cancel_scope.cancel()
    if failures:
        raise failures[0]


class Spool(Generic[T]):
    """Things for one reader, who may come late: it takes them in order and waits for more until the end."""

    def __init__(self) -> None:
        self._things: deque[T] = deque()
        self._more = anyio.Event()
        self._ended = False

    def put(self, *things: T) -> None:
        """Add what comes next."""
        self._things.extend(things)
        self._more.set()

    def end(self) -> None:
        """Nothing more will come."""
        self._ended = True
        self._more.set()

    async def __aiter__(self) -> AsyncGenerator[T, None]:
        """Yield everything once."""
        while True:
            while self._things:
                yield self._things.popleft()
            if self._ended:
                return
            self._more = anyio.Event()
            await self._more.wait()


class MemoryLink(Generic[InT, OutT]):
    """One end of a link inside a process: event objects, no socket, no JSON (port `Link`)."""

    def __init__(self, inbox: ObjectReceiveStream[InT], outbox: ObjectSendStream[OutT]) -> None:
        self._inbox = inbox
        self._outbox = outbox

    async def receive(self) -> InT:
        """Return the next event."""
        try:
            event: InT = await self._inbox.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            raise LinkClosed("The other side has closed the conversation.") from None
        return event

    async def send(self, event: OutT) -> None:
        """Hand an event over."""
        try:
            await self._outbox.send(event)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise LinkClosed("The other side has closed the conversation.") from None

    async def close(self, code: int = 1000, reason: str = "") -> None:  # noqa: ARG002 - port `Link`
        """Close both directions."""
        await self._outbox.aclose()
        await self._inbox.aclose()


def link_pair(buffered: float = 0) -> tuple[MemoryLink[InT, OutT], MemoryLink[OutT, InT]]:
    """Return both ends of a link; a sender waits while more than `buffered` events are under way."""
    send_out, receive_out = anyio.create_memory_object_stream[OutT](buffered)
    send_in, receive_in = anyio.create_memory_object_stream[InT](buffered)
    return MemoryLink(receive_in, send_out), MemoryLink(receive_out, send_in)
