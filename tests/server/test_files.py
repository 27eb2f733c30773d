"""Files and vector stores over plain HTTP: what is wrong, hostile, cut off, too much, or gone meanwhile."""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
import time
import zipfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import openai
import pytest
from tests.server.clients import http, raw_socket

from vivavoce import compose
from vivavoce.config import Settings
from vivavoce.errors import VivavoceError
from vivavoce.search.library import open_library
from vivavoce.search.shapes import LibraryError
from vivavoce.server.auth import Access, Keys
from vivavoce.server.http import files, wire
from vivavoce.server.hub import Hub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from tests.server.conftest import Serving

    from vivavoce.ports import Embedder
    from vivavoce.server.engine import Engines

    Shelf = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]

pytestmark = pytest.mark.anyio

NAMED = b"--x\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\n"
FORM = {"Content-Type": "multipart/form-data; boundary=x"}


@pytest.fixture
def shelf(engines: Callable[..., Engines], serving: Serving, embedder: Embedder, tmp_path: Path) -> Shelf:
    """Return a context with an HTTP client of a server that has a library."""

    @asynccontextmanager
    async def run(*, clock: Callable[[], float] = time.time, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
        async with open_library(str(tmp_path / "library"), embedder=embedder, clock=clock) as library:
            async with serving(Hub(engines()), library=library, **options) as url:
                async with httpx.AsyncClient(base_url=http(url) + "/v1", timeout=60) as web:
                    yield web

    return run


async def told(answer: httpx.Response) -> tuple[int, str, str | None]:
    """Return how a request was refused; a refusal has a sentence."""
    wrong = answer.json()["error"]
    assert wrong["message"].endswith((".", "'", ")"))
    return answer.status_code, wrong["code"], wrong["param"]


async def upload(web: httpx.AsyncClient, name: str = "a.txt", content: bytes = b"Some text.") -> str:
    answer = await web.post("/files", files={"file": (name, content)}, data={"purpose": "assistants"})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def store(web: httpx.AsyncClient, **body: Any) -> str:
    answer = await web.post("/vector_stores", json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def settled(web: httpx.AsyncClient, store_id: str, file_id: str) -> dict[str, Any]:
    with anyio.fail_after(60):
        while (file := (await web.get(f"/vector_stores/{store_id}/files/{file_id}")).json())["status"] == "in_progress":  # noqa: ASYNC110
            await anyio.sleep(0.05)
    known: dict[str, Any] = file
    return known


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*")}


def everything_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and "files" in path.parts)


# Uploads --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "..\\..\\boot.ini",
        "C:\\a.txt",
        "a b;c=d.txt",
        "Δοκιμή ファイル 🎧.md",
        "…",
        "%2e%2e%2fa",
    ],
)
async def test_name_is_data(shelf: Shelf, tmp_path: Path, name: str) -> None:
    async with shelf() as web:
        file_id = await upload(web, name)
        assert (await web.get(f"/files/{file_id}")).json()["filename"] == name
        content = await web.get(f"/files/{file_id}/content")
        assert content.content == b"Some text."
        assert content.headers["content-type"] == "application/octet-stream"
        assert "attachment" in content.headers["content-disposition"]
        assert "/" not in content.headers["content-disposition"]
    assert not names_in(tmp_path) & {"passwd", "boot.ini"}


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ("filename*=UTF-8''%D0%A0%D0%B8%D0%BC.txt", "Рим.txt"),
        ("filename=\"plain.txt\"; filename*=UTF-8''%E2%82%AC.txt", None),
        ('filename="Рим.txt"', "Рим.txt"),
        ('filename="say \\"hi\\".txt"', 'say "hi".txt'),
    ],
)
async def test_name_in_each_way_of_writing(shelf: Shelf, disposition: str, name: str | None) -> None:
    body = f'--x\r\nContent-Disposition: form-data; name="file"; {disposition}\r\n\r\nText.\r\n--x--\r\n'
    async with shelf() as web:
        answer = (await web.post("/files", content=body.encode(), headers=FORM)).json()
    assert answer["filename"] in ({name} if name else {"plain.txt", "€.txt"})


@pytest.mark.parametrize(
    ("form", "status", "code", "param"),
    [
        ({"data": {"purpose": "assistants"}}, 400, "invalid_content_type", None),
        ({"files": {"purpose": (None, "assistants")}}, 400, "missing_required_parameter", "file"),
        ({"files": {"file": ("a", b"x")}, "data": {"purpose": "world domination"}}, 400, "invalid_value", "purpose"),
        ({"files": {"file": ("a" * 300, b"x")}}, 400, "invalid_value", "file"),
        ({"files": {"file": ("  ", b"x")}}, 400, "invalid_value", "file"),
        (
            {"files": {"file": ("a", b"x")}, "data": {"expires_after[anchor]": "created_at"}},
            400,
            "invalid_value",
            "expires_after",
        ),
        (
            {"files": {"file": ("a", b"x")}, "data": {"expires_after[anchor]": "now", "expires_after[seconds]": "9"}},
            400,
            "invalid_value",
            "expires_after.anchor",
        ),
        (
            {
                "files": {"file": ("a", b"x")},
                "data": {"expires_after[anchor]": "created_at", "expires_after[seconds]": "9"},
            },
            400,
            "integer_below_min_value",
            "expires_after.seconds",
        ),
        ({"files": [("file", ("a", b"x")), ("file", ("b", b"y"))]}, 400, "invalid_form", None),
        (
            {"content": NAMED + b"ab", "headers": FORM},
            400,
            "invalid_form",
            None,
        ),
        (
            {
                "content": NAMED + b"ab\r\n--y--",
                "headers": FORM,
            },
            400,
            "invalid_form",
            None,
        ),
        ({"content": b"--x\r\n" + b"A" * 100_000, "headers": FORM}, 400, "invalid_form", None),
        ({"files": {"file": ("a", b"x")}, "data": {"purpose": "a" * 1_100_000}}, 413, "request_too_large", None),
        ({"files": {"file": ("a", b"x" * 70_000)}}, 413, "request_too_large", "file"),
        ({"files": {"file": ("a", b"x" * 3_000_000)}}, 413, "request_too_large", "file"),
    ],
)
async def test_upload_that_cannot_be(
    shelf: Shelf, tmp_path: Path, form: Any, status: int, code: str, param: str | None
) -> None:
    async with shelf(max_upload=65_536) as web:
        assert await told(await web.post("/files", **form)) == (status, code, param)
        assert (await web.get("/files")).json()["data"] == []
        await upload(web, content=b"x" * 65_536)
    assert everything_in(tmp_path / "library") == 65_536


async def test_upload_that_is_given_up_leaves_nothing(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spooled = tmp_path / "spooled"
    spooled.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(spooled))
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
    async with shelf() as web:
        async with await raw_socket(str(web.base_url)) as stream:
            await stream.send(
                b"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
                b"Content-Length: 50000000\r\n\r\n" + head
            )
            for _ in range(40):
                await stream.send(b"a" * 100_000)
        await upload(web)
        assert len((await web.get("/files")).json()["data"]) == 1
    assert everything_in(tmp_path / "library") == len(b"Some text.")
    assert names_in(spooled) == set()


async def test_upload_that_is_slow(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "BODY_S", 0.2)

    async def slow() -> AsyncIterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
        for _ in range(6):
            await anyio.sleep(0.1)
            yield b"a" * 10_000
        yield b"\r\n--x--"

    async with shelf() as web:
        assert (await web.post("/files", content=slow(), headers=FORM)).json()["bytes"] == 60_000
        monkeypatch.setattr(wire, "SLOWEST", 10_000_000)
        assert (await web.post("/files", content=slow(), headers=FORM)).status_code == 408


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
async def test_disk_that_is_full(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes to /dev/full, which takes nothing."""
    async with shelf() as web:
        with monkeypatch.context() as patched:
            patched.setattr(files, "SpooledTemporaryFile", lambda _: open("/dev/full", "r+b", buffering=0))  # noqa: PTH123, SIM115
            answer = await web.post("/files", files={"file": ("a.txt", b"x" * 100_000)})
        assert await told(answer) == (507, "storage_full", None)
        await upload(web)


async def test_uploads_side_by_side(shelf: Shelf) -> None:
    contents = {f"{number}.bin": os.urandom(3_000_000) for number in range(5)}
    ids: dict[str, str] = {}
    async with shelf() as web:

        async def send(name: str) -> None:
            ids[name] = await upload(web, name, contents[name])

        async with anyio.create_task_group() as tasks:
            for name in contents:
                tasks.start_soon(send, name)
        for name, file_id in ids.items():
            assert (await web.get(f"/files/{file_id}/content")).content == contents[name]


async def test_empty_file(shelf: Shelf) -> None:
    async with shelf() as web:
        file_id, store_id = await upload(web, "nothing.txt", b""), await store(web)
        assert (await web.get(f"/files/{file_id}/content")).content == b""
        assert (await web.post(f"/vector_stores/{store_id}/files", json={"file_id": file_id})).status_code == 200
        failed = await settled(web, store_id, file_id)
        assert (failed["status"], failed["last_error"]["code"]) == ("failed", "invalid_file")


async def test_files_that_cannot_be_read(shelf: Shelf) -> None:
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("[Content_Types].xml", "<Types/>")
        packed.writestr("word/document.xml", b"<w>" + b" " * 200_000_000)
    async with shelf() as web:
        store_id = await store(web)
        for name, content, code in (
            ("bomb.docx", bomb.getvalue(), "invalid_file"),
            ("cut.pdf", b"%PDF-1.7\n1 0 obj", "invalid_file"),
            ("noise.docx", os.urandom(1000), "invalid_file"),
            ("program.exe", b"MZ\x90\x00\x03\x00\x00\x00" + os.urandom(1000), "unsupported_file"),
        ):
            file_id = await upload(web, name, content)
            await web.post(f"/vector_stores/{store_id}/files", json={"file_id": file_id})
            failed = await settled(web, store_id, file_id)
            assert (name, failed["status"], failed["last_error"]["code"]) == (name, "failed", code)
            assert failed["last_error"]["message"].endswith(".")
        good = await upload(web, "good.txt", b"The lamp is green.")
        await web.post(f"/vector_stores/{store_id}/files", json={"file_id": good})
        assert (await settled(web, store_id, good))["status"] == "completed"


# What is asked for wrongly --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"name": "a" * 257}, "string_above_max_length", "name"),
        ({"name": 1}, "invalid_type", "name"),
        ({"metadata": {str(number): "" for number in range(17)}}, "object_above_max_properties", "metadata"),
        ({"metadata": {"a" * 65: ""}}, "string_above_max_length", "metadata"),
        ({"metadata": {"a": "b" * 513}}, "string_above_max_length", "metadata"),
        ({"metadata": {"a": 1}}, "invalid_type", "metadata"),
        ({"expires_after": {"anchor": "last_active_at", "days": 0}}, "integer_below_min_value", "expires_after.days"),
        ({"expires_after": {"anchor": "last_active_at", "days": 366}}, "integer_above_max_value", "expires_after.days"),
        ({"expires_after": {"anchor": "tomorrow", "days": 1}}, "invalid_value", "expires_after.anchor"),
        ({"expires_after": {"anchor": "last_active_at"}}, "missing_required_parameter", "expires_after.days"),
        ({"chunking_strategy": {"type": "magic"}}, "invalid_value", "chunking_strategy.type"),
        (
            {
                "chunking_strategy": {
                    "type": "static",
                    "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 51},
                }
            },
            "invalid_value",
            "chunking_strategy.static.chunk_overlap_tokens",
        ),
        (
            {
                "chunking_strategy": {
                    "type": "static",
                    "static": {"max_chunk_size_tokens": 9, "chunk_overlap_tokens": 0},
                }
            },
            "integer_below_min_value",
            "chunking_strategy.static.max_chunk_size_tokens",
        ),
        ({"file_ids": "file-1"}, "invalid_type", "file_ids"),
    ],
)
async def test_store_that_cannot_be(shelf: Shelf, body: Any, code: str, param: str) -> None:
    async with shelf() as web:
        assert await told(await web.post("/vector_stores", json=body)) == (400, code, param)
        assert (await web.get("/vector_stores")).json()["data"] == []


def comparison(kind: Any = "eq", key: Any = "year", value: Any = 1) -> dict[str, Any]:
    return {"type": kind, "key": key, "value": value}


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "missing_required_parameter", "query"),
        ({"query": ""}, "", "query"),
        ({"query": []}, "", "query"),
        ({"query": "a" * 4097}, "string_above_max_length", "query"),
        ({"query": 5}, "invalid_type", "query"),
        ({"max_num_results": 0}, "integer_below_min_value", "max_num_results"),
        ({"max_num_results": 51}, "integer_above_max_value", "max_num_results"),
        ({"ranking_options": {"score_threshold": 2}}, "integer_above_max_value", "ranking_options.score_threshold"),
        (
            {"ranking_options": {"hybrid_search": {"embedding_weight": 0, "text_weight": 0}}},
            "invalid_value",
            "ranking_options.hybrid_search",
        ),
        ({"filters": "year"}, "invalid_type", "filters"),
        ({"filters": {"type": "like", "key": "a", "value": "b"}}, "invalid_value", "filters"),
        ({"filters": {"type": "eq", "value": "b"}}, "", "filters"),
        ({"filters": comparison("gt", value=[1])}, "invalid_value", "filters"),
        ({"filters": comparison("in", value=1)}, "invalid_value", "filters"),
        ({"filters": comparison("eq", value={"a": 1})}, "", "filters"),
        ({"filters": {"type": "and"}}, "", "filters"),
        ({"filters": {"type": "and", "filters": [{"type": "or", "filters": [comparison("no")]}]}}, "", "filters"),
        ({"filters": {"type": "not", "filters": []}}, "invalid_value", "filters"),
    ],
)
async def test_search_that_cannot_be(shelf: Shelf, body: Any, code: str, param: str) -> None:
    async with shelf() as web:
        store_id = await store(web)
        asked = body if {"query"} & set(body) or not body else {"query": "a"} | body
        status, told_code, told_param = await told(await web.post(f"/vector_stores/{store_id}/search", json=asked))
        assert status == 400
        assert told_code == code or not code
        assert (told_param or "").startswith(param)


@pytest.mark.parametrize("depth", [100, 100_000])
async def test_filter_that_is_deeper_than_any_person_writes(shelf: Shelf, depth: int) -> None:
    filters = '{"type": "and", "filters": [' * depth + json.dumps(comparison()) + "]}" * depth
    async with shelf() as web:
        path = f"/vector_stores/{await store(web)}/search"
        answer = await web.post(path, content=f'{{"query": "a", "filters": {filters}}}')
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] in {"invalid_value", "invalid_json"}


@pytest.mark.parametrize(
    ("query", "code", "param"),
    [
        ("limit=0", "integer_below_min_value", "limit"),
        ("limit=101", "integer_above_max_value", "limit"),
        ("limit=many", "invalid_type", "limit"),
        ("order=random", "invalid_value", "order"),
        ("filter=lost", "invalid_value", "filter"),
    ],
)
async def test_list_that_cannot_be(shelf: Shelf, query: str, code: str, param: str) -> None:
    async with shelf() as web:
        store_id = await store(web)
        assert await told(await web.get(f"/vector_stores/{store_id}/files?{query}")) == (400, code, param)
        if param != "filter":
            assert await told(await web.get(f"/vector_stores?{query}")) == (400, code, param)


async def test_list_after_what_is_gone(shelf: Shelf) -> None:
    async with shelf() as web:
        for path in ("/files", "/vector_stores"):
            answer = await web.get(f"{path}?after=gone")
            assert await told(answer) in {(400, "invalid_value", "after"), (404, "not_found", "after")}


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "missing_required_parameter", "file_id"),
        ({"attributes": {str(number): 1 for number in range(17)}}, "object_above_max_properties", "attributes"),
        ({"attributes": {"a": "b" * 513}}, "string_above_max_length", "attributes"),
        ({"attributes": {"a" * 65: True}}, "string_above_max_length", "attributes"),
        ({"attributes": {"a": ["b"]}}, "invalid_type", "attributes"),
        ({"attributes": {"a": None}}, "invalid_type", "attributes"),
    ],
)
async def test_attachment_that_cannot_be(shelf: Shelf, body: Any, code: str, param: str) -> None:
    async with shelf() as web:
        store_id, file_id = await store(web), await upload(web)
        path = f"/vector_stores/{store_id}/files"
        asked = {"file_id": file_id} | body if body else {}
        assert await told(await web.post(path, json=asked)) == (400, code, param)
        assert (await web.get(path)).json()["data"] == []


async def test_batch_that_cannot_be(shelf: Shelf) -> None:
    async with shelf() as web:
        store_id, file_id = await store(web), await upload(web)
        path = f"/vector_stores/{store_id}/file_batches"
        bodies: list[dict[str, Any]] = [{}, {"file_ids": []}, {"file_ids": [file_id], "files": [{"file_id": file_id}]}]
        for body in bodies:
            assert await told(await web.post(path, json=body)) == (400, "invalid_value", "file_ids")
        status, code, _ = await told(await web.post(path, json={"file_ids": [file_id, "file-none"]}))
        assert (status, code) == (404, "not_found")
        assert (await web.get(f"/vector_stores/{store_id}/files")).json()["data"] == []


# What is gone ---------------------------------------------------------------------------------------------------------


async def test_everything_that_is_not_there(shelf: Shelf) -> None:
    async with shelf() as web:
        store_id = await store(web)
        for method, path, body in (
            ("GET", "/files/file-none", None),
            ("GET", "/files/file-none/content", None),
            ("DELETE", "/files/file-none", None),
            ("GET", "/vector_stores/vs_none", None),
            ("POST", "/vector_stores/vs_none", {}),
            ("DELETE", "/vector_stores/vs_none", None),
            ("POST", "/vector_stores/vs_none/search", {"query": "a"}),
            ("GET", "/vector_stores/vs_none/files", None),
            ("POST", "/vector_stores/vs_none/files", {"file_id": "file-none"}),
            ("POST", f"/vector_stores/{store_id}/files", {"file_id": "file-none"}),
            ("GET", f"/vector_stores/{store_id}/files/file-none", None),
            ("POST", f"/vector_stores/{store_id}/files/file-none", {"attributes": {}}),
            ("DELETE", f"/vector_stores/{store_id}/files/file-none", None),
            ("GET", f"/vector_stores/{store_id}/files/file-none/content", None),
            ("POST", "/vector_stores/vs_none/file_batches", {"file_ids": ["file-none"]}),
            ("GET", f"/vector_stores/{store_id}/file_batches/vsfb_none", None),
            ("POST", f"/vector_stores/{store_id}/file_batches/vsfb_none/cancel", None),
            ("GET", f"/vector_stores/{store_id}/file_batches/vsfb_none/files", None),
        ):
            answer = await web.request(method, path, json=body)
            status, code, _ = await told(answer)
            assert (path, status, code) == (path, 404, "not_found")
            assert "none" in answer.json()["error"]["message"]


LARGE = "\n\n".join(f"Paragraph {number}: about oaks and elms. " * 20 for number in range(60)).encode()


async def test_what_is_deleted_while_it_is_indexed(shelf: Shelf) -> None:
    async with shelf() as web:
        store_id = await store(web)
        first, second, third = [await upload(web, f"{number}.txt", LARGE) for number in range(3)]
        for file_id in (first, second, third):
            await web.post(f"/vector_stores/{store_id}/files", json={"file_id": file_id})
        assert (await web.delete(f"/files/{first}")).json()["deleted"]
        assert (await web.delete(f"/vector_stores/{store_id}/files/{second}")).json()["deleted"]
        assert (await web.get(f"/vector_stores/{store_id}/files/{first}")).status_code == 404
        assert (await web.delete(f"/vector_stores/{store_id}")).json()["deleted"]
        assert await told(await web.post(f"/vector_stores/{store_id}/search", json={"query": "oaks"})) == (
            404,
            "not_found",
            "vector_store_id",
        )
        other = await store(web, file_ids=[third])
        assert (await settled(web, other, third))["status"] == "completed"
        found = (await web.post(f"/vector_stores/{other}/search", json={"query": "oaks"})).json()
        assert {hit["file_id"] for hit in found["data"]} == {third}


async def test_indexing_goes_on_after_a_restart(shelf: Shelf) -> None:
    async with shelf() as web:
        file_id = await upload(web, "oaks.txt", LARGE)
        store_id = await store(web, file_ids=[file_id])
        assert (await web.get(f"/vector_stores/{store_id}")).json()["status"] == "in_progress"
    async with shelf() as web:
        assert (await settled(web, store_id, file_id))["status"] == "completed"
        assert (await web.post(f"/vector_stores/{store_id}/search", json={"query": "oaks"})).json()["data"]


async def test_empty_store_has_nothing(shelf: Shelf) -> None:
    async with shelf() as web:
        answer = (await web.post(f"/vector_stores/{await store(web)}/search", json={"query": "anything"})).json()
        assert (answer["data"], answer["has_more"], answer["search_query"]) == ([], False, ["anything"])


async def test_attributes_are_searched_as_they_are_now(shelf: Shelf) -> None:
    async with shelf() as web:
        file_id = await upload(web, "lamp.txt", b"The lamp is green.")
        store_id = await store(web, file_ids=[file_id])
        await settled(web, store_id, file_id)
        asked = {"query": "lamp", "filters": comparison(value=2024)}
        assert (await web.post(f"/vector_stores/{store_id}/search", json=asked)).json()["data"] == []
        await web.post(f"/vector_stores/{store_id}/files/{file_id}", json={"attributes": {"year": 2024}})
        (hit,) = (await web.post(f"/vector_stores/{store_id}/search", json=asked)).json()["data"]
        assert hit["attributes"] == {"year": 2024}


# What expires ---------------------------------------------------------------------------------------------------------

DAY_S = 86_400


async def test_store_that_has_expired(shelf: Shelf) -> None:
    now = [1_800_000_000.0]
    async with shelf(clock=lambda: now[0]) as web:
        file_id = await upload(web, "lamp.txt", b"The lamp is green.")
        used = await store(web, file_ids=[file_id], expires_after={"anchor": "last_active_at", "days": 2})
        made = await store(web, file_ids=[file_id], expires_after={"anchor": "created_at", "days": 2})
        for store_id in (used, made):
            await settled(web, store_id, file_id)
        now[0] += 1.5 * DAY_S
        for store_id in (used, made):
            assert (await web.post(f"/vector_stores/{store_id}/search", json={"query": "lamp"})).json()["data"]
    now[0] += DAY_S
    async with shelf(clock=lambda: now[0]) as web:
        assert (await web.get(f"/vector_stores/{used}")).json()["status"] == "completed"
        gone = (await web.get(f"/vector_stores/{made}")).json()
        assert (gone["status"], gone["expires_at"]) == ("expired", 1_800_000_000 + 2 * DAY_S)
        for path, body in (
            (f"/vector_stores/{made}/search", {"query": "lamp"}),
            (f"/vector_stores/{made}/files", {"file_id": file_id}),
            (f"/vector_stores/{made}/file_batches", {"file_ids": [file_id]}),
        ):
            status, code, _ = await told(await web.post(path, json=body))
            assert (path, status, code) == (path, 400, "expired")
        assert (await web.delete(f"/vector_stores/{made}")).json()["deleted"]
        assert (await web.get(f"/files/{file_id}")).status_code == 200


async def test_file_that_has_expired(shelf: Shelf) -> None:
    now = [1_800_000_000.0]
    form = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    async with shelf(clock=lambda: now[0]) as web:
        made = (await web.post("/files", files={"file": ("a.txt", b"Text.")}, data=form)).json()
        assert made["expires_at"] == made["created_at"] + 3600
        now[0] += 3601
        assert (await web.get(f"/files/{made['id']}")).status_code == 404
        assert (await web.get("/files")).json()["data"] == []


# Another process ------------------------------------------------------------------------------------------------------

OTHER = """
import sys, anyio
from vivavoce import plugins
from vivavoce.search.library import open_library
from vivavoce.search.shapes import LibraryError

async def main(folder, store_id):
    async with open_library(folder, embedder=plugins.make("embed", "minilm")) as library:
        async def content():
            yield b"The boat is red."
        file = await library.files.add(content(), name="boat.txt")
        await library.store_files.attach(store_id, file.id)
        print((await library.store_files.settled(store_id, file.id)).status)
        found = await library.stores.search([store_id], ["colour of the lamp"])
        print(found.hits[0].text)

anyio.run(main, *sys.argv[1:])
"""


async def test_another_process_uses_the_same_library(shelf: Shelf, tmp_path: Path) -> None:
    async with shelf() as web:
        file_id = await upload(web, "lamp.txt", b"The lamp is green.")
        store_id = await store(web, file_ids=[file_id])
        await settled(web, store_id, file_id)
        ran = await anyio.run_process([sys.executable, "-c", OTHER, str(tmp_path / "library"), store_id])
        assert ran.stdout.decode().splitlines() == ["completed", "The lamp is green."]
        found = (await web.post(f"/vector_stores/{store_id}/search", json={"query": "colour of the boat"})).json()
        assert found["data"][0]["content"][0]["text"] == "The boat is red."


# Who may, and where ---------------------------------------------------------------------------------------------------


async def test_keys_and_origins_hold_here_too(shelf: Shelf) -> None:
    async with shelf(access=Access(Keys({"secret": "anna"}), origins=["https://ours.example"])) as web:
        for path in ("/files", "/vector_stores", "/vector_stores/vs_1/files"):
            assert (await web.get(path)).status_code == 401
            assert (await web.get(path, headers={"Origin": "https://theirs.example"})).status_code == 403
        headers = {"Authorization": "Api-Key secret", "Origin": "https://ours.example", "OpenAI-Beta": "assistants=v2"}
        answer = await web.get("/vector_stores", headers=headers)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "https://ours.example")
        asked = {"Origin": "https://ours.example", "Access-Control-Request-Method": "DELETE"}
        assert "DELETE" in (await web.options("/files/a", headers=asked)).headers["access-control-allow-methods"]


async def test_without_a_library(engines: Callable[..., Engines], serving: Serving) -> None:
    why = VivavoceError("Files and vector stores need 'lxml', which is not installed: pip install \"vivavoce[search]\"")
    async with serving(Hub(engines()), library=why) as url:
        base = http(url) + "/v1"
        async with openai.AsyncOpenAI(api_key="none", base_url=base, max_retries=0) as api:
            with pytest.raises(openai.APIStatusError, match=r"vivavoce\[search\]") as wrong:
                await api.vector_stores.create(name="a")
            assert (wrong.value.status_code, wrong.value.code) == (501, "not_installed")


async def test_extra_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compose, "find_spec", lambda name: None if name == "lxml" else name)
    async with compose.open_library_if_any(Settings()) as library:
        assert isinstance(library, VivavoceError)
        assert 'pip install "vivavoce[search]"' in str(library)


async def test_library_that_cannot_be_opened(
    engines: Callable[..., Engines], serving: Serving, embedder: Embedder, tmp_path: Path
) -> None:
    (tmp_path / "library").write_text("A file in its place.")
    async with compose.open_library_if_any(Settings(library=str(tmp_path / "library"))) as library:
        assert isinstance(library, LibraryError)
        async with serving(Hub(engines()), library=library) as url, httpx.AsyncClient(base_url=http(url)) as web:
            answer = await web.get("/v1/files")
            assert await told(answer) == (500, "storage_failed", None)
            assert str(tmp_path) not in answer.text
            assert (await web.get("/v1/models")).status_code == 200


async def test_errors_are_as_the_document_says(shelf: Shelf) -> None:
    async with shelf() as web:
        document = (await web.get(str(web.base_url).replace("/v1/", "/openapi.json"))).json()
        listed = document["paths"]["/v1/vector_stores/{vector_store_id}/files"]["get"]["parameters"]
        assert {(each["name"], each["in"]) for each in listed} == {
            ("vector_store_id", "path"),
            *((name, "query") for name in ("after", "before", "limit", "order", "filter")),
        }
        assert json.loads((await web.get("/vector_stores/vs_none")).text)["error"]["type"] == "invalid_request_error"
