"""The library: files and vector stores of one place, for commands, HTTP and conversations alike."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from msgspec import UNSET, UnsetType

from vivavoce.search.shapes import (
    AUTO,
    FUSED,
    LIMITS,
    Attachment,
    Attributes,
    Batch,
    Chunk,
    Chunking,
    Expiry,
    File,
    Filters,
    Found,
    Limits,
    Order,
    Page,
    Ranking,
    Status,
    Store,
    StoreFile,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from vivavoce.ports import Embedder, Passage, Query


class Library:
    """Everything that can be done with files and vector stores; every method may raise `LibraryError`."""

    files: Files
    stores: Stores
    store_files: StoreFiles
    batches: Batches


class Files:
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
        raise NotImplementedError

    async def list(
        self, *, order: Order = "desc", after: str | None = None, limit: int = 10_000, purpose: str | None = None
    ) -> Page[File]:
        """Return the files that follow `after`."""
        raise NotImplementedError

    async def get(self, file_id: str) -> File:
        """Return a file.

        Raises:
            LibraryError: `not_found`.
        """
        raise NotImplementedError

    def content(self, file_id: str) -> AsyncGenerator[bytes, None]:
        """Yield its bytes.

        Raises:
            LibraryError: `not_found`; `changed`, where it was indexed in place and isn't what it was.
        """
        raise NotImplementedError

    async def delete(self, file_id: str) -> None:
        """Remove a file, also from all stores.

        Raises:
            LibraryError: `not_found`.
        """
        raise NotImplementedError


class Stores:
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
        raise NotImplementedError

    async def list(
        self, *, order: Order = "desc", after: str | None = None, before: str | None = None, limit: int = 20
    ) -> Page[Store]:
        """Return the stores that follow `after`, or those ahead of `before`."""
        raise NotImplementedError

    async def get(self, store_id: str) -> Store:
        """Return a store.

        Raises:
            LibraryError: `not_found`.
        """
        raise NotImplementedError

    async def named(self, name: str) -> Store:
        """Return the oldest store of that name.

        Raises:
            LibraryError: `not_found`.
        """
        raise NotImplementedError

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
        raise NotImplementedError

    async def delete(self, store_id: str) -> None:
        """Remove a store and its chunks; its files stay in the library.

        Raises:
            LibraryError: `not_found`.
        """
        raise NotImplementedError

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
        raise NotImplementedError


class StoreFiles:
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
        raise NotImplementedError

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
        raise NotImplementedError

    async def get(self, store_id: str, file_id: str) -> StoreFile:
        """Return how a file in a store is doing.

        Raises:
            LibraryError: `not_found`.
        """
        raise NotImplementedError

    async def update(self, store_id: str, file_id: str, attributes: Attributes) -> StoreFile:
        """Replace the attributes.

        Raises:
            LibraryError: `not_found`, `invalid_value`.
        """
        raise NotImplementedError

    async def detach(self, store_id: str, file_id: str) -> None:
        """Take a file out of a store; it stays in the library.

        Raises:
            LibraryError: `not_found`.
        """
        raise NotImplementedError

    async def chunks(self, store_id: str, file_id: str) -> tuple[Chunk, ...]:
        """Return what was read of it, piece by piece.

        Raises:
            LibraryError: `not_found`.
        """
        raise NotImplementedError

    async def settled(self, store_id: str, file_id: str) -> StoreFile:
        """Wait until a file is no longer in progress.

        Raises:
            LibraryError: `not_found`.
        """
        raise NotImplementedError


class Batches:
    """Files that are attached together."""

    async def create(self, store_id: str, attachments: Sequence[Attachment]) -> Batch:
        """Attach files to a store; all or none are accepted.

        Raises:
            LibraryError: `not_found`, `expired`, `invalid_value`.
        """
        raise NotImplementedError

    async def get(self, store_id: str, batch_id: str) -> Batch:
        """Return how a batch is doing.

        Raises:
            LibraryError: `not_found`.
        """
        raise NotImplementedError

    async def cancel(self, store_id: str, batch_id: str) -> Batch:
        """Give up what is still in progress.

        Raises:
            LibraryError: `not_found`.
        """
        raise NotImplementedError


class FileSearch:
    """Finds passages of indexed files (port `Search`); `Query.stores` may be ids or names, "default" where empty."""

    def __init__(self, library: Library) -> None:
        self._library = library

    async def search(self, query: Query) -> Sequence[Passage]:
        """Return what fits, the best first; `Source.title` has the file and the place."""
        raise NotImplementedError


@asynccontextmanager
async def open_library(
    location: str | None = None, *, embedder: Embedder, limits: Limits = LIMITS, index: bool = True
) -> AsyncIterator[Library]:
    """Open the library of a place, and index what is attached to its stores while it is open.

    Args:
        location: a folder, made on first use, or `postgresql://…`; the user's own (`VIVAVOCE_DATA`) where absent.
        embedder: what vectors are made with; a library that was made with another one is refused.
        limits: what it takes.
        index: whether this process indexes; else another one that has it open does, or none.

    Raises:
        LibraryError: `storage_failed`, `storage_full`.
    """
    raise NotImplementedError
    yield  # pragma: no cover
