"""Speaks one response sentence by sentence, and knows where its time went."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Literal, TypeAlias

import anyio
import numpy as np

from vivavoce.realtime.events import ResponseTimings
from vivavoce.realtime.facts import Said, Spoke
from vivavoce.server import guard
from vivavoce.server.ears import encode
from vivavoce.speech.pcm import Resampler
from vivavoce.speech.sentences import speakable

if TYPE_CHECKING:
    from collections.abc import Callable

    from vivavoce.ports import Samples, TextToSpeech
    from vivavoce.realtime.facts import AnyFact, Generate
    from vivavoce.server.thinking import Rehearsal

Stage: TypeAlias = Literal["transcription", "first_token", "first_sentence", "synthesis"]
STAGES: tuple[Stage, ...] = ("transcription", "first_token", "first_sentence", "synthesis")


class Clock:
    """When each stage of a turn was reached."""

    def __init__(self, decided_at: float, waited_ms: float | None = None) -> None:
        """Begin when the turn is over.

        Args:
            decided_at: seconds.
            waited_ms: silence that it took to decide so; None where nobody spoke.
        """
        self._decided_at = decided_at
        self._waited_ms = waited_ms
        self._ahead_ms: float | None = None
        self._reached: dict[Stage, float] = {}

    def mark(self, stage: Stage) -> None:
        """Note that a stage is reached, the first time."""
        self._reached.setdefault(stage, anyio.current_time())

    def begun(self, at: float) -> None:
        """Note when the answer was begun, seconds."""
        self._ahead_ms = round((self._decided_at - at) * 1000, 1) if at < self._decided_at else None

    def timings(self, response_id: str) -> ResponseTimings:
        """Return how long each stage took after the one before it."""
        took: dict[Stage, float] = {}
        before = self._decided_at
        for stage in STAGES:
            if stage in self._reached:
                took[stage] = round(max(self._reached[stage] - before, 0.0) * 1000, 1)
                before = max(before, self._reached[stage])
        total = (before - self._decided_at) * 1000 + (self._waited_ms or 0.0)
        return ResponseTimings(
            response_id=response_id,
            waiting_ms=self._waited_ms,
            transcription_ms=took.get("transcription"),
            first_token_ms=took.get("first_token"),
            first_sentence_ms=took.get("first_sentence"),
            synthesis_ms=took.get("synthesis"),
            total_ms=round(total, 1),
            ahead_ms=self._ahead_ms,
        )


DELTA_S = 0.1
"""Sound in one event, seconds, but for the first of a response and the last of a sentence."""


class Voice:
    """The voice of one response."""

    def __init__(
        self, tts: TextToSpeech, generate: Generate, tell: Callable[[AnyFact], object], clock: Clock, lead_s: float
    ) -> None:
        """Get ready.

        Args:
            tts: the engine.
            generate: what is answered and how it shall sound.
            tell: is told what was said and spoken.
            clock: notes the stages.
            lead_s: how far ahead of real time sound may be made, seconds.
        """
        self._tts = tts
        self._generate = generate
        self._tell = tell
        self._clock = clock
        self._lead_s = lead_s
        self._resampler = Resampler(tts.sample_rate, generate.format.rate)
        self._began_at: float | None = None
        self._spoken_s = 0.0
        self._waiting: list[Samples] = []

    async def say(self, text: str, rehearsal: Rehearsal | None = None) -> None:
        """Say a sentence: its words first, then its sound.

        Args:
            text: what to say.
            rehearsal: its sound, if that was begun ahead.

        Raises:
            BackendError: the engine failed.
        """
        self._clock.mark("first_sentence")
        self._tell(Said(self._generate.response_id, text))
        if not self._generate.spoken or not (sentence := speakable(text)):
            return
        if rehearsal is not None and rehearsal.text == text and not (rehearsal.given or rehearsal.broken):
            speech = rehearsal.sound()
        else:
            speech = guard.speak(self._tts, sentence, voice=self._generate.voice, speed=self._generate.speed)
        async with aclosing(speech) as sound:
            async for samples in sound:
                await self._sound(self._resampler.feed(samples))
        await self._send()

    async def fall_silent(self) -> None:
        """Give out what the resampler still holds."""
        if self._began_at is not None:
            await self._sound(self._resampler.feed(np.zeros(0, np.float32), last=True))
            await self._send()

    async def _sound(self, samples: Samples) -> None:
        """Send sound in pieces worth an event; the first goes at once."""
        if len(samples):
            self._clock.mark("synthesis")
            self._waiting.append(samples)
        if self._began_at is None or sum(map(len, self._waiting)) >= DELTA_S * self._generate.format.rate:
            await self._send()

    async def _send(self) -> None:
        if not self._waiting:
            return
        samples, self._waiting = np.concatenate(self._waiting), []
        self._tell(Spoke(self._generate.response_id, encode(samples, self._generate.format)))
        self._began_at = self._began_at or anyio.current_time()
        self._spoken_s += len(samples) / self._generate.format.rate
        if self._lead_s < self._spoken_s:
            await anyio.sleep_until(self._began_at + self._spoken_s - self._lead_s)
