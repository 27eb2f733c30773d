"""What a person looks at while they talk: the port of every view."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from vivavoce.agent.tools import ToolResult
    from vivavoce.realtime.client import Cite, Report, Run, Show, State, Warn


class SoundCounts(NamedTuple):
    """What went wrong with the sound since the beginning."""

    underruns: int = 0
    """How often an answer ran dry at the speaker."""
    dropped: int = 0
    """Frames of the person's voice that were lost on the way to the server."""
    overflows: int = 0
    """How often the microphone itself lost sound."""


class View(Protocol):
    """What a person looks at."""

    def state(self, state: State) -> None:
        """Show what the conversation is doing."""

    def words(self, show: Show) -> None:
        """Show what was said; called again with more words of the same item."""

    def calling(self, run: Run) -> None:
        """Show that a tool runs."""

    def called(self, run: Run, result: ToolResult) -> None:
        """Show what a tool returned."""

    def confirm(self, run: Run, question: str) -> None:
        """Show that a call waits for the person's consent."""

    def confirmed(self, run: Run, *, yes: bool) -> None:
        """Show that it waits no more."""

    def citing(self, cite: Cite) -> None:
        """Show where an answer has something from."""

    def report(self, report: Report) -> None:
        """Show where the time of a turn went."""

    def sound(self, counts: SoundCounts) -> None:
        """Show what went wrong with the sound."""

    def note(self, text: str) -> None:
        """Show a line that nobody said."""

    def warn(self, warn: Warn) -> None:
        """Show that something is wrong."""

    def level(self, db: float) -> None:
        """Show how loud the microphone is, dB below full scale."""
