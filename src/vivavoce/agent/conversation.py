"""A conversation as a program holds it: it says and interrupts, and reads what happens as a stream of events."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Literal, TypeAlias

import anyio
import msgspec

from vivavoce.agent.view import SoundCounts
from vivavoce.ports import LinkClosed
from vivavoce.realtime.client import Cite, Report, Run, Show, State, Warn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from vivavoce.agent.agent import Agent
    from vivavoce.agent.tools import ToolResult

KEPT = 10_000
"""Events that wait to be read; the oldest are forgotten where nobody reads."""
OPEN_S = 15.0
"""Time that a server has to open the session."""


class StateChanged(msgspec.Struct, frozen=True):
    """The conversation does something else now."""

    state: State


class Said(msgspec.Struct, frozen=True):
    """Somebody has said something; told once, when it was heard, where `Show` tells each word of it."""

    role: Literal["user", "assistant"]
    text: str
    """Of an answer that was cut, what was heard of it."""
    cut: bool = False
    """The person interrupted it."""


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


Event: TypeAlias = (
    StateChanged | Show | Said | Run | Called | Confirm | Confirmed | Cite | Report | SoundCounts | Note | Warn
)
"""What happens: words, calls and what came of them, sources, states, timings, mishaps."""


class Told:
    """A view that makes an event of everything it is shown (port `View`)."""

    def __init__(self, tell: Callable[[Event | None], None]) -> None:
        """Get ready; `tell` takes each event, and None where something may have changed without one."""
        self.now: State = "connecting"
        """What the conversation is doing."""
        self.level_db = -96.0
        """How loud the microphone is."""
        self._tell = tell
        self._unheard: dict[str, Show] = {}
        """Answers that are complete, while they are heard."""
        self._said: dict[str, str] = {}

    def state(self, state: State) -> None:
        """Tell a change of what the conversation is doing; that it begins is none."""
        before, self.now = self.now, state
        if state != "speaking":
            for show in list(self._unheard.values()):
                self._say(show)
        begins = state == "connecting" or (before, state) == ("connecting", "listening")
        self._tell(None if begins or state == before else StateChanged(state))

    def words(self, show: Show) -> None:
        """Tell what was said so far, and once what has been said."""
        self._tell(show)
        if not show.final:
            return
        if show.cut or show.heard is None or show.heard >= len(show.text.rstrip()):
            self._say(show)
        else:
            self._unheard[show.item_id] = show

    def _say(self, show: Show) -> None:
        self._unheard.pop(show.item_id, None)
        text = show.text[: show.heard].strip() if show.cut else show.text.strip()
        if self._said.get(show.role) != f"{show.item_id} {text}":
            self._said[show.role] = f"{show.item_id} {text}"
            self._tell(Said(show.role, text, show.cut))

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


class Conversation:
    """A conversation that is open: a program talks in it, and iterates over what happens.

        async for event in conversation:
            match event:
                case vivavoce.Said(role="assistant"): print(event.text)

    An iteration goes on where the last one was left, and ends with the conversation.
    """

    def __init__(self, make: Callable[[Told], Agent]) -> None:
        """Get ready; `make` makes an agent under its view."""
        self._events: deque[Event] = deque(maxlen=KEPT)
        self._news = anyio.Event()
        self._over = False
        self._told = Told(self._tell)
        self._agent = make(self._told)

    # What happens ----------------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """What the conversation is doing."""
        return self._told.now

    @property
    def quiet(self) -> bool:
        """Whether nothing is being said, made or awaited."""
        return self._agent.quiet

    @property
    def level_db(self) -> float:
        """How loud the microphone is, dB below full scale."""
        return self._told.level_db

    async def answered(self) -> None:
        """Wait until nothing is being said, made or awaited."""
        await self._until(lambda: self.quiet)

    def __aiter__(self) -> Conversation:
        return self

    async def __anext__(self) -> Event:
        await self._until(lambda: bool(self._events))
        if not self._events:
            raise StopAsyncIteration
        return self._events.popleft()

    # What the person or the program does -----------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Say something in writing; the agent answers as it does to speech."""
        self._agent.say(text)

    def interrupt(self) -> None:
        """Make the answer stop."""
        self._agent.interrupt()

    def confirm(self, *, yes: bool) -> None:
        """Answer the call that waits for consent, if one does."""
        self._agent.confirm(yes=yes)

    def replay(self) -> bool:
        """Play the last answer again, and tell whether there is one to be played now."""
        return self._agent.replay()

    @property
    def muted(self) -> bool:
        """Whether the server hears nothing of the microphone."""
        return self._agent.muted

    @muted.setter
    def muted(self, muted: bool) -> None:
        self._agent.muted = muted

    @property
    def push_to_talk(self) -> bool:
        """Whether the server hears the microphone only from `press` to `release`, and answers then."""
        return self._agent.push_to_talk

    @push_to_talk.setter
    def push_to_talk(self, wanted: bool) -> None:
        self._agent.push_to_talk = wanted

    def press(self) -> None:
        """Begin a turn of push-to-talk."""
        self._agent.press()

    def release(self) -> None:
        """End the turn that `press` began."""
        self._agent.release()

    @property
    def voices(self) -> Sequence[str]:
        """The voices that the answer may have, as far as known."""
        return self._agent.voices

    def change_voice(self, name: str) -> None:
        """Let the next answers be spoken by another voice; a server that cannot says so."""
        self._agent.change_voice(name)

    def save(self) -> Path:
        """Write what was said so far as Markdown into a new file in the working directory, and return its path.

        Raises:
            SaveError: it cannot be written.
        """
        return self._agent.save()

    def stop(self) -> None:
        """End the conversation: the iteration over it ends, and the block goes on."""
        self._agent.stop()

    # Its life --------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Converse until it is over.

        Raises:
            LinkClosed: the server has gone; the message says why.
            DeviceError: the microphone or the speaker has gone.
        """
        try:
            await self._agent.run()
        finally:
            self._over = True
            self._wake()

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

    def _tell(self, event: Event | None) -> None:
        if event is not None:
            self._events.append(event)
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not (holds() or self._over):
            await self._news.wait()
