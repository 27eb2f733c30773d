"""The web console: one page and what it is made of, from the package, and nothing from elsewhere."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from importlib import resources
from typing import TYPE_CHECKING, Final, NamedTuple

from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable

    from starlette.requests import Request

PAGE: Final = "index.html"
TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
"""What is served, by the ends of names."""
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "media-src blob:; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing inline, nothing from elsewhere; `'self'` is our WebSocket too (CSP level 3)."""
SECURITY: Final = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Asset(NamedTuple):
    """A file of the page."""

    content: bytes
    type: str
    tag: str
    """Changes with the content (RFC 9110, ETag)."""


def console_routes(index: str) -> list[Route]:
    """Return the page and what it is made of.

    Args:
        index: what whoever is no browser reads at `/`.
    """

    async def root(request: Request) -> Response:
        if "text/html" in request.headers.get("accept", ""):
            return _answer(request, PAGE, vary="Accept")
        return PlainTextResponse(index, headers={"Vary": "Accept"})

    async def asset(request: Request) -> Response:
        return _answer(request, request.path_params["name"])

    return [Route("/", root), Route("/console/{name:path}", asset)]


@cache
def assets() -> dict[str, Asset]:
    """Return the files of the page, by name."""
    return dict(_read(resources.files("vivavoce") / "web"))


def _read(folder: Traversable, path: str = "") -> Iterator[tuple[str, Asset]]:
    for entry in folder.iterdir():
        name = path + entry.name
        if entry.is_dir():
            yield from _read(entry, f"{name}/")
        elif kind := TYPES.get(entry.name.rpartition(".")[2]):
            content = entry.read_bytes()
            yield name, Asset(content, kind, f'"{sha256(content).hexdigest()[:16]}"')


def _answer(request: Request, name: str, **more: str) -> Response:
    asset = assets().get(name)
    if asset is None:
        raise HTTPException(404)
    headers = SECURITY | {"ETag": asset.tag, "Cache-Control": "no-cache"} | more
    known = request.headers.get("if-none-match", "")
    if asset.tag in (tag.strip().removeprefix("W/") for tag in known.split(",")):
        return Response(status_code=304, headers=headers)
    return Response(asset.content, headers=headers, media_type=asset.type)
