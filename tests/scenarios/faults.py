"""A network on loopback that cuts, resets, delays and swallows (TCP proxy)."""

from __future__ import annotations

import socket
import struct
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import anyio
from anyio import create_task_group
from anyio.abc import SocketAttribute

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import SocketStream

GONE = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


class Network:
    """What lies between a client and the server at a port."""

    def __init__(self, port: int) -> None:
        self.port = port
        """Where the server is now; a restarted one may be elsewhere."""
        self.delay_s = 0.0
        self.swallows = False
        """Half open: nothing gets through, and nobody is told."""
        self.refuses = False
        """Nobody gets in."""
        self.connections = 0
        self._streams: list[SocketStream] = []

    async def handle(self, client: SocketStream) -> None:
        """Carry one connection."""
        self.connections += 1
        async with client:
            if self.refuses:
                return
            with suppress(OSError):
                async with await anyio.connect_tcp("127.0.0.1", self.port) as server, create_task_group() as tasks:
                    pair = [client, server]
                    self._streams += pair
                    tasks.start_soon(self._carry, client, server)
                    await self._carry(server, client)
                    tasks.cancel_scope.cancel()
                    self._streams = [stream for stream in self._streams if stream not in pair]

    async def cut(self) -> None:
        """Close all connections, as a server or a proxy does."""
        streams, self._streams = self._streams, []
        for stream in streams:
            await anyio.aclose_forcefully(stream)

    async def reset(self) -> None:
        """Break all connections, as a crash does."""
        for stream in self._streams:
            raw = stream.extra(SocketAttribute.raw_socket)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await self.cut()

    async def _carry(self, one: SocketStream, other: SocketStream) -> None:
        with suppress(*GONE):
            async for data in one:
                await anyio.sleep(self.delay_s)
                if not self.swallows:
                    await other.send(data)
        with suppress(*GONE):
            await other.send_eof()


@asynccontextmanager
async def network(url: str) -> AsyncIterator[tuple[Network, str]]:
    """Open a network before a server and yield it with the server's address behind it."""
    port = url.split("/")[2].rpartition(":")[2]
    between = Network(int(port))
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, create_task_group() as tasks:
        tasks.start_soon(listener.serve, between.handle)
        yield between, url.replace(port, str(listener.extra(SocketAttribute.local_port)))
        tasks.cancel_scope.cancel()
