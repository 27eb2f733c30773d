from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.realtime.buffer import InputBuffer

RATE = 16  # bytes a millisecond: each sample is two bytes, and says when it was
PIECES = st.lists(st.integers(0, 50), max_size=8)


def clock(start_ms, end_ms):
    """Sound whose samples count eighths of milliseconds."""
    return b"".join((n % 65536).to_bytes(2, "little") for n in range(start_ms * 8, end_ms * 8))


def filled(ms=100):
    buffer = InputBuffer(RATE * 1000)
    buffer.append(clock(0, ms))
    return buffer


@pytest.mark.parametrize(
    ("start", "end", "got", "left"),
    [
        (20, None, (20, 100), 100),
        (20, 60, (20, 60), 60),
        (-5, 500, (0, 100), 100),
        (60, 20, None, 20),
        (200, None, None, 100),
    ],
)
def test_taking_what_was_said_between_two_moments(start, end, got, left):
    buffer = filled()
    assert buffer.take(start, end) == (clock(*got) if got else b"")
    assert (buffer.start_ms, buffer.end_ms, buffer.length_ms) == (left, 100, 100 - left)
    assert buffer.take(0) == clock(left, 100)


@given(PIECES, st.lists(st.integers(-10, 300), max_size=8))
def test_time_goes_on_whatever_is_forgotten(pieces, drops):
    buffer, now = InputBuffer(RATE * 1000), 0
    for index, piece in enumerate(pieces):
        buffer.append(clock(now, now + piece))
        now += piece
        if index < len(drops):
            buffer.drop_before(drops[index])
        assert buffer.end_ms == now
        assert buffer.length_ms == buffer.end_ms - buffer.start_ms
    start = buffer.start_ms
    assert buffer.take(start) == clock(round(start), now)


def test_a_sample_is_never_cut_in_two():
    buffer = filled(10)
    assert len(buffer.take(3.3)) % 2 == 0


def test_another_rate_forgets_the_sound_and_keeps_the_time():
    buffer = filled()
    buffer.change_rate(8000)
    assert (buffer.start_ms, buffer.length_ms) == (100, 0)
    buffer.append(bytes(800))
    assert buffer.end_ms == 200
