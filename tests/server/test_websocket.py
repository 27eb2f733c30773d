"""What a client, good, broken or hostile, gets from the server over real sockets."""

from __future__ import annotations

import json
import logging
import socket
import struct
from base64 import b64encode
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import numpy as np
import pytest
from anyio import fail_after
from tests.server.clients import SILENT, TEXT, ask, close_code, closing, event, raw, until, until_sessions
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from vivavoce.ports import Samples, Text
from vivavoce.server import listening
from vivavoce.server.hub import Hub
from vivavoce.speech.pcm import to_pcm16
from vivavoce.testing import ScriptedLanguageModel, ScriptedVad, tone

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from tests.server.conftest import Serving

    from vivavoce.ports import VadState
    from vivavoce.realtime.conversation import Prompt
    from vivavoce.server.engine import Engines

    Make = Callable[..., Engines]

pytestmark = pytest.mark.anyio


class Hanging:
    """A language model that says something and then nothing more."""

    def __init__(self) -> None:
        self.begun = anyio.Event()
        self.stopped = anyio.Event()

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Text, None]:
        try:
            yield Text("That is a very good question indeed. Let me think about it. Now then, ")
            self.begun.set()
            await anyio.sleep_forever()
        finally:
            self.stopped.set()


async def test_greeting_names_what_is_in_effect(engines: Make, serving: Serving) -> None:
    async with serving(Hub(engines())) as url, connect(f"{url}?model=gpt-realtime") as client:
        created = await event(client)
    assert created["type"] == "session.created"
    assert created["event_id"]
    session = created["session"]
    assert session["id"].startswith("sess_")
    assert session["model"] == "gpt-realtime"
    assert session["audio"]["input"]["turn_detection"]["type"] == "server_vad"


@pytest.mark.parametrize(
    ("offered", "selected"),
    [
        (None, None),
        (["realtime"], "realtime"),
        (["realtime", "openai-insecure-api-key.sk-secret", "openai-beta.realtime-v1"], "realtime"),
        (["openai-insecure-api-key.sk-secret", "realtime"], "realtime"),
        (["openai-insecure-api-key.sk-secret"], None),
    ],
)
async def test_subprotocol(engines: Make, serving: Serving, offered: Any, selected: str | None) -> None:
    async with serving(Hub(engines())) as url, connect(url, subprotocols=offered) as client:
        assert client.subprotocol == selected
        assert (await event(client))["type"] == "session.created"
        assert "sk-secret" not in str(client.response)


async def test_nothing_is_compressed(engines: Make, serving: Serving) -> None:
    async with serving(Hub(engines())) as url, connect(url, compression="deflate") as client:
        assert client.request is not None
        assert "permessage-deflate" in client.request.headers["Sec-WebSocket-Extensions"]
        assert client.response is not None
        assert "Sec-WebSocket-Extensions" not in client.response.headers


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ("", "invalid_json"),
        ("{", "invalid_json"),
        ("[]", "invalid_json"),
        ("1", "invalid_json"),
        ('{"type": "session.update", "session": ' * 5000, "invalid_json"),
        ("[" * 100_000, "invalid_json"),
        ("{}", "missing_required_parameter"),
        ('{"type": null}', "missing_required_parameter"),
        ('{"type": "no.such.event"}', "invalid_value"),
        ('{"type": "input_audio_buffer.append", "audio": "!"}', None),
        ('{"type": "input_audio_buffer.append", "audio": "AAAA"}', "invalid_value"),
        (b"\x00\xff", "invalid_event"),
        (b'{"type": "response.create"}', "invalid_event"),
    ],
)
async def test_nonsense_is_answered_and_survived(
    engines: Make, serving: Serving, sent: str | bytes, code: str | None
) -> None:
    async with serving(Hub(engines())) as url, connect(url) as client:
        await event(client)
        await client.send(sent)
        wrong = await event(client)
        assert wrong["type"] == "error"
        assert wrong["event_id"]
        assert wrong["error"]["message"]
        if code:
            assert wrong["error"]["code"] == code
        assert (await ask(client, SILENT, "session.updated"))["session"]["audio"]["input"]["turn_detection"] is None


async def test_error_names_the_event_that_caused_it(engines: Make, serving: Serving) -> None:
    async with serving(Hub(engines())) as url, connect(url) as client:
        wrong = await ask(client, {"type": "response.cancel", "event_id": "mine"}, "error")
        assert wrong["error"]["event_id"] == "mine"
        assert wrong["error"]["code"] == "response_cancel_not_active"


async def test_largest_append_is_taken_and_a_larger_message_is_not(engines: Make, serving: Serving) -> None:
    async with serving(Hub(engines())) as url, connect(url) as other, connect(url) as client:
        await ask(client, SILENT, "session.updated")
        largest = b64encode(bytes(15 * 1024 * 1024)).decode()
        await client.send(json.dumps({"type": "input_audio_buffer.append", "audio": largest}))
        await ask(client, {"type": "input_audio_buffer.commit"}, "input_audio_buffer.committed")
        with suppress(ConnectionClosed):
            await client.send("x" * (22 * 1024 * 1024))
        assert (await closing(client))[0] == 1009
        await ask(other, SILENT, "session.updated")


async def test_message_that_never_ends_is_refused_on_arrival(engines: Make, serving: Serving) -> None:
    hub = Hub(engines())
    async with serving(hub) as url, await raw(url) as client:
        await client.send(b"\x81\xff" + struct.pack("!Q", 1 << 40) + bytes(4))
        assert close_code(await client.read()) == 1009
        await until_sessions(hub, 0, within_s=1)


async def test_client_that_vanishes_while_it_is_answered_frees_its_session(engines: Make, serving: Serving) -> None:
    llm = Hanging()
    hub = Hub(engines(llm=llm))
    async with serving(hub) as url:
        client = await connect(url)
        await client.send(json.dumps({"type": "response.create"}))
        await until(client, "response.output_audio.delta")
        await llm.begun.wait()
        client.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        client.transport.abort()
        await until_sessions(hub, 0, within_s=1)
        assert llm.stopped.is_set()


async def test_client_that_does_not_read_is_closed(
    engines: Make, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "STALL_S", 0.2)
    hub = Hub(engines(llm=ScriptedLanguageModel([[Text("word " * 1_000_000)] * 2])))
    async with serving(hub) as url, await raw(url) as client, connect(url) as other:
        await event(other)
        await client.send_text(json.dumps(TEXT))
        await until_sessions(hub, 1)
        assert close_code(await client.read()) == 1008
        await ask(other, SILENT, "session.updated")


async def test_client_that_does_not_read_does_not_fill_the_memory(
    engines: Make, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vivavoce.server.outbox.LIMIT", 64 * 1024)
    hub = Hub(engines(llm=ScriptedLanguageModel([[Text("word " * 50_000)] * 100])))
    async with serving(hub) as url, await raw(url) as client:
        await client.send_text(json.dumps(TEXT))
        await until_sessions(hub, 1)
        await until_sessions(hub, 0)
        assert close_code(await client.read()) == 1008


async def test_client_that_never_takes_its_bytes_does_not_keep_the_socket(
    engines: Make, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "STALL_S", 0.1)
    monkeypatch.setattr(listening, "LINGER_S", 0.1)
    hub = Hub(engines(llm=ScriptedLanguageModel([[Text("word " * 1_000_000)] * 2])))
    async with serving(hub) as url, await raw(url) as client:
        await client.send_text(json.dumps(TEXT))
        await until_sessions(hub, 0)
        with fail_after(5):
            await client.until_reset()


async def test_peer_that_answers_no_ping_is_gone(
    engines: Make, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "PING_S", 0.1)
    hub = Hub(engines())
    async with serving(hub) as url, await raw(url), connect(url) as other:
        await until_sessions(hub, 1)
        await ask(other, SILENT, "session.updated")


async def test_too_many_sessions(engines: Make, serving: Serving) -> None:
    hub = Hub(engines(), max_sessions=1)
    async with serving(hub) as url:
        async with connect(url) as first:
            await event(first)
            async with connect(url) as second:
                wrong = await event(second)
                assert (wrong["type"], wrong["error"]["code"]) == ("error", "session_limit_reached")
                assert wrong["event_id"]
                assert await closing(second) == (1008, "session_limit_reached")
            await ask(first, SILENT, "session.updated")
        await until_sessions(hub, 0, within_s=1)
        async with connect(url) as third:
            assert (await event(third))["type"] == "session.created"


async def test_session_expires(engines: Make, serving: Serving) -> None:
    async with serving(Hub(engines(), lifetime_s=0.2)) as url, connect(url) as client:
        await event(client)
        assert (await until(client, "error"))["error"]["code"] == "session_expired"
        assert await closing(client) == (1001, "session_expired")


class Fragile(ScriptedVad):
    """A detector that breaks on loud sound."""

    def score(self, frames: Samples, states: Sequence[VadState]) -> tuple[Samples, list[VadState]]:
        if np.abs(frames).max() > 0.9:
            raise ZeroDivisionError
        return super().score(frames, states)


async def test_session_that_breaks_does_not_touch_others(
    engines: Make, serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(Hub(engines(vad=Fragile()))) as url, connect(url) as victim, connect(url) as other:
        await event(other)
        loud = b64encode(to_pcm16(np.ones(24_000, np.float32))).decode()
        await victim.send(json.dumps({"type": "input_audio_buffer.append", "audio": loud}))
        assert await closing(victim) == (1011, "internal error")
        await ask(other, TEXT, "response.done")
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_flood_of_sound_lets_others_go_on(engines: Make, serving: Serving) -> None:
    """One client appends minutes of speech in one event; another is served before they are all heard."""
    heard = 0

    class Counting(ScriptedVad):
        def score(self, frames: Samples, states: Sequence[VadState]) -> tuple[Samples, list[VadState]]:
            nonlocal heard
            heard += 1
            return super().score(frames, states)

    async with serving(Hub(engines(vad=Counting()))) as url, connect(url) as flood, connect(url) as other:
        await event(other)
        sound = b64encode(to_pcm16(tone(220, 300, 24_000))).decode()
        await flood.send(json.dumps({"type": "input_audio_buffer.append", "audio": sound}))
        await until(flood, "input_audio_buffer.speech_started")
        await ask(other, SILENT, "session.updated")
        assert heard < 300 * 16_000 // Counting.frame // 2


async def test_burst_of_messages_is_answered_one_by_one(
    engines: Make, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vivavoce.server.outbox.LIMIT", 16 * 300)
    async with serving(Hub(engines())) as url, await raw(url) as client:
        await client.send(b"\x81\x82\x00\x00\x00\x00{}" * 1000)
        received = await client.read(lambda received: received.count(b"missing_required_parameter") == 1000)
    assert close_code(received) is None
