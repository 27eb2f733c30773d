"""The view of a conversation in writing: the answer is written as it comes, between two prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console as Terminal
from rich.text import Text

from vivavoce.agent.drawing import LABEL, dim
from vivavoce.agent.glyphs import CUT, glyphs_for
from vivavoce.agent.steering import speak_lines
from vivavoce.agent.transcript import Questions, Stopwatch, arguments_of, clean, outcome_of, redact, source_lines

if TYPE_CHECKING:
    from typing import Self

    from vivavoce.agent.steering import Steered
    from vivavoce.agent.tools import ToolResult
    from vivavoce.agent.view import SoundCounts
    from vivavoce.realtime.client import Cite, Report, Run, Show, State, Warn
    from vivavoce.realtime.values import Source


class WritingConsole:
    """The view of a conversation in writing (port `View`)."""

    def __init__(self, *, terminal: Terminal | None = None) -> None:
        self._terminal = terminal or Terminal(highlight=False)
        self._glyphs = glyphs_for(self._terminal.encoding)
        self._stopwatch = Stopwatch()
        self._questions = Questions()
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
        await speak_lines(agent, self._questions, self.ask)

    def ask(self) -> None:
        """Show the prompt."""
        self._end_line()
        prompt = Text("y/n> ", "bold yellow") if self._questions.first else Text("you> ", "bold cyan")
        self._terminal.print(prompt, end="")
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
            self._write(Text(f" {CUT}", style="bold yellow"))
        if show.final:
            self._end_line()

    def calling(self, run: Run) -> None:
        """Show that a tool runs."""
        self._line(Text.assemble(("tool>  ", "magenta"), (clean(run.name), "bold"), " ", arguments_of(run)))

    def called(self, run: Run, result: ToolResult) -> None:
        """Show what a tool returned."""
        mark = (f"{self._glyphs.good} ", "green") if result.ok else (f"{self._glyphs.bad} ", "red")
        arrow, took = (f" {self._glyphs.arrow} ", "dim"), (f"  {result.seconds:.1f} s", "dim")
        self._line(Text.assemble(" " * LABEL, mark, clean(run.name), arrow, outcome_of(result), took))
        self._cite(result.sources)

    def confirm(self, run: Run, question: str) -> None:
        """Ask for the person's consent."""
        self._questions.ask(run, question)
        self._line(Text(f"ask>   {redact(question)}", style="bold yellow"))

    def confirmed(self, run: Run, *, yes: bool) -> None:
        """Show what the person decided."""
        self._questions.answer(run)
        self._line(dim(" " * LABEL + ("Yes." if yes else "No.")))

    def citing(self, cite: Cite) -> None:
        """Show what an answer cites."""
        self._cite(cite.sources)

    def report(self, report: Report) -> None:
        """Show where the time of a turn went."""
        if line := self._stopwatch.lap(report.timings, self._glyphs):
            fits = len(line.text) + LABEL <= self._terminal.width
            self._line(dim(" " * LABEL + (line.text if fits else line.short)))

    def sound(self, counts: SoundCounts) -> None:
        """Show nothing: nobody listens."""

    def warn(self, warn: Warn) -> None:
        """Show that something is wrong."""
        self._line(Text(f"!      {redact(warn.message)}", style="yellow"))

    def note(self, text: str) -> None:
        """Show a line that nobody said."""
        self._line(dim(redact(text)))

    def level(self, db: float) -> None:
        """Show nothing: nobody listens."""

    def _cite(self, sources: tuple[Source, ...]) -> None:
        for source in source_lines(sources):
            self._line(Text(" " * LABEL + source, style="dim cyan"))

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
