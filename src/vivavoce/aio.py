"""Bridges between blocking code, signals and structured concurrency."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import anyio
from anyio import to_thread

if TYPE_CHECKING:
    import signal
    from collections.abc import AsyncGenerator, Callable, Iterator

P = ParamSpec("P")
T = TypeVar("T")

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


async def cancel_on_signal(scope: anyio.CancelScope, *signals: signal.Signals) -> None:
    """Cancel the scope when one of the signals arrives."""
    with anyio.open_signal_receiver(*signals) as received:
        async for _ in received:
            scope.cancel()
            return
