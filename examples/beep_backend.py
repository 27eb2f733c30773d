"""A text-to-speech backend in one file: each word is a beep as long as the word.

PYTHONPATH=examples vivavoce talk --tts beep_backend:Beep
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vivavoce.aio import in_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vivavoce.ports import Samples

PITCH = {"low": 440.0, "high": 880.0}
"""Hz, of each voice."""
LETTER_S = 0.03


class Beep:
    """The port `TextToSpeech`."""

    sample_rate = 24_000
    voices = tuple(PITCH)

    @in_thread
    def speak(self, sentence: str, *, voice: str | None = None, speed: float = 1.0) -> Iterator[Samples]:
        """Yield a beep and a pause a word."""
        hertz = PITCH.get(voice or "low", PITCH["low"])
        for word in sentence.split():
            yield self._beep(hertz, len(word) * LETTER_S / speed)
            yield np.zeros(round(LETTER_S / speed * self.sample_rate), np.float32)

    def _beep(self, hertz: float, seconds: float) -> Samples:
        times = np.arange(round(seconds * self.sample_rate)) / self.sample_rate
        return (0.2 * np.sin(2 * np.pi * hertz * times)).astype(np.float32)
