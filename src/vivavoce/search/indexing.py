"""Indexes what is attached to stores, one file after the other, in whichever process has the right to."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import anyio
import numpy as np
from anyio import to_thread

from vivavoce.ports import BackendError
from vivavoce.search.chunking import chunks
from vivavoce.search.copying import still
from vivavoce.search.reading import reader
from vivavoce.search.shapes import Failure, LibraryError, Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from vivavoce.ports import Embedder, Vectors
    from vivavoce.search.chunking import Document
    from vivavoce.search.index import Index, Job
    from vivavoce.search.reading import Reader
    from vivavoce.search.shapes import Chunk, Limits

POLL_S: Final = 0.5
"""Between looks at what other processes have attached."""
_RETRY_S: Final = 5.0
"""Before another try where the disk or the embedding model fails."""
_SWEEP_S: Final = 60.0
_BATCH: Final = 16
"""Chunks that are embedded in one step."""
LASTING: Final = frozenset({"storage_full", "storage_failed", "busy", "embedder_failed"})
"""Codes of what isn't the file's fault."""


class Indexer:
    """Turns files into chunks with vectors for as long as it runs."""

    def __init__(
        self, index: Index, embedder: Embedder, limits: Limits, clock: Callable[[], float] = time.time
    ) -> None:
        self._index = index
        self._embedder = embedder
        self._limits = limits
        self._clock = clock
        self._attached = anyio.Event()
        self._settled = anyio.Event()
        self._swept = float("-inf")
        self.progress: Progress | None = None
        """What is being indexed here."""
        self.trouble: LibraryError | None = None
        """What keeps it from working, until it works again."""

    def wake(self) -> None:
        """Say that something was attached."""
        self._attached.set()

    async def settled(self) -> None:
        """Wait until a file may have been done."""
        with anyio.move_on_after(POLL_S / 2):
            await self._settled.wait()

    async def run(self) -> None:
        """Work until cancelled."""
        async with reader() as reading:
            while True:
                with self._index.indexing() as free:
                    while free:
                        await self._step(reading)
                await anyio.sleep(POLL_S)

    async def _step(self, reading: Reader) -> None:
        try:
            if anyio.current_time() >= self._swept + _SWEEP_S:
                await to_thread.run_sync(self._index.sweep, int(self._clock()))
                self._swept = anyio.current_time()
            job = await to_thread.run_sync(self._index.next_job, int(self._clock()))
            if job is None:
                await self._wait(POLL_S)
                return
            await self._index_file(job, reading)
            self.trouble = None
        except LibraryError as wrong:
            self.trouble = wrong
            await self._wait(_RETRY_S)
        finally:
            self._settled.set()
            self._settled = anyio.Event()

    async def _wait(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await self._attached.wait()
        self._attached = anyio.Event()

    async def _index_file(self, job: Job, reading: Reader) -> None:
        self.progress = Progress(job.file.name, 0, 0)
        try:
            document = await self._read(job, reading)
            pieces = await to_thread.run_sync(chunks, document, job.chunking)
            vectors = await self._embed(job.file.name, pieces)
            await to_thread.run_sync(self._index.finish, job, pieces, vectors)
        except LibraryError as wrong:
            if wrong.code in LASTING - {"storage_full"}:
                raise
            await to_thread.run_sync(self._index.fail, job, Failure(wrong.code, wrong.message))
        finally:
            self.progress = None

    async def _read(self, job: Job, reading: Reader) -> Document:
        path = await to_thread.run_sync(self._index.content, job.file)
        held = still(path, job.file, self._index.partial, self._limits.file_bytes)
        copy = await to_thread.run_sync(held.__enter__)
        try:
            return await reading.read(copy, job.file.name)
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(held.__exit__, None, None, None)

    async def _embed(self, name: str, pieces: list[Chunk]) -> Vectors:
        texts = [f"{piece.place.heading}\n{piece.text}" if piece.place.heading else piece.text for piece in pieces]
        found: list[Vectors] = []
        for start in range(0, len(texts), _BATCH):
            self.progress = Progress(name, start, len(texts))
            try:
                found.append(await to_thread.run_sync(self._embedder.embed, texts[start : start + _BATCH]))
            except BackendError as wrong:
                raise LibraryError("embedder_failed", wrong.message) from wrong
        return np.concatenate(found)
