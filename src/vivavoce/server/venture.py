"""Work that was begun before it was wanted, and is begun afresh where that has come to nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import anyio
from anyio import CancelScope, create_task_group

from vivavoce.ports import BackendError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import TaskGroup

Attempt: TypeAlias = "Callable[[Callable[[], bool]], Awaitable[None]]"
"""Does the work. Before its first result counts it calls what it is given, which tells whether it counts at all."""

RELIEF_S: Final = 2.0
"""Once it is wanted, work without a result for so long is begun a second time beside the first."""
GIVEN_UP_S: Final = 6.0
"""The first attempt then has so long: an engine that does one thing at a time must get to the second."""


class Venture:
    """Up to two attempts at the same work, of which the one with the first result counts.

    A slow engine loses nothing by the second attempt, a hung one costs `RELIEF_S`, and a failure nothing.
    """

    def __init__(self) -> None:
        self._wanted = anyio.Event()
        self._sign = anyio.Event()
        self._attempts: list[CancelScope] = []
        self._leads: CancelScope | None = None
        self._failure: BackendError | None = None

    def want(self) -> None:
        """Note that somebody waits for the result now."""
        self._wanted.set()

    async def run(self, first: Attempt, second: Attempt | None = None) -> None:
        """Work until one attempt has done all.

        Args:
            first: begins at once.
            second: the same work afresh; as the first if absent.

        Raises:
            BackendError: the attempt that counted has failed, or both have without a result.
        """
        self._failure = None
        async with create_task_group() as tasks:
            tasks.start_soon(self._try, first, tasks)
            await self._wanted.wait()
            with anyio.move_on_after(RELIEF_S):
                await self._sign.wait()
            if self._leads is None:
                self._attempts[0].deadline = anyio.current_time() + GIVEN_UP_S
                tasks.start_soon(self._try, second or first, tasks)
        if self._failure is not None:
            raise self._failure

    async def _try(self, attempt: Attempt, tasks: TaskGroup) -> None:
        with CancelScope() as scope:
            self._attempts.append(scope)
            try:
                await attempt(lambda: self._lead(scope))
            except BackendError as failed:
                self._failure = failed
                self._sign.set()
                if scope is not self._leads:
                    return
            else:
                self._failure = None
            tasks.cancel_scope.cancel()

    def _lead(self, scope: CancelScope) -> bool:
        if self._leads is None:
            self._leads = scope
            self._failure = None
            self._sign.set()
            scope.deadline = float("inf")
            for other in self._attempts:
                if other is not scope:
                    other.cancel()
        return self._leads is scope
