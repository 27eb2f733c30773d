"""How loud sound is: its level, the silence around it, and a gain that cannot clip."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Sound: TypeAlias = NDArray[np.float32]

FRAME = 0.01
"""Seconds over which a level is taken."""
SILENCE = -50.0
"""dBFS below which a frame of synthetic speech is silent."""
_FLOOR = 1e-9
"""The amplitude that stands for digital silence, so that its level is finite: -180 dBFS."""


def levels(sound: Sound, sample_rate: int, *, frame: float = FRAME) -> Sound:
    """Return the RMS level of each frame in dBFS, shape (frames,); a last, shorter frame counts as one."""
    size = max(1, round(frame * sample_rate))
    padded = np.pad(sound, (0, -len(sound) % size)).reshape(-1, size)
    rms = np.sqrt(np.mean(np.square(padded, dtype=np.float64), axis=1))
    return np.asarray(20 * np.log10(np.maximum(rms, _FLOOR)), np.float32)


def trim(sound: Sound, sample_rate: int, *, lead: float, tail: float, silence: float = SILENCE) -> Sound:
    """Return the sound with exactly so much silence before and after it; nothing if it is all silent.

    Args:
        sound: shape (n,).
        sample_rate: Hz.
        lead: seconds before the first frame that is not silent.
        tail: seconds after the last one.
        silence: dBFS below which a frame is silent.
    """
    audible = np.flatnonzero(levels(sound, sample_rate) >= silence)
    if not audible.size:
        return np.zeros(0, np.float32)
    size = max(1, round(FRAME * sample_rate))
    before, after = round(lead * sample_rate), round(tail * sample_rate)
    start, stop = int(audible[0]) * size - before, (int(audible[-1]) + 1) * size + after
    inside = sound[max(0, start) : stop]
    return np.pad(inside, (max(0, -start), stop - max(0, start) - len(inside))).astype(np.float32)


def amplify(sound: Sound, gain: float, *, knee: float = 0.6) -> Sound:
    """Return the sound louder by so many dB, bent towards full scale above the knee and never beyond it."""
    louder = sound * np.float32(10 ** (gain / 20))
    size = np.abs(louder)
    room = 1 - knee
    bent = np.sign(louder) * (knee + room * np.tanh((size - knee) / room))
    return np.where(size > knee, bent, louder).astype(np.float32)


def quietest(sound: Sound, sample_rate: int, start: int, stop: int, *, span: float = 0.2) -> int:
    """Return the sample in the middle of the quietest span between two samples: a good place to cut speech."""
    found = levels(sound[start:stop], sample_rate)
    width = max(1, min(round(span / FRAME), len(found)))
    power = np.convolve(10 ** (found / 10), np.ones(width), mode="valid")
    middle = int(np.argmin(power)) + width / 2
    return min(stop, start + round(middle * FRAME * sample_rate))


def voiced(sound: Sound, sample_rate: int, *, silence: float = -45.0, contrast: float = 10.0) -> float:
    """Return how many seconds of the sound are louder than silence and stand out from its quieter parts.

    Args:
        sound: shape (n,).
        sample_rate: Hz.
        silence: dBFS that a frame must exceed.
        contrast: dB that it must have over the level that a tenth of the frames stay below.
    """
    if not sound.size:
        return 0.0
    found = levels(sound, sample_rate)
    return float(np.count_nonzero(found > max(silence, float(np.percentile(found, 10)) + contrast))) * FRAME
