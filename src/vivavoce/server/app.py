"""The server as others see it: its routes, and its life from the open port to the last session."""

from __future__ import annotations

import logging
import signal
import threading
from typing import TYPE_CHECKING, Final

import anyio
from anyio import CancelScope, create_task_group
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route, WebSocketRoute

from vivavoce.search.shapes import LibraryError
from vivavoce.server.auth import Access, AuthError
from vivavoce.server.console import console_routes
from vivavoce.server.http.files import MAX_UPLOAD
from vivavoce.server.http.gate import Gate
from vivavoce.server.http.routes import NO_LIBRARY, answer_error, http_routes
from vivavoce.server.http.wire import ApiError
from vivavoce.server.hub import refuse
from vivavoce.server.listening import listen, tls_context, uvicorn_server
from vivavoce.server.rtc.calls import open_calls
from vivavoce.server.websocket import WebSocketLink

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from socket import socket as Socket  # noqa: N812 - a class

    from anyio.abc import TaskStatus
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp
    from starlette.websockets import WebSocket

    from vivavoce.errors import VivavoceError
    from vivavoce.search.library import Library
    from vivavoce.server.hub import Hub
    from vivavoce.server.listening import Server
    from vivavoce.server.rtc.calls import Calls

REALTIME: Final = "/v1/realtime"
YANDEX: Final = "/v1/realtime/openai"
"""Where clients of the first generation of Yandex AI Studio connect."""
GRACE_S: Final = 20.0
UNAUTHORIZED: Final = 3000
"""WebSocket close code (IANA registry)."""
INDEX: Final = """vivavoce, a Realtime voice server

/              in a browser: a page to talk and to look
/v1/realtime   WebSocket: the OpenAI Realtime protocol
/openapi.json  what else there is: models, chat, transcriptions, speech, files, vector stores, ephemeral keys
/healthz       200 while the process lives
/readyz        200 when sessions can be opened, else 503
"""

log = logging.getLogger("vivavoce.server")


def create_app(
    hub: Hub,
    access: Access | None = None,
    *,
    library: Library | VivavoceError = NO_LIBRARY,
    max_upload: int = MAX_UPLOAD,
    calls: Calls | None = None,
) -> ASGIApp:
    """Return the routes to a hub.

    Args:
        hub: runs the sessions.
        access: who is let in; everybody by default.
        library: whose files and vector stores are managed, or why there is none.
        max_upload: bytes that a file may have.
        calls: takes calls over WebRTC; None where none are taken.
    """
    access = access or Access()

    async def realtime(websocket: WebSocket) -> None:
        link = await WebSocketLink.accept(websocket)
        try:
            caller = access.admit(websocket)
            asked = websocket.query_params
            await hub.open(link, asked.get("model"), intent=asked.get("intent"), caller=caller)
        except AuthError as wrong:
            await refuse(link, UNAUTHORIZED, wrong.detail)
        except Exception:
            log.exception("a session could not be run")
            await link.close(1011, "internal error")

    async def ready(_: Request) -> Response:
        return JSONResponse({"status": hub.state}, 200 if hub.state == "ready" else 503)

    app = Starlette(
        routes=[
            *console_routes(INDEX),
            Route("/healthz", _health),
            Route("/readyz", ready),
            Route(REALTIME, _not_upgraded),
            WebSocketRoute(REALTIME, realtime),
            WebSocketRoute(YANDEX, realtime),
            *http_routes(hub, access, library, max_upload, calls),
            WebSocketRoute("/{path:path}", _no_such_socket),
        ],
        exception_handlers=dict.fromkeys((ApiError, LibraryError, HTTPException, Exception), answer_error),
    )
    return Gate(app, access)


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _not_upgraded(_: Request) -> Response:
    message = f"{REALTIME} speaks WebSocket; connect with ws:// or wss://.\n"
    return PlainTextResponse(message, 426, headers={"Upgrade": "websocket"})


async def _no_such_socket(websocket: WebSocket) -> None:
    await websocket.send_denial_response(PlainTextResponse(f"There is no such endpoint; try {REALTIME}.\n", 404))


async def serve(
    hub: Hub,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    certfile: Path | None = None,
    keyfile: Path | None = None,
    allow_remote: bool = False,
    access: Access | None = None,
    library: Library | VivavoceError = NO_LIBRARY,
    max_upload: int = MAX_UPLOAD,
    ice_addresses: Sequence[str] = (),
    grace_s: float = GRACE_S,
    on_listening: Callable[[str], None] | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve a hub until SIGTERM or SIGINT, or until cancelled; runs on asyncio only.

    The port is open before the hub is warm. The first signal lets the answers be finished that are being given, the
    second ends at once.

    Args:
        hub: still cold.
        host: a name or an address of this machine.
        port: 0 for any that is free.
        certfile: certificate chain (PEM), for TLS.
        keyfile: its key (PEM), where it is not in the same file.
        allow_remote: listen where other machines can reach it although there are no API keys.
        access: who is let in; everybody by default.
        library: whose files and vector stores are managed, or why there is none.
        max_upload: bytes that a file may have.
        ice_addresses: of this machine, at which calls over WebRTC may arrive; where it is empty, the one called at.
        grace_s: seconds that answers have to be finished.
        on_listening: is told the URL when the port is open.
        on_ready: is told the URL when sessions can be opened.

    Raises:
        ServeError: it cannot listen.
        Exception: what an engine raised when it warmed up.
    """
    access = access or Access()
    tls = tls_context(certfile, keyfile)
    sockets = listen(host, port, allow_remote=allow_remote or not access.open)
    url = _url(host, sockets[0].getsockname()[1], secure=tls is not None)
    until_first, until_second = CancelScope(), CancelScope()
    failed: Exception | None = None
    async with open_calls(hub, ice_addresses) as calls, create_task_group() as tasks:
        app = create_app(hub, access, library=library, max_upload=max_upload, calls=calls)
        server = uvicorn_server(app, tls)
        tasks.start_soon(_accept, server, sockets)
        await tasks.start(_follow_signals, until_first, until_second)
        try:
            with until_first:
                _tell(on_listening, url)
                await hub.warm_up()
                _tell(on_ready, url)
                await anyio.sleep_forever()
            with until_second:
                await hub.drain(grace_s)
        except Exception as wrong:  # noqa: BLE001 - a task group would bury it in a group
            failed = wrong
        finally:
            await hub.close()
            server.should_exit = True
            tasks.cancel_scope.cancel()
    if failed:
        raise failed


async def _accept(server: Server, sockets: list[Socket]) -> None:
    """Run uvicorn until it is told to exit: cancelled, it would leave sockets and sessions behind."""
    with CancelScope(shield=True):
        await server.serve(sockets)


async def _follow_signals(*scopes: CancelScope, task_status: TaskStatus[None]) -> None:
    """Cancel one scope a signal, in their order; only a main thread hears signals."""
    if threading.current_thread() is not threading.main_thread():
        task_status.started()
        return
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
        task_status.started()
        for scope in scopes:
            await anext(received)
            scope.cancel()
        await anyio.sleep_forever()


def _tell(listener: Callable[[str], None] | None, url: str) -> None:
    if listener is not None:
        listener(url)


def _url(host: str, port: int, *, secure: bool) -> str:
    where = f"[{host}]" if ":" in host else host
    return f"{'wss' if secure else 'ws'}://{where}:{port}{REALTIME}"
