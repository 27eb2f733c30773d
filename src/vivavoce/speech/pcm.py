"""Sound as numbers: PCM16 and G.711 to and from float32, resampling, re-chunking, level.

Inside the house sound is mono float32 in [-1, 1]. Source for G.711: ITU-T Recommendation G.711 (1988).
"""

from __future__ import annotations

import functools
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


def from_pcm16(audio: bytes) -> Samples:
    """Return the samples of little-endian 16-bit PCM."""
    samples: Samples = np.frombuffer(audio, dtype="<i2").astype(np.float32) / np.float32(_FULL_SCALE)
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
