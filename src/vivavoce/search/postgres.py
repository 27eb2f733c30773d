"""A library on a PostgreSQL server with pgvector, for several machines: tables and transactions as in a folder.

Each store has a table of its own: words as `tsvector` with a GIN index, vectors as `halfvec` with an HNSW index. The
bytes of files are rows, too, so that every machine can index them and one backup has all. What was indexed in place is
read by the machine that it lies on.
"""

from __future__ import annotations

import queue
import re
import socket
import tempfile
import threading
import time
import unicodedata
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vivavoce.search import tables
from vivavoce.search.copying import BLOCK, translated
from vivavoce.search.index import Candidates, Question
from vivavoce.search.postgres_link import (
    PATIENCE_S,
    Connection,
    GoneError,
    arguments,
    broken_errors,
    failure,
    run,
    said,
    shown,
)
from vivavoce.search.rarity import MATCHED, Frequencies
from vivavoce.search.shapes import File, LibraryError
from vivavoce.search.tables import Tables, allowed, candidates, job

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from vivavoce.ports import Vectors
    from vivavoce.search.index import Job
    from vivavoce.search.shapes import Chunk, Filters
    from vivavoce.search.tables import Database
    from vivavoce.search.vectors import Segment

_IDLE: Final = 4
"""Connections that are kept."""
_WRITING: Final = 0x76697661766F6365
"""Advisory lock of who writes."""
_CLAIMS: Final = 0x76697661
"""Class of the advisory locks of attachments that somebody indexes."""
_TRIED: Final = 20
"""Waiting files that are looked at for one that nobody indexes."""
_STRAY_S: Final = 3600
"""Age at which copies of content on this machine are let go."""
_LOOKED_AT: Final = 200
"""Of an HNSW graph, at least so many chunks for one question: with half as many it finds 10 % less of the nearest."""
_ROWS: Final = 500
"""Chunks that are written in one statement."""

_SCHEMA: Final = """
CREATE SCHEMA IF NOT EXISTS vivavoce;
CREATE EXTENSION IF NOT EXISTS vector;
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE files (
  seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
  size BIGINT NOT NULL, digest TEXT NOT NULL, purpose TEXT NOT NULL, created_at BIGINT NOT NULL, expires_at BIGINT,
  source TEXT, modified_ns BIGINT, host TEXT NOT NULL DEFAULT current_setting('vivavoce.host'));
CREATE TABLE contents (
  file TEXT NOT NULL REFERENCES files (id) ON DELETE CASCADE, number BIGINT NOT NULL, block BYTEA NOT NULL,
  PRIMARY KEY (file, number));
ALTER TABLE contents ALTER COLUMN block SET STORAGE EXTERNAL;
CREATE TABLE stores (
  seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
  description TEXT NOT NULL, metadata TEXT NOT NULL, created_at BIGINT NOT NULL, last_active_at BIGINT NOT NULL,
  anchor TEXT, seconds BIGINT, expired BIGINT NOT NULL DEFAULT 0, version BIGINT NOT NULL DEFAULT 0,
  next_chunk BIGINT NOT NULL DEFAULT 1);
CREATE TABLE store_files (
  seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, store BIGINT NOT NULL, file BIGINT NOT NULL,
  created_at BIGINT NOT NULL, status TEXT NOT NULL, code TEXT, message TEXT, chunking TEXT NOT NULL,
  attributes TEXT NOT NULL, usage BIGINT NOT NULL DEFAULT 0, segment BIGINT, chunks BIGINT NOT NULL DEFAULT 0,
  batch TEXT, revision BIGINT NOT NULL DEFAULT 0, UNIQUE (store, file));
CREATE INDEX store_files_by_file ON store_files (file);
CREATE INDEX store_files_by_segment ON store_files (store, segment);
CREATE INDEX store_files_in_progress ON store_files (seq) WHERE status = 'in_progress';
CREATE TABLE batches (
  seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id TEXT NOT NULL UNIQUE, store BIGINT NOT NULL,
  created_at BIGINT NOT NULL, cancelled BIGINT NOT NULL DEFAULT 0);
CREATE TEXT SEARCH DICTIONARY english_stems (TEMPLATE = snowball, LANGUAGE = english);
CREATE TEXT SEARCH DICTIONARY russian_stems (TEMPLATE = snowball, LANGUAGE = russian);
CREATE TEXT SEARCH CONFIGURATION words (COPY = simple);
ALTER TEXT SEARCH CONFIGURATION words ALTER MAPPING FOR asciiword WITH english_stems;
ALTER TEXT SEARCH CONFIGURATION words ALTER MAPPING FOR word WITH russian_stems
"""

_STORE_TABLES: Final = """
CREATE TABLE chunks_{0} (
  id BIGINT PRIMARY KEY, segment BIGINT NOT NULL, page BIGINT, line BIGINT, heading TEXT, text TEXT NOT NULL,
  words TSVECTOR NOT NULL, length BIGINT NOT NULL, vector HALFVEC({1}) NOT NULL) WITH (toast_tuple_target = 8160);
ALTER TABLE chunks_{0} ALTER COLUMN vector SET STORAGE PLAIN;
CREATE INDEX ON chunks_{0} USING gin (words) WITH (fastupdate = off);
CREATE INDEX ON chunks_{0} USING hnsw (vector halfvec_ip_ops)
"""

_ADD: Final = """
INSERT INTO chunks_{} SELECT
  id, CAST(:segment AS BIGINT), page, line, heading, text, to_tsvector('vivavoce.words', words),
  array_length(string_to_array(words, ' '), 1), CAST(vector AS HALFVEC)
FROM unnest(CAST(:ids AS BIGINT[]), CAST(:pages AS BIGINT[]), CAST(:lines AS BIGINT[]), CAST(:headings AS TEXT[]),
  CAST(:texts AS TEXT[]), CAST(:words AS TEXT[]), CAST(:vectors AS TEXT[]))
  AS added (id, page, line, heading, text, words, vector)
"""

# Okapi BM25 with k1 = 1.2 and b = 0.75. For one word and weights of 1, ts_rank is H(n) / 1.645, where n is how often
# the word is there and H(n) = 1 + 1/4 + 1/9 + … up to n terms, about 1.645 - 1 / (n + 0.5): that gives n back.
_MATCHING: Final = """
SELECT id FROM (
  SELECT id, 1.2 * (0.25 + 0.75 * length / CAST(:usual AS FLOAT8)) AS longer, {counts} FROM {table}
  WHERE words @@ CAST(:any AS TSQUERY) AND (CAST(:segments AS BIGINT[]) IS NULL OR segment = ANY(:segments))
  ) AS counted
ORDER BY {score} DESC, id LIMIT CAST(:limit AS BIGINT)
"""
_COUNT: Final = """
CASE WHEN words @@ CAST(:word{0} AS TSQUERY)
  THEN 1 / (1.645 * greatest(1 - ts_rank('{{1, 1, 1, 1}}', words, CAST(:word{0} AS TSQUERY)), 0.001)) - 0.5
  ELSE 0 END AS n{0}
"""


class PostgresIndex(Tables):
    """Port `Index` in a database, for any number of processes on any number of machines.

    Args:
        url: `postgresql://user:password@host:port/database`; `?host=/folder` for a socket, `?sslmode=require` for TLS.
        model: what vectors are made with.
        dimension: components of a vector.
    """

    here = " AND (f.source IS NULL OR f.host = current_setting('vivavoce.host'))"

    def __init__(self, url: str, *, model: str, dimension: int) -> None:
        self._arguments = arguments(url)
        super().__init__(shown(url), model=model, dimension=dimension)
        self._cache = tempfile.TemporaryDirectory(prefix="vivavoce-")
        self._idle: queue.LifoQueue[Connection] = queue.LifoQueue(_IDLE)
        self._claiming = threading.Lock()
        self._claims: Connection | None = None
        self._views: dict[int, _View] = {}
        for part in (self._contents, self.partial):
            part.mkdir()
        try:
            self._prepare()
            self._check()
        except BaseException:
            self.close()
            raise

    @property
    def partial(self) -> Path:
        """A folder on this machine for what is on its way."""
        return Path(self._cache.name, "partial")

    @property
    def _contents(self) -> Path:
        """Copies of the bytes of files on this machine."""
        return Path(self._cache.name, "files")

    # Files ------------------------------------------------------------------------------------------------------------

    def content(self, file: File) -> Path:
        """Return where a file's bytes are on this machine, fetched from the server where they aren't."""
        if file.source is not None:
            return Path(file.source)
        path = self._contents / file.id
        if not path.exists():
            with translated(self.partial), ExitStack() as stack:
                fetched = Path(tempfile.mkdtemp(dir=self.partial), file.id)
                with fetched.open("wb") as into, self._read() as db:
                    for number in range(-(-file.size // BLOCK)):
                        found = db.execute(
                            "SELECT block FROM contents WHERE file = ? AND number = ?", (file.id, number)
                        ).fetchone()
                        if found is None:
                            raise LibraryError("not_found", f"There is no file {file.id!r}.", "file_id")
                        into.write(found[0])
                stack.callback(fetched.parent.rmdir)
                fetched.replace(path)
        return path

    def delete_file(self, file_id: str) -> None:
        """Remove a file and all of it that is in stores."""
        super().delete_file(file_id)
        (self._contents / file_id).unlink(missing_ok=True)

    def sweep(self, now: int) -> None:
        """Remove what has expired and what nothing refers to."""
        super().sweep(now)
        with self._read() as db:
            living = {one["seq"] for one in db.execute("SELECT seq FROM stores")}
        for seq in self._views.keys() - living:
            self._views.pop(seq, None)
        for copy in self._contents.iterdir():
            if copy.stat().st_mtime < time.time() - _STRAY_S:
                copy.unlink(missing_ok=True)

    def _keep(self, db: Database, file: File, content: Path) -> None:
        with translated(content.parent), content.open("rb") as opened:
            number = 0
            while block := opened.read(BLOCK):
                db.execute("INSERT INTO contents VALUES (?, ?, ?)", (file.id, number, block))
                number += 1
        content.unlink()

    # Tables of a store ------------------------------------------------------------------------------------------------

    def _make(self, db: Database, store: int) -> None:
        run(db, _STORE_TABLES.format(store, self._dimension))

    def _drop(self, db: Database, store: int) -> None:
        db.execute(f"DROP TABLE IF EXISTS chunks_{store}")

    def _add(self, db: Database, store: int, segment: Segment, chunks: Sequence[Chunk], vectors: Vectors) -> None:
        for start in range(0, len(chunks), _ROWS):
            some = chunks[start : start + _ROWS]
            db.execute(
                _ADD.format(store),
                {
                    "segment": segment.first,
                    "ids": [segment.first + start + number for number in range(len(some))],
                    "pages": [chunk.place.page for chunk in some],
                    "lines": [chunk.place.line for chunk in some],
                    "headings": [chunk.place.heading and _plain(chunk.place.heading) for chunk in some],
                    "texts": [_plain(chunk.text) for chunk in some],
                    "words": [_spaced(f"{chunk.place.heading or ''} {chunk.text}") for chunk in some],
                    "vectors": [_vector(one) for one in vectors[start : start + _ROWS]],
                },
            )

    def _remove(self, db: Database, store: int, segment: Segment) -> None:
        ids = (segment.first, segment.first + segment.size)
        db.execute(f"DELETE FROM chunks_{store} WHERE id >= ? AND id < ?", ids)  # noqa: S608

    # Indexing ---------------------------------------------------------------------------------------------------------

    @contextmanager
    def indexing(self) -> Iterator[bool]:
        """Index beside others: which file is whose is claimed one by one, and a claim falls with its process."""
        try:
            yield True
        finally:
            self._disclaim()

    def next_job(self, now: int) -> Job | None:
        """Claim the file that has waited longest of those that nobody has claimed."""
        with self._claiming, self._translated():
            if self._claims is None:
                self._claims = self._connect()
            db = self._claims
            try:
                db.execute("SELECT pg_advisory_unlock_all()")
                for row in self._waiting(db, now, _TRIED):
                    claimed = "SELECT pg_try_advisory_lock(?, ?)"
                    if db.execute(claimed, (_CLAIMS, row["place"] % 2**31)).fetchone()[0]:
                        still = "SELECT 1 FROM store_files WHERE seq = ? AND revision = ? AND status = 'in_progress'"
                        if db.execute(still, (row["place"], row["revision"])).fetchone() is not None:
                            return job(row)
            except BaseException:
                self._claims = None
                db.close()
                raise
        return None

    def _disclaim(self) -> None:
        with self._claiming:
            if self._claims is not None:
                self._claims.close()
                self._claims = None

    # Search -----------------------------------------------------------------------------------------------------------

    def candidates(
        self, store_id: str, question: Question, filters: Filters | None, limit: int, now: int
    ) -> Candidates:
        """Bring up what may fit, by full text and by vectors, all of one moment."""
        try:
            with self._read() as db:
                return self._candidates(db, store_id, question, filters, limit, now)
        except GoneError:
            # A store was deleted after it was looked up: what this says now.
            with self._read() as db:
                tables.live_store(db, store_id, now)
            raise

    def _candidates(
        self, db: Database, store_id: str, question: Question, filters: Filters | None, limit: int, now: int
    ) -> Candidates:
        store = tables.live_store(db, store_id, now)
        seq, vector = store["seq"], _vector(question.vector)
        segments = None if filters is None else sorted(allowed(db, seq, filters))
        view = self._views.setdefault(seq, _View(seq))
        by_text, rarity = view.matching(db, store["version"], question, limit, segments)
        by_vector = _nearest(db, seq, vector, limit, segments) if question.by_vector else []
        rows = _chunks(db, seq, {*by_text, *by_vector}, vector)
        cosines = {row["id"]: row["cosine"] for row in rows}
        nearest = sorted((one for one in by_vector if one in cosines), key=cosines.__getitem__, reverse=True)
        return Candidates(
            [(store_id, one) for one in by_text if one in cosines],
            [(store_id, one) for one in nearest],
            candidates(rows, store_id, cosines),
            rarity,
        )

    def close(self) -> None:
        """Close all connections."""
        self._disclaim()
        with suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()
        self._cache.cleanup()

    # Connections ------------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Make the tables where there are none."""
        with self._translated():
            db = self._connect()
            try:
                db.execute("BEGIN")
                db.execute("SELECT pg_advisory_xact_lock(?)", (_WRITING,))
                if db.execute("SELECT to_regclass('vivavoce.about')").fetchone()[0] is None:
                    run(db, _SCHEMA)
                db.execute("COMMIT")
            finally:
                db.close()

    def _connect(self) -> Connection:
        from pg8000.exceptions import InterfaceError

        try:
            db = Connection(self._arguments)
        except InterfaceError as wrong:
            if str(wrong) != "network error":
                raise
            # What the server says before it hangs up, the driver keeps to itself.
            message = f"{self._place} refuses: check the user, the password and the database, or see the server's log."
            raise LibraryError("storage_failed", message) from wrong
        settings = (
            f"SET search_path = vivavoce, public; SET lock_timeout = '{PATIENCE_S}s'; SET synchronous_commit = on; "
            "SET jit = off; SET plan_cache_mode = auto"
        )
        try:
            run(db, settings)
            db.execute("SELECT set_config('vivavoce.host', ?, false)", (socket.gethostname(),))
        except BaseException:
            db.close()
            raise
        return db

    @contextmanager
    def _write(self) -> Iterator[Database]:
        with self._transaction("BEGIN") as db:
            db.execute("SELECT pg_advisory_xact_lock(?)", (_WRITING,))
            yield db

    @contextmanager
    def _read(self) -> Iterator[Database]:
        with self._transaction("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY") as db:
            yield db

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[Database]:
        with self._translated():
            db = self._begun(begin)
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                db.roll_back()
                raise
            finally:
                self._give_back(db)

    def _begun(self, begin: str) -> Connection:
        """Return a connection in a new transaction; kept ones may have died with the server, a new one not."""
        with suppress(queue.Empty):
            while True:
                db = self._idle.get_nowait()
                try:
                    db.execute(begin)
                except broken_errors():
                    db.close()
                else:
                    return db
        db = self._connect()
        db.execute(begin)
        return db

    def _give_back(self, db: Connection) -> None:
        if db.broken:
            db.close()
            return
        try:
            self._idle.put_nowait(db)
        except queue.Full:
            db.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Say in a sentence what is wrong with the server."""
        from pg8000.exceptions import DatabaseError, Error

        try:
            yield
        except DatabaseError as wrong:
            raise failure(self._place, wrong.args[0] if wrong.args else {}) from wrong
        except (Error, OSError) as wrong:
            raise LibraryError("storage_failed", f"{self._place} can't be reached: {said(wrong)}.") from wrong


class _View:
    """What this process knows of a store's words."""

    def __init__(self, seq: int) -> None:
        self._seq = seq
        self._alone = threading.Lock()
        self._frequencies = Frequencies()
        self._version = -1
        self._chunks = 0
        self._usual = 1.0

    def matching(
        self, db: Database, version: int, question: Question, limit: int, segments: list[int] | None
    ) -> tuple[list[int], dict[str, float]]:
        """Return the chunks that match best, and how much each word tells."""
        table = f"chunks_{self._seq}"
        lexemes: dict[str, str] = {}
        if question.words:
            asked = (
                "SELECT word, CAST(phraseto_tsquery('vivavoce.words', word) AS TEXT) AS lexemes "
                "FROM unnest(CAST(:words AS TEXT[])) AS asked (word)"
            )
            spaced = {_spaced(word): word for word in question.words}
            rows = db.execute(asked, {"words": list(spaced)})
            lexemes = {spaced[row["word"]]: row["lexemes"] for row in rows if row["lexemes"]}

        def count(word: str, most: int) -> int:
            if word not in lexemes:
                return 0
            counted = f"SELECT count(*) FROM (SELECT 1 FROM {table} WHERE words @@ CAST(? AS TSQUERY) LIMIT ?) AS found"  # noqa: S608
            return int(db.execute(counted, (lexemes[word], most)).fetchone()[0])

        with self._alone:
            self._catch_up(db, version, table)
            telling = self._frequencies.telling(question.words, version, count, needed=not question.by_vector)
            rarity = self._frequencies.rarity(question.words, self._chunks)
            usual = self._usual
        if not telling or not question.by_text:
            return [], rarity
        ranked = _MATCHING.format(
            table=table,
            counts=", ".join(_COUNT.format(number) for number in range(len(telling))),
            score=" + ".join(
                f"CAST(:weight{number} AS FLOAT8) * n{number} / (n{number} + longer)" for number in range(len(telling))
            ),
        )
        values = {
            "any": " | ".join(f"({lexemes[word]})" for word in telling),
            "usual": usual,
            "segments": segments,
            "limit": limit,
        }
        for number, word in enumerate(telling):
            values |= {f"word{number}": lexemes[word], f"weight{number}": rarity[word]}
        return [row["id"] for row in db.execute(ranked, values)], rarity

    def _catch_up(self, db: Database, version: int, table: str) -> None:
        if version == self._version:
            return
        counted = "SELECT CAST(coalesce(sum(chunks), 0) AS BIGINT) FROM store_files WHERE store = ? AND segment > 0"
        self._chunks = db.execute(counted, (self._seq,)).fetchone()[0]
        usual = f"SELECT CAST(avg(length) AS FLOAT8) FROM (SELECT length FROM {table} LIMIT {MATCHED // 8}) AS found"  # noqa: S608
        self._usual = db.execute(usual).fetchone()[0] or 1.0
        self._version = version


# Search ---------------------------------------------------------------------------------------------------------------


def _nearest(db: Database, store: int, vector: str, limit: int, segments: list[int] | None) -> list[int]:
    db.execute(f"SET LOCAL hnsw.ef_search = {min(max(_LOOKED_AT, 2 * limit), 1000)}")
    where = ""
    if segments is not None:
        db.execute("SET LOCAL hnsw.iterative_scan = strict_order")
        where = "WHERE segment = ANY(CAST(:segments AS BIGINT[]))"
    ranked = f"SELECT id FROM chunks_{store} {where} ORDER BY vector <#> CAST(:vector AS HALFVEC) LIMIT {limit}"  # noqa: S608
    values = {"vector": vector} | ({} if segments is None else {"segments": segments})
    return [row["id"] for row in db.execute(ranked, values)]


def _chunks(db: Database, store: int, ids: Collection[int], vector: str) -> list[Any]:
    # Each chunk's file is looked up by itself: without statistics yet, the planner joins in an order that takes long.
    return db.execute(
        "SELECT c.id, c.segment, c.page, c.line, c.heading, c.text, owner.*, "  # noqa: S608
        f"-(c.vector <#> CAST(:vector AS HALFVEC)) AS cosine FROM chunks_{store} c CROSS JOIN LATERAL ("
        "SELECT f.id AS file_id, f.name, sf.attributes FROM store_files sf JOIN files f ON f.seq = sf.file "
        "WHERE sf.store = :store AND sf.segment = c.segment LIMIT 1) AS owner "
        "WHERE c.id = ANY(CAST(:ids AS BIGINT[]))",
        {"vector": vector, "store": store, "ids": sorted(ids)},
    ).fetchall()


def _vector(vector: Vectors) -> str:
    return "[" + ",".join(map(str, vector.astype(np.float16).tolist())) + "]"


def _spaced(text: str) -> str:
    """Return the words of a text with spaces between them, without accents, as both sides of a search see them."""
    plain = "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))
    return " ".join(re.findall(r"[^\W_]+", plain.lower()))


def _plain(text: str) -> str:
    """Return a text as the server takes it: it has no zero."""
    return text.replace("\0", "")
