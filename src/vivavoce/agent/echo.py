"""The microphone without the loudspeaker beside it: echo cancellation and noise suppression.

A filter of ours takes off the echo that it can predict and leaves voices as they are; the WebRTC module (AEC3) takes
off the rest, and finds delays and changes by itself. Both must get what was played before they get its echo, and both
sounds without gaps: so these lie on time lines by the times that their devices tell, and what is played is handed over
a little early.
"""

from __future__ import annotations

import re
from collections import deque
from contextlib import aclosing
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vivavoce.agent.framing import FRAME_S
from vivavoce.ports import Microphone, Tapped
from vivavoce.realtime.client import Show
from vivavoce.speech.adaptive import EchoFilter
from vivavoce.speech.pcm import Resampler, level_db

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from vivavoce.ports import Samples, Tap
    from vivavoce.realtime.client import Input, Output

LEAD_S = 0.05
"""How early the module gets what is played: more than drivers overstate their latency."""
TOLERANCE_S = 0.005
"""How far both time lines may drift apart before they are set right; the times of some drivers wander by 3 ms."""
BASELINE_S = 15.0
"""Time after which a distance between both time lines tells how much faster one clock is."""
REACH = 16
"""Samples that say what was between two of them."""
RESPONSE_S = 0.6
"""Of the echo that can be predicted, from what was handed over early to the end of the reverberation."""
GAP_S = 0.05
"""A time that is so far off means that sound was lost or the device has paused; less is jitter."""
STEADY = 0.02
"""Weight of one block's time in the estimate of the time line: it forgets within a second."""
BACKLOG = 250
"""Blocks that wait for their reader, as in the microphone."""

CANCELLING_S, SUPPRESSING_S = 0.009, 0.006
"""By how much the module's filters delay the sound."""
LEARNING_S = 1.2
"""Of loud sound from the loudspeaker, until the module knows the way of the echo; nobody is heard over it meanwhile."""
LOUD_DB = -50.0
TAIL_S = 0.6
"""For how long a room and the delay keep the echo after the loudspeaker has fallen silent."""
ECHO_DB = 10.0, 15.0
"""Where the module took off less, somebody speaks; where it took off more, what is left is echo."""
SMOOTH = 0.3
"""Weight of a frame in the levels that are compared."""

HEARD_MYSELF = "I hear myself: use headphones, or turn the volume down."
ECHOED_WORDS = 3
"""Fewer words than this anybody may repeat."""
ECHOED = 0.8
"""Share of the words heard that are the answer's, in its order: a recogniser makes mistakes."""


class TappedMicrophone(Microphone, Tapped, Protocol):
    """A microphone that tells when it captured what."""


class TimeLine:
    """Sound that a tap tells, at one rate and without gaps, and the time of each sample."""

    def __init__(self, source: Tapped, rate: int) -> None:
        """Listen to the source, whose own rate may change."""
        self.rate = rate
        self.origin = 0.0
        """When sample 0 was, or would have been, by the clock of the taps."""
        self.end = 0
        """Samples so far."""
        self.seams = 0
        """How often the sound began, or went on after a gap."""
        self._source = source
        self._sound = np.zeros(0, np.float32)
        self._told: deque[tuple[float, Samples]] = deque(maxlen=BACKLOG)
        self._told_s = 0.0
        self._blocks = 0
        self._rates = (0, Resampler(rate, rate))
        source.taps.append(self._tell)

    def _tell(self, when: float, samples: Samples) -> None:
        """Run in the thread of the sound."""
        self._told.append((when, samples))

    def catch_up(self) -> None:
        """Take in what was told meanwhile."""
        fresh: list[Samples] = []
        while self._told:
            when, samples = self._told.popleft()
            rate = self._source.tap_rate
            self._set_clock(when)
            self._told_s += len(samples) / rate
            fresh += self._resampled(samples, rate)
        self._sound = np.concatenate([self._sound, *fresh])
        self.end += sum(map(len, fresh))

    def forget(self, before: int) -> None:
        """Drop the samples before this one."""
        self._sound = self._sound[max(before - self.end + len(self._sound), 0) :]

    def read(self, start: int, length: int) -> Samples:
        """Return a stretch of the sound, with silence where there is none, no longer or not yet."""
        first = self.end - len(self._sound)
        begin, stop = (min(max(at - first, 0), len(self._sound)) for at in (start, start + length))
        before = min(max(first - start, 0), length)
        return np.pad(self._sound[begin:stop], (before, length - before - (stop - begin)))

    def between(self, start: float, length: int, pace: float) -> Samples:
        """Return samples `pace` apart, by a windowed sinc where they lie between those that there are."""
        first = int(np.floor(start)) - REACH // 2
        sound = self.read(first, round(length * pace) + 2 * REACH)
        at = start - first + pace * np.arange(length)
        near = np.floor(at).astype(int)[:, None] + np.arange(1 - REACH // 2, 1 + REACH // 2)
        apart = at[:, None] - near
        kernel = np.sinc(apart) * np.cos(np.pi * apart / (REACH + 2)) ** 2
        return np.asarray(np.sum(sound[near] * kernel, axis=1), np.float32)

    def _set_clock(self, when: float) -> None:
        """Learn from one block's time, which jitters by milliseconds."""
        error = when - self.origin - self._told_s
        if not self._blocks or abs(error) > GAP_S:
            self.seams += 1
            self.origin += error
            self._blocks = 1
        else:
            self._blocks += 1
            self.origin += error * max(STEADY, 1 / self._blocks)

    def _resampled(self, samples: Samples, rate: int) -> list[Samples]:
        known, resampler = self._rates
        if rate == known:
            return [resampler.feed(samples)]
        rest = resampler.feed(np.zeros(0, np.float32), last=True)
        self._rates = (rate, Resampler(rate, self.rate))
        return [rest, self._rates[1].feed(samples)]


class Canceller:
    """Frames of what the microphone captured, and of what was played, to frames of what others said.

    The module leaves a rest of the echo, most while it does not know the room yet: that is silenced here, since a
    detector of speech takes whispers for speech.
    """

    def __init__(self, rate: int, *, noise: int | None) -> None:
        """Begin in a room that is not known; `noise` as for the microphone."""
        from pywebrtc_audio import AudioProcessor

        self._module = AudioProcessor(
            sample_rate=rate, echo_cancellation=True, noise_suppression=noise is not None, ns_level=noise or 0
        )
        self._filter = EchoFilter(round(rate * FRAME_S), round(RESPONSE_S / FRAME_S))
        self._to_learn_s = LEARNING_S
        self._silent_s = TAIL_S
        self._power = np.zeros(2)
        self._gain = 1.0

    def learn(self) -> None:
        """Begin anew: a device was connected, or lost sound."""
        self._to_learn_s = LEARNING_S

    def clean(self, captured: Samples, played: Samples) -> Samples:
        """Return the captured frame without the echo of what was played up to now."""
        cleaned = self._module.process(self._filter.feed(captured, played), played)
        self._silent_s = 0.0 if level_db(played) > LOUD_DB else self._silent_s + FRAME_S
        self._to_learn_s -= FRAME_S * (not self._silent_s)
        self._power += SMOOTH * (np.array([np.mean(captured**2), np.mean(cleaned**2)]) - self._power)
        before, self._gain = self._gain, self._openness()
        return cleaned * np.linspace(before, self._gain, len(cleaned), dtype=np.float32)

    def _openness(self) -> float:
        """Return how much of the frame is to be heard, 0 to 1."""
        if self._silent_s >= TAIL_S:
            return 1.0
        if self._to_learn_s > 0:
            return 0.0
        took_db = 10 * np.log10((self._power[0] + 1e-12) / (self._power[1] + 1e-12))
        return float(np.interp(took_db, ECHO_DB, (1.0, 0.0)))


class EchoFreeMicrophone:
    """A microphone that does not hear the loudspeaker beside it."""

    def __init__(self, microphone: TappedMicrophone, speaker: Tapped, *, noise: int | None = 0) -> None:
        """Put both on one time line.

        Args:
            microphone: what captures the echo.
            speaker: what plays it.
            noise: how strongly steady noise is suppressed: 0 to 3 for 6, 12, 18 and 21 dB; None for not at all.
        """
        self.sample_rate = microphone.sample_rate
        self.taps: list[Tap] = []
        """Who else gets the cleaned sound, from the event loop."""
        self._microphone: Any = microphone
        self._captured = TimeLine(microphone, self.sample_rate)
        self._played = TimeLine(speaker, self.sample_rate)
        self._canceller = Canceller(self.sample_rate, noise=noise)
        self._delay_s = CANCELLING_S + (SUPPRESSING_S if noise is not None else 0.0)
        self._frame = round(self.sample_rate * FRAME_S)
        self._next = 0
        self._aligned = 0
        self._at = 0.0
        self._drift = 0.0
        self._lead_s = LEAD_S
        self._seams = (0, 0)
        self._last = np.empty(0, np.float32)

    @property
    def tap_rate(self) -> int:
        """Hz."""
        return self.sample_rate

    @property
    def name(self) -> str:
        """What the system calls the device."""
        return str(getattr(self._microphone, "name", ""))

    @property
    def level(self) -> float:
        """The level of the last frame in dB below full scale."""
        return level_db(self._last)

    @property
    def dropped(self) -> int:
        """Frames that were lost because nobody took them."""
        return int(getattr(self._microphone, "dropped", 0))

    @property
    def overflows(self) -> int:
        """How often the device itself lost sound."""
        return int(getattr(self._microphone, "overflows", 0))

    async def frames(self) -> AsyncGenerator[Samples, None]:
        """Yield frames of 20 ms, the oldest first.

        Raises:
            DeviceError: the microphone has gone.
        """
        # The microphone's own frames do not say when they were captured: they only tell that there is more to take.
        async with aclosing(self._microphone.frames()) as ticks:
            async for _ in ticks:
                self._captured.catch_up()
                self._played.catch_up()
                while self._next + self._frame <= self._captured.end:
                    yield self._cleaned()

    def _cleaned(self) -> Samples:
        start, self._next = self._next, self._next + self._frame
        self._align(start)
        captured = self._captured.read(start, self._frame)
        played = self._take_played()
        self._captured.forget(self._next)
        self._last = self._canceller.clean(captured, played)
        when = self._captured.origin + start / self.sample_rate - self._delay_s
        for tap in self.taps:
            tap(when, self._last)
        return self._last

    def _take_played(self) -> Samples:
        pace = 1 + self._drift
        at, self._at = self._at, self._at + pace * self._frame
        self._played.forget(int(at) - self.sample_rate)
        if self._drift:
            return self._played.between(at, self._frame, pace)
        return self._played.read(round(at), self._frame)

    def _align(self, start: int) -> None:
        """Find what was played when a sample was captured, `LEAD_S` early or as early as it can be had."""
        missing = self._at + self._frame - self._played.end
        restarted = self._seams != (seams := (self._captured.seams, self._played.seams))
        if restarted:
            self._seams, self._lead_s = seams, LEAD_S
            self._canceller.learn()
        elif self._played.end and missing > 0:
            self._lead_s = max(self._lead_s - missing / self.sample_rate, -LEAD_S)
        ahead_s = self._captured.origin - self._played.origin + self._lead_s
        wrong = start + ahead_s * self.sample_rate - self._at
        if restarted or abs(wrong) > TOLERANCE_S * self.sample_rate:
            since, self._aligned = start - self._aligned, start
            if not restarted and missing <= 0 and since > BASELINE_S * self.sample_rate:
                self._drift += wrong / since
            self._at = start + ahead_s * self.sample_rate


class SelfHearing:
    """Watches a session and says, once, that what it took for the person's words are its own."""

    def __init__(self, note: Callable[[str], None]) -> None:
        """Get ready to tell the person by `note`."""
        self._note = note
        self._said: deque[tuple[str, list[str]]] = deque([("", [])], maxlen=2)
        self._told = False

    def __call__(self, what: Input | Output) -> None:
        """Compare what the person is to have said with the last answers."""
        if not isinstance(what, Show) or self._told:
            return
        words = re.findall(r"[\w']+", what.text.lower())
        if what.role == "assistant":
            if self._said[-1][0] == what.item_id:
                self._said.pop()
            self._said.append((what.item_id, words))
        elif what.final and any(_echoed(words, said) for _, said in self._said):
            self._told = True
            self._note(HEARD_MYSELF)


def _echoed(heard: list[str], said: list[str]) -> bool:
    """Tell whether the words are a piece of what was said."""
    if len(heard) < ECHOED_WORDS:
        return False
    matcher = SequenceMatcher(None, said, heard, autojunk=False)
    return sum(block.size for block in matcher.get_matching_blocks()) >= ECHOED * len(heard)
