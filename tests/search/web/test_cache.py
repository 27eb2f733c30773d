"""Questions that are asked once."""

from __future__ import annotations

import anyio
import pytest

from vivavoce.ports import BackendError, Passage, Query
from vivavoce.search.web.cache import Cache
from vivavoce.search.web.fetch import Site
from vivavoce.search.web.results import found
from vivavoce.search.web.websearch import WebSearch

pytestmark = pytest.mark.anyio


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Scripted:
    """An engine that answers when it is let."""

    name = "scripted"
    site = Site("Scripted", "do nothing")

    def __init__(self) -> None:
        self.asked: list[Query] = []
        self.gate = anyio.Event()
        self.gate.set()
        self.failures = 0

    async def find(self, query: Query) -> list[Passage]:
        self.asked.append(query)
        await self.gate.wait()
        if self.failures:
            self.failures -= 1
            raise BackendError("search_failed", "no")
        return [found("t", f"https://e.org/{len(self.asked)}", "x")]


@pytest.fixture
def engine() -> Scripted:
    return Scripted()


async def test_an_answer_is_good_for_a_while(engine):
    clock = Clock()
    search = WebSearch(engine, cache=Cache(fresh_s=300, clock=clock))
    first = await search.search(Query(text="What is it?"))
    clock.now = 299.9
    assert await search.search(Query(text="  what IS\nit? ")) == first
    clock.now = 300.0
    assert await search.search(Query(text="What is it?")) != first
    assert len(engine.asked) == 2
    assert engine.asked[0].text == "What is it?"


@pytest.mark.parametrize(
    "other",
    [
        Query(text="r"),
        Query(text="q", region="DE"),
        Query(text="q", domains=("e.org",)),
        Query(text="q", context_size="low"),
        Query(text="q", limit=1),
    ],
)
async def test_another_question_is_asked(engine, other):
    search = WebSearch(engine)
    await search.search(Query(text="q"))
    await search.search(other)
    assert len(engine.asked) == 2


async def test_what_makes_no_difference_is_the_same_question(engine):
    search = WebSearch(engine, region="DE")
    await search.search(Query(text="q"))
    await search.search(Query(text="q", region="de", context_size="medium", stores=("vs_1",), filters={"a": [1]}))
    assert len(engine.asked) == 1


async def test_a_failure_is_not_kept(engine):
    engine.failures = 1
    search = WebSearch(engine)
    with pytest.raises(BackendError):
        await search.search(Query(text="q"))
    assert await search.search(Query(text="q"))


async def test_those_who_ask_at_once_ask_once(engine):
    engine.gate = anyio.Event()
    search, got = WebSearch(engine), []

    async def ask() -> None:
        got.append(await search.search(Query(text="q")))

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        engine.gate.set()
    assert len(engine.asked) == 1
    assert len(got) == 5
    assert len(set(got)) == 1


async def test_a_failure_is_that_of_all_who_wait(engine):
    engine.gate, engine.failures = anyio.Event(), 1
    search, failed = WebSearch(engine), []

    async def ask() -> None:
        try:
            await search.search(Query(text="q"))
        except BackendError as error:
            failed.append(error.code)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        engine.gate.set()
    assert failed == ["search_failed"] * 3
    assert len(engine.asked) == 1


async def test_who_waits_asks_himself_where_the_other_gives_up(engine):
    engine.gate = anyio.Event()
    search, got = WebSearch(engine), []

    async def ask(scope: anyio.CancelScope) -> None:
        with scope:
            got.append(await search.search(Query(text="q")))

    first, second = anyio.CancelScope(), anyio.CancelScope()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, first)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(ask, second)
        await anyio.wait_all_tasks_blocked()
        first.cancel()
        await anyio.wait_all_tasks_blocked()
        engine.gate.set()
    assert len(got) == 1
    assert len(engine.asked) == 2


async def test_the_least_recently_used_answer_is_forgotten_first():
    async def answer() -> str:
        return "x" * 90

    async def lost() -> str:
        raise BackendError("gone", "gone")

    cache: Cache[str] = Cache(most_bytes=300)
    for question in ("a", "b"):
        await cache.fetch(question, answer)
    assert await cache.fetch("a", lost)
    for question in ("c", "d"):
        await cache.fetch(question, answer)
    assert await cache.fetch("d", lost)
    with pytest.raises(BackendError):
        await cache.fetch("b", lost)
    await cache.fetch("huge", _huge)
    with pytest.raises(BackendError):
        await cache.fetch("huge", lost)
    assert await cache.fetch("d", lost), "what is too large drives nothing out"


async def _huge() -> str:
    return "x" * 1000


async def test_nothing_to_search_for_is_not_asked(engine):
    assert await WebSearch(engine).search(Query(text=" \n ")) == ()
    assert engine.asked == []
