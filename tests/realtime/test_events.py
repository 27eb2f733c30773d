from __future__ import annotations

import json
from contextlib import suppress
from typing import get_args

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.realtime.harness import openai_union
from tests.realtime.strategies import any_of

from vivavoce.realtime import events as wire
from vivavoce.realtime.errors import ProtocolError
from vivavoce.realtime.values import FunctionCall, Item, Message

CLIENT = {
    "session.update": {"session"},
    "input_audio_buffer.append": {"audio"},
    "input_audio_buffer.commit": set(),
    "input_audio_buffer.clear": set(),
    "output_audio_buffer.clear": set(),
    "conversation.item.create": {"item"},
    "conversation.item.retrieve": {"item_id"},
    "conversation.item.delete": {"item_id"},
    "conversation.item.truncate": {"item_id", "content_index", "audio_end_ms"},
    "response.create": set(),
    "response.cancel": set(),
}
PLACE = {"response_id", "item_id", "output_index"}
PART = PLACE | {"content_index"}
SPOKEN = {"item_id", "content_index"}
SERVER = {
    "session.created": {"session"},
    "session.updated": {"session"},
    "conversation.created": {"conversation"},
    "conversation.item.created": {"item"},
    "conversation.item.added": {"item"},
    "conversation.item.done": {"item"},
    "conversation.item.retrieved": {"item"},
    "conversation.item.deleted": {"item_id"},
    "conversation.item.truncated": {"item_id", "content_index", "audio_end_ms"},
    "conversation.item.input_audio_transcription.delta": {"item_id"},
    "conversation.item.input_audio_transcription.completed": SPOKEN | {"transcript", "usage"},
    "conversation.item.input_audio_transcription.segment": SPOKEN | {"id", "speaker", "start", "end", "text"},
    "conversation.item.input_audio_transcription.failed": SPOKEN | {"error"},
    "input_audio_buffer.speech_started": {"item_id", "audio_start_ms"},
    "input_audio_buffer.speech_stopped": {"item_id", "audio_end_ms"},
    "input_audio_buffer.committed": {"item_id"},
    "input_audio_buffer.cleared": set(),
    "input_audio_buffer.timeout_triggered": {"item_id", "audio_start_ms", "audio_end_ms"},
    "input_audio_buffer.dtmf_event_received": {"event", "received_at"},
    "output_audio_buffer.started": {"response_id"},
    "output_audio_buffer.stopped": {"response_id"},
    "output_audio_buffer.cleared": {"response_id"},
    "response.created": {"response"},
    "response.done": {"response"},
    "response.output_item.added": {"response_id", "output_index", "item"},
    "response.output_item.done": {"response_id", "output_index", "item"},
    "response.content_part.added": PART | {"part"},
    "response.content_part.done": PART | {"part"},
    "response.output_text.delta": PART | {"delta"},
    "response.output_text.done": PART | {"text"},
    "response.output_audio.delta": PART | {"delta"},
    "response.output_audio.done": PART,
    "response.output_audio_transcript.delta": PART | {"delta"},
    "response.output_audio_transcript.done": PART | {"transcript"},
    "response.function_call_arguments.delta": PLACE | {"call_id", "delta"},
    "response.function_call_arguments.done": PLACE | {"call_id", "name", "arguments"},
    "response.mcp_call_arguments.delta": PLACE | {"delta"},
    "response.mcp_call_arguments.done": PLACE | {"arguments"},
    "response.mcp_call.in_progress": {"item_id", "output_index"},
    "response.mcp_call.completed": {"item_id", "output_index"},
    "response.mcp_call.failed": {"item_id", "output_index"},
    "mcp_list_tools.in_progress": {"item_id"},
    "mcp_list_tools.completed": {"item_id"},
    "mcp_list_tools.failed": {"item_id"},
    "rate_limits.updated": {"rate_limits"},
    "error": {"error"},
}
ALWAYS_SENT = {"content_index", "usage"}
"""Fields that have a default or may be left out by other servers, and that our session always sends."""


def required(kind: type) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(kind) if field.required}


def test_every_client_event_is_a_type_with_its_required_fields():
    assert {kind.__struct_config__.tag: required(kind) for kind in get_args(wire.AnyClientEvent)} == CLIENT
    assert len(CLIENT) == 11


def test_every_server_event_is_a_type_with_its_required_fields():
    ours = {kind.__struct_config__.tag: kind for kind in get_args(wire.AnyServerEvent)}
    assert {name for name in ours if not name.startswith("vivavoce.")} == set(SERVER)
    assert len(SERVER) == 46
    for name, fields in SERVER.items():
        assert fields - ALWAYS_SENT <= required(ours[name]), name
        assert fields <= {field.encode_name for field in msgspec.structs.fields(ours[name])}, name


def test_stock_clients_know_our_events():
    """Of a well-known type with too few fields, the official union complains about fields, not about the type."""
    with pytest.raises(ValueError, match="nonsense") as wrong:
        openai_union().validate_python({"type": "nonsense"})
    known = str(wrong.value)
    assert {name for name in SERVER if f"'{name}'" not in known} == set()


@settings(deadline=None, max_examples=200, suppress_health_check=list(HealthCheck))
@given(any_of(wire.AnyServerEvent))
def test_a_server_event_survives_the_wire(event):
    assert wire.decode_server(wire.encode(event)) == event


@settings(deadline=None, max_examples=200, suppress_health_check=list(HealthCheck))
@given(any_of(wire.AnyClientEvent))
def test_a_client_event_survives_the_wire(event):
    text = wire.encode(event)
    if isinstance(event, wire.ResponseCreate | wire.ConversationItemCreate):
        read = wire.decode_client(text)
        assert wire.decode_client(wire.encode(read)) == read
    elif not isinstance(event, wire.SessionUpdate):
        assert wire.decode_client(text) == event


TOKENS = "response.max_output_tokens"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
WORDS = """
    type session audio input output format voice modalities turn_detection tool_choice conversation response item
    content role input_audio_format output_modalities metadata tools error event_id output_index delta
"""
FIELDS = st.sampled_from(WORDS.split())
ODD = st.recursive(
    st.none() | st.sampled_from(["audio", "text", "message", "function", "auto", "realtime", 5, -1, 0.5, True]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from([*CLIENT, "nonsense"]), st.dictionaries(FIELDS, ODD, max_size=5))
def test_whatever_a_client_sends_is_read_or_refused(kind, fields):
    with suppress(ProtocolError):
        assert isinstance(wire.decode_client(json.dumps(fields | {"type": kind})), wire.ClientEvent)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from([*SERVER, "nonsense"]), st.dictionaries(FIELDS, ODD, max_size=5))
def test_whatever_a_server_sends_is_read_or_refused(kind, fields):
    with suppress(ProtocolError):
        event = wire.decode_server(json.dumps(fields | {"type": kind}))
        assert isinstance(event, wire.ServerEvent | wire.Unknown)


@settings(deadline=None)
@given(st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()))
def test_no_bytes_break_the_readers(message):
    for read in (wire.decode_client, wire.decode_server):
        with suppress(ProtocolError):
            assert read(message) is not None


@pytest.mark.parametrize(
    ("message", "code", "param"),
    [
        ("nope", "invalid_json", None),
        ("[]", "invalid_json", None),
        ("[" * 100_000, "invalid_json", None),
        (b"\xff", "invalid_json", None),
        ("{}", "missing_required_parameter", "type"),
        ('{"type":"x"}', "invalid_value", "type"),
        ('{"type":["x"]}', "invalid_value", "type"),
        ('{"type":"input_audio_buffer.append"}', "missing_required_parameter", "audio"),
        ('{"type":"input_audio_buffer.append","audio":"*"}', "invalid_value", "audio"),
        ('{"type":"conversation.item.delete"}', "missing_required_parameter", "item_id"),
        ('{"type":"conversation.item.delete","item_id":5}', "invalid_type", "item_id"),
        ('{"type":"conversation.item.delete","item_id":"a","bogus":1}', "unknown_parameter", "bogus"),
        ('{"type":"response.create","response":{"bogus":1}}', "unknown_parameter", "response.bogus"),
        (
            '{"type":"response.create","response":{"max_output_tokens":0}}',
            "integer_below_min_value",
            "response.max_output_tokens",
        ),
        (
            '{"type":"response.create","response":{"max_output_tokens":5000}}',
            "integer_above_max_value",
            "response.max_output_tokens",
        ),
        (
            json.dumps({"type": "response.create", "response": {"metadata": dict.fromkeys(map(str, range(17)), "")}}),
            "object_above_max_properties",
            "response.metadata",
        ),
        (
            json.dumps({"type": "response.create", "response": {"metadata": {"x" * 65: ""}}}),
            "string_above_max_length",
            "response.metadata",
        ),
        (
            json.dumps(
                {
                    "type": "conversation.item.create",
                    "item": {
                        "type": "message",
                        "role": "user",
                        "content": [
                            {"type": "input_text", "text": ""},
                            {"type": "input_text", "text": "", "bogus": 1},
                        ],
                    },
                }
            ),
            "unknown_parameter",
            "item.content[1].bogus",
        ),
        (
            json.dumps({"type": "conversation.item.create", "item": {"type": "web_search_call"}}),
            "invalid_value",
            "item.type",
        ),
        (
            json.dumps(
                {"type": "conversation.item.create", "item": {"type": "message", "role": "developer", "content": []}}
            ),
            "invalid_value",
            "item.role",
        ),
    ],
)
def test_what_is_wrong_is_named(message, code, param):
    with pytest.raises(ProtocolError) as wrong:
        wire.decode_client(message)
    assert wrong.value.code == code
    assert wrong.value.param == param


@pytest.mark.parametrize("kind", ["nonsense", "conversation.item.delete", "input_audio_buffer.append"])
def test_a_refusal_names_the_event(kind):
    with pytest.raises(ProtocolError) as wrong:
        wire.decode_client(json.dumps({"type": kind, "event_id": "mine"}))
    assert wrong.value.event_id == "mine"


def test_an_event_id_has_at_most_512_characters():
    with pytest.raises(ProtocolError) as wrong:
        wire.decode_client(json.dumps({"type": "response.create", "event_id": "x" * 513}))
    assert (wrong.value.code, wrong.value.param) == ("string_above_max_length", "event_id")
    assert wrong.value.event_id == "x" * 512


def read(**event):
    return wire.decode_server(json.dumps(event))


def test_an_event_of_an_unknown_type_is_kept_as_it_is():
    assert read(type="new.thing", a=1) == wire.Unknown("new.thing", {"type": "new.thing", "a": 1})


@pytest.mark.parametrize(
    "event",
    [
        {"message": "Slow down."},
        {"error": "Slow down."},
        {"error": {"message": "Slow down."}},
        {"error": {"message": "Slow down.", "code": 429, "type": None}},
    ],
)
def test_a_flat_error_is_read(event):
    error = read(type="error", **event).error
    assert (error.type, error.message, error.code) == ("server_error", "Slow down.", None)


def test_an_error_keeps_what_can_be_read():
    error = read(type="error", error={"type": "t", "code": "c", "message": "m", "param": 5, "event_id": "mine"}).error
    assert (error.type, error.code, error.message, error.param, error.event_id) == ("t", "c", "m", None, "mine")
    assert read(type="error").error.message


def test_settings_that_cannot_be_read_count_as_absent():
    """Yandex AI Studio echoes `rate: null`, and what the client asked for as it was."""
    output = {"format": {"type": "audio/pcm", "rate": None}, "voice": "marina", "role": "friendly"}
    session = {"type": "realtime", "id": "s", "tool_choice": {"type": "auto"}, "audio": {"output": output}, "new": 1}
    got = read(type="session.updated", session=session).session
    assert (got.id, got.tool_choice, got.audio.output.voice, got.audio.output.format.rate) == (
        "s",
        "auto",
        "marina",
        24000,
    )


def test_items_that_cannot_be_read_leave_the_response():
    message = {"type": "message", "role": "assistant", "content": []}
    output = [{"type": "file_search_call", "queries": []}, message, {"type": "function_call", "arguments": "{}"}]
    response = {"id": "r", "status": "completed", "output": output, "metadata": {"a": 1}, "max_output_tokens": 9999}
    got = read(type="response.done", response=response).response
    assert (got.id, got.status, got.output) == ("r", "completed", (Message(role="assistant", content=()),))


def test_an_item_of_an_unknown_type_is_an_unknown_event():
    assert isinstance(read(type="conversation.item.added", item={"type": "web_search_call"}), wire.Unknown)
    assert not isinstance(
        read(type="conversation.item.added", item=msgspec.to_builtins(FunctionCall(name="a", arguments=""))),
        wire.Unknown,
    )
    assert "item_reference" in wire.tags(Item)


@pytest.mark.parametrize("event", [{"type": "response.done"}, {"type": "response.done", "response": 3}, {"a": 1}])
def test_an_event_without_what_it_is_about_is_refused(event):
    with pytest.raises(ProtocolError) as wrong:
        read(**event)
    assert wrong.value.code == "missing_required_parameter"


def test_sound_is_bytes_here_and_base64_on_the_wire():
    event = wire.InputAudioBufferAppend(audio=b"\x01\x02\x03\x04")
    assert json.loads(wire.encode(event)) == {"type": "input_audio_buffer.append", "audio": "AQIDBA=="}
