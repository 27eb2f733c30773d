"""What stands before all endpoints: origins, keys, how many requests at once, CORS, and the log of accesses."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import anyio
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.websockets import WebSocket

from vivavoce.server.auth import AuthError, redacted
from vivavoce.server.http.wire import ApiError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from vivavoce.server.auth import Access

GUARDED: Final = "/v1/"
CALLS: Final = "/v1/realtime/calls"
"""Where a session is opened over HTTP, which ephemeral keys may do."""
MAX_REQUESTS: Final = 64
"""Requests that are worked on at one time."""

_METHODS: Final = "GET, POST, DELETE, OPTIONS"
_REMEMBERED_S: Final = "600"

log = logging.getLogger("vivavoce.access")


class Gate:
    """Lets requests through to the application, or answers them itself."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access
        self._requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI 3)."""
        connection = HTTPConnection(scope)
        origin = connection.headers.get("origin")
        if not self._access.welcomes(origin, connection.headers.get("host", "")):
            message = f"The page at '{origin}' may not call this server; its owner can allow it with --allow-origin."
            error = ApiError(403, message, code="origin_not_allowed")
            await self._deny(error, scope, receive, send)
        elif scope["type"] == "websocket":
            log.info("%s connects to %s", _who(connection), _target(scope))
            await self._app(scope, receive, send)
        else:
            await self._respond(connection, receive, _logged(_shared(send, origin), connection))

    async def _deny(self, error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await WebSocket(scope, receive, send).send_denial_response(error.response)
        else:
            await error.response(scope, receive, send)

    async def _respond(self, request: HTTPConnection, receive: Receive, send: Send) -> None:
        scope = request.scope
        if scope["method"] == "OPTIONS" and "access-control-request-method" in request.headers:
            await _preflight(request)(scope, receive, send)
            return
        if not scope["path"].startswith(GUARDED):
            await self._app(scope, receive, send)
            return
        try:
            self._admit(request)
        except ApiError as wrong:
            await wrong.response(scope, receive, send)
            return
        self._requests += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._requests -= 1

    def _admit(self, request: HTTPConnection) -> None:
        try:
            caller = request.state.caller = self._access.admit(request)
        except AuthError as wrong:
            code, headers = wrong.detail.code, {"WWW-Authenticate": "Bearer"}
            raise ApiError(401, wrong.detail.message, code=code, headers=headers) from None
        if caller.ephemeral and request.scope["path"] != CALLS:
            raise ApiError(401, "An ephemeral key only opens sessions; use an API key here.", code="invalid_api_key")
        if self._requests >= MAX_REQUESTS:
            message = f"{MAX_REQUESTS} requests are worked on already; try again in a moment."
            headers = {"Retry-After": "1"}
            raise ApiError(429, message, code="rate_limit_exceeded", kind="rate_limit_error", headers=headers)


def _preflight(request: HTTPConnection) -> Response:
    asked = request.headers.get("access-control-request-headers", "Authorization, Content-Type")
    headers = {
        "Access-Control-Allow-Methods": _METHODS,
        "Access-Control-Allow-Headers": asked,
        "Access-Control-Max-Age": _REMEMBERED_S,
    }
    return Response(status_code=204, headers=headers)


def _shared(send: Send, origin: str | None) -> Send:
    """Tell a web page's browser that the page may see the answer."""
    if origin is None:
        return send

    async def share(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["Access-Control-Allow-Origin"] = origin
            headers.add_vary_header("Origin")
        await send(message)

    return share


def _logged(send: Send, request: HTTPConnection) -> Send:
    began = anyio.current_time()

    async def write(message: Message) -> None:
        await send(message)
        if message["type"] == "http.response.start":
            took = (anyio.current_time() - began) * 1000
            scope = request.scope
            log.info("%s %s %s: %d in %.0f ms", _who(request), scope["method"], _target(scope), message["status"], took)

    return write


def _who(connection: HTTPConnection) -> str:
    return connection.client.host if connection.client else "somebody"


def _target(scope: Scope) -> str:
    """Return what was asked for, without the key in it, in one line."""
    query = redacted(scope["query_string"].decode("latin-1"))
    return repr(scope["path"] + (f"?{query}" if query else ""))
