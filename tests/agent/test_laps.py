from __future__ import annotations

import pytest

from vivavoce.agent.laps import Laps
from vivavoce.realtime import events as wire
from vivavoce.realtime.client import Captured, Played, TurnTaken
from vivavoce.realtime.values import Extensions, Session

FRAME = bytes(960)
"""20 ms at 24 kHz."""


def part(kind, **what):
    return kind(response_id="r", item_id="i", output_index=0, **what)


def stopped(ms):
    return wire.SpeechStopped(item_id="u", audio_end_ms=ms)


class Watch:
    def __init__(self):
        self.laps = Laps(silence_ms=400, bytes_per_ms=48)

    def __call__(self, now, *things):
        reports = [self.laps.watch(now, each) for each in things]
        return next((report.timings for report in reports if report), None)


@pytest.fixture
def watch():
    return Watch()


def test_an_answer_is_timed_from_the_last_sample_of_speech(watch):
    watch(9.0, *[Captured(FRAME)] * 100)
    watch(9.1, stopped(1900))
    watch(9.3, part(wire.OutputAudioTranscriptDelta, delta="So."))
    watch(9.35, part(wire.OutputAudioTranscriptDelta, delta=" Well."))
    watch(9.4, part(wire.OutputAudioDelta, delta=FRAME))
    assert watch(9.4, Played("i", 0), Played("another", 20)) is None
    timings = watch(9.52, Played("i", 20))
    # 2,000 ms had been captured at 9.1 s, so that speech ended at 1,500 ms: half a second before.
    assert timings.total_ms == pytest.approx(900)
    assert (timings.waiting_ms, timings.first_token_ms, timings.synthesis_ms) == pytest.approx((500, 200, 200))
    assert watch(9.6, Played("i", 100)) is None


def test_a_turn_that_goes_on_is_not_timed(watch):
    watch(1.0, Captured(FRAME), stopped(20), wire.SpeechStarted(item_id="u", audio_start_ms=20))
    assert watch(2.0, part(wire.OutputAudioDelta, delta=FRAME), Played("i", 20)) is None


def test_a_turn_by_push_to_talk_ends_with_the_key(watch):
    watch(1.0, TurnTaken(), part(wire.OutputAudioDelta, delta=FRAME))
    assert watch(1.52, Played("i", 20)).total_ms == pytest.approx(500)


def test_a_server_that_tells_is_believed(watch):
    watch(1.0, wire.SessionUpdated(session=Session(vivavoce=Extensions(timings=True))), TurnTaken())
    assert watch(2.0, part(wire.OutputAudioDelta, delta=FRAME), Played("i", 20)) is None


def test_another_session_counts_its_sound_anew(watch):
    watch(1.0, *[Captured(FRAME)] * 100, wire.SessionCreated(session=Session()), *[Captured(FRAME)] * 30)
    watch(1.1, stopped(600), part(wire.OutputAudioDelta, delta=FRAME))
    assert watch(1.2, Played("i", 20)).waiting_ms == pytest.approx(400)
