"""What a library on a PostgreSQL server has for itself; all else is tested as in a folder."""

from __future__ import annotations

import random
import socket
import time
from contextlib import ExitStack

import anyio
import numpy as np
import pytest
from tests.search.servers import PostgresServer, why_not
from tests.search.test_library import TEXTS, names, refusal, stored, stream

from vivavoce.search import postgres as engine
from vivavoce.search import tables
from vivavoce.search.index import Question
from vivavoce.search.library import open_library
from vivavoce.search.shapes import LibraryError, Ranking, StoreFile

pytestmark = pytest.mark.anyio


@pytest.fixture
def place(postgres):
    return postgres.database()


@pytest.fixture
def durable():
    """A server that keeps what it has acknowledged."""
    if why := why_not():
        pytest.skip(why)
    server = PostgresServer()
    yield server
    server.stop()


async def test_a_killed_server_loses_nothing_and_is_found_again(durable, embedder):
    place = durable.database()
    rng = random.Random(time.time_ns())
    acknowledged: set[str] = set()
    completed: set[str] = set()
    there: dict[str, StoreFile] = {}
    async with open_library(place, embedder=embedder) as library:
        store = await library.stores.create(name="shelf")
        for _ in range(3):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(adding, library, store, acknowledged)
                await anyio.sleep(rng.uniform(0.2, 1.0))
                await anyio.to_thread.run_sync(durable.kill)
                tasks.cancel_scope.cancel()
            assert await refusal(library.stores.list()) == "storage_failed"
            await anyio.to_thread.run_sync(durable.start)
            there = {file.id: file for file in (await library.store_files.list(store.id, limit=10_000)).items}
            assert acknowledged <= there.keys()
            assert all(there[file_id].status == "completed" for file_id in completed)
            completed = {file_id for file_id, file in there.items() if file.status == "completed"}
            for file_id in completed:
                assert len(await library.store_files.chunks(store.id, file_id)) == there[file_id].chunks > 0
        with anyio.fail_after(120):
            for file_id in acknowledged:
                while (await library.store_files.get(store.id, file_id)).status != "completed":  # noqa: ASYNC110
                    await anyio.sleep(0.1)
        assert acknowledged
        for file_id in rng.sample(sorted(acknowledged), min(5, len(acknowledged))):
            name = there[file_id].name
            assert name.encode() in b"".join([block async for block in library.files.content(file_id)])
            assert (await names(library, store, name))[0] == name


async def adding(library, store, acknowledged):
    while True:
        try:
            name = f"herd{len(acknowledged)}x{random.randrange(10**9)}"
            file = await library.files.add(stream(f"Zebras of {name}. ".encode() * 50), name=name)
            await library.store_files.attach(store.id, file.id)
        except LibraryError as wrong:
            assert wrong.code in {"storage_failed", "not_found"}  # noqa: PT017 - either is right
            return
        acknowledged.add(file.id)
        await anyio.sleep(0.05)


async def test_every_machine_has_the_bytes(place, opened, embedder):
    async with opened(index=False) as here, open_library(place, embedder=embedder) as there:
        store = await here.stores.create(name="shelf")
        content = random.randbytes(3_000_000)
        kept = await here.files.add(stream(content), name="a.bin")
        assert b"".join([block async for block in there.files.content(kept.id)]) == content
        await here.files.delete(kept.id)
        assert await refusal(there.files.get(kept.id)) == "not_found"
        file = await here.files.add(stream(b"Zebras."), name="a.txt")
        await here.store_files.attach(store.id, file.id)
        assert (await here.store_files.settled(store.id, file.id)).status == "completed"


async def test_a_file_in_place_is_read_where_it_lies(place, opened, embedder, tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("Zebras.")
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(socket, "gethostname", lambda: "elsewhere")
        async with opened(index=False) as library:
            store = await library.stores.create(name="shelf")
            file = await library.files.add(tmp_path / "a.txt", in_place=True)
            await library.store_files.attach(store.id, file.id)
    async with opened() as library:
        await anyio.sleep(0.5)
        assert (await library.store_files.get(store.id, file.id)).status == "in_progress"
        assert await library.store_files.in_place(store.id) == ()
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    async with opened() as library:
        assert (await library.store_files.settled(store.id, file.id)).status == "completed"


async def test_what_one_has_claimed_no_other_indexes(place, opened, embedder):
    async with opened(index=False) as library:
        store = await library.stores.create(name="shelf")
        for number in range(3):
            file = await library.files.add(stream(b"Zebras."), name=f"{number}.txt")
            await library.store_files.attach(store.id, file.id)
    with ExitStack() as stack:
        machines = [engine.PostgresIndex(place, model=embedder.name, dimension=256) for _ in range(4)]
        for machine in machines:
            stack.callback(machine.close)
        jobs = [machine.next_job(0) for machine in machines]
        assert [job and job.file.name for job in jobs] == ["0.txt", "1.txt", "2.txt", None]
        machines[1].close()
        assert machines[3].next_job(0) == jobs[1]


async def test_a_store_that_goes_while_it_is_searched_is_not_found(place, opened, embedder, monkeypatch):
    async with opened() as library:
        store, _ = await stored(library, TEXTS)
        other = engine.PostgresIndex(place, model=embedder.name, dimension=256)
        seen = tables.live_store

        def late(*arguments):
            row = seen(*arguments)
            monkeypatch.setattr(tables, "live_store", seen)
            other.delete_store(store.id)
            return row

        monkeypatch.setattr(tables, "live_store", late)
        assert await refusal(library.stores.search([store.id], ["vacation"])) == "not_found"
        other.close()


async def test_text_is_ranked_by_how_often_and_how_rare(opened):
    filler = " ".join(f"filler{number}" for number in range(20))
    texts = {
        "often.txt": f"zebra zebra zebra {filler} one two",
        "once.txt": f"zebra {filler} one two three four",
        "long.txt": f"zebra {filler} " + " ".join(f"more{number}" for number in range(80)),
        **{f"common{number}.txt": f"horse horse horse {filler}" for number in range(9)},
    }
    alone = Ranking(embedding_weight=0)
    async with opened() as library:
        store, _ = await stored(library, texts)
        assert await names(library, store, "zebra", ranking=alone) == ["often.txt", "once.txt", "long.txt"]
        assert (await names(library, store, "a horse or a zebra", ranking=alone))[0] == "often.txt"


async def test_filters_do_not_starve_the_search_of_vectors(place, opened, embedder):
    rng = np.random.default_rng(6)
    index = engine.PostgresIndex(place, model=embedder.name, dimension=256)
    async with opened() as library:
        store, _ = await stored(library, {"rare.txt": "zebra"}, attributes={"kind": "rare"})
        await stored(library, {f"{n}.txt": f"horse word{n}" for n in range(40)}, store, attributes={"kind": "common"})
    question = Question(["horse"], embedder.embed(["horse"])[0], by_text=False)
    rare = {"type": "eq", "key": "kind", "value": "rare"}
    found = index.candidates(store.id, question, rare, 10, 0)
    assert [chunk.name for chunk in found.chunks.values()] == ["rare.txt"]
    vector = rng.normal(size=256).astype(np.float32)
    every = index.candidates(store.id, Question([], vector / np.linalg.norm(vector)), None, 41, 0)
    assert len(every.by_vector) == 41
    index.close()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("postgresql://nobody:secret@127.0.0.1:9/x", "can't be reached"),
        ("postgresql://127.0.0.1:9/", "names no database"),
        ("postgresql://127.0.0.1:9/x?pool=3", "unknown option 'pool'"),
        ("postgresql://127.0.0.1:9/x?sslmode=odd", "no sslmode 'odd'"),
        ("mysql://127.0.0.1/x", "is not a place"),
    ],
)
async def test_a_wrong_address_is_one_sentence(place, embedder, address, said):
    with pytest.raises(LibraryError, match=said) as refused:
        async with open_library(address, embedder=embedder):
            pass
    assert refused.value.code == "storage_failed"
    assert "secret" not in str(refused.value)


async def test_a_missing_database_and_another_model_are_one_sentence(place, opened, embedder):
    async with opened(index=False):
        pass
    with pytest.raises(LibraryError, match=r"refuses: (database .* does not exist|check the user)"):
        async with open_library(place.replace("@/", "@/not"), embedder=embedder):
            pass
    embedder.name = "another"
    with pytest.raises(LibraryError, match="'words', not 'another'"):
        async with opened(index=False):
            pass
