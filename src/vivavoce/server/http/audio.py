"""Speech to text and text to speech for whole recordings and texts."""

from __future__ import annotations

from base64 import b64encode
from contextlib import aclosing
from io import BytesIO
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import anyio
import msgspec
import numpy as np
from anyio import to_thread
from msgspec import Meta

from vivavoce.server import guard
from vivavoce.server.http.forms import read_form
from vivavoce.server.http.sound import MEDIA_TYPES, RATE, Format, Recording, Writer
from vivavoce.server.http.wire import EVENTS, JSON, ApiError, Made, checked, read_json, server_sent
from vivavoce.speech.pcm import Resampler
from vivavoce.speech.sentences import speakable, split

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request
    from starlette.responses import Response

    from vivavoce.ports import Samples, TextToSpeech
    from vivavoce.server.hub import Hub

MAX_FILE: Final = 25 * 1024 * 1024
"""Bytes."""


class TranscriptionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to make of a recording; the file itself is a field of the form too."""

    model: str = ""
    language: str | None = None
    """As in ISO 639-1."""
    prompt: str | None = None
    """Words that may occur."""
    response_format: Literal["json", "text", "verbose_json"] = "json"
    stream: bool = False


class TranscriptionDuration(msgspec.Struct, frozen=True, kw_only=True):
    """What it took."""

    type: Literal["duration"] = "duration"
    seconds: float


class Transcript(msgspec.Struct, frozen=True, kw_only=True):
    """What was said."""

    text: str
    usage: TranscriptionDuration


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """A part of what was said; we do not cut, so there is one."""

    id: int = 0
    start: float = 0.0
    """Seconds."""
    end: float
    """Seconds."""
    text: str


class VerboseTranscript(msgspec.Struct, frozen=True, kw_only=True):
    """What was said, and how long it took to say."""

    task: Literal["transcribe"] = "transcribe"
    language: str
    duration: float
    """Seconds."""
    text: str
    segments: tuple[Segment, ...]
    usage: TranscriptionDuration


class SpeechVoice(msgspec.Struct, frozen=True, kw_only=True):
    """A voice as an object."""

    id: str


class SpeechRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to say, and how."""

    input: Annotated[str, Meta(max_length=4096)]
    model: str = ""
    voice: str | SpeechVoice = ""
    """One that the engine does not know is its default."""
    response_format: Format = "mp3"
    """All of 24 kHz, mono; `pcm` is 16 bits, little-endian, without a header."""
    speed: Annotated[float, Meta(ge=0.25, le=4.0)] = 1.0
    stream_format: Literal["audio", "sse"] = "audio"


class Audio:
    """Hears and speaks."""

    def __init__(self, hub: Hub) -> None:
        self._engines = hub.engines

    async def transcribe(self, request: Request) -> Response:
        """Say what is said in a recording."""
        content = BytesIO()
        form = await read_form(request, content, MAX_FILE)
        wanted = checked(form.fields, TranscriptionRequest)
        recording = Recording(content.getvalue())
        media_type = {"text": "text/plain"}.get(wanted.response_format, JSON)
        return Made(self._transcript(wanted, recording), EVENTS if wanted.stream else media_type)

    async def speak(self, request: Request) -> Response:
        """Say a text."""
        wanted = await read_json(request, SpeechRequest)
        if not wanted.input.strip():
            raise ApiError(400, "There is nothing to say; give words.", code="invalid_value", param="input")
        voice = wanted.voice.id if isinstance(wanted.voice, SpeechVoice) else wanted.voice
        sound = _spoken(self._engines.tts, wanted.input, voice, wanted.speed)
        pieces = _written(sound, wanted.response_format)
        if wanted.stream_format == "sse":
            return Made(_as_events(pieces), EVENTS)
        return Made(pieces, MEDIA_TYPES[wanted.response_format])

    async def _transcript(self, wanted: TranscriptionRequest, recording: Recording) -> AsyncGenerator[bytes, None]:
        text = await self._heard(wanted, recording)
        usage = TranscriptionDuration(seconds=round(recording.seconds, 2))
        if wanted.stream:
            yield server_sent({"type": "transcript.text.delta", "delta": text})
            yield server_sent({"type": "transcript.text.done", "text": text})
        elif wanted.response_format == "text":
            yield f"{text}\n".encode()
        elif wanted.response_format == "verbose_json":
            segments = (Segment(end=usage.seconds, text=text),) if text else ()
            yield msgspec.json.encode(
                VerboseTranscript(
                    language=wanted.language or "", duration=usage.seconds, text=text, segments=segments, usage=usage
                )
            )
        else:
            yield msgspec.json.encode(Transcript(text=text, usage=usage))

    async def _heard(self, wanted: TranscriptionRequest, recording: Recording) -> str:
        stt, text = self._engines.stt, ""
        limit_s = guard.HEARING_S + recording.seconds
        with anyio.move_on_after(limit_s) as limit:
            async with aclosing(recording.samples(stt.sample_rate)) as sound:
                results = guard.hear(stt, sound, language=wanted.language, prompt=wanted.prompt)
                async with aclosing(results):
                    async for heard in results:
                        text = heard.text
        if limit.cancelled_caught:
            raise guard.late()
        return text


async def _spoken(tts: TextToSpeech, text: str, voice: str, speed: float) -> AsyncGenerator[Samples, None]:
    """Yield the sound of a text at `RATE`, sentence by sentence."""
    resampler = Resampler(tts.sample_rate, RATE)
    for sentence in filter(None, map(speakable, split(text))):
        async with aclosing(guard.speak(tts, sentence, voice=voice, speed=speed)) as sound:
            async for samples in sound:
                yield resampler.feed(samples)
    yield resampler.feed(np.zeros(0, np.float32), last=True)


async def _written(sound: AsyncGenerator[Samples, None], kind: Format) -> AsyncGenerator[bytes, None]:
    """Yield the sound as the bytes of a file."""
    writer = Writer(kind)
    async with aclosing(sound):
        async for samples in sound:
            if piece := await to_thread.run_sync(writer.feed, samples):
                yield piece
    if piece := await to_thread.run_sync(writer.close):
        yield piece


async def _as_events(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(pieces):
        async for piece in pieces:
            yield server_sent({"type": "speech.audio.delta", "audio": b64encode(piece).decode()})
    usage: dict[str, Any] = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    yield server_sent({"type": "speech.audio.done", "usage": usage})
