"""Readers of file formats: each takes the path of a file that nobody changes and returns a `Document`.

They run in a process of their own (`reading.py`), which has limits of time and memory: a parser may fail as it likes.
"""

from __future__ import annotations

import importlib
import zipfile
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from vivavoce.search.shapes import LibraryError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vivavoce.search.chunking import Document

UNPACKED: Final = 256 * 2**20
"""Bytes that an archive may hold unpacked."""
MEMBERS: Final = 10_000
"""Files that it may hold."""

_BY_ENDING: Final = {
    "md": "text:markdown",
    "markdown": "text:markdown",
    "mdx": "text:markdown",
    "csv": "tables:csv",
    "tsv": "tables:csv",
    "html": "web:html",
    "htm": "web:html",
    "xhtml": "web:html",
}
_BY_MEMBER: Final = {
    "word/document.xml": "office:docx",
    "ppt/presentation.xml": "office:pptx",
    "xl/workbook.xml": "tables:xlsx",
    "META-INF/container.xml": "web:epub",
}
_PACKED_ENDINGS: Final = frozenset({"docx", "pptx", "xlsx", "epub", "pdf", "doc", "ppt", "xls", "odt", "ods", "rtf"})
"""Of files that are never plain text, whatever their bytes look like."""
OLD: Final = {"doc": "docx", "xls": "xlsx", "ppt": "pptx", "odt": "docx", "ods": "xlsx", "odp": "pptx", "rtf": "docx"}
"""Endings that are not read, and what a file can be saved as instead."""

SUPPORTED: Final = "Markdown, text, HTML, PDF, DOCX, PPTX, XLSX, CSV, EPUB and source code"


def extract(path: Path, name: str) -> Document:
    """Read a file.

    Args:
        path: where its bytes are.
        name: what its owner calls it; only its ending matters.

    Raises:
        LibraryError: `unsupported_file`, `invalid_file`, `no_text`, `file_too_large`.
    """
    document = _reader(path, name)(path)
    if not document.text.strip():
        raise LibraryError("no_text", f"{name} is empty.")
    return document


def _reader(path: Path, name: str) -> Callable[[Path], Document]:
    with path.open("rb") as file:
        head = file.read(4096)
    ending = PurePath(name.lower()).suffix.removeprefix(".")
    if b"%PDF-" in head[:1024]:
        return _load("pdf:pdf")
    if head.startswith(b"PK\x03\x04"):
        return _load(_packed(path, name))
    if ending in OLD:
        raise LibraryError("unsupported_file", f"{name} is in a format that isn't read; save it as .{OLD[ending]}.")
    if ending in _PACKED_ENDINGS:
        raise LibraryError("invalid_file", f"{name} is damaged: it has not the bytes of a .{ending} file.")
    if b"\0" in head and not head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise LibraryError("unsupported_file", f"{name} can't be read; {SUPPORTED} can.")
    start = head.lstrip()[:15].lower()
    if ending not in _BY_ENDING and start.startswith((b"<!doctype html", b"<html")):
        return _load("web:html")
    return _load(_BY_ENDING.get(ending, "text:plain"))


def _packed(path: Path, name: str) -> str:
    """Return who reads an archive, if it is not a bomb: what a member declares is all that is ever unpacked of it."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as wrong:
        raise LibraryError("invalid_file", f"{name} is damaged: {wrong}.") from wrong
    if len(members) > MEMBERS or sum(member.file_size for member in members) > UNPACKED:
        raise LibraryError("file_too_large", f"{name} unpacks to more than {UNPACKED >> 20} MB or {MEMBERS:,} files.")
    names = {member.filename for member in members}
    for member, reader in _BY_MEMBER.items():
        if member in names:
            return reader
    raise LibraryError("unsupported_file", f"{name} is an archive; unpack it and add what is in it.")


def _load(reader: str) -> Callable[[Path], Document]:
    module, _, function = reader.partition(":")
    found: Callable[[Path], Document] = getattr(importlib.import_module(f"{__name__}.{module}"), function)
    return found
