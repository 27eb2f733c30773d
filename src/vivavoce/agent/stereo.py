"""A stereo WAV file that two tracks grow into, each at its own pace, and that can be read at any moment."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

WINDOW_S = 20.0
"""How far one track may be behind the other; what comes later than that is lost."""
FRAME_BYTES = 4
HEADER_BYTES = 80

_MOST = 0xFFFF_FFFF


class StereoFile:
    """Sound of two tracks, 16 bit PCM; silence where nothing was put.

    What stands on disk is right up to the last `save`. Beyond 4 GiB the file is an RF64.
    """

    def __init__(self, path: Path, sample_rate: int) -> None:
        """Create the file.

        Raises:
            OSError: it cannot be written.
        """
        self.sample_rate = sample_rate
        self.frames = 0
        """Written so far, samples of each track."""
        self._window = np.zeros((round(WINDOW_S * sample_rate), 2), "<i2")
        self._reached = [0, 0]
        # Unbuffered: what cannot be written must not be tried again when the file is closed.
        self._file = path.open("xb", buffering=0)
        self._write_header()

    def put(self, track: Literal[0, 1], start: int, samples: NDArray[np.int16]) -> None:
        """Lay samples from a position on, over what may be there; what is written already stays as it is.

        Raises:
            OSError: the disk is full.
        """
        late = max(self.frames - start, 0)
        start, samples = start + late, samples[late:]
        while len(samples):
            self._write_until(start + min(len(samples), len(self._window)) - len(self._window))
            at = start - self.frames
            piece = samples[: len(self._window) - at]
            self._window[at : at + len(piece), track] = piece
            start, samples = start + len(piece), samples[len(piece) :]
        self._reached[track] = max(self._reached[track], start)

    def save(self, settled: int = 0) -> None:
        """Write what both tracks have reached, and bring the header up to date.

        Args:
            settled: before this position nothing more will be put, even where a track has not reached it.

        Raises:
            OSError: the disk is full.
        """
        self._write_until(max(min(self._reached), min(settled, max(self._reached))))
        self._write_header()

    def close(self) -> None:
        """Write everything.

        Raises:
            OSError: the disk is full.
        """
        try:
            self._write_until(max(self._reached))
            self._write_header()
        finally:
            self._file.close()

    def _write_until(self, position: int) -> None:
        while (ready := min(position - self.frames, len(self._window))) > 0:
            write_all(self._file.fileno(), self._window[:ready].tobytes())
            self._window[:-ready] = self._window[ready:]
            self._window[-ready:] = 0
            self.frames += ready

    def _write_header(self) -> None:
        self._file.seek(0)
        write_all(self._file.fileno(), header(self.sample_rate, self.frames))
        self._file.seek(0, os.SEEK_END)


def write_all(file: int, data: bytes) -> None:
    """Write to a file descriptor; a disk that gets full may take a part first.

    Raises:
        OSError: the disk is full.
    """
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]


def header(sample_rate: int, frames: int) -> bytes:
    """Return the 80 bytes before stereo 16 bit PCM: RIFF WAVE with room for what RF64 needs (EBU Tech 3306)."""
    data = frames * FRAME_BYTES
    whole = data + HEADER_BYTES - 8
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 2, sample_rate, sample_rate * FRAME_BYTES, FRAME_BYTES, 16)
    if whole <= _MOST:
        start = struct.pack("<4sI4s4sI28x", b"RIFF", whole, b"WAVE", b"JUNK", 28)
    else:
        start = struct.pack("<4sI4s4sIQQQI", b"RF64", _MOST, b"WAVE", b"ds64", 28, whole, data, frames, 0)
    return start + form + struct.pack("<4sI", b"data", min(data, _MOST))
