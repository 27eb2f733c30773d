"""Text to speech behind any OpenAI-compatible endpoint."""

from __future__ import annotations

import struct
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
import numpy as np

from vivavoce.backends.openai_http import OPENAI, Endpoint, Options

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from typing import Unpack

    from vivavoce.ports import Samples

OPENAI_VOICES: Final = (
    "alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage", "shimmer", "verse",
)  # fmt: skip
_RATE: Final = 24_000
_PLAIN: Final = ("", "audio/pcm", "audio/l16", "audio/wav", "audio/x-wav", "audio/wave", "application/octet-stream")
"""Content types of sound that is not compressed."""
_COMPRESSED: Final = (b"ID3", b"OggS", b"fLaC")


class OpenAISpeech:
    """Speaks one sentence by `POST /audio/speech`, streamed."""

    sample_rate = _RATE

    def __init__(
        self,
        *,
        model: str = "gpt-4o-mini-tts",
        url: str = OPENAI,
        voices: Sequence[str] = OPENAI_VOICES,
        pcm_rate: int = _RATE,
        extra: Mapping[str, Any] | None = None,
        **options: Unpack[Options],
    ) -> None:
        """Take the address, and how the server speaks.

        Args:
            model: the name that the server knows it by.
            url: the address, `/v1` included.
            voices: the names that the server knows; the first is the default.
            pcm_rate: Hz, of the headerless sound that the server sends; OpenAI's is 24000.
            extra: further fields of each request.
            options: key, headers and time-outs.
        """
        self.voices: Sequence[str] = tuple(voices)
        self._endpoint = Endpoint(url, model=model, key_variable="VIVAVOCE_TTS_KEY", **options)
        self._fields = {"model": model, "response_format": "pcm"} | dict(extra or {})
        self._pcm = _Format(sample_rate=pcm_rate)

    async def speak(
        self, sentence: str, *, voice: str | None = None, speed: float = 1.0
    ) -> AsyncGenerator[Samples, None]:
        """Yield the sound of the sentence as it arrives.

        Raises:
            BackendError: the endpoint cannot be reached, refuses, breaks off, or sends what is not plain sound.
        """
        if not sentence.strip():
            return
        known = voice if voice in self.voices else self.voices[0]
        body = self._fields | {"input": sentence, "voice": known, "speed": min(max(speed, 0.25), 4.0)}
        response = await self._endpoint.post("/audio/speech", json=body)
        decoder = SoundDecoder(self._pcm)
        async with aclosing(response), aclosing(self._endpoint.chunks(response)) as chunks:
            self._check(response.headers.get("content-type", ""))
            async for chunk in chunks:
                if (samples := self._decode(decoder, chunk)).size:
                    yield samples
        if (samples := self._decode(decoder, b"", last=True)).size:
            yield samples

    async def warm_up(self) -> None:
        """Make sure that the endpoint answers and accepts the key."""
        await self._endpoint.check()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._endpoint.aclose()

    def _decode(self, decoder: SoundDecoder, chunk: bytes, *, last: bool = False) -> Samples:
        try:
            return decoder.feed(chunk, last=last)
        except ValueError as error:
            raise self._endpoint.garbled(str(error)) from error

    def _check(self, content_type: str) -> None:
        kind = content_type.partition(";")[0].strip().lower()
        if kind not in _PLAIN:
            raise self._endpoint.garbled(f"{kind} instead of audio/pcm")


class _Format(msgspec.Struct, frozen=True):
    """How samples are written."""

    sample_rate: int
    channels: int = 1
    dtype: str = "<i2"


_NONE = np.zeros(0, np.float32)
_DTYPES = {(1, 16): "<i2", (1, 32): "<i4", (3, 32): "<f4"}
"""By the format tag and the bits of a WAV file."""
_EXTENSIBLE = 0xFFFE
_UNKNOWN_SIZE = 0x7FFF0000
"""Streaming servers write a data size of this and more, or none, because they do not know it."""


class SoundDecoder:
    """Makes mono samples at 24 kHz of bytes that are headerless PCM or a WAV file, in pieces of any size."""

    def __init__(self, headerless: _Format) -> None:
        self._headerless = headerless
        self._format: _Format | None = None
        self._held = b""
        self._left: float = float("inf")
        self._resampler: Any = None

    def feed(self, data: bytes, *, last: bool = False) -> Samples:
        """Return the samples that are complete, all of them at the last."""
        self._held += data
        if self._format is None:
            self._format = self._sniff(last=last)
        if self._format is None:
            return _NONE
        return self._resampled(self._samples(self._format), self._format.sample_rate, last=last)

    def _sniff(self, *, last: bool) -> _Format | None:
        """Find out what the bytes are; None while there are too few."""
        if self._held.startswith(_COMPRESSED):
            raise ValueError("compressed sound instead of PCM")
        if not self._held.startswith(b"RIFF"[: len(self._held)]):
            return self._headerless
        found = self._read_header()
        if last and found is None and self._held:
            raise ValueError("a WAV file without sound")
        return found

    def _read_header(self) -> _Format | None:
        """Read the chunks of a WAV file up to its sound; None while they are not all there."""
        position, found = 12, None
        while len(self._held) >= position + 8:
            name, size = struct.unpack_from("<4sI", self._held, position)
            position += 8
            if name == b"data":
                self._held = self._held[position:]
                self._left = size if 0 < size < _UNKNOWN_SIZE else self._left
                return found or self._headerless
            if len(self._held) < position + size:
                return None
            if name == b"fmt ":
                found = _wav_format(self._held[position : position + size])
            position += size + size % 2
        return None

    def _samples(self, form: _Format) -> Samples:
        """Take the complete frames, as mono."""
        dtype = np.dtype(form.dtype)
        frame = dtype.itemsize * form.channels
        size = int(min(len(self._held), self._left)) // frame * frame
        data, self._held = self._held[:size], self._held[size:]
        self._left -= size
        samples = np.frombuffer(data, dtype).astype(np.float32)
        if dtype.kind == "i":
            samples /= 2.0 ** (dtype.itemsize * 8 - 1)
        mono: Samples = samples.reshape(-1, form.channels).mean(axis=1, dtype=np.float32)
        return mono

    def _resampled(self, samples: Samples, rate: int, *, last: bool) -> Samples:
        if rate == _RATE:
            return samples
        if self._resampler is None:
            import soxr

            self._resampler = soxr.ResampleStream(rate, _RATE, 1, dtype="float32")
        return cast("Samples", self._resampler.resample_chunk(samples, last=last))


def _wav_format(chunk: bytes) -> _Format:
    if len(chunk) < 16:  # noqa: PLR2004
        raise ValueError("a WAV file with a broken header")
    tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
    if tag == _EXTENSIBLE and len(chunk) >= 26:  # noqa: PLR2004
        (tag,) = struct.unpack_from("<H", chunk, 24)
    dtype = _DTYPES.get((tag, bits))
    if dtype is None or not channels or not rate:
        raise ValueError(f"a WAV file of {bits} bits and format {tag}")
    return _Format(sample_rate=rate, channels=channels, dtype=dtype)
