"""A conversation as a program holds it: it says and interrupts, and reads what happens as a stream of events."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
import msgspec

from vivavoce.agent.agent import Agent, SoundCounts
from vivavoce.ports import LinkClosed
from vivavoce.realtime.client import Cite, Report, Run, Show, State, Warn

if TYPE_CHECKING:
    from collections.abc import Callable

    from vivavoce.agent.tools import ToolResult

KEPT = 10_000
"""Events that wait to be read; the oldest are forgotten where nobody reads."""
OPEN_S = 15.0
"""Time that a server has to open the session."""


class StateChanged(msgspec.Struct, frozen=True):
    """The conversation does something else now."""

    state: State


class Called(msgspec.Struct, frozen=True):
    """A tool has returned."""

    run: Run
    result: ToolResult


class Confirm(msgspec.Struct, frozen=True):
    """A call waits for the person's consent: `confirm` answers, if the person does not aloud."""

    run: Run
    question: str


class Confirmed(msgspec.Struct, frozen=True):
    """A call waits no more."""

    run: Run
    yes: bool


class Note(msgspec.Struct, frozen=True):
    """A line that nobody said, fit for a person."""

    text: str


Event: TypeAlias = StateChanged | Show | Run | Called | Confirm | Confirmed | Cite | Report | SoundCounts | Note | Warn
"""What happens: words, calls and what came of them, sources, states, timings, mishaps."""


class Told:
    """A view that makes an event of everything it is shown (port `View`)."""

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self.level_db = -96.0
        """How loud the microphone is."""
        self._tell = tell
        self._state: State = "connecting"

    def state(self, state: State) -> None:
        """Tell a change of what the conversation is doing."""
        if state != self._state:
            self._state = state
            self._tell(StateChanged(state))

    def words(self, show: Show) -> None:
        """Tell what was said so far."""
        self._tell(show)

    def calling(self, run: Run) -> None:
        """Tell that a tool runs."""
        self._tell(run)

    def called(self, run: Run, result: ToolResult) -> None:
        """Tell what a tool returned."""
        self._tell(Called(run, result))

    def confirm(self, run: Run, question: str) -> None:
        """Tell that a call waits for consent."""
        self._tell(Confirm(run, question))

    def confirmed(self, run: Run, *, yes: bool) -> None:
        """Tell that it waits no more."""
        self._tell(Confirmed(run, yes))

    def citing(self, cite: Cite) -> None:
        """Tell where an answer has something from."""
        self._tell(cite)

    def report(self, report: Report) -> None:
        """Tell where the time of a turn went."""
        self._tell(report)

    def sound(self, counts: SoundCounts) -> None:
        """Tell what went wrong with the sound."""
        self._tell(counts)

    def note(self, text: str) -> None:
        """Tell a line that nobody said."""
        self._tell(Note(text))

    def warn(self, warn: Warn) -> None:
        """Tell that something is wrong."""
        self._tell(warn)

    def level(self, db: float) -> None:
        """Remember how loud the microphone is: too much for an event."""
        self.level_db = db


class Conversation(Agent):
    """An agent whose view is the program: iterate over what happens, while the person or the program talks.

        async for event in conversation:
            match event:
                case Show(role="assistant", final=True): print(event.text)

    An iteration goes on where the last one was left, and ends with the conversation.
    """

    def __init__(self, *arguments: Any, **parts: Any) -> None:
        """Get ready.

        Args:
            *arguments: of `Agent`.
            **parts: of `Agent`, but for its view.
        """
        self._told = Told(self._tell)
        self._events: deque[Event] = deque(maxlen=KEPT)
        self._news = anyio.Event()
        self._over = False
        super().__init__(*arguments, view=self._told, **parts)

    @property
    def state(self) -> State:
        """Return what the conversation is doing."""
        return self._client.state

    @property
    def level_db(self) -> float:
        """Return how loud the microphone is, dB below full scale."""
        return self._told.level_db

    async def run(self) -> None:
        """Converse until it is over; see `Agent.run`."""
        try:
            await super().run()
        finally:
            self._over = True
            self._news.set()

    async def opened(self) -> None:
        """Wait until the server has opened the session.

        Raises:
            LinkClosed: it does not.
        """
        with anyio.move_on_after(OPEN_S):
            await self._until(lambda: self.state not in ("connecting", "reconnecting"))
            return
        raise LinkClosed(
            f"The server has not opened a session within {OPEN_S:g} seconds; check the address, and try again."
        )

    async def answered(self) -> None:
        """Wait until nothing is being said, made or awaited."""
        await self._until(lambda: self.quiet)

    def __aiter__(self) -> Conversation:
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            if self._over:
                raise StopAsyncIteration
            await self._news.wait()
        return self._events.popleft()

    def _tell(self, event: Event) -> None:
        self._events.append(event)
        self._news.set()
        self._news = anyio.Event()

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not (holds() or self._over):
            await self._news.wait()
