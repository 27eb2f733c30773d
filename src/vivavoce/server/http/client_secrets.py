"""Ephemeral keys, with which a web page or an app opens sessions without knowing an API key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from vivavoce.realtime.dialects import to_ga
from vivavoce.realtime.errors import ProtocolError
from vivavoce.realtime.remote import shown
from vivavoce.realtime.values import AnySession, Session
from vivavoce.server.auth import Secret, SecretsError
from vivavoce.server.http.wire import ApiError, read, read_json, refused, reply

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from vivavoce.server.auth import Access
    from vivavoce.server.hub import Hub

LEGACY_S = 60


class ExpiresAfter(msgspec.Struct, frozen=True, kw_only=True):
    """How long the key opens sessions."""

    anchor: Literal["created_at"] = "created_at"
    seconds: Annotated[int, Meta(ge=10, le=7200)] = 600


class ClientSecretRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a new key is for."""

    expires_after: ExpiresAfter | None = None
    session: dict[str, Any] | None = None
    """What its sessions begin with, as in `session.update`."""


class ClientSecret(msgspec.Struct, frozen=True, kw_only=True):
    """A new key."""

    value: str
    expires_at: int
    """Unix time, seconds."""
    session: AnySession


class ClientSecrets:
    """Mints ephemeral keys."""

    def __init__(self, hub: Hub, access: Access) -> None:
        self._hub = hub
        self._access = access

    async def create(self, request: Request) -> Response:
        """Mint a key."""
        wanted = await read_json(request, ClientSecretRequest)
        seconds = (wanted.expires_after or ExpiresAfter()).seconds
        value, secret = self._mint(request, wanted.session or {}, seconds)
        session = secret.session
        if isinstance(session, Session):
            session = replace(session, tools=shown(session.tools))
        return reply(ClientSecret(value=value, expires_at=secret.expires_at, session=session))

    async def create_legacy(self, request: Request) -> Response:
        """Mint a key the way the beta did: the session is the body, and the key is in the answer's."""
        try:
            asked = msgspec.json.decode(await read(request) or b"{}", type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ApiError(400, "The body is not a JSON object.", code="invalid_json") from None
        value, secret = self._mint(request, asked, LEGACY_S)
        session = msgspec.to_builtins(secret.session)
        return reply(session | asked | {"client_secret": {"value": value, "expires_at": secret.expires_at}})

    def _mint(self, request: Request, patch: dict[str, Any], seconds: int) -> tuple[str, Secret]:
        session = prepared(self._hub, patch)
        try:
            return self._access.secrets.mint(seconds, session, request.state.caller)
        except SecretsError:
            message = "Too many ephemeral keys are valid; wait until some expire, or ask for shorter lives."
            raise ApiError(429, message, code="rate_limit_exceeded", kind="rate_limit_error") from None


def prepared(hub: Hub, patch: dict[str, Any]) -> AnySession:
    """Return what a session begins with that a request describes, as in `session.update`.

    Raises:
        ApiError: it cannot begin so.
    """
    try:
        return hub.prepare(to_ga({"type": "session.update", "session": {"type": "realtime"} | patch})["session"])
    except ProtocolError as wrong:
        raise refused(wrong) from None
