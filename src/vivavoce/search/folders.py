"""Keeps a vector store the same as some files and folders: reads what is new or changed, and forgets what is gone."""

from __future__ import annotations

import glob
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from anyio import to_thread

from vivavoce.search.copying import take
from vivavoce.search.indexing import LASTING
from vivavoce.search.shapes import Failure, LibraryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from vivavoce.search.library import Library
    from vivavoce.search.shapes import File, StoreFile

HIDDEN: Final = frozenset({"node_modules", "__pycache__", "venv", "site-packages"})
"""Folders that are left out, as those are whose names begin with a dot."""
_TRIES: Final = 3
_PACKED: Final = frozenset({".pdf", ".docx", ".pptx", ".xlsx", ".epub"})


class Skipped(msgspec.Struct, frozen=True):
    """A file that isn't in the store, and why."""

    path: str
    failure: Failure


class Outcome(msgspec.Struct):
    """What became of some files and folders."""

    added: list[str] = []
    changed: list[str] = []
    removed: list[str] = []
    unchanged: int = 0
    skipped: list[Skipped] = []
    passed_over: int = 0
    """Files in folders that hold no text: pictures, sounds, programs."""


class Gathered(NamedTuple):
    """The files that some paths mean."""

    files: list[Path]
    roots: list[Path]
    """The paths themselves: what was below them and is gone, is forgotten."""
    passed_over: int


def gather(paths: Iterable[str]) -> Gathered:
    """Find the files that paths, folders and patterns mean, each once; hidden ones only where they are named.

    Raises:
        LibraryError: `invalid_value`, where there is nothing.
    """
    files: dict[Path, None] = {}
    roots, passed_over = [], 0
    for text in paths:
        root = Path(text).expanduser().absolute()
        found = [root] if root.exists() else _matching(str(root))
        if not found:
            raise LibraryError("invalid_value", f"There is no {text}; check the spelling.")
        for one in found:
            below = list(_below(one)) if one.is_dir() else [one]
            texts = [path for path in below if not one.is_dir() or _may_hold_text(path)]
            passed_over += len(below) - len(texts)
            files.update(dict.fromkeys(texts))
        roots += found
    return Gathered(list(files), roots, passed_over)


async def keep(
    library: Library, store_id: str, paths: Sequence[str], progress: Callable[[int, int, str], None] | None = None
) -> Outcome:
    """Make a store hold what some paths mean now, and wait until all of it is indexed.

    Args:
        library: where the store is.
        store_id: of the store.
        paths: files, folders and patterns.
        progress: is told how many files are done, of how many, and which is next.

    Raises:
        LibraryError: a path means nothing, or nothing can be stored.
    """
    gathered = await to_thread.run_sync(gather, paths)
    known: dict[str, list[tuple[File, StoreFile]]] = {}
    for file, attached in await library.store_files.in_place(store_id):
        known.setdefault(str(file.source), []).append((file, attached))
    keeper = _Keeper(library, store_id, Outcome(passed_over=gathered.passed_over))
    for number, path in enumerate(gathered.files):
        if progress is not None:
            progress(0, len(gathered.files), f"looking at {path.name}" if number else path.name)
        await keeper.look(path, known.get(str(path), []))
    for number, path in enumerate(gathered.files):
        if progress is not None:
            progress(number, len(gathered.files), path.name)
        await keeper.wait(path)
    wanted = {str(path) for path in gathered.files}
    for source, pairs in known.items():
        if source not in wanted and any(Path(source).is_relative_to(root) for root in gathered.roots):
            await keeper.forget(pairs)
            keeper.outcome.removed.append(source)
    return keeper.outcome


class _Keeper:
    def __init__(self, library: Library, store_id: str, outcome: Outcome) -> None:
        self.outcome = outcome
        self._library = library
        self._store_id = store_id
        self._waiting: dict[Path, tuple[str, list[tuple[File, StoreFile]]]] = {}

    async def look(self, path: Path, known: list[tuple[File, StoreFile]]) -> None:
        """Add a file if it is new or has changed."""
        same: bool = bool(known) and await to_thread.run_sync(_is_same, path, known[-1][0])
        if same:
            file, attached = known[-1]
            if attached.status == "completed":
                self.outcome.unchanged += 1
                await self.forget(known[:-1])
                return
            if attached.failure is None or attached.failure.code not in {*LASTING, "changed"}:
                self._waiting[path] = (file.id, known[:-1])
                return
        await self._add(path, known)

    async def wait(self, path: Path) -> None:
        """Wait until a file is indexed, then forget what it was before."""
        for _ in range(_TRIES):
            if path not in self._waiting:
                return
            file_id, before = self._waiting.pop(path)
            attached = await self._library.store_files.settled(self._store_id, file_id)
            if attached.failure is None:
                (self.outcome.changed if before else self.outcome.added).append(str(path))
                await self.forget(before)
                return
            if attached.failure.code == "storage_full":
                raise LibraryError("storage_full", attached.failure.message)
            if attached.failure.code != "changed":
                break
            await self._library.files.delete(file_id)
            await self._add(path, before)
        else:
            return
        self.outcome.skipped.append(Skipped(str(path), attached.failure))
        await self.forget(before)

    async def forget(self, pairs: Iterable[tuple[File, StoreFile]]) -> None:
        """Remove files from the library."""
        for file, _ in pairs:
            with suppress(LibraryError):
                await self._library.files.delete(file.id)

    async def _add(self, path: Path, before: list[tuple[File, StoreFile]]) -> None:
        try:
            file = await self._library.files.add(path, in_place=True)
        except LibraryError as wrong:
            if wrong.code in LASTING:
                raise
            self.outcome.skipped.append(Skipped(str(path), Failure(wrong.code, wrong.message)))
            await self.forget(before)
            return
        await self._library.store_files.attach(self._store_id, file.id)
        self._waiting[path] = (file.id, before)


def _matching(pattern: str) -> list[Path]:
    return [Path(one) for one in sorted(glob.iglob(pattern, recursive=True))]  # noqa: PTH207 - may be absolute


def _below(folder: Path) -> Iterator[Path]:
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in HIDDEN)
        yield from (Path(where, name) for name in sorted(names) if not name.startswith("."))


def _may_hold_text(path: Path) -> bool:
    """Tell whether a file in a folder looks like something that can be read."""
    if path.suffix.lower() in _PACKED:
        return True
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError:
        return path.is_file()
    return bool(head) and (b"\0" not in head or head.startswith((b"\xff\xfe", b"\xfe\xff")))


def _is_same(path: Path, file: File) -> bool:
    """Tell whether a file is what was read: by its time, or by its bytes where only the time is another."""
    try:
        now = path.stat()
        same_time = now.st_mtime_ns == file.modified_ns
        return now.st_size == file.size and (same_time or take(path, file.size, None).digest == file.digest)
    except (OSError, LibraryError):
        return False
