"""What `vivavoce index` does and shows: files of this machine in a vector store."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from vivavoce import compose
from vivavoce.search.shapes import LibraryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console

    from vivavoce.config import Settings
    from vivavoce.search.folders import Outcome
    from vivavoce.search.library import Library
    from vivavoce.search.shapes import File, Store, StoreFile

SETTLE_MS: Final = 1600
"""So long nothing must change before what was changed is read."""
_ALL: Final = 10_000
_SHOWN: Final = 20
"""Skipped files that are named one by one."""


async def add(settings: Settings, paths: Sequence[str], *, store: str) -> None:
    """Index files and folders, and say what became of them.

    Raises:
        LibraryError: a path means nothing, or nothing can be stored.
    """
    async with compose.open_library(settings) as library:
        await _keep(library, await compose.made_store(library, store), paths)


async def watch(settings: Settings, paths: Sequence[str], *, store: str) -> None:
    """Index files and folders, and again whenever something there changes, until Ctrl+C.

    Raises:
        LibraryError: a path means nothing, or nothing can be stored.
    """
    from watchfiles import awatch

    async with compose.open_library(settings) as library:
        made = await compose.made_store(library, store)
        await _keep(library, made, paths)
        _console().print("Watching; Ctrl+C ends it.")
        caught_up = False
        async for changes in awatch(*_watched(paths), debounce=SETTLE_MS, rust_timeout=1000, yield_on_timeout=True):
            if caught_up and not changes:
                continue
            caught_up = True  # with what changed before the watching began
            try:
                await _keep(library, made, paths, quiet=True)
            except LibraryError as wrong:
                _console(stderr=True).print(f"vivavoce: {wrong}", style="red", markup=False, soft_wrap=True)


async def search(settings: Settings, question: str, *, store: str, limit: int, as_json: bool) -> None:
    """Show the passages that fit a question, with their places and scores.

    Raises:
        LibraryError: there is no such store.
    """
    async with compose.open_library(settings, index=False) as library:
        found = await library.stores.search([(await _named(library, store)).id], [question], limit=limit)
    if as_json:
        sys.stdout.write(msgspec.json.encode(found.hits).decode() + "\n")
        return
    from rich.padding import Padding
    from rich.text import Text

    console = _console()
    if not found.hits:
        console.print("Nothing fits.")
    for hit in found.hits:
        place = f", {hit.place}" if str(hit.place) else ""
        console.print(f"{hit.score:.2f}  {hit.name}{place}", style="bold", markup=False, soft_wrap=True)
        console.print(Padding(Text(" ".join(hit.text.split()), style="dim"), (0, 0, 0, 6)))


async def list_stores(settings: Settings, *, store: str | None, as_json: bool) -> None:
    """List the stores with their files, or one of them.

    Raises:
        LibraryError: there is no such store.
    """
    async with compose.open_library(settings, index=False) as library:
        stores = [await _named(library, store)] if store else (await library.stores.list(limit=_ALL, order="asc")).items
        shelves = [(one, await _pairs(library, one)) for one in stores]
    if as_json:
        sys.stdout.write(
            msgspec.json.encode([{"store": one, "files": files} for one, files in shelves]).decode() + "\n"
        )
        return
    console = _console()
    if not shelves:
        console.print("Nothing is indexed yet: vivavoce index add PATH")
    for one, files in shelves:
        console.print(
            f"{one.name or '(no name)'}  {one.id}  {_counted(one)}", style="bold", markup=False, soft_wrap=True
        )
        for file, attached in files:
            state = "" if attached.status == "completed" else f"  {attached.status}"
            why = f": {attached.failure.message}" if attached.failure else ""
            line = f"  {file.source or file.name}  {_plural(attached.chunks, 'chunk')}{state}{why}"
            console.print(line, markup=False, soft_wrap=True)


async def remove(settings: Settings, names: Sequence[str], *, store: str, whole: bool) -> None:
    """Forget files, by path, folder, name or id, or a whole store.

    Raises:
        LibraryError: there is no such store or file.
    """
    async with compose.open_library(settings, index=False) as library:
        found = await _named(library, store)
        pairs = await _pairs(library, found)
        gone = pairs if whole else [pair for name in names for pair in _meant(name, pairs, store)]
        for file_id in dict.fromkeys(file.id for file, _ in gone):
            await library.files.delete(file_id)
        if whole:
            await library.stores.delete(found.id)
    _console().print(f"Forgot {_plural(len({file.id for file, _ in gone}), 'file')}.")


async def show(settings: Settings, name: str, *, store: str) -> None:
    """Show what was read of a file, piece by piece with its places.

    Raises:
        LibraryError: there is no such store or file.
    """
    async with compose.open_library(settings, index=False) as library:
        found = await _named(library, store)
        file, attached = _meant(name, await _pairs(library, found), store)[0]
        pieces = await library.store_files.chunks(found.id, file.id)
    console = _console()
    console.print(f"{file.name}  {file.id}  {file.size:,} bytes  {attached.status}", style="bold", markup=False)
    if attached.failure is not None:
        console.print(attached.failure.message, markup=False)
    for number, piece in enumerate(pieces):
        console.print(f"\n{number}  {piece.place}", style="cyan", markup=False)
        console.print(piece.text, markup=False)


# Inside ---------------------------------------------------------------------------------------------------------------


async def _named(library: Library, name: str) -> Store:
    try:
        return await library.stores.get(name) if name.startswith("vs_") else await library.stores.named(name)
    except LibraryError as wrong:
        if wrong.code != "not_found":
            raise
        there = [store.name for store in (await library.stores.list(limit=_ALL)).items if store.name]
        if not there:
            raise LibraryError("not_found", "Nothing is indexed yet: vivavoce index add PATH") from None
        raise LibraryError(
            "not_found", f"There is no store {name!r}; there are: {', '.join(sorted(set(there)))}."
        ) from None


async def _pairs(library: Library, store: Store) -> list[tuple[File, StoreFile]]:
    files = (await library.store_files.list(store.id, limit=_ALL, order="asc")).items
    return [(await library.files.get(one.id), one) for one in files]


def _meant(name: str, pairs: list[tuple[File, StoreFile]], store: str) -> list[tuple[File, StoreFile]]:
    path = Path(name).expanduser().absolute()
    found = [
        (file, attached)
        for file, attached in pairs
        if name in {file.id, file.name} or (file.source and Path(file.source).is_relative_to(path))
    ]
    if not found:
        raise LibraryError("not_found", f"There is no {name!r} in {store!r}; see `vivavoce index list`.")
    return found


async def _keep(library: Library, store: Store, paths: Sequence[str], *, quiet: bool = False) -> None:
    from vivavoce.search.folders import keep

    with _bar(library) as progress:
        outcome = await keep(library, store.id, paths, progress)
    if not quiet or outcome.added or outcome.changed or outcome.removed:
        _tell(outcome, await library.stores.get(store.id))


def _tell(outcome: Outcome, store: Store) -> None:
    console = _console()
    parts = [
        f"{len(outcome.added)} added",
        f"{len(outcome.changed)} changed",
        f"{len(outcome.removed)} removed",
        f"{outcome.unchanged} unchanged",
        f"{len(outcome.skipped)} skipped",
    ]
    said = ", ".join(part for part in parts if not part.startswith("0 ")) or "nothing to do"
    console.print(f"{store.name}: {said}; {_counted(store)}.", markup=False, soft_wrap=True)
    if outcome.passed_over:
        console.print(f"{_plural(outcome.passed_over, 'file')} without text passed over.", style="dim")
    for one in outcome.skipped[:_SHOWN]:
        console.print(f"  skipped {one.path}: {one.failure.message}", style="yellow", markup=False, soft_wrap=True)
    if len(outcome.skipped) > _SHOWN:
        more = len(outcome.skipped) - _SHOWN
        console.print(f"  and {more} more: vivavoce index list --store {store.name}", style="yellow", markup=False)


def _watched(paths: Sequence[str]) -> set[Path]:
    """Return the folders in which the files of some paths can change."""
    there = [Path(path).expanduser() for path in paths]
    roots = {path if path.is_dir() else path.parent for path in there}
    return {root if root.exists() else Path() for root in roots}


def _counted(store: Store) -> str:
    return f"{_plural(store.counts.completed, 'file')}, {_plural(store.chunks, 'chunk')}"


def _plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


@contextmanager
def _bar(library: Library) -> Iterator[Callable[[int, int, str], None] | None]:
    """Draw how far indexing has come, on a terminal."""
    from rich import progress as rich

    console = _console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns: tuple[Any, ...] = (
        rich.BarColumn(30),
        rich.MofNCompleteColumn(),
        rich.TimeRemainingColumn(),
        rich.TextColumn("{task.description}", markup=False),
    )
    with rich.Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("", total=None)

        def draw(done: int, total: int, name: str) -> None:
            now = library.progress
            pieces = f" ({now.done} of {now.total} pieces)" if now is not None and now.total else ""
            bars.update(task, completed=done, total=total, description=f"{name}{pieces}")

        yield draw


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(highlight=False, stderr=stderr)
