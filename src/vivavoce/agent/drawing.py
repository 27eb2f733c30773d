"""How the parts of a conversation look on a terminal of some width: every function returns lines that fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from vivavoce.agent.editor import letters
from vivavoce.agent.glyphs import glyphs_for
from vivavoce.agent.transcript import Call, Cited, Note, Words, arguments_of, clean, cut_mark, outcome_of, source_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console as Terminal

    from vivavoce.agent.editor import LineEditor
    from vivavoce.agent.transcript import Entry, Stage, Stopwatch
    from vivavoce.realtime.values import Source

SILENT_DB, LOUD_DB = -66.0, -12.0
"""The ends of the meter: a quiet room moves its lowest step, a voice close to the microphone its highest."""
SLOW_MS = 1000.0
"""An answer that takes longer is felt as a wait."""
LABEL = 7
"""Cells of the column that says who."""
MEASURE = 100
"""Cells of a line of words on a wide terminal: longer ones are hard to read."""
BAR = 8
"""Cells of a bar that stands for all the time of a turn."""
METER = 16
"""Levels that the meter shows where there is room, the latest at its right."""
GAP = 2
"""Cells between what stands at the left of a row and at its right."""


class Pen:
    """Draws for one terminal."""

    def __init__(self, terminal: Terminal) -> None:
        self.glyphs = glyphs_for(terminal.encoding)
        self._terminal = terminal

    @property
    def width(self) -> int:
        """Cells of a line."""
        return self._terminal.width

    @property
    def height(self) -> int:
        """Lines of the terminal."""
        return self._terminal.height

    @property
    def _measure(self) -> int:
        """Cells beside a label that words may fill."""
        return min(self.width - LABEL, MEASURE)

    # Entries ---------------------------------------------------------------------------------------------------------

    def entry(self, entry: Entry, frame: int = 0) -> list[Text]:
        """Return an entry whole.

        Args:
            entry: what to draw.
            frame: counts the drawings, so that what is under way moves.
        """
        match entry:
            case Words(role="user"):
                return [Text(), *self._beside(*_said(entry))]
            case Words():
                return [*self._beside(*_said(entry)), *self._sources(entry.sources)]
            case Call():
                sources = entry.result.sources if entry.result else ()
                return [*self._beside(Text("tool", "magenta"), self._call(entry, frame)), *self._sources(sources)]
            case Cited():
                return self._sources(entry.sources)
            case Note(kind="time"):
                return self._beside(Text(), dim(entry.text if len(entry.text) + LABEL <= self.width else entry.short))
            case Note():
                style = "yellow" if entry.kind == "warning" else "dim"
                return self._beside(Text("!" if entry.kind == "warning" else "", style), Text(entry.text, style))

    def glimpse(self, words: Words, room: int) -> list[Text]:
        """Return of words that may still change no more lines than there is room for, around what is being heard."""
        lines = self.entry(words)
        if len(lines) <= room:
            return lines
        label, body = _said(words)
        lines = self.wrap(body, self._measure)
        heard = len(body) if words.heard is None else words.heard
        now = len(self.wrap(body[:heard], self._measure))
        start = max(min(now + room // 3, len(lines)) - room, 0)
        shown = self._hang(label, lines[start : start + room])
        if start + room < len(lines):
            shown[-1] = Text.assemble((f"  {self.glyphs.more}".ljust(LABEL), "dim"), lines[start + room - 1])
        return shown

    def question(self, question: str) -> list[Text]:
        """Return what the person is asked to agree to."""
        asked = Text.assemble((question, "bold yellow"), " ", (" y/n ", "bold reverse yellow"))
        return self._beside(Text("ask", "bold yellow"), asked)

    def _call(self, call: Call, frame: int) -> Text:
        result, glyphs = call.result, self.glyphs
        if result is None:
            mark = (self.spinner(frame), "yellow")
        else:
            mark = (glyphs.good, "green") if result.ok else (glyphs.bad, "red")
        line = Text.assemble(mark, " ", (clean(call.run.name), "bold"), " ", arguments_of(call.run))
        if result is not None:
            line.append(f" {glyphs.arrow} ", style="dim").append(outcome_of(result), style="" if result.ok else "red")
            line.append(f" {result.seconds:.1f}s", style="dim")
        return line

    def _sources(self, sources: Iterable[Source]) -> list[Text]:
        return [line for source in source_lines(sources) for line in self._beside(Text(), Text(source, "dim cyan"))]

    def _beside(self, label: Text, body: Text) -> list[Text]:
        return self._hang(label, self.wrap(body, self._measure))

    def wrap(self, body: Text, cells: int | None = None) -> list[Text]:
        """Return the body as lines no wider than that, or than the terminal."""
        lines = list(body.wrap(self._terminal, max(self.width if cells is None else cells, 1), tab_size=1)) or [Text()]
        for line in lines:
            line.rstrip()
        return lines

    def _hang(self, label: Text, lines: Sequence[Text]) -> list[Text]:
        """Return the lines with the label beside the first."""
        label.append(" " * (LABEL - label.cell_len), style="none")
        return [Text.assemble(label if at == 0 else " " * LABEL, line) for at, line in enumerate(lines)]

    def spinner(self, frame: int) -> str:
        """Return the sign of what is under way."""
        return self.glyphs.spinner[frame % len(self.glyphs.spinner)]

    # Rows ------------------------------------------------------------------------------------------------------------

    def row(self, left: Text, *rights: Text) -> Text:
        """Return a line with the first of `rights`, given longest first, that has room at its right end."""
        for right in rights:
            if right and (gap := self.width - left.cell_len - right.cell_len) >= GAP:
                return Text.assemble(left, " " * gap, right)
        return self.fit(left, self.width)

    def fit(self, text: Text, cells: int) -> Text:
        """Return the text, cut where it is wider than that."""
        if text.cell_len <= cells:
            return text
        more = self.glyphs.more if cells > 1 else ""
        text = text.copy()
        text.truncate(max(cells - len(more), 0), overflow="crop")
        return text.append(more)

    def rule(self, title: str) -> Text:
        """Return the line between the conversation and what is below it, with a name in it."""
        line, named = self.glyphs.rule, self.fit(Text(title), max(self.width - 6, 0))
        if not named:
            return dim(line * self.width)
        return dim(f"{line * 2} {named} " + line * (self.width - named.cell_len - 4))

    def meter(self, heights: Sequence[int]) -> str:
        """Return the latest levels, as many as the terminal has room for."""
        cells = min(max(self.width // 5, 4), METER)
        return "".join(self.glyphs.steps[height] for height in list(heights)[-cells:])

    def times(self, watch: Stopwatch) -> list[Text]:
        """Return how long the last answer took and the median, longest first."""
        if watch.last is None or watch.median is None:
            return [Text()]
        last = Text(f"{watch.last:.0f} ms", style="yellow" if watch.last >= SLOW_MS else "green")
        return [Text.assemble(last, (f" {self.glyphs.dot} median {watch.median:.0f} ms", "dim")), last]

    def stages(self, stages: Sequence[Stage]) -> Text:
        """Return where the time of a turn went, with a bar for each part; where there is no room, the longest parts."""
        total = sum(stage.ms for stage in stages) or 1.0
        for short, cells in ((False, 2 * BAR), (False, BAR), (True, BAR), (True, BAR // 2), (True, 0)):
            line = Text("  ").join(self._stage(stage, total, cells, short=short) for stage in stages)
            if line.cell_len <= self.width:
                return line
        shortest = min(stages, key=lambda stage: stage.ms)
        return self.stages([stage for stage in stages if stage is not shortest])

    def _stage(self, stage: Stage, total: float, cells: int, *, short: bool) -> Text:
        bar = self.glyphs.bar(stage.ms / total, cells) if cells else ""
        name = stage.short if short else stage.name
        return Text.assemble((f"{name} ", "dim"), (bar, "dim cyan"), " " * bool(bar), (f"{stage.ms:.0f}", "dim"))

    def prompt(self, editor: LineEditor) -> Text:
        """Return the typed line around its cursor."""
        glyphs = self.glyphs
        shown = [_seen(letter, glyphs.enter) for letter in letters(editor.text)]
        at = len(letters(editor.text[: editor.cursor]))
        here = shown[at] if at < len(shown) else " "
        room = max(self.width - LABEL - Text(here).cell_len, 1)
        before = _last(shown[:at], room, glyphs.more)
        after = _first(shown[at + 1 :], room - Text(before).cell_len, glyphs.more)
        return Text.assemble(("type".ljust(LABEL), "bold cyan"), before, (here, "reverse"), after)


def dim(text: str) -> Text:
    """Return text that does not ask for attention."""
    return Text(text, style="dim")


def height_of(db: float) -> int:
    """Return the step of the meter, 0..7, for a level in dB below full scale."""
    share = (db - SILENT_DB) / (LOUD_DB - SILENT_DB)
    return round(min(max(share, 0.0), 1.0) * 7)


def _said(words: Words) -> tuple[Text, Text]:
    """Return who says what: words that may still change or have not been heard are dim, those nobody heard struck."""
    if words.role == "user":
        return Text("you", "bold cyan"), Text(words.text, "" if words.final else "dim")
    heard = len(words.text) if words.heard is None else words.heard
    label, body, rest = Text("agent", "bold green"), Text(words.text[:heard]), words.text[heard:]
    if words.cut:
        mark, rest = cut_mark(words)
        body.append(mark, style="bold yellow").append(rest, style="dim strike")
    else:
        body.append(rest, style="" if words.settled else "dim")
    return label, body


def _seen(letter: str, enter: str) -> str:
    return enter if letter == "\n" else clean(letter) or "?"


def _last(shown: list[str], cells: int, more: str) -> str:
    """Return as many of the last letters as fit."""
    kept = shown[-cells:] if cells > 0 else []
    while kept and Text("".join(kept)).cell_len > cells - (len(kept) < len(shown)):
        kept = kept[1:]
    return more * (len(kept) < len(shown) and cells > 0) + "".join(kept)


def _first(shown: list[str], cells: int, more: str) -> str:
    """Return as many of the first letters as fit."""
    kept = shown[: max(cells, 0)]
    while kept and Text("".join(kept)).cell_len > cells - (len(kept) < len(shown)):
        kept = kept[:-1]
    return "".join(kept) + more * (len(kept) < len(shown) and cells > 0)
