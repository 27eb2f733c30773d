"""Calls over WebRTC, with real Opus, over loopback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import httpx
import numpy as np
import pytest
from anyio import fail_after
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from tests.server.clients import until_sessions
from tests.server.rtc.caller import RATE, base, calling

from vivavoce.server.auth import Access, Keys
from vivavoce.server.hub import Hub
from vivavoce.testing import ScriptedLanguageModel, tone

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.server.conftest import Serving

    from vivavoce.server.engine import Engines

    Make = Callable[..., Engines]

pytestmark = pytest.mark.anyio

LONG = " ".join(["word"] * 80) + "."
"""4.8 seconds."""
QUESTION = tone(300.0, 0.6, RATE)
OFFICIAL: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)


async def test_a_spoken_turn_is_answered_in_sound(engines: Make, serving: Serving) -> None:
    with fail_after(30):
        async with serving(Hub(engines())) as url, calling(url) as (caller, response):
            assert response.status_code == 201
            assert response.headers["location"].startswith("/v1/realtime/calls/rtc_")
            created = await caller.until("session.created")
            assert created["session"]["model"] == "vivavoce"
            caller.mouth.say(QUESTION)
            await caller.until("input_audio_buffer.speech_started")
            await caller.until("input_audio_buffer.committed")
            made = await caller.until("response.created")
            started = await caller.until("output_audio_buffer.started")
            stopped = await caller.until("output_audio_buffer.stopped")
            assert started["response_id"] == stopped["response_id"] == made["response"]["id"]
            await anyio.sleep(0.5)  # what is told overtakes what is heard
            audible = np.count_nonzero(caller.loudness > 0.02) * 20
    assert 300 <= audible <= 500  # six words of 60 ms


async def test_every_event_is_one_that_the_official_package_knows_and_none_is_sound(
    engines: Make, serving: Serving
) -> None:
    with fail_after(30):
        async with serving(Hub(engines())) as url, calling(url) as (caller, _):
            caller.mouth.say(QUESTION)
            await caller.ended()
            kinds = [event["type"] for event in caller.events]
            for event in caller.events:
                OFFICIAL.validate_python(event)
    assert "response.output_audio.delta" not in kinds
    assert "response.output_audio_transcript.delta" in kinds


async def test_speech_over_the_answer_clears_it_and_what_was_not_heard_is_forgotten(
    engines: Make, serving: Serving
) -> None:
    hub = Hub(engines(llm=ScriptedLanguageModel([LONG, "Yes?"])))
    with fail_after(30):
        async with serving(hub) as url, calling(url) as (caller, _):
            caller.mouth.say(QUESTION)
            started = await caller.until("output_audio_buffer.started")
            await anyio.sleep(1.0)
            caller.mouth.say(QUESTION)
            cleared = await caller.until("output_audio_buffer.cleared")
            assert cleared["response_id"] == started["response_id"]
            truncated = await caller.until("conversation.item.truncated")
            assert 800 <= truncated["audio_end_ms"] <= 2500
            caller.send(type="conversation.item.retrieve", item_id=truncated["item_id"])
            item = (await caller.until("conversation.item.retrieved"))["item"]
            assert 5 < len(item["content"][0]["transcript"].split()) < 45
            await caller.until("output_audio_buffer.started")


async def test_clearing_the_buffer_falls_silent(engines: Make, serving: Serving) -> None:
    hub = Hub(engines(llm=ScriptedLanguageModel([LONG])))
    with fail_after(30):
        async with serving(hub) as url, calling(url) as (caller, _):
            await caller.until("session.created")
            part = {"type": "input_text", "text": "Go on."}
            caller.send(type="conversation.item.create", item={"type": "message", "role": "user", "content": [part]})
            caller.send(type="response.create")
            await caller.until("output_audio_buffer.started")
            await anyio.sleep(0.5)
            caller.send(type="response.cancel")
            caller.send(type="output_audio_buffer.clear")
            await caller.until("output_audio_buffer.cleared")
            await anyio.sleep(0.3)
            caller.heard.clear()
            await anyio.sleep(0.4)
            assert caller.loudness.max() < 0.01


async def test_a_form_says_what_the_session_begins_with(engines: Make, serving: Serving) -> None:
    session = {"type": "realtime", "model": "mine", "instructions": "Be brief.", "audio": {"output": {"voice": "high"}}}
    with fail_after(30):
        async with serving(Hub(engines())) as url, calling(url, session=session) as (caller, response):
            assert response.status_code == 201
            told = (await caller.until("session.created"))["session"]
            assert (told["model"], told["instructions"]) == ("mine", "Be brief.")
            assert told["audio"]["output"]["voice"] == "high"


async def test_bad_messages_are_answered_and_the_call_goes_on(engines: Make, serving: Serving) -> None:
    with fail_after(30):
        async with serving(Hub(engines())) as url, calling(url) as (caller, _):
            await caller.until("session.created")
            caller.channel.send("{")
            assert (await caller.until("error"))["error"]["code"] == "invalid_json"
            caller.channel.send(b"\x00\x01")
            assert (await caller.until("error"))["error"]["code"] == "invalid_event"
            caller.send(type="session.update", session={"type": "realtime", "instructions": "Go on."})
            assert (await caller.until("session.updated"))["session"]["instructions"] == "Go on."


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"content": "v=0", "headers": {"Content-Type": "application/sdp"}}, 400, "invalid_offer"),
        ({"content": b"\xff" * 100, "headers": {"Content-Type": "application/sdp"}}, 400, "invalid_offer"),
        ({"json": {"sdp": "v=0"}}, 415, "invalid_content_type"),
        ({"files": {"session": (None, "{}")}}, 400, "missing_required_parameter"),
        ({"files": {"sdp": (None, "v=0"), "session": (None, "{")}}, 400, "invalid_json"),
        ({"files": {"sdp": (None, "v=0"), "session": (None, '{"voise": 1}')}}, 400, "unknown_parameter"),
        ({"content": "x" * 300_000, "headers": {"Content-Type": "application/sdp"}}, 413, "request_too_large"),
    ],
)
async def test_an_offer_that_cannot_be_answered_is_refused(
    engines: Make, serving: Serving, request_: dict[str, Any], status: int, code: str
) -> None:
    hub = Hub(engines())
    with fail_after(30):
        async with serving(hub) as url, httpx.AsyncClient() as http:
            answer = await http.post(f"{base(url)}/v1/realtime/calls", **request_)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert hub.sessions == 0


async def test_only_who_has_a_key_may_call_and_an_ephemeral_one_will_do(engines: Make, serving: Serving) -> None:
    access = Access(Keys({"the-key": "me"}))
    with fail_after(30):
        async with serving(Hub(engines()), access=access) as url:
            async with calling(url) as (_, refused):
                assert refused.status_code == 401
            async with httpx.AsyncClient(headers={"Authorization": "Bearer the-key"}) as http:
                body = {"session": {"type": "realtime", "instructions": "From the key."}}
                minted = await http.post(f"{base(url)}/v1/realtime/client_secrets", json=body)
            headers = {"Authorization": f"Bearer {minted.json()['value']}"}
            async with calling(url, headers=headers) as (caller, answered):
                assert answered.status_code == 201
                assert (await caller.until("session.created"))["session"]["instructions"] == "From the key."


async def test_who_hangs_up_leaves_nothing_behind(engines: Make, serving: Serving) -> None:
    hub = Hub(engines())
    with fail_after(30):
        async with serving(hub) as url:
            async with calling(url) as (caller, response):
                await caller.until("session.created")
                assert hub.sessions == 1
                where = base(url) + response.headers["location"]
            await until_sessions(hub, 0)
            async with httpx.AsyncClient() as http:
                await anyio.sleep(0.5)
                assert (await http.post(f"{where}/hangup")).status_code == 404


async def test_the_server_can_be_told_to_hang_up(engines: Make, serving: Serving) -> None:
    hub = Hub(engines())
    with fail_after(30):
        async with serving(hub) as url, calling(url) as (caller, response), httpx.AsyncClient() as http:
            await caller.until("session.created")
            ended = await http.post(f"{base(url)}{response.headers['location']}/hangup")
            assert ended.status_code == 200
            await until_sessions(hub, 0)
