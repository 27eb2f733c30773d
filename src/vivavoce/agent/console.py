"""What a program, a pipe or a plain terminal sees of a conversation, and the choice of the view."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, TextIO, TypeAlias

import msgspec

from vivavoce.agent.steering import speak_lines
from vivavoce.agent.transcript import Call, Note, Stopwatch, Transcript, Words, arguments_of, outcome_of, redact

if TYPE_CHECKING:
    from typing import Self

    from vivavoce.agent.live import Console, WritingConsole
    from vivavoce.agent.steering import Steered
    from vivavoce.agent.tools import ToolResult
    from vivavoce.agent.transcript import Entry
    from vivavoce.realtime.client import Report, Run, Show, State, Warn


class PlainConsole:
    """Plain lines, for pipes, files and terminals that cannot move their cursor (port `View`)."""

    def __init__(self, stream: TextIO | None = None, errors: TextIO | None = None, *, text: bool = False) -> None:
        """Get ready.

        Args:
            stream: takes the conversation; standard output if absent.
            errors: takes the warnings; standard error if absent.
            text: what the person says comes as lines from standard input.
        """
        self._text = text
        self._stream = stream or sys.stdout
        self._errors = errors or sys.stderr
        self._transcript = Transcript(self._tell)
        self._stopwatch = Stopwatch()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._transcript.close()

    async def drive(self, agent: Steered) -> None:
        """Say the typed lines, if that is how the person speaks; there are no keys."""
        if self._text:
            await speak_lines(agent)

    def state(self, state: State) -> None:
        """Show nothing but the answers that are complete in this state."""
        self._transcript.settle(state)

    def words(self, show: Show) -> None:
        """Show what was said when all of it has been."""
        self._transcript.words(show)

    def calling(self, run: Run) -> None:
        """Note that a tool runs; it is shown when it has returned."""
        self._transcript.calling(run)

    def called(self, run: Run, result: ToolResult) -> None:
        """Show what a tool returned."""
        self._transcript.called(run, result)

    def report(self, report: Report) -> None:
        """Show where the time of a turn went."""
        line = self._stopwatch.lap(report.timings)
        if line is not None and self._stopwatch.median is not None:
            line.text += f" (median {self._stopwatch.median:.0f})"
        if line is not None:
            self._transcript.note(line)

    def warn(self, warn: Warn) -> None:
        """Show that something is wrong."""
        _print(self._errors, "warning", redact(warn.message))

    def note(self, text: str) -> None:
        """Show a line that nobody said."""
        _print(self._errors, "note", redact(text))

    def level(self, db: float) -> None:
        """Show nothing."""

    def _tell(self, entry: Entry) -> None:
        match entry:
            case Words():
                name = "you" if entry.role == "user" else "agent"
                _print(self._stream, name, entry.text + " — interrupted" * entry.cut)
            case Call():
                _print(self._stream, "tool", _call_line(entry))
            case Note():
                _print(self._stream, entry.kind, entry.text)


class JsonConsole:
    """One JSON object a line for everything that happens, for programs (port `View`)."""

    def __init__(self, stream: TextIO | None = None, *, text: bool = False) -> None:
        self._text = text
        self._stream = stream or sys.stdout
        self._state: State | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    async def drive(self, agent: Steered) -> None:
        """Say the typed lines, if that is how the person speaks; there are no keys."""
        if self._text:
            await speak_lines(agent)

    def state(self, state: State) -> None:
        """Write what the conversation is doing, when that changes."""
        if state != self._state:
            self._state = state
            self._write("state", state=state)

    def words(self, show: Show) -> None:
        """Write what was said so far."""
        self._write(
            "words", role=show.role, item_id=show.item_id, text=show.text, final=show.final, interrupted=show.cut
        )

    def calling(self, run: Run) -> None:
        """Write that a tool runs."""
        self._write("tool.call", call_id=run.call_id, name=run.name, arguments=run.arguments)

    def called(self, run: Run, result: ToolResult) -> None:
        """Write what a tool returned."""
        seconds = round(result.seconds, 3)
        self._write(
            "tool.result", call_id=run.call_id, name=run.name, ok=result.ok, seconds=seconds, output=result.output
        )

    def report(self, report: Report) -> None:
        """Write where the time of a turn went."""
        self._write("timings", **{k: v for k, v in msgspec.structs.asdict(report.timings).items() if k != "event_id"})

    def warn(self, warn: Warn) -> None:
        """Write that something is wrong."""
        self._write("warning", code=warn.code, message=redact(warn.message))

    def note(self, text: str) -> None:
        """Write a line that nobody said."""
        self._write("note", text=redact(text))

    def level(self, db: float) -> None:
        """Write nothing: fifty lines a second would drown the rest."""

    def _write(self, kind: str, **fields: Any) -> None:
        line = msgspec.json.encode({"type": kind, **fields}, enc_hook=str)
        print(line.decode(), file=self._stream, flush=True)


AnyConsole: TypeAlias = "Console | WritingConsole | PlainConsole | JsonConsole"


def console_for(
    microphone_name: str = "",
    speaker_name: str = "",
    *,
    print_json: bool = False,
    text: bool = False,
    stream: TextIO | None = None,
) -> AnyConsole:
    """Return the view that suits whoever reads the stream.

    Args:
        microphone_name: what the person's voice comes from.
        speaker_name: what the answer is heard from.
        print_json: a program reads.
        text: the person types.
        stream: where the view goes; standard output if absent.
    """
    stream = stream or sys.stdout
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")  # a letter that the terminal does not know must not end the conversation
    if print_json:
        return JsonConsole(stream, text=text)
    if not can_draw(stream):
        return PlainConsole(stream, text=text)
    from rich.console import Console as Terminal

    from vivavoce.agent.live import Console, WritingConsole

    terminal = Terminal(file=stream, highlight=False)
    return WritingConsole(terminal=terminal) if text else Console(microphone_name, speaker_name, terminal=terminal)


def can_draw(stream: TextIO) -> bool:
    """Tell whether the stream is a terminal that can move its cursor and show block glyphs."""
    if not stream.isatty() or os.environ.get("TERM", "dumb") in ("dumb", "unknown", ""):
        return False
    return (getattr(stream, "encoding", None) or "").lower().replace("-", "") == "utf8"


def _call_line(call: Call) -> str:
    line = f"{call.run.name} {arguments_of(call.run)}".rstrip()
    if call.result is None:
        return line
    return f"{line} {'→' if call.result.ok else 'failed:'} {outcome_of(call.result)} ({call.result.seconds:.1f} s)"


def _print(stream: TextIO, name: str, text: str) -> None:
    print(f"{name}: {' '.join(text.split())}", file=stream, flush=True)
