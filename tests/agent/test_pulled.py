"""Devices of a program: a speaker that is asked for sound, and devices at rates of their own."""

from __future__ import annotations

from typing import Any

import anyio
import numpy as np
import pytest

from vivavoce.agent.pulled import PulledSpeaker
from vivavoce.agent.rates import ResampledMicrophone, ResampledSpeaker, microphone_at, speaker_at
from vivavoce.aio import beside
from vivavoce.ports import Pausable, Tapped
from vivavoce.testing import tone

pytestmark = pytest.mark.anyio


def ones(samples):
    return np.ones(samples, np.float32)


async def test_what_is_taken_has_been_heard():
    speaker = PulledSpeaker(8_000)
    assert speaker.heard() is None
    await speaker.play("one", ones(800))
    await speaker.play("two", ones(80) / 2)
    assert speaker.heard() is None
    assert not speaker.idle()
    assert speaker.take(400).tolist() == [1.0] * 400
    assert speaker.heard() == ("one", 50)
    assert speaker.take(440).tolist() == [1.0] * 400 + [0.5] * 40
    assert speaker.heard() == ("two", 5)
    assert speaker.take(80).tolist() == [0.5] * 40 + [0.0] * 40
    assert (speaker.heard(), speaker.idle()) == (("two", 10), True)
    assert speaker.take(3).tolist() == [0.0] * 3


async def test_a_paused_speaker_keeps_its_place():
    device = PulledSpeaker(8_000)
    speaker = speaker_at(24_000, device)
    assert isinstance(speaker, Pausable)
    await device.play("one", ones(800))
    device.take(400)
    speaker.pause()
    assert device.take(400).tolist() == [0.0] * 400
    assert (device.heard(), device.idle()) == (("one", 50), False)
    speaker.resume()
    assert device.take(400).tolist() == [1.0] * 400
    device.pause()
    device.hush()
    await device.play("two", ones(80))
    assert device.take(80).tolist() == [1.0] * 80


async def test_a_hushed_speaker_forgets_what_was_not_taken():
    speaker = PulledSpeaker(8_000)
    await speaker.play("one", ones(800))
    speaker.take(80)
    speaker.hush()
    assert (speaker.heard(), speaker.idle()) == (("one", 10), True)
    assert not speaker.take(80).any()
    await speaker.play("two", ones(80))
    assert speaker.take(80).all()


async def test_what_is_taken_is_told_with_its_time():
    device = PulledSpeaker(8_000)
    speaker = speaker_at(24_000, device)
    told = []
    assert isinstance(speaker, Tapped)
    assert speaker.tap_rate == 8_000
    speaker.taps.append(lambda when, samples: told.append((when, len(samples), bool(samples.any()))))
    device.take(160)
    await speaker.play("one", ones(2_400))
    device.take(400)
    assert told == [(0.0, 160, False), (0.02, 400, True)]


async def test_a_speaker_that_tells_nothing_is_no_tapped_one_at_another_rate():
    class Plain:
        sample_rate = 8_000

        async def play(self, item_id, samples):
            self.played = samples

        def hush(self):
            pass

        def heard(self):
            return None

        def idle(self):
            return True

    plain = Plain()
    speaker = speaker_at(24_000, plain)
    assert not isinstance(speaker, Tapped)
    await speaker.play("one", ones(2_400))
    assert 0 < len(plain.played) <= 800
    assert (speaker.heard(), speaker.idle()) == (None, False)


async def test_a_speaker_at_another_rate():
    device = PulledSpeaker(8_000)
    speaker = speaker_at(24_000, device)
    assert (speaker.sample_rate, speaker_at(8_000, device)) == (24_000, device)
    sound = tone(440, 1.0, 24_000)
    for start in range(0, len(sound), 2_400):
        await speaker.play("one", sound[start : start + 2_400])
    half = device.take(4_000)
    assert speaker.heard() == ("one", 500)
    rest = device.take(3_600)
    assert isinstance(speaker, ResampledSpeaker)
    assert not speaker.idle()
    async with beside(speaker.run):
        speaker.finish("another")
        await anyio.wait_all_tasks_blocked()
        assert not speaker.idle()
        speaker.finish("one")
        await anyio.wait_all_tasks_blocked()
    heard = np.concatenate([half, rest, device.take(400)])
    assert np.abs(heard - tone(440, 1.0, 8_000))[:-50].max() < 0.02
    assert (speaker.heard(), speaker.idle()) == (("one", 1000), True)
    assert not device.take(400).any()


async def test_the_next_answer_brings_the_end_of_the_last():
    device = PulledSpeaker(8_000)
    speaker = ResampledSpeaker(24_000, device)
    await speaker.play("one", ones(24_000))
    await speaker.play("two", ones(2_400))
    device.take(8_000)
    assert speaker.heard() == ("one", 1000)
    assert device.take(500).all()


async def test_a_new_answer_begins_without_the_rest_of_the_last():
    device = PulledSpeaker(8_000)
    speaker = ResampledSpeaker(24_000, device)
    await speaker.play("one", ones(2_400))
    speaker.hush()
    await speaker.play("two", np.zeros(2_400, np.float32))
    async with beside(speaker.run):
        assert not device.take(500).any()
        speaker.finish("two")
        await anyio.wait_all_tasks_blocked()
    assert not device.take(300).any()
    assert (speaker.heard(), speaker.idle()) == (("two", 100), True)


async def test_a_microphone_at_another_rate():
    class Line:
        sample_rate = 8_000

        async def frames(self):
            sound = tone(440, 1.0, 8_000)
            for start in range(0, len(sound), 160):
                yield sound[start : start + 160]

    line = Line()
    microphone = microphone_at(24_000, line)
    assert (microphone.sample_rate, microphone_at(8_000, line)) == (24_000, line)
    frames = [frame async for frame in microphone.frames()]
    assert {len(frame) for frame in frames} == {480}
    heard = np.concatenate(frames)[: round(0.95 * 24_000)]
    assert np.abs(heard - tone(440, 0.95, 24_000)).max() < 0.02


async def test_what_goes_wrong_at_devices_of_other_rates_is_told():
    class Bad:
        sample_rate = 8_000
        dropped, overflows, underruns = 2, 3, 4

    bad: Any = Bad()
    good: Any = PulledSpeaker(8_000)
    microphone, tapped = ResampledMicrophone(24_000, bad), microphone_at(24_000, good)
    assert (microphone.dropped, microphone.overflows) == (2, 3)
    assert ResampledSpeaker(24_000, bad).underruns == 4
    assert ResampledMicrophone(24_000, good).dropped == 0
    assert not isinstance(microphone, Tapped)
    assert isinstance(tapped, Tapped)
    assert tapped.tap_rate == 8_000
