"""Flite: small English voices in a process of their own, as a fallback."""

from __future__ import annotations

import io
import subprocess
import wave
from typing import TYPE_CHECKING

import anyio
import numpy as np

from vivavoce.ports import BackendError
from vivavoce.speech.sentences import speakable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from vivavoce.ports import Samples

SAMPLE_RATE = 16_000
CHUNK = SAMPLE_RATE // 10
SLOWEST, FASTEST = 0.25, 4.0


class Flite:
    """The text-to-speech port on the `flite` program; its process ends with the generator."""

    sample_rate = SAMPLE_RATE
    voices = ("slt", "rms")

    async def speak(
        self, sentence: str, *, voice: str | None = None, speed: float = 1.0
    ) -> AsyncGenerator[Samples, None]:
        """Yield the sound of the text, a tenth of a second at a time.

        Raises:
            BackendError: flite is not installed, or failed.
        """
        text = speakable(sentence)
        if not text:
            return
        name = voice if voice in self.voices else self.voices[0]
        stretch = 1 / min(FASTEST, max(SLOWEST, speed))
        spoken = await _flite("-voice", name, "--setf", f"duration_stretch={stretch:.3f}", "-t", text)
        for at in range(0, len(spoken), CHUNK):
            yield spoken[at : at + CHUNK]


async def _flite(*arguments: str) -> Samples:
    """Run flite to its end; cancellation kills it."""
    try:
        done = await anyio.run_process(["flite", *arguments, "-o", "/dev/stdout"])
    except FileNotFoundError as missing:
        raise BackendError("engine_missing", "flite is not installed: apt install flite") from missing
    except subprocess.CalledProcessError as failed:
        reason = failed.stderr.decode(errors="replace").strip() or f"exit status {failed.returncode}"
        raise BackendError("engine_failed", f"flite failed: {reason}") from failed
    with wave.open(io.BytesIO(done.stdout)) as sound:
        pcm = np.frombuffer(sound.readframes(sound.getnframes()), "<i2")
    return (pcm / 32768).astype(np.float32)
