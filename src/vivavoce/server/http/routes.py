"""The endpoints put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from vivavoce.server.http.audio import Audio
from vivavoce.server.http.chat import Chat
from vivavoce.server.http.client_secrets import ClientSecrets
from vivavoce.server.http.models import Models
from vivavoce.server.http.openapi import ENDPOINTS, document
from vivavoce.server.http.wire import JSON, ApiError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from vivavoce.server.auth import Access
    from vivavoce.server.hub import Hub

    Handler = Callable[[Request], Awaitable[Response]]

HINT = "GET /openapi.json lists what there is."


def http_routes(hub: Hub, access: Access) -> list[Route]:
    """Return the endpoints of a hub, and the document that describes them."""
    models, chat, audio, client_secrets = Models(hub), Chat(hub), Audio(hub), ClientSecrets(hub, access)
    handlers: dict[str, Handler] = {
        "/v1/models": models.list,
        "/v1/models/{model}": models.get,
        "/v1/chat/completions": _when_ready(hub, chat.complete),
        "/v1/audio/transcriptions": _when_ready(hub, audio.transcribe),
        "/v1/audio/speech": _when_ready(hub, audio.speak),
        "/v1/realtime/client_secrets": client_secrets.create,
        "/v1/realtime/sessions": client_secrets.create_legacy,
    }
    routes = [
        Route(each.path.replace("{model}", "{model:path}"), handlers[each.path], methods=[each.method])
        for each in ENDPOINTS
    ]
    return [*routes, Route("/openapi.json", _document)]


def _when_ready(hub: Hub, handler: Handler) -> Handler:
    async def handle(request: Request) -> Response:
        if refusal := hub.refusal():
            _, why = refusal
            raise ApiError(503, why.message, code=why.code, kind=why.type, headers={"Retry-After": "1"})
        return await handler(request)

    return handle


async def _document(_: Request) -> Response:
    return Response(document(), media_type=JSON)


async def answer_error(_: Request, wrong: Exception) -> Response:
    """Answer a request that cannot be honoured."""
    if isinstance(wrong, ApiError):
        return wrong.response
    if isinstance(wrong, HTTPException) and wrong.status_code == 405:  # noqa: PLR2004
        message = f"This method is not for this path; {HINT}"
        return ApiError(405, message, code="method_not_allowed", headers=wrong.headers).response
    if isinstance(wrong, HTTPException):
        return ApiError(wrong.status_code, f"There is no such path; {HINT}", code="not_found").response
    message = "Something broke here; the server's log says what."
    return ApiError(500, message, code="internal_error", kind="server_error").response
