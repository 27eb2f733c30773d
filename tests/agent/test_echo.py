"""The canceller in simulated rooms, judged by the real VAD and turn detection; its parts one by one."""

from __future__ import annotations

import csv
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import numpy as np
import pytest
import soundfile
from tests.agent.overheard import cleaned as heard_in
from tests.agent.overheard import in_turn, interjections, spoken_answers, turn_starts
from tests.agent.rooms import CAPTURED, RATE, Ends, Room, tell

from vivavoce.agent.echo import CANCELLING_S, HEARD_MYSELF, EchoFreeMicrophone, SelfHearing, TimeLine
from vivavoce.ports import DeviceError, Tapped
from vivavoce.realtime.client import Show
from vivavoce.speech.pcm import level_db, resample

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from vivavoce.ports import Samples, Tap

pytestmark = pytest.mark.anyio

DATA = Path(__file__).parents[1] / "data"
OFFICE = Room(delay_s=0.08)
BOOMY = Room("living room, wireless, drifting", decay_s=0.6, direct_db=0.0, delay_s=0.25, drift=2e-4, seed=2)


def noise(seconds: float, level: float = 0.1, seed: int = 0) -> Samples:
    return np.asarray(np.random.default_rng(seed).standard_normal(round(seconds * RATE)) * level, np.float32)


# Thirty answers ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def answers() -> list[Samples]:
    return anyio.run(spoken_answers)


def test_without_the_canceller_the_agent_would_interrupt_itself(answers: list[Samples]) -> None:
    assert len(turn_starts(OFFICE.echo(in_turn(answers)))) >= 25


@pytest.mark.parametrize("room", [OFFICE, BOOMY], ids=lambda room: room.name)
async def test_thirty_answers_start_no_turn(answers: list[Samples], room: Room) -> None:
    assert turn_starts(await heard_in(room, in_turn(answers))) == []


async def test_who_talks_over_an_answer_is_heard(answers: list[Samples]) -> None:
    answers = answers[:15]
    people = interjections(answers, level_db=OFFICE.level_db - 3)
    delays = people.delays(turn_starts(await heard_in(OFFICE, in_turn(answers), people.sound)))
    assert len(delays) >= 14
    assert statistics.median(delays) < 0.25


# A recorded run ------------------------------------------------------------------------------------------------------


class Recorded:
    """A microphone and a loudspeaker of PulseAudio's, which lost 130 ms in three pieces, as they once told it."""

    sample_rate = RATE
    tap_rate = 16_000

    def __init__(self, jitter_s: float) -> None:
        self.taps: list[Tap] = []
        self.speaker = Source(self.tap_rate)
        self._jitter_s = jitter_s

    async def frames(self) -> AsyncGenerator[Samples, None]:
        """Let everything happen in its order."""
        random = np.random.default_rng(1)
        with (DATA / "echo-pulseaudio.tsv").open(encoding="utf-8", newline="") as told:
            rows = list(csv.DictReader(told, delimiter="\t"))
        sides = {"captured": (0, self.taps), "played": (1, self.speaker.taps)}
        sounds, at = recording().T, [0, 0]
        for row in rows:
            side, taps = sides[row["side"]]
            begin, at[side] = at[side], at[side] + int(row["samples"])
            when = float(row["seconds"]) + self._jitter_s * float(random.standard_normal())
            tell(taps, when, sounds[side, begin : at[side]])
            if taps is self.taps:
                yield sounds[side, begin : at[side]]


def recording() -> Samples:
    return np.asarray(soundfile.read(DATA / "echo-pulseaudio.flac", dtype="float32")[0])


def test_the_recorded_run_has_an_echo_that_begins_turns() -> None:
    assert len(turn_starts(resample(recording()[:, 0], Recorded.tap_rate, RATE))) >= 3


@pytest.mark.parametrize("jitter_s", [0.0, 0.002, 0.004])
async def test_what_pulseaudio_loses_and_when_it_tells_starts_no_turn(jitter_s: float) -> None:
    recorded = Recorded(jitter_s)
    assert turn_starts(await everything(EchoFreeMicrophone(recorded, recorded.speaker))) == []


# The microphone ------------------------------------------------------------------------------------------------------


async def everything(microphone: EchoFreeMicrophone) -> Samples:
    return np.concatenate([frame async for frame in microphone.frames()])


async def test_while_the_speaker_is_silent_nothing_is_changed() -> None:
    voice = noise(2)
    ends = Ends(np.zeros(3 * RATE, np.float32), voice, OFFICE)
    heard = np.concatenate(
        [frame async for frame in EchoFreeMicrophone(ends.microphone, ends.speaker, noise=None).frames()]
    )
    late = round(CANCELLING_S * RATE)
    assert heard[late : len(voice)] == pytest.approx(voice[: len(voice) - late], abs=1e-6)


async def test_taps_get_what_is_yielded_and_when_it_was_captured() -> None:
    ends = Ends(noise(2), noise(2, seed=1), OFFICE)
    microphone = EchoFreeMicrophone(ends.microphone, ends.speaker, noise=None)
    told: list[tuple[float, Samples]] = []
    microphone.taps.append(lambda when, samples: told.append((when, samples)))
    frames = [frame async for frame in microphone.frames()]
    assert isinstance(microphone, Tapped)
    assert microphone.tap_rate == RATE
    assert {len(frame) for frame in frames} == {CAPTURED}
    assert [samples is frame for (_, samples), frame in zip(told, frames, strict=True)] == [True] * len(frames)
    due = [number * CAPTURED / RATE - CANCELLING_S for number in range(len(frames))]
    assert [when for when, _ in told] == pytest.approx(due, abs=0.005)
    assert microphone.level == level_db(frames[-1])


async def test_a_speaker_that_tells_late_is_cancelled_all_the_same() -> None:
    """A driver that names no latency tells of each block as it leaves the device, not before."""
    played = noise(6)
    echo = Room(delay_s=0.1).echo(played)
    ends = Ends(played, echo, OFFICE, speaker_latency_s=-0.01)
    heard = np.concatenate(
        [frame async for frame in EchoFreeMicrophone(ends.microphone, ends.speaker, noise=None).frames()]
    )
    assert level_db(heard[-2 * RATE :]) < level_db(echo[-2 * RATE :]) - 12


async def test_a_microphone_that_has_gone_says_so() -> None:
    class Gone:
        sample_rate = tap_rate = RATE

        def __init__(self) -> None:
            self.taps: list[Tap] = []

        async def frames(self) -> AsyncGenerator[Samples, None]:
            raise DeviceError("gone")
            yield  # an async generator

    with pytest.raises(DeviceError, match="gone"):
        _ = [frame async for frame in EchoFreeMicrophone(Gone(), Ends(noise(1), noise(1), OFFICE).speaker).frames()]


# The time line -------------------------------------------------------------------------------------------------------


class Source:
    """Something that can be listened to."""

    def __init__(self, rate: int) -> None:
        self.taps: list[Tap] = []
        self.tap_rate = rate

    def tell(self, when: float, samples: Samples) -> None:
        for tap in self.taps:
            tap(when, samples)


def tone(start_s: float, seconds: float, rate: int) -> Samples:
    time = start_s + np.arange(round(seconds * rate)) / rate
    return np.sin(2 * np.pi * 440 * time).astype(np.float32)


def test_time_line_knows_what_was_when() -> None:
    source = Source(RATE)
    line = TimeLine(source, RATE)
    for block in range(100):
        source.tell(5 + block * 0.01 + 0.002 * (block % 3 - 1), tone(block * 0.01, 0.01, RATE))
    line.catch_up()
    assert (line.end, line.seams) == (RATE, 1)
    assert line.origin == pytest.approx(5, abs=0.001)
    assert line.read(100, 50) == pytest.approx(tone(100 / RATE, 50 / RATE, RATE))
    assert line.between(100.25, 400, 1.001) == pytest.approx(
        np.sin(2 * np.pi * 440 * (100.25 + 1.001 * np.arange(400)) / RATE), abs=0.01
    )


def test_time_line_is_silent_where_there_is_nothing() -> None:
    source = Source(RATE)
    line = TimeLine(source, RATE)
    source.tell(0.0, np.ones(100, np.float32))
    line.catch_up()
    assert line.read(90, 20).tolist() == [1.0] * 10 + [0.0] * 10
    assert line.read(-5, 10).tolist() == [0.0] * 5 + [1.0] * 5
    assert line.read(200, 3).tolist() == [0.0] * 3
    line.forget(50)
    assert line.read(45, 10).tolist() == [0.0] * 5 + [1.0] * 5
    assert line.end == 100


def test_time_line_begins_anew_after_a_gap() -> None:
    source = Source(RATE)
    line = TimeLine(source, RATE)
    source.tell(0.0, np.ones(480, np.float32))
    source.tell(3.0, np.ones(480, np.float32))
    line.catch_up()
    assert line.seams == 2
    assert line.origin + 480 / RATE == pytest.approx(3.0)


def test_time_line_keeps_its_rate_when_the_source_changes_its_own() -> None:
    source = Source(48_000)
    line = TimeLine(source, RATE)
    source.tell(0.0, tone(0, 1, 48_000))
    line.catch_up()
    source.tap_rate = 16_000
    source.tell(1.0, tone(1, 1, 16_000))
    source.tell(2.0, tone(2, 1, 16_000))
    line.catch_up()
    assert line.seams == 1
    assert line.end == pytest.approx(3 * RATE, abs=0.04 * RATE)
    assert line.read(RATE // 2, 480) == pytest.approx(tone(0.5, 0.02, RATE), abs=0.01)
    assert line.read(2 * RATE, 480) == pytest.approx(tone(2, 0.02, RATE), abs=0.05)


# Hearing oneself -----------------------------------------------------------------------------------------------------


def show(role: str, text: str, *, item: str, final: bool = True) -> Show:
    return Show(role=role, item_id=item, text=text, final=final)  # type: ignore[arg-type]


ANSWER = "The library is closed on Monday, but it is open on Sunday."


@pytest.mark.parametrize(
    ("heard", "echo"),
    [
        ("Library is closed on Monday.", True),
        ("but it is often on Sunday", True),
        ("Sunday", False),
        ("On Monday?", False),
        ("Is the cinema closed on Monday too?", False),
        ("Tell me about the opening hours then.", False),
    ],
)
def test_who_hears_the_answer_as_a_question_is_told_once(heard: str, *, echo: bool) -> None:
    notes: list[str] = []
    watch = SelfHearing(notes.append)
    watch(show("user", "When is the library open?", item="1"))
    watch(show("assistant", "The library", item="2", final=False))
    watch(show("assistant", ANSWER, item="2"))
    watch(show("user", heard, item="3", final=False))
    assert notes == []
    watch(show("user", heard, item="3"))
    watch(show("user", heard, item="4"))
    assert notes == ([HEARD_MYSELF] if echo else [])
