"""What one caller may take, and what it is told when it wants more."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest
from anyio import fail_after
from tests.server.clients import closing, event, http, raw_socket, until_sessions
from websockets.asyncio.client import connect

from vivavoce.realtime.values import ErrorDetail
from vivavoce.server import limits, listening
from vivavoce.server.auth import Access, Caller, Keys
from vivavoce.server.http import gate, wire
from vivavoce.server.hub import Hub
from vivavoce.server.limits import Limits, Turnstile

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.server.conftest import Serving
    from websockets.asyncio.client import ClientConnection

    from vivavoce.server.engine import Engines

    Make = Callable[..., Engines]

pytestmark = pytest.mark.anyio

ANNA, BEN = {"X-API-Key": "anna's"}, {"X-API-Key": "ben's"}


def access() -> Access:
    return Access(Keys({"anna's": "anna", "ben's": "ben"}))


async def refused(client: ClientConnection) -> tuple[str, int]:
    wrong = await event(client)
    assert wrong["error"]["type"] == "rate_limit_error"
    assert wrong["error"]["message"]
    return wrong["error"]["code"], (await closing(client))[0]


async def test_sessions_of_one_key(engines: Make, serving: Serving) -> None:
    hub = Hub(engines(), limits=Limits(sessions_per_key=1))
    async with serving(hub, access=access()) as url, httpx.AsyncClient(base_url=http(url)) as web:
        made = (await web.post("/v1/realtime/client_secrets", headers=ANNA)).json()["value"]
        async with connect(url, additional_headers=ANNA) as first, connect(url, additional_headers=BEN) as other:
            assert (await event(first))["type"] == (await event(other))["type"] == "session.created"
            for headers in (ANNA, {"X-API-Key": made}):
                async with connect(url, additional_headers=headers) as second:
                    assert await refused(second) == ("session_limit_reached", 1008)
        await until_sessions(hub, 0)
        async with connect(url, additional_headers=ANNA) as again:
            assert (await event(again))["type"] == "session.created"


async def test_sessions_of_one_address(engines: Make, serving: Serving) -> None:
    hub = Hub(engines(), limits=Limits(sessions_per_address=1))
    async with serving(hub) as url, connect(url) as first:
        assert (await event(first))["type"] == "session.created"
        async with connect(url) as second:
            assert await refused(second) == ("session_limit_reached", 1008)
        async with connect(url, local_addr=("127.0.0.2", 0)) as other:
            assert (await event(other))["type"] == "session.created"


async def test_sessions_opened_too_fast(engines: Make, serving: Serving) -> None:
    hub = Hub(engines(), limits=Limits(openings_per_s=0.001))
    async with serving(hub, access=access()) as url:
        async with connect(url, additional_headers=ANNA) as first, connect(url, additional_headers=BEN) as other:
            assert (await event(first))["type"] == (await event(other))["type"] == "session.created"
        async with connect(url, additional_headers=ANNA) as second:
            assert await refused(second) == ("rate_limit_exceeded", 1013)


class Time:
    now = 100.0


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr("vivavoce.server.limits.anyio.current_time", lambda: time.now)
    return time


def opened(turnstile: Turnstile, caller: Caller, times: int) -> int:
    """Try to open sessions and return how many could be."""
    return sum(turnstile.refusal(caller) is None for _ in range(times))


def test_tokens_come_back_with_time(time: Time) -> None:
    turnstile = Turnstile(Limits(openings_per_s=5))
    anna = Caller("192.0.2.1", "k1")
    assert opened(turnstile, anna, 30) == 10
    assert opened(turnstile, Caller("192.0.2.1"), 1) == 1
    time.now += 0.5
    assert opened(turnstile, anna, 30) == 2
    time.now += 60
    assert opened(turnstile, anna, 30) == 10


def test_nobody_in_particular_has_no_limit(time: Time) -> None:
    turnstile = Turnstile(Limits(openings_per_s=1, sessions_per_key=1, sessions_per_address=1))
    assert opened(turnstile, Caller(), 100) == 100


def test_who_came_once_is_forgotten(time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_BUCKETS", 10)
    turnstile = Turnstile(Limits(openings_per_s=5))
    for index in range(100):
        time.now += 10
        assert opened(turnstile, Caller(f"192.0.2.{index}"), 1) == 1
    assert len(turnstile._buckets) <= 10


def test_no_count_is_left_behind() -> None:
    turnstile, anna = Turnstile(Limits(sessions_per_key=2)), Caller("192.0.2.1", "k1")
    for _ in range(2):
        turnstile.enter(anna)
    code, why = turnstile.refusal(anna) or (0, ErrorDetail(type="", message=""))
    assert (code, why.code) == (1008, "session_limit_reached")
    for _ in range(2):
        turnstile.leave(anna)
    assert not turnstile._keys
    assert not turnstile._addresses


# Connections and requests ---------------------------------------------------------------------------------------------


async def test_flood_of_connections_is_dropped(
    engines: Make, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "MAX_CONNECTIONS", 5)
    async with serving(Hub(engines())) as url, httpx.AsyncClient(base_url=http(url)) as web:
        held = [await raw_socket(url) for _ in range(8)]
        with fail_after(5):
            dropped = [await end(stream) for stream in held[5:]]
        assert dropped == [b""] * 3
        for stream in held:
            await stream.aclose()
        assert (await web.get("/healthz")).status_code == 200


async def end(stream: anyio.abc.SocketStream) -> bytes:
    received = b""
    try:
        async for chunk in stream:
            received += chunk
    except anyio.BrokenResourceError:
        pass
    return received


@pytest.mark.parametrize(
    ("before", "head"),
    [(b"", b""), (b"", b"GET /v1/realtime HTT"), (b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /")],
)
async def test_request_that_does_not_come_is_not_waited_for(
    engines: Make, serving: Serving, monkeypatch: pytest.MonkeyPatch, before: bytes, head: bytes
) -> None:
    monkeypatch.setattr(listening, "REQUEST_S", 0.1)
    async with serving(Hub(engines())) as url:
        async with await raw_socket(url) as stream:
            if before:
                await stream.send(before)
                assert (await stream.receive()).startswith(b"HTTP/1.1 200")
            await stream.send(head)
            with fail_after(3):
                assert b"HTTP" not in await end(stream)


async def test_session_is_not_taken_for_a_request_that_does_not_come(
    engines: Make, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "REQUEST_S", 0.05)
    async with serving(Hub(engines())) as url, connect(url) as client:
        await event(client)
        await anyio.sleep(0.2)
        await (await client.ping())


async def test_body_that_does_not_come(engines: Make, serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "BODY_S", 0.1)
    async with serving(Hub(engines())) as url:
        async with await raw_socket(url) as stream:
            await stream.send(b"POST /v1/audio/speech HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
            with fail_after(3):
                assert b" 408 " in await stream.receive()


@pytest.mark.parametrize("declared", [True, False])
async def test_body_that_is_too_long(engines: Make, serving: Serving, declared: bool) -> None:
    body = b"[" * (wire.MAX_JSON + 1)

    async def chunks():
        yield body

    async with serving(Hub(engines())) as url, httpx.AsyncClient(base_url=http(url)) as web:
        answer = await web.post("/v1/chat/completions", content=body if declared else chunks())
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")


async def test_too_many_requests_at_once(engines: Make, serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "MAX_REQUESTS", 1)
    release, begun = anyio.Event(), anyio.Event()

    class Waiting:
        async def generate(self, prompt):
            begun.set()
            await release.wait()
            return
            yield

    body = {"messages": [{"role": "user", "content": "Hi"}]}
    async with serving(Hub(engines(llm=Waiting()))) as url, httpx.AsyncClient(base_url=http(url)) as web:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(web.post, "/v1/chat/completions", json=body))
            await begun.wait()
            answer = await web.get("/v1/models")
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
            assert (await web.get("/healthz")).status_code == 200
            release.set()
        assert (await web.get("/v1/models")).status_code == 200
