"""Files of the library: uploads, lists, contents."""

from __future__ import annotations

from contextlib import aclosing
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Annotated, BinaryIO, Final, Literal, cast
from urllib.parse import quote

import msgspec
from anyio import to_thread
from msgspec import Meta

from vivavoce.search.shapes import Expiry, Order
from vivavoce.server.http.forms import FILE, read_form
from vivavoce.server.http.lists import Listing, listing
from vivavoce.server.http.wire import ApiError, Made, checked, read_query, reply

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request
    from starlette.responses import Response

    from vivavoce.search import shapes
    from vivavoce.search.library import Library

MAX_UPLOAD: Final = 128 * 2**20
"""Bytes."""
MAX_NAME: Final = 255
"""Characters."""
BYTES: Final = "application/octet-stream"
DAY_S: Final = 86_400

_IN_MEMORY: Final = 2**20
_BLOCK: Final = 2**20
"""Bytes, both."""

Purpose = Literal["assistants", "user_data", "vision", "batch", "fine-tune", "evals"]


class FileExpiry(msgspec.Struct, frozen=True, kw_only=True):
    """When a file is deleted: so many seconds, or days, after it was uploaded."""

    anchor: Literal["created_at"]
    seconds: Annotated[int, Meta(ge=3600, le=30 * DAY_S)] | None = None
    days: Annotated[int, Meta(ge=1, le=365)] | None = None


class FileUpload(msgspec.Struct, frozen=True, kw_only=True):
    """What a file is for; the file itself is a field of the form too; `expires_after[anchor]` is the anchor in it."""

    purpose: Purpose = "assistants"
    expires_after: FileExpiry | None = None


class FilesQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which files are listed."""

    after: str | None = None
    """Id of the file that stands before them."""
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 10_000
    order: Order = "desc"
    purpose: str | None = None


class FileObject(msgspec.Struct, frozen=True, kw_only=True):
    """A file."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    """Unix time, seconds, as is the next."""
    expires_at: int | None
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"


class FileDeleted(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is no more."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


class Files:
    """Takes files in and gives them out."""

    def __init__(self, library: Library, max_upload: int = MAX_UPLOAD) -> None:
        """Take the library, and how many bytes a file may have."""
        self._files = library.files
        self._max_upload = max_upload

    async def create(self, request: Request) -> Response:
        """Take a file in; nothing of it stays where that fails."""
        with SpooledTemporaryFile(_IN_MEMORY) as spooled:
            file = cast("BinaryIO", spooled)
            form = await read_form(request, file, self._max_upload)
            wanted = checked(_nested(form.fields), FileUpload)
            _check_name(form.filename)
            file.seek(0)
            async with aclosing(_blocks(file)) as content:
                kept = await self._files.add(
                    content, name=form.filename, purpose=wanted.purpose, expires_after=_expiry(wanted.expires_after)
                )
        return reply(_shown(kept))

    async def list(self, request: Request) -> Response:
        """List them."""
        asked = read_query(request, FilesQuery)
        page = await self._files.list(order=asked.order, after=asked.after, limit=asked.limit, purpose=asked.purpose)
        return reply(listing(page, _shown))

    async def get(self, request: Request) -> Response:
        """Return one of them."""
        return reply(_shown(await self._files.get(request.path_params["file_id"])))

    async def content(self, request: Request) -> Response:
        """Return the bytes of one, as no browser runs them."""
        file = await self._files.get(request.path_params["file_id"])
        name = quote(file.name.rpartition("/")[2], safe="")
        headers = {
            "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
            "X-Content-Type-Options": "nosniff",
        }
        return Made(self._files.content(file.id), BYTES, headers)

    async def delete(self, request: Request) -> Response:
        """Delete one, also from all vector stores."""
        file_id = request.path_params["file_id"]
        await self._files.delete(file_id)
        return reply(FileDeleted(id=file_id))


def _shown(file: shapes.File) -> FileObject:
    return FileObject(
        id=file.id,
        bytes=file.size,
        created_at=file.created_at,
        expires_at=file.expires_at,
        filename=file.name,
        purpose=file.purpose,
    )


async def _blocks(file: BinaryIO) -> AsyncGenerator[bytes, None]:
    while block := await to_thread.run_sync(file.read, _BLOCK):
        yield block


def _nested(fields: dict[str, str]) -> dict[str, object]:
    """Return the fields of a form with `a[b]` as b in a."""
    nested: dict[str, object] = {}
    for name, value in fields.items():
        outer, bracket, inner = name.partition("[")
        within = nested.setdefault(outer, {}) if bracket and inner.endswith("]") else None
        if isinstance(within, dict):
            within[inner.removesuffix("]")] = value
        else:
            nested[name] = value
    return nested


def _check_name(name: str) -> None:
    if not name.strip():
        raise ApiError(400, "The file has no name; give it one, with its ending.", code="invalid_value", param=FILE)
    if len(name) > MAX_NAME:
        message = f"The name of the file is longer than {MAX_NAME} characters; give it another."
        raise ApiError(400, message, code="invalid_value", param=FILE)


def _expiry(asked: FileExpiry | None) -> Expiry | None:
    if asked is None:
        return None
    if (asked.seconds is None) == (asked.days is None):
        message = "Give 'expires_after' either seconds or days."
        raise ApiError(400, message, code="invalid_value", param="expires_after")
    return Expiry(asked.anchor, asked.seconds if asked.seconds is not None else (asked.days or 0) * DAY_S)


FileList = Listing[FileObject]
