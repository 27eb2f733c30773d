"""The library: files and vector stores of one place, for commands, HTTP and conversations alike."""

from __future__ import annotations

import functools
import os
import secrets
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio
import msgspec
from anyio import to_thread
from msgspec import UNSET, UnsetType

from vivavoce.aio import beside
from vivavoce.ports import BackendError, Passage
from vivavoce.realtime.values import Source
from vivavoce.search import filters as conditions
from vivavoce.search.copying import BLOCK, Incoming, cleaned, settle, still, take, translated
from vivavoce.search.finding import Finder
from vivavoce.search.index import Listing
from vivavoce.search.indexing import Indexer
from vivavoce.search.shapes import (
    AUTO,
    FUSED,
    LIMITS,
    Attachment,
    Attributes,
    Batch,
    Chunk,
    Chunking,
    Counts,
    Expiry,
    File,
    Filters,
    Found,
    LibraryError,
    Limits,
    Order,
    Page,
    Progress,
    Ranking,
    Status,
    Store,
    StoreFile,
)
from vivavoce.search.words import rewritten

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Mapping, Sequence

    from vivavoce.ports import Embedder, Query
    from vivavoce.search.copying import Taken
    from vivavoce.search.index import Index

T = TypeVar("T")

DEFAULT: Final = "default"
"""Name of the store that is meant where none is said."""
_FLUSH_S: Final = 10.0
"""Between notes of which stores were used."""
_PAIRS: Final = 16
_LONGEST_KEY: Final = 64
_LONGEST_TEXT: Final = 512
_MOST_HITS: Final = 50
_LEAST_TOKENS: Final = 32
_MOST_TOKENS: Final = 4096


class Library:
    """Everything that can be done with files and vector stores; every method may raise `LibraryError`."""

    def __init__(self, index: Index, embedder: Embedder, limits: Limits, clock: Callable[[], float]) -> None:
        self._index = index
        self._clock = clock
        self._touched: dict[str, int] = {}
        self._indexer = Indexer(index, embedder, limits, clock)
        self.limits = limits
        self.finder = Finder(index, embedder)
        self.files = Files(self)
        self.stores = Stores(self)
        self.store_files = StoreFiles(self)
        self.batches = Batches(self)

    @property
    def progress(self) -> Progress | None:
        """What this process is indexing."""
        return self._indexer.progress

    @property
    def now(self) -> int:
        """The time, in Unix seconds."""
        return int(self._clock())

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run a method of the index in a thread."""
        return await to_thread.run_sync(work, *arguments)

    def attached(self) -> None:
        """Say that there is something to index."""
        self._indexer.wake()

    async def settling(self) -> None:
        """Wait until a file may have been indexed.

        Raises:
            LibraryError: what keeps this process from indexing anything.
        """
        if self._indexer.trouble is not None:
            raise self._indexer.trouble
        await self._indexer.settled()

    def used(self, store_ids: Sequence[str]) -> None:
        """Note that stores are used; it is written down within seconds."""
        self._touched.update(dict.fromkeys(store_ids, self.now))

    async def flush(self) -> None:
        """Write down which stores were used."""
        touched, self._touched = self._touched, {}
        for moment in set(touched.values()):
            await self.run(self._index.touch, [one for one, when in touched.items() if when == moment], moment)

    async def keep(self, *, index: bool) -> None:
        """Index, where that is wanted, and write down what is used, until cancelled."""
        async with anyio.create_task_group() as tasks:
            if index:
                tasks.start_soon(self._indexer.run)
            while True:
                await anyio.sleep(_FLUSH_S)
                await self.flush()


class _Part:
    """A part of a library."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._index = library._index  # noqa: SLF001 - parts of one thing
        self._run = library.run

    async def _attach(self, store_id: str, attachments: Sequence[Attachment], batch_id: str | None) -> None:
        for attachment in attachments:
            _check_attributes(attachment.attributes)
            _check_chunking(attachment.chunking)
        now = self._library.now
        store = await self._run(self._index.store, store_id, now)
        most = self._library.limits.files_a_store
        if store.counts.total + len(attachments) > most:
            raise LibraryError("invalid_value", f"A vector store has at most {most:,} files.", "file_id")
        await self._run(self._index.attach, store_id, attachments, batch_id, now)
        self._library.attached()


class Files(_Part):
    """The files of a library."""

    async def add(
        self,
        content: AsyncIterable[bytes] | Path,
        *,
        name: str | None = None,
        purpose: str = "assistants",
        expires_after: Expiry | None = None,
        in_place: bool = False,
    ) -> File:
        """Take a file in; it is on disk when this returns.

        Args:
            content: its bytes, read as they come, or where it lies.
            name: what it is called; needed for a stream.
            purpose: what it is for, as OpenAI's clients say it.
            expires_after: when it is to go; counted from `created_at`.
            in_place: leave the bytes where the path says, and copy nothing.

        Raises:
            LibraryError: `file_too_large`, `invalid_value`, `changed`, `storage_full`.
        """
        if not isinstance(content, Path) and name is None:
            raise LibraryError("invalid_value", "A file needs a name.", "filename")
        name = cleaned(name if name is not None else content.name)  # type: ignore[union-attr]
        if isinstance(content, Path) and in_place:
            taken = await self._run(settle, content, self._library.limits.file_bytes)
            file = self._file(name, taken.size, taken.digest, purpose, expires_after)
            file = msgspec.structs.replace(file, source=str(taken.path), modified_ns=taken.modified_ns)
            await self._run(self._index.add_file, file, None)
            return file
        incoming = await self._run(self._incoming)
        try:
            digest = await self._receive(content, incoming)
            file = self._file(name, incoming.size, digest, purpose, expires_after)
            await self._run(self._index.add_file, file, incoming.path)
        finally:
            with anyio.CancelScope(shield=True):
                await self._run(incoming.discard)
        return file

    async def list(
        self, *, order: Order = "desc", after: str | None = None, limit: int = 10_000, purpose: str | None = None
    ) -> Page[File]:
        """Return the files that follow `after`."""
        return await self._run(
            self._index.files, Listing(order=order, after=after, limit=limit), purpose, self._library.now
        )

    async def get(self, file_id: str) -> File:
        """Return a file.

        Raises:
            LibraryError: `not_found`.
        """
        return await self._run(self._index.file, file_id, self._library.now)

    async def content(self, file_id: str) -> AsyncGenerator[bytes, None]:
        """Yield its bytes.

        Raises:
            LibraryError: `not_found`; `changed`, where it was indexed in place and isn't what it was.
        """
        file = await self.get(file_id)
        path = await self._run(self._index.content, file)
        held = still(path, file, self._index.partial, self._library.limits.file_bytes)
        copy = await self._run(held.__enter__)
        try:
            async with await anyio.open_file(copy, "rb") as opened:
                while block := await opened.read(BLOCK):
                    yield block
        finally:
            with anyio.CancelScope(shield=True):
                await self._run(held.__exit__, None, None, None)

    async def delete(self, file_id: str) -> None:
        """Remove a file, also from all stores.

        Raises:
            LibraryError: `not_found`.
        """
        await self._run(self._index.delete_file, file_id)

    def _file(self, name: str, size: int, digest: str, purpose: str, expires_after: Expiry | None) -> File:
        if expires_after is not None and (expires_after.anchor != "created_at" or expires_after.seconds <= 0):
            raise LibraryError("invalid_value", "A file expires some time after created_at.", "expires_after")
        now = self._library.now
        return File(
            id=_new_id("file-"),
            name=name,
            size=size,
            digest=digest,
            purpose=purpose,
            created_at=now,
            expires_at=now + expires_after.seconds if expires_after else None,
        )

    def _incoming(self) -> Incoming:
        with translated(self._index.partial):
            return Incoming(self._index.partial, self._library.limits.file_bytes)

    async def _receive(self, content: AsyncIterable[bytes] | Path, incoming: Incoming) -> str:
        if isinstance(content, Path):
            taken = await self._run(_copy, content, self._library.limits.file_bytes, incoming)
            return taken.digest
        async for block in content:
            await self._run(_write, incoming, block)
        return await self._run(_finish, incoming)


class Stores(_Part):
    """The vector stores of a library."""

    async def create(
        self,
        *,
        name: str = "",
        description: str = "",
        metadata: Mapping[str, str] | None = None,
        expires_after: Expiry | None = None,
        file_ids: Sequence[str] = (),
        chunking: Chunking = AUTO,
    ) -> Store:
        """Make a store and begin to index the files that it is given.

        Raises:
            LibraryError: `not_found` (a file), `invalid_value`.
        """
        _check_metadata(metadata or {})
        _check_chunking(chunking)
        _check_expiry(expires_after)
        now = self._library.now
        store = Store(
            id=_new_id("vs_"),
            name=name,
            description=description,
            metadata=dict(metadata or {}),
            created_at=now,
            last_active_at=now,
            expires_after=expires_after,
            expires_at=None,
            status="in_progress",
            counts=Counts(),
            usage_bytes=0,
            chunks=0,
        )
        attachments = [Attachment(file_id=file_id, chunking=chunking) for file_id in dict.fromkeys(file_ids)]
        await self._run(self._index.add_store, store, attachments)
        self._library.attached()
        return await self.get(store.id)

    async def list(
        self, *, order: Order = "desc", after: str | None = None, before: str | None = None, limit: int = 20
    ) -> Page[Store]:
        """Return the stores that follow `after`, or those ahead of `before`."""
        return await self._run(
            self._index.stores, Listing(order=order, after=after, before=before, limit=limit), self._library.now
        )

    async def get(self, store_id: str) -> Store:
        """Return a store.

        Raises:
            LibraryError: `not_found`.
        """
        return await self._run(self._index.store, store_id, self._library.now)

    async def named(self, name: str) -> Store:
        """Return the oldest store of that name.

        Raises:
            LibraryError: `not_found`.
        """
        found = await self._run(self._index.stores, Listing(order="asc", limit=1), self._library.now, name)
        if not found.items:
            raise LibraryError("not_found", f"There is no vector store named {name!r}.", "name")
        return found.items[0]

    async def update(
        self,
        store_id: str,
        *,
        name: str | UnsetType = UNSET,
        metadata: Mapping[str, str] | UnsetType = UNSET,
        expires_after: Expiry | UnsetType | None = UNSET,
    ) -> Store:
        """Change what is given and leave the rest.

        Raises:
            LibraryError: `not_found`, `expired`, `invalid_value`.
        """
        if metadata is not UNSET:
            _check_metadata(metadata)
        if expires_after is not UNSET:
            _check_expiry(expires_after)
        asked = {"name": name, "metadata": metadata, "expires_after": expires_after}
        changes = {key: value for key, value in asked.items() if value is not UNSET}
        await self._run(self._index.change_store, store_id, changes, self._library.now)
        return await self.get(store_id)

    async def delete(self, store_id: str) -> None:
        """Remove a store and its chunks; its files stay in the library.

        Raises:
            LibraryError: `not_found`.
        """
        await self._run(self._index.delete_store, store_id)

    async def search(
        self,
        store_ids: Sequence[str],
        queries: Sequence[str],
        *,
        limit: int = 10,
        filters: Filters | None = None,
        ranking: Ranking = FUSED,
        rewrite: bool = False,
    ) -> Found:
        """Find the passages of some stores that fit one of the queries; an empty store has none.

        Args:
            store_ids: where; at least one.
            queries: what for; at least one.
            limit: hits at most, 1 to 50.
            filters: which attributes a file must have.
            ranking: what counts as fitting.
            rewrite: take politeness and filler words out of the queries first.

        Raises:
            LibraryError: `not_found` (also where the store is deleted meanwhile), `expired`, `invalid_value`.
        """
        if not 1 <= limit <= _MOST_HITS:
            raise LibraryError("invalid_value", f"A search has 1 to {_MOST_HITS} results.", "max_num_results")
        if not store_ids or not any(query.strip() for query in queries):
            raise LibraryError("invalid_value", "A search needs a store and a question.", "query")
        if filters is not None:
            conditions.check(filters)
        asked = tuple(rewritten(query) if rewrite else query for query in queries if query.strip())
        hits = await self._run(self._library.finder.find, store_ids, asked, limit, filters, ranking, self._library.now)
        self._library.used(store_ids)
        return Found(queries=asked, hits=hits)


class StoreFiles(_Part):
    """The files in the stores of a library."""

    async def attach(
        self,
        store_id: str,
        file_id: str,
        *,
        attributes: Attributes | None = None,
        chunking: Chunking = AUTO,
    ) -> StoreFile:
        """Put a file into a store: it is `in_progress` until it can be found; attaching again indexes it anew.

        Raises:
            LibraryError: `not_found`, `expired`, `invalid_value`.
        """
        attachment = Attachment(file_id=file_id, attributes=attributes or {}, chunking=chunking)
        await self._attach(store_id, [attachment], None)
        return await self.get(store_id, file_id)

    async def list(
        self,
        store_id: str,
        *,
        order: Order = "desc",
        after: str | None = None,
        before: str | None = None,
        limit: int = 20,
        status: Status | None = None,
        batch_id: str | None = None,
    ) -> Page[StoreFile]:
        """Return the files of a store that follow `after`, or those ahead of `before`.

        Raises:
            LibraryError: `not_found`.
        """
        listing = Listing(order=order, after=after, before=before, limit=limit)
        return await self._run(self._index.store_files, store_id, listing, status, batch_id, self._library.now)

    async def get(self, store_id: str, file_id: str) -> StoreFile:
        """Return how a file in a store is doing.

        Raises:
            LibraryError: `not_found`.
        """
        return await self._run(self._index.store_file, store_id, file_id, self._library.now)

    async def in_place(self, store_id: str) -> tuple[tuple[File, StoreFile], ...]:
        """Return the files of a store that were indexed where they lie, the oldest first.

        Raises:
            LibraryError: `not_found`.
        """
        return await self._run(self._index.in_place, store_id)

    async def update(self, store_id: str, file_id: str, attributes: Attributes) -> StoreFile:
        """Replace the attributes.

        Raises:
            LibraryError: `not_found`, `invalid_value`.
        """
        _check_attributes(attributes)
        await self._run(self._index.set_attributes, store_id, file_id, attributes)
        return await self.get(store_id, file_id)

    async def detach(self, store_id: str, file_id: str) -> None:
        """Take a file out of a store; it stays in the library.

        Raises:
            LibraryError: `not_found`.
        """
        await self._run(self._index.detach, store_id, file_id)

    async def chunks(self, store_id: str, file_id: str) -> tuple[Chunk, ...]:
        """Return what was read of it, piece by piece.

        Raises:
            LibraryError: `not_found`.
        """
        return await self._run(self._index.chunks, store_id, file_id, self._library.now)

    async def settled(self, store_id: str, file_id: str) -> StoreFile:
        """Wait until a file is no longer in progress.

        Raises:
            LibraryError: `not_found`.
        """
        while (found := await self.get(store_id, file_id)).status == "in_progress":
            await self._library.settling()
        return found


class Batches(_Part):
    """Files that are attached together."""

    async def create(self, store_id: str, attachments: Sequence[Attachment]) -> Batch:
        """Attach files to a store; all or none are accepted.

        Raises:
            LibraryError: `not_found`, `expired`, `invalid_value`.
        """
        if not 1 <= len(attachments) <= self._library.limits.files_a_batch:
            most = self._library.limits.files_a_batch
            raise LibraryError("invalid_value", f"A batch has 1 to {most} files.", "file_ids")
        batch_id = _new_id("vsfb_")
        await self._attach(store_id, attachments, batch_id)
        return await self.get(store_id, batch_id)

    async def get(self, store_id: str, batch_id: str) -> Batch:
        """Return how a batch is doing.

        Raises:
            LibraryError: `not_found`.
        """
        return await self._run(self._index.batch, store_id, batch_id, self._library.now)

    async def cancel(self, store_id: str, batch_id: str) -> Batch:
        """Give up what is still in progress.

        Raises:
            LibraryError: `not_found`.
        """
        await self._run(self._index.cancel_batch, store_id, batch_id)
        return await self.get(store_id, batch_id)


class FileSearch:
    """Finds passages of indexed files (port `Search`); `Query.stores` may be ids or names, "default" where empty."""

    def __init__(self, library: Library) -> None:
        self._library = library

    async def search(self, query: Query) -> Sequence[Passage]:
        """Return what fits, the best first; `Source.title` has the file and the place."""
        try:
            stores = [await self._store(name) for name in query.stores or (DEFAULT,)]
            found = await self._library.stores.search(
                stores, [query.text], limit=query.limit, filters=query.filters, rewrite=True
            )
        except LibraryError as wrong:
            raise BackendError(wrong.code, wrong.message) from wrong
        return [
            Passage(
                text=hit.text,
                source=Source(title=", ".join(filter(None, (hit.name, str(hit.place)))), file_id=hit.file_id),
                score=hit.score,
            )
            for hit in found.hits
        ]

    async def _store(self, name: str) -> str:
        return name if name.startswith("vs_") else (await self._library.stores.named(name)).id


@asynccontextmanager
async def open_library(
    location: str | None = None,
    *,
    embedder: Embedder,
    limits: Limits = LIMITS,
    index: bool = True,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[Library]:
    """Open the library of a place, and index what is attached to its stores while it is open.

    Args:
        location: a folder, made on first use, or `postgresql://…`; the user's own (`VIVAVOCE_DATA`) where absent.
        embedder: what vectors are made with; a library that was made with another one is refused.
        limits: what it takes.
        index: whether this process indexes; else another one that has it open does, or none.
        clock: tells the time in Unix seconds.

    Raises:
        LibraryError: `storage_failed`, `storage_full`.
    """
    index_ = await to_thread.run_sync(open_index, location, embedder)
    library = Library(index_, embedder, limits, clock)
    try:
        async with beside(functools.partial(library.keep, index=index)):
            yield library
        with anyio.CancelScope(shield=True):
            await library.flush()
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(index_.close)


def open_index(location: str | None, embedder: Embedder) -> Index:
    """Open what keeps the library of a place.

    Raises:
        LibraryError: `storage_failed`, `storage_full`.
    """
    if location is not None and location.startswith(("postgresql://", "postgres://")):
        from vivavoce.search.postgres import PostgresIndex

        return PostgresIndex(location, model=embedder.name, dimension=embedder.dimension)
    from vivavoce.search.sqlite import SqliteIndex

    if location is not None and "://" in location:
        raise LibraryError(
            "storage_failed", f"{location!r} is not a place for a library; give a folder or postgresql://…"
        )
    folder = Path(location).expanduser() if location else default_folder()
    return SqliteIndex(folder, model=embedder.name, dimension=embedder.dimension)


def default_folder() -> Path:
    """Where the person's own library is."""
    if root := os.environ.get("VIVAVOCE_DATA"):
        return Path(root).expanduser() / "library"
    from platformdirs import user_data_path

    return user_data_path("vivavoce") / "library"


def _new_id(prefix: str) -> str:
    return prefix + secrets.token_hex(12)


def _copy(path: Path, limit: int, incoming: Incoming) -> Taken:
    with translated(incoming.path.parent):
        taken = take(path, limit, incoming)
        incoming.finish()
        return taken


def _write(incoming: Incoming, block: bytes) -> None:
    with translated(incoming.path.parent):
        incoming.write(block)


def _finish(incoming: Incoming) -> str:
    with translated(incoming.path.parent):
        return incoming.finish()


# What may be asked for ------------------------------------------------------------------------------------------------


def _check_metadata(pairs: Mapping[str, Any], param: str = "metadata") -> None:
    if len(pairs) > _PAIRS or any(len(key) > _LONGEST_KEY for key in pairs):
        raise LibraryError("invalid_value", f"There may be {_PAIRS} keys of {_LONGEST_KEY} characters.", param)
    if any(isinstance(value, str) and len(value) > _LONGEST_TEXT for value in pairs.values()):
        raise LibraryError("invalid_value", f"A value may have {_LONGEST_TEXT} characters.", param)


def _check_attributes(attributes: Attributes) -> None:
    _check_metadata(attributes, "attributes")
    if not all(isinstance(value, str | float | int) for value in attributes.values()):
        raise LibraryError("invalid_value", "Attributes are texts, numbers or booleans.", "attributes")


def _check_chunking(chunking: Chunking) -> None:
    if not _LEAST_TOKENS <= chunking.max_tokens <= _MOST_TOKENS:
        message = f"A chunk has {_LEAST_TOKENS} to {_MOST_TOKENS} tokens."
        raise LibraryError("invalid_value", message, "chunking_strategy.static.max_chunk_size_tokens")
    if not 0 <= chunking.overlap_tokens <= chunking.max_tokens // 2:
        message = "Chunks overlap by half at most."
        raise LibraryError("invalid_value", message, "chunking_strategy.static.chunk_overlap_tokens")


def _check_expiry(expiry: Expiry | None) -> None:
    if expiry is not None and expiry.seconds <= 0:
        raise LibraryError("invalid_value", "A store expires after at least a day.", "expires_after.days")
