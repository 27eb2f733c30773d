"""The official Python package manages files and vector stores: every answer by its own types, strictly."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio
import openai
import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from openai.types import FileDeleted, FileObject, VectorStore, VectorStoreDeleted, VectorStoreSearchResponse
from openai.types.vector_stores import (
    FileContentResponse,
    VectorStoreFile,
    VectorStoreFileBatch,
    VectorStoreFileDeleted,
)
from pydantic import TypeAdapter

from vivavoce.search.library import open_library

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tests.server.conftest import Serving

    from vivavoce.ports import Embedder
    from vivavoce.server.hub import Hub

    Shelf = Callable[..., AbstractAsyncContextManager[AsyncOpenAI]]

pytestmark = pytest.mark.anyio

HOLIDAYS: Final = "# Holidays\n\nEvery employee has 27 days of paid holiday a year. Ask your manager a week ahead.\n"
PARKING: Final = "# Parking\n\nThe garage opens at six in the morning. Bicycles are kept in the cellar.\n"
OAKS: Final = "Of oaks and holidays. "
OBJECTS: Final[dict[str, Any]] = {
    "file": FileObject,
    "vector_store": VectorStore,
    "vector_store.deleted": VectorStoreDeleted,
    "vector_store.file": VectorStoreFile,
    "vector_store.file.deleted": VectorStoreFileDeleted,
    "vector_store.files_batch": VectorStoreFileBatch,
}
PAGES: Final[dict[str, Any]] = {
    "vector_store.search_results.page": VectorStoreSearchResponse,
    "vector_store.file_content.page": FileContentResponse,
}


def check(answer: dict[str, Any]) -> None:
    """Check what the server said by the client's own types, which the client itself does not."""
    if answer.get("object") == "list":
        assert set(answer) == {"object", "data", "first_id", "last_id", "has_more"}
        ids = [item["id"] for item in answer["data"]]
        assert [answer["first_id"], answer["last_id"]] == ([ids[0], ids[-1]] if ids else [None, None])
        for item in answer["data"]:
            check(item)
    elif kind := PAGES.get(answer["object"]):
        for item in answer["data"]:
            TypeAdapter(kind).validate_python(item, strict=True)
    else:
        kind = FileDeleted if "deleted" in answer and answer["object"] == "file" else OBJECTS[answer["object"]]
        made = TypeAdapter(kind).validate_python(answer, strict=True)
        assert set(made.model_extra or {}) <= {"description"}


async def check_answer(answer: Any) -> None:
    if answer.is_success and answer.headers["content-type"] == "application/json":
        await answer.aread()
        check(answer.json())


@pytest.fixture
def shelf(hub: Hub, serving: Serving, embedder: Embedder, tmp_path: Path) -> Shelf:
    """Return a context with the client of a server that has a library."""

    @asynccontextmanager
    async def run(**options: Any) -> AsyncIterator[AsyncOpenAI]:
        async with open_library(str(tmp_path / "library"), embedder=embedder) as library:
            async with serving(hub, library=library) as url:
                base = url.replace("ws", "http", 1).removesuffix("/realtime")
                web = DefaultAsyncHttpxClient(event_hooks={"response": [check_answer]})
                async with AsyncOpenAI(api_key="none", base_url=base, max_retries=0, http_client=web, **options) as api:
                    with anyio.fail_after(60):
                        yield api

    return run


async def upload(api: AsyncOpenAI, name: str = "holidays.md", text: str | bytes = HOLIDAYS) -> str:
    content = text.encode() if isinstance(text, str) else text
    return (await api.files.create(file=(name, content), purpose="assistants")).id


async def test_files(shelf: Shelf) -> None:
    async with shelf() as api:
        made = await api.files.create(
            file=("Отпуск 休暇.md", HOLIDAYS.encode()),
            purpose="assistants",
            expires_after={"anchor": "created_at", "seconds": 3600},
        )
        assert (made.filename, made.bytes, made.purpose) == ("Отпуск 休暇.md", len(HOLIDAYS), "assistants")
        assert made.expires_at == made.created_at + 3600
        assert await api.files.retrieve(made.id) == made
        assert (await api.files.content(made.id)).content == HOLIDAYS.encode()
        other = (await api.files.create(file=("data.json", b"{}"), purpose="user_data")).id
        assert [file.id async for file in api.files.list()] == [other, made.id]
        assert [file.id async for file in api.files.list(order="asc", limit=1)] == [made.id, other]
        assert [file.id async for file in api.files.list(purpose="user_data")] == [other]
        deleted = await api.files.delete(other)
        assert (deleted.id, deleted.deleted) == (other, True)
        for lost in (api.files.retrieve(other), api.files.content(other), api.files.delete(other)):
            with pytest.raises(openai.NotFoundError, match=other):
                await lost


async def test_upload_and_search(shelf: Shelf) -> None:
    async with shelf() as api:
        store = await api.vector_stores.create(name="handbook", description="What holds here", metadata={"team": "hr"})
        assert (store.name, store.metadata, store.status) == ("handbook", {"team": "hr"}, "completed")
        kept = await api.vector_stores.files.upload_and_poll(
            vector_store_id=store.id, file=("holidays.md", HOLIDAYS.encode()), attributes={"year": 2024, "draft": False}
        )
        assert (kept.status, kept.last_error) == ("completed", None)
        assert kept.attributes == {"year": 2024, "draft": False}
        assert kept.usage_bytes > 0
        await api.vector_stores.files.upload_and_poll(
            vector_store_id=store.id, file=("parking.md", PARKING.encode()), attributes={"year": 2020, "draft": True}
        )
        found = await api.vector_stores.search(store.id, query="How many days of holiday do I have?")
        best = found.data[0]
        assert (best.filename, best.file_id, best.attributes) == ("holidays.md", kept.id, kept.attributes)
        assert "27 days" in best.content[0].text
        assert 0.0 < best.score <= 1.0
        store = await api.vector_stores.retrieve(store.id)
        assert (store.file_counts.completed, store.file_counts.total) == (2, 2)
        text = [part.text async for part in api.vector_stores.files.content(kept.id, vector_store_id=store.id)]
        assert "27 days" in "".join(filter(None, text))


async def test_search_as_it_is_asked_for(shelf: Shelf) -> None:
    async with shelf() as api:
        store = await api.vector_stores.create()
        for year, text in ((2020, PARKING), (2024, HOLIDAYS)):
            await api.vector_stores.files.upload_and_poll(
                vector_store_id=store.id, file=(f"{year}.md", text.encode()), attributes={"year": year, "kind": "rule"}
            )

        async def names(query: Any = "holiday or parking", **options: Any) -> set[str]:
            found = await api.vector_stores.search(store.id, query=query, **options)
            return {hit.filename for hit in found.data}

        assert await names() == {"2020.md", "2024.md"}
        assert await names(["paid holiday", "bicycles"]) == {"2020.md", "2024.md"}
        assert await names(filters={"type": "eq", "key": "year", "value": 2024}) == {"2024.md"}
        assert await names(filters={"type": "lt", "key": "year", "value": 2024}) == {"2020.md"}
        assert await names(filters={"type": "in", "key": "year", "value": [2019, 2020]}) == {"2020.md"}
        both: Any = {
            "type": "and",
            "filters": [
                {"type": "eq", "key": "kind", "value": "rule"},
                {"type": "or", "filters": [{"type": "gte", "key": "year", "value": 2021}]},
            ],
        }
        assert await names(filters=both) == {"2024.md"}
        assert len(await names(max_num_results=1)) == 1
        assert await names("zebras in space", ranking_options={"ranker": "auto", "score_threshold": 0.99}) == set()
        raw = await api.vector_stores.with_raw_response.search(
            store.id, query="Could you please tell me when the garage opens?", rewrite_query=True
        )
        page = raw.http_response.json()
        assert page["object"] == "vector_store.search_results.page"
        assert (page["has_more"], page["next_page"]) == (False, None)
        (looked_for,) = page["search_query"]
        assert "garage" in looked_for
        assert "please" not in looked_for


async def test_stores(shelf: Shelf) -> None:
    async with shelf() as api:
        stores = [(await api.vector_stores.create(name=f"store {number}")).id for number in range(5)]
        assert [store.id async for store in api.vector_stores.list(order="asc", limit=2)] == stores
        assert [store.id async for store in api.vector_stores.list(limit=2)] == stores[::-1]
        ahead = await api.vector_stores.list(order="asc", before=stores[3], limit=2)
        assert ([store.id for store in ahead.data], ahead.has_more) == (stores[1:3], True)
        changed = await api.vector_stores.update(
            stores[0], name="new", metadata={"a": "b"}, expires_after={"anchor": "last_active_at", "days": 2}
        )
        assert (changed.name, changed.metadata) == ("new", {"a": "b"})
        assert changed.expires_after is not None
        assert changed.expires_at is not None
        assert changed.last_active_at is not None
        assert (changed.expires_after.days, changed.expires_at - changed.last_active_at) == (2, 2 * 86_400)
        same = await api.vector_stores.update(stores[0])
        assert (same.name, same.metadata, same.expires_after) == ("new", {"a": "b"}, changed.expires_after)
        assert (await api.vector_stores.update(stores[0], expires_after=None)).expires_after is None
        assert (await api.vector_stores.delete(stores[0])).deleted
        with pytest.raises(openai.NotFoundError, match=stores[0]):
            await api.vector_stores.retrieve(stores[0])
        with pytest.raises(openai.NotFoundError, match=stores[0]):
            await api.vector_stores.search(stores[0], query="anything")


async def test_files_in_a_store(shelf: Shelf) -> None:
    async with shelf() as api:
        ids = [await upload(api, f"{number}.txt", f"This is text number {number}.") for number in range(4)]
        store = (await api.vector_stores.create(file_ids=ids[:1])).id
        in_store = api.vector_stores.files
        for file_id in ids[1:3]:
            await in_store.create_and_poll(
                file_id,
                vector_store_id=store,
                chunking_strategy={
                    "type": "static",
                    "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 20},
                },
            )
        broken = await upload(api, "broken.pdf", b"%PDF-1.7 and no more")
        failed = await in_store.create_and_poll(broken, vector_store_id=store)
        assert failed.status == "failed"
        assert failed.last_error is not None
        assert failed.last_error.code == "invalid_file"
        await in_store.poll(ids[0], vector_store_id=store)
        assert [file.id async for file in in_store.list(store, order="asc", limit=1)] == [*ids[:3], broken]
        assert [file.id async for file in in_store.list(store, filter="failed")] == [broken]
        assert [file.id async for file in in_store.list(store, filter="completed", order="asc")] == ids[:3]
        strategy = (await in_store.retrieve(ids[1], vector_store_id=store)).chunking_strategy
        assert strategy is not None
        assert strategy.type == "static"
        assert (strategy.static.max_chunk_size_tokens, strategy.static.chunk_overlap_tokens) == (100, 20)
        updated = await in_store.update(ids[1], vector_store_id=store, attributes={"lang": "en", "score": 0.5})
        assert updated.attributes == {"lang": "en", "score": 0.5}
        assert (await in_store.update(ids[1], vector_store_id=store, attributes=None)).attributes == {}
        assert (await in_store.delete(ids[1], vector_store_id=store)).deleted
        with pytest.raises(openai.NotFoundError, match=ids[1]):
            await in_store.retrieve(ids[1], vector_store_id=store)
        assert (await api.files.retrieve(ids[1])).id == ids[1]
        await api.files.delete(ids[2])
        assert [file.id async for file in in_store.list(store, order="asc")] == [ids[0], broken]
        with pytest.raises(openai.NotFoundError, match="file-none"):
            await in_store.create(store, file_id="file-none")


async def test_batches(shelf: Shelf, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.txt" for number in range(3)]
    for number, path in enumerate(paths):
        path.write_text(f"The secret of room {number} is {number * 111}.")
    async with shelf() as api:
        store = (await api.vector_stores.create()).id
        batches = api.vector_stores.file_batches
        batch = await batches.upload_and_poll(vector_store_id=store, files=paths)
        assert (batch.status, batch.file_counts.completed, batch.file_counts.total) == ("completed", 3, 3)
        assert len([file async for file in batches.list_files(batch.id, vector_store_id=store, limit=2)]) == 3
        found = await api.vector_stores.search(store, query="What is the secret of room 2?")
        assert "222" in found.data[0].content[0].text
        each = await batches.create_and_poll(
            store,
            files=[
                {"file_id": await upload(api, "a.txt", "About ants."), "attributes": {"legs": 6}},
                {"file_id": await upload(api, "b.txt", "About bees."), "attributes": {"legs": 7}},
            ],
        )
        files = [file async for file in batches.list_files(each.id, vector_store_id=store, order="asc")]
        assert [file.attributes for file in files] == [{"legs": 6}, {"legs": 7}]
        large = await upload(api, "large.txt", "\n\n".join(f"Paragraph {n} about oak trees." * 20 for n in range(2000)))
        begun = await batches.create(store, file_ids=[large])
        assert begun.status == "in_progress"
        cancelled = await batches.cancel(begun.id, vector_store_id=store)
        assert cancelled.status == "cancelled"
        assert (await batches.poll(begun.id, vector_store_id=store)).file_counts.cancelled == 1
        assert (await api.vector_stores.files.retrieve(large, vector_store_id=store)).status == "cancelled"
        with pytest.raises(openai.NotFoundError, match="vsfb_none"):
            await batches.retrieve("vsfb_none", vector_store_id=store)


async def test_search_while_indexing_sees_only_what_is_whole(shelf: Shelf) -> None:
    async with shelf() as api:
        store = (await api.vector_stores.create()).id
        await api.vector_stores.files.upload_and_poll(vector_store_id=store, file=("h.md", HOLIDAYS.encode()))
        large = await upload(
            api, "oaks.txt", "\n\n".join(f"Paragraph {n}: oaks and holidays." * 20 for n in range(400))
        )
        await api.vector_stores.files.create(store, file_id=large)
        assert (await api.vector_stores.retrieve(store)).status == "in_progress"
        while (await api.vector_stores.files.retrieve(large, vector_store_id=store)).status == "in_progress":
            found = await api.vector_stores.search(store, query="days of holiday", max_num_results=50)
            if (await api.vector_stores.files.retrieve(large, vector_store_id=store)).status == "in_progress":
                assert {hit.filename for hit in found.data} == {"h.md"}
        assert (await api.vector_stores.retrieve(store)).status == "completed"


async def test_yandex(shelf: Shelf) -> None:
    """The shapes of Yandex AI Studio's documentation: a folder as the project, expiry by days, from the making too."""
    async with shelf(project="b1gfolder", default_headers={"x-data-logging-enabled": "false"}) as api:
        day: Any = {"anchor": "created_at", "days": 1}
        file = await api.files.create(file=("tours.txt", b"Tours to Bali begin in May."), purpose="assistants")
        expiring = await api.files.create(file=("b.txt", b"Bali."), purpose="assistants", expires_after=day)
        assert expiring.expires_at == expiring.created_at + 86_400
        store = await api.vector_stores.create(
            name="tours", file_ids=[file.id], expires_after={"anchor": "last_active_at", "days": 1}
        )
        while (store := await api.vector_stores.retrieve(store.id)).status == "in_progress":  # noqa: ASYNC110
            await anyio.sleep(0.05)
        assert store.status == "completed"
        found = await api.vector_stores.search(store.id, query="When do tours to Bali begin?")
        assert "May" in found.data[0].content[0].text
        await api.vector_stores.delete(store.id)
        await api.files.delete(file.id)
