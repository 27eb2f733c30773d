"""How servers speak, and how they are spoken to."""

from __future__ import annotations

import json

import pytest

from vivavoce.realtime import events as wire
from vivavoce.realtime.accent import Accent, YandexAccent
from vivavoce.realtime.values import (
    FunctionCallOutput,
    InputText,
    Message,
    OutputAudio,
    OutputText,
    ResponseParams,
)

WANTED = {"type": "realtime", "output_modalities": ["audio"], "audio": {"output": {"voice": "ash"}}, "vivavoce": {}}
SAID = Message(id="a", role="assistant", content=(OutputText(text="Good day."), OutputAudio(transcript="How are you?")))


def read(accent, **event):
    return accent.read(json.dumps(event))


def written(accent, event):
    text = accent.write(event)
    return None if text is None else json.loads(text)


def spoken_to_in_beta():
    accent = Accent()
    read(accent, type="session.created", session={"modalities": ["text", "audio"], "voice": "alloy"})
    return accent


def test_ga_is_written_as_it_is_until_the_server_shows_otherwise():
    assert written(Accent(), wire.SessionUpdate(session=WANTED)) == {"type": "session.update", "session": WANTED}


def test_the_beta_is_recognised_by_its_first_words():
    accent = spoken_to_in_beta()
    session = written(accent, wire.SessionUpdate(session=WANTED))["session"]
    assert session == {"modalities": ["audio", "text"], "voice": "ash"}
    assert written(accent, wire.InputAudioBufferAppend(audio=b"ab"))["audio"] == "YWI="
    said = written(accent, wire.ConversationItemCreate(item=SAID))["item"]["content"]
    assert [part["type"] for part in said] == ["text", "audio"]
    answer = written(accent, wire.ResponseCreate(response=ResponseParams(output_modalities=("text",))))["response"]
    assert answer == {"conversation": "auto", "modalities": ["text"]}
    output = wire.ConversationItemCreate(item=FunctionCallOutput(call_id="c", output="o"))
    assert written(accent, output)["item"]["type"] == "function_call_output"


@pytest.mark.parametrize("param", ["session.type", "session.audio", "session.output_modalities"])
def test_the_beta_is_recognised_by_what_it_refuses(param):
    accent = Accent()
    read(accent, type="session.created")
    error = {"type": "invalid_request_error", "code": "unknown_parameter", "param": param, "message": "m"}
    assert read(accent, type="error", error=error).error.param == "session.type"
    assert written(accent, wire.SessionUpdate(session=WANTED))["session"]["voice"] == "ash"


def test_errors_of_the_beta_name_our_settings():
    error = {"type": "t", "code": "invalid_value", "param": "session.voice", "message": "m"}
    assert read(spoken_to_in_beta(), type="error", error=error).error.param == "session.audio.output.voice"


def test_yandex_is_not_told_to_clear_and_remembers_answers_as_news():
    accent = YandexAccent()
    assert accent.write(wire.InputAudioBufferClear()) is None
    item = written(accent, wire.ConversationItemCreate(item=SAID))["item"]
    assert item["role"] == "system"
    assert item["content"] == [{"type": "input_text", "text": "You have said to the user: Good day. How are you?"}]
    user = Message(role="user", content=(InputText(text="Hi"),))
    assert written(accent, wire.ConversationItemCreate(item=user))["item"]["role"] == "user"
    assert written(accent, wire.SessionUpdate(session={"instructions": "x"}))["session"] == {"instructions": "x"}


def test_the_rate_of_yandex_is_its_own_where_it_is_null():
    sound = {"format": {"type": "audio/pcm", "rate": None}}
    session = {"type": "realtime", "audio": {"output": sound}}
    accent = YandexAccent()
    assert read(accent, type="session.updated", session=session).session.audio.output.format.rate == 44_100


@pytest.mark.parametrize("name", ["web_search", "file_search", "get_weather"])
def test_what_yandex_runs_is_not_seen(name):
    item = {"type": "function_call", "call_id": "c", "name": name, "arguments": "{}"}
    event = read(YandexAccent(), type="response.output_item.done", response_id="r", output_index=0, item=item)
    assert isinstance(event, wire.Unknown) == (name != "get_weather")
