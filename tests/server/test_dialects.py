"""Sessions over real sockets in every dialect, kind and format of sound."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from anyio import fail_after
from tests.server.clients import ask, event, until
from websockets.asyncio.client import connect

from vivavoce.server.hub import Hub
from vivavoce.speech import pcm
from vivavoce.testing import tone

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.server.conftest import Serving
    from websockets.asyncio.client import ClientConnection

    from vivavoce.server.engine import Engines

    Make = Callable[..., Engines]

pytestmark = pytest.mark.anyio

ENCODE = {"audio/pcm": pcm.to_pcm16, "audio/pcmu": pcm.to_ulaw, "audio/pcma": pcm.to_alaw}
DECODE = {"audio/pcm": pcm.from_pcm16, "audio/pcmu": pcm.from_ulaw, "audio/pcma": pcm.from_alaw}


def update(**session: Any) -> dict[str, Any]:
    return {"type": "session.update", "session": session}


async def say_something(client: ClientConnection, kind: str, rate: int) -> None:
    """Speak for a second and be silent for another."""
    samples = np.concatenate([tone(220, 1.0, rate), np.zeros(rate, np.float32)])
    audio = b64encode(ENCODE[kind](samples)).decode()
    await client.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))


async def collect(client: ClientConnection, last: str) -> list[dict[str, Any]]:
    events = [await event(client)]
    while events[-1]["type"] != last:
        events.append(await event(client))
    return events


def names(events: list[dict[str, Any]]) -> list[str]:
    return [one["type"] for one in events]


def sound(events: list[dict[str, Any]], name: str = "response.output_audio.delta") -> list[bytes]:
    return [b64decode(one["delta"]) for one in events if one["type"] == name]


@pytest.mark.parametrize("kind", ["audio/pcmu", "audio/pcma"])
async def test_telephone_sound_both_ways(engines: Make, serving: Serving, kind: str) -> None:
    made = engines()
    async with serving(Hub(made)) as url, connect(url) as client:
        audio = {"input": {"format": {"type": kind}}, "output": {"format": {"type": kind}}}
        updated = await ask(client, update(type="realtime", audio=audio), "session.updated")
        assert updated["session"]["audio"]["output"]["format"] == {"type": kind}
        await say_something(client, kind, 8000)
        events = await collect(client, "response.done")
    (heard,) = made.stt.heard  # type: ignore[attr-defined]
    assert np.abs(heard).max() > 0.1
    spoken = DECODE[kind](b"".join(sound(events)))
    words = " ".join(made.tts.spoken).split()  # type: ignore[attr-defined]
    assert len(spoken) / 8000 == pytest.approx(0.06 * len(words), rel=0.02)
    assert _pitch(spoken, 8000) == pytest.approx(220, rel=0.02)


def _pitch(samples: Any, rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(samples))
    return float(np.argmax(spectrum) * rate / len(samples))


@pytest.mark.parametrize(
    ("path", "model", "headers"),
    [
        ("", "gpt://folder/speech-realtime-260528", {}),
        ("/openai", "gpt://folder/speech-realtime-250923", {"Authorization": "api-key AQVN"}),
        ("", "speech-realtime", {"Authorization": "Api-Key AQVN"}),
    ],
)
async def test_reference_client_of_yandex(
    engines: Make, serving: Serving, path: str, model: str, headers: dict[str, str]
) -> None:
    pcm44 = {"format": {"type": "audio/pcm", "rate": 44100, "channels": 1}}
    async with (
        serving(Hub(engines())) as url,
        connect(f"{url}{path}?model={model}", additional_headers=headers) as client,
    ):
        settings = update(output_modalities=["text", "audio"], audio={"input": pcm44, "output": pcm44})
        updated = await ask(client, settings, "session.updated")
        assert updated["session"]["output_modalities"] == ["text", "audio"]
        await say_something(client, "audio/pcm", 44100)
        committed = await collect(client, "input_audio_buffer.committed")
        hasty = {"instructions": "x", "modalities": ["audio", "text"], "conversation": "default"}
        await client.send(json.dumps({"type": "response.create", "response": hasty}))
        events = committed + await collect(client, "response.done")
    assert "error" not in names(events)
    transcribed = "conversation.item.input_audio_transcription.completed"
    assert [one["transcript"] for one in events if one["type"] == transcribed] == ["what time is it"]
    text = "".join(one["delta"] for one in events if one["type"] == "response.output_text.delta")
    assert text == "It is noon. Time to eat."
    *deltas, _ = sound(events)
    assert {len(delta) for delta in deltas} <= {44100 * 2 * 4 // 10}


async def test_client_of_the_beta(engines: Make, serving: Serving) -> None:
    headers = {"OpenAI-Beta": "realtime=v1"}
    async with serving(Hub(engines())) as url, connect(url, additional_headers=headers) as client:
        created = await event(client)
        assert created["session"]["input_audio_format"] == "pcm16"
        await ask(client, update(voice="low", modalities=["audio", "text"]), "session.updated")
        await say_something(client, "audio/pcm", 24000)
        events = await collect(client, "response.done")
    assert sound(events, "response.audio.delta")
    assert "conversation.item.created" in names(events)
    assert not [name for name in names(events) if "output_audio." in name or name == "conversation.item.added"]


async def test_session_that_only_transcribes(engines: Make, serving: Serving) -> None:
    made = engines()
    async with serving(Hub(made)) as url, connect(f"{url}?intent=transcription") as client:
        created = await event(client)
        assert created["session"]["type"] == "transcription"
        wanted = {"input": {"transcription": {"model": "gpt-4o-mini-transcribe"}}}
        await ask(client, update(type="transcription", audio=wanted), "session.updated")
        await say_something(client, "audio/pcm", 24000)
        events = await collect(client, "conversation.item.input_audio_transcription.completed")
        refused = await ask(client, {"type": "response.create", "event_id": "mine"}, "error")
    assert names(events)[:5] == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
    ]
    delta = "conversation.item.input_audio_transcription.delta"
    assert "".join(one["delta"] for one in events if one["type"] == delta) == events[-1]["transcript"]
    assert refused["error"]["event_id"] == "mine"
    assert not made.llm.prompts  # type: ignore[attr-defined]


async def test_silence_is_answered(engines: Make, serving: Serving) -> None:
    made = engines()
    async with serving(Hub(made)) as url, connect(url) as client:
        detection = {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 5000}}
        await ask(client, update(type="realtime", audio={"input": detection}), "session.updated")
        await ask(client, {"type": "response.create", "response": {"output_modalities": ["text"]}}, "response.done")
        with fail_after(9):
            while (await event_within(client, 8))["type"] != "input_audio_buffer.timeout_triggered":
                pass
        await until(client, "response.done")
    assert len(made.llm.prompts) == 2  # type: ignore[attr-defined]


async def event_within(client: ClientConnection, seconds: float) -> dict[str, Any]:
    with fail_after(seconds):
        received: dict[str, Any] = json.loads(await client.recv())
    return received
