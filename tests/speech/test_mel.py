from __future__ import annotations

import numpy as np
import pytest

from vivavoce.speech.mel import HOP, SAMPLE_RATE, log_mel


def tone(hertz, seconds=1.0, level=0.5):
    return (level * np.sin(2 * np.pi * hertz * np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE)).astype(np.float32)


def test_a_frame_is_ten_milliseconds():
    assert log_mel(tone(440)).shape == (80, SAMPLE_RATE // HOP)


@pytest.mark.parametrize(("hertz", "band"), [(200, 5), (1000, 26), (2000, 44), (4000, 62)])
def test_a_tone_is_in_its_band(hertz, band):
    """Centres of Slaney's bands: (band + 1) of 81 steps of 45.245 mels / 81, 3 mels for 200 Hz and 15 for 1 kHz."""
    assert abs(int(log_mel(tone(hertz)).mean(axis=1).argmax()) - band) <= 1


def test_levels_are_scaled_and_bounded():
    quiet = np.concatenate([tone(440), np.zeros(SAMPLE_RATE, np.float32)])
    spectrogram = log_mel(quiet)
    assert spectrogram.dtype == np.float32
    assert spectrogram.max() - spectrogram.min() == pytest.approx(2.0)


def test_ten_times_the_sound_is_half_a_step_more():
    assert log_mel(tone(440, level=0.5)).max() - log_mel(tone(440, level=0.05)).max() == pytest.approx(0.5, abs=1e-4)
