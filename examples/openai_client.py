"""The official openai client against `vivavoce serve`: a typed question, or a recorded one with its answer as WAV.

python examples/openai_client.py
python examples/openai_client.py question.flac answer.wav
"""

from __future__ import annotations

import base64
import os
import sys
from typing import TYPE_CHECKING

import soundfile
import soxr
from openai import OpenAI

if TYPE_CHECKING:
    from openai.resources.realtime.realtime import RealtimeConnection

URL = os.environ.get("VIVAVOCE_URL", "http://127.0.0.1:8080/v1")
RATE = 24_000
"""Hz, of sound in both directions."""


def ask_typed(connection: RealtimeConnection, question: str) -> None:
    """Send text and print the answer while it comes."""
    connection.conversation.item.create(
        item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": question}]}
    )
    connection.response.create(response={"output_modalities": ["text"]})
    for event in connection:
        if event.type == "response.output_text.delta":
            print(event.delta, end="", flush=True)
        elif event.type == "response.done":
            print()
            return


def ask_spoken(connection: RealtimeConnection, question: str, answer: str) -> None:
    """Send a recording as one turn, print what was understood and said, and save the answer."""
    samples, rate = soundfile.read(question, always_2d=True)
    sound = (soxr.resample(samples.mean(axis=1), rate, RATE) * 32767).astype("<i2").tobytes()
    connection.session.update(
        session={
            "type": "realtime",
            "audio": {"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}},
        }
    )
    for start in range(0, len(sound), RATE):
        connection.input_audio_buffer.append(audio=base64.b64encode(sound[start : start + RATE]).decode())
    connection.input_audio_buffer.commit()
    connection.response.create()
    spoken = b""
    for event in connection:
        if event.type == "response.output_audio.delta":
            spoken += base64.b64decode(event.delta)
        elif event.type == "conversation.item.input_audio_transcription.completed":
            print(f"You: {event.transcript}")
        elif event.type == "response.output_audio_transcript.done":
            print(f"Agent: {event.transcript}")
        elif event.type == "response.done":
            break
    soundfile.write(answer, memoryview(spoken).cast("h"), RATE)


if __name__ == "__main__":
    client = OpenAI(base_url=URL, api_key="none")
    with client.realtime.connect(model="vivavoce") as opened:
        if len(sys.argv) > 1:
            ask_spoken(opened, sys.argv[1], sys.argv[2])
        else:
            ask_typed(opened, "What is the capital of France?")
