"""The resampler that keeps nothing waiting."""

from __future__ import annotations

import numpy as np
import pytest

from vivavoce.speech.pcm import PromptResampler, Resampler, Samples, prompt_resampler


def tone(hertz: float, rate: int) -> Samples:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(rate) / rate)).astype(np.float32)


def in_pieces(sound: Samples, rate: int, size: int) -> Samples:
    resampler = PromptResampler(rate, 16_000)
    return np.concatenate([resampler.feed(sound[start : start + size]) for start in range(0, len(sound), size)])


@pytest.mark.parametrize("rate", [8_000, 24_000])
@pytest.mark.parametrize("size", [1, 7, 160, 480, 24_000])
def test_sound_is_the_same_in_whatever_pieces_it_comes(rate: int, size: int) -> None:
    sound = np.random.default_rng(2).standard_normal(rate // 4).astype(np.float32)
    whole = in_pieces(sound, rate, len(sound))
    pieces = in_pieces(sound, rate, size)
    np.testing.assert_allclose(pieces, whole, atol=1e-5)


@pytest.mark.parametrize("rate", [8_000, 24_000])
def test_what_is_heard_is_there_within_four_milliseconds(rate: int) -> None:
    resampler, given, got = PromptResampler(rate, 16_000), 0, 0
    for _ in range(100):
        given += 160
        got += len(resampler.feed(np.zeros(rate // 100, np.float32)))
        assert 0 <= given - got <= 64


@pytest.mark.parametrize(("rate", "hertz"), [(24_000, 100), (24_000, 3_000), (24_000, 6_500), (8_000, 3_400)])
def test_speech_passes_in_its_place(rate: int, hertz: float) -> None:
    out = in_pieces(tone(hertz, rate), rate, 480)
    wanted = tone(hertz, 16_000)[: len(out)]
    np.testing.assert_allclose(out[400:], wanted[400:], atol=0.02)


@pytest.mark.parametrize("hertz", [8_500, 9_000, 11_000])
def test_what_16_khz_cannot_hold_does_not_come_back_lower(hertz: float) -> None:
    assert np.abs(in_pieces(tone(hertz, 24_000), 24_000, 480)[400:]).max() < 0.001


def test_odd_rates_take_the_other_one() -> None:
    assert isinstance(prompt_resampler(24_000, 16_000), PromptResampler)
    assert isinstance(prompt_resampler(44_099, 16_000), Resampler)
