"""The conversation as entries: an open one may still change, a settled one is told for good."""

from __future__ import annotations

import json
import re
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from vivavoce.agent.glyphs import CUT, ROUND
from vivavoce.agent.masking import MASK, Mask, is_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vivavoce.agent.glyphs import Glyphs
    from vivavoce.agent.tools import ToolResult
    from vivavoce.agent.view import SoundCounts
    from vivavoce.realtime.client import Cite, Run, Show, State
    from vivavoce.realtime.events import ResponseTimings
    from vivavoce.realtime.values import Source

TYPED = "typed"
"""The item as which views are shown what the person typed; no server knows it."""
ARGUMENTS = 3
"""Arguments of a call, or fields of its result, that are shown."""
SUMMARY = 60
"""Characters of one argument, or of a result, that are shown."""

_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*(?:[@-~]|$)"  # CSI: colours, cursor
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|$)"  # OSC, DCS: titles, clipboard
    r"|\x1b[ -/]*[0-~]?"
)
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_MASK = Mask()


def clean(text: str) -> str:
    """Return the text without escape sequences, control characters and marks that turn its direction."""
    return _UNSEEN.sub("", _ESCAPE.sub("", text).replace("\t", " "))


def redact(text: str) -> str:
    """Return the cleaned text with what looks like a key or a token masked."""
    return _MASK.text(clean(text))


@dataclass
class Words:
    """What one side says."""

    role: Literal["user", "assistant"]
    item_id: str
    text: str = ""
    final: bool = False
    """All of it has been made; it may still be on its way out of the loudspeaker."""
    cut: bool = False
    """It was interrupted."""
    settled: bool = False
    heard: int | None = None
    """Characters that have left the loudspeaker; None where it is only read."""
    sources: list[Source] = field(default_factory=list)
    """What it cites."""


@dataclass
class Call:
    """A tool at work."""

    run: Run
    result: ToolResult | None = None

    @property
    def settled(self) -> bool:
        """Tell whether the tool has returned."""
        return self.result is not None


@dataclass
class Note:
    """A line about the conversation."""

    kind: Literal["time", "warning", "note"]
    text: str
    short: str = ""
    """The same for a narrow place, if there is a shorter way to say it."""
    settled: bool = True


@dataclass
class Cited:
    """What an answer that has been told already cites."""

    sources: list[Source]
    settled: bool = True


Entry: TypeAlias = Words | Call | Note | Cited


class Questions:
    """What waits for the person's consent."""

    def __init__(self) -> None:
        self._waiting: dict[str, str] = {}

    @property
    def first(self) -> str:
        """Return the question that has waited longest, empty where there is none."""
        return next(iter(self._waiting.values()), "")

    def ask(self, run: Run, question: str) -> None:
        """Take that a call asks."""
        self._waiting[run.call_id] = redact(question)

    def answer(self, run: Run) -> str:
        """Take that a call asks no more, and return what it asked."""
        return self._waiting.pop(run.call_id, "")


class Transcript:
    """The entries that are not yet told, in order.

    An answer is written faster than it is spoken. It stays open until it has been heard or interrupted, so that it is
    told once and as it was; what happens meanwhile is told after it.
    """

    def __init__(self, tell: Callable[[Entry], None]) -> None:
        """Begin.

        Args:
            tell: takes each entry once, when it has settled and all before it have been told.
        """
        self.open: list[Entry] = []
        self.hearing: Words | None = None
        """What the person seems to be saying."""
        self.questions = Questions()
        self._tell = tell
        self._told: set[str] = set()
        self._turn = ("", "")
        """The turn of the person that was told last, and its words."""

    def words(self, show: Show) -> None:
        """Take what was said so far."""
        if show.role == "user":
            self._user(show)
        elif show.item_id not in self._told:
            self._assistant(show)
        self._flush()

    def calling(self, run: Run) -> None:
        """Take that a tool runs."""
        self.open.append(Call(run))

    def called(self, run: Run, result: ToolResult) -> None:
        """Take what a tool returned."""
        for entry in self.open:
            if isinstance(entry, Call) and entry.run.call_id == run.call_id:
                entry.result = result
        self._flush()

    def citing(self, cite: Cite) -> None:
        """Take what an answer cites."""
        for entry in self.open:
            if isinstance(entry, Words) and entry.item_id == cite.item_id:
                entry.sources = [*entry.sources, *cite.sources]
                return
        self.note(Cited(list(cite.sources)))

    def confirmed(self, run: Run, *, yes: bool) -> None:
        """Take what the person decided about a call that needs their consent."""
        if question := self.questions.answer(run):
            self.note(Note("note", f"{question} {'Yes.' if yes else 'No.'}"))

    def note(self, note: Note | Cited) -> None:
        """Take a line about the conversation."""
        self.open.append(note)
        self._flush()

    def settle(self, state: State) -> None:
        """Settle the answers that, in this state, nobody is waiting to hear more of."""
        if state in ("speaking", "reconnecting"):
            self.hearing = None
            return
        for entry in self.open:
            if isinstance(entry, Words) and (entry.final or state == "listening"):
                entry.settled = True
        self._flush()

    def close(self) -> None:
        """Tell what is left as it is, but for tools that have not returned."""
        left, self.open, self.hearing = self.open, [], None
        for entry in left:
            if entry.settled or (isinstance(entry, Words) and entry.text):
                self._tell(entry)

    def _user(self, show: Show) -> None:
        said = Words("user", show.item_id, clean(show.text).strip(), show.final, settled=show.final)
        if not show.final:
            self.hearing = said
            return
        self.hearing = None
        said.text = self._news_of(said)
        if said.text:
            self.open.insert(self._place(show), said)

    def _news_of(self, said: Words) -> str:
        """Return the words of a turn that are not told yet: some services tell a turn again when they heard more."""
        (item_id, before), self._turn = self._turn, (said.item_id, said.text)
        if item_id != said.item_id or item_id == TYPED:
            return said.text
        if _spoken(before) == _spoken(said.text):
            return ""
        more = said.text.removeprefix(before)
        return more if more == said.text else f"… {more.strip()}"

    def _place(self, show: Show) -> int:
        """Return where a turn belongs: a transcript may come late, when its answer has already begun."""
        if show.item_id == TYPED:
            return len(self.open)
        return next((at for at, entry in enumerate(self.open) if isinstance(entry, Words)), len(self.open))

    def _assistant(self, show: Show) -> None:
        for entry in self.open:
            if isinstance(entry, Words) and entry.item_id == show.item_id:
                break
        else:
            entry = Words("assistant", show.item_id)
            self.open.append(entry)
        entry.text = clean(show.text).strip()
        entry.heard = heard_of(show)
        entry.final, entry.cut = show.final, show.cut
        entry.settled = show.cut

    def _flush(self) -> None:
        while self.open and self.open[0].settled:
            entry = self.open.pop(0)
            if isinstance(entry, Words) and entry.role == "assistant":
                self._told.add(entry.item_id)
                if not entry.text:
                    continue
            self._tell(entry)


def _spoken(text: str) -> list[str]:
    """Return the words as they sound, however they are written."""
    return re.findall(r"\w+", text.casefold())


# Words for a call and for times ---------------------------------------------------------------------------------------


def arguments_of(run: Run) -> str:
    """Return the arguments of a call as `city=Paris, unit=C`."""
    return _summary(run.arguments)


def outcome_of(result: ToolResult) -> str:
    """Return what a tool returned, in a few words."""
    return _summary(result.output)


def _summary(encoded: str) -> str:
    try:
        value = json.loads(encoded)
    except ValueError:
        value = encoded
    if not isinstance(value, dict):
        return _shortened(value)
    pairs = [f"{_shortened(name)}={_masked(name, field)}" for name, field in list(value.items())[:ARGUMENTS]]
    return ", ".join(pairs + ["…"] * (len(value) > ARGUMENTS))


def _masked(name: str, field: Any) -> str:
    return MASK if is_secret(name) else _shortened(field)


def _shortened(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    line = " ".join(redact(text).split())
    return line if len(line) <= SUMMARY else line[: SUMMARY - 1].rstrip() + "…"


def heard_of(show: Show) -> int | None:
    """Return how many characters of the cleaned text have been heard; None where it is only read."""
    return None if show.heard is None else len(clean(show.text[: show.heard]).strip())


def cut_mark(words: Words) -> tuple[str, str]:
    """Return the mark that stands where an answer was interrupted, and the words after it, which nobody heard."""
    heard = len(words.text) if words.heard is None else words.heard
    rest = words.text[heard:]
    return f"{' ' * bool(heard)}{CUT}{' ' * bool(rest)}", rest.lstrip()


def source_lines(sources: Iterable[Source]) -> list[str]:
    """Return `[1] title, host` or `[1] title, page 4` for each source."""
    return [f"[{number}] {_source(source)}" for number, source in enumerate(sources, 1)]


def _source(source: Source) -> str:
    host = urlsplit(source.url).hostname if source.url else None
    title = redact(source.title).strip() or host or source.file_id or "?"
    place = host or (f"page {source.page}" if source.page else "")
    return " ".join((title if not place or place in title else f"{title}, {redact(place)}").split())


def sound_words(counts: SoundCounts) -> str:
    """Return what went wrong with the sound so far, empty if nothing did."""
    named = [(counts.underruns, "underrun"), (counts.dropped + counts.overflows, "drop")]
    return ", ".join(f"{number} {name}{'s' * (number > 1)}" for number, name in named if number)


class Stage(NamedTuple):
    """A part of a turn's time."""

    name: str
    short: str
    ms: float


_STAGES = (
    ("waiting_ms", "waited", "waited"),
    ("transcription_ms", "heard", "heard"),
    ("first_token_ms", "first word", "word"),
    ("first_sentence_ms", "first sentence", "sentence"),
    ("synthesis_ms", "voice", "voice"),
)


class Stopwatch:
    """Where the time of the turns went."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []
        """Of the last turn, in order."""
        self._totals: list[float] = []

    @property
    def last(self) -> float | None:
        """Return how long the last answer took, in milliseconds."""
        return self._totals[-1] if self._totals else None

    @property
    def median(self) -> float | None:
        """Return the median of all answers so far, in milliseconds."""
        return statistics.median(self._totals) if self._totals else None

    def lap(self, timings: ResponseTimings, glyphs: Glyphs = ROUND) -> Note | None:
        """Take one turn and return it as a line, or None where nothing was measured."""
        if timings.total_ms is not None:
            self._totals.append(timings.total_ms)
        measured = [(name, short, getattr(timings, attribute)) for attribute, name, short in _STAGES]
        stages = [Stage(name, short, ms) for name, short, ms in measured if ms is not None]
        self.stages = stages or self.stages
        if not stages and timings.total_ms is None:
            return None
        total = "" if timings.total_ms is None else f" = {timings.total_ms:.0f} ms"
        full, brief = ([f"{stage[column]} {stage.ms:.0f}" for stage in stages] for column in (0, 1))
        joint = f" {glyphs.dot} "
        return Note("time", (joint.join(full) + total).strip(" ="), (joint.join(brief) + total).strip(" ="))
