"""The line of an agent: links that break, servers that refuse, waits in virtual time."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import create_task_group, fail_after

from vivavoce.agent.lasting import LONGEST_S, STEADY_S, Backoff, Line
from vivavoce.aio import link_pair
from vivavoce.ports import LinkClosed
from vivavoce.realtime.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> Any:
    """A clock that jumps to the next thing that happens."""
    from trio.testing import MockClock

    return "trio", {"clock": MockClock(autojump_threshold=0)}


LINKS: list[Any] = []


@pytest.fixture(autouse=True)
def closing() -> Iterator[None]:
    """Let no stream be forgotten."""
    yield
    for link in LINKS:
        link._outbox.close()
        link._inbox.close()
    LINKS.clear()


class World:
    """Servers that come and go, and what the person sees of it."""

    def __init__(self, *refusals: LinkClosed | None) -> None:
        self.refusals = list(refusals)
        self.tries: list[float] = []
        self.heard: list[Any] = []
        self.notes: list[str] = []
        self.lost = 0
        self.server: Any = None
        self.line = Line(self.link(), self.opening, watcher=self, hear=self.hear, lost=self.lose)

    def link(self) -> Any:
        ours: Any
        self.server, ours = link_pair(10)
        LINKS.extend((self.server, ours))
        return ours

    @asynccontextmanager
    async def opening(self) -> AsyncIterator[Any]:
        self.tries.append(anyio.current_time())
        if self.refusals and (refusal := self.refusals.pop(0)):
            raise refusal
        yield self.link()

    def hear(self, event: Any) -> None:
        self.heard.append(event)
        self.line.follow(ready=True)

    def lose(self) -> None:
        self.lost += 1

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, warn: Any) -> None:
        self.notes.append(warn.code)

    async def hang_up(self) -> None:
        await anyio.sleep(1)
        await self.server.close()

    async def say(self, event: Any) -> None:
        await self.server.send(event)
        await anyio.wait_all_tasks_blocked()


class Wrong:
    """A link that brings nonsense once, and then ends."""

    def __init__(self) -> None:
        self.nonsense = [ProtocolError("invalid_json", "no")]

    async def receive(self) -> Any:
        raise self.nonsense.pop() if self.nonsense else LinkClosed("gone")

    async def close(self) -> None: ...


def test_waits_double_and_are_random() -> None:
    longest = Backoff(lambda _, most: most)
    assert [longest.next() for _ in range(8)] == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, LONGEST_S, LONGEST_S]
    longest.reset()
    assert longest.next() == 0.0
    usual = Backoff()
    usual.next()
    assert len({usual.next() for _ in range(5)}) == 5


async def test_a_link_that_breaks_is_opened_again_at_once() -> None:
    world = World()
    async with create_task_group() as tasks:
        tasks.start_soon(world.line.run)
        await world.say("hello")
        begun = anyio.current_time()
        await world.server.close()
        await anyio.wait_all_tasks_blocked()
        await world.say("hello again")
        assert (world.heard, world.lost, world.tries) == (["hello", "hello again"], 1, [begun])
        assert world.notes == ["Connection lost; reconnecting …", "Reconnected after 0.0 s."]
        tasks.cancel_scope.cancel()


async def test_it_is_tried_for_ever_and_the_person_told_once() -> None:
    world = World(*[LinkClosed("no") for _ in range(50)])
    with fail_after(3600):
        async with create_task_group() as tasks:
            tasks.start_soon(world.line.run)
            await world.say("hello")
            await world.server.close()
            while len(world.tries) < 51:  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(1)
            await world.say("hello again")
            assert world.lost == 1
            assert len(world.notes) == 2
            waits = [later - sooner for sooner, later in zip(world.tries, world.tries[1:], strict=False)]
            assert max(waits) <= LONGEST_S
            tasks.cancel_scope.cancel()


async def test_a_server_says_how_long_to_wait() -> None:
    world = World(LinkClosed("busy", retry_after=100.0))
    async with create_task_group() as tasks:
        tasks.start_soon(world.line.run)
        await world.say("hello")
        await world.server.close()
        await anyio.sleep(200)
        assert 100 <= world.tries[1] - world.tries[0] <= 100 + LONGEST_S
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("code", [3000, 3003, 4000, 4004])
async def test_what_cannot_be_mended_ends_it(code: int) -> None:
    world = World(LinkClosed("no", 1006), LinkClosed("Check the key.", code))
    async with create_task_group() as tasks:
        tasks.start_soon(world.say, "hello")
        tasks.start_soon(world.hang_up)
        with fail_after(60), pytest.raises(LinkClosed, match="Check the key"):
            await world.line.run()


async def test_a_server_that_never_took_a_session_is_not_tried_again() -> None:
    world = World()
    await world.server.close()
    with pytest.raises(LinkClosed):
        await world.line.run()
    assert world.tries == []


async def test_sessions_that_end_at_once_are_tried_more_and_more_seldom_until_one_lasts() -> None:
    world = World()
    async with create_task_group() as tasks:
        tasks.start_soon(world.line.run)
        for _ in range(12):
            tried = len(world.tries)
            await world.say("hello")
            await world.server.close()
            while len(world.tries) == tried:  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(0.1)
        assert world.tries[-1] - world.tries[0] > 5
        await world.say("hello")
        await anyio.sleep(STEADY_S + 0.1)
        await world.server.close()
        lost = anyio.current_time()
        await anyio.wait_all_tasks_blocked()
        assert world.tries[-1] == lost
        tasks.cancel_scope.cancel()


async def test_a_renewed_line_says_nothing() -> None:
    world = World()
    async with create_task_group() as tasks:
        tasks.start_soon(world.line.run)
        await world.say("hello")
        world.line.renew()
        await anyio.wait_all_tasks_blocked()
        await world.say("hello again")
        assert (world.heard, world.lost, world.notes) == (["hello", "hello again"], 0, [])
        tasks.cancel_scope.cancel()


async def test_a_line_that_is_renewed_for_hours_never_waits() -> None:
    world = World()
    async with create_task_group() as tasks:
        tasks.start_soon(world.line.run)
        for _ in range(12):
            await world.say("hello")
            await anyio.sleep(300)
            world.line.renew()
            renewed = anyio.current_time()
            await anyio.wait_all_tasks_blocked()
            assert world.tries[-1] == renewed
        tasks.cancel_scope.cancel()


class Ready:
    """A link on which everything has come already, so that nobody waits."""

    def __init__(self) -> None:
        self.come = ["one", "two"]

    async def receive(self) -> Any:
        if not self.come:
            await anyio.sleep_forever()
        return self.come.pop(0)

    async def close(self) -> None: ...


async def test_nothing_of_a_session_is_heard_after_it_was_left() -> None:
    world = World()
    heard: list[Any] = []
    link: Any = Ready()

    def hear(event: Any) -> None:
        heard.append(event)
        line.renew()

    line = Line(link, world.opening, watcher=world, hear=hear, lost=world.lose)
    async with create_task_group() as tasks:
        tasks.start_soon(line.run)
        await anyio.wait_all_tasks_blocked()
        assert heard == ["one"]
        tasks.cancel_scope.cancel()


async def test_what_cannot_be_sent_is_forgotten_only_where_another_link_comes() -> None:
    world = World()
    await world.server.close()
    event: Any = "event"
    await world.line.send(event)
    ours = world.link()
    alone = Line(ours, None, watcher=world, hear=world.hear, lost=world.lose)
    await world.server.close()
    with pytest.raises(LinkClosed):
        await alone.send(event)
    with pytest.raises(LinkClosed):
        await alone.run()


async def test_nonsense_is_told_and_survived() -> None:
    world = World()
    wrong: Any = Wrong()
    with pytest.raises(LinkClosed, match="gone"):
        await Line(wrong, None, watcher=world, hear=world.hear, lost=world.lose).run()
    assert world.notes == ["invalid_json"]
