"""The 25 rules that stock clients depend on; `protocol.md` has the evidence for each."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.realtime.harness import Server, new_session, only, sound, types

from vivavoce.realtime import events as wire
from vivavoce.realtime import facts
from vivavoce.realtime.values import Audio, AudioInput, ServerVad, Transcription

CREATE = {"type": "response.create"}
CALL = facts.Called("resp_1", "get_weather", '{"city": "Rome"}', "call_1")


def update(**session: Any) -> dict[str, Any]:
    return {"type": "session.update", "session": {"type": "realtime", **session}, "event_id": "mine"}


def text(**item: Any) -> dict[str, Any]:
    part = {"type": "input_text", "text": "Hello."}
    return {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": [part], **item}}


def raw(outputs: list[Any]) -> list[dict[str, Any]]:
    return [json.loads(wire.encode(output)) for output in outputs if isinstance(output, wire.ServerEvent)]


def effective(server: Server, **session: Any) -> dict[str, Any]:
    (updated,) = raw(server(update(**session)))
    told: dict[str, Any] = updated["session"]
    return told


def spoken(server: Server, words: str = "Hello.", ms: float = 1000) -> list[Any]:
    said = facts.Said("resp_1", words), facts.Spoke("resp_1", sound(ms))
    return server(CREATE, *said, facts.Finished(response_id="resp_1", input_tokens=3, output_tokens=2))


def turn(server: Server) -> list[Any]:
    server(wire.InputAudioBufferAppend(audio=sound(2000)), facts.Started(320))
    item_id = server.half.speaking
    return server(facts.Stopped(1900), facts.Heard(str(item_id), "Hello."))


@pytest.fixture
def server() -> Server:
    return Server()


def test_rule_1_every_frame_has_an_id_of_its_own(server: Server) -> None:
    frames = raw([*server.greeting, *turn(server), *server({"type": "response.cancel"}, {"type": "response.cancel"})])
    assert frames[-1]["type"] == "error"
    assert len({frame["event_id"] for frame in frames}) == len(frames)


def test_rule_2_first_comes_the_session_and_nothing_else(server: Server) -> None:
    assert types(server.greeting) == ["session.created"]


def test_rule_3_the_effective_session_is_echoed_merged_deeply_or_refused_whole(server: Server) -> None:
    told = effective(server, audio={"input": {"turn_detection": {"threshold": 0.8}}})
    detection = told["audio"]["input"]["turn_detection"]
    assert (detection["type"], detection["threshold"], detection["silence_duration_ms"]) == ("server_vad", 0.8, 400)
    assert server.error(update(instructions="Lost.", tool_choice=5)).event_id == "mine"
    assert effective(server)["instructions"] == ""


def test_rule_4_what_is_not_there_is_left_out_instead_of_null(server: Server) -> None:
    # The harness looks for the nulls that clients trip over in every frame of every test.
    failed = server(update(audio={"input": {"transcription": {}}}), wire.InputAudioBufferAppend(audio=sound(2000)))
    failed = server(facts.Started(320), facts.Stopped(1900), facts.Unheard("item_1", "stt_failed", "It broke."))
    assert only(failed, wire.TranscriptionFailed).error["code"] == "stt_failed"
    assert "logprobs" not in raw(failed)[-2]


def test_rule_5_sound_is_echoed_as_24_000_samples_a_second(server: Server) -> None:
    session = raw(server.greeting)[0]["session"]
    assert {session["audio"][way]["format"]["rate"] for way in ("input", "output")} == {24000}
    created = raw(server(CREATE))[0]["response"]
    assert created["audio"]["output"]["format"]["rate"] == 24000


@pytest.mark.parametrize(
    ("sent", "echoed"),
    [
        ("none", "none"),
        ({"type": "auto"}, "auto"),
        ({"type": "function", "name": "f"}, {"type": "function", "name": "f"}),
        ({"type": "mcp", "server_label": "s"}, {"type": "mcp", "server_label": "s"}),
    ],
)
def test_rule_6_the_choice_of_tools_is_a_word_or_what_was_sent(server: Server, sent: Any, echoed: Any) -> None:
    assert effective(server, tool_choice=sent)["tool_choice"] == echoed


def test_rule_7_the_echo_of_transcription_holds_only_what_was_sent(server: Server) -> None:
    told = effective(server, audio={"input": {"transcription": {"model": "whisper-1"}}})
    assert told["audio"]["input"]["transcription"] == {"model": "whisper-1"}


def test_rule_8_a_voice_is_a_name(server: Server) -> None:
    assert effective(server, audio={"output": {"voice": {"id": "ash"}}})["audio"]["output"]["voice"] == "ash"


def test_rule_9_every_item_is_added_before_its_events(server: Server) -> None:
    frames = raw(server(CREATE, CALL))
    names = [frame["type"] for frame in frames]
    added = frames[names.index("conversation.item.added")]["item"]
    assert (added["call_id"], added["name"], added["arguments"]) == ("call_1", "get_weather", "")
    assert names.index("conversation.item.added") < names.index("response.function_call_arguments.delta")
    assert "conversation.item.done" in names


def test_rule_10_metadata_is_echoed_at_both_ends(server: Server) -> None:
    metadata = {"client_event_id": "x"}
    created = server(CREATE | {"response": {"metadata": metadata}})
    done = server(facts.Finished(response_id="resp_1"))
    assert only(created, wire.ResponseCreated).response.metadata == metadata
    assert only(done, wire.ResponseDone).response.metadata == metadata


@pytest.mark.parametrize("name", ["f" * 32, "item_0123456789ab", "pydantic_ai_item_0"])
def test_rule_11_ids_of_clients_are_kept(server: Server, name: str) -> None:
    assert only(server(text(id=name)), wire.ConversationItemAdded).item.id == name


def test_rule_12_an_item_comes_last_first_or_after_another(server: Server) -> None:
    server(text(id="a"), text(id="b") | {"previous_item_id": "root"}, text(id="c") | {"previous_item_id": "b"})
    assert [entry.id for entry in server.half.conversation] == ["b", "c", "a"]


@pytest.mark.parametrize("event_id", ["mine", None])
def test_rule_13_an_error_names_the_event(server: Server, event_id: str | None) -> None:
    assert server.error({"type": "response.cancel", "event_id": event_id}).event_id == event_id


@pytest.mark.parametrize(
    "harmless",
    [
        {"type": "input_audio_buffer.clear"},
        update(),
        update(temperature=0.8),
        update(audio={"input": {"transcription": None, "noise_reduction": None}}, tracing=None),
    ],
)
def test_rule_14_harmless_things_are_no_errors(server: Server, harmless: dict[str, Any]) -> None:
    assert "error" not in types(server(harmless))


@pytest.mark.parametrize(("asked", "kept"), [(99_999, 1000), (400, 400), (-5, 0)])
def test_rule_15_a_truncation_beyond_the_end_is_the_end(server: Server, asked: int, kept: int) -> None:
    item_id = only(spoken(server), wire.OutputItemDone).item.id
    event = {"type": "conversation.item.truncate", "item_id": item_id, "content_index": 0, "audio_end_ms": asked}
    assert only(server(event), wire.ConversationItemTruncated).audio_end_ms == kept


def test_rule_16_every_item_can_be_retrieved_at_any_time(server: Server) -> None:
    server(text(), CREATE, facts.Said("resp_1", "Hi."), CALL)
    for entry in list(server.half.conversation):
        (told,) = server({"type": "conversation.item.retrieve", "item_id": entry.id})
        assert told.item.id == entry.id


@pytest.mark.parametrize("end", [facts.Finished(response_id="resp_1"), {"type": "response.cancel"}, facts.Started(0)])
def test_rule_17_every_response_is_done_once_and_everything_in_it(server: Server, end: Any) -> None:
    # The harness checks that added items are done, and that nothing follows.
    outputs = server(CREATE, facts.Said("resp_1", "Hi."), end, facts.Spoke("resp_1", sound(20)), CALL)
    assert types(outputs).count("response.done") == 1
    assert types(outputs).count("response.output_item.done") == 1


def test_rule_18_the_whole_is_the_sum_of_its_deltas(server: Server) -> None:
    # The harness adds up all deltas of all tests.
    outputs = server(
        CREATE, facts.Said("resp_1", "One."), facts.Said("resp_1", " Two."), facts.Finished(response_id="resp_1")
    )
    assert only(outputs, wire.OutputAudioTranscriptDone).transcript == "One. Two."


@pytest.mark.parametrize(
    "settings",
    [
        {"audio": {"input": {"turn_detection": {"type": "semantic_vad", "interrupt_response": True}}}},
        {"audio": {"input": {"transcription": {"model": "gpt-4o-mini-transcribe"}}}},
        {"audio": {"input": {"transcription": {"model": "gpt-live-transcribe", "delay": "low"}}}},
        {"audio": {"input": {"noise_reduction": {"type": "far_field"}}, "output": {"speed": 1.2}}},
        {"tracing": "auto"},
        {"prompt": {"id": "pmpt_1", "version": "2", "variables": {"name": "x"}}},
        {"reasoning": {"effort": "none"}},
        {"include": ["item.input_audio_transcription.logprobs"]},
        {"truncation": {"type": "retention_ratio", "retention_ratio": 0.8}},
        {"max_output_tokens": "inf", "parallel_tool_calls": False},
    ],
)
def test_rule_19_what_sdks_ask_for_is_stored_and_echoed(settings: dict[str, Any]) -> None:
    _check_echo(effective(Server(strict=False), **settings), settings)


def _check_echo(told: Any, sent: Any) -> None:
    if isinstance(sent, dict):
        for name, value in sent.items():
            _check_echo(told[name], value)
    else:
        assert told == sent


@pytest.mark.parametrize(
    "response",
    [None, {"instructions": None}, {"modalities": ["audio", "text"]}, {"conversation": "default"}, {}],
)
def test_rule_20_answers_are_asked_for_in_many_ways(server: Server, response: Any) -> None:
    event = CREATE if response is None else CREATE | {"response": response}
    assert "Generate" in types(server(event))


def test_rule_21_a_barge_in_is_told_before_the_answer_is_closed(server: Server) -> None:
    server(wire.InputAudioBufferAppend(audio=sound(500)), CREATE, facts.Said("resp_1", "Hi."))
    cut = server(facts.Started(300))
    assert types(cut)[0] == "input_audio_buffer.speech_started"
    response = only(cut, wire.ResponseDone).response
    assert (response.status, response.status_details.reason) == ("cancelled", "turn_detected")


def test_rule_22_usage_is_always_there(server: Server) -> None:
    usage = only(spoken(server), wire.ResponseDone).response.usage
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (3, 22, 25)
    transcribing = Server(new_session(audio=_transcribed()))
    assert only(turn(transcribing), wire.TranscriptionCompleted).usage.seconds == 1.88


def _transcribed() -> Any:
    return Audio(input=AudioInput(transcription=Transcription(), turn_detection=ServerVad()))


def test_rule_23_tools_of_the_server_are_never_seen_called(server: Server) -> None:
    tools = [{"type": "function", "name": name} for name in ("web_search", "get_weather")]
    server(update(tools=tools, vivavoce={"hosted": ["web_search"]}))
    generate = only(server(CREATE), facts.Generate)
    assert [tool.name for tool in generate.prompt.tools] == ["get_weather"]
    assert server(facts.Called("resp_1", "web_search", "{}")) == []


# Rules 24 (sub-protocols) and 25 (TLS) are the socket's: tests/server/test_websocket.py and tests/server/test_app.py.
