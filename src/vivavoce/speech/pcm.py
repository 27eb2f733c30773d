"""Sound as numbers: PCM16 and G.711 to and from float32, resampling, re-chunking, level.

Inside the house sound is mono float32 in [-1, 1]. Source for G.711: ITU-T Recommendation G.711 (1988).
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import soxr
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterator

Samples: TypeAlias = NDArray[np.float32]
"""Mono sound, shape (n,), float32, nominally within [-1, 1]."""

SILENCE_DB = -120.0
_FULL_SCALE = 32768.0
_ULAW_BIAS = 132
_ULAW_CLIP = 32635
_TAPS = 64
"""Of the prompt resampler, at the rate of its input; half of them are its delay."""
_PHASES = 8
"""The most that either rate may be of the common one."""
_AT_ONCE = 8
"""So many of the shortest blocks that are whole at both rates are made in one: that is five times as fast."""
_KAISER = 5.65
"""Shape of its window: 60 dB."""
_PASSED = 0.92
"""Middle of its transition, of the lower half rate."""


def from_pcm16(audio: bytes) -> Samples:
    """Return the samples of little-endian 16-bit PCM."""
    samples: Samples = np.frombuffer(audio, dtype="<i2") * np.float32(1 / _FULL_SCALE)
    return samples


def to_pcm16(samples: Samples) -> bytes:
    """Return little-endian 16-bit PCM; what is too loud is clipped, what is not a number is silence."""
    scaled = np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0) * _FULL_SCALE
    return bytes(np.clip(np.rint(scaled), -32768, 32767).astype("<i2").tobytes())


def from_ulaw(audio: bytes) -> Samples:
    """Return the samples of G.711 µ-law."""
    return _ulaw_table()[np.frombuffer(audio, dtype=np.uint8)]


def to_ulaw(samples: Samples) -> bytes:
    """Return G.711 µ-law."""
    linear = np.frombuffer(to_pcm16(samples), dtype="<i2").astype(np.int32)
    sign = np.where(linear < 0, 0x80, 0)
    magnitude = np.minimum(np.abs(linear), _ULAW_CLIP) + _ULAW_BIAS
    exponent = np.floor(np.log2(magnitude)).astype(np.int32) - 7
    mantissa = (magnitude >> (exponent + 3)) & 0x0F
    return bytes((~(sign | (exponent << 4) | mantissa) & 0xFF).astype(np.uint8).tobytes())


def from_alaw(audio: bytes) -> Samples:
    """Return the samples of G.711 A-law."""
    return _alaw_table()[np.frombuffer(audio, dtype=np.uint8)]


def to_alaw(samples: Samples) -> bytes:
    """Return G.711 A-law."""
    linear = np.frombuffer(to_pcm16(samples), dtype="<i2").astype(np.int32) >> 3
    sign = np.where(linear >= 0, 0x80, 0)
    magnitude = np.where(linear >= 0, linear, -linear - 1)
    exponent = np.maximum(np.floor(np.log2(np.maximum(magnitude, 1))).astype(np.int32) - 4, 0)
    mantissa = np.where(exponent > 0, magnitude >> np.maximum(exponent, 1), magnitude >> 1) & 0x0F
    return bytes(((sign | (exponent << 4) | mantissa) ^ 0x55).astype(np.uint8).tobytes())


@functools.cache
def _ulaw_table() -> Samples:
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    magnitude = ((((code & 0x0F) << 3) + _ULAW_BIAS) << ((code >> 4) & 7)) - _ULAW_BIAS
    table: Samples = (np.where(code & 0x80, -magnitude, magnitude) / _FULL_SCALE).astype(np.float32)
    return table


@functools.cache
def _alaw_table() -> Samples:
    code = np.arange(256, dtype=np.int32) ^ 0x55
    exponent = (code >> 4) & 7
    mantissa = (code & 0x0F) << 4
    magnitude = np.where(exponent == 0, mantissa + 8, (mantissa + 0x108) << np.maximum(exponent - 1, 0))
    table: Samples = (np.where(code & 0x80, magnitude, -magnitude) / _FULL_SCALE).astype(np.float32)
    return table


class Resampler:
    """Changes the rate of a stream of sound, chunk by chunk, without seams."""

    def __init__(self, rate_in: int, rate_out: int) -> None:
        self._stream = (
            None if rate_in == rate_out else soxr.ResampleStream(rate_in, rate_out, 1, dtype="float32", quality="MQ")
        )

    def feed(self, samples: Samples, *, last: bool = False) -> Samples:
        """Return what can be said so far of the sound at the new rate; with `last`, the rest of it."""
        if self._stream is None:
            return samples
        out: Samples = self._stream.resample_chunk(samples, last=last)
        return out

    def clear(self) -> None:
        """Begin a new sound: forget what is held back of the old one."""
        if self._stream is not None:
            self._stream.clear()


class PromptResampler:
    """Changes the rate of a stream of sound with two milliseconds of delay, where `Resampler` works in blocks of 40 ms.

    A windowed sinc, phase by phase, in blocks of a millisecond at most: flat up to 6.5 kHz at 16 kHz, 60 dB down from
    8.2 kHz on.
    """

    def __init__(self, rate_in: int, rate_out: int) -> None:
        common = math.gcd(rate_in, rate_out)
        self._up, self._down = _AT_ONCE * rate_out // common, _AT_ONCE * rate_in // common
        self._bank = _filter_bank(self._up, self._down)
        self._rest: Samples = np.zeros(_TAPS // 2, np.float32)

    def feed(self, samples: Samples) -> Samples:
        """Return what can be said so far of the sound at the new rate."""
        if self._up == self._down:
            return samples
        sound = np.concatenate([self._rest, samples])
        reach = len(self._bank)
        blocks = max((len(sound) - reach) // self._down + 1, 0)
        self._rest = sound[blocks * self._down :]
        # Windows that overlap, without a copy; `as_strided` would do the same ten times as slowly.
        windows: Samples = np.ndarray(
            (blocks, reach), np.float32, sound, strides=(self._down * sound.itemsize, sound.itemsize)
        )
        out: Samples = (windows @ self._bank).reshape(-1)
        return out


def prompt_resampler(rate_in: int, rate_out: int) -> PromptResampler | Resampler:
    """Return the resampler of a stream with the least delay that the rates allow: odd ratios need too many phases."""
    common = math.gcd(rate_in, rate_out)
    simple = max(rate_in, rate_out) // common <= _PHASES
    return PromptResampler(rate_in, rate_out) if simple else Resampler(rate_in, rate_out)


@functools.cache
def _filter_bank(up: int, down: int) -> Samples:
    """Return what turns a window of the input into the `up` samples of a block, shape (window, up)."""
    starts = [step * down // up for step in range(up)]
    bank = np.zeros((_TAPS + starts[-1], up))
    cutoff = _PASSED * min(up / down, 1.0)
    for step, start in enumerate(starts):
        times = np.arange(_TAPS) - _TAPS / 2 - (step * down % up) / up
        shape = np.i0(_KAISER * np.sqrt(np.maximum(1 - (2 * times / _TAPS) ** 2, 0))) / np.i0(_KAISER)
        taps = np.sinc(cutoff * times) * shape
        bank[start : start + _TAPS, step] = taps / taps.sum()
    return bank.astype(np.float32)


def resample(samples: Samples, rate_in: int, rate_out: int) -> Samples:
    """Return a whole piece of sound at another rate."""
    return Resampler(rate_in, rate_out).feed(samples, last=True)


class Framer:
    """Cuts a stream into frames of one length."""

    def __init__(self, frame: int) -> None:
        self._frame = frame
        self._rest: Samples = np.zeros(0, np.float32)

    @property
    def waiting(self) -> int:
        """Return how many samples wait for more."""
        return len(self._rest)

    def feed(self, samples: Samples) -> Iterator[Samples]:
        """Yield the whole frames that there are; what is left waits for more."""
        sound = np.concatenate([self._rest, samples])
        whole = len(sound) - len(sound) % self._frame
        self._rest = sound[whole:]
        for start in range(0, whole, self._frame):
            yield sound[start : start + self._frame]


def level_db(samples: Samples) -> float:
    """Return the root-mean-square level in dB below full scale, at least -120."""
    if not len(samples):
        return SILENCE_DB
    power = float(np.mean(np.square(samples, dtype=np.float64)))
    return max(10 * float(np.log10(power)), SILENCE_DB) if power > 0 else SILENCE_DB
