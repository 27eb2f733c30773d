"""What was found a moment ago, and what is being looked for: the same question is asked once."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import anyio
import msgspec

from vivavoce.ports import BackendError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

V = TypeVar("V")

FRESH_S: Final = 300.0
MOST_BYTES: Final = 1_000_000


class _Kept(msgspec.Struct, Generic[V]):
    value: V
    size: int
    until: float


class _Asking(Generic[V]):
    """A question that is under way."""

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.answer: V | None = None
        self.failure: BackendError | None = None


class Cache(Generic[V]):
    """Answers by question, the least recently used forgotten first; failures are not kept.

    Args:
        fresh_s: seconds for which an answer is good.
        most_bytes: of all answers together, as JSON.
        clock: seconds, of any beginning.
    """

    def __init__(
        self,
        *,
        fresh_s: float = FRESH_S,
        most_bytes: int = MOST_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fresh_s = fresh_s
        self._most_bytes = most_bytes
        self._clock = clock
        self._kept: OrderedDict[Hashable, _Kept[V]] = OrderedDict()
        self._bytes = 0
        self._asking: dict[Hashable, _Asking[V]] = {}

    async def fetch(self, question: Hashable, ask: Callable[[], Awaitable[V]]) -> V:
        """Return the answer to a question: kept, being fetched by somebody else, or asked for now.

        Whoever waits for another's question asks himself where that one is cancelled.

        Raises:
            BackendError: it cannot be had; the same for all that wait.
        """
        while True:
            if (kept := self._fresh(question)) is not None:
                return kept.value
            asking = self._asking.get(question)
            if asking is None:
                return await self._ask(question, ask)
            await asking.done.wait()
            if asking.failure is not None:
                raise BackendError(asking.failure.code, asking.failure.message)
            if asking.answer is not None:
                return asking.answer

    async def _ask(self, question: Hashable, ask: Callable[[], Awaitable[V]]) -> V:
        asking = self._asking[question] = _Asking[V]()
        try:
            asking.answer = answer = await ask()
        except BackendError as failed:
            asking.failure = failed
            raise
        finally:
            del self._asking[question]
            asking.done.set()
        self._keep(question, answer)
        return answer

    def _fresh(self, question: Hashable) -> _Kept[V] | None:
        kept = self._kept.get(question)
        if kept is not None and kept.until <= self._clock():
            self._forget(question)
            return None
        if kept is not None:
            self._kept.move_to_end(question)
        return kept

    def _keep(self, question: Hashable, answer: V) -> None:
        size = len(msgspec.json.encode((question, answer)))
        if size > self._most_bytes:
            return
        self._kept[question] = _Kept(answer, size, self._clock() + self._fresh_s)
        self._bytes += size
        while self._bytes > self._most_bytes:
            self._forget(next(iter(self._kept)))

    def _forget(self, question: Hashable) -> None:
        self._bytes -= self._kept.pop(question).size
