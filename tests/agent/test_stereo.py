"""The stereo file: two tracks at their own paces, readable at any moment, beyond four gigabytes too."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

from vivavoce.agent import stereo
from vivavoce.agent.stereo import HEADER_BYTES, WINDOW_S, StereoFile

if TYPE_CHECKING:
    from pathlib import Path

RATE = 1000
WINDOW = round(WINDOW_S * RATE)


def ramp(count: int, start: int = 1) -> np.ndarray:
    return (np.arange(start, start + count) % 30_000 + 1).astype(np.int16)


def read(path: Path) -> Any:
    sound, rate = soundfile.read(path, dtype="int16", always_2d=True)
    assert rate == RATE
    return sound


def test_tracks_are_laid_where_they_belong(tmp_path: Path) -> None:
    file = StereoFile(tmp_path / "a.wav", RATE)
    file.put(1, 500, ramp(100))
    file.put(0, 0, ramp(50))
    file.put(0, 700, ramp(10))
    file.put(1, 550, ramp(10, 9000))
    file.close()
    expected = np.zeros((710, 2), np.int16)
    expected[:50, 0], expected[700:, 0] = ramp(50), ramp(10)
    expected[500:600, 1] = ramp(100)
    expected[550:560, 1] = ramp(10, 9000)
    assert np.array_equal(read(tmp_path / "a.wav"), expected)


def test_pieces_longer_than_the_window_and_gaps_of_any_length(tmp_path: Path) -> None:
    file = StereoFile(tmp_path / "a.wav", RATE)
    long = ramp(3 * WINDOW + 17)
    file.put(0, 5, long)
    file.put(1, 10 * WINDOW, ramp(3))
    file.close()
    sound = read(tmp_path / "a.wav")
    assert len(sound) == 10 * WINDOW + 3
    assert np.array_equal(sound[5 : 5 + len(long), 0], long)
    assert np.array_equal(sound[-3:, 1], ramp(3))
    assert np.count_nonzero(sound) == len(long) + 3


def test_what_comes_too_late_is_lost_and_the_rest_of_it_is_not(tmp_path: Path) -> None:
    file = StereoFile(tmp_path / "a.wav", RATE)
    file.put(0, 0, ramp(WINDOW + 100))
    file.put(1, 0, ramp(200))
    file.put(1, -50, ramp(20))
    file.close()
    sound = read(tmp_path / "a.wav")
    assert not sound[:100, 1].any()
    assert np.array_equal(sound[100:200, 1], ramp(200)[100:])


def test_what_is_saved_can_be_read_while_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    file = StereoFile(path, RATE)
    assert len(read(path)) == 0
    file.put(0, 0, ramp(300))
    file.put(1, 0, ramp(200))
    file.save()
    assert np.array_equal(read(path), np.stack([ramp(200), ramp(200)], axis=1))
    file.put(1, 200, ramp(300))
    file.save()
    assert len(read(path)) == 300
    file.close()
    assert len(read(path)) == 500


def test_beyond_four_gigabytes(tmp_path: Path) -> None:
    frames = 2**30 + 12_345
    with (tmp_path / "a.wav").open("wb") as file:
        file.write(stereo.header(RATE, frames))
        file.truncate(HEADER_BYTES + 4 * frames - 4)
        file.seek(0, os.SEEK_END)
        file.write(np.array([11, 12], "<i2").tobytes())
    with soundfile.SoundFile(tmp_path / "a.wav") as sound:
        assert (sound.frames, sound.channels, sound.format) == (frames, 2, "RF64")
        sound.seek(frames - 1)
        assert sound.read(dtype="int16").tolist() == [[11, 12]]


@pytest.mark.parametrize("frames", [0, 1, (2**32 - 1 + 8 - HEADER_BYTES) // 4])
def test_below_it_is_a_plain_wave_file(frames: int) -> None:
    assert stereo.header(RATE, frames).startswith(b"RIFF")
    assert len(stereo.header(RATE, frames)) == HEADER_BYTES
    assert stereo.header(RATE, 2**30).startswith(b"RF64")
