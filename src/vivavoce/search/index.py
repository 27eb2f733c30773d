"""What keeps a library's truth: one protocol, embedded (`sqlite.py`) or on a database server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import msgspec

from vivavoce.search.shapes import Attributes, Chunking, File, Order, Place  # noqa: TC001 - types of fields

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from vivavoce.ports import Vectors
    from vivavoce.search.shapes import (
        Attachment,
        Batch,
        Chunk,
        Failure,
        Filters,
        Page,
        Status,
        Store,
        StoreFile,
    )

Key: TypeAlias = "tuple[str, int]"
"""A chunk: its store's id, and a number in it."""


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of a list is wanted."""

    order: Order = "desc"
    after: str | None = None
    before: str | None = None
    limit: int = 20


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A file that waits to be indexed."""

    store_id: str
    file: File
    chunking: Chunking
    revision: int
    """Of the attachment: what is finished for an older one is thrown away."""


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk that may fit."""

    store_id: str
    file_id: str
    name: str
    attributes: Attributes
    number: int
    heading: str
    text: str
    place: Place
    cosine: float
    """Of its vector and the question's."""


class Candidates(NamedTuple):
    """What one search of one store brings up."""

    by_text: list[Key]
    """By full text, the best first."""
    by_vector: list[Key]
    """By vectors, the nearest first."""
    chunks: dict[Key, Candidate]
    """All of them."""
    rarity: dict[str, float]
    """How much each word of the question tells; those that nothing has tell the most."""


class Index(Protocol):
    """A library's truth; methods block, may be called from any thread, and what they have done is on disk.

    A store or file that isn't there, or has expired, is `not_found` or `expired`; a full disk is `storage_full`, and
    nothing has changed then.
    """

    @property
    def partial(self) -> Path:
        """Return a folder on this machine for what is on its way."""
        ...

    # Files

    def add_file(self, file: File, content: Path | None) -> None:
        """Take a file in; `content` is moved."""
        ...

    def files(self, listing: Listing, purpose: str | None, now: int) -> Page[File]:
        """List files, of one purpose where it is given."""
        ...

    def file(self, file_id: str, now: int) -> File: ...  # noqa: D102

    def content(self, file: File) -> Path:
        """Return where a file's bytes are on this machine."""
        ...

    def delete_file(self, file_id: str) -> None:
        """Remove a file and all of it that is in stores."""
        ...

    # Stores

    def add_store(self, store: Store, attachments: Sequence[Attachment]) -> None: ...  # noqa: D102

    def stores(self, listing: Listing, now: int, name: str | None = None) -> Page[Store]: ...  # noqa: D102

    def store(self, store_id: str, now: int) -> Store: ...  # noqa: D102

    def change_store(self, store_id: str, changes: Mapping[str, Any], now: int) -> None:
        """Set `name`, `metadata` or `expires_after`."""
        ...

    def touch(self, store_ids: Collection[str], now: int) -> None:
        """Note that stores were used."""
        ...

    def delete_store(self, store_id: str) -> None: ...  # noqa: D102

    # Files in stores

    def attach(self, store_id: str, attachments: Sequence[Attachment], batch_id: str | None, now: int) -> None:
        """Put all of the files into a store, or none."""
        ...

    def store_files(
        self, store_id: str, listing: Listing, status: Status | None, batch_id: str | None, now: int
    ) -> Page[StoreFile]:
        """List the files of a store, of one status or batch where it is given."""
        ...

    def store_file(self, store_id: str, file_id: str, now: int) -> StoreFile: ...  # noqa: D102

    def in_place(self, store_id: str) -> tuple[tuple[File, StoreFile], ...]:
        """Return the files of a store that were indexed where they lie, the oldest first."""
        ...

    def set_attributes(self, store_id: str, file_id: str, attributes: Attributes) -> None: ...  # noqa: D102

    def detach(self, store_id: str, file_id: str) -> None: ...  # noqa: D102

    def chunks(self, store_id: str, file_id: str, now: int) -> tuple[Chunk, ...]: ...  # noqa: D102

    def batch(self, store_id: str, batch_id: str, now: int) -> Batch: ...  # noqa: D102

    def cancel_batch(self, store_id: str, batch_id: str) -> None: ...  # noqa: D102

    # Indexing

    def indexing(self) -> AbstractContextManager[bool]:
        """Hold the right to index, where only one process may; whether it was free."""
        ...

    def next_job(self, now: int) -> Job | None:
        """Return the file that has waited longest, of those that nobody else is at."""
        ...

    def finish(self, job: Job, chunks: Sequence[Chunk], vectors: Vectors) -> bool:
        """Make a file's chunks findable, all at once, instead of those it had; False if nobody wants them any more."""
        ...

    def fail(self, job: Job, failure: Failure) -> None:
        """Note why a file can't be indexed."""
        ...

    def sweep(self, now: int) -> None:
        """Remove what has expired and what nothing refers to."""
        ...

    # Search

    def candidates(
        self, store_id: str, question: Question, filters: Filters | None, limit: int, now: int
    ) -> Candidates:
        """Bring up what may fit, all of one moment."""
        ...

    def close(self) -> None: ...  # noqa: D102


class Question(NamedTuple):
    """What is looked for."""

    words: list[str]
    vector: Vectors
    by_text: bool = True
    """Whether full text is searched."""
    by_vector: bool = True
    """Whether vectors are searched; else they are only compared."""
