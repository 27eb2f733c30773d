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

from vivavoce.search.copying import full, translated
from vivavoce.search.index import Candidates, Question
from vivavoce.search.locks import try_locked
from vivavoce.search.rarity import Frequencies
from vivavoce.search.shapes import File, LibraryError
from vivavoce.search.tables import Database, Tables, allowed, candidates, live_store
from vivavoce.search.vectors import FEW, Matrix, Segment, encode

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from vivavoce.ports import Vectors
    from vivavoce.search.shapes import Chunk, Filters

_PATIENCE_MS: Final = 30_000
"""How long one waits for another process that writes."""
_READERS: Final = 4
"""Connections that are kept for reading."""
_NO_ROOM: Final = frozenset({sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE})
"""What SQLite says where a file may not grow, as with a quota."""
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


class SqliteIndex(Tables):
    """Port `Index` in one folder, for any number of processes: they read at any time, and write one after the other.

    Args:
        folder: made where it isn't there.
        model: what vectors are made with.
        dimension: components of a vector.
    """

    def __init__(self, folder: Path, *, model: str, dimension: int) -> None:
        super().__init__(str(folder), model=model, dimension=dimension)
        self._folder = folder
        self._writing = threading.Lock()
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue(_READERS)
        self._views: dict[int, _View] = {}
        with _translated(folder):
            for part in (self.contents, self.partial):
                part.mkdir(parents=True, exist_ok=True)
            self._writer = self._connect()
            if not self._writer.execute("SELECT 1 FROM sqlite_master WHERE name = 'about'").fetchone():
                self._writer.executescript(_SCHEMA)
        self._check()

    @property
    def contents(self) -> Path:
        """Where the bytes of files are."""
        return self._folder / "files"

    @property
    def partial(self) -> Path:
        """Where they come from: on the same disk, for what isn't finished."""
        return self._folder / "partial"

    # Files ------------------------------------------------------------------------------------------------------------

    def content(self, file: File) -> Path:
        """Return where a file's bytes are."""
        return Path(file.source) if file.source else self.contents / file.id

    def delete_file(self, file_id: str) -> None:
        """Remove a file and all of it that is in stores."""
        super().delete_file(file_id)
        (self.contents / file_id).unlink(missing_ok=True)

    def delete_store(self, store_id: str) -> None:
        """Remove a store with its tables."""
        super().delete_store(store_id)
        self._forget()

    def sweep(self, now: int) -> None:
        """Remove what has expired and what nothing refers to."""
        super().sweep(now)
        self._forget()
        with self._read() as db:
            known = {one["id"] for one in db.execute("SELECT id FROM files WHERE source IS NULL")}
        for stray in (*self.partial.iterdir(), *(one for one in self.contents.iterdir() if one.name not in known)):
            if stray.stat().st_mtime < now - _STRAY_S:
                stray.unlink(missing_ok=True)
        with self._writing, _translated(self._folder):
            self._writer.execute("PRAGMA incremental_vacuum(10000)").fetchall()

    def indexing(self) -> AbstractContextManager[bool]:
        """Hold the right to index, which one process has; it falls with the process."""
        return try_locked(self._folder / "indexing.lock")

    def _forget(self) -> None:
        """Let go of the stores that are gone."""
        with self._read() as db:
            living = {one["seq"] for one in db.execute("SELECT seq FROM stores")}
        for seq in self._views.keys() - living:
            self._views.pop(seq, None)

    def _keep(self, db: Database, file: File, content: Path) -> None:  # noqa: ARG002 - class `Tables`
        content.rename(self.contents / file.id)
        _synced(self.contents)

    # Tables of a store ------------------------------------------------------------------------------------------------

    def _make(self, db: Database, store: int) -> None:
        for statement in filter(str.strip, _STORE_TABLES.format(store).split(";")):
            db.execute(statement)

    def _drop(self, db: Database, store: int) -> None:
        for table in ("text", "codes", "vectors", "chunks"):
            db.execute(f"DROP TABLE IF EXISTS {table}_{store}")

    def _add(self, db: Database, store: int, segment: Segment, chunks: Sequence[Chunk], vectors: Vectors) -> None:
        ids = range(segment.first, segment.first + segment.size)
        self._writer.executemany(
            f"INSERT INTO chunks_{store} VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608
            [
                (one, segment.first, chunk.place.page, chunk.place.line, chunk.place.heading, chunk.text)
                for one, chunk in zip(ids, chunks, strict=True)
            ],
        )
        halves = vectors.astype(np.float16)
        rows = ((one, half.tobytes()) for one, half in zip(ids, halves, strict=True))
        self._writer.executemany(f"INSERT INTO vectors_{store} VALUES (?, ?)", rows)  # noqa: S608
        codes = encode(vectors).tobytes()
        db.execute(f"INSERT INTO codes_{store} VALUES (?, ?, ?)", (segment.first, segment.size, codes))  # noqa: S608
        db.execute(
            f"INSERT INTO text_{store} (rowid, heading, text) SELECT id, heading, text FROM chunks_{store} "  # noqa: S608
            "WHERE id >= ? AND id < ?",
            (ids.start, ids.stop),
        )

    def _remove(self, db: Database, store: int, segment: Segment) -> None:
        ids = (segment.first, segment.first + segment.size)
        db.execute(
            f"INSERT INTO text_{store} (text_{store}, rowid, heading, text) "  # noqa: S608
            f"SELECT 'delete', id, heading, text FROM chunks_{store} WHERE id >= ? AND id < ?",
            ids,
        )
        for table in ("chunks", "vectors"):
            db.execute(f"DELETE FROM {table}_{store} WHERE id >= ? AND id < ?", ids)  # noqa: S608
        db.execute(f"DELETE FROM codes_{store} WHERE segment = ?", ids[:1])  # noqa: S608

    # Search -----------------------------------------------------------------------------------------------------------

    def candidates(
        self, store_id: str, question: Question, filters: Filters | None, limit: int, now: int
    ) -> Candidates:
        """Bring up what may fit, by full text and by vectors, all of one moment."""
        with self._read() as db:
            store = live_store(db, store_id, now)
            seq = store["seq"]
            view = self._views.setdefault(seq, _View(seq, self._dimension))
            wanted = allowed(db, seq, filters) if filters is not None else None
            by_vector = view.nearest(db, store["version"], question.vector, limit, wanted) if question.by_vector else []
            by_text, rarity = view.matching(db, store["version"], question, limit, wanted)
            cosines = _cosines(db, seq, {*by_vector, *by_text}, question.vector)
            nearest = sorted((one for one in by_vector if one in cosines), key=cosines.__getitem__, reverse=True)[
                :limit
            ]
            chunks = candidates(_chunks(db, seq, {*nearest, *by_text} & cosines.keys()), store_id, cosines)
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


# Search ---------------------------------------------------------------------------------------------------------------


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


def _chunks(db: sqlite3.Connection, store: int, ids: Collection[int]) -> sqlite3.Cursor:
    return db.execute(
        f"SELECT c.*, f.id AS file_id, f.name, sf.attributes FROM chunks_{store} c "  # noqa: S608
        "JOIN store_files sf ON sf.store = ? AND sf.segment = c.segment JOIN files f ON f.seq = sf.file "
        "WHERE c.id IN (SELECT value FROM json_each(?))",
        (store, _json(sorted(ids))),
    )


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


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
    extended = getattr(wrong, "sqlite_errorcode", 0)
    code = extended & 0xFF
    if code == sqlite3.SQLITE_FULL or extended in _NO_ROOM:
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
