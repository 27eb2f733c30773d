"""A session's link to a client over a WebSocket: events inside, JSON outside."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from anyio.lowlevel import checkpoint
from starlette.websockets import WebSocketDisconnect

from vivavoce.ports import LinkClosed
from vivavoce.realtime.errors import ProtocolError
from vivavoce.realtime.events import AnyClientEvent, AnyServerEvent, InputAudioBufferAppend, decode_client
from vivavoce.realtime.recognise import recognise
from vivavoce.server.listening import StalledError

if TYPE_CHECKING:
    from starlette.websockets import WebSocket

    from vivavoce.realtime.dialect import Dialect

SUBPROTOCOL: Final = "realtime"
FEAST: Final = 16 * 1024
"""Characters that one client may have read before others have their turn."""
MORSEL: Final = 2 * 1024
"""Characters that a message of sound counts for besides its own; any other counts for a feast, as it is answered."""
MAX_REASON: Final = 123
"""Bytes of a close reason (RFC 6455 section 5.5)."""


class WebSocketLink:
    """The server's end of a link over a WebSocket (port `Link`)."""

    def __init__(self, websocket: WebSocket, dialect: Dialect) -> None:
        self._websocket = websocket
        self._dialect = dialect
        self._eaten = 0

    @classmethod
    async def accept(cls, websocket: WebSocket) -> WebSocketLink:
        """Take the connection, with the sub-protocol that we speak where the client offers it."""
        offered = websocket.scope["subprotocols"]
        await websocket.accept(subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None)
        headers = websocket.headers
        dialect = recognise(
            websocket.query_params.get("model"),
            authorization=headers.get("authorization", ""),
            beta=headers.get("openai-beta", ""),
            offered=offered,
        )
        return cls(websocket, dialect)

    async def receive(self) -> AnyClientEvent:
        """Return the next event."""
        # Messages that are already here come without a switch of tasks; a flood of them must not starve others.
        if self._eaten >= FEAST:
            self._eaten = 0
            await checkpoint()
        try:
            message = await self._websocket.receive()
        except RuntimeError:
            raise LinkClosed("The connection to the client is closed.") from None
        if message["type"] == "websocket.disconnect":
            raise LinkClosed("The client has closed the connection.", message.get("code", 1006))
        text = message.get("text")
        self._eaten += FEAST
        if text is None:
            raise ProtocolError(
                "invalid_event", "A binary message is not an event; send events as JSON in text messages."
            )
        event = decode_client(text, self._dialect.read)
        if isinstance(event, InputAudioBufferAppend):
            self._eaten += len(text) + MORSEL - FEAST
        return event

    async def send(self, event: AnyServerEvent) -> None:
        """Send an event; waits while the client is slow, but not for ever."""
        try:
            for text in self._dialect.write(event):
                await self._websocket.send_text(text)
        except StalledError as stalled:
            await self.close(1008, str(stalled))
            raise LinkClosed(str(stalled), 1008) from None
        except (WebSocketDisconnect, RuntimeError):
            raise LinkClosed("The connection to the client is closed.", 1006) from None

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """End the connection."""
        with suppress(WebSocketDisconnect, RuntimeError):
            await self._websocket.close(code, reason.encode()[:MAX_REASON].decode(errors="ignore"))
