"""Clients of a server, good and broken, for its tests."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import anyio
from anyio import fail_after
from websockets.exceptions import ConnectionClosed

if TYPE_CHECKING:
    from collections.abc import Callable

    from websockets.asyncio.client import ClientConnection

    from vivavoce.server.hub import Hub

SILENT = {"type": "session.update", "session": {"type": "realtime", "audio": {"input": {"turn_detection": None}}}}
TEXT = {"type": "response.create", "response": {"output_modalities": ["text"]}}


def http(url: str) -> str:
    """Return the root of a server by the URL of its sessions."""
    return url.replace("ws", "http", 1).removesuffix("/v1/realtime")


async def event(client: ClientConnection) -> dict[str, Any]:
    with fail_after(10):
        received: dict[str, Any] = json.loads(await client.recv())
    return received


async def until(client: ClientConnection, kind: str) -> dict[str, Any]:
    while (received := await event(client))["type"] != kind:
        pass
    return received


async def ask(client: ClientConnection, what: dict[str, Any], answer: str) -> dict[str, Any]:
    await client.send(json.dumps(what))
    return await until(client, answer)


async def closing(client: ClientConnection) -> tuple[int, str]:
    """Read to the end and return the server's close code and reason."""
    with suppress(ConnectionClosed), fail_after(10):
        while True:
            await client.recv()
    assert client.close_code is not None
    return client.close_code, client.close_reason or ""


async def until_sessions(hub: Hub, count: int, *, within_s: float = 5.0) -> None:
    with fail_after(within_s):
        while hub.sessions != count:  # noqa: ASYNC110 - nobody tells
            await anyio.sleep(0.005)


# A client that does only what it is told, below the library -----------------------------------------------------------


class Raw:
    """A TCP connection after the handshake of a WebSocket."""

    def __init__(self, stream: anyio.abc.SocketStream) -> None:
        self._stream = stream

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await anyio.aclose_forcefully(self._stream)

    async def send(self, data: bytes) -> None:
        await self._stream.send(data)

    async def until_reset(self) -> None:
        """Send pongs until the server has dropped the connection."""
        with suppress(anyio.BrokenResourceError):
            while True:
                await self.send(b"\x8a\x80\x00\x00\x00\x00")
                await anyio.sleep(0.01)

    async def send_text(self, text: str) -> None:
        assert len(text) < 126
        await self.send(b"\x81" + bytes([0x80 | len(text)]) + bytes(4) + text.encode())

    async def read(self, enough: Callable[[bytearray], bool] = lambda _: False) -> bytes:
        """Read until it is enough, or up to the close frame, or to the end."""
        received = bytearray()
        with fail_after(10), suppress(anyio.BrokenResourceError):
            async for chunk in self._stream:
                received += chunk
                if enough(received) or close_code(received) is not None:
                    break
        return bytes(received)


async def raw_socket(url: str) -> anyio.abc.SocketStream:
    host, port = url.split("/")[2].split(":")
    return await anyio.connect_tcp(host, int(port))


async def raw(url: str) -> Raw:
    """Shake hands, and read no further than that."""
    host = url.split("/")[2]
    stream = await raw_socket(url)
    await stream.send(
        f"GET /v1/realtime HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += await stream.receive(1)
    assert b" 101 " in head
    return Raw(stream)


def close_code(received: bytes | bytearray) -> int | None:
    """Walk the frames that the server sent and return the code of its close frame."""
    at = 0
    while len(received) >= at + 10 or (len(received) >= at + 4 and received[at] & 15 == 8):
        opcode, length, at = received[at] & 15, received[at + 1], at + 2
        if length >= 126:
            size = 2 if length == 126 else 8
            length, at = int.from_bytes(received[at : at + size]), at + size
        if opcode == 8:
            return int.from_bytes(received[at : at + 2])
        at += length
    return None
