"""Rooms in which a microphone hears a loudspeaker, and the devices in them, in time that only sound makes pass."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import soxr

from vivavoce.speech.pcm import level_db

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from vivavoce.ports import Samples, Tap

RATE = 24_000
CAPTURED = 480
"""Samples that the microphone brings at once."""
PLAYED = 360
"""Samples that the loudspeaker asks for at once."""
LATENCY_S = 0.06
"""Between the loudspeaker's asking for a sample and that sample's leaving it, and of the microphone."""
NOISE_DB = -62.0


@dataclass(frozen=True)
class Room:
    """How a room, and the devices in it, change what is played on its way to the microphone."""

    name: str = "office"
    decay_s: float = 0.4
    """RT60: until the reverberation has fallen by 60 dB."""
    direct_db: float = 3.0
    """How much stronger the direct sound is than all the reverberation."""
    delay_s: float = 0.08
    """Of the direct sound, beyond what the devices say."""
    level_db: float = -20.0
    """Of the echo at the microphone while it sounds, dB below full scale."""
    drift: float = 0.0
    """By how much the microphone's clock is faster than the loudspeaker's."""
    jitter_s: float = 0.001
    """Of the times that the devices tell."""
    seed: int = 0

    def response(self) -> Samples:
        """Return the impulse response: direct sound, then noise that decays (Polack 1988), of unit energy."""
        random = np.random.default_rng(self.seed)
        time = np.arange(round(self.decay_s * RATE)) / RATE
        tail = random.standard_normal(len(time)) * 10 ** (-3 * time / self.decay_s)
        tail[: round(0.002 * RATE)] = 0
        tail *= 10 ** (-self.direct_db / 20) / np.sqrt(np.sum(tail**2))
        tail[0] = 1.0
        return np.asarray(tail / np.sqrt(np.sum(tail**2)), np.float32)

    def echo(self, played: Samples) -> Samples:
        """Return what the microphone hears of what is played, by its own clock; the loudspeaker distorts a little."""
        size = 1 << (len(played) + RATE).bit_length()
        reverberant = np.fft.irfft(np.fft.rfft(played, size) * np.fft.rfft(self.response(), size), size)
        heard = np.asarray(reverberant[: len(played)], np.float32)
        heard *= np.float32(10 ** ((self.level_db - loudness(heard)) / 20))
        late = np.zeros(round(self.delay_s * RATE), np.float32)
        heard = np.concatenate([late, np.tanh(2 * heard) / 2])[: len(played)]
        if self.drift:
            heard = soxr.resample(heard, RATE, RATE * (1 + self.drift))
        noise = np.random.default_rng(self.seed).standard_normal(len(heard)) * 10 ** (NOISE_DB / 20)
        return np.asarray(heard + noise, np.float32)


def loudness(sound: Samples) -> float:
    """Return the level of the parts that are not silent, dB below full scale."""
    frames = sound[: len(sound) - len(sound) % CAPTURED].reshape(-1, CAPTURED)
    power = np.mean(np.square(frames), axis=1)
    return level_db(frames[power > power.max() / 1000].ravel())


@dataclass
class Ends:
    """The loudspeaker and the microphone of a room: what one plays and the other captures is known from the start."""

    played: Samples
    captured: Samples
    room: Room
    speaker_latency_s: float = LATENCY_S
    microphone: Captured = field(init=False)
    speaker: Playing = field(init=False)

    def __post_init__(self) -> None:
        self.speaker = Playing()
        self.microphone = Captured(self)

    def events(self) -> Iterator[tuple[float, bool, int]]:
        """Yield when each block passes between the program and a device, whether it was captured, and its start."""
        asked = [
            (at / RATE - self.speaker_latency_s, False, at) for at in range(0, len(self.played) - PLAYED + 1, PLAYED)
        ]
        pace = RATE * (1 + self.room.drift)
        brought = [
            ((at + CAPTURED) / pace + LATENCY_S / 3, True, at)
            for at in range(0, len(self.captured) - CAPTURED + 1, CAPTURED)
        ]
        yield from sorted(asked + brought)


class Playing:
    """A loudspeaker that plays what is known from the start."""

    sample_rate = tap_rate = RATE

    def __init__(self) -> None:
        self.taps: list[Tap] = []


class Captured:
    """A microphone in a room."""

    sample_rate = tap_rate = RATE

    def __init__(self, ends: Ends) -> None:
        self.taps: list[Tap] = []
        self._ends = ends

    async def frames(self) -> AsyncGenerator[Samples, None]:
        """Let everything happen in its order."""
        random = np.random.default_rng(self._ends.room.seed)
        pace = RATE * (1 + self._ends.room.drift)
        for _, captured, at in self._ends.events():
            jitter = float(random.standard_normal()) * self._ends.room.jitter_s
            if captured:
                block = self._ends.captured[at : at + CAPTURED]
                tell(self.taps, at / pace + jitter, block)
                yield block
            else:
                tell(self._ends.speaker.taps, at / RATE + jitter, self._ends.played[at : at + PLAYED])


def tell(taps: list[Tap], when: float, block: Samples) -> None:
    for tap in taps:
        tap(when, block)
