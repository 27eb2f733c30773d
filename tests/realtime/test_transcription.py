from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.realtime.harness import Server, only, sound, types

from vivavoce.realtime import events as wire
from vivavoce.realtime import facts
from vivavoce.realtime.drafts import Draft
from vivavoce.realtime.values import (
    SilenceVad,
    Transcription,
    TranscriptionAudio,
    TranscriptionInput,
    TranscriptionSession,
)


def update(kind="transcription", **session):
    return {"type": "session.update", "session": {"type": kind, **session}, "event_id": "mine"}


@pytest.fixture
def server():
    audio = TranscriptionAudio(input=TranscriptionInput(turn_detection=SilenceVad()))
    return Server(TranscriptionSession(id="sess_1", audio=audio))


def turn(server, *partials, final):
    server(wire.InputAudioBufferAppend(audio=sound(500)), facts.Started(320))
    item_id = server.half.speaking
    heard = server(*(facts.Heard(item_id, words, final=False) for words in partials))
    assert not heard
    return server(wire.InputAudioBufferAppend(audio=sound(1500)), facts.Stopped(1900), facts.Heard(item_id, final))


def deltas(outputs):
    return [output.delta for output in outputs if isinstance(output, wire.TranscriptionDelta)]


def test_a_turn_is_heard_and_not_answered(server):
    assert types(turn(server, final="Hello.")) == [
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "Transcribe",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.completed",
    ]


def test_what_is_certain_is_shown_as_soon_as_there_is_an_item(server):
    outputs = turn(server, "What is the", "What is the time", final="What is the time?")
    assert deltas(outputs) == ["What is ", "the time?"]
    assert only(outputs, wire.TranscriptionCompleted).transcript == "What is the time?"


def test_what_was_shown_stands_also_in_the_item(server):
    outputs = turn(server, "He said so", "He said so again", final="She said so again.")
    whole = only(outputs, wire.TranscriptionCompleted)
    assert whole.transcript == "".join(deltas(outputs)) == "He said so again."
    (item,) = server({"type": "conversation.item.retrieve", "item_id": whole.item_id})
    assert item.item.content[0].transcript == whole.transcript


def test_results_after_the_commit_are_shown_as_they_come(server):
    server(update(audio={"input": {"turn_detection": None}}), wire.InputAudioBufferAppend(audio=sound(500)))
    item_id = only(server({"type": "input_audio_buffer.commit"}), wire.InputAudioBufferCommitted).item_id
    shown = [
        deltas(server(facts.Heard(item_id, words, final)))
        for words, final in [("one", False), ("one two", False), ("one two three", False), ("one two three", True)]
    ]
    assert shown == [[], [], ["one "], ["two three"]]


def test_there_are_no_answers(server):
    error = server.error({"type": "response.create", "event_id": "mine"})
    assert (error.type, error.code, error.param, error.event_id) == (
        "invalid_request_error",
        "invalid_value",
        "type",
        "mine",
    )


@pytest.mark.parametrize("kind", ["realtime", "translation", 5, None])
def test_a_session_stays_of_its_kind(server, kind):
    assert server.error(update(kind)).param == "session.type"


def test_a_realtime_session_does_not_become_one():
    error = Server().error(update(audio={"input": {"transcription": {"model": "whisper-1"}}}))
    assert (error.code, error.param) == ("invalid_value", "session.type")


@pytest.mark.parametrize(
    "patch", [{"instructions": "x"}, {"tools": []}, {"audio": {"output": {}}}, {"output_modalities": ["text"]}]
)
def test_it_has_nothing_to_say_with(server, patch):
    assert server.error(update(**patch)).code == "unknown_parameter"


def test_its_turns_have_no_consequences(server):
    error = server.error(update(audio={"input": {"turn_detection": {"create_response": True}}}))
    assert (error.code, error.param) == ("unknown_parameter", "session.audio.input.turn_detection.create_response")


def test_its_settings_are_echoed(server):
    (updated,) = server(update(audio={"input": {"transcription": {"language": "de"}}}))
    assert updated.session.audio.input.transcription == Transcription(language="de")
    assert updated.session.object == "realtime.transcription_session"


WORDS = st.lists(st.sampled_from(["one", "two", "three"]), max_size=5).map(" ".join)


@given(st.lists(WORDS, max_size=5), WORDS)
def test_a_draft_only_grows(partials, final):
    draft = Draft()
    shown = ""
    for words in partials:
        draft.hear(words)
        shown += draft.show()
    assert draft.shown == shown
    assert draft.end(final).startswith(shown)
    if final.startswith(shown):
        assert draft.end(final) == final
