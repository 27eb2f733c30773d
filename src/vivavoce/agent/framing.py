"""Cuts a stream of sound at any rate into mono frames of 20 ms at the rate that is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vivavoce.speech import pcm

if TYPE_CHECKING:
    from vivavoce.ports import Samples

FRAME_S = 0.02
"""Seconds a frame."""


def to_mono(block: Samples) -> Samples:
    """Mix the channels of a block of shape (frames, channels) into a new array of shape (frames,)."""
    if block.shape[1] == 1:
        return block[:, 0].copy()
    return np.asarray(block.mean(axis=1), dtype=np.float32)


class Framer:
    """Resamples a mono stream and cuts it into frames of 20 ms."""

    def __init__(self, source_rate: int, target_rate: int) -> None:
        self._resampler = pcm.Resampler(source_rate, target_rate)
        self._size = round(target_rate * FRAME_S)
        self._framer = pcm.Framer(self._size)

    def feed(self, samples: Samples, *, last: bool = False) -> list[Samples]:
        """Return the frames that are complete now; `last` fills the final one up with silence."""
        frames = list(self._framer.feed(self._resampler.feed(samples, last=last)))
        if last and self._framer.waiting:
            frames += self._framer.feed(np.zeros(self._size - self._framer.waiting, np.float32))
        return frames
