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
from vivavoce.agent.rates import Losses
from vivavoce.ports import Microphone, Tapped
from vivavoce.realtime.client import Show
from vivavoce.speech.adaptive import EchoFilter, ShiftFinder
from vivavoce.speech.pcm import Resampler, level_db

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from vivavoce.ports import Samples, Tap
    from vivavoce.realtime.client import Input, Output

LEAD_S = 0.05
"""How early the module gets what is played: more than drivers overstate their latency."""
SHORT = 25
"""Blocks in a row that come too late for that, until a driver is taken to tell late and not to be late."""
REACH = 16
"""Samples that say what was between two of them."""
RESPONSE_S = 0.6
"""Of the echo that can be predicted, from what was handed over early to the end of the reverberation."""
STEP_S = 0.01
"""A time that is so far off may mean that sound was lost; less is jitter."""
AGREEING = 5
"""Blocks that must be off alike before it does."""
GAP_S = 1.0
"""A longer gap is a pause of the device, after which nothing is known."""
STEADY = 0.002
"""Weight of one block's time in the estimate of the time line: it forgets within ten seconds."""
ASTRAY_S = 0.03
"""How far the times of both lines may contradict the count of samples; times of drivers wander by 10 ms."""
SEARCH_S = 0.04
"""How far a known echo is looked for where it does not come when it is expected."""
KNOWN = 0.7
"""How sure it must be that the echo comes when it is expected, until the room counts as known."""
FOUND, BETTER = 0.4, 1.3
"""How sure it must be, twice, that it comes at another time, and by what factor surer than of the expected one."""
ALIKE = 2
"""Samples by which both may differ."""
FOLLOWING = 0.2
"""Share of a shift that is put down to clocks that run apart."""
SMALL = 15
"""Samples of a shift that clocks may have brought about; more was lost."""
APART = 1e-3
"""The most that clocks run apart."""
BACKLOG = 250
"""Blocks that wait for their reader, as in the microphone."""

CANCELLING_S, SUPPRESSING_S = 0.009, 0.006
"""By how much the module's filters delay the sound."""
LEARNING_S = 1.2
"""Of loud sound from the loudspeaker, until the module knows the way of the echo; nobody is heard over it meanwhile."""
LOUD_DB = -50.0
TAIL_S = 0.6
"""For how long a room and the delay keep the echo after the loudspeaker has fallen silent."""
ECHO_DB = 8.0, 12.0
"""Where the module took off less, somebody speaks; where it took off more, what is left is echo."""
LOUDER_DB = 4.0, 7.0
"""While the way of the echo is not known, what is so much louder than any echo that is to be expected is somebody."""
DOUBTFUL_DB = 0.0, 3.0
"""What the filter leaves must be so much louder than what it may be wrong by."""
FADING = 0.1
"""The most by which that falls in a frame: it is not known when the echo comes."""
LASTING = 4
"""Frames for which it must be louder: an echo may come so much before it is expected."""
HELD_S = 0.2
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
        self.starts = 0
        """How often the gap was so long that nothing was put there."""
        self.jumped_s = 0.0
        """By how much the origin was set right at once."""
        self._source = source
        self._sound = np.zeros(0, np.float32)
        self._told: deque[tuple[float, Samples]] = deque(maxlen=BACKLOG)
        self._told_s = 0.0
        self._blocks = 0
        self._odd: deque[tuple[float, float]] = deque(maxlen=AGREEING)
        """Errors that may be a gap's, and the time up to which sound had been told."""
        self._rates = (0, Resampler(rate, rate))
        source.taps.append(self._tell)

    def _tell(self, when: float, samples: Samples) -> None:
        """Run in the thread of the sound."""
        self._told.append((when, samples))

    def catch_up(self) -> None:
        """Take in what was told meanwhile."""
        while self._told:
            when, samples = self._told.popleft()
            rate = self._source.tap_rate
            self._set_clock(when)
            self._told_s += len(samples) / rate
            for fresh in self._resampled(samples, rate):
                self._append(fresh)

    @property
    def odd(self) -> bool:
        """Tell whether the last blocks' times were not as expected."""
        return len(self._odd) > 1

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

    def _append(self, fresh: Samples) -> None:
        self._sound = np.concatenate([self._sound, fresh])
        self.end += len(fresh)

    def _set_clock(self, when: float) -> None:
        """Learn from one block's time, which jitters; what is off for several blocks alike was lost."""
        error = when - self.origin - self._told_s
        if not self._blocks or abs(error) > GAP_S:
            self._begin(error)
        elif abs(error) < STEP_S:
            self._blocks += 1
            self.origin += error * max(STEADY, 1 / self._blocks)
            self._odd.clear()
        else:
            self._odd.append((error, self._told_s))
            errors = [error for error, _ in self._odd]
            middle = float(np.median(errors))
            if len(errors) == AGREEING and max(errors) - min(errors) < max(STEP_S, abs(middle) / 2):
                self._mend(middle, self._told_s - self._odd[0][1])

    def _begin(self, error: float) -> None:
        self.seams += 1
        self.starts += 1
        self.origin += error
        self._blocks = 1
        self._odd.clear()

    def _mend(self, lost_s: float, ago_s: float) -> None:
        """Put silence where the device had none of our sound; what it told too early only moves the time."""
        self.seams += 1
        self._odd.clear()
        if lost_s < 0:
            self.origin += lost_s
            self.jumped_s += lost_s
            return
        lost, ago = round(lost_s * self.rate), min(round(ago_s * self.rate), len(self._sound))
        self._sound = np.insert(self._sound, len(self._sound) - ago, np.zeros(lost, np.float32))
        self.end += lost
        self._told_s += lost_s

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
        block = round(rate * FRAME_S)
        self._filter = EchoFilter(block, round(RESPONSE_S / FRAME_S))
        self._finder = ShiftFinder(block, round(SEARCH_S * rate))
        self.length = self._filter.length
        self.shift = 0
        """By how many samples the echo comes later than it was expected."""
        self._suppressing = noise is not None
        self._late = np.zeros(round(CANCELLING_S * rate), np.float32)
        self._bypass = 1.0
        self._to_learn_s = LEARNING_S
        self._held_s = 0.0
        self._known = False
        self._elsewhere = 0
        self._silent_s = TAIL_S
        self._power = np.zeros(4)
        self._expected = 0.0
        self._louder = deque([0.0] * LASTING, maxlen=LASTING)
        self._gain = 1.0

    def learn(self) -> None:
        """Begin anew: a device was connected, or lost sound."""
        self._to_learn_s = LEARNING_S
        self._finder.clear()

    def hold(self) -> None:
        """Let through only what no echo can be, for a moment: sound may have been lost."""
        self._held_s = HELD_S

    def recall(self, played: Samples) -> None:
        """Learn that what was played before lies otherwise than it was given, `length` samples of it."""
        self._filter.recall(played)
        self._finder.clear()

    def clean(self, captured: Samples, played: Samples) -> Samples:
        """Return the captured frame without the echo of what was played up to now."""
        rest = self._filter.feed(captured, played)
        cleaned = self._module.process(rest, played)
        self._look(captured)
        self._silent_s = 0.0 if level_db(played) > LOUD_DB else self._silent_s + FRAME_S
        self._held_s -= FRAME_S
        if not self._silent_s:
            self._practise()
        sounds = captured, cleaned, rest
        powers = np.array([*(np.mean(sound**2) for sound in sounds), self._filter.doubt])
        self._power += SMOOTH * (powers - self._power)
        expected = self._filter.doubt + float(np.mean(self._filter.echo**2))
        self._expected = max(expected, (1 - FADING) * self._expected)
        before, self._gain = self._gain, self._openness()
        return self._unspoilt(cleaned * np.linspace(before, self._gain, len(cleaned), dtype=np.float32), captured)

    def _unspoilt(self, cleaned: Samples, captured: Samples) -> Samples:
        """Return the sound as it was captured, as late as if it were cleaned, where there is nothing to clean."""
        if self._suppressing:
            return cleaned
        sound = np.concatenate([self._late, captured])
        self._late = sound[len(captured) :]
        before, self._bypass = self._bypass, float(self._silent_s >= TAIL_S)
        return cleaned + (sound[: len(captured)] - cleaned) * np.linspace(
            before, self._bypass, len(captured), dtype=np.float32
        )

    def _practise(self) -> None:
        """Count down what is still to be learnt; begin with the room too if it is not what it was."""
        if self._to_learn_s <= 0:
            return
        self._to_learn_s -= FRAME_S
        if self._to_learn_s <= 0 and self._known:
            self._known, self._to_learn_s = False, LEARNING_S
            self._filter.relearn()

    def _look(self, captured: Samples) -> None:
        """See whether the echo comes when it is expected."""
        self.shift = 0
        found = self._finder.feed(captured, self._filter.echo)
        if found is None:
            return
        shift, sure, now = found
        near = abs(shift) < SMALL
        if near and sure > KNOWN:
            self._known, self._to_learn_s = True, 0.0
        if not self._known or abs(shift) < ALIKE or sure < max(FOUND, (not near) * BETTER * now):
            self._elsewhere = 0
            return
        if abs(shift) > ALIKE:
            self.hold()
        certain = sure > KNOWN or abs(shift - self._elsewhere) <= ALIKE
        self.shift, self._elsewhere = (shift, 0) if certain else (0, shift)

    def _openness(self) -> float:
        """Return how much of the frame is to be heard, 0 to 1."""
        if self._silent_s >= TAIL_S:
            return 1.0
        captured, cleaned, rest, doubt, expected = 10 * np.log10(np.array([*self._power, self._expected]) + 1e-12)
        if self._to_learn_s > 0 or self._held_s > 0:
            self._louder.append(float(np.interp(captured - expected, LOUDER_DB, (0.0, 1.0))))
            return min(self._louder)
        may_be_echo = float(np.interp(rest - doubt, DOUBTFUL_DB, (1.0, 0.0)))
        return min(float(np.interp(captured - cleaned, ECHO_DB, (1.0, 0.0))), 1 - may_be_echo)


class EchoFreeMicrophone(Losses):
    """A microphone that does not hear the loudspeaker beside it."""

    def __init__(self, microphone: TappedMicrophone, speaker: Tapped, *, noise: int | None = None) -> None:
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
        self._at = 0.0
        self._jumped_s = 0.0
        self._moved: int | None = None
        self._drift = 0.0
        self._lead_s = LEAD_S
        self._short: list[float] = []
        self._seams = self._starts = 0
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
        if self._align(start):
            self._canceller.recall(self._history())
        captured = self._captured.read(start, self._frame)
        played = self._take_played()
        self._captured.forget(self._next)
        self._last = self._canceller.clean(captured, played)
        when = self._captured.origin + start / self.sample_rate - self._delay_s
        for tap in self.taps:
            tap(when, self._last)
        return self._last

    def _history(self) -> Samples:
        """Return what was played before the next frame."""
        length = self._canceller.length
        return self._played.between(self._at - length * (1 + self._drift), length, 1 + self._drift)

    def _take_played(self) -> Samples:
        pace = 1 + self._drift
        at, self._at = self._at, self._at + pace * self._frame
        self._played.forget(int(at) - self.sample_rate)
        return self._played.between(at, self._frame, pace)

    def _align(self, start: int) -> bool:
        """Find what was played when a sample was captured, `LEAD_S` early or as early as it can be had.

        Samples are counted; times only tell where both lines begin and what was lost; the echo itself tells the rest.

        Returns:
            Whether what was played before lies otherwise now.
        """
        before = self._at
        starts = self._captured.starts + self._played.starts
        seams = self._captured.seams + self._played.seams
        started, seam = starts != self._starts, seams != self._seams
        self._starts, self._seams = starts, seams
        jumped_s = self._captured.jumped_s - self._played.jumped_s
        self._at += (jumped_s - self._jumped_s) * self.sample_rate
        self._jumped_s = jumped_s
        if seam:
            self._moved = None
            self._canceller.learn()
        if self._captured.odd or self._played.odd:
            self._canceller.hold()
        if self._canceller.shift:
            self._follow(start, self._canceller.shift)
        self._make_do(self._at + self._frame - self._played.end)
        ahead_s = self._captured.origin - self._played.origin + self._lead_s
        wrong = start + ahead_s * self.sample_rate - self._at
        if started or abs(wrong) > ASTRAY_S * self.sample_rate:
            self._at += wrong
        return seam or self._at != before

    def _follow(self, start: int, shift: int) -> None:
        """Read so much earlier, and more slowly if it was the clocks' doing."""
        self._at -= shift
        self._lead_s -= shift / self.sample_rate
        if self._moved is not None and abs(shift) < SMALL:
            drift = self._drift - FOLLOWING * shift / (start - self._moved)
            self._drift = float(np.clip(drift, -APART, APART))
        self._moved = start

    def _make_do(self, missing: float) -> None:
        """Be content with less lead where what is played is told too late, again and again."""
        self._short = [*self._short, missing] if missing > 0 and self._played.end else []
        if len(self._short) >= SHORT:
            self._lead_s = max(self._lead_s - max(self._short) / self.sample_rate, -LEAD_S)
            self._at = max(self._at - max(self._short), 0.0)
            self._short = []


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
