"""What the cache remembers of its files, and the lock that keeps two fetches apart."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import msgspec

from vivavoce.models.download import digest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vivavoce.models.schema import File

STAMPS = ".verified.json"


class Stamp(msgspec.Struct, frozen=True):
    """What a file looked like when its bytes were proven; another look asks for a new proof."""

    sha256: str
    """The proven sum."""
    size: int
    """In bytes."""
    mtime_ns: int
    """The time of its last change."""


def is_sound(path: Path, file: File) -> bool:
    """Whether the bytes at `path` are the pinned ones; a stamp that fits its looks saves the hashing."""
    try:
        looks = path.stat()
    except OSError:
        return False
    if looks.st_size != file.size:
        return False
    if _stamps(path.parent).get(file.name) == Stamp(file.sha256, looks.st_size, looks.st_mtime_ns):
        return True
    if not is_proven(path, file):
        return False
    with suppress(OSError):  # a cache that others own is read all the same
        remember(path, file)
    return True


def is_proven(path: Path, file: File) -> bool:
    """Whether the bytes at `path` are the pinned ones, by their hash alone."""
    return path.is_file() and digest(path) == file.sha256


def remember(path: Path, file: File) -> None:
    """Stamp a file whose bytes are proven."""
    looks = path.stat()
    stamps = _stamps(path.parent) | {file.name: Stamp(file.sha256, looks.st_size, looks.st_mtime_ns)}
    fresh = path.with_name(f"{STAMPS}.{os.getpid()}.{threading.get_ident()}")
    fresh.write_bytes(msgspec.json.encode(stamps))
    fresh.replace(path.with_name(STAMPS))


def forget(directory: Path) -> None:
    """Drop the stamps, so that every file is hashed again."""
    (directory / STAMPS).unlink(missing_ok=True)


def _stamps(directory: Path) -> dict[str, Stamp]:
    try:
        return msgspec.json.decode((directory / STAMPS).read_bytes(), type=dict[str, Stamp])
    except (OSError, msgspec.DecodeError):
        return {}


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file's lock, alone among all threads and processes; it falls with its holder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        _lock(file.fileno())
        yield


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        while True:
            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            except PermissionError:
                time.sleep(0.2)
            else:
                return
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
