"""The endpoints put together."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from vivavoce.errors import VivavoceError
from vivavoce.search.shapes import LibraryError
from vivavoce.server.http.audio import Audio
from vivavoce.server.http.chat import Chat
from vivavoce.server.http.client_secrets import ClientSecrets
from vivavoce.server.http.files import MAX_UPLOAD, Files
from vivavoce.server.http.models import Models
from vivavoce.server.http.openapi import BATCH, ENDPOINTS, STORE, STORE_FILE, STORES, document
from vivavoce.server.http.vector_stores import FileBatches, StoreFiles, VectorStores
from vivavoce.server.http.wire import JSON, ApiError, failed
from vivavoce.server.rtc.calls import INSTALL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from vivavoce.search.library import Library
    from vivavoce.server.auth import Access
    from vivavoce.server.hub import Hub
    from vivavoce.server.rtc.calls import Calls

    Handler = Callable[[Request], Awaitable[Response]]

HINT = "GET /openapi.json lists what there is."


NO_LIBRARY: Final = VivavoceError("This server has no library of files; `vivavoce serve` has one.")


def http_routes(
    hub: Hub,
    access: Access,
    library: Library | VivavoceError = NO_LIBRARY,
    max_upload: int = MAX_UPLOAD,
    calls: Calls | None = None,
) -> list[Route]:
    """Return the endpoints of a hub and a library, and the document that describes them.

    Args:
        hub: runs the sessions.
        access: mints ephemeral keys.
        library: whose files and vector stores are managed, or why there is none.
        max_upload: bytes that a file may have.
        calls: takes calls over WebRTC; None where none are taken.
    """
    handlers = _of_hub(hub, access) | _of_calls(hub, calls)
    if isinstance(library, VivavoceError):
        handlers = defaultdict(lambda: _refuse(library), handlers)
    else:
        handlers |= _of_library(library, max_upload)
    routes = [
        Route(
            each.path.replace("{model}", "{model:path}"), handlers[f"{each.method} {each.path}"], methods=[each.method]
        )
        for each in ENDPOINTS
    ]
    return [*routes, Route("/openapi.json", _document)]


def _of_hub(hub: Hub, access: Access) -> dict[str, Handler]:
    models, chat, audio, client_secrets = Models(hub), Chat(hub), Audio(hub), ClientSecrets(hub, access)
    return {
        "GET /v1/models": models.list,
        "GET /v1/models/{model}": models.get,
        "POST /v1/chat/completions": _when_ready(hub, chat.complete),
        "POST /v1/audio/transcriptions": _when_ready(hub, audio.transcribe),
        "POST /v1/audio/speech": _when_ready(hub, audio.speak),
        "POST /v1/realtime/client_secrets": client_secrets.create,
        "POST /v1/realtime/sessions": client_secrets.create_legacy,
    }


def _of_calls(hub: Hub, calls: Calls | None) -> dict[str, Handler]:
    absent = ApiError(501, INSTALL, code="not_installed", kind="server_error")
    return {
        "POST /v1/realtime/calls": _when_ready(hub, calls.create) if calls else _raise(absent),
        "POST /v1/realtime/calls/{call_id}/hangup": calls.hang_up if calls else _raise(absent),
    }


def _of_library(library: Library, max_upload: int) -> dict[str, Handler]:
    files, stores = Files(library, max_upload), VectorStores(library)
    store_files, batches = StoreFiles(library), FileBatches(library)
    return {
        "POST /v1/files": files.create,
        "GET /v1/files": files.list,
        "GET /v1/files/{file_id}": files.get,
        "DELETE /v1/files/{file_id}": files.delete,
        "GET /v1/files/{file_id}/content": files.content,
        f"POST {STORES}": stores.create,
        f"GET {STORES}": stores.list,
        f"GET {STORE}": stores.get,
        f"POST {STORE}": stores.update,
        f"DELETE {STORE}": stores.delete,
        f"POST {STORE}/search": stores.search,
        f"POST {STORE}/files": store_files.create,
        f"GET {STORE}/files": store_files.list,
        f"GET {STORE_FILE}": store_files.get,
        f"POST {STORE_FILE}": store_files.update,
        f"DELETE {STORE_FILE}": store_files.delete,
        f"GET {STORE_FILE}/content": store_files.content,
        f"POST {STORE}/file_batches": batches.create,
        f"GET {BATCH}": batches.get,
        f"POST {BATCH}/cancel": batches.cancel,
        f"GET {BATCH}/files": batches.list_files,
    }


def _refuse(why: VivavoceError) -> Handler:
    known = isinstance(why, LibraryError)
    return _raise(why if known else ApiError(501, str(why), code="not_installed", kind="server_error"))


def _raise(wrong: Exception) -> Handler:
    async def handle(_: Request) -> Response:
        raise wrong

    return handle


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
    if isinstance(wrong, LibraryError):
        return failed(wrong).response
    if isinstance(wrong, HTTPException) and wrong.status_code == 405:  # noqa: PLR2004
        message = f"This method is not for this path; {HINT}"
        return ApiError(405, message, code="method_not_allowed", headers=wrong.headers).response
    if isinstance(wrong, HTTPException):
        return ApiError(wrong.status_code, f"There is no such path; {HINT}", code="not_found").response
    message = "Something broke here; the server's log says what."
    return ApiError(500, message, code="internal_error", kind="server_error").response
