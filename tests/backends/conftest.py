"""Recorded speech with its words, and the recogniser that reads it."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from vivavoce.backends.moonshine import Moonshine
    from vivavoce.ports import Samples

DATA = Path(__file__).parents[1] / "data"


@dataclass(frozen=True)
class Recording:
    name: str
    words: str
    sound: Samples
    """16 kHz."""
    starts: float
    """Seconds after which the reader begins."""


@pytest.fixture(scope="session")
def recordings() -> list[Recording]:
    import soundfile

    with (DATA / "manifest.tsv").open(encoding="utf-8", newline="") as manifest:
        rows = list(csv.DictReader(manifest, delimiter="\t"))
    return [
        Recording(
            row["file"],
            row["transcript"],
            soundfile.read(DATA / row["file"], dtype="float32")[0],
            float(row["starts"]),
        )
        for row in rows
    ]


@pytest.fixture
def words() -> Callable[[str], str]:
    """Reduce a text to the words that were heard."""
    return lambda text: " ".join(re.sub(r"[^a-z' ]+", " ", text.lower()).split())


@pytest.fixture
def moonshine() -> Moonshine:
    """The recogniser; a machine that has no weights and cannot get them skips the test."""
    from vivavoce.backends.moonshine import Moonshine
    from vivavoce.models import ModelError, fetch

    try:
        fetch("moonshine-tiny-en")
    except ModelError as error:
        pytest.skip(str(error))
    return Moonshine()


@pytest.fixture
def read_back(moonshine: Moonshine) -> Callable[[Samples, int], Awaitable[str]]:
    """What the recogniser hears in a sound."""
    import soxr

    async def once(sound: Samples) -> AsyncGenerator[Samples, None]:
        yield sound

    async def hear(sound: Samples, sample_rate: int) -> str:
        audio = once(soxr.resample(sound, sample_rate, moonshine.sample_rate))
        return [heard async for heard in moonshine.transcribe(audio)][-1].text

    return hear
