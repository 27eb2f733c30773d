"""Speech over the answer, where the client asks for consideration: both halves, and nothing new for all others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.realtime.harness import Server, new_session, only, sound, types
from tests.realtime.test_client import answering
from tests.realtime.test_server import append, create, detection, speak, turn, update

from vivavoce.realtime import events as wire
from vivavoce.realtime import facts
from vivavoce.realtime.client import Duck, Hush, Interrupted, Lost, Typed, Unduck
from vivavoce.realtime.events import OverlapEnded, OverlapStarted
from vivavoce.realtime.server import LONGEST_OVERLAP_S, UNDECIDED_S
from vivavoce.realtime.values import Extensions

OVER = ["vivavoce.input_audio_buffer.overlap_started", "Listen"]
BEGUN = ["input_audio_buffer.speech_started", "Cancel"]


def answered(*, considerate=True, ends=False, words="It is late.", ms=4000):
    """A server whose answer to a first turn is being heard."""
    server = Server(new_session(vivavoce=Extensions(considerate=considerate)))
    response_id = only(turn(server), wire.ResponseCreated).response.id
    speak(server, response_id, (words, ms))
    if ends:
        server(facts.Finished(response_id=response_id))
    return server


def overlap(server, at=2200, ms=400):
    outputs = server(append(300), facts.Started(at), append(ms))
    return only(outputs, OverlapStarted).item_id, outputs


def judged(server, item_id, verdict):
    return server(facts.Overheard(item_id, verdict))


@pytest.mark.parametrize("ends", [False, True])
def test_words_that_are_meant_for_us_become_the_turn(ends):
    server = answered(ends=ends)
    item_id, outputs = overlap(server)
    assert types(outputs) == OVER
    begun = judged(server, item_id, "addressed")
    assert types(begun)[: 1 if ends else 2] == BEGUN[: 1 if ends else 2]
    assert (begun[0].item_id, begun[0].audio_start_ms) == (item_id, outputs[0].audio_start_ms)
    ended = server(append(1000), facts.Stopped(3600))
    assert only(ended, wire.InputAudioBufferCommitted).item_id == item_id
    whole = only(ended, facts.Transcribe).audio
    assert len(whole) == len(sound(3600 - outputs[0].audio_start_ms))
    assert len(types(server(facts.Heard(item_id, "And tomorrow?")))) == 1


@pytest.mark.parametrize("verdict", ["backchannel", "aside"])
def test_what_does_not_interrupt_leaves_no_trace(verdict):
    server = answered()
    items = list(server.order.items)
    item_id, _ = overlap(server)
    assert types(judged(server, item_id, verdict)) == ["vivavoce.input_audio_buffer.overlap_ended"]
    assert judged(server, item_id, verdict) == []
    assert server(facts.Heard(item_id, "Right.", final=False)) == []
    assert types(server(append(400), facts.Stopped(2900))) == ["Forget"]
    assert server(facts.Heard(item_id, "Right.")) == []
    assert server.half.speaking is None
    assert server.order.items == items


def test_a_sign_that_goes_on_is_a_turn_after_all():
    server = answered()
    item_id, outputs = overlap(server)
    judged(server, item_id, "backchannel")
    assert types(judged(server, item_id, "addressed"))[:2] == BEGUN
    assert server.half.speaking == item_id
    assert judged(server, item_id, "aside") == []
    ended = server(append(1500), facts.Stopped(3900))
    assert len(only(ended, facts.Transcribe).audio) == len(sound(3900 - outputs[0].audio_start_ms))


def test_a_sign_after_the_answer_is_an_answer():
    server = answered(ends=True, ms=500)
    item_id, _ = overlap(server, ms=200)
    judged(server, item_id, "backchannel")
    ended = server(append(900), facts.Stopped(3000))
    assert types(ended)[:2] == ["input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped"]
    assert "response.created" in types(ended)


@pytest.mark.parametrize(("words", "dropped"), [("It is late.", True), ("Shall I order pears?", False)])
def test_yes_near_the_end_of_a_question_answers_it(words, dropped):
    server = answered(ends=True, ms=1500, words=words)
    item_id, _ = overlap(server, ms=200)
    judged(server, item_id, "backchannel")
    assert ("Forget" in types(server(append(100), facts.Stopped(2400)))) is dropped


def test_a_noise_after_the_answer_is_none():
    server = answered(ends=True, ms=500)
    item_id, _ = overlap(server, ms=200)
    judged(server, item_id, "aside")
    assert types(server(append(900), facts.Stopped(3000))) == ["Forget"]


def test_what_nobody_could_judge_is_a_turn():
    server = answered()
    overlap(server)
    assert types(server(append(500), facts.Stopped(3000)))[:2] == BEGUN


def test_an_overlap_always_ends():
    server = answered()
    _, (begun, *_) = overlap(server)
    assert server.half.deadline() == UNDECIDED_S
    assert types(server(facts.Tick(), now=UNDECIDED_S)) == ["vivavoce.input_audio_buffer.overlap_ended"]
    assert server.half.deadline() == LONGEST_OVERLAP_S
    assert server(facts.Tick(), now=LONGEST_OVERLAP_S) == [facts.Forget(begun.item_id)]
    assert server.half.deadline() is None


def test_the_client_may_commit_or_clear_it():
    server = answered()
    item_id, _ = overlap(server)
    committed = server({"type": "input_audio_buffer.commit"})
    assert types(committed)[0] == "vivavoce.input_audio_buffer.overlap_ended"
    assert only(committed, wire.InputAudioBufferCommitted).item_id == item_id
    server = answered()
    overlap(server)
    cleared = types(server({"type": "input_audio_buffer.clear"}))
    assert cleared == ["vivavoce.input_audio_buffer.overlap_ended", "Forget", "input_audio_buffer.cleared"]


@pytest.mark.parametrize("ends", [False, True])
def test_a_client_that_silences_the_answer_is_listened_to(ends):
    server = answered(ends=ends)
    item_id, _ = overlap(server)
    (answer,) = (entry.id for entry in server.half.conversation if entry.item.role == "assistant")
    truncation = {"type": "conversation.item.truncate", "item_id": answer, "content_index": 0, "audio_end_ms": 100}
    told = server(truncation) if ends else server({"type": "response.cancel"})
    assert types(told)[-1] == "input_audio_buffer.speech_started"
    assert told[-1].item_id == item_id


@pytest.mark.parametrize(
    "change",
    [
        update(vivavoce={"considerate": False}),
        detection(type="server_vad", interrupt_response=False),
        detection(),
    ],
)
def test_settings_that_end_consideration_open_the_turn(change):
    server = answered()
    item_id, _ = overlap(server)
    told = server(change)
    assert types(told)[:2] == ["session.updated", "input_audio_buffer.speech_started"]
    assert told[1].item_id == item_id


@pytest.mark.parametrize("session", [{"considerate": False}, {"ms": 0}, {"ends": True, "ms": 100}])
def test_without_an_answer_to_speak_over_all_is_as_ever(session):
    server = answered(**session)
    assert types(server(append(1000), facts.Started(2200)))[:2] == ["input_audio_buffer.speech_started", "Listen"]


def test_text_is_not_spoken_over():
    server = Server(new_session(vivavoce=Extensions(considerate=True), output_modalities=("text",)))
    response_id = only(server(create()), wire.ResponseCreated).response.id
    server(facts.Said(response_id, "It is late."), append(1000))
    assert types(server(facts.Started(500)))[0] == "input_audio_buffer.speech_started"


FACTS = st.sampled_from(
    [
        ("append", 20),
        ("append", 700),
        (facts.Started, 2300),
        (facts.Stopped, 3000),
        ("spoke", 300),
        ("finished", 0),
        ("create", 0),
        ("overheard", "addressed"),
        ("overheard", "aside"),
    ]
)


@given(st.lists(FACTS, max_size=30), st.sampled_from([None, False]))
def test_those_who_do_not_ask_see_nothing_of_it(steps, considerate):
    """Whatever the engine should tell of an overlap, it changes nothing without the option."""
    extensions = {} if considerate is None else {"vivavoce": Extensions(considerate=considerate)}
    server = Server(new_session(**extensions))
    for kind, value in steps:
        match kind:
            case "append":
                server(append(value))
            case "spoke" if server.half._current:
                speak(server, server.half._current, ("Word.", value))
            case "finished" if server.half._current:
                server(facts.Finished(response_id=server.half._current))
            case "create" if not server.half._current:
                server(create())
            case "overheard":
                assert server(facts.Overheard(server.half.speaking or "item_1", value)) == []
            case facts.Started | facts.Stopped:
                assert not [told for told in types(server(kind(value))) if "overlap" in told]
            case _:
                pass


# The client's half


def started(client):
    return client(OverlapStarted(item_id="u", audio_start_ms=0))


def ended(client):
    return client(OverlapEnded(item_id="u"))


def test_the_client_falls_back_and_goes_on():
    client = answering()
    assert started(client) == [Duck()]
    assert started(client) == []
    assert client.state == "speaking"
    assert ended(client) == [Unduck()]
    assert ended(client) == []


def test_an_interruption_after_all_hushes():
    client = answering()
    started(client)
    assert types(client.started())[0] == "Hush"
    assert ended(client) == []


@pytest.mark.parametrize("interruption", [Interrupted(), Typed("Stop.")])
def test_the_person_need_not_wait_for_the_verdict(interruption):
    client = answering()
    started(client)
    assert Hush() in client(interruption)
    assert ended(client) == []


def test_nothing_to_fall_back_from():
    client = answering(done=True)
    client(Interrupted())
    assert started(client) == []
    assert ended(client) == []


def test_a_lost_connection_lets_the_answer_go_on():
    client = answering()
    client.said()
    started(client)
    assert client(Lost())[0] == Unduck()
