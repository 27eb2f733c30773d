"""What SQLite and PostgreSQL keep of a library alike: files, stores, what is attached and batches, as rows.

The SQL here is what both speak. Where chunks, vectors and words are, and how they are found, each has for itself.
"""

from __future__ import annotations

import abc
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from vivavoce.search import filters as wanted
from vivavoce.search.index import Candidate, Candidates, Job, Key, Listing, Question
from vivavoce.search.shapes import (
    Attributes,
    Batch,
    Chunk,
    Chunking,
    Counts,
    Expiry,
    Failure,
    File,
    LibraryError,
    Page,
    Place,
    Store,
    StoreFile,
)
from vivavoce.search.vectors import Segment

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from vivavoce.ports import Vectors
    from vivavoce.search.shapes import Attachment, Filters, Status

VERSION: Final = 1
"""Of the tables."""


class Row(Protocol):
    """A row of a result: columns by name or number."""

    def __getitem__(self, key: Any, /) -> Any: ...
    def __iter__(self) -> Iterator[Any]: ...


class Cursor(Protocol):
    """What a statement has brought."""

    def fetchone(self) -> Any: ...  # noqa: D102
    def fetchall(self) -> list[Any]: ...  # noqa: D102
    def __iter__(self) -> Iterator[Any]: ...


class Database(Protocol):
    """A transaction of a database; arguments are `?` in order or `:name`."""

    def execute(self, sql: str, values: Any = ..., /) -> Cursor: ...  # noqa: D102


_STORE: Final = """
SELECT s.*, count(f.seq) FILTER (WHERE f.status = 'in_progress') AS in_progress,
  count(f.seq) FILTER (WHERE f.status = 'completed') AS completed,
  count(f.seq) FILTER (WHERE f.status = 'cancelled') AS cancelled,
  count(f.seq) FILTER (WHERE f.status = 'failed') AS failed,
  CAST(coalesce(sum(f.usage), 0) AS BIGINT) AS usage, CAST(coalesce(sum(f.chunks), 0) AS BIGINT) AS chunks
FROM stores s LEFT JOIN store_files f ON f.store = s.seq
WHERE {} GROUP BY s.seq
"""

_STORE_FILE: Final = """
SELECT sf.*, s.id AS store_id, f.id AS file_id, f.name FROM store_files sf
JOIN stores s ON s.seq = sf.store JOIN files f ON f.seq = sf.file WHERE {}
"""

_WAITING: Final = """
SELECT f.*, sf.seq AS place, s.id AS store_id, sf.chunking, sf.revision FROM store_files sf
JOIN stores s ON s.seq = sf.store JOIN files f ON f.seq = sf.file
WHERE sf.status = 'in_progress' AND s.expired = 0 AND (f.expires_at IS NULL OR f.expires_at > ?){}
ORDER BY sf.seq LIMIT ?
"""


class Tables(abc.ABC):
    """Port `Index`, in tables.

    Args:
        place: where the library is, for people.
        model: what vectors are made with.
        dimension: components of a vector.
    """

    here = ""
    """Condition for files `f` that can be read on this machine, where not all can."""

    def __init__(self, place: str, *, model: str, dimension: int) -> None:
        self._place = place
        self._model = model
        self._dimension = dimension

    @abc.abstractmethod
    def candidates(
        self, store_id: str, question: Question, filters: Filters | None, limit: int, now: int
    ) -> Candidates:
        """Bring up what may fit, all of one moment."""

    @abc.abstractmethod
    def content(self, file: File) -> Path:
        """Return where a file's bytes are on this machine."""

    @abc.abstractmethod
    def indexing(self) -> AbstractContextManager[bool]:
        """Hold the right to index, where only one process may; whether it was free."""

    @property
    @abc.abstractmethod
    def partial(self) -> Path:
        """Return a folder on this machine for what is on its way."""

    @abc.abstractmethod
    def close(self) -> None:
        """Close all connections."""

    @abc.abstractmethod
    def _write(self) -> AbstractContextManager[Database]:
        """Open a transaction that writes, one after the other."""

    @abc.abstractmethod
    def _read(self) -> AbstractContextManager[Database]:
        """Open a transaction that sees one moment."""

    @abc.abstractmethod
    def _keep(self, db: Database, file: File, content: Path) -> None:
        """Take the bytes of a file."""

    @abc.abstractmethod
    def _make(self, db: Database, store: int) -> None:
        """Make the tables of a store."""

    @abc.abstractmethod
    def _drop(self, db: Database, store: int) -> None:
        """Remove the tables of a store."""

    @abc.abstractmethod
    def _add(self, db: Database, store: int, segment: Segment, chunks: Sequence[Chunk], vectors: Vectors) -> None:
        """Make the chunks of a file findable."""

    @abc.abstractmethod
    def _remove(self, db: Database, store: int, segment: Segment) -> None:
        """Forget the chunks of a file."""

    def _check(self) -> None:
        """Refuse what was made by another version or with another model.

        Raises:
            LibraryError: `storage_failed`.
        """
        about = {"version": str(VERSION), "model": self._model, "dimension": str(self._dimension)}
        with self._read() as db:
            known = dict(db.execute("SELECT key, value FROM about").fetchall())
        if not known:
            with self._write() as db:
                for pair in about.items():
                    db.execute("INSERT INTO about VALUES (?, ?) ON CONFLICT DO NOTHING", pair)
                known = dict(db.execute("SELECT key, value FROM about").fetchall())
        if known["version"] != about["version"]:
            raise LibraryError("storage_failed", f"{self._place} was made by another version; use another place.")
        if (known["model"], known["dimension"]) != (self._model, about["dimension"]):
            raise LibraryError(
                "storage_failed",
                f"{self._place} was indexed with the embedding model {known['model']!r}, not {self._model!r}: "
                "choose that one, or another place and index anew.",
            )

    # Files ------------------------------------------------------------------------------------------------------------

    def add_file(self, file: File, content: Path | None) -> None:
        """Take a file in; `content` is moved, and is on disk before the file is known."""
        row = msgspec.to_builtins(file)
        with self._write() as db:
            names = ", ".join(row)
            db.execute(f"INSERT INTO files ({names}) VALUES ({', '.join(f':{name}' for name in row)})", row)  # noqa: S608
            if content is not None:
                self._keep(db, file, content)

    def files(self, listing: Listing, purpose: str | None, now: int) -> Page[File]:
        """List files."""
        query = (
            "SELECT * FROM files f WHERE (CAST(:purpose AS TEXT) IS NULL OR purpose = :purpose) "
            "AND (expires_at IS NULL OR expires_at > :now)"
        )
        with self._read() as db:
            return _page(
                db, query, "f", listing, {"purpose": purpose, "now": now}, _file, "SELECT seq FROM files WHERE id=?"
            )

    def file(self, file_id: str, now: int) -> File:
        """Return a file."""
        with self._read() as db:
            row = _known_file(db, file_id)
        if row["expires_at"] is not None and row["expires_at"] <= now:
            raise _no_file(file_id)
        return _file(row)

    def delete_file(self, file_id: str) -> None:
        """Remove a file and all of it that is in stores."""
        with self._write() as db:
            row = _known_file(db, file_id)
            for attached in db.execute("SELECT * FROM store_files WHERE file = ?", (row["seq"],)).fetchall():
                self._detach(db, attached)
            db.execute("DELETE FROM files WHERE seq = ?", (row["seq"],))

    # Stores -----------------------------------------------------------------------------------------------------------

    def add_store(self, store: Store, attachments: Sequence[Attachment]) -> None:
        """Make a store with its tables."""
        expiry = store.expires_after
        with self._write() as db:
            made = db.execute(
                "INSERT INTO stores (id, name, description, metadata, created_at, last_active_at, anchor, seconds) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING seq",
                (
                    store.id,
                    store.name,
                    store.description,
                    _json(store.metadata),
                    store.created_at,
                    store.created_at,
                    expiry and expiry.anchor,
                    expiry and expiry.seconds,
                ),
            ).fetchone()["seq"]
            self._make(db, made)
            _attach(db, made, attachments, None, store.created_at)

    def stores(self, listing: Listing, now: int, name: str | None = None) -> Page[Store]:
        """List stores, those of a name where one is given."""
        query = _STORE.format("(CAST(:name AS TEXT) IS NULL OR s.name = :name)")
        with self._read() as db:
            known = "SELECT seq FROM stores WHERE id = ?"
            return _page(db, query, "s", listing, {"name": name}, lambda row: _store(row, now), known)

    def store(self, store_id: str, now: int) -> Store:
        """Return a store."""
        with self._read() as db:
            row = db.execute(_STORE.format("s.id = ?"), (store_id,)).fetchone()
        if row is None:
            raise _no_store(store_id)
        return _store(row, now)

    def change_store(self, store_id: str, changes: Mapping[str, Any], now: int) -> None:
        """Set `name`, `metadata` or `expires_after`."""
        with self._write() as db:
            seq = live_store(db, store_id, now)["seq"]
            for name, value in changes.items():
                match name:
                    case "name":
                        db.execute("UPDATE stores SET name = ? WHERE seq = ?", (value, seq))
                    case "metadata":
                        db.execute("UPDATE stores SET metadata = ? WHERE seq = ?", (_json(value), seq))
                    case _:
                        expiry = (value and value.anchor, value and value.seconds)
                        db.execute("UPDATE stores SET anchor = ?, seconds = ? WHERE seq = ?", (*expiry, seq))
            db.execute("UPDATE stores SET last_active_at = ? WHERE seq = ?", (now, seq))

    def touch(self, store_ids: Collection[str], now: int) -> None:
        """Note that stores were used."""
        with self._write() as db:
            for one in store_ids:
                db.execute("UPDATE stores SET last_active_at = ? WHERE id = ?", (now, one))

    def delete_store(self, store_id: str) -> None:
        """Remove a store with its tables."""
        with self._write() as db:
            seq = _known_store(db, store_id)["seq"]
            self._empty(db, seq)
            db.execute("DELETE FROM batches WHERE store = ?", (seq,))
            db.execute("DELETE FROM stores WHERE seq = ?", (seq,))

    # Files in stores --------------------------------------------------------------------------------------------------

    def attach(self, store_id: str, attachments: Sequence[Attachment], batch_id: str | None, now: int) -> None:
        """Put all of the files into a store, or none."""
        with self._write() as db:
            seq = live_store(db, store_id, now)["seq"]
            if batch_id is not None:
                db.execute("INSERT INTO batches (id, store, created_at) VALUES (?, ?, ?)", (batch_id, seq, now))
            _attach(db, seq, attachments, batch_id, now)
            db.execute("UPDATE stores SET last_active_at = ? WHERE seq = ?", (now, seq))

    def store_files(
        self,
        store_id: str,
        listing: Listing,
        status: Status | None,
        batch_id: str | None,
        now: int,  # noqa: ARG002 - protocol `Index`
    ) -> Page[StoreFile]:
        """List the files of a store, of one status or batch."""
        query = _STORE_FILE.format(
            "sf.store = :store AND (CAST(:status AS TEXT) IS NULL OR sf.status = :status) "
            "AND (CAST(:batch AS TEXT) IS NULL OR sf.batch = :batch)"
        )
        with self._read() as db:
            seq = _known_store(db, store_id)["seq"]
            if batch_id is not None:
                _known_batch(db, seq, batch_id)
            known = (
                f"SELECT sf.seq FROM store_files sf JOIN files f ON f.seq = sf.file WHERE sf.store = {seq} AND f.id = ?"  # noqa: S608
            )
            values = {"store": seq, "status": status, "batch": batch_id}
            return _page(db, query, "sf", listing, values, _store_file, known)

    def store_file(self, store_id: str, file_id: str, now: int) -> StoreFile:  # noqa: ARG002 - protocol `Index`
        """Return a file in a store."""
        with self._read() as db:
            return _store_file(_attached(db, store_id, file_id))

    def in_place(self, store_id: str) -> tuple[tuple[File, StoreFile], ...]:
        """Return the files of a store that were indexed where they lie, the oldest first."""
        with self._read() as db:
            seq = _known_store(db, store_id)["seq"]
            attached = db.execute(
                _STORE_FILE.format(f"sf.store = ? AND f.source IS NOT NULL{self.here}"), (seq,)
            ).fetchall()
            query = "SELECT f.* FROM files f JOIN store_files sf ON sf.file = f.seq WHERE sf.store = ?"
            files = {row["id"]: _file(row) for row in db.execute(query, (seq,))}
        return tuple((files[row["file_id"]], _store_file(row)) for row in sorted(attached, key=lambda row: row["file"]))

    def set_attributes(self, store_id: str, file_id: str, attributes: Attributes) -> None:
        """Replace the attributes."""
        with self._write() as db:
            row = _attached(db, store_id, file_id)
            db.execute("UPDATE store_files SET attributes = ? WHERE seq = ?", (_json(attributes), row["seq"]))

    def detach(self, store_id: str, file_id: str) -> None:
        """Take a file out of a store."""
        with self._write() as db:
            self._detach(db, _attached(db, store_id, file_id))

    def chunks(self, store_id: str, file_id: str, now: int) -> tuple[Chunk, ...]:
        """Return a file's chunks in order."""
        with self._read() as db:
            live_store(db, store_id, now)
            row = _attached(db, store_id, file_id)
            found = db.execute(
                f"SELECT * FROM chunks_{row['store']} WHERE id >= ? AND id < ? ORDER BY id",  # noqa: S608
                (row["segment"] or 0, (row["segment"] or 0) + row["chunks"]),
            )
            return tuple(Chunk(text=chunk["text"], place=_place(chunk)) for chunk in found)

    def batch(self, store_id: str, batch_id: str, now: int) -> Batch:  # noqa: ARG002 - protocol `Index`
        """Return a batch."""
        with self._read() as db:
            seq = _known_store(db, store_id)["seq"]
            row = _known_batch(db, seq, batch_id)
            by_status = dict(
                db.execute(
                    "SELECT status, count(*) FROM store_files WHERE store = ? AND batch = ? GROUP BY status",
                    (seq, batch_id),
                ).fetchall()
            )
        counts = Counts(**by_status)
        status: Status = "in_progress" if counts.in_progress else "completed"
        if row["cancelled"]:
            status = "cancelled"
        elif counts.failed and counts.failed == counts.total:
            status = "failed"
        return Batch(id=batch_id, store_id=store_id, created_at=row["created_at"], status=status, counts=counts)

    def cancel_batch(self, store_id: str, batch_id: str) -> None:
        """Give up what is still in progress."""
        with self._write() as db:
            seq = _known_store(db, store_id)["seq"]
            row = _known_batch(db, seq, batch_id)
            given_up = db.execute(
                "UPDATE store_files SET status = 'cancelled', revision = revision + 1 "
                "WHERE store = ? AND batch = ? AND status = 'in_progress' RETURNING seq",
                (seq, batch_id),
            ).fetchall()
            if given_up:
                db.execute("UPDATE batches SET cancelled = 1 WHERE seq = ?", (row["seq"],))

    # Indexing ---------------------------------------------------------------------------------------------------------

    def next_job(self, now: int) -> Job | None:
        """Return the file that has waited longest."""
        with self._read() as db:
            waiting = self._waiting(db, now, 1)
        return job(waiting[0]) if waiting else None

    def _waiting(self, db: Database, now: int, limit: int) -> list[Row]:
        return db.execute(_WAITING.format(self.here), (now, limit)).fetchall()

    def finish(self, job: Job, chunks: Sequence[Chunk], vectors: Vectors) -> bool:
        """Make a file's chunks findable, all at once, instead of those it had; False if nobody wants them any more."""
        with self._write() as db:
            row = _wanted(db, job)
            if row is None:
                return False
            self._clear(db, row)
            store = row["store"]
            (first,) = db.execute("SELECT next_chunk FROM stores WHERE seq = ?", (store,)).fetchone()
            self._add(db, store, Segment(first, len(chunks)), chunks, vectors)
            db.execute(
                "UPDATE store_files SET status = 'completed', code = NULL, message = NULL, segment = ?, chunks = ?, "
                "usage = ? WHERE seq = ?",
                (first, len(chunks), _usage(chunks, self._dimension), row["seq"]),
            )
            db.execute(
                "UPDATE stores SET version = version + 1, next_chunk = ? WHERE seq = ?", (first + len(chunks), store)
            )
        return True

    def fail(self, job: Job, failure: Failure) -> None:
        """Note why a file can't be indexed, and forget what it had."""
        with self._write() as db:
            row = _wanted(db, job)
            if row is not None:
                self._clear(db, row)
                db.execute(
                    "UPDATE store_files SET status = 'failed', code = ?, message = ?, segment = NULL, chunks = 0, "
                    "usage = 0 WHERE seq = ?",
                    (failure.code, failure.message, row["seq"]),
                )

    def sweep(self, now: int) -> None:
        """Remove what has expired and what nothing refers to."""
        with self._read() as db:
            gone = [one["id"] for one in db.execute("SELECT id FROM files WHERE expires_at <= ?", (now,))]
            stores = db.execute("SELECT * FROM stores WHERE anchor IS NOT NULL AND expired = 0").fetchall()
        for file_id in gone:
            with suppress(LibraryError):
                self.delete_file(file_id)
        for store in stores:
            if is_expired(store, now):
                self._expire(store)

    def _expire(self, store: Row) -> None:
        with self._write() as db:
            there = db.execute("SELECT 1 FROM stores WHERE seq = ? AND expired = 0", (store["seq"],)).fetchone()
            if there is not None:
                self._empty(db, store["seq"])
                db.execute("UPDATE stores SET expired = 1, version = version + 1 WHERE seq = ?", (store["seq"],))

    def _empty(self, db: Database, store: int) -> None:
        """Remove a store's files and tables."""
        self._drop(db, store)
        db.execute("DELETE FROM store_files WHERE store = ?", (store,))

    def _detach(self, db: Database, row: Row) -> None:
        self._clear(db, row)
        db.execute("DELETE FROM store_files WHERE seq = ?", (row["seq"],))
        db.execute("UPDATE stores SET version = version + 1 WHERE seq = ?", (row["store"],))

    def _clear(self, db: Database, row: Row) -> None:
        """Remove the chunks of an attachment, if it has any."""
        if row["segment"] is None:
            return
        self._remove(db, row["store"], Segment(row["segment"], row["chunks"]))
        db.execute("UPDATE store_files SET segment = NULL WHERE seq = ?", (row["seq"],))
        db.execute("UPDATE stores SET version = version + 1 WHERE seq = ?", (row["store"],))


# Rows -----------------------------------------------------------------------------------------------------------------


def _file(row: Row) -> File:
    return File(**{name: row[name] for name in File.__struct_fields__})


def _store(row: Row, now: int) -> Store:
    counts = Counts(**{name: row[name] for name in Counts.__struct_fields__})
    expiry = Expiry(row["anchor"], row["seconds"]) if row["anchor"] else None
    status = "expired" if is_expired(row, now) else "in_progress" if counts.in_progress else "completed"
    return Store(
        id=row["id"],
        name=row["name"],
        description=row["description"],
        metadata=msgspec.json.decode(row["metadata"]),
        created_at=row["created_at"],
        last_active_at=row["last_active_at"],
        expires_after=expiry,
        expires_at=row[expiry.anchor] + expiry.seconds if expiry else None,
        status=status,  # type: ignore[arg-type]
        counts=counts,
        usage_bytes=row["usage"],
        chunks=row["chunks"],
    )


def is_expired(row: Row, now: int) -> bool:
    """Tell whether a store has expired."""
    return bool(row["expired"]) or (row["anchor"] is not None and row[row["anchor"]] + row["seconds"] <= now)


def _store_file(row: Row) -> StoreFile:
    return StoreFile(
        id=row["file_id"],
        store_id=row["store_id"],
        name=row["name"],
        created_at=row["created_at"],
        status=row["status"],
        failure=Failure(row["code"], row["message"]) if row["status"] == "failed" else None,
        chunking=msgspec.json.decode(row["chunking"], type=Chunking),
        attributes=msgspec.json.decode(row["attributes"]),
        usage_bytes=row["usage"],
        chunks=row["chunks"],
        batch_id=row["batch"],
    )


def _place(row: Row) -> Place:
    return Place(page=row["page"], heading=row["heading"], line=row["line"])


def job(row: Row) -> Job:
    """Return what is to be done with an attachment that waits."""
    chunking = msgspec.json.decode(row["chunking"], type=Chunking)
    return Job(store_id=row["store_id"], file=_file(row), chunking=chunking, revision=row["revision"])


def candidates(rows: Iterable[Row], store_id: str, cosines: Mapping[int, float]) -> dict[Key, Candidate]:
    """Return chunks as what may fit.

    Args:
        rows: of chunks, with `file_id`, `name` and `attributes` of their files.
        store_id: of their store.
        cosines: of their vectors and the question's, by their ids.
    """
    return {
        (store_id, row["id"]): Candidate(
            store_id=store_id,
            file_id=row["file_id"],
            name=row["name"],
            attributes=msgspec.json.decode(row["attributes"]),
            number=row["id"] - row["segment"],
            heading=row["heading"] or "",
            text=row["text"],
            place=_place(row),
            cosine=cosines[row["id"]],
        )
        for row in rows
    }


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _page(
    db: Database,
    query: str,
    table: str,
    listing: Listing,
    values: dict[str, Any],
    made: Callable[[Row], Any],
    known: str,
) -> Page[Any]:
    """Return one page of what a query yields; it ends in a condition that can be added to, or in `GROUP BY`."""
    head, group, tail = query.partition(" GROUP BY ")
    backwards = listing.before is not None and listing.after is None
    ascending = (listing.order == "asc") != backwards
    cursor = listing.before if backwards else listing.after
    if cursor is not None:
        row = db.execute(known, (cursor,)).fetchone()
        if row is None:
            raise LibraryError(
                "invalid_value", f"There is no {cursor!r} to go on from.", "before" if backwards else "after"
            )
        head += f" AND {table}.seq {'>' if ascending else '<'} :cursor"
        values = values | {"cursor": row["seq"]}
    order = f" ORDER BY {table}.seq {'ASC' if ascending else 'DESC'} LIMIT :limit"
    rows = db.execute(head + group + tail + order, values | {"limit": listing.limit + 1}).fetchall()
    items = [made(row) for row in rows[: listing.limit]]
    return Page(tuple(reversed(items) if backwards else items), len(rows) > listing.limit)


# What must be there ---------------------------------------------------------------------------------------------------


def _no_file(file_id: str) -> LibraryError:
    return LibraryError("not_found", f"There is no file {file_id!r}.", "file_id")


def _no_store(store_id: str) -> LibraryError:
    return LibraryError("not_found", f"There is no vector store {store_id!r}.", "vector_store_id")


def _known_file(db: Database, file_id: str) -> Row:
    row: Row | None = db.execute("SELECT * FROM files WHERE id = ?", (file_id,)).fetchone()
    if row is None:
        raise _no_file(file_id)
    return row


def _known_store(db: Database, store_id: str) -> Row:
    row: Row | None = db.execute("SELECT * FROM stores WHERE id = ?", (store_id,)).fetchone()
    if row is None:
        raise _no_store(store_id)
    return row


def live_store(db: Database, store_id: str, now: int) -> Row:
    """Return a store that can be used.

    Raises:
        LibraryError: `not_found`, `expired`.
    """
    row = _known_store(db, store_id)
    if is_expired(row, now):
        raise LibraryError("expired", f"The vector store {store_id!r} has expired; make a new one.", "vector_store_id")
    return row


def _known_batch(db: Database, store: int, batch_id: str) -> Row:
    row: Row | None = db.execute("SELECT * FROM batches WHERE id = ? AND store = ?", (batch_id, store)).fetchone()
    if row is None:
        raise LibraryError("not_found", f"There is no batch {batch_id!r} in this vector store.", "batch_id")
    return row


def _attached(db: Database, store_id: str, file_id: str) -> Row:
    store = _known_store(db, store_id)
    row: Row | None = db.execute(_STORE_FILE.format("sf.store = ? AND f.id = ?"), (store["seq"], file_id)).fetchone()
    if row is None:
        message = f"The file {file_id!r} is not in the vector store {store_id!r}."
        raise LibraryError("not_found", message, "file_id")
    return row


def _wanted(db: Database, job: Job) -> Row | None:
    """Return the attachment that a job is for, unless it is no longer wanted."""
    row: Row | None = db.execute(
        _STORE_FILE.format("s.id = ? AND f.id = ? AND sf.revision = ? AND sf.status = 'in_progress' AND s.expired = 0"),
        (job.store_id, job.file.id, job.revision),
    ).fetchone()
    return row


# Changes --------------------------------------------------------------------------------------------------------------


def _attach(db: Database, store: int, attachments: Sequence[Attachment], batch_id: str | None, now: int) -> None:
    for attachment in attachments:
        file = _known_file(db, attachment.file_id)
        db.execute(
            "INSERT INTO store_files (store, file, created_at, status, chunking, attributes, batch) "
            "VALUES (?, ?, ?, 'in_progress', ?, ?, ?) ON CONFLICT (store, file) DO UPDATE SET status = 'in_progress', "
            "chunking = excluded.chunking, attributes = excluded.attributes, batch = excluded.batch, "
            "revision = store_files.revision + 1",
            (store, file["seq"], now, _json(attachment.chunking), _json(attachment.attributes), batch_id),
        )


def _usage(chunks: Sequence[Chunk], dimension: int) -> int:
    return sum(len(chunk.text.encode()) for chunk in chunks) + len(chunks) * dimension * 2


def allowed(db: Database, store: int, filters: Filters) -> set[int]:
    """Return the segments whose files have the attributes that a filter wants."""
    rows = db.execute("SELECT segment, attributes FROM store_files WHERE store = ? AND segment IS NOT NULL", (store,))
    return {row["segment"] for row in rows if wanted.matches(filters, msgspec.json.decode(row["attributes"]))}
