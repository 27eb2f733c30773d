"""The conversation as entries: an open one may still change, a settled one is told for good."""

from __future__ import annotations

import json
import re
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from vivavoce.agent.tools import ToolResult
    from vivavoce.realtime.client import Run, Show, State
    from vivavoce.realtime.events import ResponseTimings

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
_SECRET_NAME = re.compile(r"(?i)key$|token|secret|passw|authorization")
_SECRET = re.compile(r"(?i)\b((?:bearer|api-key)\s+)\S+|\bsk-[\w-]{8,}|\bAQVN[\w-]{16,}|\bt1\.[\w=-]+\.[\w=-]+")


def clean(text: str) -> str:
    """Return the text without escape sequences, control characters and marks that turn its direction."""
    return _UNSEEN.sub("", _ESCAPE.sub("", text).replace("\t", " "))


def redact(text: str) -> str:
    """Return the cleaned text with what looks like a key or a token masked."""
    return _SECRET.sub(lambda found: f"{found[1] or ''}***", clean(text))


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


Entry: TypeAlias = Words | Call | Note


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
        self._tell = tell
        self._told: set[str] = set()

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

    def note(self, note: Note) -> None:
        """Take a line about the conversation."""
        self.open.append(note)
        self._flush()

    def settle(self, state: State) -> None:
        """Settle the answers that, in this state, nobody is waiting to hear more of."""
        if state == "speaking":
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
        if said.text:
            self.open.insert(self._place(show), said)

    def _place(self, show: Show) -> int:
        """Return where a turn belongs: a transcript may come late, when its answer has already begun."""
        if show.item_id == "typed":
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
    return "***" if _SECRET_NAME.search(name) else _shortened(field)


def _shortened(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    line = " ".join(redact(text).split())
    return line if len(line) <= SUMMARY else line[: SUMMARY - 1].rstrip() + "…"


_STAGES = (
    ("waiting_ms", "waited", "waited"),
    ("transcription_ms", "heard", "heard"),
    ("first_token_ms", "first word", "word"),
    ("first_sentence_ms", "first sentence", "sentence"),
    ("synthesis_ms", "voice", "voice"),
)
_FULL, _SHORT = 1, 2


class Stopwatch:
    """Where the time of the turns went."""

    def __init__(self) -> None:
        self._totals: list[float] = []

    @property
    def last(self) -> float | None:
        """Return how long the last answer took, in milliseconds."""
        return self._totals[-1] if self._totals else None

    @property
    def median(self) -> float | None:
        """Return the median of all answers so far, in milliseconds."""
        return statistics.median(self._totals) if self._totals else None

    def lap(self, timings: ResponseTimings) -> Note | None:
        """Take one turn and return it as a line, or None where nothing was measured."""
        if timings.total_ms is not None:
            self._totals.append(timings.total_ms)
        full, short = _stages(timings, _FULL), _stages(timings, _SHORT)
        return Note("time", full, short) if full else None


def _stages(timings: ResponseTimings, naming: int) -> str:
    stages = [(stage[naming], getattr(timings, stage[0])) for stage in _STAGES]
    line = " · ".join(f"{name} {ms:.0f}" for name, ms in stages if ms is not None)
    return line if timings.total_ms is None else f"{line} = {timings.total_ms:.0f} ms".strip(" =")
