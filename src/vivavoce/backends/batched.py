"""Lets a recogniser that reads whole recordings serve a stream."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

import anyio
import numpy as np

from vivavoce.ports import Heard
from vivavoce.speech.levels import quietest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable

    from vivavoce.ports import Samples

Decode: TypeAlias = "Callable[[Samples], Awaitable[str]]"

RELIEF = 2.0
"""Partials wait at least so many times as long as the last one took: a busy machine makes fewer."""


async def in_batches(
    audio: AsyncIterable[Samples],
    decode: Decode,
    *,
    sample_rate: int,
    partials: float = math.inf,
    window: float = math.inf,
) -> AsyncGenerator[Heard, None]:
    """Yield what `decode` makes of a stream: at times, at each pause, and at the end.

    One decoding runs at a time and the stream waits meanwhile, so it must be buffered. Pauses are told by empty chunks.
    What was decoded at a pause is final without more work if the stream ends there. Time is wall time: sound that
    waits in the buffer is caught up with before another partial is made, and never delays the end more than once.

    Args:
        audio: chunks of one utterance.
        decode: turns sound into text.
        sample_rate: Hz.
        partials: seconds between partial results; none by default.
        window: seconds that `decode` can take at once; longer sound is cut at quiet places and its texts joined.
    """
    utterance = _Utterance(decode, sample_rate, window)
    due = anyio.current_time() + partials
    async for chunk in audio:
        utterance.add(chunk)
        if chunk.size and anyio.current_time() < due:
            continue
        begun = anyio.current_time()
        yield Heard(await utterance.text())
        now = anyio.current_time()
        due = now + max(partials, RELIEF * (now - begun))
    yield Heard(await utterance.text(), final=True)


class _Utterance:
    """The sound of an utterance, of which the beginning may be settled as text."""

    def __init__(self, decode: Decode, sample_rate: int, window: float) -> None:
        self._decode = decode
        self._sample_rate = sample_rate
        self._window = window * sample_rate
        self._settled: list[str] = []
        self._chunks: list[Samples] = []
        self._text: str | None = ""

    def add(self, chunk: Samples) -> None:
        if chunk.size:
            self._chunks.append(chunk)
            self._text = None

    async def text(self) -> str:
        """Return the text of everything, decoding only if sound was added since the last time."""
        if self._text is None:
            sound = await self._settle(np.concatenate(self._chunks))
            self._chunks = [sound]
            self._text = " ".join(filter(None, [*self._settled, await self._decode(sound)]))
        return self._text

    async def _settle(self, sound: Samples) -> Samples:
        """Turn whole windows into text for good and return the sound after them."""
        while len(sound) > self._window:
            stop = int(self._window)
            cut = quietest(sound, self._sample_rate, stop // 2, stop)
            self._settled.append(await self._decode(sound[:cut]))
            sound = sound[cut:]
        return sound
