"""How fast files are indexed, and how fast questions are answered from 10,000 and a million chunks.

    uv run python benchmarks/index_speed.py [--chunks 10000 1000000] [--files FOLDER] [--postgres]

Indexing reads real files with the real embedding model. The large stores hold real passages of these files with one
word in five replaced by another of theirs, and their real vectors with noise, put in through the door of the index;
questions are sentences of the files. A question is embedded, searched for by words and by vectors, and ranked.
With --postgres a server of its own is measured beside SQLite, from the wheel that the tests use.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import numpy as np

from vivavoce.backends.minilm import MiniLM
from vivavoce.search.finding import Finder
from vivavoce.search.folders import gather
from vivavoce.search.index import Job, Listing, Question
from vivavoce.search.library import Library, open_library
from vivavoce.search.shapes import FUSED, Attachment, Chunk, File, Place
from vivavoce.search.sqlite import SqliteIndex
from vivavoce.search.words import keywords

sys.path.append(str(Path(__file__).parents[1]))

from tests.search.servers import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from vivavoce.ports import Vectors
    from vivavoce.search.tables import Tables

PAGE = 3000
"""Characters of a page."""
A_FILE = 1000
"""Chunks of one file in a large store."""
NOISE = 0.6
"""Length of what is added to a unit vector: a cosine of about 0.86."""
COMPARED = 20
"""Questions whose nearest chunks are compared with the truth."""
MODEL = MiniLM()


def own_memory() -> float:
    """Return the memory of this process that isn't a file's, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"RssAnon:\s+(\d+)", status)[0]) / 1024


async def index(folder: str, library: Library) -> list[str]:
    """Index a folder, print how fast that is, and return the texts of the chunks."""
    store = await library.stores.create(name="real")
    wall, cpu = time.perf_counter(), time.process_time()
    files = [await library.files.add(path, in_place=True) for path in gather([folder]).files]
    for file in files:
        await library.store_files.attach(store.id, file.id)
    for file in files:
        await library.store_files.settled(store.id, file.id)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    texts = [chunk.text for file in files for chunk in await library.store_files.chunks(store.id, file.id)]
    size, pages = sum(file.size for file in files) / 1e6, sum(map(len, texts)) / PAGE
    print(
        f"| indexing {len(files)} files, {pages:.0f} pages, {len(texts)} chunks | {pages / wall:.1f} pages/s, ", end=""
    )
    print(f"{size / wall:.3f} MB/s wall; {1000 * cpu / len(texts):.1f} ms of CPU a chunk |")
    return texts


def fill(index: Tables, texts: list[str], count: int) -> tuple[str, float]:
    """Put chunks into a store and return its id, and how many seconds that alone took."""
    spent = 0.0
    rng, dice = np.random.default_rng(1), random.Random(1)
    vectors = MODEL.embed(texts)
    vocabulary = [word for text in texts for word in text.split()]
    store = new_store(index)
    for number in range(0, count, A_FILE):
        size = min(A_FILE, count - number)
        picked = [dice.randrange(len(texts)) for _ in range(size)]
        noise = rng.standard_normal((size, vectors.shape[1]), np.float32)
        made = vectors[picked] + NOISE * noise / np.linalg.norm(noise, axis=1, keepdims=True)
        made /= np.linalg.norm(made, axis=1, keepdims=True)
        chunks = [Chunk(text=varied(texts[one], vocabulary, dice), place=Place(page=1)) for one in picked]
        job = new_job(index, store, number)
        start = time.perf_counter()
        index.finish(job, chunks, made)
        spent += time.perf_counter() - start
    return store, spent


def varied(text: str, vocabulary: list[str], dice: random.Random) -> str:
    return " ".join(dice.choice(vocabulary) if dice.random() < 0.2 else word for word in text.split())


def new_store(index: Tables) -> str:
    from vivavoce.search.shapes import Counts, Store

    index.add_store(
        Store(
            id="vs_1", name="large", description="", metadata={}, created_at=1, last_active_at=1, expires_after=None,
            expires_at=None, status="completed", counts=Counts(), usage_bytes=0, chunks=0,
        ),
        (),
    )  # fmt: skip
    return "vs_1"


def new_job(index: Tables, store: str, number: int) -> Job:
    file = File(id=f"file-{number}", name=f"{number}.txt", size=1, digest="", purpose="assistants", created_at=1)
    index.add_file(file.__class__(**{**{f: getattr(file, f) for f in file.__struct_fields__}, "source": "/x"}), None)
    index.attach(store, [Attachment(file_id=file.id)], None, 1)
    job = index.next_job(1)
    assert job is not None
    return job


def ask(index: Tables, store: str, questions: list[str], count: int) -> None:
    """Print how long questions take, and how much memory."""
    before, start = own_memory(), time.perf_counter()
    finder = Finder(index, MODEL)
    finder.find([store], questions[:1], 5, None, FUSED, 1)
    first = time.perf_counter() - start
    walls, cpus, embedded = [], [], []
    for question in questions[1:]:
        wall, cpu = time.perf_counter(), time.thread_time()
        finder.find([store], [question], 5, None, FUSED, 1)
        walls.append(1000 * (time.perf_counter() - wall))
        cpus.append(1000 * (time.thread_time() - cpu))
        cpu = time.thread_time()
        MODEL.embed([question], query=True)
        embedded.append(1000 * (time.thread_time() - cpu))
    memory = own_memory() - before
    same = [overlap(index, store, question, MODEL.embed([question])[0]) for question in questions[:COMPARED]]
    wall50, wall95 = np.percentile(walls, [50, 95])
    cpu50, cpu95 = np.percentile(cpus, [50, 95])
    print(f"{count:,} chunks | p50 {wall50:.1f} ms, p95 {wall95:.1f} ms wall; {cpu50:.1f} and {cpu95:.1f} ms of CPU, ")
    print(
        f"of which {np.median(embedded):.1f} to embed; first question {first:.2f} s; {memory:.0f} MB; ",
        end="",
    )
    print(f"{100 * np.mean(same):.1f} % of the ten nearest vectors found |")


def overlap(index: Tables, store: str, question: str, vector: Vectors) -> float:
    """Return the share of the truly nearest ten that is found."""
    found = index.candidates(store, Question(keywords(question), vector, by_text=False), None, 10, 1).by_vector
    near = exact(index, vector)
    return len({key[1] for key in found[:10]} & near) / 10


def exact(index: Tables, vector: Vectors) -> set[int]:
    if not hasattr(exact, "all"):
        exact.all = halves(index)  # type: ignore[attr-defined]
    likeness = np.concatenate([block.astype(np.float32) @ vector for block in np.array_split(exact.all, 50)])  # type: ignore[attr-defined]
    return {int(one) + 1 for one in np.argpartition(-likeness, 10)[:10]}


def halves(index: Tables) -> np.ndarray[Any, Any]:
    """Return all vectors as they are stored."""
    with index._read() as db:  # noqa: SLF001
        if isinstance(index, SqliteIndex):
            rows = db.execute("SELECT vector FROM vectors_1 ORDER BY id")
            return np.frombuffer(b"".join(row[0] for row in rows), np.float16).reshape(-1, MODEL.dimension)
        rows = db.execute("SELECT CAST(vector AS TEXT) FROM chunks_1 ORDER BY id")
        return np.array([json.loads(row[0]) for row in rows], np.float16)


def sentences(texts: list[str], count: int) -> list[str]:
    found = [line for text in texts for line in re.split(r"(?<=[.!?])\s+", text) if 40 < len(line) < 120]
    return random.Random(2).sample(found, count)


def large(index: Tables, kind: str, texts: list[str], count: int, asked: list[str], size: Callable[[], float]) -> None:
    """Fill a store, ask it, and print how fast both are."""
    store, spent = fill(index, texts, count)
    print(f"| {kind}: storing {count:,} chunks | {count / spent:,.0f} chunks/s; {size():,.0f} MB |")
    print(f"| {kind} ", end="")
    ask(index, store, asked, count)
    if hasattr(exact, "all"):
        del exact.all
    assert index.stores(Listing(), 1).items[0].chunks == count
    index.close()


def on_a_server(texts: list[str], count: int, asked: list[str]) -> None:
    """Do the same in PostgreSQL."""

    from vivavoce.search.postgres import PostgresIndex

    server = PostgresServer(shared_buffers="1GB")
    try:
        address = server.database()
        name = address.partition("@/")[2].partition("?")[0]
        index = PostgresIndex(address, model=MODEL.name, dimension=MODEL.dimension)
        large(
            index,
            "PostgreSQL",
            texts,
            count,
            asked,
            lambda: int(server.sql(name, f"SELECT pg_database_size('{name}')")) / 1e6,
        )
    finally:
        server.stop()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", default="docs")
    parser.add_argument("--chunks", type=int, nargs="*", default=[10_000, 1_000_000])
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--postgres", action="store_true", help="PostgreSQL, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        MODEL.embed(["warm"])
        print("| | |\n|---|---|")
        async with open_library(f"{folder}/real", embedder=MODEL) as library:
            texts = await index(options.files, library)
        asked = sentences(texts, options.questions)
        for count in options.chunks:
            place = Path(folder) / str(count)
            embedded = SqliteIndex(place, model=MODEL.name, dimension=MODEL.dimension)
            large(embedded, "SQLite", texts, count, asked, lambda: (place / "library.db").stat().st_size / 1e6)  # noqa: B023
            if options.postgres:
                on_a_server(texts, count, asked)


if __name__ == "__main__":
    anyio.run(main)
