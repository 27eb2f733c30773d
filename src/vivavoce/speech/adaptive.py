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

    def feed(self, captured: Samples, played: Samples) -> Samples:
        """Return what is left of a captured frame without the echo of the frames that were played up to now."""
        self._silent = 0 if played.any() else self._silent + 1
        if self._silent > len(self._spectra):
            return captured
        self._spectra = np.roll(self._spectra, 1, axis=0)
        self._spectra[0] = np.fft.rfft(np.concatenate([self._before, played]))
        self._before = played
        echo = np.fft.irfft(np.sum(self._spectra * self._response, axis=0))[self._block :]
        rest = np.asarray(captured - echo, np.float32)
        self._learn(np.fft.rfft(np.pad(rest, (self._block, 0))))
        return rest

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
