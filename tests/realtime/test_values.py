from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.realtime.harness import new_session

from vivavoce.realtime.errors import ProtocolError
from vivavoce.realtime.values import (
    AudioOutput,
    NoiseReduction,
    Pcmu,
    SemanticVad,
    ServerVad,
    Session,
    Transcription,
    merge,
    unknown_field,
)

RATES = st.sampled_from([8000, 16000, 24000, 48000])
DETECTION = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {"type": st.just("server_vad")},
        optional={
            "threshold": st.floats(0, 1),
            "silence_duration_ms": st.integers(0, 10000),
            "create_response": st.booleans(),
            "idle_timeout_ms": st.none() | st.integers(5000, 30000),
        },
    ),
    st.fixed_dictionaries({"type": st.just("semantic_vad")}, optional={"eagerness": st.sampled_from(["low", "auto"])}),
)
FORMAT = st.sampled_from([{"type": "audio/pcmu"}, {"type": "audio/pcma"}]) | st.fixed_dictionaries(
    {"type": st.just("audio/pcm")}, optional={"rate": RATES}
)
INPUT = st.fixed_dictionaries(
    {},
    optional={
        "format": FORMAT,
        "turn_detection": DETECTION,
        "noise_reduction": st.none() | st.just({"type": "near_field"}),
        "transcription": st.none() | st.fixed_dictionaries({}, optional={"model": st.text(max_size=5)}),
    },
)
OUTPUT = st.fixed_dictionaries(
    {}, optional={"voice": st.text(max_size=5), "format": FORMAT, "speed": st.floats(0.25, 1.5)}
)
TOOL = st.fixed_dictionaries(
    {"type": st.just("function"), "name": st.text(max_size=5)},
    optional={"parameters": st.sampled_from(["{}", {}, {"type": "object"}])},
)
PATCH = st.fixed_dictionaries(
    {},
    optional={
        "instructions": st.none() | st.text(max_size=5),
        "audio": st.none() | st.fixed_dictionaries({}, optional={"input": INPUT, "output": OUTPUT}),
        "tools": st.none() | st.lists(TOOL, max_size=2),
        "tool_choice": st.sampled_from([None, "auto", "required", {"type": "function", "name": "a"}]),
        "max_output_tokens": st.none() | st.just("inf") | st.integers(1, 4096),
        "truncation": st.sampled_from(["auto", {"type": "retention_ratio", "retention_ratio": 0.5}]),
        "tracing": st.sampled_from([None, "auto", {"workflow_name": "w"}]),
    },
)
SESSIONS = PATCH.map(lambda patch: merge(new_session(), patch, path="session"))


@given(SESSIONS, PATCH)
def test_merging_is_idempotent(session, patch):
    once = merge(session, patch, path="session")
    assert merge(once, patch, path="session") == once


@given(SESSIONS, PATCH)
def test_what_is_not_in_the_patch_stays(session, patch):
    merged = merge(session, patch, path="session")
    for name in Session.__struct_fields__:
        if name not in patch:
            assert getattr(merged, name) == getattr(session, name)
    audio = patch.get("audio", {})
    if audio is not None:
        for side in {"input", "output"} - set(audio):
            assert getattr(merged.audio, side) == getattr(session.audio, side)


@given(SESSIONS, st.sampled_from(sorted(set(Session.__struct_fields__) - {"object"})))
def test_null_puts_back_the_default(session, name):
    assert getattr(merge(session, {name: None}, path="session"), name) == getattr(Session(), name)


@given(SESSIONS, PATCH, st.sampled_from([{"bogus": 1}, {"instructions": 5}, {"audio": {"input": {"bogus": {}}}}]))
def test_a_bad_patch_is_refused_whole(session, patch, bad):
    before = msgspec.to_builtins(session)
    with pytest.raises(ProtocolError):
        merge(session, patch | bad, path="session")
    assert msgspec.to_builtins(session) == before


def detection(session):
    return session.audio.input.turn_detection


def turns(**patch):
    return {"audio": {"input": {"turn_detection": patch}}}


def test_a_part_of_turn_detection_keeps_the_rest():
    session = merge(new_session(), turns(threshold=0.8), path="session")
    assert detection(session) == ServerVad(threshold=0.8, silence_duration_ms=400)
    session = merge(session, turns(type="server_vad", prefix_padding_ms=0), path="session")
    assert detection(session) == ServerVad(threshold=0.8, silence_duration_ms=400, prefix_padding_ms=0)


def test_another_type_inherits_nothing():
    session = merge(new_session(), turns(type="semantic_vad", create_response=False), path="session")
    assert detection(session) == SemanticVad(create_response=False)
    assert detection(merge(session, turns(type="server_vad"), path="session")) == ServerVad()
    session = merge(session, {"audio": {"input": {"format": {"type": "audio/pcmu"}}}}, path="session")
    assert session.audio.input.format == Pcmu()
    near = NoiseReduction(type="near_field", strength=0.5)
    session = merge(session, {"audio": {"input": {"noise_reduction": msgspec.to_builtins(near)}}}, path="session")
    assert session.audio.input.noise_reduction == near
    session = merge(session, {"audio": {"input": {"noise_reduction": {"type": "far_field"}}}}, path="session")
    assert session.audio.input.noise_reduction == NoiseReduction(type="far_field")


def test_null_turns_detection_off_and_a_later_type_on_again():
    session = merge(new_session(), {"audio": {"input": {"turn_detection": None}}}, path="session")
    assert detection(session) is None
    with pytest.raises(ProtocolError) as wrong:
        merge(session, turns(threshold=0.8), path="session")
    assert (wrong.value.code, wrong.value.param) == (
        "missing_required_parameter",
        "session.audio.input.turn_detection.type",
    )
    assert detection(merge(session, turns(type="server_vad"), path="session")) == ServerVad()


@pytest.mark.parametrize(
    ("patch", "code", "param"),
    [
        ({"bogus": 1}, "unknown_parameter", "session.bogus"),
        ({"audio": {"input": {"bogus": 1}}}, "unknown_parameter", "session.audio.input.bogus"),
        (
            turns(type="semantic_vad", threshold=0.1),
            "unknown_parameter",
            "session.audio.input.turn_detection.threshold",
        ),
        (
            {"tools": [{"type": "function", "name": "a"}, {"type": "function", "name": "a", "strict": True}]},
            "unknown_parameter",
            "session.tools[1].strict",
        ),
        ({"tools": [{"type": "function"}]}, "missing_required_parameter", "session.tools[0].name"),
        ({"tools": [{"type": "nonsense"}]}, "invalid_value", "session.tools[0].type"),
        ({"type": "transcription"}, "invalid_value", "session.type"),
        ({"audio": "loud"}, "invalid_type", "session.audio"),
        ({"audio": {"output": {"speed": 3}}}, "integer_above_max_value", "session.audio.output.speed"),
        (
            {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 4000}}}},
            "integer_below_min_value",
            "session.audio.input.format.rate",
        ),
        ({"tool_choice": "maybe"}, "invalid_value", "session.tool_choice"),
        ({"max_output_tokens": 5000}, "integer_above_max_value", "session.max_output_tokens"),
    ],
)
def test_what_is_wrong_is_named_with_its_path(patch, code, param):
    with pytest.raises(ProtocolError) as wrong:
        merge(new_session(), patch, path="session")
    assert (wrong.value.code, wrong.value.param) == (code, param)
    assert str(wrong.value.param) in wrong.value.message


@pytest.mark.parametrize(
    "patch",
    [
        {"audio": {"input": {"transcription": {"model": "gpt-live-transcribe", "language": "ru", "prompt": "names"}}}},
        {"audio": {"input": {"noise_reduction": {"type": "far_field"}}}},
        {"audio": {"output": {"speed": 1}}},
        {"tracing": {"workflow_name": "w", "metadata": {"a": 1}}},
        {"prompt": {"id": "p", "variables": {"x": 1}}},
        {"reasoning": {"effort": "low"}},
        {"include": ["item.input_audio_transcription.logprobs"]},
        {"truncation": {"type": "retention_ratio", "retention_ratio": 0.8, "token_limits": {"post_instructions": 9}}},
        {"parallel_tool_calls": False},
        {"tools": [{"type": "mcp", "server_label": "a", "server_url": "https://example.org", "headers": {"a": "b"}}]},
        {"tools": [{"type": "function", "name": "web_search", "description": "", "parameters": "{}"}]},
    ],
)
def test_what_is_only_stored_is_echoed(patch):
    """Protocol, rule 19: these are what stock clients send by default."""
    echo = msgspec.to_builtins(merge(new_session(), patch, path="session"))
    assert unknown_field(patch, echo) is None

    def within(part, whole):
        if isinstance(part, dict):
            return all(within(value, whole[name]) for name, value in part.items())
        if isinstance(part, list):
            return len(part) == len(whole) and all(map(within, part, whole))
        return part == whole

    assert within(patch, echo)


def test_nobody_is_told_of_settings_that_he_did_not_ask_for():
    """Protocol, rules 5 to 8: an extra key in these places ends some clients."""
    patch = {"audio": {"input": {"transcription": {"model": "whisper-1"}}}}
    echo = msgspec.to_builtins(merge(new_session(), patch, path="session"))
    assert echo["audio"]["input"]["transcription"] == {"model": "whisper-1"}
    assert echo["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24000}
    assert echo["audio"]["output"]["format"] == {"type": "audio/pcm", "rate": 24000}
    assert echo["tool_choice"] == "auto"
    assert isinstance(echo["audio"]["output"]["voice"], str)
    assert not {"vivavoce", "reasoning", "parallel_tool_calls"} & set(echo)


def test_merging_a_noun_of_its_own():
    assert merge(AudioOutput(voice="a"), {"speed": 1.2}, path="output") == AudioOutput(voice="a", speed=1.2)
    assert merge(Transcription(model="a"), {"language": "en"}, path="t") == Transcription(model="a", language="en")
