"""A filter that learns how a known sound reaches a microphone, and takes it off what the microphone captures.

Source: F. Kuech, E. Mabande, G. Enzner, "State-space architecture of the partitioned-block-based acoustic echo
controller", ICASSP 2014.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vivavoce.speech.pcm import Samples

PERSISTENCE = 0.998
"""Of the way of the echo from block to block: less follows people who move faster, more knows a quiet room better."""
DECAY_DB = 0.3
"""A block of the response is expected to be so much weaker than the one before it."""
DOUBT = 0.1
"""Expected power of the response in its first block."""
NOISE_MEMORY = 0.9
FLOOR = 1e-6
"""Power that keeps silence from being divided by."""

WINDOW = 20
"""Frames in which a shift is looked for."""
EVERY = 5
"""Frames between two looks."""
AUDIBLE = 1e-6
"""Power of an echo that can be compared."""
PROMINENT_DB = -30.0
"""Of frequencies that are compared, by the strongest."""


class EchoFilter:
    """A Kalman filter in the frequency domain, on a response that is cut into blocks.

    It weighs what is left of the sound against what it does not know yet of the response, at each frequency: while
    somebody speaks it learns little and takes nothing off the voice.
    """

    def __init__(self, block: int, blocks: int) -> None:
        """Know nothing of the room.

        Args:
            block: samples in a frame.
            blocks: how many frames an echo may last, with its delay.
        """
        self._block = block
        self._before = np.zeros(block, np.float32)
        self._spectra = np.zeros((blocks, block + 1), np.complex64)
        self._response = np.zeros((blocks, block + 1), np.complex64)
        fading = (10 ** (-DECAY_DB / 10 * np.arange(blocks))).astype(np.float32)
        self._doubt = DOUBT * np.repeat(fading[:, None], block + 1, axis=1)
        self._noise = np.full(block + 1, 1e-2, np.float32)
        self._silent = blocks
        self._trust = 1.0
        self.echo = np.zeros(block, np.float32)
        """What the last frame's echo was expected to be."""

    @property
    def length(self) -> int:
        """Samples before a frame that matter to its echo."""
        return self._block * len(self._spectra)

    @property
    def doubt(self) -> float:
        """The expected power of the last frame's echo beyond what was expected of it."""
        return float(np.sum(self._doubt * np.abs(self._spectra) ** 2)) / (2 * self._block**2)

    def recall(self, played: Samples) -> None:
        """Learn that what was played before the next frame, `length` samples, lies otherwise than it was fed."""
        blocks = np.pad(played, (self._block, 0)).reshape(-1, self._block)
        both = np.concatenate([blocks[:-1], blocks[1:]], axis=1)
        self._spectra = np.fft.rfft(both[::-1], axis=1).astype(np.complex64)
        self._before = blocks[-1]

    def relearn(self) -> None:
        """Trust what is known of the room no more than at first."""
        fading = 10 ** (-DECAY_DB / 10 * np.arange(len(self._doubt)))
        self._doubt = np.maximum(self._doubt, (DOUBT * fading[:, None]).astype(np.float32))

    def feed(self, captured: Samples, played: Samples) -> Samples:
        """Return what is left of a captured frame without the echo of the frames that were played up to now."""
        self._silent = 0 if played.any() else self._silent + 1
        if self._silent > len(self._spectra):
            self.echo = np.zeros_like(captured)
            return captured
        self._spectra = np.roll(self._spectra, 1, axis=0)
        self._spectra[0] = np.fft.rfft(np.concatenate([self._before, played]))
        self._before = played
        echo = np.fft.irfft(np.sum(self._spectra * self._response, axis=0))[self._block :]
        self.echo = np.asarray(echo, np.float32)
        rest = np.asarray(captured - self.echo, np.float32)
        self._learn(np.fft.rfft(np.pad(rest, (self._block, 0))))
        before, self._trust = self._trust, float(np.mean(rest**2) < np.mean(captured**2))
        return captured - self.echo * np.linspace(before, self._trust, self._block, dtype=np.float32)

    def _learn(self, rest: NDArray[Any]) -> None:
        """Correct the response by what it left of the sound."""
        self._noise += (1 - NOISE_MEMORY) * (np.abs(rest) ** 2 - self._noise)
        expected = np.sum(self._doubt * np.abs(self._spectra) ** 2, axis=0) + 2 * self._noise + FLOOR
        gain = self._doubt * self._spectra.conj() / expected
        correction = np.fft.irfft(gain * rest, axis=1)
        correction[:, self._block :] = 0
        self._response += np.fft.rfft(correction, axis=1)
        self._doubt *= PERSISTENCE**2 * (1 - 0.5 * (gain * self._spectra).real)
        self._doubt += (1 - PERSISTENCE**2) * np.abs(self._response) ** 2


class ShiftFinder:
    """Tells by how much an echo comes later than it was expected: by its phase, as GCC-PHAT does."""

    def __init__(self, block: int, farthest: int) -> None:
        """Look as far as this many samples to either side."""
        self._sounds = np.zeros((2, WINDOW, block), np.float32)
        self._farthest = farthest
        self._since = 0
        self._frames = 0

    def clear(self) -> None:
        """Forget what was compared."""
        self._since = 0

    def feed(self, captured: Samples, expected: Samples) -> tuple[int, float, float] | None:
        """Return the shift in samples, how surely (0 to 1) it is that, and how surely it is none; None: not now."""
        self._sounds = np.roll(self._sounds, -1, axis=1)
        self._sounds[:, -1] = captured, expected
        self._since += 1
        self._frames += 1
        if self._since < WINDOW or self._frames % EVERY or np.mean(self._sounds[1] ** 2) < AUDIBLE:
            return None
        sounds = self._sounds.reshape(2, -1)
        size = 1 << (sounds.shape[1] + self._farthest).bit_length()
        heard, wanted = np.fft.rfft(sounds, size)
        power = np.abs(wanted) ** 2
        prominent = power > 10 ** (PROMINENT_DB / 10) * power.max()
        cross = np.where(prominent, heard * wanted.conj(), 0)
        cross /= np.maximum(np.abs(cross), 1e-12)
        likeness = np.fft.irfft(cross, size) * size / (2 * prominent.sum())
        lags = np.concatenate([likeness[-self._farthest :], likeness[: self._farthest + 1]])
        best = int(np.argmax(lags))
        near = lags[self._farthest - 1 : self._farthest + 2]
        return best - self._farthest, float(lags[best]), float(near.max())
