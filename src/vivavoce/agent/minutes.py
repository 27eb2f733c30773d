"""The minutes of a conversation: who said what and when, what was looked up, as Markdown and as WebVTT."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vivavoce.agent.masking import Mask
from vivavoce.agent.tools import ToolResult
from vivavoce.agent.transcript import TYPED, Call, Cited, Note, Words, clean, heard_of
from vivavoce.errors import VivavoceError
from vivavoce.realtime.client import (
    Captured,
    Cite,
    Played,
    Reported,
    Returned,
    Run,
    Show,
    TurnBegun,
    Typed,
    Warn,
)
from vivavoce.realtime.events import InputAudioBufferCommitted, SessionCreated, SpeechStarted, SpeechStopped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from vivavoce.agent.transcript import Entry
    from vivavoce.realtime.client import Input, Output
    from vivavoce.realtime.values import Source

BYTES_PER_MS = 48
"""Of the sound that is sent: 24 kHz, 16 bit."""
SLACK_S = 0.05
"""Sound that is sent later than that after the sound before it does not follow on from it."""
SHORTEST_CUE_S = 1.0
"""What was typed, or was heard only a moment, is shown for so long."""

NAMES = {"user": "You", "assistant": "Agent"}

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|~]|^(?:#|[-+](?=\s)))")


class SaveError(VivavoceError):
    """The minutes cannot be written; the message names the remedy."""


@dataclass
class Minute:
    """An entry and when it was, seconds."""

    start: float
    end: float
    entry: Entry
    heard_ms: int = 0
    """So much of an answer has left the loudspeaker."""


class _Sent:
    """When the sound was captured that the server knows by its milliseconds."""

    def __init__(self) -> None:
        self._ms = 0.0
        self._marks: list[tuple[float, float]] = []
        """From this millisecond on, what was captured from this second on."""

    def feed(self, end: float, length: int) -> None:
        """Note that so many bytes were sent, captured until then."""
        ms = length / BYTES_PER_MS
        start = end - ms / 1000
        if not self._marks or abs(start - self.time(self._ms)) > SLACK_S:
            self._marks.append((self._ms, start))
        self._ms += ms

    def time(self, ms: float) -> float:
        """Return when that was captured; before any sound was, the beginning."""
        if not self._marks:
            return 0.0
        at, start = self._marks[max(bisect_right(self._marks, (ms, float("inf"))) - 1, 0)]
        return start + (ms - at) / 1000


class Minutes:
    """Collects what goes in and out of a session; times are seconds on any one axis."""

    def __init__(self, mask: Mask | None = None) -> None:
        """Begin.

        Args:
            mask: knows what must not be written.
        """
        self.minutes: list[Minute] = []
        """In the order in which they became known."""
        self._mask = mask or Mask()
        self._words: dict[str, Minute] = {}
        self._calls: dict[str, Minute] = {}
        self._sent = _Sent()
        self._pressed: float | None = None

    def note(self, now: float, what: Input | Output) -> None:
        """Take one thing that happened.

        Args:
            now: when; for sound of the person, when its last sample was captured.
            what: as the agent's watchers see it.
        """
        match what:
            case Captured():
                self._sent.feed(now, len(what.audio))
            case SessionCreated():
                self._sent = _Sent()
            case SpeechStarted():
                self._said("user", what.item_id, self._sent.time(what.audio_start_ms))
            case SpeechStopped():
                self._said("user", what.item_id, now).end = self._sent.time(what.audio_end_ms)
            case TurnBegun():
                self._pressed = now
            case InputAudioBufferCommitted() if self._pressed is not None:
                self._said("user", what.item_id, self._pressed).end = now
                self._pressed = None
            case Show():
                self._show(now, what)
            case Played(ms=ms) if ms:
                self._played(now, what)
            case _:
                self._other(now, what)

    def _other(self, now: float, what: Input | Output) -> None:
        match what:
            case Typed():
                self._add(now, Words("user", TYPED, clean(what.text).strip(), final=True, settled=True))
            case Run():
                self._calls[what.call_id] = self._add(now, Call(what))
            case Returned() if minute := self._calls.get(what.call_id):
                minute.end = now
                if isinstance(minute.entry, Call):
                    minute.entry.result = result_of(what, now - minute.start)
            case Cite():
                self._cite(now, what)
            case Warn():
                self._add(now, Note("warning", clean(what.message)))
            case Reported():
                self._add(now, Note("note", clean(what.text)))
                if what.sources:
                    self._add(now, Cited(list(what.sources)))
            case _:
                pass

    def _show(self, now: float, show: Show) -> None:
        minute = self._said(show.role, show.item_id, now)
        words = minute.entry
        if not isinstance(words, Words):
            return
        words.text, words.heard = clean(show.text).strip(), heard_of(show)
        words.final, words.cut = show.final, show.cut
        if show.role == "assistant" and not minute.heard_ms:
            minute.end = now

    def _played(self, now: float, played: Played) -> None:
        minute = self._words.get(played.item_id)
        if minute is None or played.ms <= minute.heard_ms:
            return
        if not minute.heard_ms:
            minute.start = now - played.ms / 1000
        minute.heard_ms = played.ms
        minute.end = max(now, minute.start + played.ms / 1000)

    def _cite(self, now: float, cite: Cite) -> None:
        minute = self._words.get(cite.item_id)
        if minute is not None and isinstance(minute.entry, Words):
            minute.entry.sources.extend(cite.sources)
        else:
            self._add(now, Cited(list(cite.sources)))

    def _said(self, role: str, item_id: str, start: float) -> Minute:
        if item_id not in self._words:
            words = Words("user" if role == "user" else "assistant", item_id)
            self._words[item_id] = self._add(start, words)
        return self._words[item_id]

    def _add(self, now: float, entry: Entry) -> Minute:
        minute = Minute(now, now, entry)
        self.minutes.append(minute)
        return minute

    # As text ---------------------------------------------------------------------------------------------------------

    def markdown(self, started: datetime | None = None, offset: float = 0.0) -> str:
        """Return the minutes to be read.

        Args:
            started: the date of the conversation.
            offset: the second on the axis that is called 00:00.
        """
        title = f"# Conversation of {started:%Y-%m-%d %H:%M}" if started else "# Conversation"
        blocks = [title]
        for minute in self._in_order():
            blocks += self._block(minute, _clock(minute.start - offset))
        return "\n\n".join(blocks) + "\n"

    def webvtt(self, offset: float = 0.0) -> str:
        """Return what was said, and heard, as captions (W3C WebVTT).

        Args:
            offset: the second on the axis with which the sound begins.
        """
        blocks = ["WEBVTT"]
        for minute in self._in_order():
            if isinstance(minute.entry, Words) and (text := self._mask.text(_heard(minute.entry))):
                start = max(minute.start - offset, 0.0)
                end = max(minute.end - offset, start + SHORTEST_CUE_S)
                blocks.append(f"{_stamp(start)} --> {_stamp(end)}\n<v {NAMES[minute.entry.role]}>{_caption(text)}")
        return "\n\n".join(blocks) + "\n"

    def _in_order(self) -> list[Minute]:
        return sorted(self.minutes, key=lambda minute: minute.start)

    def _block(self, minute: Minute, clock: str) -> Iterator[str]:
        match minute.entry:
            case Words() as words:
                if words.text:
                    yield f"**{NAMES[words.role]}** · {clock}\\\n{self._told(words)}"
                    yield from self._sources(words.sources)
            case Call() as call:
                yield f"*Tool* `{clean(call.run.name)}` · {clock}{_outcome(call)}"
                yield self._fenced(call.run.arguments)
                if call.result is not None:
                    yield self._fenced(call.result.output)
                    yield from self._sources(call.result.sources)
            case Cited(sources=sources):
                yield from self._sources(sources)
            case Note(kind=kind, text=text):
                yield f"*{kind.capitalize()}* · {clock}\\\n{self._escaped(text)}"

    def _told(self, words: Words) -> str:
        """Return what was said; of an interrupted answer what nobody heard is struck out."""
        if not words.cut:
            return self._escaped(words.text)
        heard, missed = _heard(words), words.text[len(_heard(words)) :].strip()
        told = " ".join(filter(None, (self._escaped(heard), f"~~{self._escaped(missed)}~~" if missed else "")))
        return f"{told} *(interrupted)*"

    def _sources(self, sources: Sequence[Source]) -> Iterator[str]:
        lines = []
        for number, source in enumerate(sources, 1):
            title = self._escaped(source.title or source.url or source.file_id or "?")
            link = f"<{self._mask.text(source.url)}>" if source.url else ""
            quote = f"“{self._escaped(source.quote)}”" if source.quote else ""
            lines.append(" ".join(filter(None, (f"> [{number}] {title}", link, quote))))
        if lines:
            yield "  \n".join(lines)

    def _escaped(self, text: str) -> str:
        """Return the text as Markdown that reads as it was said."""
        lines = self._mask.text(text).splitlines()
        return "\\\n".join(_MARKDOWN.sub(r"\\\1", line.strip()) for line in lines if line.strip())

    def _fenced(self, text: str) -> str:
        shown = clean(self._mask.text(text)).strip()
        fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", shown)), default=0))
        return f"{fence}{'json' if _is_json(shown) else ''}\n{shown}\n{fence}"

    def save(self, folder: Path, started: datetime) -> Path:
        """Write the minutes into a new file and return its path.

        Raises:
            SaveError: the folder cannot be written, or the disk is full.
        """
        name = f"vivavoce-{started:%Y-%m-%d-%H%M%S}"
        for number in range(1, 1000):
            path = folder / (f"{name}.md" if number == 1 else f"{name}-{number}.md")
            try:
                file = path.open("x", encoding="utf-8", errors="replace")
            except FileExistsError:
                continue
            except OSError as refused:
                raise _unsaved(path, refused) from refused
            try:
                with file:
                    file.write(self.markdown(started))
            except OSError as refused:
                path.unlink()
                raise _unsaved(path, refused) from refused
            return path
        raise SaveError(f"{folder} is full of conversations called {name}: move some of them away.")


def _unsaved(path: Path, refused: OSError) -> SaveError:
    return SaveError(f"{path} cannot be written ({refused.strerror}): make room, or start where you may write.")


def result_of(returned: Returned, seconds: float) -> ToolResult:
    """Return what came of a call, as far as what the model is told says so."""
    try:
        told = json.loads(returned.output)
    except ValueError:
        told = None
    failed = isinstance(told, dict) and "error" in told
    return ToolResult(returned.output, ok=not failed, seconds=seconds, sources=returned.sources)


def _heard(words: Words) -> str:
    return words.text[: words.heard].strip() if words.cut and words.heard is not None else words.text


def _outcome(call: Call) -> str:
    if call.result is None:
        return " · has not returned"
    return f" · {call.result.seconds:.1f} s{'' if call.result.ok else ' · failed'}"


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(max(int(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes:02}:{seconds:02}"


def _stamp(seconds: float) -> str:
    seconds, thousandths = divmod(round(seconds * 1000), 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{thousandths:03}"


def _caption(text: str) -> str:
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").split())
