"""Forms with a file in them (`multipart/form-data`, RFC 7578), read while they come."""

from __future__ import annotations

import logging
from contextlib import aclosing
from email.message import Message
from email.utils import collapse_rfc2231_value
from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec
from anyio import to_thread
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from vivavoce.search.copying import FULL
from vivavoce.search.shapes import LibraryError
from vivavoce.server.http.wire import ApiError, pieces, too_long

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks
    from starlette.requests import Request

    from vivavoce.search.shapes import Code

FILE: Final = "file"
"""The field that holds the file."""
MAX_PARTS: Final = 64
MAX_FIELDS: Final = 1024 * 1024
"""Bytes: all fields but the file, and what stands around them."""

_BLOCK: Final = 1024 * 1024
"""Bytes that are written at once."""

logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # what a client sends wrong, it is told


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """What a form says beside its file."""

    fields: dict[str, str]
    filename: str
    """What the client calls the file: data, never a path of ours."""
    size: int
    """Of the file, bytes."""


async def read_form(request: Request, file: BinaryIO, limit: int) -> Form:
    """Write the file of a form into this one, and return the rest of the form.

    Args:
        request: its body is the form.
        file: is written from where it stands.
        limit: of the file, bytes.

    Raises:
        ApiError: it is no form, has no file, or is too long or cut off.
        LibraryError: there is no room for it.
    """
    reader = _Reader(_boundary(request.headers.get("content-type", "")), limit)
    error = too_long("file", limit, FILE)
    async with aclosing(pieces(request, limit + MAX_FIELDS, error)) as body:
        async for piece in body:
            reader.feed(piece)
            if len(reader.content) >= _BLOCK:
                await _write(file, reader)
    await _write(file, reader)
    if reader.size > limit:
        raise error
    return reader.form()


async def _write(file: BinaryIO, reader: _Reader) -> None:
    content, reader.content = reader.content, bytearray()
    try:
        await to_thread.run_sync(file.write, content)
        await to_thread.run_sync(file.flush)
    except OSError as wrong:
        code: Code = "storage_full" if wrong.errno in FULL else "storage_failed"
        raise LibraryError(code, f"The folder for temporary files takes nothing: {wrong.strerror}.") from wrong


class _Reader:
    """Takes a form apart."""

    def __init__(self, boundary: str, limit: int) -> None:
        self.content = bytearray()
        """Of the file, not yet written."""
        self.size = 0
        self._limit = limit
        self._fields: dict[str, bytearray] = {}
        self._filename: str | None = None
        self._parts = 0
        self._room = MAX_FIELDS
        self._header = self._value = b""
        self._disposition: str | None = None
        self._field: bytearray | None = None
        """What the present part is written to; None for the file."""
        self._ended = False
        callbacks: MultipartCallbacks = {
            "on_part_begin": self._begin,
            "on_header_field": self._name_header,
            "on_header_value": self._fill_header,
            "on_header_end": self._end_header,
            "on_headers_finished": self._open,
            "on_part_data": self._take,
            "on_end": self._end,
        }
        try:
            self._parser = MultipartParser(boundary.encode(errors="surrogateescape"), callbacks)
        except FormParserError:
            raise _malformed() from None

    def feed(self, piece: bytes) -> None:
        try:
            self._parser.write(piece)
        except FormParserError:
            raise _malformed() from None

    def form(self) -> Form:
        if not self._ended:
            raise _malformed()
        if self._filename is None:
            message = f"Missing required parameter: '{FILE}'."
            raise ApiError(400, message, code="missing_required_parameter", param=FILE)
        fields = {name: value.decode(errors="replace") for name, value in self._fields.items()}
        return Form(fields=fields, filename=self._filename, size=self.size)

    def _begin(self) -> None:
        self._parts += 1
        self._disposition = None
        if self._parts > MAX_PARTS:
            raise _malformed()

    def _name_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _fill_header(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value.decode(errors="replace")
        self._header = self._value = b""

    def _open(self) -> None:
        disposition = Message()
        disposition["Content-Disposition"] = (self._disposition or "").replace("\n", " ")
        name = disposition.get_param("name", header="content-disposition")
        if not isinstance(name, str) or not name:
            raise ApiError(400, "A field of the form has no name.", code="invalid_form")
        if name != FILE:
            self._field = self._fields[name] = bytearray()
            return
        if self._filename is not None:
            raise ApiError(400, "The form has more than one file; send one at a time.", code="invalid_form")
        self._field = None
        filename = disposition.get_param("filename", "", header="content-disposition")
        self._filename = collapse_rfc2231_value(filename or "")

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._field is None:
            self.size += end - start
            if self.size <= self._limit:
                self.content += data[start:end]
            return
        self._room -= end - start
        if self._room < 0:
            raise too_long("form without its file", MAX_FIELDS)
        self._field += data[start:end]

    def _end(self) -> None:
        self._ended = True


def _boundary(content_type: str) -> str:
    declared = Message()
    declared["Content-Type"] = content_type
    boundary = declared.get_param("boundary")
    if declared.get_content_type() != "multipart/form-data" or not isinstance(boundary, str) or not boundary:
        raise ApiError(400, "Send the fields and the file as multipart/form-data.", code="invalid_content_type")
    return boundary


def _malformed() -> ApiError:
    return ApiError(400, "The form is cut off, malformed, or has too many fields; send it again.", code="invalid_form")
