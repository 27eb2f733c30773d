"""Speech to text behind any OpenAI-compatible endpoint."""

from __future__ import annotations

import io
import wave
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from vivavoce.backends.batched import in_batches
from vivavoce.backends.openai_http import OPENAI, Endpoint, Options

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Mapping
    from typing import Unpack

    from vivavoce.ports import Heard, Samples

_SHORTEST: Final = 0.1
"""Seconds; a shorter recording is refused by OpenAI and holds no word."""


class _Transcription(msgspec.Struct):
    text: str


class OpenAITranscription:
    """Recognises one utterance at a time by `POST /audio/transcriptions`."""

    sample_rate = 16_000

    def __init__(
        self,
        *,
        model: str = "whisper-1",
        url: str = OPENAI,
        extra: Mapping[str, Any] | None = None,
        **options: Unpack[Options],
    ) -> None:
        self._endpoint = Endpoint(url, model=model, key_variable="VIVAVOCE_STT_KEY", **options)
        self._fields = {"model": model, "response_format": "json"} | dict(extra or {})

    def transcribe(
        self, audio: AsyncIterable[Samples], *, language: str | None = None, prompt: str | None = None
    ) -> AsyncGenerator[Heard, None]:
        """Yield what was said up to each pause, and at the end the whole; nothing is asked twice.

        Raises:
            BackendError: the endpoint cannot be reached, refuses, or breaks off.
        """
        hints = {} if language is None else {"language": language.partition("-")[0].lower()}
        hints |= {"prompt": prompt} if prompt else {}
        return in_batches(audio, partial(self._recognise, hints), sample_rate=self.sample_rate)

    async def warm_up(self) -> None:
        """Make sure that the endpoint answers and accepts the key."""
        await self._endpoint.check()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._endpoint.aclose()

    async def _recognise(self, hints: dict[str, str], sound: Samples) -> str:
        if len(sound) < _SHORTEST * self.sample_rate:
            return ""
        recording = ("speech.wav", wav(sound, self.sample_rate), "audio/wav")
        fields = self._fields | hints
        response = await self._endpoint.post("/audio/transcriptions", data=fields, files={"file": recording})
        answer = await self._endpoint.read(response)
        try:
            return msgspec.convert(answer, _Transcription).text.strip()
        except msgspec.ValidationError as error:
            raise self._endpoint.garbled(str(answer)) from error


def wav(samples: Samples, sample_rate: int) -> bytes:
    """Return mono samples as a WAV file of 16 bits."""
    file = io.BytesIO()
    with wave.open(file, "wb") as recording:
        recording.setnchannels(1)
        recording.setsampwidth(2)
        recording.setframerate(sample_rate)
        recording.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return file.getvalue()
