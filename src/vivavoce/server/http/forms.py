"""Forms with files in them (`multipart/form-data`, RFC 7578)."""

from __future__ import annotations

from email.message import Message
from typing import TYPE_CHECKING, Final

import msgspec

from vivavoce.server.http.wire import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_PARTS: Final = 64


class Part(msgspec.Struct, frozen=True):
    """One field."""

    name: str
    filename: str | None
    content: bytes


def parse_form(body: bytes, content_type: str) -> list[Part]:
    """Return the fields of a form, in their order.

    Raises:
        ApiError: it is no form.
    """
    declared = Message()
    declared["Content-Type"] = content_type
    boundary = declared.get_param("boundary")
    if declared.get_content_type() != "multipart/form-data" or not isinstance(boundary, str) or not boundary:
        raise ApiError(400, "Send the fields and the file as multipart/form-data.", code="invalid_content_type")
    edge = b"\r\n--" + boundary.encode(errors="surrogateescape")
    sections = (b"\r\n" + body).split(edge, MAX_PARTS + 1)
    if len(sections) > MAX_PARTS + 1 or not sections[-1].startswith(b"--"):
        raise ApiError(400, "The form is cut off, or has too many fields.", code="invalid_form")
    return list(_parts(sections[1:-1]))


def _parts(sections: list[bytes]) -> Iterator[Part]:
    for section in sections:
        head, blank, content = section.partition(b"\r\n\r\n")
        disposition = Message()
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"content-disposition":
                disposition["Content-Disposition"] = value.strip().decode(errors="replace")
        field = disposition.get_param("name", header="content-disposition")
        if not blank or not isinstance(field, str):
            raise ApiError(400, "A field of the form has no name.", code="invalid_form")
        filename = disposition.get_param("filename", header="content-disposition")
        yield Part(field, filename if isinstance(filename, str) else None, content)
