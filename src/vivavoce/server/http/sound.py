"""Recordings in files: read into samples, and written while they are made."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np

from vivavoce.aio import in_thread
from vivavoce.server.http.wire import ApiError
from vivavoce.speech.pcm import Resampler, to_pcm16

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vivavoce.ports import Samples

Format: TypeAlias = Literal["mp3", "opus", "flac", "wav", "pcm"]

RATE: Final = 24_000
"""Hz, of what is written."""
MAX_S: Final = 3600.0
"""Seconds of sound in a recording that is read."""
MEDIA_TYPES: Final[dict[Format, str]] = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}

_OPTIONS: Final[dict[Format, dict[str, Any]]] = {
    "mp3": {"format": "MP3", "bitrate_mode": "CONSTANT", "compression_level": 0.6},  # others rewrite their beginning
    "opus": {"format": "OGG", "subtype": "OPUS"},
    "flac": {"format": "FLAC", "subtype": "PCM_16"},
}
_BLOCK: Final = 1 << 16
_UNKNOWN: Final = 0xFFFFFFFF


class Recording:
    """A sound file in memory; wav, flac, ogg, mp3 and whatever else libsndfile reads."""

    def __init__(self, content: bytes) -> None:
        """Open it.

        Raises:
            ApiError: it is no sound, or too much of it.
        """
        import soundfile

        try:
            self._file = soundfile.SoundFile(io.BytesIO(content))
        except soundfile.LibsndfileError:
            message = "The file is not a recording that can be read; send wav, flac, ogg or mp3."
            raise ApiError(400, message, code="invalid_audio", param="file") from None
        self.seconds = self._file.frames / self._file.samplerate
        """How long it says it is."""
        if not 0 <= self.seconds <= MAX_S:
            message = f"The recording is longer than {MAX_S / 60:g} minutes, or does not say how long it is; cut it."
            raise ApiError(400, message, code="audio_too_long", param="file")

    @in_thread
    def samples(self, rate: int) -> Iterator[Samples]:
        """Yield its sound, all channels as one, block by block, no longer than it says it is."""
        resampler = Resampler(self._file.samplerate, rate)
        with self._file as file:
            file.seekable = lambda: False  # soundfile seeks after each read, which spoils MP3
            left = file.frames
            while len(block := file.read(min(_BLOCK, left), dtype="float32", always_2d=True)):
                left -= len(block)
                yield resampler.feed(np.nan_to_num(block.mean(axis=1)))
        yield resampler.feed(np.zeros(0, np.float32), last=True)


class Writer:
    """Writes samples of `RATE` as a file, piece by piece.

    The length of a WAV is not known when it begins, and is said to be the greatest; a FLAC comes whole at its end.
    """

    def __init__(self, kind: Format) -> None:
        import soundfile

        self._kind = kind
        self._sink = io.BytesIO()
        self._sent = 0
        if kind == "wav":
            self._sink.write(_wav_header())
        if options := _OPTIONS.get(kind):
            self._file = soundfile.SoundFile(self._sink, "w", RATE, 1, **options)
        else:
            self._file = None

    def feed(self, samples: Samples) -> bytes:
        """Return what can be sent after these samples."""
        if self._file is None:
            self._sink.write(to_pcm16(samples))
        else:
            self._file.write(np.clip(samples, -1.0, 1.0))
        return b"" if self._kind == "flac" else self._take()

    def close(self) -> bytes:
        """Return the rest of the file."""
        if self._file is not None:
            self._file.close()
        return self._take()

    def _take(self) -> bytes:
        # The encoders go back to what they wrote, so all of it is kept; it is a few megabytes at most.
        end = self._sink.seek(0, io.SEEK_END)
        self._sink.seek(self._sent)
        piece = self._sink.read()
        self._sent = end
        return piece


def _wav_header() -> bytes:
    """Return the head of a WAV file of unknown length."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", _UNKNOWN, b"WAVE") + form + struct.pack("<4sI", b"data", _UNKNOWN)
