from __future__ import annotations

import json
from typing import Any

import pytest
from tests.realtime.harness import Server, new_session, only, sound, types

from vivavoce.realtime import events as wire
from vivavoce.realtime import facts
from vivavoce.realtime.errors import ProtocolError
from vivavoce.realtime.events import MAX_AUDIO_BYTES
from vivavoce.realtime.server import KEPT_BEFORE_SPEECH_MS, MAX_BUFFER_MS, Ids
from vivavoce.realtime.values import Extensions, InputAudio, Pcma, Transcription

SAID = "A skylark is a small brown bird."


def update(**session):
    return {"type": "session.update", "session": {"type": "realtime", **session}}


def detection(**changes):
    return update(audio={"input": {"turn_detection": changes or None}})


def append(ms):
    return wire.InputAudioBufferAppend(audio=sound(ms))


def text(words="Hello.", **place):
    content = [{"type": "input_text", "text": words}]
    return {
        "type": "conversation.item.create",
        "item": {"type": "message", "role": "user", "content": content},
        **place,
    }


def create(**response):
    return {"type": "response.create", "response": response}


def turn(server, start=320, stop=1900, heard="Hello."):
    """One spoken turn after 300 ms of padding; returns what the end of the turn set off."""
    server(append(start + 200), facts.Started(start), append(stop - start))
    item_id = server.half.speaking
    ended = server(facts.Stopped(stop))
    return ended if heard is None else [*ended, *server(facts.Heard(item_id, heard))]


def speak(server, response_id, *sentences):
    for words, ms in sentences:
        server(facts.Said(response_id, words), facts.Spoke(response_id, sound(ms)))


@pytest.fixture
def server():
    return Server()


def settings(server):
    return server.half.session


# Start and settings


def test_first_frame(server):
    assert types(server.greeting) == ["session.created"]
    assert server.greeting[0].session.id == "sess_1"


def test_an_update_echoes_what_is_in_effect(server):
    (updated,) = server(update(instructions="Be brief.", model="other", id="x", expires_at=5, object="y"))
    assert updated.session == settings(server)
    assert (updated.session.instructions, updated.session.model, updated.session.id) == ("Be brief.", "test", "sess_1")


def test_a_session_has_a_type(server):
    error = server.error({"type": "session.update", "session": {}, "event_id": "mine"})
    assert (error.code, error.param, error.event_id) == ("missing_required_parameter", "session.type", "mine")


@pytest.mark.parametrize("side", ["input", "output"])
@pytest.mark.parametrize(("rate", "code"), [(16000, "integer_below_min_value"), (44100, "integer_above_max_value")])
def test_pcm_has_24_000_samples_a_second(server, side, rate, code):
    sound_format = {"type": "audio/pcm", "rate": rate}
    error = server.error(update(audio={side: {"format": sound_format}}))
    assert (error.code, error.param) == (code, f"session.audio.{side}.format.rate")
    error = server.error(create(audio={"output": {"format": sound_format}}))
    assert (error.code, error.param) == (code, "response.audio.output.format.rate")


@pytest.mark.parametrize("modalities", [[], ["text", "audio"]])
def test_there_is_one_modality(server, modalities):
    assert server.error(update(output_modalities=modalities)).param == "session.output_modalities"
    assert server.error(create(output_modalities=modalities)).param == "response.output_modalities"


def test_the_voice_stays_once_it_was_heard(server):
    server(text(), create(), update(audio={"output": {"voice": "first"}}))
    speak(server, "resp_1", ("Hello.", 100))
    assert server.error(update(audio={"output": {"voice": "other"}})).code == "cannot_update_voice"
    server(update(audio={"output": {"voice": "first"}}, instructions="Go on."))


def test_a_change_of_settings_does_not_drop_the_open_turn(server):
    server(append(500), facts.Started(300), update(instructions="x"), detection())
    server(append(500))
    committed = server(facts.Stopped(1000))
    assert types(committed)[:2] == ["input_audio_buffer.speech_stopped", "input_audio_buffer.committed"]
    assert "response.created" not in types(committed)
    assert only(committed, facts.Transcribe).audio == sound(1000)


def test_a_change_of_format_forgets_the_sound(server):
    server(detection(), append(500))
    server(update(audio={"input": {"format": {"type": "audio/pcm", "rate": 24000, "channels": 1}}}))
    assert server.half._buffer.length_ms == 500
    server(update(audio={"input": {"format": {"type": "audio/pcmu"}}}))
    server(
        wire.InputAudioBufferAppend(audio=b"\xff" * 801), update(audio={"input": {"format": {"type": "audio/pcma"}}})
    )
    assert server.half._buffer.length_ms == 0
    server(wire.InputAudioBufferAppend(audio=b"\xd5" * 801))
    transcribe = only(server({"type": "input_audio_buffer.commit"}), facts.Transcribe)
    assert transcribe.format == Pcma()


# The user's turn


def test_a_turn_in_order(server):
    server(update(audio={"input": {"transcription": {"model": "whisper-1"}}}), append(500))
    assert types(server(facts.Started(320))) == ["input_audio_buffer.speech_started", "Listen"]
    server(append(1500))
    assert types(server(facts.Stopped(1900))) == [
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "Transcribe",
        "response.created",
    ]
    transcription = "conversation.item.input_audio_transcription"
    assert types(server(facts.Heard("item_1", "Hello."))) == [
        f"{transcription}.delta",
        f"{transcription}.completed",
        "Generate",
    ]


@pytest.mark.parametrize("padding", [0, 300, 500])
def test_a_turn_holds_its_padding_and_nothing_after_its_end(server, padding):
    server(detection(type="server_vad", prefix_padding_ms=padding), append(1000))
    (started, listen) = server(facts.Started(800))
    assert started.audio_start_ms == listen.start_ms == 800 - padding
    server(append(1000))
    stopped = server(facts.Stopped(1500))
    assert only(stopped, wire.SpeechStopped).audio_end_ms == 1500
    assert len(only(stopped, facts.Transcribe).audio) == len(sound(700 + padding))


def test_semantic_detection_pads_likewise(server):
    server(detection(type="semantic_vad"), append(1000))
    assert only(server(facts.Started(800)), wire.SpeechStarted).audio_start_ms == 500


def test_several_turns_in_one_long_append(server):
    server(append(60_000))
    first = [*server(facts.Started(1000)), *server(facts.Stopped(3000))]
    second = [*server(facts.Started(10_000)), *server(facts.Stopped(11_000))]
    assert [only(out, wire.SpeechStarted).audio_start_ms for out in (first, second)] == [700, 9700]
    assert [len(only(out, facts.Transcribe).audio) / 48 for out in (first, second)] == [2300, 1300]


def test_two_turns_share_no_sound(server):
    turn(server)
    (started, *_) = server(facts.Started(1950))
    assert started.audio_start_ms == 1900


def test_sound_before_speech_is_forgotten(server):
    for _ in range(100):
        server(append(100))
    assert server.half._buffer.length_ms <= 300 + KEPT_BEFORE_SPEECH_MS + 100


def test_push_to_talk_keeps_the_sound_up_to_a_limit(server):
    server(detection())
    for _ in range(MAX_BUFFER_MS // 60_000 + 1):
        server(append(60_000))
    assert server.error(append(20)).code == "input_audio_buffer_full"
    assert types(server({"type": "input_audio_buffer.clear"})) == ["input_audio_buffer.cleared"]
    assert server(append(20)) == []


@pytest.mark.parametrize(
    ("audio", "code"), [(bytes(MAX_AUDIO_BYTES + 2), "string_above_max_length"), (bytes(3), "invalid_value")]
)
def test_sound_that_is_refused(server, audio, code):
    with pytest.raises(ProtocolError) as wrong:
        server.half._append(wire.InputAudioBufferAppend(audio=audio))
    assert (wrong.value.code, wrong.value.param) == (code, "audio")


def test_push_to_talk_in_order(server):
    server(detection(), append(99))
    assert "only has 99.00ms" in server.error({"type": "input_audio_buffer.commit"}).message
    server(append(1))
    committed = server({"type": "input_audio_buffer.commit"})
    assert types(committed) == [
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "Transcribe",
    ]
    assert committed[1].item.content == (InputAudio(transcript=None),)
    assert types(server(create())) == ["response.created"]
    assert types(server(facts.Heard("item_1", "Hello."))) == ["Generate"]


def test_a_commit_without_speech_is_empty_under_detection(server):
    server(append(5000))
    error = server.error({"type": "input_audio_buffer.commit", "event_id": "mine"})
    assert (error.code, error.event_id) == ("input_audio_buffer_commit_empty", "mine")
    assert "only has 0.00ms" in error.message


def test_a_commit_amid_speech_ends_the_turn_without_an_answer(server):
    server(append(500), facts.Started(300))
    assert types(server({"type": "input_audio_buffer.commit"}))[0] == "input_audio_buffer.committed"
    assert server(facts.Stopped(600)) == []


def test_clearing_amid_speech_forgets_the_turn(server):
    server(append(500), facts.Started(300))
    assert types(server({"type": "input_audio_buffer.clear"})) == ["Forget", "input_audio_buffer.cleared"]
    assert server(facts.Stopped(600)) == []
    assert server.half.speaking is None


def test_a_second_start_and_a_pause_say_nothing(server):
    server(append(500), facts.Started(300))
    assert server(facts.Started(310), facts.Paused(320)) == []


@pytest.mark.parametrize(
    "change", [{"create_response": False}, {"type": "semantic_vad", "create_response": False}], ids=str
)
def test_a_turn_without_an_answer(server, change):
    server(detection(**change))
    assert "response.created" not in types(turn(server))


# What the user said


@pytest.mark.parametrize("wanted", [True, False])
def test_the_transcript_is_only_told_to_those_who_ask(wanted):
    transcription = Transcription(model="whisper-1") if wanted else None
    session = new_session()
    audio = session.audio.__class__(
        input=session.audio.input.__class__(
            turn_detection=session.audio.input.turn_detection, transcription=transcription
        )
    )
    server = Server(new_session(audio=audio))
    outputs = turn(server, heard="What now?")
    completed: list[Any] = [output for output in outputs if isinstance(output, wire.TranscriptionCompleted)]
    assert [(one.transcript, one.usage.seconds) for one in completed] == [("What now?", 1.88)] * wanted
    assert only(outputs, facts.Generate).prompt.messages[0].text == "What now?"


def test_partials_are_only_told_to_those_who_ask_and_while_they_count():
    asked, other = Server(new_session(vivavoce=Extensions(partials=True))), Server()
    for server, told in ((asked, ["vivavoce.input_transcript.partial"]), (other, [])):
        server(append(500), facts.Started(300))
        assert types(server(facts.Heard("item_1", "Wh", final=False))) == told
        assert server(facts.Heard("nowhere", "Wh", final=False)) == []
        server(append(500), facts.Stopped(600))
        assert types(server(facts.Heard("item_1", "What", final=False))) == told
        server(facts.Heard("item_1", "What now?"))
        assert server(facts.Heard("item_1", "What", final=False)) == []


def test_nothing_heard_is_answered_by_nothing(server):
    server(update(audio={"input": {"transcription": {"model": "whisper-1"}}}))
    assert types(turn(server, heard=""))[-3:] == [
        "conversation.item.input_audio_transcription.completed",
        "response.done",
        "rate_limits.updated",
    ]
    assert server.order.done == {"resp_1"}


def test_what_cannot_be_transcribed_fails_its_response(server):
    server(update(audio={"input": {"transcription": {"model": "whisper-1"}}}))
    turn(server, heard=None)
    (failed, done, _) = server(facts.Unheard("item_1", "stt_failed", "Broken."))
    assert failed.error == {"type": "server_error", "code": "stt_failed", "message": "Broken."}
    assert (done.response.status, done.response.status_details.error.code) == ("failed", "stt_failed")
    assert server(facts.Heard("item_1", "Late."), facts.Unheard("item_1", "x", "y")) == []


@pytest.mark.parametrize("ending", ["stop", "commit"])
def test_a_verdict_before_the_end_of_the_turn_waits_for_it(server, ending):
    server(update(audio={"input": {"transcription": {"model": "whisper-1"}}}), append(500), facts.Started(300))
    assert server(facts.Unheard("item_1", "stt_failed", "Broken.")) == []
    ended = server(facts.Stopped(500) if ending == "stop" else {"type": "input_audio_buffer.commit"})
    assert isinstance(only(ended, wire.TranscriptionFailed), wire.TranscriptionFailed)
    if ending == "stop":
        assert only(ended, wire.ResponseDone).response.status == "failed"
    assert not server.half._awaited


def test_a_second_verdict_is_late(server):
    turn(server, heard="One.")
    assert server(facts.Heard("item_1", "Two.")) == []
    assert server.prompt()[0].text == "One."


def test_an_answer_waits_for_everything_that_was_said(server):
    server(detection(type="server_vad", create_response=False))
    turn(server, heard=None)
    turn(server, 2300, 2900, heard=None)
    server(create())
    assert server(facts.Heard("item_2", "Two.")) == []
    (generate,) = server(facts.Unheard("item_1", "x", "y"))
    assert [message.text for message in generate.prompt.messages] == ["Two."]


def test_sound_in_an_item_is_transcribed(server):
    part = {"type": "input_audio", "audio": "AAAA" * 100}
    item = {"type": "message", "role": "user", "content": [part, {"type": "input_text", "text": ""}]}
    (added, done, transcribe) = server({"type": "conversation.item.create", "item": item})
    assert added.item.content[0] == done.item.content[0] == InputAudio()
    assert transcribe.audio == bytes(300)
    server(create())
    assert types(server(facts.Heard("item_1", "Hello."))) == ["Generate"]
    retrieved = only(
        server({"type": "conversation.item.retrieve", "item_id": "item_1"}), wire.ConversationItemRetrieved
    )
    assert retrieved.item.content[0] == InputAudio(audio=bytes(300), transcript="Hello.")


# Items


@pytest.mark.parametrize(
    "item_id", ["0123456789abcdef0123456789abcdef", "item_0123456789ab", "pydantic_ai_item_0", "with space"]
)
def test_ids_of_clients_are_kept(server, item_id):
    item = text()["item"] | {"id": item_id}
    (added, done) = server({"type": "conversation.item.create", "item": item, "previous_item_id": "root"})
    assert added.item.id == done.item.id == item_id


def test_an_id_that_is_taken_is_refused(server):
    server(append(500), facts.Started(300), text())
    for taken in ("item_1", "item_2"):
        item = text()["item"] | {"id": taken}
        error = server.error({"type": "conversation.item.create", "item": item})
        assert (error.code, error.param) == ("invalid_value", "item.id")


def test_an_id_that_a_client_has_guessed_is_not_given_again(server):
    server({"type": "conversation.item.create", "item": text()["item"] | {"id": "item_1"}})
    (added, _) = server(text())
    assert added.item.id == "item_2"


def test_all_items_of_a_history_are_taken(server):
    """livekit tells a new session what was said in the last one."""
    items = [
        {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "Be kind."}]},
        {"type": "message", "role": "assistant", "content": [{"type": "audio", "transcript": "Hello."}]},
        {"type": "message", "role": "assistant", "status": "incomplete", "content": [{"type": "text", "text": "Bye."}]},
        {"type": "function_call", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "x"},
        {"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": "data:"}]},
    ]
    for item in items:
        (added, done) = server({"type": "conversation.item.create", "item": item})
        assert added.item.status == done.item.status == "completed"
    assert [message.role for message in server.prompt()] == ["system", "assistant", "assistant", "tool"]


def test_a_reference_is_no_item(server):
    error = server.error({"type": "conversation.item.create", "item": {"type": "item_reference", "id": "x"}})
    assert error.param == "item.type"


def test_an_item_that_grows_can_be_seen_deleted_and_truncated(server):
    turn(server)
    speak(server, "resp_1", (SAID, 2000))
    (shown,) = server({"type": "conversation.item.retrieve", "item_id": "item_2"})
    assert (shown.item.status, shown.item.content) == ("in_progress", ())
    cut = {"type": "conversation.item.truncate", "item_id": "item_2", "content_index": 0, "audio_end_ms": 700}
    (truncated,) = server(cut)
    assert truncated.audio_end_ms == 700
    assert [message.text for message in server.prompt()] == ["Hello.", "A skylark"]
    speak(server, "resp_1", (" It sings.", 900))
    server({"type": "conversation.item.delete", "item_id": "item_2"})
    assert server.error(cut).code == "item_truncate_invalid_item_id"
    assert "conversation.item.done" not in types(server(facts.Finished(response_id="resp_1")))
    assert [message.text for message in server.prompt()] == ["Hello."]


def test_text_that_is_being_written_is_not_truncated(server):
    server(update(output_modalities=["text"]), text(), create(), facts.Said("resp_1", "Well,"))
    cut = {"type": "conversation.item.truncate", "item_id": "item_2", "content_index": 0, "audio_end_ms": 700}
    assert server.error(cut).code is None


# Responses


def test_an_answer_in_writing_in_order(server):
    server(update(output_modalities=["text"]), text())
    assert types(server(create())) == ["response.created", "Generate"]
    assert types(server(facts.Said("resp_1", "Hello."))) == [
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_text.delta",
    ]
    assert types(server(facts.Finished(response_id="resp_1", input_tokens=3, output_tokens=2, cached_tokens=1))) == [
        "response.output_text.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
        "rate_limits.updated",
    ]


@pytest.mark.parametrize(
    ("event", "modality"),
    [
        ({"type": "response.create"}, "audio"),
        ({"type": "response.create", "response": None}, "audio"),
        (create(instructions=None, metadata={"client_event_id": "x"}), "audio"),
        (create(modalities=["audio", "text"], conversation="default"), "audio"),
        (create(output_modalities=["text"], temperature=0.8), "text"),
    ],
)
def test_what_stock_clients_send_to_get_an_answer(server, event, modality):
    (created, generate) = server(event)
    assert created.response.output_modalities == (modality,)
    assert generate.spoken is (modality == "audio")


def test_a_response_takes_its_own_settings_before_those_of_the_session(server):
    tool = {"type": "function", "name": "look", "parameters": '{"type": "object"}'}
    bad = [{"type": "function", "name": name, "parameters": schema} for name, schema in [("a", "{"), ("b", None)]]
    remote = {"type": "mcp", "server_label": "x", "server_url": "https://x"}
    server(update(instructions="Be brief.", tools=[tool, remote], max_output_tokens=9))
    own = only(server(create(conversation="none")), facts.Generate).prompt
    assert (own.instructions, own.max_output_tokens, own.tool_choice) == ("Be brief.", 9, "auto")
    assert [(tool.name, tool.parameters) for tool in own.tools] == [("look", {"type": "object"})]
    response = {
        "conversation": "none",
        "instructions": "Be long.",
        "tools": bad,
        "tool_choice": {"type": "function", "name": "a"},
        "max_output_tokens": "inf",
        "parallel_tool_calls": False,
        "audio": {"output": {"voice": "other", "format": {"type": "audio/pcmu"}}},
    }
    generate = only(server(create(**response)), facts.Generate)
    prompt = generate.prompt
    assert (prompt.instructions, prompt.max_output_tokens, prompt.tool_choice) == ("Be long.", None, "a")
    assert {tool.name: tool.parameters for tool in prompt.tools} == {
        "a": {"type": "object", "properties": {}},
        "b": {"type": "object", "properties": {}},
    }
    assert prompt.parallel_tool_calls is False
    assert (generate.voice, generate.format.rate) == ("other", 8000)
    choice = {"type": "mcp", "server_label": "x"}
    assert only(server(create(conversation="none", tool_choice=choice)), facts.Generate).prompt.tool_choice == "auto"


def test_usage_counts_sound_and_text(server):
    turn(server, 320, 2020)
    speak(server, "resp_1", ("Hello.", 1000))
    done = only(
        server(facts.Finished(response_id="resp_1", input_tokens=30, output_tokens=8, cached_tokens=5)),
        wire.ResponseDone,
    )
    usage = done.response.usage
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (50, 28, 78)
    assert usage.input_token_details.audio_tokens == 20
    assert usage.input_token_details.cached_tokens == 5
    assert usage.output_token_details.audio_tokens == 20


@pytest.mark.parametrize(
    ("fact", "status", "details"),
    [
        ({}, "completed", None),
        ({"truncated": True}, "incomplete", "max_output_tokens"),
        ({"error": ("llm_failed", "Broken.")}, "failed", None),
    ],
)
def test_how_a_response_ends(server, fact, status, details):
    server(text(), create(metadata={"a": "b"}))
    speak(server, "resp_1", ("Hello.", 100))
    response = only(server(facts.Finished(response_id="resp_1", **fact)), wire.ResponseDone).response
    assert (response.status, response.metadata) == (status, {"a": "b"})
    assert response.output[0].status == ("completed" if status == "completed" else "incomplete")
    if details:
        assert response.status_details.reason == details
    if status == "failed":
        assert (response.status_details.error.code, response.status_details.error.message) == ("llm_failed", "Broken.")


def test_one_response_at_a_time(server):
    server(text(), create())
    error = server.error(create() | {"event_id": "mine"})
    assert (error.code, error.event_id) == ("conversation_already_has_active_response", "mine")
    assert "resp_1" in error.message
    server(create(conversation="none"))
    assert set(server.order.open) == {"resp_1", "resp_2"}


def test_cancelling(server):
    assert server.error({"type": "response.cancel"}).message.startswith("Cancellation failed")
    server(text(), create(), create(conversation="none"))
    for cancel, response_id in (({}, "resp_1"), ({"response_id": "resp_2"}, "resp_2")):
        outputs = server({"type": "response.cancel", **cancel})
        assert outputs[0] == facts.Cancel(response_id)
        assert only(outputs, wire.ResponseDone).response.status_details.reason == "client_cancelled"
        assert (
            server.error({"type": "response.cancel", "response_id": response_id}).code == "response_cancel_not_active"
        )


def test_what_comes_late_is_ignored(server):
    server(text(), create(), {"type": "response.cancel"})
    for name in ("resp_1", "nowhere"):
        late = (facts.Said(name, "a"), facts.Spoke(name, sound(20)), facts.Called(name, "a", "{}"))
        assert server(*late, facts.Finished(response_id=name)) == []
    assert not server.half._spoke


def test_timings_are_only_told_to_those_who_ask_and_in_time():
    fact = facts.Timed(wire.ResponseTimings(response_id="resp_1", total_ms=5))
    asked, other = Server(new_session(vivavoce=Extensions(timings=True))), Server()
    for server, told in ((asked, ["vivavoce.response.timings"]), (other, [])):
        server(text(), create())
        assert types(server(fact)) == told
        assert types(server(fact)) == told
        server(facts.Finished(response_id="resp_1"))
        assert server(fact) == []
    assert fact.timings.event_id == ""


def test_out_of_band_answers_may_refer_to_speech_that_is_still_transcribed(server):
    server(detection(type="server_vad", create_response=False))
    turn(server, heard=None)
    refer = {"type": "item_reference", "id": "item_1"}
    assert server.error(create(input=[refer | {"id": "nowhere"}])).param == "response.input"
    (created,) = server(create(conversation="none", input=[refer, text("In short?")["item"]]))
    assert created.response.conversation_id is None
    (generate,) = server(facts.Heard("item_1", "A long story."))
    assert [message.text for message in generate.prompt.messages] == ["A long story.", "In short?"]
    assert server.prompt(input=[]) == ()


def test_what_was_deleted_meanwhile_is_left_out(server):
    server(detection(type="server_vad", create_response=False), text("Gone."))
    turn(server, heard=None)
    server(create(), {"type": "conversation.item.delete", "item_id": "item_1"})
    (generate,) = server(facts.Heard("item_2", "Here."))
    assert [message.text for message in generate.prompt.messages] == ["Here."]


# Interruption


def test_barge_in_in_order(server):
    turn(server)
    speak(server, "resp_1", (SAID, 2000))
    server(append(500))
    assert types(server(facts.Started(2300))) == [
        "input_audio_buffer.speech_started",
        "Listen",
        "Cancel",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
        "rate_limits.updated",
    ]
    assert server.order.done == {"resp_1"}


def test_barge_in_leaves_other_answers_alone(server):
    turn(server)
    server(create(conversation="none"), append(500), facts.Started(2300))
    assert set(server.order.open) == {"resp_2"}


@pytest.mark.parametrize(
    ("heard_ms", "memory"),
    [
        (0, []),
        (999, ["A skylark is a"]),
        (2000, [SAID]),
        (2600, [SAID + " It sings"]),
        (60_000, [SAID + " It sings while flying."]),
    ],
)
def test_what_was_not_heard_is_not_remembered(server, heard_ms, memory):
    turn(server)
    speak(server, "resp_1", (SAID, 2000), (" It sings while flying.", 1500))
    server(facts.Said("resp_1", " Nobody heard this."), append(500), facts.Started(2300))
    server({"type": "conversation.item.truncate", "item_id": "item_2", "content_index": 0, "audio_end_ms": heard_ms})
    server(append(500), facts.Stopped(2800))
    (generate,) = server(facts.Heard("item_3", "Go on."))
    said = [message.text for message in generate.prompt.messages if message.role == "assistant"]
    assert said == memory


def test_without_interruption_the_turn_is_answered_afterwards(server):
    server(detection(type="server_vad", interrupt_response=False))
    turn(server)
    speak(server, "resp_1", (SAID, 2000))
    assert "response.created" not in types(turn(server, 2300, 3000, heard="And then?"))
    outputs = server(facts.Finished(response_id="resp_1"))
    assert types(outputs)[-3:] == ["rate_limits.updated", "response.created", "Generate"]
    assert outputs[-1].item_id == "item_3"


def test_a_turn_that_was_deleted_is_not_answered_afterwards(server):
    server(detection(type="server_vad", interrupt_response=False))
    turn(server)
    turn(server, 2300, 3000)
    server({"type": "conversation.item.delete", "item_id": "item_2"})
    assert types(server(facts.Finished(response_id="resp_1")))[-1] == "rate_limits.updated"


def test_a_new_turn_takes_the_place_of_one_that_waits(server):
    server(detection(type="server_vad", interrupt_response=False))
    turn(server)
    turn(server, 2300, 3000)
    server(detection(interrupt_response=True), append(500))
    assert "response.created" not in types(server(facts.Started(3300)))
    assert not server.order.open


# Time and names


def test_a_session_expires_once():
    server = Server(now=5.0, lifetime=60.0)
    assert server.half.deadline() == 65.0
    assert server(facts.Tick(), now=64.9) == []
    (error, close) = server(facts.Tick(), now=65.0)
    assert (error.error.code, error.error.event_id, close.code) == ("session_expired", None, 1001)
    assert server.half.deadline() is None
    assert server(facts.Tick(), now=99.0) == []
    assert Server().half.deadline() is None


def test_ids_are_unique_and_named_by_their_kind():
    mint, other = Ids("ab12"), Ids("cd34")
    minted = [mint("item"), mint("item"), other("item"), mint("resp")]
    assert len(set(minted)) == 4
    assert all(name.startswith(("item_", "resp_")) for name in minted)
    assert json.dumps(minted).isascii()
