"""What a program, a pipe or a plain terminal sees of a conversation, and the choice of the view."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, TextIO, TypeAlias

import msgspec

from vivavoce.agent.glyphs import glyphs_for
from vivavoce.agent.steering import speak_lines
from vivavoce.agent.transcript import (
    Call,
    Cited,
    Note,
    Questions,
    Stopwatch,
    Transcript,
    Words,
    arguments_of,
    cut_mark,
    outcome_of,
    redact,
    sound_words,
    source_lines,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    from vivavoce.agent.live import Console, Name
    from vivavoce.agent.steering import Steered
    from vivavoce.agent.tools import ToolResult
    from vivavoce.agent.transcript import Entry
    from vivavoce.agent.view import SoundCounts
    from vivavoce.agent.writing import WritingConsole
    from vivavoce.realtime.client import Cite, Report, Run, Show, State, Warn
    from vivavoce.realtime.values import Source


class _Lines:
    """A view that writes lines to a stream and takes lines, if that is how the person speaks."""

    def __init__(self, stream: TextIO | None = None, *, text: bool = False) -> None:
        self._text = text
        self._stream = stream or sys.stdout
        self._questions = Questions()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what is left."""

    async def drive(self, agent: Steered) -> None:
        """Say the typed lines, if that is how the person speaks; there are no keys."""
        if self._text:
            await speak_lines(agent, self._questions)

    def level(self, db: float) -> None:
        """Write nothing: fifty lines a second would drown the rest."""


class PlainConsole(_Lines):
    """Plain lines, for pipes, files and terminals that cannot move their cursor (port `View`)."""

    def __init__(self, stream: TextIO | None = None, errors: TextIO | None = None, *, text: bool = False) -> None:
        """Get ready.

        Args:
            stream: takes the conversation; standard output if absent.
            errors: takes warnings and notes; standard error if absent.
            text: what the person says comes as lines from standard input.
        """
        super().__init__(stream, text=text)
        self._errors = errors or sys.stderr
        self._glyphs = glyphs_for(self._stream.encoding)
        self._transcript = Transcript(self._tell)
        self._transcript.questions = self._questions
        self._stopwatch = Stopwatch()
        self._troubles = ""

    def close(self) -> None:
        """Write what is left, and what went wrong with the sound."""
        self._transcript.close()
        if self._troubles:
            _print(self._errors, "sound", self._troubles)

    def state(self, state: State) -> None:
        """Show the answers that are complete in this state."""
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

    def confirm(self, run: Run, question: str) -> None:
        """Ask for the person's consent."""
        self._questions.ask(run, question)
        _print(self._errors, "ask", f"{redact(question)} (yes or no)")

    def confirmed(self, run: Run, *, yes: bool) -> None:
        """Show what the person decided."""
        self._transcript.confirmed(run, yes=yes)

    def citing(self, cite: Cite) -> None:
        """Show what an answer cites."""
        self._transcript.citing(cite)

    def report(self, report: Report) -> None:
        """Show where the time of a turn went."""
        line = self._stopwatch.lap(report.timings, self._glyphs)
        if line is not None and self._stopwatch.median is not None:
            line.text += f" (median {self._stopwatch.median:.0f})"
        if line is not None:
            self._transcript.note(line)

    def sound(self, counts: SoundCounts) -> None:
        """Keep what went wrong with the sound for the end."""
        self._troubles = sound_words(counts)

    def warn(self, warn: Warn) -> None:
        """Show that something is wrong."""
        _print(self._errors, "warning", redact(warn.message))

    def note(self, text: str) -> None:
        """Show a line that nobody said."""
        _print(self._errors, "note", redact(text))

    def _tell(self, entry: Entry) -> None:
        match entry:
            case Words():
                _print(self._stream, "you" if entry.role == "user" else "agent", _words_line(entry))
                self._cite(entry.sources)
            case Call():
                _print(self._stream, "tool", self._call_line(entry))
                self._cite(entry.result.sources if entry.result else ())
            case Cited():
                self._cite(entry.sources)
            case Note(kind="time"):
                _print(self._stream, "time", entry.text)
            case Note():
                _print(self._errors, entry.kind, entry.text)

    def _cite(self, sources: Iterable[Source]) -> None:
        for line in source_lines(sources):
            _print(self._stream, "source", line)

    def _call_line(self, call: Call) -> str:
        line = f"{call.run.name} {arguments_of(call.run)}".rstrip()
        if call.result is None:
            return line
        sign = self._glyphs.arrow if call.result.ok else "failed:"
        return f"{line} {sign} {outcome_of(call.result)} ({call.result.seconds:.1f} s)"


class JsonConsole(_Lines):
    """One JSON object a line for everything that happens, for programs (port `View`)."""

    def __init__(self, stream: TextIO | None = None, *, text: bool = False) -> None:
        super().__init__(stream, text=text)
        self._state: State | None = None
        self._shown: dict[str, Any] = {}

    def state(self, state: State) -> None:
        """Write what the conversation is doing, when that changes."""
        if state != self._state:
            self._state = state
            self._write("state", state=state)

    def words(self, show: Show) -> None:
        """Write what was said so far when that changes, and for an interrupted answer how much of it was heard."""
        shown = {"role": show.role, "item_id": show.item_id, "text": show.text, "final": show.final}
        shown["interrupted"] = show.cut
        if shown != self._shown:
            self._shown = shown
            self._write("words", **shown, **({"heard": show.heard} if show.cut else {}))

    def calling(self, run: Run) -> None:
        """Write that a tool runs."""
        self._write("tool.call", call_id=run.call_id, name=run.name, arguments=run.arguments)

    def called(self, run: Run, result: ToolResult) -> None:
        """Write what a tool returned."""
        told = {"ok": result.ok, "seconds": round(result.seconds, 3), "output": result.output}
        sources = {"sources": result.sources} if result.sources else {}
        self._write("tool.result", call_id=run.call_id, name=run.name, **told, **sources)

    def confirm(self, run: Run, question: str) -> None:
        """Write that a call waits for consent; a line that says yes or no answers."""
        self._questions.ask(run, question)
        told = {"call_id": run.call_id, "name": run.name, "arguments": run.arguments}
        self._write("confirm", **told, question=redact(question))

    def confirmed(self, run: Run, *, yes: bool) -> None:
        """Write what was decided."""
        self._questions.answer(run)
        self._write("confirmed", call_id=run.call_id, name=run.name, yes=yes)

    def citing(self, cite: Cite) -> None:
        """Write what an answer cites."""
        self._write("citations", item_id=cite.item_id, sources=cite.sources)

    def report(self, report: Report) -> None:
        """Write where the time of a turn went."""
        self._write("timings", **{k: v for k, v in msgspec.structs.asdict(report.timings).items() if k != "event_id"})

    def sound(self, counts: SoundCounts) -> None:
        """Write what went wrong with the sound since the beginning."""
        self._write("sound", **counts._asdict())

    def warn(self, warn: Warn) -> None:
        """Write that something is wrong."""
        self._write("warning", code=warn.code, message=redact(warn.message))

    def note(self, text: str) -> None:
        """Write a line that nobody said."""
        self._write("note", text=redact(text))

    def _write(self, kind: str, **fields: Any) -> None:
        line = msgspec.json.encode({"type": kind, **fields}, enc_hook=str)
        print(line.decode(), file=self._stream, flush=True)


AnyConsole: TypeAlias = "Console | WritingConsole | PlainConsole | JsonConsole"


def console_for(
    microphone_name: Name = "",
    speaker_name: Name = "",
    *,
    title: str = "",
    recording: bool = False,
    print_json: bool = False,
    text: bool = False,
    stream: TextIO | None = None,
) -> AnyConsole:
    """Return the view that suits whoever reads the stream.

    Args:
        microphone_name: what the person's voice comes from, or what tells it.
        speaker_name: what the answer is heard from, or what tells it.
        title: the service and its model.
        recording: whether the conversation is recorded.
        print_json: a program reads.
        text: the person types.
        stream: where the view goes; standard output if absent.
    """
    stream = stream or sys.stdout
    for written in (stream, sys.stderr):
        if hasattr(written, "reconfigure"):
            written.reconfigure(errors="replace")  # a letter that is unknown there must not end the conversation
    if print_json:
        return JsonConsole(stream, text=text)
    if not can_draw(stream):
        return PlainConsole(stream, text=text)
    from rich.console import Console as Terminal

    from vivavoce.agent.live import Console
    from vivavoce.agent.writing import WritingConsole

    terminal = Terminal(file=stream, highlight=False)
    if text:
        return WritingConsole(terminal=terminal)
    return Console(microphone_name, speaker_name, title=title, recording=recording, terminal=terminal)


def can_draw(stream: TextIO) -> bool:
    """Tell whether the stream is a terminal that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown", "")


def _words_line(words: Words) -> str:
    if not words.cut:
        return words.text
    mark, unheard = cut_mark(words)
    return f"{words.text[: words.heard]}{mark}{unheard}"


def _print(stream: TextIO, name: str, text: str) -> None:
    print(f"{name}: {' '.join(text.split())}", file=stream, flush=True)
