"""Who is let in, over real sockets: API keys, ephemeral keys, origins; and that no key is ever told."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest
from starlette.requests import HTTPConnection
from tests.server.clients import ask, closing, event, http
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from vivavoce.config import load
from vivavoce.realtime.values import Session
from vivavoce.server import auth
from vivavoce.server.app import serve
from vivavoce.server.auth import (
    SOMEBODY,
    Access,
    Keys,
    KeysError,
    Secrets,
    SecretsError,
    load_keys,
    presented,
    redacted,
)
from vivavoce.server.hub import Hub
from vivavoce.server.listening import ServeError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.server.conftest import Serving

    from vivavoce.server.engine import Engines

    Make = Callable[..., Engines]

pytestmark = pytest.mark.anyio

KEY = "sk-a-very-secret-key"
OWNED = {"type": "session.update", "session": {"type": "realtime", "instructions": "Be brief."}}


def access(**options: Any) -> Access:
    return Access(Keys({KEY: "anna"}), **options)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


# Where the key is -----------------------------------------------------------------------------------------------------

PLACES: list[dict[str, Any]] = [
    {"additional_headers": {"Authorization": f"Bearer {KEY}"}},
    {"additional_headers": {"Authorization": f"bearer  {KEY}"}},
    {"additional_headers": {"Authorization": f"Api-Key {KEY}"}},
    {"additional_headers": {"Authorization": f"api-key {KEY}"}},
    {"additional_headers": {"X-API-Key": KEY}},
    {"additional_headers": {"api-key": KEY}},
    {"subprotocols": ["realtime", f"openai-insecure-api-key.{KEY}", "openai-agents-sdk.1"]},
    {"query": f"?model=m&api_key={KEY}"},
]


@pytest.mark.parametrize("place", PLACES)
async def test_key_is_found(engines: Make, serving: Serving, place: dict[str, Any]) -> None:
    query = place.get("query", "")
    options = {name: value for name, value in place.items() if name != "query"}
    async with serving(Hub(engines()), access=access()) as url, connect(url + query, **options) as client:
        assert (await event(client))["type"] == "session.created"
        assert client.subprotocol == ("realtime" if "subprotocols" in place else None)
        assert KEY not in str(client.response)


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({}, None),
        ({"authorization": "Basic dXNlcjpwYXNz"}, None),
        ({"authorization": "Bearer"}, None),
        ({"authorization": KEY}, None),
        ({"authorization": "Bearer ", "x-api-key": KEY}, KEY),
        ({"authorization": "Bearer one", "x-api-key": "two"}, "one"),
    ],
)
def test_header_that_holds_no_key(headers: dict[str, str], key: str | None) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    assert presented(HTTPConnection({"type": "http", "headers": raw, "query_string": b""})) == key


@pytest.mark.parametrize(
    ("key", "code"), [(None, None), ("sk-wrong", "invalid_api_key"), (KEY + "x", "invalid_api_key")]
)
async def test_session_without_a_good_key(engines: Make, serving: Serving, key: str | None, code: str | None) -> None:
    hub = Hub(engines())
    headers = bearer(key) if key else {}
    async with serving(hub, access=access()) as url, connect(url, additional_headers=headers) as client:
        wrong = await event(client)
        assert (wrong["type"], wrong["error"]["type"], wrong["error"]["code"]) == (
            "error",
            "invalid_request_error",
            code,
        )
        assert wrong["event_id"]
        assert (await closing(client))[0] == 3000
        assert hub.sessions == 0


@pytest.mark.parametrize(("key", "code"), [(None, None), ("sk-wrong", "invalid_api_key")])
async def test_request_without_a_good_key(engines: Make, serving: Serving, key: str | None, code: str | None) -> None:
    async with serving(Hub(engines()), access=access()) as url, httpx.AsyncClient(base_url=http(url)) as web:
        headers = bearer(key) if key else {}
        for path in ("/v1/models", "/v1/realtime", "/v1/no/such/path"):
            answer = await web.get(path, headers=headers)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert answer.json()["error"]["code"] == code
        assert (await web.get("/v1/models", headers=bearer(KEY))).status_code == 200
        for path in ("/", "/healthz", "/readyz", "/openapi.json"):
            assert (await web.get(path, headers=headers)).status_code == 200


async def test_without_keys_everybody_is_let_in(engines: Make, serving: Serving) -> None:
    async with serving(Hub(engines())) as url, connect(url, additional_headers=bearer("anything")) as client:
        assert (await event(client))["type"] == "session.created"


# No key is told -------------------------------------------------------------------------------------------------------


async def test_keys_are_in_no_log(engines: Make, serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    query = f"?model=shown&api_key={KEY}"
    async with serving(Hub(engines()), access=access()) as url, httpx.AsyncClient(base_url=http(url)) as web:
        caplog.clear()
        for place in PLACES:
            options = {name: value for name, value in place.items() if name != "query"}
            async with connect(url + place.get("query", ""), logger=logging.getLogger("silent"), **options):
                pass
        await web.get("/v1/models" + query)
        await web.get("/v1/models", params={"model": "\n", "API_KEY": KEY})
    ours = [
        record for record in caplog.records if record.name not in ("silent", "httpx") and "httpcore" not in record.name
    ]
    told = "\n".join(record.getMessage() for record in ours)
    assert KEY not in told
    assert told.count("/v1/realtime") == len(PLACES)
    assert "/v1/models?model=shown&api_key=…': 200" in told
    assert "/v1/models?model=%0A&API_KEY=…': 401" in told


def test_redaction_leaves_the_rest() -> None:
    assert redacted("api_key=a&model=m") == "api_key=…&model=m"
    assert redacted("my_api_key=a&b=api_key") == "my_api_key=a&b=api_key"


# Where keys come from -------------------------------------------------------------------------------------------------


def test_keys_from_file_and_environment(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# who may call\n\nanna: one # until May\ntwo\n  : three\n")
    keys = load_keys(file, {"VIVAVOCE_API_KEYS": "four, ben:five"})
    names = {
        key: (keys.find(key) or ("", None))[1] for key in ("one", "two", "three", "four", "five", "anna", "", "on")
    }
    assert names == {
        "one": "anna", "two": "key 2", "three": "", "four": "key 1", "five": "ben", "anna": None, "": None, "on": None
    }  # fmt: skip
    assert len(load_keys(None, {})) == 0
    assert "VIVAVOCE_API_KEYS" not in repr(load({}, environ={"VIVAVOCE_API_KEYS": "four"}, file=None))


def test_keys_that_cannot_be_read(tmp_path: Path) -> None:
    empty, binary = tmp_path / "empty", tmp_path / "binary"
    empty.write_text("# nobody\n")
    binary.write_bytes(b"\xff\xfe")
    for file, words in {
        tmp_path / "none": "No such file",
        tmp_path: "directory",
        empty: "one a line",
        binary: "UTF-8",
    }.items():
        with pytest.raises(KeysError, match=words):
            load_keys(file, {})


async def test_only_a_server_with_keys_is_open_to_other_machines(engines: Make, serving: Serving) -> None:
    async with serving(Hub(engines()), host="0.0.0.0", access=access()) as url, httpx.AsyncClient() as web:
        local = http(url).replace("0.0.0.0", "127.0.0.1")
        assert (await web.get(f"{local}/v1/models")).status_code == 401
    with pytest.raises(ServeError, match="VIVAVOCE_API_KEYS"):
        await serve(Hub(engines()), host="0.0.0.0", port=0, access=Access(), on_listening=pytest.fail)


# Ephemeral keys -------------------------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


async def test_an_ephemeral_key_is_told_without_the_credentials_of_remote_servers(
    engines: Make, serving: Serving
) -> None:
    tool = {"type": "mcp", "server_label": "x", "server_url": "https://tools.example", "authorization": "sesame"}
    body = {"session": {"type": "realtime", "tools": [tool]}}
    async with serving(Hub(engines()), access=access()) as url, httpx.AsyncClient(base_url=http(url)) as web:
        made = await web.post("/v1/realtime/client_secrets", headers=bearer(KEY), json=body)
    assert made.json()["session"]["tools"] == [{name: tool[name] for name in tool if name != "authorization"}]


async def test_ephemeral_key_opens_sessions_until_it_expires(engines: Make, serving: Serving) -> None:
    clock = Clock()
    async with serving(Hub(engines()), access=access(secrets=Secrets(clock))) as url:
        async with openai.AsyncOpenAI(api_key=KEY, base_url=http(url) + "/v1") as client:
            made = await client.realtime.client_secrets.create(
                expires_after={"anchor": "created_at", "seconds": 10},
                session={
                    "type": "realtime",
                    "model": "mine",
                    "instructions": "Be brief.",
                    "audio": {"output": {"speed": 1.25}},
                },
            )
        assert made.value.startswith("ek_")
        assert made.expires_at == clock.now + 10
        assert made.session.type == "realtime"
        assert made.session.instructions == "Be brief."
        clock.now += 9.9
        headers = bearer(made.value)
        async with (
            connect(url, additional_headers=headers) as first,
            connect(url, additional_headers=headers) as second,
        ):
            for each in (first, second):
                session = (await event(each))["session"]
                assert (session["model"], session["instructions"]) == ("mine", "Be brief.")
                assert session["audio"]["output"]["speed"] == 1.25
                assert session["audio"]["input"]["turn_detection"]["type"] == "server_vad"
            clock.now += 0.1
            updated = await ask(first, OWNED, "session.updated")
            assert updated["session"]["instructions"] == "Be brief."
            async with connect(url, additional_headers=headers) as late:
                assert (await event(late))["error"]["code"] == "invalid_api_key"
                assert (await closing(late))[0] == 3000


async def test_ephemeral_key_does_nothing_else(engines: Make, serving: Serving) -> None:
    async with serving(Hub(engines()), access=access()) as url, httpx.AsyncClient(base_url=http(url)) as web:
        made = (await web.post("/v1/realtime/client_secrets", headers=bearer(KEY))).json()
        for method, path in (("POST", "/v1/realtime/client_secrets"), ("GET", "/v1/models")):
            answer = await web.request(method, path, headers=bearer(made["value"]))
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")


async def test_legacy_ephemeral_key(engines: Make, serving: Serving) -> None:
    body = {"model": "mine", "modalities": ["text"], "input_audio_format": "g711_ulaw"}
    async with serving(Hub(engines()), access=access()) as url, httpx.AsyncClient(base_url=http(url)) as web:
        made = (await web.post("/v1/realtime/sessions", headers=bearer(KEY), json=body)).json()
        assert made["modalities"] == ["text"]
        async with connect(url, additional_headers=bearer(made["client_secret"]["value"])) as client:
            session = (await event(client))["session"]
    assert (session["model"], session["output_modalities"]) == ("mine", ["text"])
    assert session["audio"]["input"]["format"]["type"] == "audio/pcmu"


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"expires_after": {"anchor": "created_at", "seconds": 9}}, "integer_below_min_value", "expires_after.seconds"),
        (
            {"expires_after": {"anchor": "created_at", "seconds": 7201}},
            "integer_above_max_value",
            "expires_after.seconds",
        ),
        ({"expires_after": {"anchor": "now", "seconds": 60}}, "invalid_value", "expires_after.anchor"),
        ({"session": {"type": "realtime", "bogus": 1}}, "unknown_parameter", "session.bogus"),
        ({"session": {"type": "realtime", "audio": {"output": {"speed": 9}}}}, None, "session.audio.output.speed"),
        ({"session": []}, "invalid_type", "session"),
    ],
)
async def test_ephemeral_key_that_cannot_be(
    engines: Make, serving: Serving, body: Any, code: str | None, param: str
) -> None:
    async with serving(Hub(engines()), access=access()) as url, httpx.AsyncClient(base_url=http(url)) as web:
        answer = await web.post("/v1/realtime/client_secrets", headers=bearer(KEY), json=body)
        wrong = answer.json()["error"]
        assert (answer.status_code, wrong["param"]) == (400, param)
        assert code is None or wrong["code"] == code
        assert wrong["message"]


def test_ephemeral_keys_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "MAX_SECRETS", 2)
    clock = Clock()
    secrets = Secrets(clock)
    first, _ = secrets.mint(10, Session(), SOMEBODY)
    second, _ = secrets.mint(20, Session(), SOMEBODY)
    with pytest.raises(SecretsError):
        secrets.mint(10, Session(), SOMEBODY)
    clock.now += 10
    third, _ = secrets.mint(10, Session(), SOMEBODY)
    assert len({first, second, third}) == 3
    assert [secrets.find(value) is not None for value in (first, second, third)] == [False, True, True]


async def test_too_many_ephemeral_keys(engines: Make, serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "MAX_SECRETS", 0)
    async with serving(Hub(engines()), access=access()) as url, httpx.AsyncClient(base_url=http(url)) as web:
        answer = await web.post("/v1/realtime/client_secrets", headers=bearer(KEY))
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "rate_limit_exceeded")


# Origins --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "host", "keys", "welcome"),
    [
        (None, "example.org", False, True),
        ("http://127.0.0.1:8080", "127.0.0.1:8080", False, True),
        ("http://localhost:8080", "localhost:8080", False, True),
        ("http://[::1]:8080", "[::1]:8080", False, True),
        ("http://127.0.0.1:3000", "127.0.0.1:8080", False, False),
        ("http://evil.example:8080", "127.0.0.1:8080", True, False),
        ("http://evil.example:8080", "evil.example:8080", False, False),
        ("http://voice.example:8080", "Voice.Example:8080", True, True),
        ("https://good.example", "127.0.0.1:8080", False, True),
        ("https://good.example.evil.example", "127.0.0.1:8080", False, False),
        ("null", "127.0.0.1:8080", False, False),
        ("http://[", "127.0.0.1:8080", False, False),
        ("", "", True, False),
    ],
)
def test_origin(origin: str | None, host: str, keys: bool, welcome: bool) -> None:
    allowed = Access(Keys({KEY: "anna"} if keys else {}), origins=["https://good.example/"])
    assert allowed.welcomes(origin, host) is welcome


async def test_strange_page_is_kept_out(engines: Make, serving: Serving) -> None:
    hub = Hub(engines())
    async with serving(hub) as url, httpx.AsyncClient(base_url=http(url)) as web:
        with pytest.raises(InvalidStatus) as refused:
            await connect(url, origin="https://evil.example")  # type: ignore[arg-type]
        assert refused.value.response.status_code == 403
        answer = await web.get("/v1/models", headers={"Origin": "https://evil.example"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "origin_not_allowed")
        assert "access-control-allow-origin" not in answer.headers
        async with connect(url, origin=http(url)) as own:  # type: ignore[arg-type]
            assert (await event(own))["type"] == "session.created"


async def test_allowed_page_may_read_answers_and_errors(engines: Make, serving: Serving) -> None:
    page = {"Origin": "https://good.example"}
    asking = page | {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, x-stainless-os",
    }
    async with serving(Hub(engines()), access=access(origins=["https://good.example"])) as url:
        async with httpx.AsyncClient(base_url=http(url)) as web:
            before = await web.options("/v1/chat/completions", headers=asking)
            assert before.status_code == 204
            assert before.headers["access-control-allow-headers"] == "authorization, x-stainless-os"
            assert "POST" in before.headers["access-control-allow-methods"]
            for answer in (before, await web.get("/v1/models", headers=page)):
                assert answer.headers["access-control-allow-origin"] == "https://good.example"
                assert "Origin" in answer.headers["vary"]
        async with connect(url, origin="https://good.example", additional_headers=bearer(KEY)) as client:  # type: ignore[arg-type]
            assert (await event(client))["type"] == "session.created"


def test_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = load(
        {"allowed_origins": None}, environ={"VIVAVOCE_ALLOWED_ORIGINS": "https://a.example,https://b.example"}
    )
    assert chosen.allowed_origins == ("https://a.example", "https://b.example")
