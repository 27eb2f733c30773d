"""What the server hears and says, over the socket, with the real models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.scenarios.client import session
from tests.scenarios.speech import read, spoken, wer

from vivavoce.realtime.events import (
    InputAudioBufferClear,
    InputAudioBufferCleared,
    InputAudioBufferCommitted,
    OutputAudioDelta,
    OutputAudioTranscriptDone,
    ResponseDone,
    TranscriptionCompleted,
)
from vivavoce.speech.pcm import from_pcm16

if TYPE_CHECKING:
    from tests.recordings import Recording
    from tests.scenarios.client import Client
    from tests.scenarios.conftest import House

    from vivavoce.ports import Samples

pytestmark = [pytest.mark.speech, pytest.mark.anyio]

MEASURED = 0.21
"""WER over the recordings, 77 words of them."""
TRANSCRIBED = {"input": {"transcription": {"model": "moonshine"}}}
BRIEFLY = "Answer in one short sentence."
QUESTIONS = ("What is the capital of France?", "How many days are there in a week?", "Why is the sky blue?")


async def transcript(client: Client, sound: Samples) -> str:
    """Say something and return what the server heard of it, in as many turns as it made of it."""
    client.seen.clear()
    await client.say(sound)
    await client.send(InputAudioBufferClear())
    await client.until(InputAudioBufferCleared)
    turns = [event.item_id for event in client.all(InputAudioBufferCommitted)]
    while len(client.all(TranscriptionCompleted)) < len(turns):
        await client.until(TranscriptionCompleted)
    heard = {event.item_id: event.transcript for event in client.all(TranscriptionCompleted)}
    return " ".join(heard[turn] for turn in turns)


async def test_transcribes_recordings_of_people(house: House, recordings: list[Recording]) -> None:
    detection = {"type": "server_vad", "silence_duration_ms": 400, "create_response": False}
    audio = {"input": {"turn_detection": detection, "transcription": {"model": "moonshine"}}}
    async with session(house.url, audio=audio) as client:
        heard = [await transcript(client, recording.sound) for recording in recordings]
    said = [recording.words for recording in recordings]
    assert wer(said, heard) < MEASURED + 0.05, "\n".join(heard)


@pytest.mark.parametrize("question", QUESTIONS)
async def test_answers_can_be_read_back(house: House, question: str) -> None:
    async with session(house.url, audio=TRANSCRIBED, instructions=BRIEFLY) as client:
        await client.say(await spoken(question))
        done = await client.until(ResponseDone)
    assert done.response.status == "completed"
    assert wer([question], [event.transcript for event in client.all(TranscriptionCompleted)]) <= 0.2
    (answer,) = client.all(OutputAudioTranscriptDone)
    sound = from_pcm16(b"".join(event.delta for event in client.all(OutputAudioDelta)))
    assert wer([answer.transcript], [await read(sound)]) < 0.2
