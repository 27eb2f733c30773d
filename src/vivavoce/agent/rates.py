"""Lets devices of any rate take part in a session of another: telephones, robots, pages."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import numpy as np

from vivavoce.agent.framing import Framer
from vivavoce.speech.pcm import Resampler

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from vivavoce.ports import Microphone, Samples, Speaker


def microphone_at(sample_rate: int, microphone: Microphone) -> Microphone:
    """Return a microphone that yields sound at this rate, Hz."""
    return microphone if microphone.sample_rate == sample_rate else ResampledMicrophone(sample_rate, microphone)


def speaker_at(sample_rate: int, speaker: Speaker) -> Speaker:
    """Return a speaker that takes sound at this rate, Hz."""
    return speaker if speaker.sample_rate == sample_rate else ResampledSpeaker(sample_rate, speaker)


class ResampledMicrophone:
    """A microphone at another rate than the device's own (port `Microphone`)."""

    def __init__(self, sample_rate: int, microphone: Microphone) -> None:
        self.sample_rate = sample_rate
        self._microphone = microphone

    async def frames(self) -> AsyncGenerator[Samples, None]:
        """Yield what the device hears in frames of 20 ms."""
        framer = Framer(self._microphone.sample_rate, self.sample_rate)
        async with aclosing(self._microphone.frames()) as frames:
            async for frame in frames:
                for resampled in framer.feed(frame):
                    yield resampled
        for resampled in framer.feed(np.zeros(0, np.float32), last=True):
            yield resampled


class ResampledSpeaker:
    """A speaker at another rate than the device's own (port `Speaker`)."""

    def __init__(self, sample_rate: int, speaker: Speaker) -> None:
        self.sample_rate = sample_rate
        self._speaker = speaker
        self._resampler = Resampler(sample_rate, speaker.sample_rate)
        self._item_id = ""
        self._queued = 0
        """Samples of the item."""

    async def play(self, item_id: str, samples: Samples) -> None:
        """Queue sound; the few milliseconds that the resampler holds back at the end of an item are not missed."""
        if item_id != self._item_id:
            self._resampler.clear()
            self._item_id, self._queued = item_id, 0
        self._queued += len(samples)
        await self._speaker.play(item_id, self._resampler.feed(samples))

    def hush(self) -> None:
        """Fall silent now and forget what is queued."""
        self._resampler.clear()
        self._queued = 0
        self._speaker.hush()

    def heard(self) -> tuple[str, int] | None:
        """Return what the device says, and all of an item when all that the device was given has been heard."""
        heard = self._speaker.heard()
        if heard is None or heard[0] != self._item_id or not self._speaker.idle():
            return heard
        return self._item_id, max(heard[1], self._queued * 1000 // self.sample_rate)

    def idle(self) -> bool:
        """Tell whether everything queued has been heard."""
        return self._speaker.idle()
