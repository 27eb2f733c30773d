"""Killed at any moment: nothing half-indexed is found, nothing acknowledged is lost, and the rest goes on."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

pytestmark = pytest.mark.anyio

FILES, PIECES = 15, 8
ROOT = Path(__file__).parents[2]

INDEXING = """
import sys
import anyio
from pathlib import Path
from tests.search.conftest import WordsEmbedder
from tests.search.test_crash import FILES, text
from vivavoce.search.library import open_library
from vivavoce.search.shapes import LibraryError

async def stream(content):
    yield content

async def main():
    async with open_library(sys.argv[1], embedder=WordsEmbedder()) as library:
        try:
            store = await library.stores.named("shelf")
        except LibraryError:
            store = await library.stores.create(name="shelf")
        have = {file.name for file in (await library.store_files.list(store.id, limit=100)).items}
        for number in range(FILES):
            if f"{number}.md" not in have:
                file = await library.files.add(stream(text(number).encode()), name=f"{number}.md")
                await library.store_files.attach(store.id, file.id)
                print("added", file.id, flush=True)
        for one in (await library.store_files.list(store.id, limit=100)).items:
            done = await library.store_files.settled(store.id, one.id)
            print(done.status, done.id, flush=True)
        print("finished", flush=True)

anyio.run(main)
"""


def text(number):
    return "\n\n".join(
        f"# Part{part}\n\n" + f"File{number} tells about zebras in part{part}. " * 12 for part in range(PIECES)
    )


def indexing(place):
    command = [sys.executable, "-c", INDEXING, place]
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True)


def killed(place, seconds):
    """Run the indexing process, kill it after a while, and return what it acknowledged."""
    with indexing(place) as process:
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        said = process.communicate()[0]
    return [
        tuple(line.split(" ")) for line in said.splitlines() if said.endswith("\n") or line != said.splitlines()[-1]
    ]


async def found_whole(library, store):
    """Check that what is findable of each file is all of it, and return which files are."""
    whole: dict[str, set[int]] = {}
    for number in range(FILES):
        for part in range(PIECES):
            found = await library.stores.search([store.id], [f"file{number} part{part}"], limit=50)
            for hit in found.hits:
                whole.setdefault(hit.file_id, set()).add(hit.number)
    for file_id, numbers in whole.items():
        attached = await library.store_files.get(store.id, file_id)
        assert attached.status == "completed"
        assert numbers == set(range(attached.chunks))
    return set(whole)


async def test_killing_the_indexing_process_loses_nothing(opened, place):
    random.seed(time.time_ns())
    added, completed, rounds = set(), set(), 0
    while True:
        rounds += 1
        said = killed(place, random.uniform(0.3, 1.6) + rounds / 4)
        added |= {words[1] for words in said if words[0] == "added"}
        completed |= {words[1] for words in said if words[0] == "completed"}
        async with opened(index=False) as library:
            assert added <= {file.id for file in (await library.files.list()).items}
            if added:
                store = await library.stores.named("shelf")
                for file_id in completed:
                    assert (await library.store_files.get(store.id, file_id)).status == "completed"
        if "://" not in place:
            with closing(sqlite3.connect(Path(place) / "library.db")) as db:
                assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        if ("finished",) in said:
            break
        assert rounds < 40
    async with opened(index=False) as library:
        store = await library.stores.named("shelf")
        assert completed <= await found_whole(library, store)
        counts = (await library.stores.get(store.id)).counts
    assert (counts.completed, counts.total) == (FILES, FILES)


async def test_a_search_sees_files_whole_while_another_process_indexes(opened, place):
    seen = []
    with indexing(place) as process:
        assert process.stdout.readline().startswith("added")
        async with opened(index=False) as library:
            store = await library.stores.named("shelf")
            while process.poll() is None:
                found = await library.stores.search([store.id], ["zebras"], limit=50)
                seen.append(len({hit.file_id for hit in found.hits}))
                for file_id in {hit.file_id for hit in found.hits}:
                    attached = await library.store_files.get(store.id, file_id)
                    assert len(await library.store_files.chunks(store.id, file_id)) == attached.chunks > 1
        assert process.stdout.read().rstrip().endswith("finished")
    assert max(seen) > 0


async def test_two_processes_share_the_work(opened, place):
    async with opened() as library:
        store = await library.stores.create(name="shelf")
        with indexing(place) as process:
            while process.poll() is None:
                counts = (await library.stores.get(store.id)).counts
                await library.settling()
            assert process.stdout.read().rstrip().endswith("finished")
        counts = (await library.stores.get(store.id)).counts
    assert counts.completed == FILES
