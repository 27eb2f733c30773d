from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from vivavoce.speech import pcm

EVERY = np.arange(-32768, 32768).astype("<i2")
SOUNDS = arrays.arrays(np.float32, st.integers(0, 300), elements=st.floats(-1, 1, width=32))
RATES = [8000, 16000, 22050, 24000, 44100, 48000]


def sine(hertz, seconds, rate):
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def in_chunks(sound, sizes):
    start = 0
    for size in sizes:
        yield sound[start : start + size]
        start += size
    yield sound[start:]


def test_every_sample_survives():
    assert pcm.to_pcm16(pcm.from_pcm16(EVERY.tobytes())) == EVERY.tobytes()


def test_what_is_too_loud_is_clipped_and_what_is_no_number_is_silence():
    odd = np.array([1.0, 2.0, -1.0, -2.0, np.nan, np.inf, -np.inf, 1e30, 0.0], np.float32)
    samples = np.frombuffer(pcm.to_pcm16(odd), "<i2")
    assert samples.tolist() == [32767, 32767, -32768, -32768, 0, 32767, -32768, 32767, 0]


def test_no_sound_is_no_sound():
    nothing = np.zeros(0, np.float32)
    for to in (pcm.to_pcm16, pcm.to_ulaw, pcm.to_alaw):
        assert to(nothing) == b""
    for back in (pcm.from_pcm16, pcm.from_ulaw, pcm.from_alaw):
        assert len(back(b"")) == 0


@given(SOUNDS)
def test_pcm_is_as_good_as_16_bits(sound):
    error = np.abs(pcm.from_pcm16(pcm.to_pcm16(sound)) - sound)
    assert not len(error) or error.max() <= 1 / 32768


# G.711: the values of ITU-T G.711 tables 1a, 2a, at 16 bits

ULAW = {0xFF: 0, 0x7F: 0, 0xFE: 8, 0xF0: 120, 0xEF: 132, 0x80: 32124, 0x00: -32124, 0x70: -120}
ALAW = {0xD5: 8, 0x55: -8, 0xD4: 24, 0xAA: 32256, 0x2A: -32256, 0xC5: 264, 0x45: -264}


@pytest.mark.parametrize(("back", "table"), [(pcm.from_ulaw, ULAW), (pcm.from_alaw, ALAW)])
def test_g711_decodes_as_in_the_recommendation(back, table):
    samples = back(bytes(table)) * 32768
    assert dict(zip(table, samples.tolist(), strict=True)) == {
        code: pytest.approx(value) for code, value in table.items()
    }


def ulaw_steps(codes):
    return 8 << (~codes >> 4 & 7)


def alaw_steps(codes):
    return 16 << np.maximum(((codes ^ 0x55) >> 4 & 7) - 1, 0)


@pytest.mark.parametrize(
    ("to", "back", "steps", "loudest"),
    [(pcm.to_ulaw, pcm.from_ulaw, ulaw_steps, 32635), (pcm.to_alaw, pcm.from_alaw, alaw_steps, 32768)],
)
def test_g711_is_wrong_by_half_a_step_at_most(to, back, steps, loudest):
    codes = to(pcm.from_pcm16(EVERY.tobytes()))
    error = np.abs(back(codes) * 32768 - np.clip(EVERY.astype(np.float64), -loudest, loudest))
    assert (error <= steps(np.frombuffer(codes, np.uint8).astype(np.int32)) / 2).all()


@pytest.mark.parametrize(("to", "back"), [(pcm.to_ulaw, pcm.from_ulaw), (pcm.to_alaw, pcm.from_alaw)])
def test_g711_codes_survive(to, back):
    codes = bytes(range(256))
    again = to(back(codes))
    assert np.array_equal(back(again), back(codes))
    assert sum(one != other for one, other in zip(codes, again, strict=True)) <= 1  # µ-law has two zeros


def test_g711_agrees_with_the_standard_library():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        audioop = pytest.importorskip("audioop", exc_type=ImportError)
    codes, samples = bytes(range(256)), pcm.from_pcm16(EVERY.tobytes())
    assert pcm.to_pcm16(pcm.from_ulaw(codes)) == audioop.ulaw2lin(codes, 2)
    assert pcm.to_pcm16(pcm.from_alaw(codes)) == audioop.alaw2lin(codes, 2)
    assert pcm.to_alaw(samples) == audioop.lin2alaw(EVERY.tobytes(), 2)
    positive = EVERY >= 0  # of negative samples audioop loses the last two bits before it rounds
    ours, theirs = (
        np.frombuffer(one, np.uint8) for one in (pcm.to_ulaw(samples), audioop.lin2ulaw(EVERY.tobytes(), 2))
    )
    assert np.array_equal(ours[positive], theirs[positive])
    assert np.array_equal(ours[~positive][EVERY[~positive] % 4 == 0], theirs[~positive][EVERY[~positive] % 4 == 0])


# Resampling


@pytest.mark.parametrize("rate_out", RATES)
@pytest.mark.parametrize("rate_in", RATES)
def test_a_tone_stays_a_tone_over_the_seams(rate_in, rate_out):
    resampler = pcm.Resampler(rate_in, rate_out)
    whole = sine(440, 1, rate_in)
    pieces = [resampler.feed(chunk) for chunk in in_chunks(whole, [1, 0, 7, 320, 1, 480, 960] * 4)]
    out = np.concatenate([*pieces, resampler.feed(np.zeros(0, np.float32), last=True)])
    assert abs(len(out) - rate_out) <= 1
    middle = slice(rate_out // 10, rate_out - rate_out // 10)
    assert np.abs(out - sine(440, 2, rate_out)[: len(out)])[middle].max() < 0.01


def test_chunks_sound_like_the_whole():
    sound = np.random.default_rng(1).uniform(-0.5, 0.5, 16000).astype(np.float32)
    resampler = pcm.Resampler(16000, 24000)
    pieces = [resampler.feed(chunk) for chunk in in_chunks(sound, [333] * 40)]
    chunked = np.concatenate([*pieces, resampler.feed(np.zeros(0, np.float32), last=True)])
    np.testing.assert_allclose(chunked, pcm.resample(sound, 16000, 24000), atol=1e-5)


def test_the_same_rate_changes_nothing():
    sound = sine(440, 0.1, 16000)
    assert pcm.resample(sound, 16000, 16000) is sound


# Frames and level


@given(st.lists(SOUNDS, max_size=6), st.integers(1, 100))
def test_frames_hold_the_sound_in_order(pieces, frame):
    framer = pcm.Framer(frame)
    frames = [one for piece in pieces for one in framer.feed(piece)]
    assert all(len(one) == frame for one in frames)
    sound = np.concatenate([np.zeros(0, np.float32), *pieces])
    whole = np.concatenate([np.zeros(0, np.float32), *frames])
    np.testing.assert_array_equal(whole, sound[: len(whole)])
    assert len(sound) - len(whole) < frame


@pytest.mark.parametrize(
    ("sound", "level"),
    [
        (np.ones(10), 0.0),
        (np.full(10, 0.1), -20.0),
        (np.zeros(10), pcm.SILENCE_DB),
        (np.zeros(0), pcm.SILENCE_DB),
        (np.full(10, 1e-9), pcm.SILENCE_DB),
        (np.full(10, np.nan), pcm.SILENCE_DB),
    ],
)
def test_level(sound, level):
    assert pcm.level_db(sound.astype(np.float32)) == pytest.approx(level, abs=1e-4)
