"""The official agent framework in Python: its tool loop, its history, its interruptions and its usage."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from agents import function_tool
from agents.realtime import RealtimeAgent, RealtimeRunner
from tests.conformance.conftest import HEARD, TIME
from tests.conformance.order import Log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from agents.realtime import RealtimeModelConfig, RealtimeSession
    from agents.realtime.events import RealtimeSessionEvent
    from tests.server.conftest import Serving

    from vivavoce.server.hub import Hub

pytestmark = pytest.mark.anyio


@function_tool
def get_weather(city: str) -> str:
    """Return the weather in a city."""
    return f"sunny in {city}"


class Talk:
    """One session of an agent, with all that it has told."""

    def __init__(self, session: RealtimeSession) -> None:
        self.session = session
        self.log = Log()
        self.seen: list[RealtimeSessionEvent] = []
        self._events = aiter(session)

    async def until(self, wanted: Callable[[RealtimeSessionEvent], bool]) -> None:
        """Read on to the next event that is wanted."""
        with anyio.fail_after(30):
            async for event in self._events:
                self.seen.append(event)
                assert event.type != "error", event
                if event.type == "raw_model_event" and event.data.type == "raw_server_event":
                    self.log.take(json.dumps(event.data.data))
                if wanted(event):
                    return

    async def answered(self, turns: int = 1) -> None:
        for _ in range(turns):
            await self.until(lambda event: event.type == "agent_end")

    def model_events(self, kind: str) -> list[Any]:
        """Return what the model told of this type."""
        told = [event.data for event in self.seen if event.type == "raw_model_event"]
        return [event for event in told if event.type == kind]

    def history(self) -> list[tuple[str, str]]:
        """Return who said what, as the agent remembers."""
        (*_, last) = [event for event in self.seen if event.type == "history_updated"]
        said: list[tuple[str, str]] = []
        for item in last.history:
            if item.type == "message":
                content: Any = item.content[0]
                said.append((item.role, getattr(content, "transcript", None) or content.text))
            else:
                said.append((item.name, item.output or ""))
        return said


@asynccontextmanager
async def talking(url: str) -> AsyncIterator[Talk]:
    runner = RealtimeRunner(
        RealtimeAgent(name="Host", instructions="Be brief.", tools=[get_weather]), config={"tracing_disabled": True}
    )
    settings: RealtimeModelConfig = {"url": f"{url}?model=gpt-realtime", "api_key": "none"}
    async with await runner.run(model_config=settings) as session:
        talk = Talk(session)
        yield talk
        talk.log.finish()
    assert not talk.model_events("exception")


async def speak(talk: Talk, speech: list[bytes]) -> None:
    for frame in speech:
        await talk.session.send_audio(frame)
        await anyio.sleep(0.005)


async def test_spoken_turn(hub: Hub, serving: Serving, speech: list[bytes]) -> None:
    async with serving(hub) as url, talking(url) as talk:
        await speak(talk, speech)
        await talk.answered()
        while talk.history() != [("user", HEARD), ("assistant", TIME)]:
            await talk.until(lambda event: event.type == "history_updated")
    assert _types(talk, "audio")
    session = talk.log.all("session.updated")[-1]["session"]
    assert session["audio"]["input"]["turn_detection"]["type"] == "semantic_vad"
    (usage,) = talk.model_events("usage")
    assert usage.usage.input_tokens > 0
    assert usage.usage.output_tokens > 0


async def test_typed_turn(hub: Hub, serving: Serving) -> None:
    async with serving(hub) as url, talking(url) as talk:
        await talk.session.send_message("What time is it?")
        await talk.answered()
        assert talk.history() == [("user", "What time is it?"), ("assistant", TIME)]


async def test_tool_loop(hub: Hub, serving: Serving) -> None:
    async with serving(hub) as url, talking(url) as talk:
        await talk.session.send_message("How is the weather?")
        await talk.answered(2)
        answer = "Outside it is sunny in Oslo."
        assert talk.history() == [
            ("user", "How is the weather?"),
            ("get_weather", "sunny in Oslo"),
            ("assistant", answer),
        ]
        assert len(talk.model_events("usage")) == 2
    assert len(_types(talk, "tool_end")) == 1


async def test_barge_in(hub: Hub, serving: Serving, speech: list[bytes]) -> None:
    async with serving(hub) as url, talking(url) as talk:
        await talk.session.send_message("Tell me a story.")
        await talk.until(lambda event: event.type == "audio")
        await speak(talk, speech)
        await talk.until(lambda event: event.type == "audio_interrupted")
        await talk.answered(2)
        assert talk.history()[-1] == ("assistant", TIME)
        stopped, answer = [frame["response"] for frame in talk.log.all("response.done")]
    assert stopped["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert answer["status"] == "completed"
    assert talk.log.only("conversation.item.truncated")["item_id"] == stopped["output"][0]["id"]


async def test_second_session(hub: Hub, serving: Serving) -> None:
    async with serving(hub) as url, talking(url) as first, talking(url) as second:
        for talk in (first, second):
            await talk.session.send_message("What time is it?")
            await talk.answered()
            assert talk.history()[-1] == ("assistant", TIME)


def _types(talk: Talk, kind: str) -> list[RealtimeSessionEvent]:
    return [event for event in talk.seen if event.type == kind]
