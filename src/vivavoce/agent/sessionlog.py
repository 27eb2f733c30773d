"""The session log: everything that went in and out of a session, one JSON object a line, without sound and secrets.

The first line says what was asked for; then each input is followed by the outputs that it led to:

    {"log": 1, "vivavoce": "0.1.0", "started": "2026-11-22T18:30:00+01:00", "session": {…}, "greeting": null, …}
    {"t": 0.513022, "at": 0.48, "db": -61.2, "in": {"type": "Captured", "audio": {"bytes": 960}}}
    {"t": 0.513022, "at": 0.48, "out": {"type": "input_audio_buffer.append", "audio": {"bytes": 960}}}
    {"t": 9.871, "end": "The conversation is over."}

`t` is in seconds since the start by a clock that never goes back, `at` the second of the recorded sound.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import msgspec

from vivavoce.errors import VivavoceError
from vivavoce.realtime.client import AnyEffect, AnyHappened
from vivavoce.realtime.errors import ProtocolError
from vivavoce.realtime.events import Unknown, decode_server, tags

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vivavoce.agent.masking import Mask
    from vivavoce.realtime.client import Input, Output

VERSION = 1
NAME = "session.jsonl"
LONGEST = 10_000
"""Characters of a field of an event that we do not know: a longer one is sound or an image."""

_IN_PIECES = ("response.function_call_arguments.delta", "response.mcp_call_arguments.delta")
"""A secret is not recognised in pieces; what they add up to comes whole as well."""


class LogError(VivavoceError):
    """There is no session log that can be read; the message names the remedy."""


class Line(msgspec.Struct, frozen=True):
    """A line of the log."""

    t: float = 0.0
    at: float | None = None
    db: float | None = None
    """Level of the sound that it is about, dB below full scale."""
    in_: dict[str, Any] | None = msgspec.field(default=None, name="in")
    out: dict[str, Any] | None = None
    end: str | None = None


class Step(msgspec.Struct, frozen=True):
    """An input and what it led to."""

    number: int
    """Of the input's line in the file."""
    line: Line
    outputs: list[dict[str, Any]]

    @property
    def input(self) -> Input | None:
        """Return the input, with silence for its sound; None where it cannot be understood any more."""
        return None if self.line.in_ is None else read_input(self.line.in_)


# One thing ------------------------------------------------------------------------------------------------------------


def written(what: Input | Output, mask: Mask) -> dict[str, Any]:
    """Return what the log says of it."""
    if isinstance(what, Unknown):
        raw: dict[str, Any] = {"type": what.type} | {name: _shortened(field) for name, field in what.raw.items()}
    else:
        raw = _soundless(msgspec.to_builtins(what, builtin_types=(bytes,)))
    if raw.get("type") in _IN_PIECES and isinstance(raw.get("delta"), str):
        raw["delta"] = ""
    masked: dict[str, Any] = mask.value(raw)
    return masked


def read_input(raw: dict[str, Any]) -> Input | None:
    """Return the input that the log tells of, with silence for its sound, or None."""
    spelled = _silent(raw)
    try:
        if raw.get("type") in tags(AnyHappened):
            happened: Input = msgspec.convert(spelled, AnyHappened)
            return happened
        return decode_server(json.dumps(spelled))
    except (msgspec.ValidationError, ProtocolError, ValueError):
        return None


def read_effect(raw: dict[str, Any]) -> AnyEffect | None:
    """Return the effect that the log tells of, with silence for its sound; None for what was sent, or is not known."""
    if raw.get("type") not in tags(AnyEffect):
        return None
    try:
        effect: AnyEffect = msgspec.convert(_silent(raw), AnyEffect)
    except msgspec.ValidationError:
        return None
    return effect


def _soundless(value: Any) -> Any:
    match value:
        case bytes():
            return {"bytes": len(value)}
        case dict():
            return {name: _soundless(field) for name, field in value.items()}
        case list() | tuple():
            return [_soundless(each) for each in value]
        case _:
            return value


def _silent(value: Any) -> Any:
    match value:
        case {"bytes": int(count), **rest} if not rest:
            return base64.b64encode(bytes(min(count, 1 << 24))).decode()
        case dict():
            return {name: _silent(field) for name, field in value.items()}
        case list():
            return [_silent(each) for each in value]
        case _:
            return value


def _shortened(value: Any) -> Any:
    match value:
        case str() if len(value) > LONGEST:
            return {"characters": len(value)}
        case dict():
            return {name: _shortened(field) for name, field in value.items()}
        case list():
            return [_shortened(each) for each in value]
        case _:
            return value


def line_of(t: float, direction: str, what: dict[str, Any], **more: float | None) -> bytes:
    """Return the line that tells of it; `more` is `at` and `db`, as far as known."""
    known = {name: round(value, 3) for name, value in more.items() if value is not None}
    return msgspec.json.encode({"t": round(t, 6), **known, direction: what}) + b"\n"


def last_line(t: float) -> bytes:
    """Return the line that says that nothing is missing."""
    return msgspec.json.encode({"t": round(t, 3), "end": "The conversation is over."}) + b"\n"


# The file -------------------------------------------------------------------------------------------------------------


class SessionLog:
    """A log on disk; it may be damaged, cut off, or of another version."""

    def __init__(self, path: Path) -> None:
        """Read the first line.

        Args:
            path: the log, or the folder of the recording.

        Raises:
            LogError: there is none, or it is something else.
        """
        self.path = path / NAME if path.is_dir() else path
        self.head = self._read_head()
        self.skipped = 0
        """Lines that could not be read, so far."""
        self.whole = False
        """Whether its last line has been seen."""

    @property
    def troubles(self) -> list[str]:
        """Say what is wrong with what was read so far."""
        troubles = []
        if self.head.get("log") != VERSION:
            troubles.append("The log is of another version of vivavoce: what is not known any more is left out.")
        if self.skipped:
            lines = "A line is" if self.skipped == 1 else f"{self.skipped} lines are"
            troubles.append(f"{lines} damaged or unknown and left out.")
        if not self.whole:
            troubles.append("The log breaks off here.")
        return troubles

    def steps(self) -> Iterator[Step]:
        """Yield the inputs with their outputs, in order."""
        self.skipped, self.whole = 0, False
        step: Step | None = None
        for number, line in self._lines():
            if line.in_ is not None:
                if step is not None:
                    yield step
                step = Step(number, line, [])
            elif line.out is not None and step is not None:
                step.outputs.append(line.out)
            elif line.end is not None:
                self.whole = True
        if step is not None:
            yield step

    def _lines(self) -> Iterator[tuple[int, Line]]:
        with self.path.open("rb") as file:
            for number, text in enumerate(file, 1):
                if number == 1:
                    continue
                try:
                    line = msgspec.json.decode(text, type=Line)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    self.skipped += 1
                    continue
                if (line.in_, line.out, line.end) == (None, None, None):
                    self.skipped += 1
                yield number, line

    def _read_head(self) -> dict[str, Any]:
        try:
            with self.path.open("rb") as file:
                head = json.loads(file.readline(LONGEST * 1000))
        except FileNotFoundError:
            raise LogError(f"There is no session log {self.path}: check the path.") from None
        except OSError as refused:
            raise LogError(f"{self.path} cannot be read ({refused.strerror}): check the path.") from refused
        except (ValueError, RecursionError):
            head = None
        if not isinstance(head, dict) or "log" not in head:
            raise LogError(f"{self.path} is no session log: give a folder that `vivavoce talk --record` made.")
        return head
