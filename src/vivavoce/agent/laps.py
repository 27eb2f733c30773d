"""How long an answer takes at the person's end, for servers that do not tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vivavoce.realtime import events as wire
from vivavoce.realtime.client import Captured, Played, Report, TurnTaken
from vivavoce.realtime.values import Extensions, Session

if TYPE_CHECKING:
    from vivavoce.realtime.client import Input, Output


@dataclass
class _Lap:
    """A turn under way; all times in seconds."""

    ended: float
    """When the last sample of speech was captured."""
    decided: float
    """When we heard that the turn is over."""
    response_id: str = ""
    first_word: float | None = None
    item_id: str = ""
    """The first that sounds."""


class Laps:
    """Watches a session and reports each spoken turn that is answered aloud, as soon as the answer is audible.

    The clock of the microphone, of which the server names the millisecond where speech ended, is tied to ours by what
    has been captured so far. A server that sends timings itself knows better: nothing is reported then.
    """

    def __init__(self, *, silence_ms: float, bytes_per_ms: float) -> None:
        """Begin.

        Args:
            silence_ms: silence that the server counts into a turn before it calls it over.
            bytes_per_ms: of the sound that is captured.
        """
        self._silence_ms = silence_ms
        self._bytes_per_ms = bytes_per_ms
        self._captured_ms = 0.0
        self._lap: _Lap | None = None
        self._needed = True

    def watch(self, now: float, what: Input | Output) -> Report | None:
        """Take one thing that happened and return the turn that it completes, if it does."""
        match what:
            case wire.SessionCreated():
                self._captured_ms = 0.0
            case wire.SessionUpdated(session=Session(vivavoce=Extensions(timings=True))):
                self._needed = False
            case Captured():
                self._captured_ms += len(what.audio) / self._bytes_per_ms
            case TurnTaken():
                self._lap = _Lap(now, now)
            case wire.SpeechStarted():
                self._lap = None
            case wire.SpeechStopped():
                ago_ms = self._captured_ms - what.audio_end_ms + self._silence_ms
                self._lap = _Lap(now - max(ago_ms, 0.0) / 1000, now)
            case wire.OutputAudioTranscriptDelta() | wire.OutputTextDelta():
                if self._lap and self._lap.first_word is None:
                    self._lap.first_word = now
            case wire.OutputAudioDelta():
                if self._lap and not self._lap.item_id:
                    self._lap.response_id, self._lap.item_id = what.response_id, what.item_id
            case Played():
                return self._audible(now, what)
            case _:
                pass
        return None

    def _audible(self, now: float, played: Played) -> Report | None:
        lap = self._lap
        if lap is None or played.item_id != lap.item_id or not played.ms:
            return None
        self._lap = None
        if not self._needed:
            return None
        audible = now - played.ms / 1000
        word = min(lap.first_word or audible, audible)
        return Report(
            wire.ResponseTimings(
                response_id=lap.response_id,
                waiting_ms=(lap.decided - lap.ended) * 1000,
                first_token_ms=(word - lap.decided) * 1000,
                synthesis_ms=(audible - word) * 1000,
                total_ms=(audible - lap.ended) * 1000,
            )
        )
