"""One server with the real embedded engines, people who speak to it, and a recogniser to read what it answers."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio.from_thread import start_blocking_portal

sys.path.append(str(Path(__file__).parents[2]))

from tests.recordings import Recording, recorded
from tests.scenarios.speech import RATE

from vivavoce import compose
from vivavoce.config import Settings
from vivavoce.run import LEAD_S
from vivavoce.server.app import serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from anyio.from_thread import BlockingPortal

    from vivavoce.server.hub import Hub


@dataclass(frozen=True)
class House:
    """A server at work in a thread of its own."""

    url: str
    hub: Hub
    portal: BlockingPortal
    """Runs what uses the hub itself where the hub runs."""


@pytest.fixture(scope="session")
def house() -> Iterator[House]:
    """The server, fast profile, on a loopback port; a machine that cannot get the weights skips the test."""
    settings = Settings(profile="fast")
    with start_blocking_portal() as portal:
        with portal.wrap_async_context_manager(_opened(settings, portal)) as house:
            yield house


@asynccontextmanager
async def _opened(settings: Settings, portal: BlockingPortal) -> AsyncIterator[House]:
    ready = anyio.Event()
    addresses: list[str] = []

    def note(url: str) -> None:
        addresses.append(url)
        ready.set()

    async with compose.open_hub(settings, lead_s=LEAD_S) as hub, anyio.create_task_group() as tasks:
        tasks.start_soon(partial(serve, hub, port=0, grace_s=1, on_ready=note))
        await ready.wait()
        yield House(addresses[0], hub, portal)
        tasks.cancel_scope.cancel()


@pytest.fixture(scope="session")
def recordings() -> list[Recording]:
    return recorded(RATE)
