"""The terminal view: the conversation scrolls, and below it a block of a few lines shows what is happening now."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from rich.console import Console as Terminal
from rich.live import Live
from rich.text import Text

from vivavoce.agent.steering import press_keys, speak_lines
from vivavoce.agent.transcript import Call, Note, Stopwatch, Transcript, Words, arguments_of, clean, outcome_of, redact

if TYPE_CHECKING:
    from typing import Self

    from vivavoce.agent.steering import Steered
    from vivavoce.agent.tools import ToolResult
    from vivavoce.agent.transcript import Entry
    from vivavoce.realtime.client import Report, Run, Show, State, Warn

SILENT_DB, LOUD_DB = -66.0, -12.0
"""The ends of the meter: a quiet room moves its lowest step, a voice close to the microphone its highest."""
DECAY_DB = 5.0
"""How far the meter falls between two frames."""
SLOW_MS = 1000.0
"""An answer that takes longer is felt as a wait."""
LABEL = 7
"""Cells of the column that says who."""
NARROW = 60
"""Cells below which the meter is short."""

_STEPS = "▁▂▃▄▅▆▇█"
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_HELP = "m mute · Ctrl+T type · s skip · q quit"
_STATE_STYLES = {
    "connecting": "dim",
    "listening": "cyan",
    "hearing you": "bold cyan",
    "thinking": "yellow",
    "speaking": "green",
}


class Console:
    """The live view of a conversation (port `View`).

    Its methods only note what happened; `tick` draws, so that any number of events costs one frame.
    """

    def __init__(self, microphone_name: str = "", speaker_name: str = "", *, terminal: Terminal | None = None) -> None:
        """Get ready; entering the block starts to draw.

        Args:
            microphone_name: what the person's voice comes from; empty for a conversation in writing.
            speaker_name: what the answer is heard from; empty if it is only read.
            terminal: where to draw; standard output if absent.
        """
        self.muted = False
        self.help = True
        """Whether the keys are listed."""
        self.typing: str | None = None
        """What stands in the typed prompt; None while it is closed."""
        self._devices = (clean(microphone_name), clean(speaker_name))
        self._terminal = terminal or Terminal(highlight=False)
        self._live: Live | None = None
        self._transcript = Transcript(self._tell)
        self._stopwatch = Stopwatch()
        self._state: State = "connecting"
        self._peak_db = self._level_db = SILENT_DB
        self._meter = deque([0] * 16, maxlen=16)
        self._frames = 0

    def __enter__(self) -> Self:
        self.resume()
        return self

    def __exit__(self, *_: object) -> None:
        self._transcript.close()
        self.suspend()

    async def drive(self, agent: Steered) -> None:
        """Let the keys steer the agent, and keep the block moving, until cancelled."""
        await press_keys(agent, self)

    # View ------------------------------------------------------------------------------------------------------------

    def state(self, state: State) -> None:
        """Show what the conversation is doing."""
        self._state = state
        self._transcript.settle(state)

    def words(self, show: Show) -> None:
        """Show what was said; called again with more words of the same item."""
        self._transcript.words(show)

    def calling(self, run: Run) -> None:
        """Show that a tool runs."""
        self._transcript.calling(run)

    def called(self, run: Run, result: ToolResult) -> None:
        """Show what a tool returned."""
        self._transcript.called(run, result)

    def report(self, report: Report) -> None:
        """Show where the time of a turn went."""
        if line := self._stopwatch.lap(report.timings):
            self._transcript.note(line)

    def warn(self, warn: Warn) -> None:
        """Show that something is wrong."""
        self._transcript.note(Note("warning", redact(warn.message)))

    def level(self, db: float) -> None:
        """Show how loud the microphone is, dB below full scale."""
        self._peak_db = max(self._peak_db, db)

    # The block -------------------------------------------------------------------------------------------------------

    def note(self, text: str) -> None:
        """Show a line that nobody said."""
        self._transcript.note(Note("note", redact(text)))

    def tick(self) -> None:
        """Draw the next frame."""
        self._frames += 1
        self._level_db = max(self._peak_db, self._level_db - DECAY_DB)
        self._peak_db = SILENT_DB
        self._meter.append(0 if self.muted else _height(self._level_db))
        self._draw()

    def suspend(self) -> None:
        """Take the block away and leave the terminal as it was found."""
        if self._live is not None:
            self._live.update("")
            self._live.stop()
            self._live = None

    def resume(self) -> None:
        """Draw the block again."""
        self._live = Live(
            self._block(),
            console=self._terminal,
            auto_refresh=False,
            transient=True,
            vertical_overflow="crop",
        )
        self._live.start(refresh=True)

    def _tell(self, entry: Entry) -> None:
        with self._terminal:  # one write, so that nobody sees the line both told and still in the block
            self._terminal.print(*self._lines(entry), sep="\n")
            self._draw()

    def _draw(self) -> None:
        if self._live is not None:
            self._live.update(self._block(), refresh=True)

    def _block(self) -> Text:
        """Return what is open, the prompt and the status, no taller than the screen."""
        now = [line for entry in self._transcript.open for line in self._lines(entry)]
        if self._transcript.hearing:
            now += self._lines(self._transcript.hearing)
        status = [Text("─" * self._width, style="dim"), self._status(), self._footer()]
        if self.typing is not None:
            status.insert(1, self._prompt(self.typing))
        room = max(self._terminal.height - len(status) - 1, 0)
        block = Text("\n", no_wrap=True, overflow="crop").join(now[len(now) - room :] if room < len(now) else now)
        return Text("\n", no_wrap=True, overflow="crop").join([*([block] if now and room else []), *status])

    @property
    def _width(self) -> int:
        return self._terminal.width

    def _status(self) -> Text:
        """Return the meter, the state, and how long the answers take."""
        left = Text()
        if self._devices[0]:
            left.append(self._meter_glyphs(), style="dim" if self.muted else "green").append("  ")
        if self.muted:
            left.append("muted", style="bold red")
        if not self.muted or self._state in ("connecting", "thinking", "speaking"):
            left.append(" · " if self.muted else "").append(self._state, style=_STATE_STYLES[self._state])
        return _row(left, self._times(short=False), self._times(short=True), width=self._width)

    def _meter_glyphs(self) -> str:
        heights = list(self._meter)[-8:] if self._width < NARROW else self._meter
        return "".join(_STEPS[height] for height in heights)

    def _times(self, *, short: bool) -> Text:
        last, median = self._stopwatch.last, self._stopwatch.median
        if last is None or median is None:
            return Text()
        text = Text(f"{last:.0f} ms", style="yellow" if last >= SLOW_MS else "green")
        return text if short else text.append(f" · median {median:.0f}", style="dim")

    def _footer(self) -> Text:
        """Return the keys and the devices."""
        if self.typing is not None:
            return Text("Enter send · Esc back", style="dim")
        named = [name for name in self._devices if name]
        devices = [_dim(" → ".join(_fit(name, cells) for name in named)) for cells in (40, 24, 16, 10)]
        if self.help:
            return _row(_dim(_HELP + " · ? less" * (self._width >= NARROW)), *devices, width=self._width)
        return _row(_dim("? keys"), *devices, width=self._width)

    def _prompt(self, typed: str) -> Text:
        room = max(self._width - LABEL - 1, 1)
        line = Text.assemble(("type".ljust(LABEL), "bold cyan"), clean(typed))
        if line.cell_len > room + LABEL:
            tail = clean(typed)
            while Text(tail).cell_len > room - 1:
                tail = tail[1:]
            line = Text.assemble(("type".ljust(LABEL), "bold cyan"), ("…", "dim"), tail)
        return line.append(" ", style="reverse")

    # Entries ---------------------------------------------------------------------------------------------------------

    def _lines(self, entry: Entry) -> list[Text]:
        match entry:
            case Words(role="user"):
                return [Text(), *self._beside(*_said(entry))]
            case Words():
                return self._beside(*_said(entry))
            case Call():
                return self._beside(Text("tool", style="magenta"), self._call(entry))
            case Note(kind="time"):
                fits = len(entry.text) + LABEL <= self._width
                return self._beside(Text(), _dim(entry.text if fits else entry.short))
            case Note():
                style = "yellow" if entry.kind == "warning" else "dim"
                return self._beside(Text("!" if entry.kind == "warning" else "", style=style), Text(entry.text, style))

    def _call(self, call: Call) -> Text:
        result = call.result
        if result is None:
            mark = (_SPINNER[self._frames % len(_SPINNER)], "yellow")
        else:
            mark = ("✓", "green") if result.ok else ("✗", "red")
        line = Text.assemble(mark, " ", (clean(call.run.name), "bold"), " ", arguments_of(call.run))
        if result is not None:
            line.append(" → ", style="dim").append(outcome_of(result), style="" if result.ok else "red")
            line.append(f"  {result.seconds:.1f}s", style="dim")
        return line

    def _beside(self, label: Text, body: Text) -> list[Text]:
        """Return the body wrapped into lines that hang beside the label."""
        lines = body.wrap(self._terminal, max(self._width - LABEL, 10)) or [Text()]
        for line in lines:
            line.rstrip()
        label.append(" " * (LABEL - label.cell_len), style="none")
        return [Text.assemble(label if at == 0 else " " * LABEL, line) for at, line in enumerate(lines)]


class WritingConsole:
    """The view of a conversation in writing: the answer is written as it comes, between two prompts (port `View`)."""

    def __init__(self, *, terminal: Terminal | None = None) -> None:
        self._terminal = terminal or Terminal(highlight=False)
        self._stopwatch = Stopwatch()
        self._item_id = ""
        self._written = 0
        """Characters of that item which are on the screen."""
        self._mid_line = False
        self._prompted = False
        self._waiting: list[Text] = []
        """Lines that came in the middle of an answer."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_line()
        self._leave_prompt()

    async def drive(self, agent: Steered) -> None:
        """Prompt for lines and say them until they end (Ctrl+D)."""
        await speak_lines(agent, self.ask)

    def ask(self) -> None:
        """Show the prompt."""
        self._end_line()
        self._terminal.print(Text("you> ", style="bold cyan"), end="")
        self._terminal.file.flush()
        self._prompted = True

    def state(self, state: State) -> None:
        """Show nothing: the prompt and the answer tell."""

    def words(self, show: Show) -> None:
        """Write the part of the answer that is new."""
        if show.role == "user":
            self._prompted = False
            return
        text = clean(show.text).lstrip()
        if show.item_id != self._item_id:
            self._end_line()
            self._leave_prompt()
            self._item_id, self._written = show.item_id, 0
            self._write(Text("agent> ", style="bold green"))
        self._write(Text(text[self._written :]))
        self._written = max(self._written, len(text))
        if show.cut:
            self._write(Text(" — interrupted", style="dim"))
        if show.final:
            self._end_line()

    def calling(self, run: Run) -> None:
        """Show that a tool runs."""
        self._line(Text.assemble(("tool>  ", "magenta"), (clean(run.name), "bold"), " ", arguments_of(run)))

    def called(self, run: Run, result: ToolResult) -> None:
        """Show what a tool returned."""
        mark = ("✓ ", "green") if result.ok else ("✗ ", "red")
        self._line(
            Text.assemble(
                " " * LABEL,
                mark,
                clean(run.name),
                (" → ", "dim"),
                outcome_of(result),
                (f"  {result.seconds:.1f}s", "dim"),
            )
        )

    def report(self, report: Report) -> None:
        """Show where the time of a turn went."""
        if line := self._stopwatch.lap(report.timings):
            fits = len(line.text) + LABEL <= self._terminal.width
            self._line(_dim(" " * LABEL + (line.text if fits else line.short)))

    def warn(self, warn: Warn) -> None:
        """Show that something is wrong."""
        self._line(Text(f"!      {redact(warn.message)}", style="yellow"))

    def note(self, text: str) -> None:
        """Show a line that nobody said."""
        self._line(_dim(redact(text)))

    def level(self, db: float) -> None:
        """Show nothing: nobody listens."""

    def _line(self, line: Text) -> None:
        if self._mid_line:
            self._waiting.append(line)
            return
        prompted = self._leave_prompt()
        self._terminal.print(line, soft_wrap=True)
        if prompted:
            self.ask()

    def _leave_prompt(self) -> bool:
        """Go to a line of its own and tell whether the person was being asked."""
        prompted, self._prompted = self._prompted, False
        if prompted:
            self._terminal.print()
        return prompted

    def _write(self, text: Text) -> None:
        if text:
            self._terminal.print(text, end="", soft_wrap=True)
            self._terminal.file.flush()
            self._mid_line = True

    def _end_line(self) -> None:
        """End the answer and write what had to wait for its end."""
        if self._mid_line:
            self._terminal.print()
        self._mid_line = False
        while self._waiting:
            self._terminal.print(self._waiting.pop(0), soft_wrap=True)


def _said(words: Words) -> tuple[Text, Text]:
    """Return who says what: words that may still change are dim, an answer that was interrupted is grey."""
    user = words.role == "user"
    label = Text("you" if user else "agent", style="bold cyan" if user else "bold green")
    body = Text(words.text, style="dim" if words.cut else "dim" if user and not words.final else "")
    if words.cut:
        body.append(" — interrupted", style="italic")
    return label, body


def _row(left: Text, *rights: Text, width: int) -> Text:
    """Return a line with the longest of `rights`, given longest first, that has room at its right end."""
    for right in rights:
        if right and (gap := width - left.cell_len - right.cell_len) >= 2:  # noqa: PLR2004 - cells that separate
            return Text.assemble(left, " " * gap, right)
    left.truncate(width, overflow="ellipsis")
    return left


def _fit(name: str, cells: int) -> str:
    text = Text(name)
    text.truncate(cells, overflow="ellipsis")
    return text.plain


def _dim(text: str) -> Text:
    return Text(text, style="dim")


def _height(db: float) -> int:
    """Return the step of the meter for a level."""
    share = (db - SILENT_DB) / (LOUD_DB - SILENT_DB)
    return round(min(max(share, 0.0), 1.0) * (len(_STEPS) - 1))
