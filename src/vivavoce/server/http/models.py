"""The models that the server goes by."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from vivavoce.server.http.wire import ApiError, reply

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from vivavoce.server.hub import Hub

_STARTED: Final = int(time.time())


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A name that may be asked for."""

    id: str
    object: Literal["model"] = "model"
    created: int = _STARTED
    """Unix time, seconds: when this server was started."""
    owned_by: str = "vivavoce"


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """All names."""

    object: Literal["list"] = "list"
    data: tuple[Model, ...]


class Models:
    """Lists the models."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def list(self, _: Request) -> Response:
        """List them."""
        return reply(ModelList(data=tuple(Model(id=name) for name in self._hub.models)))

    async def get(self, request: Request) -> Response:
        """Return one of them."""
        name = request.path_params["model"]
        if name not in self._hub.models:
            message = f"There is no model '{name}' here; GET /v1/models lists them."
            raise ApiError(404, message, code="model_not_found", param="model")
        return reply(Model(id=name))
