"""Many streams through one detector: each hears what it would hear alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import numpy as np
import pytest
from anyio import create_task_group

from vivavoce.backends.silero import Silero
from vivavoce.server import detector
from vivavoce.server.detector import Detector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vivavoce.ports import Samples, VadState

pytestmark = pytest.mark.anyio
FRAMES = 12


class Wide(Silero):
    """Notes how many streams each run had."""

    def __init__(self) -> None:
        self.widths: list[int] = []

    def score(self, frames: Samples, states: Sequence[VadState]) -> tuple[Samples, list[VadState]]:
        self.widths.append(len(frames))
        return super().score(frames, states)


def streams(count: int) -> Samples:
    sound = np.random.default_rng(5).standard_normal((count, FRAMES, Silero.frame)) * 0.05
    return sound.astype(np.float32)


async def listen(ears: Detector, frames: Samples, heard: list[float], *, late: bool = False) -> None:
    state = ears.state()
    for frame in frames:
        score, state = await ears.score(frame, state, late=late)
        heard.append(score)


async def alone(frames: Samples) -> list[float]:
    heard: list[float] = []
    await listen(Detector(Silero()), frames, heard)
    return heard


async def test_streams_share_runs_and_hear_what_they_would_hear_alone() -> None:
    vad, sounds = Wide(), streams(20)
    ears = Detector(vad)
    heard: list[list[float]] = [[] for _ in sounds]
    async with create_task_group() as tasks:
        for sound, mine in zip(sounds, heard, strict=True):
            tasks.start_soon(listen, ears, sound, mine)
    for sound, mine in zip(sounds, heard, strict=True):
        assert mine == pytest.approx(await alone(sound), abs=1e-4)
    assert len(vad.widths) <= FRAMES + 1
    assert sum(vad.widths) == 20 * FRAMES


async def test_a_run_is_no_wider_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector, "WIDEST", 3)
    vad, heard = Wide(), list[float]()
    ears = Detector(vad)
    async with create_task_group() as tasks:
        for sound in streams(10):
            tasks.start_soon(listen, ears, sound, heard)
    assert len(heard) == 10 * FRAMES
    assert max(vad.widths) == 3


async def test_a_stream_that_is_alone_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector, "GATHER_S", 60.0)
    assert len(await alone(streams(1)[0])) == FRAMES


async def test_what_is_late_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    ears, heard = Detector(Silero()), list[float]()
    async with create_task_group() as tasks:
        for sound in streams(2):
            tasks.start_soon(listen, ears, sound[:1], heard)
    monkeypatch.setattr(detector, "GATHER_S", 60.0)
    await listen(ears, streams(1)[0], heard, late=True)
    assert len(heard) == 2 + FRAMES


async def test_whoever_gathers_may_go_away() -> None:
    ears, sounds = Detector(Silero()), streams(3)
    heard: list[list[float]] = [[] for _ in sounds]
    async with create_task_group() as others:
        async with create_task_group() as first:
            first.start_soon(listen, ears, sounds[0], heard[0])
            await anyio.lowlevel.checkpoint()
            for sound, mine in zip(sounds[1:], heard[1:], strict=True):
                others.start_soon(listen, ears, sound, mine)
            first.cancel_scope.cancel()
    assert len(heard[0]) < FRAMES
    for sound, mine in zip(sounds[1:], heard[1:], strict=True):
        assert mine == pytest.approx(await alone(sound), abs=1e-4)


class Broken(Silero):
    """Cannot score anything."""

    def score(self, frames: Samples, states: Sequence[VadState]) -> tuple[Samples, list[VadState]]:
        raise RuntimeError("no memory")


async def test_everybody_is_told_of_a_failure() -> None:
    ears, told = Detector(Broken()), list[str]()

    async def ask(frames: Samples) -> None:
        try:
            await listen(ears, frames, [])
        except RuntimeError as wrong:
            told.append(str(wrong))

    async with create_task_group() as tasks:
        for sound in streams(3):
            tasks.start_soon(ask, sound)
    assert told == ["no memory"] * 3
