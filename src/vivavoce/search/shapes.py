"""What a library holds: files, vector stores, files in stores, batches, passages; and how it says no."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeAlias, TypeVar

import msgspec

from vivavoce.errors import VivavoceError

T = TypeVar("T")

Attributes: TypeAlias = "dict[str, str | float | bool]"
"""At most 16; keys of at most 64 characters, texts of at most 512."""
Order: TypeAlias = Literal["asc", "desc"]
"""By the time of making."""
Status: TypeAlias = Literal["in_progress", "completed", "cancelled", "failed"]
Code: TypeAlias = Literal[
    "not_found",
    "invalid_value",
    "file_too_large",
    "unsupported_file",
    "invalid_file",
    "no_text",
    "changed",
    "expired",
    "storage_full",
    "storage_failed",
    "busy",
    "embedder_failed",
]


class LibraryError(VivavoceError):
    """A library cannot do what it was asked.

    The codes: `not_found` (no such file, store or batch), `invalid_value` (what was asked for makes no sense),
    `file_too_large`, `unsupported_file` (no extractor for it), `invalid_file` (it is broken, or takes too much to
    read), `no_text` (a scan, or empty), `changed` (while it was read), `expired` (the store), `storage_full`,
    `storage_failed` (the disk or database), `busy` (another process writes for too long),
    `embedder_failed` (the embedding model can't be had, or fails).
    """

    def __init__(self, code: Code, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        """The argument that is wrong, where one is: a path as in `filters.value`."""


class Expiry(msgspec.Struct, frozen=True):
    """When something is to go."""

    anchor: Literal["created_at", "last_active_at"]
    """What it is counted from; files know the first only."""
    seconds: int


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the library."""

    id: str
    """Begins with `file-`."""
    name: str
    """As its owner called it, in any script; never used as a path."""
    size: int
    """Bytes."""
    digest: str
    """SHA-256, hexadecimal."""
    purpose: str
    created_at: int
    """Unix seconds, as every time here."""
    expires_at: int | None = None
    source: str | None = None
    """Path of the file on this machine, where it was indexed in place and its bytes were not copied."""
    modified_ns: int | None = None
    """Of such a file, when it was read: nanoseconds."""


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How many files of a store or batch are in which state."""

    in_progress: int = 0
    completed: int = 0
    cancelled: int = 0
    failed: int = 0

    @property
    def total(self) -> int:
        """Return how many there are."""
        return self.in_progress + self.completed + self.cancelled + self.failed


class Store(msgspec.Struct, frozen=True, kw_only=True):
    """A vector store: files that are searched together."""

    id: str
    """Begins with `vs_`."""
    name: str
    description: str
    metadata: dict[str, str]
    created_at: int
    last_active_at: int
    """When it was last searched or given files."""
    expires_after: Expiry | None
    expires_at: int | None
    status: Literal["in_progress", "completed", "expired"]
    counts: Counts
    usage_bytes: int
    """Of chunks and vectors."""
    chunks: int


class Chunking(msgspec.Struct, frozen=True, kw_only=True):
    """How a file is cut; the default suits answers that are spoken."""

    max_tokens: int = 240
    """Of a chunk, as the embedding model counts them; 32 to 4096."""
    overlap_tokens: int = 40
    """That a chunk shares with the one before it; at most half of `max_tokens`."""
    auto: bool = True
    """Whether it was left to us."""


AUTO = Chunking()


class Failure(msgspec.Struct, frozen=True):
    """Why a file is not in its store."""

    code: Code
    message: str
    """A sentence for a person."""


class StoreFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file in a store."""

    id: str
    """Of the file."""
    store_id: str
    name: str
    created_at: int
    """When it was attached."""
    status: Status
    failure: Failure | None
    chunking: Chunking
    attributes: Attributes
    usage_bytes: int
    chunks: int
    batch_id: str | None = None


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is to be put into a store."""

    file_id: str
    attributes: Attributes = {}
    chunking: Chunking = Chunking()


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Files that were attached together."""

    id: str
    """Begins with `vsfb_`."""
    store_id: str
    created_at: int
    status: Status
    counts: Counts


class Place(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where in its file most of a passage is."""

    page: int | None = None
    """From 1; a slide of a presentation, too."""
    heading: str | None = None
    """The headings above it, outermost first, joined by ` > `; a sheet of a workbook, too."""
    line: int | None = None
    """Where it begins, from 1, in text and source code."""

    def __str__(self) -> str:
        """Say it in a few words, as in "page 4, Holidays"."""
        parts = [f"page {self.page}" if self.page else "", self.heading or ""]
        return ", ".join(part for part in parts if part) or (f"line {self.line}" if self.line else "")


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a file's text, as it is found."""

    text: str
    place: Place = Place()


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk that fits."""

    store_id: str
    file_id: str
    name: str
    """Of the file."""
    attributes: Attributes
    number: int
    """Of the chunk in its file, from 0."""
    text: str
    place: Place
    score: float
    """How likely it has to do with the question, in [0, 1]."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a search has found."""

    queries: tuple[str, ...]
    """What was looked for, after rewriting."""
    hits: tuple[Hit, ...]
    """The best first."""


class Ranking(msgspec.Struct, frozen=True, kw_only=True):
    """What counts as fitting."""

    threshold: float = 0.0
    """Least score of a hit, in [0, 1]."""
    text_weight: float = 1.0
    """Of full text in the fusion; 0 leaves it out."""
    embedding_weight: float = 1.0
    """Of vectors in the fusion; 0 leaves them out."""


FUSED = Ranking()


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Part of a list."""

    items: tuple[T, ...]
    has_more: bool


class Progress(msgspec.Struct, frozen=True):
    """How far the file has come that is being indexed."""

    name: str
    done: int
    """Chunks that have their vectors."""
    total: int
    """Chunks, or 0 while the file is read."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a library takes."""

    file_bytes: int = 512 * 2**20
    files_a_store: int = 10_000
    files_a_batch: int = 2000
    """OpenAI's is 500, of which a client may send several."""


LIMITS = Limits()

Filters: TypeAlias = "dict[str, Any]"
"""A comparison `{"type": "eq", "key": "year", "value": 2024}` (eq, ne, gt, gte, lt, lte, in, nin) or a compound
`{"type": "and", "filters": […]}` (and, or), as in OpenAI's vector store search."""
