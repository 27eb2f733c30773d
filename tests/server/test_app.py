"""The life of a server: the port, TLS, readiness, signals, and the official client."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import subprocess
import sys
from base64 import b64encode
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import numpy as np
import pytest
import trustme
from anyio import create_task_group, fail_after, to_thread
from openai import AsyncOpenAI
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from vivavoce.agent import connection as agent_connection
from vivavoce.aio import link_pair
from vivavoce.ports import BackendError, LinkClosed
from vivavoce.realtime.events import (
    Error,
    InputAudioBufferAppend,
    ResponseCreate,
    ResponseCreated,
    ResponseDone,
    SessionCreated,
)
from vivavoce.realtime.values import Session
from vivavoce.server.app import serve
from vivavoce.server.hub import Hub
from vivavoce.server.listening import ServeError, listen
from vivavoce.speech.pcm import to_pcm16
from vivavoce.testing import ScriptedLanguageModel, tone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from anyio.abc import Process
    from openai.resources.realtime.realtime import AsyncRealtimeConnection
    from tests.server.conftest import Serving

    from vivavoce.server.engine import Engines

    Make = Callable[..., Engines]

pytestmark = pytest.mark.anyio

CREATE = json.dumps({"type": "response.create", "response": {"output_modalities": ["text"]}})
FRAMES: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)


class Cold(ScriptedLanguageModel):
    """A language model that loads until it is told that it has, or has not."""

    def __init__(self) -> None:
        super().__init__(["Now I am warm."])
        self.loaded = anyio.Event()
        self.wrong: Exception | None = None

    async def warm_up(self) -> None:
        await self.loaded.wait()
        if self.wrong:
            raise self.wrong


def http(url: str) -> str:
    return url.replace("ws", "http", 1).removesuffix("/v1/realtime")


async def text_answer(client: ClientConnection) -> str:
    await client.send(CREATE)
    with fail_after(10):
        while (event := json.loads(await client.recv()))["type"] != "response.done":
            pass
    answer: str = event["response"]["output"][0]["content"][0]["text"]
    return answer


# Health ---------------------------------------------------------------------------------------------------------------


async def test_port_is_open_while_the_models_load(engines: Make) -> None:
    llm = Cold()
    hub = Hub(engines(llm=llm))
    urls: list[str] = []
    listening, ready = anyio.Event(), anyio.Event()

    def on_listening(url: str) -> None:
        urls.append(url)
        listening.set()

    async def body() -> None:
        await serve(hub, port=0, on_listening=on_listening, on_ready=lambda _: ready.set())

    with fail_after(20):
        async with create_task_group() as tasks, httpx.AsyncClient() as web:
            tasks.start_soon(body)
            await listening.wait()
            url = urls[0]
            assert (await web.get(http(url) + "/healthz")).status_code == 200
            before = await web.get(http(url) + "/readyz")
            assert (before.status_code, before.json()) == (503, {"status": "warming"})
            async with connect(url) as early:
                assert json.loads(await early.recv())["error"]["code"] == "server_warming_up"
                with pytest.raises(ConnectionClosed) as closed:
                    await early.recv()
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 1013
            assert not ready.is_set()
            llm.loaded.set()
            await ready.wait()
            after = await web.get(http(url) + "/readyz")
            assert (after.status_code, after.json()) == (200, {"status": "ready"})
            async with connect(url) as client:
                assert await text_answer(client) == "Now I am warm."
            tasks.cancel_scope.cancel()


async def test_engine_that_cannot_load_stops_the_server_with_its_own_words(engines: Make) -> None:
    llm = Cold()
    llm.wrong = BackendError("model_missing", "There is no model; run vivavoce models pull.")
    llm.loaded.set()
    urls: list[str] = []
    with pytest.raises(BackendError, match="models pull"), fail_after(10):
        await serve(Hub(engines(llm=llm)), port=0, on_listening=urls.append, on_ready=pytest.fail)
    with pytest.raises(OSError):
        await anyio.connect_tcp("127.0.0.1", int(urls[0].split(":")[2].split("/")[0]))


async def test_other_routes(engines: Make, serving: Serving) -> None:
    async with serving(Hub(engines())) as url, httpx.AsyncClient(base_url=http(url)) as web:
        index = await web.get("/")
        assert all(path in index.text for path in ("/v1/realtime", "/healthz", "/readyz"))
        upgrade = await web.get("/v1/realtime")
        assert (upgrade.status_code, "ws://" in upgrade.text) == (426, True)
        with pytest.raises(InvalidStatus) as refused:
            await connect(url + "s")
        assert refused.value.response.status_code == 404
        assert b"/v1/realtime" in (refused.value.response.body or b"")


# The port -------------------------------------------------------------------------------------------------------------


async def test_port_in_use(engines: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServeError, match=f"Port {port} at 127.0.0.1 is taken.*choose another"):
            await serve(Hub(engines()), port=port)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_other_machines_are_kept_out_unless_allowed(host: str) -> None:
    with pytest.raises(ServeError, match="does not ask who calls"):
        listen(host, 0)


def test_other_machines_are_let_in_where_allowed() -> None:
    (opened,) = listen("0.0.0.0", 0, allow_remote=True)
    with opened:
        assert opened.getsockname()[0] == "0.0.0.0"


@pytest.mark.parametrize(
    ("host", "port", "words"),
    [
        ("no.such.host.invalid", 0, "not an address"),
        ("192.0.2.1", 0, "not an address of this machine"),
        ("192.0.2.1:80", 0, "not an address"),
        ("127.0.0.1", 70_000, "not a port"),
        ("127.0.0.1", -1, "not a port"),
    ],
)
def test_address_that_is_none(host: str, port: int, words: str) -> None:
    with pytest.raises(ServeError, match=words):
        listen(host, port, allow_remote=True)


def test_localhost_is_one_port_at_all_its_addresses() -> None:
    opened = listen("localhost", 0)
    try:
        assert len({one.getsockname()[1] for one in opened}) == 1
    finally:
        for one in opened:
            one.close()


# TLS ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def chain(authority: trustme.CA, tmp_path: Path) -> tuple[Path, Path]:
    issued = authority.issue_cert("127.0.0.1", "localhost")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued.private_key_pem.write_to_path(key)
    for blob in issued.cert_chain_pems:
        blob.write_to_path(certificate, append=True)
    return certificate, key


async def test_tls(engines: Make, serving: Serving, authority: trustme.CA, chain: tuple[Path, Path]) -> None:
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    certificate, key = chain
    async with serving(Hub(engines()), certfile=certificate, keyfile=key) as url:
        assert url.startswith("wss://")
        async with connect(url, ssl=trusting) as client:
            assert await text_answer(client) == "It is noon. Time to eat."


async def test_tls_files_that_are_of_no_use(engines: Make, chain: tuple[Path, Path], tmp_path: Path) -> None:
    certificate, key = chain
    missing, nonsense, other = tmp_path / "none.pem", tmp_path / "nonsense.pem", tmp_path / "other.pem"
    nonsense.write_text("no PEM")
    trustme.CA().issue_cert("127.0.0.1").private_key_pem.write_to_path(other)
    for files, words in {
        (None, key): "give the certificate",
        (missing, key): f"Cannot read '{missing}'",
        (certificate, missing): f"Cannot read '{missing}'",
        (certificate, tmp_path): "Cannot read",
        (nonsense, key): "PEM",
        (certificate, None): "PEM",
        (certificate, other): "does not belong",
    }.items():
        with pytest.raises(ServeError, match=words):
            await serve(Hub(engines()), port=0, certfile=files[0], keyfile=files[1])


# Signals --------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def process(delay: float) -> AsyncIterator[tuple[Process, str]]:
    """Run a server in a process of its own and yield it with its URL."""
    script = [sys.executable, "-W", "error", str(Path(__file__).with_name("scripted_server.py")), str(delay)]
    async with await anyio.open_process(script, stderr=subprocess.PIPE) as running:
        try:
            assert running.stdout is not None
            with fail_after(30):
                yield running, (await running.stdout.receive()).decode().strip()
        finally:
            if running.returncode is None:
                running.kill()


async def quiet_exit(running: Process, within_s: float) -> None:
    with fail_after(within_s):
        assert await running.wait() == 0
    assert running.stderr is not None
    assert b"".join([chunk async for chunk in running.stderr]) == b""


async def close_frame(client: ClientConnection) -> tuple[int, str]:
    with suppress(ConnectionClosed):
        while True:
            await client.recv()
    assert client.close_code is not None
    return client.close_code, client.close_reason or ""


async def test_first_signal_lets_the_answer_be_finished() -> None:
    async with process(0.15) as (running, url), connect(url) as idle, connect(url) as client:
        await client.send(CREATE)
        while json.loads(await client.recv())["type"] != "response.output_text.delta":
            pass
        running.send_signal(signal.SIGTERM)
        code, reason = await close_frame(idle)
        assert (code, "restart" in reason) == (1012, True)
        async with httpx.AsyncClient() as web:
            draining = await web.get(http(url) + "/readyz")
            assert (draining.status_code, draining.json()) == (503, {"status": "draining"})
            assert (await web.get(http(url) + "/healthz")).status_code == 200
        async with connect(url) as late:
            assert json.loads(await late.recv())["error"]["code"] == "server_draining"
            assert (await close_frame(late))[0] == 1012
        while (event := json.loads(await client.recv()))["type"] != "response.done":
            pass
        assert event["response"]["status"] == "completed"
        assert (await close_frame(client))[0] == 1012
        await quiet_exit(running, 5)


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_second_signal_ends_at_once(second: signal.Signals) -> None:
    async with process(60) as (running, url), connect(url) as idle, connect(url) as client:
        await client.send(CREATE)
        while json.loads(await client.recv())["type"] != "response.created":
            pass
        running.send_signal(signal.SIGINT)
        await close_frame(idle)
        running.send_signal(second)
        assert (await close_frame(client))[0] == 1012
        await quiet_exit(running, 5)


async def test_signal_while_the_models_load(engines: Make) -> None:
    with fail_after(10):
        await serve(
            Hub(engines(llm=Cold())),
            port=0,
            on_listening=lambda _: signal.raise_signal(signal.SIGTERM),
            on_ready=pytest.fail,
        )


async def test_server_in_a_thread_leaves_signals_alone(engines: Make) -> None:
    def run() -> None:
        anyio.run(partial(serve, Hub(engines()), port=0, on_ready=give_up))

    def give_up(url: str) -> None:
        raise ConnectionAbortedError(url)

    with pytest.raises(ConnectionAbortedError), fail_after(10):
        await to_thread.run_sync(run)


async def test_grace_has_an_end(engines: Make) -> None:
    hub = Hub(engines(llm=ScriptedLanguageModel(["Never said."], delay=60)))
    await hub.warm_up()
    agent, served = link_pair(64)  # type: ignore[var-annotated]
    with fail_after(5):
        async with create_task_group() as tasks:
            tasks.start_soon(hub.open, served)
            await agent.send(ResponseCreate())
            while not isinstance(await agent.receive(), ResponseCreated):
                pass
            await hub.drain(0.1)
            assert hub.sessions == 1
            await hub.close()
            assert hub.sessions == 0
            await agent.close()


async def test_what_was_just_said_is_still_answered(engines: Make) -> None:
    hub = Hub(engines(stt_delay=0.2))
    await hub.warm_up()
    agent, served = link_pair(1000)  # type: ignore[var-annotated]
    with fail_after(5):
        async with create_task_group() as tasks:
            tasks.start_soon(hub.open, served)
            question = np.concatenate([tone(220, 0.8, 24_000), np.zeros(12_000, np.float32)])
            await agent.send(InputAudioBufferAppend(audio=to_pcm16(question)))
            while not isinstance(await agent.receive(), ResponseCreated):
                pass
            await hub.drain(4)
            events = []
            with suppress(LinkClosed):
                while True:
                    events.append(await agent.receive())
            await agent.close()
    (done,) = [event for event in events if isinstance(event, ResponseDone)]
    assert done.response.status == "completed"


# Without a socket -----------------------------------------------------------------------------------------------------


async def test_hub_serves_a_link_in_the_same_process(engines: Make) -> None:
    hub = Hub(engines())
    await hub.warm_up()
    agent, served = link_pair(64)  # type: ignore[var-annotated]
    seen: list[object] = []
    with fail_after(5):
        async with create_task_group() as tasks:
            tasks.start_soon(partial(hub.open, served, "mine", watch=seen.append))
            created = await agent.receive()
            assert isinstance(created, SessionCreated)
            assert isinstance(created.session, Session)
            assert created.session.model == "mine"
            await agent.close()
    assert seen == [created]
    assert hub.sessions == 0


async def test_agent_is_told_why_it_is_not_served(engines: Make, serving: Serving) -> None:
    async with serving(Hub(engines(), max_sessions=0)) as url, agent_connection.connect(url) as link:
        refused = await link.receive()
        assert isinstance(refused, Error)
        assert refused.error.code == "session_limit_reached"
        with pytest.raises(LinkClosed, match="session_limit_reached") as closed:
            await link.receive()
        assert closed.value.code == 1008


# The official client --------------------------------------------------------------------------------------------------


async def collect(connection: AsyncRealtimeConnection, last: str) -> list[Any]:
    """Return the events up to one of this type, each valid by the client's own union."""
    events: list[Any] = []
    with fail_after(10):
        while not events or events[-1].type != last:
            frame = await connection.recv_bytes()
            events.append(FRAMES.validate_json(frame, strict=False))
    return events


def kinds(events: list[Any]) -> list[str]:
    return [event.type for event in events]


async def test_official_client_types(engines: Make, serving: Serving) -> None:
    async with serving(Hub(engines())) as url:
        client = AsyncOpenAI(api_key="none", websocket_base_url=url.removesuffix("/realtime"))
        async with client, client.realtime.connect(model="gpt-realtime") as connection:
            await collect(connection, "session.created")
            await connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
            await collect(connection, "session.updated")
            await connection.conversation.item.create(
                item={
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_text", "text": "What time is it?"}],
                }
            )
            await connection.response.create()
            events = await collect(connection, "response.done")
    assert kinds(events)[:3] == ["conversation.item.added", "conversation.item.done", "response.created"]
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == events[-1].response.output[0].content[0].text == "It is noon. Time to eat."
    assert events[-1].response.status == "completed"


async def test_official_client_speaks(engines: Make, serving: Serving) -> None:
    question = np.concatenate([np.zeros(12_000, np.float32), tone(220, 0.8, 24_000), np.zeros(24_000, np.float32)])
    async with serving(Hub(engines())) as url:
        client = AsyncOpenAI(api_key="none", websocket_base_url=url.removesuffix("/realtime"))
        async with client, client.realtime.connect(model="gpt-realtime") as connection:
            await connection.session.update(
                session={"type": "realtime", "audio": {"input": {"transcription": {"model": "whisper-1"}}}}
            )
            await collect(connection, "session.updated")
            for start in range(0, len(question), 480):
                chunk = b64encode(to_pcm16(question[start : start + 480])).decode()
                await connection.input_audio_buffer.append(audio=chunk)
            events = await collect(connection, "response.done")
    order = [kind for kind in dict.fromkeys(kinds(events)) if kind.startswith(("input_audio", "response.created"))]
    assert order == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "response.created",
    ]
    started = next(event for event in events if event.type == "input_audio_buffer.speech_started")
    assert abs(started.audio_start_ms - 200) < 70  # half a second of silence, less the padding of 300 ms
    (heard,) = [event for event in events if event.type == "conversation.item.input_audio_transcription.completed"]
    assert heard.transcript == "what time is it"
    sound = [event for event in events if event.type == "response.output_audio.delta"]
    assert len(sound) > 0
    said = [event.delta for event in events if event.type == "response.output_audio_transcript.delta"]
    assert "".join(said) == events[-1].response.output[0].content[0].transcript == "It is noon. Time to eat."
