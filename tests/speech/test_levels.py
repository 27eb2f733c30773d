from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from vivavoce.speech.levels import amplify, levels, quietest, trim, voiced

RATE = 1000
SOUNDS = arrays.arrays(np.float32, st.integers(0, 500), elements=st.floats(-1, 1, width=32))


def tone(seconds, level=0.5):
    return (level * np.sin(2 * np.pi * 100 * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def silence(seconds):
    return np.zeros(round(seconds * RATE), np.float32)


def test_levels():
    found = levels(np.concatenate([silence(0.1), np.full(95, 0.1, np.float32)]), RATE)
    assert found.shape == (20,)
    assert found[:10] == pytest.approx([-180] * 10)
    assert found[10:19] == pytest.approx([-20] * 9)
    assert found[19] == pytest.approx(-23, abs=0.1)


@pytest.mark.parametrize("around", [0.0, 0.02, 0.5])
def test_trim_leaves_the_silence_that_is_asked_for(around):
    sound = np.concatenate([silence(around), tone(0.3), silence(around)])
    trimmed = trim(sound, RATE, lead=0.04, tail=0.12)
    assert len(trimmed) == 40 + 300 + 120
    np.testing.assert_array_equal(trimmed[40:340], tone(0.3))
    assert not trimmed[:40].any()
    assert not trimmed[340:].any()


def test_trim_of_silence_is_nothing():
    assert not trim(silence(1), RATE, lead=0.1, tail=0.1).size
    assert not trim(silence(0), RATE, lead=0.1, tail=0.1).size


@given(SOUNDS, st.floats(-20, 40))
def test_amplified_sound_never_clips_and_keeps_its_sign(sound, gain):
    louder = amplify(sound, gain)
    assert louder.dtype == np.float32
    assert np.all(np.abs(louder) <= 1)
    assert np.all(louder * sound >= 0)


def test_below_the_knee_gain_is_exact():
    np.testing.assert_allclose(amplify(tone(0.1, 0.1), 6.0), tone(0.1, 0.1) * 10**0.3, rtol=1e-5)


@given(st.lists(st.floats(0, 1, width=32), min_size=2).map(sorted))
def test_louder_stays_louder(sizes):
    assert np.all(np.diff(amplify(np.array(sizes, np.float32), 7.0)) >= -1e-6)


def test_the_quietest_place():
    sound = np.concatenate([tone(1), silence(0.3), tone(1), silence(0.3), tone(1)])
    assert quietest(sound, RATE, 1500, 3600) == pytest.approx(2450, abs=60)
    assert quietest(sound, RATE, 0, 2000) == pytest.approx(1150, abs=60)


@given(SOUNDS.filter(len), st.data())
def test_the_quietest_place_is_between_the_two(sound, data):
    stop = data.draw(st.integers(1, len(sound)))
    start = data.draw(st.integers(0, stop - 1))
    assert start <= quietest(sound, RATE, start, stop) <= stop


def test_voiced():
    assert voiced(silence(0), RATE) == 0
    assert voiced(silence(1), RATE) == 0
    assert voiced(tone(1), RATE) == 0
    assert voiced(np.concatenate([silence(0.5), tone(0.5)]), RATE) == pytest.approx(0.5)
    assert voiced(np.concatenate([silence(0.5), tone(0.5, 0.001)]), RATE) == 0
