"""Addresses, keys, refusals, retries and time-outs, as all three engines have them."""

from __future__ import annotations

import logging
import socket

import anyio
import anyio.abc
import pytest

from vivavoce import plugins
from vivavoce.backends.openai_http import Endpoint, find_key
from vivavoce.backends.openai_llm import OpenAIChat
from vivavoce.backends.openai_stt import OpenAITranscription
from vivavoce.backends.openai_tts import OpenAISpeech
from vivavoce.ports import BackendError
from vivavoce.realtime.conversation import Prompt

pytestmark = pytest.mark.anyio

KEY = "sk-secret-0123456789"


def endpoint(url, **options):
    return Endpoint(url, model="m", key_variable="VIVAVOCE_LLM_KEY", **options)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://localhost:11434", "http://localhost:11434/v1"),
        ("http://localhost:11434/", "http://localhost:11434/v1"),
        ("http://localhost:8000/v1", "http://localhost:8000/v1"),
        ("https://host/openai/v3/", "https://host/openai/v3"),
        ("https://me:secret@host/v1?key=secret", "https://host/v1"),
    ],
)
def test_bare_host_gets_v1_and_a_path_stays(url, name):
    assert endpoint(url).name == name


@pytest.mark.parametrize("url", ["localhost:11434", "", "ftp://host/v1", "http://", "http://host:99999", "http://[::1"])
def test_what_is_no_url_is_said_at_once(url):
    with pytest.raises(BackendError, match="looks like") as refused:
        endpoint(url)
    assert refused.value.code == "invalid_url"


def test_the_own_variable_comes_before_the_general_one(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "general")
    monkeypatch.setenv("YANDEX_CLOUD_API_KEY", "yandex")
    monkeypatch.delenv("VIVAVOCE_LLM_KEY", raising=False)
    assert find_key("api.openai.com", "VIVAVOCE_LLM_KEY") == "general"
    assert find_key("ai.api.cloud.yandex.net", "VIVAVOCE_LLM_KEY") == "yandex"
    assert not find_key("localhost", "VIVAVOCE_LLM_KEY")
    assert not find_key("notopenai.com", "VIVAVOCE_LLM_KEY")
    monkeypatch.setenv("VIVAVOCE_LLM_KEY", "own")
    assert find_key("ai.api.cloud.yandex.net", "VIVAVOCE_LLM_KEY") == "own"


@pytest.mark.parametrize(("key", "scheme"), [("AQVN-key", "Api-Key"), ("t1.token", "Bearer")])
def test_yandex_is_told_the_folder_and_the_kind_of_key(key, scheme):
    yandex = Endpoint(
        "https://ai.api.cloud.yandex.net/v1", model="gpt://b1gfolder/yandexgpt/latest", key_variable="X", key=key
    )
    assert yandex._headers == {"OpenAI-Project": "b1gfolder", "Authorization": f"{scheme} {key}"}


async def test_key_and_headers_are_sent(server, refuse):
    server.answer(refuse(404))
    one = endpoint(server.url, key=f" {KEY}\n", headers={"X-Team": "voice"})
    await one.check()
    await one.aclose()
    (seen,) = server.seen
    assert (seen.method, seen.path) == ("GET", "/v1/models")
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert seen.headers["x-team"] == "voice"


async def test_without_a_key_nothing_is_sent(server, refuse):
    server.answer(refuse(404))
    one = endpoint(server.url)
    await one.check()
    await one.aclose()
    assert "authorization" not in server.seen[0].headers


@pytest.mark.parametrize(
    ("status", "code", "remedy"),
    [
        (400, "request_refused", "change what it names"),
        (401, "key_refused", "set VIVAVOCE_LLM_KEY"),
        (403, "key_refused", "choose another"),
        (413, "request_refused", "change what it names"),
        (500, "endpoint_failed", "look at its log"),
        (502, "endpoint_failed", "look at its log"),
        (301, "request_refused", "301"),
    ],
)
async def test_a_refusal_is_said_in_one_sentence_with_the_remedy(server, refuse, status, code, remedy):
    server.answer(refuse(status, "reason of the server"))
    one = endpoint(server.url, key=KEY)
    with pytest.raises(BackendError, match=remedy) as refused:
        await one.check()
    await one.aclose()
    assert refused.value.code == code
    assert len(server.seen) == 1
    assert "\n" not in refused.value.message


async def test_a_missing_model_is_named(server, refuse):
    server.answer(refuse(404, "model 'm' not found, try pulling it first"))
    one = endpoint(server.url)
    with pytest.raises(BackendError, match=r"'m'.*try pulling it first") as refused:
        await one.post("/chat/completions", json={})
    await one.aclose()
    assert refused.value.code == "model_not_found"


@pytest.mark.parametrize(
    "body",
    [
        b'{"error": {"message": "why"}}',
        b'{"error": "why"}',
        b'{"object": "error", "message": "why"}',
        b'{"detail": "why"}',
        b"why",
    ],
)
async def test_the_reason_is_found_in_every_shape(server, body):
    from starlette.responses import Response

    server.answer(Response(body, 422))
    one = endpoint(server.url)
    with pytest.raises(BackendError, match=r"422 \(why\)"):
        await one.check()
    await one.aclose()


async def test_keys_appear_nowhere(server, refuse, caplog):
    caplog.set_level(logging.DEBUG)
    server.answer(refuse(401, f"Incorrect API key provided: {KEY}, header {KEY[::-1]}"))
    one = endpoint(server.url, key=KEY, headers={"X-Other": KEY[::-1]})
    with pytest.raises(BackendError) as refused:
        await one.check()
    await one.aclose()
    said = " ".join([str(refused.value), repr(refused.value), repr(one), caplog.text])
    assert "httpcore" in caplog.text, "the log must be looked at"
    assert KEY not in said
    assert KEY[::-1] not in said


async def test_a_key_echoed_in_a_reason_is_hidden(server, refuse):
    server.answer(refuse(400, f"the key {KEY} and the header {KEY[::-1]} are wrong"))
    one = endpoint(server.url, key=KEY, headers={"X-Other": KEY[::-1]})
    with pytest.raises(BackendError, match=r"the key \*\*\* and the header \*\*\* are wrong"):
        await one.check()
    await one.aclose()


@pytest.mark.parametrize("key", ["ключ", "sk-a\nb"])
def test_a_key_that_cannot_be_sent_is_said_without_it(key):
    with pytest.raises(BackendError, match="VIVAVOCE_LLM_KEY") as refused:
        endpoint("http://host", key=key)
    assert key not in refused.value.message


async def test_nobody_there(monkeypatch):
    monkeypatch.setattr("vivavoce.backends.openai_http._PAUSE", 0.01)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        one = endpoint(f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(BackendError, match=r"cannot be reached.*start the server") as refused:
            await one.check()
        await one.aclose()
    assert refused.value.code == "endpoint_unreachable"


async def test_a_busy_server_is_asked_again(server, refuse):
    server.answer(refuse(503, "Loading model", retry_after="0.05"), refuse(429, retry_after="0"), refuse(404))
    one = endpoint(server.url)
    await one.check()
    await one.aclose()
    assert len(server.seen) == 3


@pytest.mark.parametrize(
    ("status", "wait", "times"),
    [(429, "0", 3), (429, "3600", 1), (503, "0", 3)],
)
async def test_asking_again_has_an_end(server, refuse, status, wait, times):
    server.answer(refuse(status, retry_after=wait))
    one = endpoint(server.url)
    with pytest.raises(BackendError, match="wait") as refused:
        await one.check()
    await one.aclose()
    assert refused.value.code == ("rate_limit_exceeded" if status == 429 else "endpoint_failed")
    assert len(server.seen) == times


async def test_a_page_is_not_an_api(server):
    from starlette.responses import HTMLResponse

    server.answer(HTMLResponse("<!doctype html><title>Router</title>"))
    one = endpoint(server.url)
    with pytest.raises(BackendError, match=r"Router.*check the URL") as refused:
        await one.check()
    await one.aclose()
    assert refused.value.code == "bad_answer"


async def test_a_silent_server_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        one = endpoint(f"http://127.0.0.1:{silent.getsockname()[1]}", first_timeout=0.1, chunk_timeout=0.1)
        with pytest.raises(BackendError, match=r"silent for 0.1 s") as refused:
            await one.check()
        await one.aclose()
    assert refused.value.code == "endpoint_timeout"


async def test_a_kept_connection_that_has_died_is_replaced():
    served = 0

    async def serve(stream):
        nonlocal served
        served += 1
        async with stream:
            await stream.receive()
            if served > 1:
                await stream.send(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        one = endpoint(f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}")
        await one.check()
        await one.aclose()
        tasks.cancel_scope.cancel()
    assert served == 2


@pytest.mark.parametrize("make", [OpenAIChat, OpenAITranscription, OpenAISpeech])
async def test_a_wrong_key_is_known_at_the_start(server, refuse, make):
    server.answer(refuse(401))
    engine = make(url=server.url, model="m", key=KEY)
    with pytest.raises(BackendError, match="refuses the key"):
        await engine.warm_up()
    server.answer(refuse(404))
    await engine.warm_up()
    await engine.aclose()


@pytest.mark.parametrize(("kind", "engine"), [("llm", OpenAIChat), ("stt", OpenAITranscription), ("tts", OpenAISpeech)])
def test_the_entry_points_lead_here(kind, engine):
    assert isinstance(plugins.make(kind, "openai", url="http://localhost", model="m"), engine)
    with pytest.raises(plugins.PluginError, match="colour"):
        plugins.make(kind, "openai", model="m", colour="red")


async def test_connections_are_kept(server):
    chunk = {"choices": [{"delta": {"content": "Hi."}, "finish_reason": "stop"}]}
    chat = OpenAIChat(url=server.url, model="m")
    for _ in range(2):
        server.stream(chunk)
        assert [piece async for piece in chat.generate(Prompt())]
    await chat.aclose()
    assert len({seen.port for seen in server.seen}) == 1
