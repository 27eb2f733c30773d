"""Where a turn begins and ends: speech probabilities in, started, paused and stopped out; time is samples heard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

Kind: TypeAlias = Literal["started", "paused", "resumed", "stopped"]

HYSTERESIS = 0.15
"""Speech goes on until the probability falls this far below the threshold, or to half of it."""
ONSET_MS = 64
"""Speech shorter than this is a click."""
PAUSE_MS = 64
"""Silence after which it is worth working ahead: two frames of the usual detector; after one, words are misheard."""
LONG_MS, LONGEST_MS = 60_000, 90_000
"""How long a turn lasts before the first pause ends it, and before it ends wherever it is.

Noise may never end, and this bounds what is kept of a turn; few speak for a minute without a silence that ends it.
"""


@dataclass(frozen=True)
class Edge:
    """Something changed."""

    kind: Kind
    ms: float
    """Since the first sample: where speech began for `started`, else now."""
    silence_ms: float = 0.0
    """How long nobody has spoken by now."""


class Turns:
    """The turns of one speaker."""

    def __init__(self, frame_ms: float, *, threshold: float = 0.5, silence_ms: float = 400.0) -> None:
        """Begin in silence.

        Args:
            frame_ms: length of the sound behind one probability.
            threshold: probability from which a frame is speech.
            silence_ms: silence that ends a turn.
        """
        self.threshold = threshold
        self.silence_ms = silence_ms
        self._frame_ms = frame_ms
        self._now_ms = 0.0
        self._began_ms = 0.0
        self._onset_ms = 0.0
        self._quiet_ms = 0.0
        self._wait_ms: float | None = None
        self._speaking = False
        self._paused = False

    @property
    def speaking(self) -> bool:
        """Tell whether a turn is open."""
        return self._speaking

    @property
    def paused(self) -> bool:
        """Tell whether the speaker of an open turn has paused."""
        return self._paused

    @property
    def quiet_ms(self) -> float:
        """Return how long the speaker of an open turn has been silent by now."""
        return self._quiet_ms

    def wait(self, ms: float) -> None:
        """End the turn after this much silence, if the pause that has begun lasts so long."""
        if self._paused:
            self._wait_ms = ms

    def reset(self) -> None:
        """Forget the open turn; time goes on."""
        self._speaking = self._paused = False
        self._onset_ms = self._quiet_ms = 0.0
        self._wait_ms = None

    def skip(self, ms: float) -> None:
        """Let time go by that nobody listens to."""
        self._now_ms += ms

    def feed(self, probability: float) -> Iterator[Edge]:
        """Take the next frame's probability of speech and yield what changed."""
        self._now_ms += self._frame_ms
        if self._speaking:
            yield from self._in_turn(probability >= max(self.threshold - HYSTERESIS, self.threshold / 2))
        else:
            yield from self._in_silence(probability >= self.threshold)

    def _in_silence(self, speech: bool) -> Iterator[Edge]:  # noqa: FBT001 - what was heard is one bit
        self._onset_ms = self._onset_ms + self._frame_ms if speech else 0.0
        if self._onset_ms >= ONSET_MS:
            self._speaking, self._paused, self._quiet_ms = True, False, 0.0
            self._began_ms = self._now_ms - self._onset_ms
            yield Edge("started", self._began_ms)

    def _in_turn(self, speech: bool) -> Iterator[Edge]:  # noqa: FBT001 - likewise
        lasted = self._now_ms - self._began_ms
        if speech and lasted < LONGEST_MS:
            self._quiet_ms, self._wait_ms = 0.0, None
            if self._paused:
                self._paused = False
                yield Edge("resumed", self._now_ms)
            return
        self._quiet_ms = 0.0 if speech else self._quiet_ms + self._frame_ms
        if not self._paused and (self._quiet_ms >= min(PAUSE_MS, self.silence_ms) or lasted >= LONGEST_MS):
            self._paused = True
            yield Edge("paused", self._now_ms, self._quiet_ms)
        waits = self.silence_ms if self._wait_ms is None else self._wait_ms
        if self._quiet_ms >= waits or (self._paused and lasted >= LONG_MS):
            quiet = self._quiet_ms
            self.reset()
            yield Edge("stopped", self._now_ms, quiet)
