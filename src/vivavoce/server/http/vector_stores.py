"""Vector stores: what is in them, and what is found there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from vivavoce.search import shapes
from vivavoce.search.shapes import Attachment, Chunking, Expiry, Ranking, Status
from vivavoce.server.http.files import DAY_S
from vivavoce.server.http.lists import Listing, ListQuery, listing
from vivavoce.server.http.wire import ApiError, read_json, read_query, reply

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from vivavoce.search.library import Library

POLL_MS: Final = 250
"""After which a client that waits for the index may look again."""

Key: TypeAlias = Annotated[str, Meta(max_length=64)]
Value: TypeAlias = Annotated[str, Meta(max_length=512)]
Metadata: TypeAlias = Annotated[dict[Key, Value], Meta(max_length=16)]
Attributes: TypeAlias = Annotated[dict[Key, Value | bool | int | float], Meta(max_length=16)]
Name: TypeAlias = Annotated[str, Meta(max_length=256)]
Description: TypeAlias = Annotated[str, Meta(max_length=512)]
QueryText: TypeAlias = Annotated[str, Meta(min_length=1, max_length=4096)]

_ERRORS: Final[dict[str, Literal["server_error", "unsupported_file", "invalid_file"]]] = {
    "unsupported_file": "unsupported_file",
    "invalid_file": "invalid_file",
    "no_text": "invalid_file",
    "changed": "invalid_file",
    "file_too_large": "invalid_file",
}


# What is asked for ----------------------------------------------------------------------------------------------------


class StoreExpiry(msgspec.Struct, frozen=True, kw_only=True):
    """When a store expires: so many days after it was made, or was last used."""

    anchor: Literal["last_active_at", "created_at"] = "last_active_at"
    days: Annotated[int, Meta(ge=1, le=365)]


class ChunkSizes(msgspec.Struct, frozen=True, kw_only=True):
    """How long the pieces are that a text is cut into."""

    max_chunk_size_tokens: Annotated[int, Meta(ge=32, le=4096)]
    chunk_overlap_tokens: Annotated[int, Meta(ge=0, le=2048)]


class StaticChunking(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="static"):
    """Pieces of a given length."""

    static: ChunkSizes


class AutoChunking(msgspec.Struct, frozen=True, tag_field="type", tag="auto"):
    """Pieces as we think best."""


AnyChunking: TypeAlias = StaticChunking | AutoChunking


class StoreRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A store that is to be made."""

    name: Name | None = None
    description: Description | None = None
    file_ids: list[str] = []
    chunking_strategy: AnyChunking | None = None
    """Of these files."""
    expires_after: StoreExpiry | None = None
    metadata: Metadata | None = None


class StoreUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """What of a store is to change."""

    name: Name | UnsetType | None = UNSET
    expires_after: StoreExpiry | UnsetType | None = UNSET
    metadata: Metadata | UnsetType | None = UNSET


class HybridSearch(msgspec.Struct, frozen=True, kw_only=True):
    """How much the two ways to search weigh."""

    embedding_weight: Annotated[float, Meta(ge=0.0)] = 1.0
    text_weight: Annotated[float, Meta(ge=0.0)] = 1.0


class RankingOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What counts as found; there is one ranker, whatever it is called."""

    ranker: str | None = None
    score_threshold: Annotated[float, Meta(ge=0.0, le=1.0)] | None = None
    hybrid_search: HybridSearch | None = None


class SearchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked for."""

    query: QueryText | Annotated[list[QueryText], Meta(min_length=1, max_length=16)]
    filters: dict[str, Any] | None = None
    """Comparisons of attributes (`eq`, `ne`, `gt`, `gte`, `lt`, `lte`, `in`, `nin`), joined by `and` and `or`."""
    max_num_results: Annotated[int, Meta(ge=1, le=50)] | None = None
    ranking_options: RankingOptions | None = None
    rewrite_query: bool | None = None
    """Whether filler words are left out first."""


class AttachRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is to be put into a store."""

    file_id: str
    attributes: Attributes | None = None
    chunking_strategy: AnyChunking | None = None


class AttributesUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """The attributes that a file is to have in a store."""

    attributes: Attributes | None


class BatchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Files that are to be put into a store: `file_ids`, which share the rest, or `files`."""

    file_ids: Annotated[list[str], Meta(max_length=2000)] | None = None
    files: Annotated[list[AttachRequest], Meta(max_length=2000)] | None = None
    attributes: Attributes | None = None
    chunking_strategy: AnyChunking | None = None


class StoreFilesQuery(ListQuery, frozen=True, kw_only=True):
    """Which files of a store are listed."""

    filter: Status | None = None


# What is answered -----------------------------------------------------------------------------------------------------


class FileCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many files are in which state."""

    in_progress: int
    completed: int
    failed: int
    cancelled: int
    total: int


class VectorStore(msgspec.Struct, frozen=True, kw_only=True):
    """A store."""

    id: str
    object: Literal["vector_store"] = "vector_store"
    created_at: int
    """Unix time, seconds, as every time here."""
    name: str
    description: str | None
    usage_bytes: int
    file_counts: FileCounts
    status: Literal["in_progress", "completed", "expired"]
    expires_after: StoreExpiry | None
    expires_at: int | None
    last_active_at: int
    metadata: dict[str, str]


class Deleted(msgspec.Struct, frozen=True, kw_only=True):
    """A store that is no more, or a file that is in it no more."""

    id: str
    object: Literal["vector_store.deleted", "vector_store.file.deleted"]
    deleted: Literal[True] = True


class LastError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a file is not in its store."""

    code: Literal["server_error", "unsupported_file", "invalid_file"]
    message: str


class VectorStoreFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file in a store."""

    id: str
    object: Literal["vector_store.file"] = "vector_store.file"
    created_at: int
    vector_store_id: str
    status: Status
    last_error: LastError | None
    usage_bytes: int
    chunking_strategy: AnyChunking
    attributes: dict[str, str | bool | int | float]


class VectorStoreFileBatch(msgspec.Struct, frozen=True, kw_only=True):
    """Files that were put into a store together."""

    id: str
    object: Literal["vector_store.files_batch"] = "vector_store.files_batch"
    created_at: int
    vector_store_id: str
    status: Status
    file_counts: FileCounts


class TextContent(msgspec.Struct, frozen=True, kw_only=True):
    """A text."""

    type: Literal["text"] = "text"
    text: str


class SearchResult(msgspec.Struct, frozen=True, kw_only=True):
    """A passage that fits."""

    file_id: str
    filename: str
    score: float
    """In [0, 1]."""
    attributes: dict[str, str | bool | int | float]
    content: tuple[TextContent, ...]


class SearchResults(msgspec.Struct, frozen=True, kw_only=True):
    """The passages that fit, the best first."""

    object: Literal["vector_store.search_results.page"] = "vector_store.search_results.page"
    search_query: tuple[str, ...]
    """What was looked for, after rewriting."""
    data: tuple[SearchResult, ...]
    has_more: Literal[False] = False
    next_page: None = None


class FileContent(msgspec.Struct, frozen=True, kw_only=True):
    """What was read of a file, piece by piece."""

    object: Literal["vector_store.file_content.page"] = "vector_store.file_content.page"
    data: tuple[TextContent, ...]
    has_more: Literal[False] = False
    next_page: None = None


VectorStoreList = Listing[VectorStore]
VectorStoreFileList = Listing[VectorStoreFile]


# Endpoints ------------------------------------------------------------------------------------------------------------


class VectorStores:
    """Makes stores and searches them."""

    def __init__(self, library: Library) -> None:
        self._stores = library.stores

    async def create(self, request: Request) -> Response:
        """Make one, and begin to index its files."""
        wanted = await read_json(request, StoreRequest)
        store = await self._stores.create(
            name=wanted.name or "",
            description=wanted.description or "",
            metadata=wanted.metadata,
            expires_after=_expiry(wanted.expires_after),
            file_ids=wanted.file_ids,
            chunking=_chunking(wanted.chunking_strategy),
        )
        return reply(_store(store))

    async def list(self, request: Request) -> Response:
        """List them."""
        asked = read_query(request, ListQuery)
        return reply(listing(await self._stores.list(**msgspec.structs.asdict(asked)), _store))

    async def get(self, request: Request) -> Response:
        """Return one of them."""
        return reply(_store(await self._stores.get(_store_id(request))))

    async def update(self, request: Request) -> Response:
        """Change what is given of one."""
        wanted = await read_json(request, StoreUpdate)
        expires_after = wanted.expires_after
        store = await self._stores.update(
            _store_id(request),
            name=UNSET if wanted.name is None else wanted.name,
            metadata={} if wanted.metadata is None else wanted.metadata,
            expires_after=expires_after if expires_after is UNSET else _expiry(expires_after),
        )
        return reply(_store(store))

    async def delete(self, request: Request) -> Response:
        """Delete one; its files stay."""
        store_id = _store_id(request)
        await self._stores.delete(store_id)
        return reply(Deleted(id=store_id, object="vector_store.deleted"))

    async def search(self, request: Request) -> Response:
        """Find what fits in one."""
        wanted = await read_json(request, SearchRequest)
        found = await self._stores.search(
            (_store_id(request),),
            (wanted.query,) if isinstance(wanted.query, str) else wanted.query,
            limit=wanted.max_num_results or 10,
            filters=wanted.filters or None,
            ranking=_ranking(wanted.ranking_options or RankingOptions()),
            rewrite=bool(wanted.rewrite_query),
        )
        return reply(SearchResults(search_query=found.queries, data=tuple(map(_hit, found.hits))))


class StoreFiles:
    """Puts files into stores, one by one."""

    def __init__(self, library: Library) -> None:
        self._files = library.store_files

    async def create(self, request: Request) -> Response:
        """Put one into a store."""
        wanted = await read_json(request, AttachRequest)
        file = await self._files.attach(
            _store_id(request),
            wanted.file_id,
            attributes=wanted.attributes,
            chunking=_chunking(wanted.chunking_strategy),
        )
        return reply(_file(file))

    async def list(self, request: Request) -> Response:
        """List those of a store."""
        return reply(await list_files(self._files, request))

    async def get(self, request: Request) -> Response:
        """Return how one is doing."""
        file = await self._files.get(_store_id(request), request.path_params["file_id"])
        return reply(_file(file), headers=_poll(file.status))

    async def update(self, request: Request) -> Response:
        """Replace the attributes of one."""
        wanted = await read_json(request, AttributesUpdate)
        file_id = request.path_params["file_id"]
        return reply(_file(await self._files.update(_store_id(request), file_id, wanted.attributes or {})))

    async def delete(self, request: Request) -> Response:
        """Take one out of a store; it stays in the library."""
        file_id = request.path_params["file_id"]
        await self._files.detach(_store_id(request), file_id)
        return reply(Deleted(id=file_id, object="vector_store.file.deleted"))

    async def content(self, request: Request) -> Response:
        """Return what was read of one."""
        chunks = await self._files.chunks(_store_id(request), request.path_params["file_id"])
        return reply(FileContent(data=tuple(TextContent(text=chunk.text) for chunk in chunks)))


class FileBatches:
    """Puts files into stores, many at once."""

    def __init__(self, library: Library) -> None:
        self._batches = library.batches
        self._files = library.store_files

    async def create(self, request: Request) -> Response:
        """Put some into a store."""
        attachments = _attachments(await read_json(request, BatchRequest))
        return reply(_batch(await self._batches.create(_store_id(request), attachments)))

    async def get(self, request: Request) -> Response:
        """Return how they are doing."""
        batch = await self._batches.get(_store_id(request), request.path_params["batch_id"])
        return reply(_batch(batch), headers=_poll(batch.status))

    async def cancel(self, request: Request) -> Response:
        """Give up those that are not in the store yet."""
        return reply(_batch(await self._batches.cancel(_store_id(request), request.path_params["batch_id"])))

    async def list_files(self, request: Request) -> Response:
        """List them."""
        batch = await self._batches.get(_store_id(request), request.path_params["batch_id"])
        return reply(await list_files(self._files, request, batch.id))


async def list_files(files: Any, request: Request, batch_id: str | None = None) -> VectorStoreFileList:
    """Return the part of the files of a store, or of a batch, that is asked for."""
    asked = msgspec.structs.asdict(read_query(request, StoreFilesQuery))
    status = asked.pop("filter")
    page = await files.list(_store_id(request), status=status, batch_id=batch_id, **asked)
    return listing(page, _file)


# From and to the library ----------------------------------------------------------------------------------------------


def _store_id(request: Request) -> str:
    store_id: str = request.path_params["vector_store_id"]
    return store_id


def _poll(status: Status) -> dict[str, str]:
    """Tell a client that waits when to look again."""
    return {"openai-poll-after-ms": str(POLL_MS)} if status == "in_progress" else {}


def _expiry(asked: StoreExpiry | None) -> Expiry | None:
    return Expiry(asked.anchor, asked.days * DAY_S) if asked else None


def _chunking(asked: AnyChunking | None) -> Chunking:
    if not isinstance(asked, StaticChunking):
        return shapes.AUTO
    sizes = asked.static
    if 2 * sizes.chunk_overlap_tokens > sizes.max_chunk_size_tokens:
        message = "The overlap is more than half of a chunk; make it shorter."
        param = "chunking_strategy.static.chunk_overlap_tokens"
        raise ApiError(400, message, code="invalid_value", param=param)
    return Chunking(max_tokens=sizes.max_chunk_size_tokens, overlap_tokens=sizes.chunk_overlap_tokens, auto=False)


def _ranking(asked: RankingOptions) -> Ranking:
    weights = asked.hybrid_search or HybridSearch()
    if not (weights.embedding_weight or weights.text_weight):
        message = "One of the two weights must be above 0."
        raise ApiError(400, message, code="invalid_value", param="ranking_options.hybrid_search")
    return Ranking(
        threshold=asked.score_threshold or 0.0,
        text_weight=weights.text_weight,
        embedding_weight=weights.embedding_weight,
    )


def _attachments(wanted: BatchRequest) -> list[Attachment]:
    if bool(wanted.file_ids) == bool(wanted.files):
        raise ApiError(400, "Give either 'file_ids' or 'files', with a file.", code="invalid_value", param="file_ids")
    files = wanted.files or [
        AttachRequest(file_id=file_id, attributes=wanted.attributes, chunking_strategy=wanted.chunking_strategy)
        for file_id in wanted.file_ids or ()
    ]
    return [
        Attachment(
            file_id=file.file_id, attributes=dict(file.attributes or {}), chunking=_chunking(file.chunking_strategy)
        )
        for file in files
    ]


def _counts(counts: shapes.Counts) -> FileCounts:
    return FileCounts(
        in_progress=counts.in_progress,
        completed=counts.completed,
        failed=counts.failed,
        cancelled=counts.cancelled,
        total=counts.total,
    )


def _store(store: shapes.Store) -> VectorStore:
    expiry = store.expires_after
    return VectorStore(
        id=store.id,
        created_at=store.created_at,
        name=store.name,
        description=store.description or None,
        usage_bytes=store.usage_bytes,
        file_counts=_counts(store.counts),
        status=store.status,
        expires_after=StoreExpiry(anchor=expiry.anchor, days=max(1, expiry.seconds // DAY_S)) if expiry else None,
        expires_at=store.expires_at,
        last_active_at=store.last_active_at,
        metadata=store.metadata,
    )


def _file(file: shapes.StoreFile) -> VectorStoreFile:
    sizes = ChunkSizes(
        max_chunk_size_tokens=file.chunking.max_tokens, chunk_overlap_tokens=file.chunking.overlap_tokens
    )
    return VectorStoreFile(
        id=file.id,
        created_at=file.created_at,
        vector_store_id=file.store_id,
        status=file.status,
        last_error=_last_error(file.failure) if file.failure else None,
        usage_bytes=file.usage_bytes,
        chunking_strategy=StaticChunking(static=sizes),
        attributes=dict(file.attributes),
    )


def _last_error(failure: shapes.Failure) -> LastError:
    return LastError(code=_ERRORS.get(failure.code, "server_error"), message=failure.message)


def _batch(batch: shapes.Batch) -> VectorStoreFileBatch:
    return VectorStoreFileBatch(
        id=batch.id,
        created_at=batch.created_at,
        vector_store_id=batch.store_id,
        status=batch.status,
        file_counts=_counts(batch.counts),
    )


def _hit(hit: shapes.Hit) -> SearchResult:
    return SearchResult(
        file_id=hit.file_id,
        filename=hit.name,
        score=hit.score,
        attributes=dict(hit.attributes),
        content=(TextContent(text=hit.text),),
    )
