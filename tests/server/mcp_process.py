"""A remote server of tools in a process of its own: prints its URL when it is ready."""

from __future__ import annotations

import socket
import sys
from typing import Any

import anyio
import uvicorn
from mcp.server import MCPServer
from mcp.types import ToolAnnotations

KEY = "Bearer open sesame"

server = MCPServer("workshop", log_level="ERROR")
seen: dict[str, str] = {}


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def add(a: int, b: int) -> str:
    """Add two numbers."""
    return str(a + b)


@server.tool()
def whoami() -> str:
    """Tell who asks."""
    return f"{seen.get('authorization')} of {seen.get('x-team')}"


@server.tool()
def explode() -> str:
    """Break."""
    raise ValueError("It is broken.")


@server.tool()
def recite() -> str:
    """Say more than anybody wants to hear."""
    return "word " * 10_000


@server.tool()
async def sleep(seconds: float) -> str:
    """Take a while."""
    print("asleep", flush=True)  # noqa: T201
    await anyio.sleep(seconds)
    return "awake"


@server.tool()
def unavailable() -> str:
    """Never get here."""
    return "?"


def guarded(app: Any) -> Any:
    """Refuse those without the key, and requests for one tool."""

    async def run(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        seen.update({name.decode(): value.decode() for name, value in scope["headers"]})
        message = await receive()

        async def again() -> Any:
            nonlocal message
            told, message = message, None
            return told or await receive()

        status = 503 if b'"unavailable"' in message.get("body", b"") else 401
        if status == 503 or seen.get("authorization") != KEY:
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        await app(scope, again, send)

    return run


def main(transport: str, port: str) -> None:
    listener = socket.create_server(("127.0.0.1", int(port)))
    app = server.sse_app() if transport == "sse" else server.streamable_http_app()
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/{transport}", flush=True)  # noqa: T201
    config = uvicorn.Config(guarded(app), log_level="error")
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main(*sys.argv[1:])
