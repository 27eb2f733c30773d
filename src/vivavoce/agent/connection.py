"""An agent's link to a server over a WebSocket: events inside, JSON outside. Runs on asyncio only."""

from __future__ import annotations

import logging
import ssl
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from socket import gaierror
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit
from urllib.request import getproxies

from anyio import CancelScope, current_time
from msgspec.structs import replace

from vivavoce.hosts import is_here
from vivavoce.ports import LinkClosed
from vivavoce.realtime.accent import Accent
from vivavoce.realtime.events import AnyClientEvent, AnyServerEvent, Error, Unknown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from urllib.parse import SplitResult

    from websockets.asyncio.client import ClientConnection
    from websockets.asyncio.client import connect as Dial  # noqa: N812 - a class
    from websockets.exceptions import ConnectionClosed

OPEN_S: Final = 10.0
CLOSE_S: Final = 2.0
PING_S: Final = 4.0
SILENT_S: Final = 12.0
"""A server of which nothing has come for so long, not even the answer to a ping, is gone."""
BUSY_S: Final = 2.0
"""To wait for a server that cannot take a session now and does not say how long."""
LONGEST_WAIT_S: Final = 600.0
"""A server that asks for more is asked again after this."""
MAX_MESSAGE: Final = 32 * 1024 * 1024
"""Bytes."""

SECRET_HEADERS: Final = ("authorization", "api-key", "x-api-key")
SHORTEST_SECRET: Final = 8
"""Characters; what is shorter is the name of a scheme."""
THE_KEY: Final = "the key that you gave"

_log = logging.getLogger(__name__)
_log.setLevel(logging.INFO)  # below it the library tells headers, keys and all

_EXAMPLE: Final = "ws://127.0.0.1:8000/v1/realtime"
_SECURE: Final = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}
_CODES: Final = {401: 3000, 403: 3003, 404: 4004}
"""Close codes that say what an HTTP status does."""
_REFUSALS: Final = {
    401: f"refused the key; check {THE_KEY}",
    403: f"forbids it; check {THE_KEY}, and whether it may use this endpoint",
    404: "has no such endpoint; a Realtime address ends in /v1/realtime",
    429: "has had too many requests; try again later",
}
_ENDINGS: Final = {
    1000: "The server has ended the session",
    1001: "The server has ended the session",
    1006: "The connection to the server broke; check the network and whether the server still runs",
    1008: "The server has ended the session for breaking its rules",
    1009: "The server refused a message that is too large",
    1011: "The server had an internal error; its log says more",
    1012: "The server restarts; connect again in a moment",
    1013: "The server cannot take a session now; try again in a moment",
    3000: f"The server refused the key; check {THE_KEY}",
}
_SILENT: Final = "The server has not answered for a while; check the network and whether the server still runs"


class ConnectError(LinkClosed):
    """A server cannot be reached; the message names the address and the remedy."""

    def __init__(self, message: str, code: int = 1006, *, retry_after: float = 0.0) -> None:
        super().__init__(message, code, retry_after=retry_after)


class WebSocketLink:
    """The agent's end of a link over a WebSocket (port `Link`)."""

    def __init__(
        self, connection: ClientConnection, accent: Accent | None = None, wording: Mapping[str, str] | None = None
    ) -> None:
        """Take a connection that is open.

        Args:
            connection: to the server.
            accent: how the server speaks.
            wording: what a person is told in place of what, of complaints.
        """
        self._connection = connection
        self._accent = accent or Accent()
        self._wording = wording or {}

    async def receive(self) -> AnyServerEvent | Unknown:
        """Return the next event."""
        from websockets.exceptions import ConnectionClosed

        try:
            received = await self._receive()
        except ConnectionClosed as closed:
            raise self._gone(closed) from None
        event = self._accent.read(received)
        if isinstance(event, Error):
            message = _worded(event.error.message, self._wording)
            return replace(event, error=replace(event.error, message=message))
        return event

    async def send(self, event: AnyClientEvent) -> None:
        """Send an event; waits while the server is slow."""
        from websockets.exceptions import ConnectionClosed

        message = self._accent.write(event)
        if message is None:
            return
        try:
            await self._connection.send(message)
        except ConnectionClosed as closed:
            raise self._gone(closed) from None

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """End the connection."""
        await self._connection.close(code, reason)

    async def _receive(self) -> bytes:
        """Wait for a message, as long as anything comes at all."""
        while True:
            silent_at = getattr(self._connection, "heard_at", current_time()) + SILENT_S
            with CancelScope(deadline=silent_at):
                return await self._connection.recv(decode=False)
            if getattr(self._connection, "heard_at", 0.0) + SILENT_S <= current_time():
                self._connection.transport.abort()  # a closing handshake would only be waited for
                raise LinkClosed(f"{_SILENT}.", 1006)

    def _gone(self, closed: ConnectionClosed) -> LinkClosed:
        ended = _ended(closed)
        return LinkClosed(_worded(str(ended), self._wording), ended.code, retry_after=ended.retry_after)


@asynccontextmanager
async def connect(
    url: str,
    *,
    key: str | None = None,
    headers: Mapping[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
    open_s: float = OPEN_S,
    accent: Accent | None = None,
    key_name: str = "",
) -> AsyncIterator[WebSocketLink]:
    """Connect to a Realtime server, through the proxy that the environment names unless the server is on this machine.

    Args:
        url: ws:// or wss://, query included; http:// and https:// mean the same.
        key: sent as a bearer token.
        headers: sent as well, for servers that want others.
        tls: what to trust instead of the machine's certificate authorities.
        open_s: seconds that the server has to answer.
        accent: how the server speaks, as far as known.
        key_name: where the person has put the key, to be named where it is refused.

    Raises:
        ConnectError: nobody answers there, or what answers does not let us in.
    """
    address = _address(url)
    carriers = [value for name, value in (headers or {}).items() if name.lower() in SECRET_HEADERS]
    secrets = [word for value in (key or "", *carriers) for word in value.split()]
    wording = {secret: "***" for secret in secrets if len(secret) >= SHORTEST_SECRET}
    wording |= {THE_KEY: key_name} if key_name else {}
    async with AsyncExitStack() as stack:
        try:
            connection = await stack.enter_async_context(_dial(address, key, headers or {}, tls, open_s))
        except Exception as wrong:
            if message := _trouble(wrong, address, open_s):
                raise ConnectError(_worded(message, wording), _code(wrong), retry_after=_retry_after(wrong)) from None
            raise
        yield WebSocketLink(connection, accent, wording)


def _worded(complaint: str, wording: Mapping[str, str]) -> str:
    for theirs, ours in wording.items():
        complaint = complaint.replace(theirs, ours)
    return complaint


def _address(url: str) -> SplitResult:
    try:
        address = urlsplit(url)
        if address.scheme in _SECURE and address.hostname and address.port != 0:
            return address._replace(scheme=_SECURE[address.scheme], fragment="")
    except ValueError:
        pass
    raise ConnectError(
        f"'{url.partition('?')[0].rpartition('@')[2]}' is no address of a server; give one like {_EXAMPLE}."
    )


def _dial(
    address: SplitResult, key: str | None, headers: Mapping[str, str], tls: ssl.SSLContext | None, open_s: float
) -> Dial:
    from websockets.asyncio.client import connect as dial

    bearer = {"Authorization": f"Bearer {key.strip()}"} if key else {}
    return dial(
        urlunsplit(address),
        additional_headers=bearer | dict(headers),
        proxy=None if is_here(address.hostname or "") else True,
        ssl=(tls or ssl.create_default_context()) if address.scheme == "wss" else None,
        logger=_log,
        compression=None,
        max_size=MAX_MESSAGE,
        ping_interval=PING_S,
        ping_timeout=None,
        open_timeout=open_s,
        close_timeout=CLOSE_S,
        create_connection=_heeding(),
    )


@cache
def _heeding() -> type[ClientConnection]:
    """Return a connection that knows when something came last: over a slow network a pong waits behind much sound."""
    from websockets.asyncio.client import ClientConnection

    class Heeding(ClientConnection):
        heard_at = 0.0

        def data_received(self, data: bytes) -> None:
            self.heard_at = self.loop.time()
            super().data_received(data)

    return Heeding


def _trouble(wrong: Exception, address: SplitResult, open_s: float) -> str | None:
    """Return what went wrong in one sentence, or None where the mistake is ours."""
    from websockets.exceptions import InvalidHandshake, InvalidProxy, InvalidStatus, InvalidURI, ProxyError

    host = address.netloc.rpartition("@")[2]
    where = urlunsplit((address.scheme, host, address.path, "", ""))
    match wrong:
        case InvalidStatus():
            status = wrong.response.status_code
            return f"{where} {_REFUSALS.get(status, f'answered with HTTP {status}; check the address')}."
        case InvalidProxy() | ProxyError() | ImportError():
            return f"The proxy on the way to {where} does not work; check HTTPS_PROXY, or put {host} into NO_PROXY."
        case InvalidURI():
            return f"{where} is no address of a server; give one like {_EXAMPLE}."
        case InvalidHandshake() | EOFError():
            return f"What answers at {where} does not speak WebSocket; check the address."
        case ssl.SSLCertVerificationError():
            return (
                f"The certificate of {where} is not trusted ({wrong.verify_message}); "
                "set SSL_CERT_FILE to the certificate of its authority if you trust it."
            )
        case ssl.SSLError() | ConnectionResetError() if address.scheme == "wss":
            return f"What answers at {where} does not speak TLS; try ws:// or check the port."
        case TimeoutError():
            return f"{where} has not answered within {open_s:g} seconds; check the address and the network."
        case gaierror():
            return f"There is no host '{address.hostname}'; check the address and the network."
        case OSError() if getproxies() and not is_here(address.hostname or ""):
            return f"Nothing answers at {where}, or at the proxy before it; check the address and HTTPS_PROXY."
        case OSError():
            return f"Nothing answers at {where}; check the address, and that the server runs (vivavoce serve)."
        case _:
            return None


def _code(wrong: Exception) -> int:
    from websockets.exceptions import InvalidStatus

    return _CODES.get(wrong.response.status_code, 1006) if isinstance(wrong, InvalidStatus) else 1006


def _retry_after(wrong: Exception) -> float:
    """Return the seconds that a refusal asks us to wait (RFC 9110 section 10.2.3)."""
    from websockets.exceptions import InvalidStatus

    asked = wrong.response.headers.get("Retry-After", "") if isinstance(wrong, InvalidStatus) else ""
    try:
        seconds = float(asked) if asked.isdigit() else _until(asked)
    except (TypeError, ValueError):
        return 0.0
    return min(max(seconds, 0.0), LONGEST_WAIT_S)


def _until(date: str) -> float:
    return (parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds()


def _ended(closed: ConnectionClosed) -> LinkClosed:
    from websockets.frames import CloseCode

    frame = closed.rcvd
    if frame is None:
        return LinkClosed(f"{_ENDINGS[1006]}.", 1006)
    sentence = _ENDINGS.get(frame.code, f"The server has closed the connection with code {frame.code}")
    wait_s = BUSY_S if frame.code == CloseCode.TRY_AGAIN_LATER else 0.0
    message = f"{sentence}: {frame.reason}" if frame.reason else f"{sentence}."
    return LinkClosed(message, frame.code, retry_after=wait_s)
