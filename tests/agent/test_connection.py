"""An agent's link to servers that serve, refuse, break, hang and talk nonsense, over real sockets."""

from __future__ import annotations

import json
import socket
import ssl
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trustme
from anyio import fail_after
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from vivavoce.agent import connection
from vivavoce.agent.connection import ConnectError, connect
from vivavoce.ports import LinkClosed
from vivavoce.realtime.errors import ProtocolError
from vivavoce.realtime.events import InputAudioBufferAppend, InputAudioBufferCleared, ResponseCreate, Unknown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from websockets.http11 import Request, Response

pytestmark = pytest.mark.anyio

CLEARED = '{"type": "input_audio_buffer.cleared", "event_id": "event_1"}'


@asynccontextmanager
async def server(handle: Callable[[ServerConnection], Awaitable[None]], **options: Any) -> AsyncIterator[str]:
    async with serve(handle, "127.0.0.1", 0, **options) as running:
        (port,) = (opened.getsockname()[1] for opened in running.sockets)
        yield f"{'wss' if 'ssl' in options else 'ws'}://127.0.0.1:{port}/v1/realtime"


async def nothing(client: ServerConnection) -> None:
    await client.wait_closed()


@asynccontextmanager
async def listener(answer: bytes = b"", *, hang: bool = False) -> AsyncIterator[int]:
    """A port that answers with some bytes and closes, or that never says anything."""

    async def handle(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            if hang:
                await anyio.sleep_forever()
            await stream.send(answer)

    multi = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with multi, anyio.create_task_group() as tasks:
        tasks.start_soon(multi.serve, handle)
        yield multi.extra(anyio.abc.SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


async def refusal(url: str, **options: Any) -> str:
    with fail_after(10), pytest.raises(ConnectError) as refused:
        async with connect(url, **options):
            pass
    assert isinstance(refused.value, LinkClosed)
    return str(refused.value)


# What goes well -------------------------------------------------------------------------------------------------------


async def test_events_go_both_ways() -> None:
    received: list[Any] = []

    async def handle(client: ServerConnection) -> None:
        received.append(json.loads(await client.recv()))
        await client.send(CLEARED)
        await client.send('{"type": "some.day", "event_id": "event_2", "more": 1}')
        await client.wait_closed()

    async with server(handle) as url, connect(url) as link:
        await link.send(InputAudioBufferAppend(audio=b"\x01\x02"))
        assert await link.receive() == InputAudioBufferCleared(event_id="event_1")
        later = await link.receive()
    assert received == [{"type": "input_audio_buffer.append", "audio": "AQI="}]
    assert isinstance(later, Unknown)
    assert later.raw["more"] == 1


async def test_handshake_carries_the_key_the_headers_and_the_query() -> None:
    requests: list[Request] = []

    async def handle(client: ServerConnection) -> None:
        assert client.request is not None
        requests.append(client.request)

    async with server(handle) as url, connect(f"{url}?model=m", key="sk-1\n", headers={"X-Folder": "b1"}) as link:
        with pytest.raises(LinkClosed):
            await link.receive()
    (request,) = requests
    assert request.path == "/v1/realtime?model=m"
    assert request.headers["Authorization"] == "Bearer sk-1"
    assert request.headers["X-Folder"] == "b1"
    assert "Sec-WebSocket-Extensions" not in request.headers


async def test_http_address_is_understood() -> None:
    async with server(nothing) as url, connect(url.replace("ws:", "http:")):
        pass


async def test_large_event_is_taken() -> None:
    async def handle(client: ServerConnection) -> None:
        await client.send(json.dumps({"type": "large", "sound": "A" * 30 * 1024 * 1024}))
        await client.wait_closed()

    async with server(handle) as url, connect(url) as link:
        event = await link.receive()
    assert isinstance(event, Unknown)
    assert len(event.raw["sound"]) == 30 * 1024 * 1024


@pytest.mark.parametrize("nonsense", ["{", "[]", '{"type": "response.created"}', b"\xff\xfe", b"\x00"])
async def test_nonsense_is_reported_and_survived(nonsense: str | bytes) -> None:
    async def handle(client: ServerConnection) -> None:
        await client.send(nonsense)
        await client.send(CLEARED)
        await client.wait_closed()

    async with server(handle) as url, connect(url) as link:
        with pytest.raises(ProtocolError):
            await link.receive()
        assert isinstance(await link.receive(), InputAudioBufferCleared)


# What does not let us in ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["", "talk", "ftp://127.0.0.1/v1/realtime", "ws://", "ws://127.0.0.1:99999/", "ws://u:pw@h:x/", "ws://[1/"]
)
async def test_address_that_is_none(url: str) -> None:
    message = await refusal(url)
    assert "give one like ws://" in message
    assert "pw" not in message


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "check the key"),
        (403, "check the key"),
        (404, "no such endpoint"),
        (429, "try again later"),
        (500, "HTTP 500"),
        (200, "HTTP 200"),
    ],
)
async def test_refusal_names_the_address_but_no_secret(status: int, words: str) -> None:
    def refuse(client: ServerConnection, request: Request) -> Response:
        return client.respond(HTTPStatus(status), "no\n")

    async with server(nothing, process_request=refuse) as url:
        secret = url.replace("ws://", "ws://user:pw-secret@") + "?api_key=query-secret"
        message = await refusal(secret, key="sk-secret")
    assert words in message
    assert url in message
    assert "secret" not in message


async def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    message = await refusal(f"ws://127.0.0.1:{port}/v1/realtime")
    assert f"ws://127.0.0.1:{port}/v1/realtime" in message
    assert "vivavoce serve" in message


async def test_no_such_host() -> None:
    assert "no host 'no.such.host.invalid'" in await refusal("ws://no.such.host.invalid/v1/realtime")


@pytest.mark.parametrize("answer", [b"", b"220 mail ready\r\n", b"HTTP/1.1 101 Switching\r\n\r\n", b"\x00" * 100])
async def test_something_else_listens(answer: bytes) -> None:
    async with listener(answer) as port:
        assert "does not speak WebSocket" in await refusal(f"ws://127.0.0.1:{port}/")


async def test_server_that_never_answers() -> None:
    async with listener(hang=True) as port:
        assert "within 0.2 seconds" in await refusal(f"ws://127.0.0.1:{port}/", open_s=0.2)


async def test_tls() -> None:
    authority = trustme.CA()
    theirs, ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(theirs)
    authority.configure_trust(ours)

    async def handle(client: ServerConnection) -> None:
        await client.send(CLEARED)
        await client.wait_closed()

    async with server(handle, ssl=theirs) as url:
        async with connect(url, tls=ours) as link:
            assert isinstance(await link.receive(), InputAudioBufferCleared)
        assert "SSL_CERT_FILE" in await refusal(url)
        assert "does not speak WebSocket" in await refusal(url.replace("wss", "ws"))
    async with server(nothing) as url:
        assert "does not speak TLS" in await refusal(url.replace("ws", "wss"), tls=ours)


async def test_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for servers elsewhere, and never for this machine."""
    for name in ("http", "https", "all", "ws", "wss", "socks", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)
    async with listener(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n") as port:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        async with server(nothing) as url, connect(url):
            pass
        assert "put realtime.invalid into NO_PROXY" in await refusal("wss://realtime.invalid/v1/realtime")
    assert "check the address and HTTPS_PROXY" in await refusal("wss://realtime.invalid/v1/realtime")


# How it ends ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason", "sentence"),
    [
        (1000, "", "The server has ended the session."),
        (1001, "session_expired", "The server has ended the session: session_expired"),
        (1008, "", "The server has ended the session for breaking its rules."),
        (1012, "", "The server restarts; connect again in a moment."),
        (3000, "invalid_api_key", "The server refused the key; check the key that you gave: invalid_api_key"),
        (4000, "invalid_model", "The server has closed the connection with code 4000: invalid_model"),
    ],
)
async def test_close_is_put_into_words(code: int, reason: str, sentence: str) -> None:
    async def handle(client: ServerConnection) -> None:
        await client.close(code, reason)

    async with server(handle) as url, connect(url) as link:
        with pytest.raises(LinkClosed) as closed:
            await link.receive()
        assert (str(closed.value), closed.value.code) == (sentence, code)
        with pytest.raises(LinkClosed) as closed:
            await link.send(ResponseCreate())
        assert closed.value.code == code


async def test_server_that_vanishes() -> None:
    async def handle(client: ServerConnection) -> None:
        client.transport.abort()

    async with server(handle) as url, connect(url) as link:
        with pytest.raises(LinkClosed, match="broke") as closed:
            await link.receive()
    assert closed.value.code == 1006


async def test_server_that_falls_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PING_S", 0.1)
    monkeypatch.setattr(connection, "SILENT_S", 0.4)

    async def handle(client: ServerConnection) -> None:
        client.transport.pause_reading()
        await noticed.wait()
        client.transport.abort()

    noticed = anyio.Event()
    async with server(handle) as url, connect(url) as link:
        with fail_after(5), pytest.raises(LinkClosed, match="has not answered for a while"):
            await link.receive()
        noticed.set()


async def test_server_that_has_little_to_say_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PING_S", 0.05)
    monkeypatch.setattr(connection, "SILENT_S", 0.3)

    async def handle(client: ServerConnection) -> None:
        await anyio.sleep(1)
        await client.send(CLEARED)
        await client.wait_closed()

    async with server(handle) as url, connect(url) as link:
        assert isinstance(await link.receive(), InputAudioBufferCleared)


async def test_a_large_event_over_a_slow_network_is_life_though_pongs_wait_behind_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "PING_S", 60)
    monkeypatch.setattr(connection, "SILENT_S", 0.3)
    message = json.dumps({"type": "large", "sound": "A" * 40_000})

    async def handle(client: ServerConnection) -> None:
        frame = b"\x81\x7e" + len(message).to_bytes(2) + message.encode()
        for at in range(0, len(frame), 4000):
            client.transport.write(frame[at : at + 4000])
            await anyio.sleep(0.1)
        await client.wait_closed()

    async with server(handle, ping_interval=None) as url, connect(url) as link:
        event = await link.receive()
    assert isinstance(event, Unknown)


@pytest.mark.parametrize(
    ("status", "headers", "code", "wait_s"),
    [
        (429, {"Retry-After": "7"}, 1006, 7.0),
        (503, {"Retry-After": "999999"}, 1006, 600.0),
        (503, {"Retry-After": "soon"}, 1006, 0.0),
        (503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 1006, 0.0),
        (429, {}, 1006, 0.0),
        (401, {}, 3000, 0.0),
        (403, {}, 3003, 0.0),
        (404, {}, 4004, 0.0),
    ],
)
async def test_a_refusal_says_whether_and_when_to_try_again(
    status: int, headers: dict[str, str], code: int, wait_s: float
) -> None:
    def refuse(client: ServerConnection, request: Request) -> Response:
        response = client.respond(HTTPStatus(status), "no\n")
        response.headers.update(headers)
        return response

    async with server(nothing, process_request=refuse) as url:
        with pytest.raises(ConnectError) as refused:
            async with connect(url):
                pass
    assert (refused.value.code, refused.value.retry_after) == (code, wait_s)


async def test_a_date_to_wait_for() -> None:
    def refuse(client: ServerConnection, request: Request) -> Response:
        response = client.respond(HTTPStatus(503), "no\n")
        response.headers["Retry-After"] = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
        return response

    async with server(nothing, process_request=refuse) as url:
        with pytest.raises(ConnectError) as refused:
            async with connect(url):
                pass
    assert 50 < refused.value.retry_after <= 60


async def test_a_server_that_is_busy_is_given_a_moment() -> None:
    async def handle(client: ServerConnection) -> None:
        await client.close(1013)

    async with server(handle) as url, connect(url) as link:
        with pytest.raises(LinkClosed) as closed:
            await link.receive()
    assert closed.value.retry_after == connection.BUSY_S


async def test_we_close() -> None:
    codes: list[int | None] = []
    done = anyio.Event()

    async def handle(client: ServerConnection) -> None:
        with pytest.raises(ConnectionClosed):
            await client.recv()
        codes.append(client.close_code)
        done.set()

    async with server(handle) as url, connect(url) as link:
        await link.close(1001, "good night")
        await done.wait()
        with pytest.raises(LinkClosed):
            await link.receive()
    assert codes == [1001]
