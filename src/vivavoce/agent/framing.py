"""Cuts a stream of sound at any rate into mono frames of 20 ms at the rate that is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from vivavoce.ports import Samples

FRAME_S = 0.02
"""Seconds a frame."""

SILENCE_DB = -100.0
"""The level of silence, and the lowest that a meter shows."""


def resampler(source_rate: int, target_rate: int) -> Any:
    """Return a streaming mono resampler of soxr, or None where the rates are the same."""
    if source_rate == target_rate:
        return None
    import soxr

    return soxr.ResampleStream(source_rate, target_rate, 1, dtype="float32")


def to_mono(block: Samples) -> Samples:
    """Mix the channels of a block of shape (frames, channels) into a new array of shape (frames,)."""
    if block.shape[1] == 1:
        return block[:, 0].copy()
    return np.asarray(block.mean(axis=1), dtype=np.float32)


def level(samples: Samples) -> float:
    """Return the root mean square in dB below full scale, -100 at least."""
    if not len(samples):
        return SILENCE_DB
    power = float(np.dot(samples, samples)) / len(samples)
    return max(10.0 * float(np.log10(power)), SILENCE_DB) if power > 0.0 else SILENCE_DB


class Framer:
    """Resamples a mono stream and cuts it into frames of 20 ms."""

    def __init__(self, source_rate: int, target_rate: int) -> None:
        self._resample = resampler(source_rate, target_rate)
        self._size = round(target_rate * FRAME_S)
        self._rest = np.empty(0, np.float32)

    def feed(self, samples: Samples, *, last: bool = False) -> list[Samples]:
        """Return the frames that are complete now; `last` fills the final one up with silence."""
        if self._resample is not None:
            samples = self._resample.resample_chunk(samples, last=last)
        sound = np.concatenate((self._rest, samples))
        if last:
            sound = np.pad(sound, (0, -len(sound) % self._size))
        cut = len(sound) - len(sound) % self._size
        self._rest = sound[cut:]
        return np.split(sound[:cut], range(self._size, cut, self._size)) if cut else []
