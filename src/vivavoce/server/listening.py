"""What is listened at: sockets, TLS, and uvicorn with its loose ends tied."""

from __future__ import annotations

import errno
import ssl
from contextlib import contextmanager
from ipaddress import ip_address
from socket import AF_INET6, IPPROTO_IPV6, IPV6_V6ONLY, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET, gaierror, getaddrinfo
from socket import socket as Socket  # noqa: N812 - a class
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from vivavoce.errors import VivavoceError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator
    from pathlib import Path

    from starlette.types import ASGIApp
    from uvicorn._types import ASGISendEvent

Address: TypeAlias = tuple[int, tuple[Any, ...]]
"""Family, and what `bind` wants."""

MAX_MESSAGE: Final = 21 * 1024 * 1024
"""Bytes: 15 MiB of audio in base64, and the event around it."""
PING_S: Final = 20.0
LINGER_S: Final = 5.0
"""Time that a client has to take the close frame and what was sent before it."""
STALL_S: Final = 10.0
"""A client that takes nothing for so long is gone."""
SHUTDOWN_S: Final = 3
BACKLOG: Final = 128
MAX_CONNECTIONS: Final = 1024
"""Connections of any kind at one time; more are dropped."""
READ_AHEAD: Final = 8
"""Small messages of a client that are read before the session takes them."""
SMALL: Final = 16 * 1024
"""Bytes."""
REQUEST_S: Final = 10.0
"""Time that a client has to send the head of a request."""
MAX_PORT: Final = 65535


class ServeError(VivavoceError):
    """The server cannot listen; the message names the remedy."""


class StalledError(Exception):
    """The client takes nothing of what is sent."""


class Server(uvicorn.Server):
    """A uvicorn that leaves signals to its owner."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """A WebSocket that always ends: with a close frame where the client listens, without one where it does not."""

    _lingering: asyncio.TimerHandle | None = None
    _impatience: asyncio.TimerHandle | None = None
    _stalled = False

    async def send(self, message: ASGISendEvent) -> None:
        """Send; a close does not wait for a client that does not read.

        Raises:
            StalledError: the client has not read for long.
        """
        if message["type"] == "websocket.close":
            self.writable.set()
        else:
            await self.writable.wait()
            if self._stalled:
                raise StalledError(f"The client has read nothing for {STALL_S:g} seconds.")
        await super().send(message)

    def pause_writing(self) -> None:
        """Let senders wait, but not for ever; one timer a pause costs less than one a message."""
        super().pause_writing()
        self._impatience = self.loop.call_later(STALL_S, self._give_up)

    def resume_writing(self) -> None:
        """Let senders go on."""
        super().resume_writing()
        self._wait_patiently()

    def _give_up(self) -> None:
        self._stalled = True
        self.writable.set()

    def _wait_patiently(self) -> None:
        if self._impatience is not None:
            self._impatience.cancel()

    def send_receive_event_to_app(self) -> None:
        """Hand a message on; few small ones do not stop the reading, as to stop and go on takes two system calls."""
        few = self.queue.qsize() < READ_AHEAD and sum(map(len, self.frames)) <= SMALL
        if self.read_paused or not few:
            super().send_receive_event_to_app()
            return
        self.read_paused = True
        super().send_receive_event_to_app()
        self.read_paused = False

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """Free the socket, even where nobody takes what is in its buffer."""
        super().on_task_complete(task)
        if not self.disconnected:
            self._lingering = self.loop.call_later(LINGER_S, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """End; a timer would keep what the session was."""
        super().connection_lost(exc)
        self._wait_patiently()
        if self._lingering is not None:
            self._lingering.cancel()


class HttpProtocol(H11Protocol):
    """HTTP that waits neither for too many clients nor for long."""

    _impatience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection if there is room."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
        else:
            self._impatience = self.loop.call_later(REQUEST_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Read on; what comes before the head of a request is whole must come soon."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._wait_patiently()
        elif self._impatience is None:
            self._impatience = self.loop.call_later(REQUEST_S, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._wait_patiently()
        super().connection_lost(exc)

    def _wait_patiently(self) -> None:
        if self._impatience is not None:
            self._impatience.cancel()
            self._impatience = None


def uvicorn_server(app: ASGIApp, tls: ssl.SSLContext | None) -> Server:
    """Return a server of the application that is silent about what goes well."""
    config = uvicorn.Config(
        app,
        ws=WebSocketProtocol,
        ws_max_size=MAX_MESSAGE,
        ws_ping_interval=PING_S,
        ws_ping_timeout=PING_S,
        ws_per_message_deflate=False,
        http=HttpProtocol,
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_S,
        ssl_context_factory=(lambda _config, _default: tls) if tls else None,
    )
    return Server(config)


def tls_context(certfile: Path | None, keyfile: Path | None) -> ssl.SSLContext | None:
    """Return how to speak TLS, or None for plain sockets.

    Raises:
        ServeError: the files are missing, unreadable or do not belong together.
    """
    if certfile is None:
        if keyfile is not None:
            raise ServeError(f"A key alone is not enough for TLS: give the certificate of '{keyfile}' too.")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certfile, keyfile, password=lambda: "")
    except ssl.SSLError as wrong:
        raise ServeError(_tls_trouble(wrong, certfile, keyfile)) from None
    except OSError:
        for path in filter(None, (certfile, keyfile)):
            _check_readable(path)
        raise
    return context


def _check_readable(path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as wrong:
        raise ServeError(f"Cannot read '{path}' for TLS: {wrong.strerror}.") from None


def _tls_trouble(wrong: ssl.SSLError, certfile: Path, keyfile: Path | None) -> str:
    if wrong.reason == "KEY_VALUES_MISMATCH":
        return f"The key in '{keyfile or certfile}' does not belong to the certificate in '{certfile}'."
    files = f"'{certfile}'" if keyfile is None else f"'{certfile}' and '{keyfile}'"
    return f"TLS needs a certificate chain and its key, both PEM and without a passphrase; {files} are not that."


def listen(host: str, port: int, *, allow_remote: bool = False) -> list[Socket]:
    """Open the port at every address that the host has.

    Args:
        host: a name or an address of this machine.
        port: 0 for any that is free.
        allow_remote: listen where other machines can reach it.

    Raises:
        ServeError: the address is not ours, not allowed, or taken.
    """
    addresses = _addresses(host, port)
    remote = [where for _, (where, *_) in addresses if not ip_address(where.partition("%")[0]).is_loopback]
    if remote and not allow_remote:
        raise ServeError(
            f"'{host}' can be reached from other machines, and this server does not ask who calls: give it API keys "
            "(--api-keys FILE or VIVAVOCE_API_KEYS), listen at 127.0.0.1, or pass --allow-remote where something in "
            "front of it checks who calls."
        )
    sockets: list[Socket] = []
    try:
        for address in addresses:
            sockets.append(_bound(address, sockets[0].getsockname()[1] if sockets else port))
    except OSError as wrong:
        for socket in sockets:
            socket.close()
        raise ServeError(_trouble(wrong, host, port)) from None
    return sockets


def _addresses(host: str, port: int) -> list[Address]:
    if not 0 <= port <= MAX_PORT:
        raise ServeError(f"{port} is not a port; choose one from 1024 to {MAX_PORT}.")
    try:
        found = getaddrinfo(host, port, type=SOCK_STREAM)
    except (gaierror, UnicodeError):
        raise ServeError(f"'{host}' is not an address of this machine; try 127.0.0.1.") from None
    return list(dict.fromkeys((family, where) for family, _, _, _, where in found))


def _bound(address: Address, port: int) -> Socket:
    family, (where, _, *rest) = address
    socket = Socket(family, SOCK_STREAM)
    try:
        socket.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        if family == AF_INET6:
            socket.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
        socket.bind((where, port, *rest))
        socket.listen(BACKLOG)
    except OSError:
        socket.close()
        raise
    return socket


def _trouble(wrong: OSError, host: str, port: int) -> str:
    match wrong.errno:
        case errno.EADDRINUSE:
            return f"Port {port} at {host} is taken; stop the program that listens there, or choose another port."
        case errno.EACCES:
            return f"Port {port} is reserved for root; choose one from 1024 upwards."
        case errno.EADDRNOTAVAIL:
            return f"'{host}' is not an address of this machine; try 127.0.0.1."
        case _:
            return f"Cannot listen at port {port} of '{host}': {wrong.strerror}."
