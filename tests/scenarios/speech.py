"""Speech for the scenarios: recordings of people, synthesised sentences, a reader, and a microphone to speak into."""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING

import jiwer
import numpy as np

from vivavoce.backends.hibari import Hibari
from vivavoce.backends.moonshine import Moonshine
from vivavoce.speech.pcm import resample

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from vivavoce.agent.files import AudioClock
    from vivavoce.ports import Samples

RATE = 24_000
"""Hz, of all sound here unless it says otherwise."""
FRAME = RATE // 50
LOUD = 0.01
"""Amplitude from which a sample is heard, -40 dBFS."""
HIBARI = Hibari()


async def spoken(text: str) -> Samples:
    """Synthesise a sentence."""
    return np.concatenate([chunk async for chunk in HIBARI.speak(text)])


async def read(sound: Samples) -> str:
    """Return what the recogniser hears in sound."""

    async def once() -> AsyncGenerator[Samples, None]:
        yield resample(sound, RATE, Moonshine.sample_rate)

    return [heard async for heard in Moonshine().transcribe(once())][-1].text


def words(text: str) -> str:
    """Reduce a text to its words."""
    return " ".join(re.sub(r"[^a-z0-9' ]+", " ", text.lower()).split())


def wer(said: Iterable[str], heard: Iterable[str]) -> float:
    """Return the share of words that were heard wrong, over all utterances."""
    return float(jiwer.wer([words(text) for text in said], [words(text) for text in heard]))


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * RATE), np.float32)


def loud(sound: Samples) -> bool:
    return bool((np.abs(sound) > LOUD).any())


class Mouth:
    """A microphone in real time, into which a test speaks: silence while it says nothing."""

    sample_rate = RATE

    def __init__(self, clock: AudioClock) -> None:
        self.spoke_at = 0.0
        """When the last utterance began, on the clock, seconds."""
        self._clock = clock
        self._frames: deque[Samples] = deque()
        self._fresh = False

    def say(self, sound: Samples) -> None:
        """Say this from the next frame on."""
        self._frames.extend(np.pad(sound, (0, -len(sound) % FRAME)).reshape(-1, FRAME))
        self._fresh = True

    @property
    def busy(self) -> bool:
        """Tell whether something is being said."""
        return bool(self._frames)

    async def frames(self) -> AsyncGenerator[Samples, None]:
        """Yield a frame when its last sample is due, for ever."""
        start = self._clock.now()
        number = 0
        while True:
            number += 1
            await self._clock.until(start + number * FRAME / RATE)
            if self._frames and self._fresh:
                self._fresh, self.spoke_at = False, self._clock.now() - FRAME / RATE
            yield self._frames.popleft() if self._frames else silence(FRAME / RATE)
