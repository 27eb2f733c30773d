from __future__ import annotations

import pytest
from tests.realtime.harness import BYTES_PER_MS, sound

from vivavoce.realtime.backlog import PREFIX_MS, QUIET_MS, SPEECH_MS, Backlog


@pytest.fixture
def backlog():
    return Backlog(BYTES_PER_MS)


def speak(backlog, ms, mark=0):
    for _ in range(ms // 100):
        backlog.add(bytes([mark, mark]) * (len(sound(100)) // 2))


def kept(backlog):
    return len(b"".join(backlog.again())) / BYTES_PER_MS


def test_quiet_is_kept_for_as_long_as_a_dead_connection_may_go_unnoticed(backlog):
    speak(backlog, 100_000)
    assert kept(backlog) == QUIET_MS


def test_an_open_turn_is_kept_from_a_little_before_its_start(backlog):
    speak(backlog, 3000)
    backlog.begin(2000)
    speak(backlog, 30_000)
    assert kept(backlog) == 31_000 + PREFIX_MS


def test_a_very_long_turn_is_kept_to_its_end(backlog):
    speak(backlog, 1000)
    backlog.begin(500)
    speak(backlog, 100_000)
    assert kept(backlog) == SPEECH_MS


def test_what_the_server_has_taken_is_returned_and_forgotten(backlog):
    speak(backlog, 2000, mark=1)
    backlog.begin(1000)
    speak(backlog, 2000, mark=2)
    backlog.add(b"\3\3")
    taken = backlog.end(4000)
    assert set(taken) == {1, 2}
    assert len(taken) == (3000 + PREFIX_MS) * BYTES_PER_MS
    assert b"".join(backlog.again()) == b"\3\3"


@pytest.mark.parametrize("ms", [None, 0, 900_000])
def test_times_that_cannot_be_are_not_believed(backlog, ms):
    speak(backlog, 2000)
    backlog.begin(ms)
    assert len(backlog.end(ms)) == 2000 * BYTES_PER_MS
    assert kept(backlog) == 0


def test_a_committed_turn_is_committed_again(backlog):
    backlog.begin()
    speak(backlog, 2000)
    backlog.commit()
    speak(backlog, 300)
    backlog.lose()
    assert len(list(backlog.again())) == 3, "a second each"
    assert backlog.committing
    assert len(backlog.end()) == 2300 * BYTES_PER_MS
    assert not backlog.committing


def test_without_a_connection_a_minute_is_kept_and_times_count_anew(backlog):
    speak(backlog, 5000)
    backlog.lose()
    speak(backlog, 90_000)
    assert kept(backlog) == SPEECH_MS
    backlog.begin(1000)
    assert kept(backlog) == SPEECH_MS - 1000 + PREFIX_MS
    backlog.clear()
    assert kept(backlog) == 0
