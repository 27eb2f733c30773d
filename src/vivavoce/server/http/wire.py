"""What all endpoints share: errors, bodies, and answers that stop when the client goes."""

from __future__ import annotations

import logging
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio
import msgspec
from anyio import create_task_group
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from vivavoce.ports import BackendError
from vivavoce.realtime.errors import ProtocolError, explain
from vivavoce.realtime.values import ErrorDetail
from vivavoce.search.shapes import LibraryError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

T = TypeVar("T")

JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"
MAX_JSON: Final = 4 * 1024 * 1024
BODY_S: Final = 60.0
"""Time that a client has to send a body, beyond what its length takes at the slowest."""
SLOWEST: Final = 16 * 1024
"""Bytes a second."""

_PATIENCE: Final = 4
"""A body is read up to so many times its limit: most clients read an answer only after they have sent everything."""
_NO_CACHE: Final = {"Cache-Control": "no-store"}
_BACKEND_STATUS: Final = {"backend_timeout": 504, "rate_limited": 429}
_LIBRARY_STATUS: Final = {
    "not_found": 404,
    "changed": 409,
    "file_too_large": 413,
    "storage_failed": 500,
    "busy": 503,
    "storage_full": 507,
}

_TROUBLE: Final = {
    "storage_failed": "The library of the server cannot be used; the server's log says why.",
    "busy": "Another process writes to the library of the server; try again in a moment.",
    "storage_full": "The disk of the server is full; its owner must make room.",
}

log = logging.getLogger("vivavoce.server")


class ErrorBody(msgspec.Struct, frozen=True):
    """What a request that fails is answered with."""

    error: ErrorDetail


class ApiError(Exception):
    """A request cannot be honoured."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        kind: str = "invalid_request_error",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.detail = ErrorDetail(type=kind, code=code, message=message, param=param)
        self.headers = dict(headers or {})

    @property
    def response(self) -> Response:
        """Return what the client is answered."""
        return reply(ErrorBody(self.detail), self.status, self.headers)


def reply(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a struct, or what JSON is made of, as a response."""
    return Response(msgspec.json.encode(body), status, {**_NO_CACHE, **(headers or {})}, JSON)


def refused(wrong: ProtocolError) -> ApiError:
    """Return what is wrong with a session or an event as what is wrong with a request."""
    return ApiError(400, wrong.message, code=wrong.code, param=wrong.param, kind=wrong.kind)


def failed(wrong: BackendError | LibraryError) -> ApiError:
    """Return the failure of an engine, or what a library cannot do, as that of a request."""
    if isinstance(wrong, BackendError):
        return ApiError(_BACKEND_STATUS.get(wrong.code, 502), wrong.message, code=wrong.code, kind="server_error")
    status = _LIBRARY_STATUS.get(wrong.code, 400)
    if status < 500:  # noqa: PLR2004
        return ApiError(status, wrong.message, code=wrong.code, param=wrong.param)
    log.error("the library: %s", wrong.message)  # which names a folder of ours
    headers = {"Retry-After": "1"} if wrong.code == "busy" else {}
    return ApiError(status, _TROUBLE[wrong.code], code=wrong.code, kind="server_error", headers=headers)


async def read(request: Request, limit: int = MAX_JSON) -> bytes:
    """Return the body of a request.

    Raises:
        ApiError: it is longer than the limit, in bytes, or does not come.
    """
    async with aclosing(pieces(request, limit, too_long("body", limit))) as body:
        return b"".join([piece async for piece in body])


async def pieces(request: Request, limit: int, error: ApiError) -> AsyncGenerator[bytes, None]:
    """Yield the body of a request piece by piece.

    Raises:
        ApiError: it does not come, or this error: it is longer than the limit, in bytes.
    """
    size, began = 0, anyio.current_time()
    async with aclosing(request.stream()) as stream:
        while size <= _PATIENCE * limit:
            try:
                with anyio.fail_after(began + BODY_S + size / SLOWEST - anyio.current_time()):
                    piece = await anext(stream, None)
            except TimeoutError:
                message = f"The body did not come within {BODY_S:g} seconds; send it again."
                raise ApiError(408, message, code="timeout") from None
            except ClientDisconnect:
                raise ApiError(400, "The body was cut off; send it again.", code="invalid_request") from None
            if piece is None:
                break
            size += len(piece)
            if size <= limit:
                yield piece
    if size > limit:
        raise error


def too_long(what: str, limit: int, param: str | None = None) -> ApiError:
    """Return what is wrong with something that has more bytes than this."""
    message = f"The {what} is longer than {limit:,} bytes; send less at a time."
    return ApiError(413, message, code="request_too_large", param=param)


def read_query(request: Request, kind: type[T]) -> T:
    """Return what stands behind the `?` of a request as this struct; what it does not know is ignored.

    Raises:
        ApiError: it is not that.
    """
    return checked({name: value for name, value in request.query_params.items() if value}, kind)


def checked(fields: Mapping[str, Any], kind: type[T]) -> T:
    """Return fields whose values are texts as this struct.

    Raises:
        ApiError: they are not that.
    """
    try:
        return msgspec.convert(fields, kind, strict=False)
    except msgspec.ValidationError as wrong:
        raise refused(explain(wrong)) from None


async def read_json(request: Request, kind: type[T]) -> T:
    """Return the body of a request as this struct; fields that it does not know are ignored.

    Raises:
        ApiError: it is not that.
    """
    return parse(await read(request), kind)


def parse(body: bytes, kind: type[T]) -> T:
    """Return JSON as this struct.

    Raises:
        ApiError: it is not that.
    """
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except msgspec.ValidationError as wrong:
        raise refused(explain(wrong)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ApiError(400, "The body is not JSON; send an object, encoded as UTF-8.", code="invalid_json") from None


class Made(Response):
    """A response that engines make piece by piece; it begins with the first, and stops when the client goes."""

    def __init__(
        self, pieces: AsyncGenerator[bytes, None], media_type: str, headers: Mapping[str, str] | None = None
    ) -> None:
        """Take the pieces; an error of an engine, a library or a request before the first one becomes the response."""
        super().__init__(None, 200, {**_NO_CACHE, **(headers or {})}, media_type)
        del self.headers["content-length"]
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond."""

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            tasks.cancel_scope.cancel()

        async with create_task_group() as tasks:
            tasks.start_soon(watch)
            async with aclosing(self._pieces):
                await self._respond(scope, receive, send)
            tasks.cancel_scope.cancel()

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            piece = await anext(self._pieces, b"")
        except (ApiError, BackendError, LibraryError) as wrong:
            error = wrong if isinstance(wrong, ApiError) else failed(wrong)
            await error.response(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            while piece:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                piece = await anext(self._pieces, b"")
        except (BackendError, LibraryError) as wrong:
            log.warning("a response was cut: %s", wrong)
            return  # without its end, so that nobody takes it for whole
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def server_sent(event: Any) -> bytes:
    """Return a struct, or what JSON is made of, as a server-sent event."""
    return b"data: " + msgspec.json.encode(event) + b"\n\n"
