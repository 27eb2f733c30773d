"""A library in one folder: SQLite in write-ahead mode, full text by FTS5, and the bytes of the files beside it.

Each store has tables of its own, so that its words are counted by themselves and that it goes in one piece. Whatever
belongs to one file becomes visible in one transaction.
"""

from __future__ import annotations

import bisect
import os
import queue
import sqlite3
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from vivavoce.search import filters as wanted
from vivavoce.search.copying import full, translated
from vivavoce.search.index import Candidate, Candidates, Job, Key, Listing, Question
from vivavoce.search.locks import try_locked
from vivavoce.search.rarity import Frequencies
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
from vivavoce.search.vectors import FEW, Matrix, Segment, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from vivavoce.ports import Vectors
    from vivavoce.search.shapes import Attachment, Filters, Status

VERSION: Final = 1
_PATIENCE_MS: Final = 30_000
"""How long one waits for another process that writes."""
_READERS: Final = 4
"""Connections that are kept for reading."""
_STRAY_S: Final = 3600
"""Age of content that belongs to no file, and may be on its way to one before."""

_SCHEMA: Final = """
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, size INTEGER NOT NULL,
  digest TEXT NOT NULL, purpose TEXT NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER, source TEXT,
  modified_ns INTEGER);
CREATE TABLE IF NOT EXISTS stores (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, description TEXT NOT NULL,
  metadata TEXT NOT NULL, created_at INTEGER NOT NULL, last_active_at INTEGER NOT NULL, anchor TEXT, seconds INTEGER,
  expired INTEGER NOT NULL DEFAULT 0, version INTEGER NOT NULL DEFAULT 0, next_chunk INTEGER NOT NULL DEFAULT 1);
CREATE TABLE IF NOT EXISTS store_files (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, store INTEGER NOT NULL, file INTEGER NOT NULL, created_at INTEGER NOT NULL,
  status TEXT NOT NULL, code TEXT, message TEXT, chunking TEXT NOT NULL, attributes TEXT NOT NULL,
  usage INTEGER NOT NULL DEFAULT 0, segment INTEGER, chunks INTEGER NOT NULL DEFAULT 0, batch TEXT,
  revision INTEGER NOT NULL DEFAULT 0, UNIQUE (store, file));
CREATE INDEX IF NOT EXISTS store_files_by_file ON store_files (file);
CREATE INDEX IF NOT EXISTS store_files_by_segment ON store_files (store, segment);
CREATE INDEX IF NOT EXISTS store_files_in_progress ON store_files (seq) WHERE status = 'in_progress';
CREATE TABLE IF NOT EXISTS batches (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, store INTEGER NOT NULL, created_at INTEGER NOT NULL,
  cancelled INTEGER NOT NULL DEFAULT 0);
COMMIT;
"""

_STORE_TABLES: Final = """
CREATE TABLE chunks_{0} (
  id INTEGER PRIMARY KEY, segment INTEGER NOT NULL, page INTEGER, line INTEGER, heading TEXT, text TEXT NOT NULL);
CREATE TABLE vectors_{0} (id INTEGER PRIMARY KEY, vector BLOB NOT NULL);
CREATE TABLE codes_{0} (segment INTEGER PRIMARY KEY, count INTEGER NOT NULL, codes BLOB NOT NULL);
CREATE VIRTUAL TABLE text_{0} USING fts5 (
  heading, text, content = 'chunks_{0}', content_rowid = 'id', tokenize = 'porter unicode61 remove_diacritics 2');
INSERT INTO text_{0} (text_{0}, rank) VALUES ('rank', 'bm25(1.5, 1.0)');
"""

_STORE: Final = """
SELECT s.*, count(f.seq) FILTER (WHERE f.status = 'in_progress') AS in_progress,
  count(f.seq) FILTER (WHERE f.status = 'completed') AS completed,
  count(f.seq) FILTER (WHERE f.status = 'cancelled') AS cancelled,
  count(f.seq) FILTER (WHERE f.status = 'failed') AS failed,
  coalesce(sum(f.usage), 0) AS usage, coalesce(sum(f.chunks), 0) AS chunks
FROM stores s LEFT JOIN store_files f ON f.store = s.seq
WHERE {} GROUP BY s.seq
"""

_STORE_FILE: Final = """
SELECT sf.*, s.id AS store_id, f.id AS file_id, f.name FROM store_files sf
JOIN stores s ON s.seq = sf.store JOIN files f ON f.seq = sf.file WHERE {}
"""


class SqliteIndex:
    """Port `Index` in one folder, for any number of processes: they read at any time, and write one after the other.

    Args:
        folder: made where it isn't there.
        model: what vectors are made with.
        dimension: components of a vector.
    """

    def __init__(self, folder: Path, *, model: str, dimension: int) -> None:
        self._folder = folder
        self._dimension = dimension
        self._writing = threading.Lock()
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue(_READERS)
        self._views: dict[int, _View] = {}
        with _translated(folder):
            for part in (self.contents, self.partial):
                part.mkdir(parents=True, exist_ok=True)
            self._writer = self._connect()
        self._check(model)

    @property
    def contents(self) -> Path:
        """Where the bytes of files are."""
        return self._folder / "files"

    @property
    def partial(self) -> Path:
        """Where they come from: on the same disk, for what isn't finished."""
        return self._folder / "partial"

    # Files ------------------------------------------------------------------------------------------------------------

    def add_file(self, file: File, content: Path | None) -> None:
        """Take a file in; `content` is moved, and is on disk before the file is known."""
        row = msgspec.to_builtins(file)
        with self._write() as db:
            if content is not None:
                content.rename(self.contents / file.id)
                _synced(self.contents)
            names = ", ".join(row)
            db.execute(f"INSERT INTO files ({names}) VALUES ({', '.join(f':{name}' for name in row)})", row)  # noqa: S608

    def files(self, listing: Listing, purpose: str | None, now: int) -> Page[File]:
        """List files."""
        query = (
            "SELECT * FROM files f WHERE (:purpose IS NULL OR purpose = :purpose) AND coalesce(expires_at > :now, 1)"
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

    def content(self, file: File) -> Path:
        """Return where a file's bytes are."""
        return Path(file.source) if file.source else self.contents / file.id

    def delete_file(self, file_id: str) -> None:
        """Remove a file and all of it that is in stores."""
        with self._write() as db:
            row = _known_file(db, file_id)
            for attached in db.execute("SELECT * FROM store_files WHERE file = ?", (row["seq"],)).fetchall():
                _detach(db, attached)
            db.execute("DELETE FROM files WHERE seq = ?", (row["seq"],))
        (self.contents / file_id).unlink(missing_ok=True)

    # Stores -----------------------------------------------------------------------------------------------------------

    def add_store(self, store: Store, attachments: Sequence[Attachment]) -> None:
        """Make a store with its tables."""
        expiry = store.expires_after
        with self._write() as db:
            made = db.execute(
                "INSERT INTO stores (id, name, description, metadata, created_at, last_active_at, anchor, seconds) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
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
            ).lastrowid
            assert made is not None  # noqa: S101 - a row was inserted
            for statement in filter(str.strip, _STORE_TABLES.format(made).split(";")):
                db.execute(statement)
            _attach(db, made, attachments, None, store.created_at)

    def stores(self, listing: Listing, now: int, name: str | None = None) -> Page[Store]:
        """List stores, those of a name where one is given."""
        query = _STORE.format("(:name IS NULL OR s.name = :name)")
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
            seq = _live_store(db, store_id, now)["seq"]
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
            db.executemany("UPDATE stores SET last_active_at = ? WHERE id = ?", [(now, one) for one in store_ids])

    def delete_store(self, store_id: str) -> None:
        """Remove a store with its tables."""
        with self._write() as db:
            seq = _known_store(db, store_id)["seq"]
            _empty(db, seq)
            db.execute("DELETE FROM batches WHERE store = ?", (seq,))
            db.execute("DELETE FROM stores WHERE seq = ?", (seq,))
        self._views.pop(seq, None)

    # Files in stores --------------------------------------------------------------------------------------------------

    def attach(self, store_id: str, attachments: Sequence[Attachment], batch_id: str | None, now: int) -> None:
        """Put all of the files into a store, or none."""
        with self._write() as db:
            seq = _live_store(db, store_id, now)["seq"]
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
            "sf.store = :store AND (:status IS NULL OR sf.status = :status) AND (:batch IS NULL OR sf.batch = :batch)"
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
            attached = db.execute(_STORE_FILE.format("sf.store = ? AND f.source IS NOT NULL"), (seq,)).fetchall()
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
            _detach(db, _attached(db, store_id, file_id))

    def chunks(self, store_id: str, file_id: str, now: int) -> tuple[Chunk, ...]:
        """Return a file's chunks in order."""
        with self._read() as db:
            _live_store(db, store_id, now)
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
                "WHERE store = ? AND batch = ? AND status = 'in_progress'",
                (seq, batch_id),
            ).rowcount
            if given_up:
                db.execute("UPDATE batches SET cancelled = 1 WHERE seq = ?", (row["seq"],))

    # Indexing ---------------------------------------------------------------------------------------------------------

    def indexing(self) -> AbstractContextManager[bool]:
        """Hold the right to index, which one process has; it falls with the process."""
        return try_locked(self._folder / "indexing.lock")

    def next_job(self, now: int) -> Job | None:
        """Return the file that has waited longest."""
        with self._read() as db:
            waiting = db.execute(
                "SELECT f.*, s.id AS store_id, sf.chunking, sf.revision FROM store_files sf "
                "JOIN stores s ON s.seq = sf.store JOIN files f ON f.seq = sf.file "
                "WHERE sf.status = 'in_progress' AND NOT s.expired AND coalesce(f.expires_at > ?, 1) "
                "ORDER BY sf.seq LIMIT 1",
                (now,),
            ).fetchone()
        if waiting is None:
            return None
        chunking = msgspec.json.decode(waiting["chunking"], type=Chunking)
        return Job(store_id=waiting["store_id"], file=_file(waiting), chunking=chunking, revision=waiting["revision"])

    def finish(self, job: Job, chunks: Sequence[Chunk], vectors: Vectors) -> bool:
        """Make a file's chunks findable, all at once, instead of those it had; False if nobody wants them any more."""
        with self._write() as db:
            row = _waiting(db, job)
            if row is None:
                return False
            _remove_segment(db, row)
            store = row["store"]
            (first,) = db.execute("SELECT next_chunk FROM stores WHERE seq = ?", (store,)).fetchone()
            _add_segment(db, store, Segment(first, len(chunks)), chunks, vectors)
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
            row = _waiting(db, job)
            if row is not None:
                _remove_segment(db, row)
                db.execute(
                    "UPDATE store_files SET status = 'failed', code = ?, message = ?, segment = NULL, chunks = 0, "
                    "usage = 0 WHERE seq = ?",
                    (failure.code, failure.message, row["seq"]),
                )

    def sweep(self, now: int) -> None:
        """Remove what has expired and what nothing refers to."""
        with self._read() as db:
            gone = [one["id"] for one in db.execute("SELECT id FROM files WHERE expires_at <= ?", (now,))]
            stores = db.execute("SELECT * FROM stores WHERE anchor IS NOT NULL AND NOT expired").fetchall()
            known = {one["id"] for one in db.execute("SELECT id FROM files WHERE source IS NULL")}
            living = {one["seq"] for one in db.execute("SELECT seq FROM stores")}
        for seq in self._views.keys() - living:
            self._views.pop(seq, None)
        for file_id in gone:
            self.delete_file(file_id)
        for store in stores:
            if _is_expired(store, now):
                self._expire(store)
        for stray in (*self.partial.iterdir(), *(one for one in self.contents.iterdir() if one.name not in known)):
            if stray.stat().st_mtime < now - _STRAY_S:
                stray.unlink(missing_ok=True)
        if gone or stores:
            with self._writing, _translated(self._folder):
                self._writer.execute("PRAGMA incremental_vacuum(10000)").fetchall()

    def _expire(self, store: sqlite3.Row) -> None:
        with self._write() as db:
            if not db.execute("SELECT expired FROM stores WHERE seq = ?", (store["seq"],)).fetchone()["expired"]:
                _empty(db, store["seq"])
                db.execute("UPDATE stores SET expired = 1, version = version + 1 WHERE seq = ?", (store["seq"],))

    # Search -----------------------------------------------------------------------------------------------------------

    def candidates(
        self, store_id: str, question: Question, filters: Filters | None, limit: int, now: int
    ) -> Candidates:
        """Bring up what may fit, by full text and by vectors, all of one moment."""
        with self._read() as db:
            store = _live_store(db, store_id, now)
            seq = store["seq"]
            view = self._views.setdefault(seq, _View(seq, self._dimension))
            allowed = _allowed(db, seq, filters) if filters is not None else None
            by_vector = (
                view.nearest(db, store["version"], question.vector, limit, allowed) if question.by_vector else []
            )
            by_text, rarity = view.matching(db, store["version"], question, limit, allowed)
            cosines = _cosines(db, seq, {*by_vector, *by_text}, question.vector)
            nearest = sorted((one for one in by_vector if one in cosines), key=cosines.__getitem__, reverse=True)[
                :limit
            ]
            chunks = _read_chunks(
                db, store_id, seq, {one: cosines[one] for one in {*nearest, *by_text} if one in cosines}
            )
        return Candidates(
            [(store_id, one) for one in by_text if (store_id, one) in chunks],
            [(store_id, one) for one in nearest if (store_id, one) in chunks],
            chunks,
            rarity,
        )

    def close(self) -> None:
        """Close all connections."""
        with self._writing:
            self._writer.close()
        while not self._idle.empty():
            self._idle.get_nowait().close()

    # Connections ------------------------------------------------------------------------------------------------------

    def _check(self, model: str) -> None:
        about = {"version": str(VERSION), "model": model, "dimension": str(self._dimension)}
        with _translated(self._folder):
            if not self._writer.execute("SELECT 1 FROM sqlite_master WHERE name = 'about'").fetchone():
                self._writer.executescript(_SCHEMA)
        with self._read() as db:
            known = dict(db.execute("SELECT key, value FROM about").fetchall())
        if not known:
            with self._write() as db:
                db.executemany("INSERT OR IGNORE INTO about VALUES (?, ?)", about.items())
                known = dict(db.execute("SELECT key, value FROM about").fetchall())
        if known["version"] != about["version"]:
            raise LibraryError("storage_failed", f"{self._folder} was made by another version; use another folder.")
        if (known["model"], known["dimension"]) != (model, about["dimension"]):
            raise LibraryError(
                "storage_failed",
                f"{self._folder} was indexed with the embedding model {known['model']!r}, not {model!r}: "
                "choose that one, or another folder and index anew.",
            )

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self._folder / "library.db",
            isolation_level=None,
            check_same_thread=False,
            timeout=_PATIENCE_MS / 1000,
            cached_statements=256,
        )
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA cache_size = -16000")
        db.execute("PRAGMA mmap_size = 1073741824")
        db.execute("PRAGMA temp_store = MEMORY")
        return db

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """One transaction that writes."""
        with self._writing, _translated(self._folder):
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            finally:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        """One transaction that sees one moment."""
        with _translated(self._folder):
            try:
                db = self._idle.get_nowait()
            except queue.Empty:
                db = self._connect()
            try:
                db.execute("BEGIN")
                yield db
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                try:
                    self._idle.put_nowait(db)
                except queue.Full:
                    db.close()


class _View:
    """What this process keeps in memory of a store."""

    def __init__(self, seq: int, dimension: int) -> None:
        self._seq = seq
        self._dimension = dimension
        self._alone = threading.Lock()
        self._version = -1
        self._matrix = Matrix(dimension, coded=False)
        self._frequencies = Frequencies()

    def nearest(
        self, db: sqlite3.Connection, version: int, vector: Vectors, limit: int, allowed: set[int] | None
    ) -> list[int]:
        """Return the chunks that seem nearest."""
        with self._alone:
            self._catch_up(db, version)
            return self._matrix.nearest(vector, limit, allowed)

    def matching(
        self, db: sqlite3.Connection, version: int, question: Question, limit: int, allowed: set[int] | None
    ) -> tuple[list[int], dict[str, float]]:
        """Return the chunks that match best, and how much each word tells."""
        table = f"text_{self._seq}"
        with self._alone:
            self._catch_up(db, version)
            every = len(self._matrix)

        def count(word: str, most: int) -> int:
            counted = f"SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {table} MATCH ? LIMIT ?)"  # noqa: S608
            return int(db.execute(counted, (_quoted(word), most)).fetchone()[0])

        telling = self._frequencies.telling(question.words, version, count, needed=not question.by_vector)
        if not telling or not question.by_text:
            return [], self._frequencies.rarity(question.words, every)
        found: list[int] = []
        ranked = f"SELECT rowid FROM {table} WHERE {table} MATCH ? ORDER BY rank"  # noqa: S608
        rows = db.execute(ranked, (" OR ".join(map(_quoted, telling)),))
        segments = _Owners(allowed, self._matrix.segments) if allowed is not None else None
        for (chunk,) in rows:
            if segments is None or chunk in segments:
                found.append(chunk)
                if len(found) == limit:
                    break
        rows.close()
        return found, self._frequencies.rarity(question.words, every)

    def _catch_up(self, db: sqlite3.Connection, version: int) -> None:
        """Take in the segments that are new at this moment, and drop those that are gone."""
        if version <= self._version:
            return
        there = {
            row["segment"]: Segment(row["segment"], row["chunks"])
            for row in db.execute(
                "SELECT segment, chunks FROM store_files WHERE store = ? AND segment IS NOT NULL", (self._seq,)
            )
        }
        coded = sum(segment.size for segment in there.values()) > FEW
        if coded != self._matrix.coded:
            self._matrix = Matrix(self._dimension, coded=coded)
        for first in self._matrix.segments.keys() - there.keys():
            self._matrix.drop(first)
        for first in sorted(there.keys() - self._matrix.segments.keys()):
            self._matrix.add(
                there[first], _codes(db, self._seq, first) if coded else _vectors(db, self._seq, there[first])
            )
        self._version = version


class _Owners:
    """The chunks of some segments."""

    def __init__(self, allowed: set[int], segments: Mapping[int, Segment]) -> None:
        self._ranges = sorted(segments[first] for first in allowed if first in segments)

    def __contains__(self, chunk: int) -> bool:
        place = bisect.bisect_right(self._ranges, (chunk, 2**62)) - 1
        return place >= 0 and chunk < self._ranges[place].first + self._ranges[place].size


# Rows -----------------------------------------------------------------------------------------------------------------


def _file(row: sqlite3.Row) -> File:
    return File(**{name: row[name] for name in File.__struct_fields__})


def _store(row: sqlite3.Row, now: int) -> Store:
    counts = Counts(**{name: row[name] for name in Counts.__struct_fields__})
    expiry = Expiry(row["anchor"], row["seconds"]) if row["anchor"] else None
    status = "expired" if _is_expired(row, now) else "in_progress" if counts.in_progress else "completed"
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


def _is_expired(row: sqlite3.Row, now: int) -> bool:
    return bool(row["expired"]) or (row["anchor"] is not None and row[row["anchor"]] + row["seconds"] <= now)


def _store_file(row: sqlite3.Row) -> StoreFile:
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


def _place(row: sqlite3.Row) -> Place:
    return Place(page=row["page"], heading=row["heading"], line=row["line"])


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _page(
    db: sqlite3.Connection,
    query: str,
    table: str,
    listing: Listing,
    values: dict[str, Any],
    made: Callable[[sqlite3.Row], Any],
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


def _known_file(db: sqlite3.Connection, file_id: str) -> sqlite3.Row:
    row: sqlite3.Row | None = db.execute("SELECT * FROM files WHERE id = ?", (file_id,)).fetchone()
    if row is None:
        raise _no_file(file_id)
    return row


def _known_store(db: sqlite3.Connection, store_id: str) -> sqlite3.Row:
    row: sqlite3.Row | None = db.execute("SELECT * FROM stores WHERE id = ?", (store_id,)).fetchone()
    if row is None:
        raise _no_store(store_id)
    return row


def _live_store(db: sqlite3.Connection, store_id: str, now: int) -> sqlite3.Row:
    row = _known_store(db, store_id)
    if _is_expired(row, now):
        raise LibraryError("expired", f"The vector store {store_id!r} has expired; make a new one.", "vector_store_id")
    return row


def _known_batch(db: sqlite3.Connection, store: int, batch_id: str) -> sqlite3.Row:
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM batches WHERE id = ? AND store = ?", (batch_id, store)
    ).fetchone()
    if row is None:
        raise LibraryError("not_found", f"There is no batch {batch_id!r} in this vector store.", "batch_id")
    return row


def _attached(db: sqlite3.Connection, store_id: str, file_id: str) -> sqlite3.Row:
    store = _known_store(db, store_id)
    row: sqlite3.Row | None = db.execute(
        _STORE_FILE.format("sf.store = ? AND f.id = ?"), (store["seq"], file_id)
    ).fetchone()
    if row is None:
        message = f"The file {file_id!r} is not in the vector store {store_id!r}."
        raise LibraryError("not_found", message, "file_id")
    return row


def _waiting(db: sqlite3.Connection, job: Job) -> sqlite3.Row | None:
    """Return the attachment that a job is for, unless it is no longer wanted."""
    row: sqlite3.Row | None = db.execute(
        _STORE_FILE.format("s.id = ? AND f.id = ? AND sf.revision = ? AND sf.status = 'in_progress' AND NOT s.expired"),
        (job.store_id, job.file.id, job.revision),
    ).fetchone()
    return row


# Changes --------------------------------------------------------------------------------------------------------------


def _attach(
    db: sqlite3.Connection, store: int, attachments: Sequence[Attachment], batch_id: str | None, now: int
) -> None:
    for attachment in attachments:
        file = _known_file(db, attachment.file_id)
        db.execute(
            "INSERT INTO store_files (store, file, created_at, status, chunking, attributes, batch) "
            "VALUES (?, ?, ?, 'in_progress', ?, ?, ?) ON CONFLICT (store, file) DO UPDATE SET status = 'in_progress', "
            "chunking = excluded.chunking, attributes = excluded.attributes, batch = excluded.batch, "
            "revision = revision + 1",
            (store, file["seq"], now, _json(attachment.chunking), _json(attachment.attributes), batch_id),
        )


def _detach(db: sqlite3.Connection, row: sqlite3.Row) -> None:
    _remove_segment(db, row)
    db.execute("DELETE FROM store_files WHERE seq = ?", (row["seq"],))
    db.execute("UPDATE stores SET version = version + 1 WHERE seq = ?", (row["store"],))


def _add_segment(
    db: sqlite3.Connection, store: int, segment: Segment, chunks: Sequence[Chunk], vectors: Vectors
) -> None:
    ids = range(segment.first, segment.first + segment.size)
    db.executemany(
        f"INSERT INTO chunks_{store} VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608
        [
            (one, segment.first, chunk.place.page, chunk.place.line, chunk.place.heading, chunk.text)
            for one, chunk in zip(ids, chunks, strict=True)
        ],
    )
    halves = vectors.astype(np.float16)
    rows = ((one, half.tobytes()) for one, half in zip(ids, halves, strict=True))
    db.executemany(f"INSERT INTO vectors_{store} VALUES (?, ?)", rows)  # noqa: S608
    codes = encode(vectors).tobytes()
    db.execute(f"INSERT INTO codes_{store} VALUES (?, ?, ?)", (segment.first, segment.size, codes))  # noqa: S608
    db.execute(
        f"INSERT INTO text_{store} (rowid, heading, text) SELECT id, heading, text FROM chunks_{store} "  # noqa: S608
        "WHERE id >= ? AND id < ?",
        (ids.start, ids.stop),
    )


def _remove_segment(db: sqlite3.Connection, row: sqlite3.Row) -> None:
    """Remove the chunks of an attachment, if it has any."""
    if row["segment"] is None:
        return
    store, ids = row["store"], (row["segment"], row["segment"] + row["chunks"])
    db.execute(
        f"INSERT INTO text_{store} (text_{store}, rowid, heading, text) "  # noqa: S608
        f"SELECT 'delete', id, heading, text FROM chunks_{store} WHERE id >= ? AND id < ?",
        ids,
    )
    for table in ("chunks", "vectors"):
        db.execute(f"DELETE FROM {table}_{store} WHERE id >= ? AND id < ?", ids)  # noqa: S608
    db.execute(f"DELETE FROM codes_{store} WHERE segment = ?", ids[:1])  # noqa: S608
    db.execute("UPDATE store_files SET segment = NULL WHERE seq = ?", (row["seq"],))
    db.execute("UPDATE stores SET version = version + 1 WHERE seq = ?", (store,))


def _empty(db: sqlite3.Connection, store: int) -> None:
    """Remove a store's files and tables."""
    for table in ("text", "codes", "vectors", "chunks"):
        db.execute(f"DROP TABLE IF EXISTS {table}_{store}")
    db.execute("DELETE FROM store_files WHERE store = ?", (store,))


def _usage(chunks: Sequence[Chunk], dimension: int) -> int:
    return sum(len(chunk.text.encode()) for chunk in chunks) + len(chunks) * dimension * 2


# Search ---------------------------------------------------------------------------------------------------------------


def _allowed(db: sqlite3.Connection, store: int, filters: Filters) -> set[int]:
    """Return the segments whose files have the attributes that a filter wants."""
    rows = db.execute("SELECT segment, attributes FROM store_files WHERE store = ? AND segment IS NOT NULL", (store,))
    return {row["segment"] for row in rows if wanted.matches(filters, msgspec.json.decode(row["attributes"]))}


def _vectors(db: sqlite3.Connection, store: int, segment: Segment) -> Vectors:
    rows = db.execute(
        f"SELECT vector FROM vectors_{store} WHERE id >= ? AND id < ? ORDER BY id",  # noqa: S608
        (segment.first, segment.first + segment.size),
    )
    halves = np.frombuffer(b"".join(row[0] for row in rows), np.float16)
    return halves.reshape(segment.size, -1).astype(np.float32)


def _codes(db: sqlite3.Connection, store: int, first: int) -> Any:
    row = db.execute(f"SELECT count, codes FROM codes_{store} WHERE segment = ?", (first,)).fetchone()  # noqa: S608
    return np.frombuffer(row["codes"], np.uint64).reshape(row["count"], -1)


def _cosines(db: sqlite3.Connection, store: int, ids: Collection[int], vector: Vectors) -> dict[int, float]:
    rows = db.execute(
        f"SELECT id, vector FROM vectors_{store} WHERE id IN (SELECT value FROM json_each(?))",  # noqa: S608
        (_json(sorted(ids)),),
    ).fetchall()
    if not rows:
        return {}
    halves = np.frombuffer(b"".join(row["vector"] for row in rows), np.float16).reshape(len(rows), -1)
    likeness = (halves.astype(np.float32) @ vector).tolist()
    return dict(zip((row["id"] for row in rows), likeness, strict=True))


def _read_chunks(
    db: sqlite3.Connection, store_id: str, store: int, cosines: Mapping[int, float]
) -> dict[Key, Candidate]:
    rows = db.execute(
        f"SELECT c.*, f.id AS file_id, f.name, sf.attributes FROM chunks_{store} c "  # noqa: S608
        "JOIN store_files sf ON sf.store = ? AND sf.segment = c.segment JOIN files f ON f.seq = sf.file "
        "WHERE c.id IN (SELECT value FROM json_each(?))",
        (store, _json(sorted(cosines))),
    )
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


def _quoted(word: str) -> str:
    return '"' + word.replace('"', '""') + '"'


# Disk -----------------------------------------------------------------------------------------------------------------


@contextmanager
def _translated(folder: Path) -> Iterator[None]:
    """Say in a sentence what is wrong with the disk."""
    with translated(folder):
        try:
            yield
        except sqlite3.Error as wrong:
            raise _failure(folder, wrong) from wrong


def _failure(folder: Path, wrong: sqlite3.Error) -> LibraryError:
    code = getattr(wrong, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return full(folder)
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return LibraryError("busy", f"Another process writes to {folder} for too long; try again.")
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return LibraryError("storage_failed", f"{folder / 'library.db'} is damaged; remove it and index anew.")
    return LibraryError("storage_failed", f"{folder} can't be used: {wrong}.")


def _synced(folder: Path) -> None:
    """Make sure that names in a folder are on disk."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
