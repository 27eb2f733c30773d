"""Calls over WebRTC: an offer in, an answer out, and a session that lasts as long as the call.

Source: OpenAI Realtime API reference, "Realtime API with WebRTC" (`/v1/realtime/calls`).
"""

from __future__ import annotations

import logging
import secrets
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import anyio
import msgspec
from anyio import create_task_group
from starlette.exceptions import HTTPException
from starlette.responses import Response

from vivavoce.realtime.server import Ids
from vivavoce.server.http.client_secrets import prepared
from vivavoce.server.http.wire import ApiError, parse, read

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from anyio.abc import TaskGroup
    from starlette.datastructures import UploadFile
    from starlette.requests import Request

    from vivavoce.server.auth import Caller
    from vivavoce.server.hub import Hub
    from vivavoce.server.rtc.peer import Peer

SDP: Final = "application/sdp"
PATH: Final = "/v1/realtime/calls"
MAX_OFFER: Final = 256 * 1024
"""Bytes."""
CONNECTING_S: Final = 20.0
"""Time from the answer to the open data channel."""
INSTALL: Final = 'Calls over WebRTC need aiortc, which is not installed here: pip install "vivavoce[webrtc]"'

log = logging.getLogger("vivavoce.server")


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What a client calls with."""

    sdp: str
    session: dict[str, Any] = {}
    """What the session begins with, as in `session.update`."""


class Calls:
    """The calls of one server."""

    def __init__(self, hub: Hub, tasks: TaskGroup, addresses: Sequence[str]) -> None:
        self._hub = hub
        self._tasks = tasks
        self._addresses = addresses
        self._open: dict[str, Peer] = {}

    async def create(self, request: Request) -> Response:
        """Answer an offer: 201, with the answer's SDP and where the call is."""
        offer = await _offer(request)
        caller: Caller = request.state.caller
        model = request.query_params.get("model") or offer.session.get("model")
        if offer.session:
            caller = replace(caller, session=prepared(self._hub, offer.session))
        peer, answer = await self._answered(offer.sdp, self._addresses or _arrived_at(request))
        call_id = f"rtc_{secrets.token_hex(12)}"
        self._open[call_id] = peer
        self._tasks.start_soon(self._run, call_id, peer, model if isinstance(model, str) else None, caller)
        headers = {"Location": f"{PATH}/{call_id}", "Access-Control-Expose-Headers": "Location"}
        return Response(answer, 201, headers, SDP)

    async def hang_up(self, request: Request) -> Response:
        """End a call."""
        call_id = request.path_params["call_id"]
        if (peer := self._open.get(call_id)) is None:
            raise ApiError(404, f"There is no call '{call_id}'; it may be over.", code="not_found", param="call_id")
        await peer.close()
        return Response(status_code=200)

    async def _answered(self, sdp: str, addresses: Sequence[str]) -> tuple[Peer, str]:
        from vivavoce.server.rtc.peer import OfferError, Peer

        peer = Peer(Ids(secrets.token_hex(8)))
        try:
            return peer, await peer.answer(sdp, addresses)
        except OfferError as wrong:
            await peer.close()
            message = f"The offer cannot be answered ({wrong}); send SDP with audio and a data channel."
            raise ApiError(400, message, code="invalid_offer", param="sdp") from None

    async def _run(self, call_id: str, peer: Peer, model: str | None, caller: Caller) -> None:
        try:
            with anyio.move_on_after(CONNECTING_S):
                await peer.opened.wait()
            if peer.opened.is_set() and not peer.gone.is_set():
                async with create_task_group() as tasks:
                    tasks.start_soon(peer.hear)
                    await self._hub.open(peer.link, model, caller=caller)
                    tasks.cancel_scope.cancel()
        except Exception:
            log.exception("the call %s could not be run", call_id)
        finally:
            del self._open[call_id]
            with anyio.CancelScope(shield=True), anyio.move_on_after(2):
                await peer.close()


@asynccontextmanager
async def open_calls(hub: Hub, addresses: Sequence[str] = ()) -> AsyncIterator[Calls | None]:
    """Take calls until the block ends; None where aiortc is not installed.

    Args:
        hub: runs the sessions.
        addresses: of this machine at which sound may arrive; where it is empty, the one that a caller has asked at.
    """
    if find_spec("aiortc") is None:
        yield None
        return
    async with create_task_group() as tasks:
        yield Calls(hub, tasks, addresses)
        tasks.cancel_scope.cancel()


async def _offer(request: Request) -> Offer:
    """Read an offer: SDP alone, or a form of `sdp` and `session`.

    Raises:
        ApiError: it is neither.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == SDP:
        return Offer(sdp=(await read(request, MAX_OFFER)).decode(errors="replace"))
    if kind != "multipart/form-data":
        message = f"Send the offer as {SDP}, or as multipart/form-data with the fields 'sdp' and 'session'."
        raise ApiError(415, message, code="invalid_content_type")
    try:
        async with request.form(max_files=2, max_fields=8, max_part_size=MAX_OFFER) as form:
            fields = {name: await _text(value) for name, value in form.items()}
    except HTTPException as wrong:
        raise ApiError(400, f"The form cannot be read: {wrong.detail}", code="invalid_form") from None
    if not fields.get("sdp"):
        raise ApiError(400, "Missing required parameter: 'sdp'.", code="missing_required_parameter", param="sdp")
    return Offer(sdp=fields["sdp"], session=parse(fields.get("session", "").encode(), dict[str, Any]))


async def _text(value: UploadFile | str) -> str:
    return value if isinstance(value, str) else (await value.read(MAX_OFFER)).decode(errors="replace")


def _arrived_at(request: Request) -> Sequence[str]:
    """Return the address of this machine that the client has reached."""
    server = request.scope.get("server")
    return (str(server[0]),) if server else ()
