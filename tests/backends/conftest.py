"""Recorded speech with its words, and the recogniser that reads it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.append(str(Path(__file__).parents[2]))

from tests.recordings import Recording, recorded

from vivavoce.backends.moonshine import Moonshine

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from vivavoce.ports import Samples


@pytest.fixture(scope="session")
def recordings() -> list[Recording]:
    return recorded(Moonshine.sample_rate)


@pytest.fixture
def words() -> Callable[[str], str]:
    """Reduce a text to the words that were heard."""
    return lambda text: " ".join(re.sub(r"[^a-z' ]+", " ", text.lower()).split())


@pytest.fixture
def moonshine() -> Moonshine:
    """The recogniser; a machine that has no weights and cannot get them skips the test."""
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
