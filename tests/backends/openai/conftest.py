"""A server on loopback that answers as a test tells it, over real HTTP."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Sequence

    from starlette.requests import Request


class CutError(Exception):
    """Ends a connection in the midst of an answer."""


@dataclass
class Seen:
    """A request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    form: dict[str, Any]
    port: int

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """Gives the answers one after the other, the last one for ever; or what a function makes of each request."""

    url: str
    answers: list[Response] = field(default_factory=list)
    react: Callable[[Seen], Response] | None = None
    seen: list[Seen] = field(default_factory=list)
    gone: threading.Event = field(default_factory=threading.Event)

    def answer(self, *answers: Response) -> None:
        self.answers = list(answers)

    def stream(self, *events: Any, done: bool = True) -> None:
        self.answer(self.sse(*events, done=done))

    def sse(self, *events: Any, done: bool = True) -> Response:
        """Say the events: an object as data, a string as it stands, a number as seconds of silence."""
        parts = [*events, "data: [DONE]\n\n"] if done else events
        return StreamingResponse(self._parts(parts), media_type="text/event-stream")

    def body(self, *parts: bytes | float | type[CutError], kind: str = "audio/pcm") -> Response:
        """Say the bytes, with a number as seconds of silence."""
        return StreamingResponse(self._parts(parts), media_type=kind)

    async def _parts(self, parts: Sequence[Any]) -> AsyncGenerator[bytes, None]:
        try:
            for part in parts:
                if part is CutError:
                    raise CutError
                if isinstance(part, int | float):
                    await anyio.sleep(part)
                else:
                    yield _bytes(part)
        except anyio.get_cancelled_exc_class():
            self.gone.set()
            raise

    async def handle(self, request: Request) -> Response:
        form: dict[str, Any] = {}
        body = await request.body()
        if "multipart" in request.headers.get("content-type", ""):
            async with request.form() as fields:
                for name, value in fields.items():
                    form[name] = value if isinstance(value, str) else await value.read()
        assert request.client
        self.seen.append(Seen(request.method, request.url.path, dict(request.headers), body, form, request.client.port))
        if self.react:
            return self.react(self.seen[-1])
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def _bytes(part: Any) -> bytes:
    if isinstance(part, bytes):
        return part
    return (part if isinstance(part, str) else f"data: {json.dumps(part, ensure_ascii=False)}\n\n").encode()


def error(status: int, message: str = "no", **headers: str) -> Response:
    return JSONResponse(
        {"error": {"message": message, "type": "x"}},
        status,
        {k.replace("_", "-"): v for k, v in headers.items()},
    )


@contextmanager
def running(app: Starlette) -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_config=None, ws="none", lifespan="off", timeout_graceful_shutdown=1)
        config.load()
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="package")
def loopback() -> Iterator[Server]:
    server = Server("")
    app = Starlette(routes=[Route("/{path:path}", server.handle, methods=["GET", "POST"])])
    with running(app) as server.url:
        yield server


@pytest.fixture
def server(loopback: Server, monkeypatch) -> Server:
    for variable in ("OPENAI_API_KEY", "VIVAVOCE_LLM_KEY", "VIVAVOCE_STT_KEY", "VIVAVOCE_TTS_KEY"):
        monkeypatch.delenv(variable, raising=False)
    loopback.answers.clear()
    loopback.react = None
    loopback.seen.clear()
    loopback.gone.clear()
    return loopback


@pytest.fixture
def refuse():
    """Return a function that makes a refusal of a status and a message."""
    return error


@pytest.fixture
def cut() -> type[CutError]:
    """Return the part of an answer at which the connection breaks."""
    return CutError
