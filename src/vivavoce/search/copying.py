"""Takes the bytes of files in, with their digest, and refuses what changes while it is read."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import unicodedata
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from vivavoce.search.shapes import LibraryError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vivavoce.search.shapes import File

BLOCK: Final = 2**20
"""Bytes that are read at once."""
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_TRIES: Final = 3
_LONGEST_NAME: Final = 255


@contextmanager
def translated(folder: Path) -> Iterator[None]:
    """Say in a sentence what is wrong with the disk of a folder."""
    try:
        yield
    except OSError as wrong:
        if wrong.errno in FULL:
            raise full(folder) from wrong
        raise LibraryError("storage_failed", f"{folder} can't be used: {wrong.strerror or wrong}.") from wrong


def full(folder: Path) -> LibraryError:
    """Say that a disk is full."""
    return LibraryError("storage_full", f"The disk of {folder} is full; make room, and try again.")


class Taken(NamedTuple):
    """The bytes of a file at one moment."""

    path: Path
    """Absolute."""
    size: int
    digest: str
    modified_ns: int


def cleaned(name: str) -> str:
    """Return a name without what terminals act on; letters of every script stay.

    Raises:
        LibraryError: `invalid_value`, where nothing is left.
    """
    kept = "".join(
        sign for sign in unicodedata.normalize("NFC", name) if unicodedata.category(sign) not in {"Cc", "Cs"}
    )
    if not kept.strip():
        raise LibraryError("invalid_value", "A file needs a name.", "filename")
    return kept.strip()[:_LONGEST_NAME]


class Incoming:
    """A file on its way in; `finish` puts it on disk."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.path = folder / secrets.token_hex(12)
        self.size = 0
        self._limit = limit
        self._hash = hashlib.sha256()
        self._file = self.path.open("xb")

    def write(self, block: bytes) -> None:
        """Add bytes.

        Raises:
            LibraryError: `file_too_large`.
        """
        self.size += len(block)
        if self.size > self._limit:
            raise too_large(self._limit)
        self._hash.update(block)
        self._file.write(block)

    def finish(self) -> str:
        """Put it on disk and return its digest."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return self._hash.hexdigest()

    def discard(self) -> None:
        """Remove what was written, unless it was moved."""
        self._file.close()
        self.path.unlink(missing_ok=True)


def too_large(limit: int) -> LibraryError:
    """Say that a file has too many bytes."""
    return LibraryError("file_too_large", f"The file has more than {limit >> 20} MB; split it.", "file")


def take(path: Path, limit: int, into: Incoming | None) -> Taken:
    """Read a file, and copy it where that is wanted.

    Raises:
        LibraryError: `file_too_large`; `changed`, while it was read; `invalid_value`, where there is none.
    """
    try:
        return _take(path, limit, into)
    except FileNotFoundError:
        raise LibraryError("invalid_value", f"There is no file {path}.") from None
    except PermissionError:
        raise LibraryError("invalid_value", f"{path} may not be read; change its permissions.") from None


def settle(path: Path, limit: int) -> Taken:
    """Return the digest of a file that lies still, after some tries where it is written to.

    Raises:
        LibraryError: as `take`.
    """
    for _ in range(_TRIES - 1):
        try:
            return take(path, limit, None)
        except LibraryError as wrong:
            if wrong.code != "changed":
                raise
    return take(path, limit, None)


@contextmanager
def still(path: Path, file: File, folder: Path, limit: int) -> Iterator[Path]:
    """Hold the bytes of a file that was added: where they lie, if they are ours, else a copy that is proven.

    Raises:
        LibraryError: `changed`.
    """
    if file.source is None:
        yield path
        return
    incoming = Incoming(folder, limit)
    try:
        try:
            taken = take(path, limit, incoming)
        except LibraryError as wrong:
            if wrong.code == "invalid_value":
                raise LibraryError("changed", f"{file.name} is no longer where it was.") from wrong
            raise
        incoming.finish()
        if taken.digest != file.digest:
            raise LibraryError("changed", f"{file.name} has changed since it was added; add it again.")
        yield incoming.path
    finally:
        incoming.discard()


def _take(path: Path, limit: int, into: Incoming | None) -> Taken:
    before = path.stat()
    if not path.is_file():
        raise LibraryError("invalid_value", f"{path} is not a file.")
    if before.st_size > limit:
        raise too_large(limit)
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            size += len(block)
            if size > limit:
                raise too_large(limit)
            digest.update(block)
            if into is not None:
                into.write(block)
        after = os.fstat(file.fileno())
    if (size, before.st_mtime_ns, before.st_ino) != (after.st_size, after.st_mtime_ns, after.st_ino):
        raise LibraryError("changed", f"{path} changes while it is read; add it when that is over.")
    return Taken(path.absolute(), size, digest.hexdigest(), after.st_mtime_ns)
