"""The Yandex sample's client, written anew from its description, over both generations of that service's dialect."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import anyio
import pytest
from anyio import create_task_group
from tests.conformance.conftest import HEARD, STORY, TIME
from websockets.asyncio.client import ClientConnection, connect

from vivavoce.server.auth import Access, Keys
from vivavoce.server.engine import Engines
from vivavoce.server.hub import Hub
from vivavoce.testing import ScriptedLanguageModel, ScriptedTextToSpeech

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.server.conftest import Serving

KEY = "AQVN-secret"
OUT_RATE = 44_100
QUEUE_CHUNKS = 100
GENERATIONS = {
    "until-april-2026": ("/openai", "gpt://folder/speech-realtime-250923", f"api-key {KEY}"),
    "since-april-2026": ("", "gpt://folder/speech-realtime-260528", f"Api-Key {KEY}"),
}
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the current weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
SESSION = {
    "instructions": "You are a helpful voice assistant.",
    "output_modalities": ["text", "audio"],
    "audio": {
        "input": {
            "format": {"type": "audio/pcm", "rate": 24_000, "channels": 1},
            "turn_detection": {"type": "server_vad", "threshold": 0.5, "silence_duration_ms": 400},
        },
        "output": {"format": {"type": "audio/pcm", "rate": OUT_RATE}, "voice": "marina"},
    },
    "tool_choice": "auto",
    "tools": [
        WEATHER,
        {"type": "function", "name": "web_search", "description": "Search the web", "parameters": "{}"},
        {"type": "function", "name": "file_search", "description": "vector-store", "parameters": "{}"},
    ],
}
ANSWER = {"type": "response.create", "response": {"modalities": ["audio", "text"], "conversation": "default"}}

pytestmark = pytest.mark.anyio


class Playback:
    """The sample's queue: it holds 100 chunks, plays them at its rate, and loses all of them when it is full."""

    def __init__(self) -> None:
        self.queued: deque[int] = deque()
        self.taken = 0
        self.lost = 0
        self._played_until = 0.0

    def add(self, chunk: bytes) -> None:
        now = anyio.current_time()
        self._played_until = max(self._played_until, now - 0.1)
        while self.queued and self._played_until < now:
            self._played_until += self.queued.popleft() / (2 * OUT_RATE)
        if len(self.queued) >= QUEUE_CHUNKS:
            self.lost += len(self.queued)
            self.queued.clear()
        self.queued.append(len(chunk))
        self.taken += len(chunk)


class SampleClient:
    """What the sample does with each event, and no more."""

    def __init__(self, socket: ClientConnection) -> None:
        self.playback = Playback()
        self.kinds: list[str] = []
        self.session: dict[str, Any] = {}
        self.said = ""
        self.heard: list[str] = []
        self.errors: list[Any] = []
        self._socket = socket
        self._epoch = 0
        self._playing: int | None = None

    async def send(self, event: dict[str, Any]) -> None:
        await self._socket.send(json.dumps(event))

    async def speak(self, speech: list[bytes]) -> None:
        for frame in speech:
            await self.send({"type": "input_audio_buffer.append", "audio": b64encode(frame).decode()})
            await anyio.sleep(0.005)

    async def type(self, text: str) -> None:
        content = [{"type": "input_text", "text": text}]
        await self.send(
            {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": content}}
        )
        await self.send(ANSWER)

    async def downlink(self) -> None:
        async for message in self._socket:
            event = json.loads(message)
            self.kinds.append(event["type"])
            await self._take(event)

    async def until(self, wanted: Callable[[], bool]) -> None:
        with anyio.fail_after(20):
            while not wanted():
                assert self.errors == []
                await anyio.sleep(0.01)

    async def answered(self, count: int) -> None:
        await self.until(lambda: self.kinds.count("response.done") == count)

    async def _take(self, event: dict[str, Any]) -> None:
        match event:
            case {"type": "session.created" | "session.updated", "session": {"id": str()} as session}:
                self.session = session
            case {"type": "conversation.item.input_audio_transcription.completed", "transcript": str(words)}:
                self.heard.append(words)
            case {"type": "response.output_text.delta", "delta": str(text)}:
                self.said += text
            case {"type": "input_audio_buffer.speech_started"}:
                self._epoch += 1
                self._playing = None
                self.playback.queued.clear()
            case {"type": "response.created"}:
                self._playing = self._epoch
            case {"type": "response.output_audio.delta", "delta": str(sound)}:
                if self._playing == self._epoch:
                    self.playback.add(b64decode(sound))
            case {"type": "response.output_item.done", "item": {"type": "function_call"} as call}:
                await self._call(call)
            case {"type": "error"}:
                self.errors.append(event)
            case _:
                pass

    async def _call(self, call: dict[str, Any]) -> None:
        """Answer any call as the weather, as the sample does."""
        city = json.loads(call["arguments"])["city"]
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": f"sunny in {city}"}
        await self.send({"type": "conversation.item.create", "item": output})
        await self.send(ANSWER)


@asynccontextmanager
async def talking(url: str, generation: str) -> AsyncIterator[SampleClient]:
    path, model, authorization = GENERATIONS[generation]
    address = f"{url}{path}?{urlencode({'model': model})}"
    async with connect(address, additional_headers={"Authorization": authorization}) as socket:
        client = SampleClient(socket)
        async with create_task_group() as tasks:
            tasks.start_soon(client.downlink)
            await client.send({"type": "session.update", "session": SESSION})
            await client.until(lambda: "session.updated" in client.kinds)
            yield client
            tasks.cancel_scope.cancel()
    assert client.playback.lost == 0


@pytest.fixture
def access() -> Access:
    return Access(Keys({KEY: "sample"}))


@pytest.fixture(params=GENERATIONS)
def generation(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_spoken_turn(hub: Hub, serving: Serving, access: Access, generation: str, speech: list[bytes]) -> None:
    async with serving(hub, access=access) as url, talking(url, generation) as client:
        await client.speak(speech)
        await client.answered(1)
        await client.until(lambda: bool(client.heard))
    assert client.heard[-1] == HEARD
    assert client.said == TIME
    assert "response.output_audio.done" in client.kinds
    seconds = client.playback.taken / (2 * OUT_RATE)
    assert seconds == pytest.approx(len(TIME.split()) * 0.06, abs=0.02)


async def test_typed_turn(hub: Hub, serving: Serving, access: Access, generation: str) -> None:
    async with serving(hub, access=access) as url, talking(url, generation) as client:
        await client.type("What time is it?")
        await client.answered(1)
    assert client.said == TIME
    assert client.playback.taken > 0


async def test_function_call(hub: Hub, serving: Serving, access: Access, generation: str) -> None:
    async with serving(hub, access=access) as url, talking(url, generation) as client:
        await client.type("How is the weather?")
        await client.answered(2)
    assert client.said == "Outside it is sunny in Oslo."


async def test_barge_in(hub: Hub, serving: Serving, access: Access, generation: str, speech: list[bytes]) -> None:
    async with serving(hub, access=access) as url, talking(url, generation) as client:
        await client.type("Tell me a story.")
        await client.until(lambda: client.playback.taken > 0)
        await client.speak(speech)
        await client.answered(2)
    assert client.said.endswith(TIME)
    assert len(client.said) < len(STORY)


async def test_second_session(hub: Hub, serving: Serving, access: Access, generation: str) -> None:
    async with (
        serving(hub, access=access) as url,
        talking(url, generation) as first,
        talking(url, generation) as second,
    ):
        for client in (first, second):
            await client.type("What time is it?")
            await client.answered(1)
    assert first.said == second.said == TIME
    assert first.session["id"] != second.session["id"]


async def test_long_answer_does_not_overflow(hub: Hub, serving: Serving, access: Access, generation: str) -> None:
    engines = hub.engines
    quick = Engines(engines.vad, engines.stt, ScriptedLanguageModel([STORY]), ScriptedTextToSpeech(word=0.12))
    async with serving(Hub(quick), access=access) as url, talking(url, generation) as client:
        await client.type("Tell me a story.")
        await client.until(lambda: client.playback.taken > 0)
        await anyio.sleep(2)
