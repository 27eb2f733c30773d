"""What runs beside a block ends with it, and what fails comes out as it is."""

from __future__ import annotations

import anyio
import pytest

from vivavoce.aio import beside

pytestmark = pytest.mark.anyio


async def test_work_ends_with_the_block():
    ended = []

    async def work(name):
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(name)

    async with beside(work, "work"):
        await anyio.wait_all_tasks_blocked()
        assert ended == []
    assert ended == ["work"]


async def test_the_block_goes_on_after_the_work():
    async def work():
        pass

    async with beside(work):
        await anyio.wait_all_tasks_blocked()
        went_on = True
    assert went_on


async def test_the_failure_of_the_block_comes_out_as_it_is():
    with pytest.raises(KeyError, match="block"):
        async with beside(anyio.sleep_forever):
            raise KeyError("block")


async def test_the_failure_of_the_work_ends_the_block_and_comes_out_as_it_is():
    async def work():
        raise KeyError("work")

    with pytest.raises(KeyError, match="work"):
        async with beside(work):
            await anyio.sleep_forever()


async def test_cancellation_passes_through():
    with anyio.move_on_after(0) as scope:
        async with beside(anyio.sleep_forever):
            await anyio.sleep_forever()
    assert scope.cancelled_caught
