from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.realtime.dialects import (
    error_to_ga,
    is_beta,
    server_to_ga,
    setting_to_ga,
    settings_to_beta,
    to_ga,
)

VAD = {"type": "server_vad", "threshold": 0.5}


def settings(**given):
    return to_ga({"type": "session.update", "session": given})["session"]


def answer(**given):
    return to_ga({"type": "response.create", "response": given})["response"]


@pytest.mark.parametrize(
    ("beta", "ga"),
    [
        ({"modalities": ["text"]}, {"output_modalities": ["text"]}),
        ({"modalities": ["audio"]}, {"output_modalities": ["audio"]}),
        ({"modalities": ["text", "audio"]}, {"output_modalities": ["audio"]}),
        ({"modalities": "text"}, {"output_modalities": "text"}),
        ({"input_audio_format": "pcm16"}, {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 24000}}}}),
        ({"input_audio_format": "g711_ulaw"}, {"audio": {"input": {"format": {"type": "audio/pcmu"}}}}),
        ({"output_audio_format": "g711_alaw"}, {"audio": {"output": {"format": {"type": "audio/pcma"}}}}),
        ({"output_audio_format": "opus"}, {"audio": {"output": {"format": "opus"}}}),
        ({"output_audio_format": {}}, {"audio": {"output": {"format": {}}}}),
        (
            {"input_audio_transcription": {"model": "whisper-1"}},
            {"audio": {"input": {"transcription": {"model": "whisper-1"}}}},
        ),
        ({"input_audio_noise_reduction": None}, {"audio": {"input": {"noise_reduction": None}}}),
        ({"turn_detection": VAD}, {"audio": {"input": {"turn_detection": VAD}}}),
        ({"turn_detection": None}, {"audio": {"input": {"turn_detection": None}}}),
        ({"voice": "ash", "speed": 1.1}, {"audio": {"output": {"voice": "ash", "speed": 1.1}}}),
        ({"max_response_output_tokens": "inf"}, {"max_output_tokens": "inf"}),
        ({"temperature": 0.8}, {}),
        ({"tool_choice": {"type": "auto"}}, {"tool_choice": "auto"}),
        ({"tool_choice": {"type": "none"}}, {"tool_choice": "none"}),
        ({"tool_choice": {"type": "required"}}, {"tool_choice": "required"}),
        ({"tool_choice": {"type": "function", "name": "a"}}, {"tool_choice": {"type": "function", "name": "a"}}),
        ({"voice": {"id": "ash"}}, {"audio": {"output": {"voice": "ash"}}}),
        ({"audio": {"output": {"voice": {"id": "ash"}}}}, {"audio": {"output": {"voice": "ash"}}}),
        (
            {"audio": {"output": {"format": {"type": "audio/pcmu", "rate": 8000}}}},
            {"audio": {"output": {"format": {"type": "audio/pcmu"}}}},
        ),
        (
            {"audio": {"input": {"format": {"type": "audio/pcma", "rate": 24_000}}}},
            {"audio": {"input": {"format": {"type": "audio/pcma", "rate": 24_000}}}},
        ),
        ({"audio": "loud", "voice": "ash"}, {"audio": "loud"}),
        ({"audio": None, "voice": "ash"}, {"audio": {"output": {"voice": "ash"}}}),
        (
            {"audio": {"input": {"turn_detection": VAD}}, "turn_detection": None, "voice": "ash"},
            {"audio": {"input": {"turn_detection": VAD}, "output": {"voice": "ash"}}},
        ),
    ],
)
def test_beta_settings_mean_their_ga_settings(beta, ga):
    assert settings(**beta) == ga
    assert answer(**beta) == ga


@pytest.mark.parametrize(
    ("sent", "meant"), [("default", "auto"), (None, "auto"), ("auto", "auto"), ("none", "none"), ({}, {})]
)
def test_the_conversation_of_a_response(sent, meant):
    assert answer(conversation=sent) == {"conversation": meant}
    assert answer() == {}


def test_the_reference_client_of_yandex_is_understood():
    assert answer(modalities=["audio", "text"], conversation="default") == {
        "output_modalities": ["audio"],
        "conversation": "auto",
    }


def test_what_the_assistant_said_has_ga_names():
    content = [{"type": "text", "text": "a"}, {"type": "audio", "transcript": "b"}, {"type": "output_text"}, 5]
    item = {"type": "message", "role": "assistant", "content": content}
    new = to_ga({"type": "conversation.item.create", "item": item})["item"]["content"]
    assert new == [{"type": "output_text", "text": "a"}, {"type": "output_audio", "transcript": "b"}, *content[2:]]
    user = {"type": "conversation.item.create", "item": item | {"role": "user"}}
    assert to_ga(user) == user


GA = st.fixed_dictionaries(
    {"type": st.just("realtime")},
    optional={
        "output_modalities": st.sampled_from([["audio"], ["text"], ["text", "audio"]]),
        "audio": st.sampled_from([{"output": {"voice": "ash"}}, {"input": {"turn_detection": None}}, {}]),
        "tool_choice": st.sampled_from(["auto", {"type": "function", "name": "a"}, {"type": []}]),
        "bogus": st.integers(),
    },
)


@given(GA)
def test_what_is_ga_already_is_untouched(session):
    event = {"type": "session.update", "event_id": "mine", "session": session}
    assert to_ga(event) == event


@pytest.mark.parametrize("event", [{}, {"type": "session.update"}, {"type": "response.create", "response": None}])
def test_what_has_no_settings_is_untouched(event):
    assert to_ga(event) == event


def test_an_error_has_its_message_inside():
    assert error_to_ga({"type": "error", "message": "m", "code": "c"}) == {
        "type": "error",
        "error": {"type": "server_error", "code": "c", "message": "m"},
    }


# Servers, as clients read them


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        ({"type": "response.text.delta"}, {"type": "response.output_text.delta"}),
        ({"type": "response.audio.done"}, {"type": "response.output_audio.done"}),
        ({"type": "response.audio_transcript.delta"}, {"type": "response.output_audio_transcript.delta"}),
        ({"type": "session.created"}, {"type": "session.created", "session": {"type": "realtime"}}),
        (
            {"type": "session.updated", "session": {"modalities": ["audio", "text"], "voice": "ash"}},
            {
                "type": "session.updated",
                "session": {
                    "type": "realtime",
                    "output_modalities": ["audio"],
                    "audio": {"output": {"voice": "ash"}},
                },
            },
        ),
        (
            {"type": "x", "item": {"role": "assistant", "content": [{"type": "audio"}]}},
            {"type": "x", "item": {"role": "assistant", "content": [{"type": "output_audio"}]}},
        ),
        (
            {"type": "response.done", "response": {"output": [{"role": "assistant", "content": [{"type": "text"}]}]}},
            {
                "type": "response.done",
                "response": {"output": [{"role": "assistant", "content": [{"type": "output_text"}]}]},
            },
        ),
    ],
)
def test_what_servers_of_the_beta_say_has_ga_names(told, meant):
    assert server_to_ga(told) == meant
    assert server_to_ga(meant) == meant


SETTINGS = {
    "instructions": "Be brief.",
    "output_modalities": ["audio"],
    "audio": {
        "input": {"format": {"type": "audio/pcm", "rate": 24000}, "turn_detection": None},
        "output": {"format": {"type": "audio/pcmu"}, "voice": "ash"},
    },
    "tools": [],
    "max_output_tokens": 100,
}


def test_settings_survive_the_way_to_the_beta_and_back():
    beta = settings_to_beta(SETTINGS | {"type": "realtime", "vivavoce": {}})
    assert beta == {
        "instructions": "Be brief.",
        "tools": [],
        "modalities": ["audio", "text"],
        "input_audio_format": "pcm16",
        "output_audio_format": "g711_ulaw",
        "turn_detection": None,
        "voice": "ash",
        "max_response_output_tokens": 100,
    }
    assert settings(**beta) == SETTINGS
    assert settings_to_beta({"output_modalities": ["text"]}) == {"modalities": ["text"]}


def test_the_shape_of_a_session_is_recognised():
    assert is_beta({"modalities": ["text"], "input_audio_format": "pcm16"})
    assert not is_beta({"modalities": ["text"], "audio": {}})
    assert not is_beta({"id": "s"})


def test_a_setting_of_the_beta_has_a_place_in_ga():
    assert setting_to_ga("turn_detection.type") == "audio.input.turn_detection.type"
    assert setting_to_ga("voice") == "audio.output.voice"
    assert setting_to_ga("tools[0].name") == "tools[0].name"
