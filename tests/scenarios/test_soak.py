"""A long conversation over connections that break leaves nothing behind."""

from __future__ import annotations

import pytest
from benchmarks.soak import Soak, growth

pytestmark = pytest.mark.anyio

TURNS = 200
CUT_EVERY = 25


async def test_two_hundred_turns_hold_memory_tasks_and_files_flat() -> None:
    soak = Soak(TURNS, CUT_EVERY)
    await soak.run()
    assert soak.sessions == 1 + TURNS // CUT_EVERY
    assert len(soak.view.answers) == TURNS
    more = growth(soak.footprints)
    assert more.tasks <= 2, soak.footprints  # two calls or timers may be about to end
    assert more.files == 0
    assert more.objects < 5000, soak.footprints  # the transcript itself takes some twenty a turn
    assert more.rss_mb < 10, soak.footprints
