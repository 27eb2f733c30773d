"""Lets devices of any rate take part in a session of another: telephones, robots, pages."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import anyio
import numpy as np

from vivavoce.agent.framing import Framer
from vivavoce.ports import Finishing, Pausable, Tapped
from vivavoce.speech.pcm import Resampler

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from vivavoce.ports import Microphone, Samples, Speaker, Tap


def microphone_at(sample_rate: int, microphone: Microphone) -> Microphone:
    """Return a microphone that yields sound at this rate, Hz."""
    if microphone.sample_rate == sample_rate:
        return microphone
    if isinstance(microphone, Tapped):
        return TappedResampledMicrophone(sample_rate, microphone, microphone)
    return ResampledMicrophone(sample_rate, microphone)


def speaker_at(sample_rate: int, speaker: Speaker) -> Speaker:
    """Return a speaker that takes sound at this rate, Hz."""
    if speaker.sample_rate == sample_rate:
        return speaker
    if isinstance(speaker, Tapped):
        return TappedResampledSpeaker(sample_rate, speaker, speaker)
    return ResampledSpeaker(sample_rate, speaker)


class Losses:
    """What a microphone that stands before another one tells of the other's losses."""

    _microphone: Microphone

    @property
    def dropped(self) -> int:
        """Frames that were lost because nobody took them, as far as the device tells."""
        return int(getattr(self._microphone, "dropped", 0))

    @property
    def overflows(self) -> int:
        """How often the device itself lost sound, as far as it tells."""
        return int(getattr(self._microphone, "overflows", 0))


class ResampledMicrophone(Losses):
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


class TappedResampledMicrophone(ResampledMicrophone):
    """A microphone at another rate whose device tells what it captures (ports `Microphone`, `Tapped`)."""

    def __init__(self, sample_rate: int, microphone: Microphone, tapped: Tapped) -> None:
        super().__init__(sample_rate, microphone)
        self.taps: list[Tap] = tapped.taps
        self._tapped = tapped

    @property
    def tap_rate(self) -> int:
        """Return the rate of what is told, Hz: the device's own."""
        return self._tapped.tap_rate


class ResampledSpeaker:
    """A speaker at another rate than the device's own (ports `Speaker`, `Finishing`); `run` works beside it."""

    def __init__(self, sample_rate: int, speaker: Speaker) -> None:
        self.sample_rate = sample_rate
        self._speaker = speaker
        self._resampler = Resampler(sample_rate, speaker.sample_rate)
        self._item_id = ""
        self._taken = 0
        """Samples of the item that came."""
        self._held = False
        """Whether the resampler holds back the end of the item, some 35 ms."""
        self._complete = anyio.Event()

    @property
    def underruns(self) -> int:
        """How often an answer ran dry, as far as the device tells."""
        return int(getattr(self._speaker, "underruns", 0))

    async def run(self) -> None:
        """Bring the end of each complete answer on its way, until cancelled."""
        while True:
            await self._complete.wait()
            self._complete = anyio.Event()
            if self._held:
                await self._flush()

    def finish(self, item_id: str) -> None:
        """Hold nothing of the item back any more."""
        if item_id == self._item_id:
            self._complete.set()

    async def play(self, item_id: str, samples: Samples) -> None:
        """Queue sound that belongs to an item; waits only while the queue of the device is full."""
        if item_id != self._item_id:
            if self._held:
                await self._flush()
            self._item_id, self._taken = item_id, 0
        self._taken += len(samples)
        self._held = True
        await self._give(self._resampler.feed(samples))

    def hush(self) -> None:
        """Fall silent now and forget what is queued."""
        self._resampler.clear()
        self._held, self._taken = False, 0
        self._speaker.hush()

    def pause(self) -> None:
        """Fall silent and stay there, if the device can, until `resume` or `hush`."""
        if isinstance(self._speaker, Pausable):
            self._speaker.pause()

    def resume(self) -> None:
        """Go on."""
        if isinstance(self._speaker, Pausable):
            self._speaker.resume()

    def heard(self) -> tuple[str, int] | None:
        """Return what the device says, and all of an item when all of it has been heard."""
        heard = self._speaker.heard()
        if heard is None or heard[0] != self._item_id or self._held or not self._taken or not self._speaker.idle():
            return heard
        return heard[0], max(heard[1], self._taken * 1000 // self.sample_rate)

    def idle(self) -> bool:
        """Tell whether everything queued has been heard."""
        return not self._held and self._speaker.idle()

    async def _flush(self) -> None:
        self._held = False
        rest = self._resampler.feed(np.zeros(0, np.float32), last=True)
        self._resampler.clear()
        await self._give(rest)
        if isinstance(self._speaker, Finishing):
            self._speaker.finish(self._item_id)

    async def _give(self, samples: Samples) -> None:
        if len(samples):
            await self._speaker.play(self._item_id, samples)


class TappedResampledSpeaker(ResampledSpeaker):
    """A speaker at another rate whose device tells what leaves it (ports `Speaker`, `Tapped`)."""

    def __init__(self, sample_rate: int, speaker: Speaker, tapped: Tapped) -> None:
        super().__init__(sample_rate, speaker)
        self.taps: list[Tap] = tapped.taps
        self._tapped = tapped

    @property
    def tap_rate(self) -> int:
        """Return the rate of what is told, Hz: the device's own."""
        return self._tapped.tap_rate
