"""A library through its front door."""

from __future__ import annotations

import asyncio
import os
import resource
import sqlite3
from contextlib import closing

import pytest

from vivavoce.ports import BackendError, Query
from vivavoce.search.library import FileSearch, open_library
from vivavoce.search.shapes import Attachment, Chunking, Expiry, LibraryError, Limits, Ranking

pytestmark = pytest.mark.anyio
in_a_folder = pytest.mark.parametrize("place", ["folder"], indirect=True)


async def stream(*blocks):
    for block in blocks:
        yield block


async def stored(library, texts, store=None, **options):
    """Index texts by name and return their store and files."""
    store = store or await library.stores.create(name="shelf")
    files = {}
    for name, text in texts.items():
        files[name] = await library.files.add(stream(text.encode()), name=name)
        await library.store_files.attach(store.id, files[name].id, **options)
    for file in files.values():
        await library.store_files.settled(store.id, file.id)
    return store, files


async def names(library, store, question, **options):
    found = await library.stores.search([store.id], [question], **options)
    return [hit.name for hit in found.hits]


TEXTS = {
    "leave.md": "# Leave\n\nEveryone has thirty days of vacation a year.",
    "laptop.md": "# Equipment\n\nLaptops are replaced after four years.",
    "travel.md": "# Travel\n\nTrains are booked by the travel desk, flights need approval.",
}


async def refusal(work):
    with pytest.raises(LibraryError) as refused:
        await work
    assert refused.value.message.endswith((".", "PATH"))
    return refused.value.code


async def test_what_was_attached_is_found_with_its_place_and_score(opened):
    async with opened() as library:
        store, files = await stored(library, TEXTS)
        found = await library.stores.search([store.id], ["how many days of vacation are there?"])
    best = found.hits[0]
    assert (best.file_id, best.name, str(best.place), best.number) == (files["leave.md"].id, "leave.md", "Leave", 0)
    assert best.text.endswith("thirty days of vacation a year.")
    assert best.score > 0.5
    assert all(0 <= hit.score < best.score for hit in found.hits[1:])


async def test_what_is_not_there_scores_low_and_can_be_left_out(opened):
    async with opened() as library:
        store, _ = await stored(library, TEXTS)
        question = "who won the football championship"
        found = await library.stores.search([store.id], [question])
        assert max(hit.score for hit in found.hits) < 0.2
        assert await names(library, store, question, ranking=Ranking(threshold=0.2)) == []


async def test_text_or_vectors_alone(opened):
    async with opened() as library:
        store, _ = await stored(library, TEXTS)
        assert await names(library, store, "laptop", ranking=Ranking(embedding_weight=0)) == ["laptop.md"]
        assert (await names(library, store, "laptops", ranking=Ranking(text_weight=0)))[0] == "laptop.md"


@pytest.mark.parametrize("question", ['"', "AND OR NOT", "a* NEAR(b)", "-", "it's", "what is the", "漢字", "x" * 5000])
async def test_any_question_can_be_asked(opened, question):
    async with opened() as library:
        store, _ = await stored(library, TEXTS)
        await library.stores.search([store.id], [question])


async def test_questions_are_rewritten_where_asked(opened):
    async with opened() as library:
        store, _ = await stored(library, TEXTS)
        question = "Um, could you please tell me who books trains?"
        found = await library.stores.search([store.id], [question], rewrite=True)
        assert found.queries == ("who books trains?",)
        assert found.hits[0].name == "travel.md"


async def test_several_questions_and_stores_are_searched_together(opened):
    async with opened() as library:
        one, _ = await stored(library, {"leave.md": TEXTS["leave.md"]})
        other, _ = await stored(library, {"laptop.md": TEXTS["laptop.md"]})
        found = await library.stores.search([one.id, other.id], ["vacation", "laptops"], limit=2)
        assert {(hit.name, hit.store_id) for hit in found.hits} == {("leave.md", one.id), ("laptop.md", other.id)}


async def test_filters_choose_files_by_attributes(opened):
    async with opened() as library:
        store, _ = await stored(library, {"old.md": TEXTS["leave.md"]}, attributes={"year": 2020})
        await stored(library, {"new.md": TEXTS["leave.md"]}, store, attributes={"year": 2025})
        late = {"type": "gt", "key": "year", "value": 2022}
        assert await names(library, store, "vacation", filters=late) == ["new.md"]
        assert await names(library, store, "vacation", filters={**late, "value": 2030}) == []
        (new,) = (await library.store_files.list(store.id, limit=1)).items
        await library.store_files.update(store.id, new.id, {"year": 2000})
        assert await names(library, store, "vacation", filters=late) == []
        assert await refusal(library.stores.search([store.id], ["x"], filters={"type": "like"})) == "invalid_value"


async def test_an_empty_store_has_nothing(opened):
    async with opened() as library:
        store = await library.stores.create()
        assert (store.status, store.counts.total) == ("completed", 0)
        assert await names(library, store, "anything") == []


async def test_a_deleted_store_in_use_is_not_found(opened):
    async with opened() as library:
        store, files = await stored(library, TEXTS)
        await library.stores.delete(store.id)
        file_id = files["leave.md"].id
        assert await refusal(library.stores.search([store.id], ["vacation"])) == "not_found"
        assert await refusal(library.store_files.attach(store.id, file_id)) == "not_found"
        assert await refusal(library.store_files.get(store.id, file_id)) == "not_found"
        assert (await library.files.get(file_id)).name == "leave.md"
        again, _ = await stored(library, TEXTS)
        assert (await names(library, again, "vacation"))[0] == "leave.md"


async def test_a_deleted_or_detached_file_is_found_no_more(opened):
    async with opened() as library:
        store, files = await stored(library, TEXTS)
        await names(library, store, "vacation")
        await library.files.delete(files["leave.md"].id)
        await library.store_files.detach(store.id, files["laptop.md"].id)
        assert await names(library, store, "vacation laptops") == ["travel.md"]
        assert await names(library, store, "vacation", ranking=Ranking(embedding_weight=0)) == []
        assert await refusal(library.files.get(files["leave.md"].id)) == "not_found"
        assert (await library.stores.get(store.id)).counts.total == 1


async def test_attaching_again_replaces_and_loses_nothing_meanwhile(opened):
    async with opened() as library:
        store, files = await stored(library, {"a.md": "# A\n\n" + "Words about zebras and their stripes. " * 60})
        before = await library.store_files.get(store.id, files["a.md"].id)
        again = await library.store_files.attach(
            store.id, files["a.md"].id, chunking=Chunking(max_tokens=64, overlap_tokens=0, auto=False)
        )
        assert (again.status, await names(library, store, "zebras", limit=1)) == ("in_progress", ["a.md"])
        after = await library.store_files.settled(store.id, files["a.md"].id)
        assert after.chunks > before.chunks > 1
        assert len(await library.store_files.chunks(store.id, files["a.md"].id)) == after.chunks
        assert (await library.stores.get(store.id)).chunks == after.chunks


async def test_a_broken_file_fails_by_itself_and_says_why(opened):
    async with opened() as library:
        store, files = await stored(library, {"a.pdf": "no pdf", **TEXTS})
        broken = await library.store_files.get(store.id, files["a.pdf"].id)
        assert (broken.status, broken.failure.code) == ("failed", "invalid_file")
        counts = (await library.stores.get(store.id)).counts
        assert (counts.completed, counts.failed) == (3, 1)


async def test_batches(opened):
    async with opened() as library:
        store = await library.stores.create()
        files = [await library.files.add(stream(b"words"), name=f"{number}.txt") for number in range(3)]
        batch = await library.batches.create(store.id, [Attachment(file_id=file.id) for file in files])
        assert batch.counts.total == 3
        for file in files:
            await library.store_files.settled(store.id, file.id)
        batch = await library.batches.get(store.id, batch.id)
        assert (batch.status, batch.counts.completed) == ("completed", 3)
        assert len((await library.store_files.list(store.id, batch_id=batch.id)).items) == 3
        missing = [Attachment(file_id=files[0].id), Attachment(file_id="file-none")]
        assert await refusal(library.batches.create(store.id, missing)) == "not_found"


async def test_a_cancelled_batch_stops(opened):
    async with opened(index=False) as library:
        store = await library.stores.create()
        file = await library.files.add(stream(b"words"), name="a.txt")
        batch = await library.batches.create(store.id, [Attachment(file_id=file.id)])
        batch = await library.batches.cancel(store.id, batch.id)
        assert (batch.status, batch.counts.cancelled) == ("cancelled", 1)
    async with opened() as library:
        await asyncio.sleep(0.3)
        assert (await library.store_files.get(store.id, file.id)).status == "cancelled"


async def test_lists_go_page_by_page_both_ways(opened):
    async with opened(index=False) as library:
        made = [(await library.stores.create(name=str(number))).id for number in range(5)]
        page = await library.stores.list(limit=2)
        assert ([store.id for store in page.items], page.has_more) == ([made[4], made[3]], True)
        page = await library.stores.list(limit=2, after=made[1])
        assert ([store.id for store in page.items], page.has_more) == ([made[0]], False)
        page = await library.stores.list(limit=2, before=made[1])
        assert ([store.id for store in page.items], page.has_more) == ([made[3], made[2]], True)
        page = await library.stores.list(limit=2, order="asc", before=made[1])
        assert ([store.id for store in page.items], page.has_more) == ([made[0]], False)
        assert await refusal(library.stores.list(after="vs_none")) == "invalid_value"


async def test_stores_expire_after_their_last_use(opened):
    now = [1_000_000.0]
    async with opened(clock=lambda: now[0]) as library:
        store, files = await stored(library, TEXTS)
        store = await library.stores.update(store.id, expires_after=Expiry("last_active_at", 100))
        assert store.expires_at == 1_000_100
        now[0] += 60
        await names(library, store, "vacation")
        await library.flush()
        now[0] += 60
        store = await library.stores.get(store.id)
        assert (store.status, store.last_active_at) == ("completed", 1_000_060)
        now[0] += 60
        assert (await library.stores.get(store.id)).status == "expired"
        assert await refusal(library.stores.search([store.id], ["vacation"])) == "expired"
        assert await refusal(library.store_files.attach(store.id, files["leave.md"].id)) == "expired"
    async with opened(clock=lambda: now[0]) as library:
        await asyncio.sleep(0.3)
        assert (await library.stores.get(store.id)).counts.total == 0
        assert (await library.files.get(files["leave.md"].id)).name == "leave.md"


@in_a_folder
async def test_files_expire_and_their_bytes_go(opened, tmp_path):
    now = [1_000_000.0]
    async with opened(clock=lambda: now[0]) as library:
        file = await library.files.add(stream(b"words"), name="a.txt", expires_after=Expiry("created_at", 50))
        now[0] += 60
        assert await refusal(library.files.get(file.id)) == "not_found"
    async with opened(clock=lambda: now[0]):
        await asyncio.sleep(0.3)
    assert list((tmp_path / "library" / "files").iterdir()) == []


async def test_the_port_for_conversations(opened):
    async with opened() as library:
        search = FileSearch(library)
        with pytest.raises(BackendError, match="default"):
            await search.search(Query(text="vacation"))
        await stored(library, TEXTS, await library.stores.create(name="default"))
        passage = (await search.search(Query(text="how much vacation?")))[0]
        assert passage.source.title == "leave.md, Leave"
        assert "thirty days" in passage.text


async def test_bytes_come_back_as_they_were(opened):
    content = os.urandom(3_000_000)
    async with opened(index=False) as library:
        file = await library.files.add(stream(content[:5], content[5:]), name="a.bin")
        assert b"".join([block async for block in library.files.content(file.id)]) == content


# Bad input ------------------------------------------------------------------------------------------------------------


@in_a_folder
@pytest.mark.parametrize(
    "name", ["../../../etc/passwd", "/etc/passwd", "..", "C:\\x", "отчёт 漢字 🙂.txt", "a\x1b[31m\0b.txt"]
)
async def test_names_are_data(opened, tmp_path, name):
    async with opened() as library:
        store, files = await stored(library, {name: "Some words."})
        (file,) = files.values()
        assert file.name == name.replace("\x1b", "").replace("\0", "")
        assert (await library.store_files.get(store.id, file.id)).status == "completed"
    assert {path.name for path in (tmp_path / "library" / "files").iterdir()} == {file.id}
    assert {path.name for path in tmp_path.iterdir()} == {"library"}


@in_a_folder
async def test_a_file_of_2_gb_is_refused_before_it_is_read(opened, tmp_path):
    with (tmp_path / "big.txt").open("wb") as file:
        file.truncate(2 << 30)
    async with opened(limits=Limits(file_bytes=1 << 20)) as library:
        for in_place in (False, True):
            assert await refusal(library.files.add(tmp_path / "big.txt", in_place=in_place)) == "file_too_large"
        blocks = stream(*[b"x" * (1 << 19)] * 3)
        assert await refusal(library.files.add(blocks, name="big")) == "file_too_large"
        assert (await library.files.list()).items == ()
    assert list((tmp_path / "library" / "partial").iterdir()) == []


async def test_a_file_that_changes_after_it_was_added_is_not_indexed_as_it_was(opened, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("Old words.")
    async with opened(index=False) as library:
        store = await library.stores.create(name="s")
        file = await library.files.add(path, in_place=True)
        await library.store_files.attach(store.id, file.id)
        path.write_text("New words.")
    async with opened() as library:
        found = await library.store_files.settled(store.id, file.id)
        assert (found.status, found.failure.code) == ("failed", "changed")
        with pytest.raises(LibraryError, match="has changed"):
            [block async for block in library.files.content(file.id)]


async def test_a_file_that_changes_while_it_is_read_is_refused(opened, tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * 100)
    whole = os.fstat

    def late(descriptor):
        path.write_bytes(b"y" * 101)
        return whole(descriptor)

    monkeypatch.setattr(os, "fstat", late)
    async with opened(index=False) as library:
        assert await refusal(library.files.add(path, in_place=True)) == "changed"


async def growing(library, store, folder):
    """Index files until that fails, and return how."""
    for number in range(60):
        path = folder / f"{number}.txt"
        path.write_text(f"Word{number} of many. " * 500)
        try:
            file = await library.files.add(path, in_place=True)
            await library.store_files.attach(store.id, file.id)
            found = await library.store_files.settled(store.id, file.id)
        except LibraryError as wrong:
            return wrong.code
        if found.failure is not None:
            return found.failure.code
    return None


@in_a_folder
async def test_a_full_disk_is_said_and_leaves_the_store_intact(opened, tmp_path):
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with opened() as library:
        store, _ = await stored(library, TEXTS)
        used = max(path.stat().st_size for path in (tmp_path / "library").iterdir() if path.is_file())
        resource.setrlimit(resource.RLIMIT_FSIZE, (used + 200_000, usual[1]))
        try:
            assert await refusal(library.files.add(stream(b"x" * 2_000_000), name="a.txt")) == "storage_full"
            assert await growing(library, store, tmp_path) == "storage_full"
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, usual)
        assert (await names(library, store, "vacation"))[0] == "leave.md"
    async with opened() as library:
        assert (await names(library, store, "vacation"))[0] == "leave.md"
        await stored(library, {"late.txt": "Written after room was made."}, store)
        assert (await names(library, store, "room"))[0] == "late.txt"
    with closing(sqlite3.connect(tmp_path / "library" / "library.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@in_a_folder
async def test_a_damaged_library_and_another_model_are_one_sentence(opened, tmp_path, embedder):
    async with opened(index=False):
        pass
    embedder.name = "another"
    with pytest.raises(LibraryError, match="'words', not 'another'"):
        async with opened(index=False):
            pass
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "library.db").write_bytes(b"not a database" * 100)
    with pytest.raises(LibraryError, match="damaged") as refused:
        async with open_library(str(tmp_path / "bad"), embedder=embedder):
            pass
    assert refused.value.code == "storage_failed"


async def test_bad_values_are_refused(opened):
    async with opened(index=False) as library:
        store = await library.stores.create()
        file = await library.files.add(stream(b"x"), name="a.txt")
        for work in (
            library.stores.create(metadata={str(number): "x" for number in range(17)}),
            library.stores.create(expires_after=Expiry("last_active_at", 0)),
            library.stores.search([store.id], ["x"], limit=0),
            library.stores.search([store.id], [" "]),
            library.store_files.attach(store.id, file.id, chunking=Chunking(max_tokens=100, overlap_tokens=51)),
            library.store_files.attach(store.id, file.id, attributes={"a": "x" * 513}),
            library.files.add(stream(b"x"), name="\0"),
        ):
            assert await refusal(work) == "invalid_value"
        assert await refusal(library.stores.create(file_ids=["file-none"])) == "not_found"
        assert len((await library.stores.list()).items) == 1
