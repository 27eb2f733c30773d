"""The official Python package: every frame by its own types, every flow in its order."""

from __future__ import annotations

from base64 import b64encode
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from openai import AsyncOpenAI
from tests.conformance.conftest import HEARD, TIME
from tests.conformance.order import BARGE_IN, CALL, ITEM_CREATED, SPOKEN_TURN, WRITTEN_ANSWER, Log, shape

from vivavoce.ports import Call, Passage
from vivavoce.realtime.values import Source
from vivavoce.server.searching import Searching
from vivavoce.testing import ScriptedLanguageModel, ScriptedSearch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from openai.resources.realtime.realtime import AsyncRealtimeConnection
    from tests.conformance.order import Frame
    from tests.server.conftest import Serving

    from vivavoce.server.hub import Hub

pytestmark = pytest.mark.anyio

WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


class Session:
    """One connection of the official client, with all that it has received."""

    def __init__(self, connection: AsyncRealtimeConnection) -> None:
        self.log = Log()
        self.connection = connection

    async def until(self, kind: str) -> list[Frame]:
        """Return the frames up to the next one of this type."""
        place = len(self.log.frames)
        with anyio.fail_after(30):
            while self.log.take(await self.connection.recv_bytes())["type"] != kind:
                pass
        return self.log.frames[place:]

    async def configure(self, **settings: Any) -> None:
        await self.connection.session.update(session={"type": "realtime", **settings})  # type: ignore[arg-type]
        await self.until("session.updated")

    async def speak(self, speech: list[bytes]) -> None:
        for frame in speech:
            await self.connection.input_audio_buffer.append(audio=b64encode(frame).decode())
            await anyio.sleep(0.005)

    async def type(self, text: str) -> None:
        await self.connection.conversation.item.create(
            item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
        )
        await self.connection.response.create()


@asynccontextmanager
async def session(url: str) -> AsyncIterator[Session]:
    client = AsyncOpenAI(api_key="none", websocket_base_url=url.removesuffix("/realtime"))
    async with client, client.realtime.connect(model="gpt-realtime") as connection:
        opened = Session(connection)
        await opened.until("session.created")
        yield opened
        opened.log.finish()


async def test_spoken_turn(hub: Hub, serving: Serving, speech: list[bytes]) -> None:
    async with serving(hub) as url, session(url) as talk:
        await talk.configure(audio={"input": {"transcription": {"model": "whisper-1"}}})
        await talk.speak(speech)
        assert shape(await talk.until("rate_limits.updated")) == SPOKEN_TURN
        heard = talk.log.only("conversation.item.input_audio_transcription.completed")
        answer = talk.log.only("response.done")["response"]
    assert heard["transcript"] == HEARD
    assert answer["status"] == "completed"
    assert answer["output"][0]["content"][0]["transcript"] == TIME
    assert answer["usage"]["output_token_details"]["audio_tokens"] > 0


async def test_typed_turn(hub: Hub, serving: Serving) -> None:
    async with serving(hub) as url, session(url) as talk:
        await talk.configure(output_modalities=["text"])
        await talk.type("What time is it?")
        assert shape(await talk.until("rate_limits.updated")) == ITEM_CREATED + WRITTEN_ANSWER
        answer = talk.log.only("response.done")["response"]
    assert answer["output"][0]["content"] == [{"type": "output_text", "text": TIME}]


async def test_a_search_of_the_server_is_not_seen(hub: Hub, serving: Serving) -> None:
    look = [Call("file_search", '{"query": "noon"}')]
    llm = ScriptedLanguageModel(lambda prompt: TIME if prompt.messages[-1].role == "tool" else look)
    found = Passage(text="It is noon.", source=Source(title="clock.md", file_id="file-1"), score=0.9)
    searching = Searching(llm, {"file_search": ScriptedSearch([found])})
    hub.engines = replace(hub.engines, llm=searching)
    async with serving(hub) as url, session(url) as talk:
        await talk.configure(output_modalities=["text"], vivavoce={"search": {"files": {"vector_store_ids": ["vs_1"]}}})
        await talk.type("What time is it?")
        assert shape(await talk.until("rate_limits.updated")) == ITEM_CREATED + WRITTEN_ANSWER
        answer = talk.log.only("response.done")["response"]
    assert answer["output"][0]["content"] == [{"type": "output_text", "text": TIME}]
    assert len(llm.prompts) == 2


async def test_function_call(hub: Hub, serving: Serving) -> None:
    async with serving(hub) as url, session(url) as talk:
        await talk.configure(output_modalities=["text"], tools=[WEATHER])
        await talk.type("How is the weather in Oslo?")
        assert shape(await talk.until("rate_limits.updated")) == ITEM_CREATED + CALL
        (call,) = talk.log.only("response.done")["response"]["output"]
        assert (call["type"], call["name"], call["arguments"]) == ("function_call", "get_weather", '{"city": "Oslo"}')
        await talk.connection.conversation.item.create(
            item={"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
        )
        await talk.connection.response.create()
        assert shape(await talk.until("rate_limits.updated")) == ITEM_CREATED + WRITTEN_ANSWER
        answer = talk.log.all("response.done")[-1]["response"]
    assert answer["output"][0]["content"][0]["text"] == "Outside it is sunny."


async def test_barge_in(hub: Hub, serving: Serving, speech: list[bytes]) -> None:
    async with serving(hub) as url, session(url) as talk:
        await talk.type("Tell me a story.")
        await talk.until("response.output_audio.delta")
        await talk.speak(speech)
        await talk.until("input_audio_buffer.speech_started")
        place = len(talk.log.frames) - 1
        await talk.until("rate_limits.updated")
        assert shape(talk.log.frames[place:]) == BARGE_IN
        stopped = talk.log.only("response.done")["response"]
        (item,) = stopped["output"]
        assert (stopped["status"], item["status"]) == ("cancelled", "incomplete")
        assert stopped["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
        await talk.connection.conversation.item.truncate(item_id=item["id"], content_index=0, audio_end_ms=100)
        await talk.until("conversation.item.truncated")
        await talk.connection.conversation.item.retrieve(item_id=item["id"])
        kept = (await talk.until("conversation.item.retrieved"))[-1]["item"]
        while len(talk.log.all("rate_limits.updated")) < 2:
            await talk.until("rate_limits.updated")
        answer = talk.log.all("response.done")[-1]["response"]
    assert len(kept["content"][0]["transcript"]) < len(item["content"][0]["transcript"])
    assert answer["output"][0]["content"][0]["transcript"] == TIME


async def test_second_session(hub: Hub, serving: Serving) -> None:
    async with serving(hub) as url, session(url) as first, session(url) as second:
        for talk in (first, second, first):
            await talk.configure(output_modalities=["text"])
            await talk.type("What time is it?")
            await talk.until("rate_limits.updated")
        ids = [[item["item"]["id"] for item in talk.log.all("conversation.item.added")] for talk in (first, second)]
    assert [len(one) for one in ids] == [4, 2]
    assert not set(ids[0]) & set(ids[1])
