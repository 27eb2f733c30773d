"""Log-mel spectrograms as Whisper's family of encoders takes them.

Source: Radford et al., Robust Speech Recognition via Large-Scale Weak Supervision (2022), section 2.2; the mel scale is
Slaney's (Auditory Toolbox, 1998): linear below 1 kHz, logarithmic above.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE_RATE = 16_000
WINDOW = 400
"""Samples, 25 ms."""
HOP = 160
"""Samples, 10 ms."""
BANDS = 80
RANGE = 8.0
"""Powers of ten below the loudest that are told apart."""

_LINEAR_HZ = 200 / 3
"""Hz a mel below the break."""
_BREAK_HZ = 1000.0
_LOG_STEP = np.log(6.4) / 27


def log_mel(sound: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the spectrogram of 16 kHz sound of shape (n,), scaled to about [-1, 1]; shape (80, n // 160)."""
    padded = np.pad(sound, WINDOW // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][: len(sound) // HOP]
    power = np.abs(np.fft.rfft(frames * _window(), axis=1)) ** 2
    levels = np.log10(np.maximum(power @ _filters(), 1e-10)).T
    scaled = (np.maximum(levels, levels.max() - RANGE) + 4.0) / 4.0
    return np.ascontiguousarray(scaled, dtype=np.float32)


@cache
def _window() -> NDArray[np.float64]:
    return np.asarray(np.hanning(WINDOW + 1)[:-1])


@cache
def _filters() -> NDArray[np.float64]:
    """Return triangles of equal area over the bins, shape (201, 80)."""
    bins = np.linspace(0, SAMPLE_RATE / 2, WINDOW // 2 + 1)
    edges = _hertz(np.linspace(0.0, _mel(SAMPLE_RATE / 2), BANDS + 2))
    rising = (bins[:, None] - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - bins[:, None]) / np.diff(edges)[1:]
    return np.maximum(0.0, np.minimum(rising, falling)) * 2.0 / (edges[2:] - edges[:-2])


def _mel(hertz: float) -> float:
    return float(_BREAK_HZ / _LINEAR_HZ + np.log(hertz / _BREAK_HZ) / _LOG_STEP)


def _hertz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    over = mels - _BREAK_HZ / _LINEAR_HZ
    return np.where(over < 0, mels * _LINEAR_HZ, _BREAK_HZ * np.exp(_LOG_STEP * over))
