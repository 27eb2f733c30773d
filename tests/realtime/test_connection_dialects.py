"""The dialects of connections: what a client says becomes GA, and what it is told is what it knows."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from tests.realtime.harness import Server, openai_union, sound
from tests.realtime.strategies import any_of

from vivavoce.realtime import events as wire
from vivavoce.realtime import facts
from vivavoce.realtime.beta import Beta
from vivavoce.realtime.dialect import Dialect
from vivavoce.realtime.recognise import Undecided, recognise
from vivavoce.realtime.values import SilenceVad, TranscriptionAudio, TranscriptionInput, TranscriptionSession
from vivavoce.realtime.yandex import LONG_DELTA_MS, MANY, Yandex

SEED = {
    "modalities": ["text", "audio"],
    "instructions": "Помогай.",
    "audio": {
        "input": {
            "format": {"type": "audio/pcm", "rate": 44100, "channels": 1},
            "turn_detection": {"type": "server_vad", "threshold": 0.5, "silence_duration_ms": 400},
        },
        "output": {"format": {"type": "audio/pcm", "rate": 44100}, "voice": "kirill"},
    },
    "tools": [
        {"type": "function", "name": "get_weather", "description": "w", "parameters": {"type": "object"}},
        {"type": "function", "name": "web_search", "description": "s", "parameters": "{}"},
        {"type": "function", "name": "file_search", "description": "fvt1"},
    ],
    "tool_choice": {"type": "auto"},
}


class Client:
    """A client of some dialect beside a session."""

    def __init__(self, dialect, session=None):
        self.dialect = dialect
        self.server = Server(session, strict=not isinstance(dialect, Yandex | Undecided))
        self.greeting = self.told(self.server.greeting)

    def __call__(self, *happened, now=0.0):
        outputs = []
        for one in happened:
            event = wire.decode_client(json.dumps(one), self.dialect.read) if isinstance(one, dict) else one
            outputs += self.server(event, now=now)
        return self.told(outputs)

    def told(self, outputs):
        self.commands = [output for output in outputs if not isinstance(output, wire.ServerEvent)]
        said = [output for output in outputs if isinstance(output, wire.ServerEvent)]
        return [json.loads(text) for output in said for text in self.dialect.write(output)]

    @property
    def prompt(self):
        (generate,) = (command for command in self.commands if isinstance(command, facts.Generate))
        return generate.prompt


def names(events):
    return [event["type"] for event in events]


def update(**session):
    return {"type": "session.update", "session": session}


def turn(client, heard="Привет."):
    client(wire.InputAudioBufferAppend(audio=sound(2000)), facts.Started(320))
    item_id = client.server.half.speaking
    return client(facts.Stopped(900), facts.Heard(item_id, heard))


@pytest.mark.parametrize(
    ("known", "dialect"),
    [
        ({"model": None}, Undecided),
        ({"model": "gpt-realtime", "authorization": "Bearer sk-1", "offered": ["realtime"]}, Undecided),
        ({"model": "gpt://folder/speech-realtime-250923"}, Yandex),
        ({"model": "m", "authorization": "api-key AQVN"}, Yandex),
        ({"model": "m", "authorization": "Api-Key AQVN"}, Yandex),
        ({"model": "gpt://folder/x", "beta": "realtime=v1"}, Yandex),
        ({"model": "gpt-4o-realtime", "beta": "realtime=v1"}, Beta),
        ({"model": "m", "offered": ["realtime", "openai-beta.realtime-v1"]}, Beta),
        ({"model": "m", "beta": "assistants=v2"}, Undecided),
    ],
)
def test_a_connection_tells_its_dialect(known, dialect):
    assert type(recognise(**known)) is dialect


@given(any_of(wire.AnyServerEvent))
def test_ga_is_told_as_it_is(event):
    (text,) = Dialect().write(event)
    assert text == wire.encode(event)


@given(any_of(wire.AnyServerEvent))
@pytest.mark.parametrize("dialect", [Yandex, Beta])
def test_every_event_can_be_told_in_every_dialect(dialect, event):
    for text in dialect().write(event):
        assert isinstance(json.loads(text)["type"], str)


# Yandex


def test_the_reference_client_of_yandex_is_told_what_it_asked_for():
    client = Client(Yandex())
    (updated,) = client(update(**SEED))
    session = updated["session"]
    assert session["output_modalities"] == ["text", "audio"]
    assert session["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 44100, "channels": 1}
    assert session["audio"]["output"]["format"]["rate"] == 44100
    assert session["audio"]["input"]["transcription"] == {}
    assert session["tool_choice"] == "auto"
    assert [tool["name"] for tool in session["tools"]] == ["get_weather", "web_search", "file_search"]
    assert "vivavoce" not in session


def test_ga_clients_are_refused_what_yandex_allows():
    client = Client(recognise("gpt-realtime"))
    assert client(update(type="realtime", output_modalities=["text", "audio"]))[0]["error"]["code"] == "invalid_value"
    loud = {"output": {"format": {"type": "audio/pcm", "rate": 44100}}}
    assert client(update(type="realtime", audio=loud))[0]["error"]["param"] == "session.audio.output.format.rate"
    assert client(update(instructions="x"))[0]["error"]["code"] == "missing_required_parameter"


def test_a_client_of_yandex_shows_itself_by_its_settings():
    client = Client(recognise("some-model"))
    settings = {name: value for name, value in SEED.items() if name != "modalities"}
    (updated,) = client(update(**settings, output_modalities=["text", "audio"]))
    assert updated["session"]["output_modalities"] == ["text", "audio"]
    (again,) = client(update(instructions="Kurz."))
    assert again["session"]["instructions"] == "Kurz."


@pytest.mark.parametrize(
    ("sound", "rate"),
    [
        (None, 44_100),
        ({"type": "audio/pcm"}, 44_100),
        ({"type": "audio/pcm", "rate": None}, 44_100),
        ({"type": "audio/pcm", "rate": 24_000}, 24_000),
        ({"type": "audio/pcmu"}, None),
    ],
)
def test_answers_at_yandex_have_its_own_rate_unless_another_is_named(sound, rate):
    client = Client(Yandex())
    session = {"audio": {"output": {"voice": "marina"} | ({"format": sound} if sound else {})}}
    for settings in (session, {"instructions": "x"}):
        (updated,) = client(update(**settings))
        assert updated["session"]["audio"]["output"]["format"].get("rate") == rate


def test_only_the_first_settings_ask_for_the_transcript():
    client = Client(Yandex())
    off = {"input": {"transcription": None}}
    assert client(update(audio=off))[0]["session"]["audio"]["input"]["transcription"] is None
    assert client(update(instructions="x"))[0]["session"]["audio"]["input"]["transcription"] is None


def test_a_spoken_turn_at_yandex():
    client = Client(Yandex())
    client(update(**SEED))
    heard = turn(client)
    assert names(heard) == [
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.created",
        "conversation.item.done",
        "response.created",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.completed",
    ]
    assert [tool.name for tool in client.prompt.tools] == ["get_weather"]
    assert heard[5]["response"]["output_modalities"] == ["text", "audio"]
    said = client(
        facts.Said("resp_1", "Привет!"), facts.Spoke("resp_1", bytes(88200)), facts.Finished(response_id="resp_1")
    )
    assert names(said)[3:] == [
        "response.content_part.added",
        "response.output_audio_transcript.delta",
        "response.output_text.delta",
        "response.output_audio.delta",
        "response.output_audio.delta",
        "response.output_audio.delta",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.output_text.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
        "rate_limits.updated",
    ]
    ids = [event["event_id"] for event in heard + said]
    assert len(set(ids)) == len(ids)
    assert [event["delta"] for event in said if event["type"] == "response.output_text.delta"] == ["Привет!"]


def lengths(events):
    return [len(base64.b64decode(event["delta"])) for event in events if event["type"] == "response.output_audio.delta"]


def test_sound_comes_in_few_deltas():
    client = Client(Yandex())
    client(update(**SEED), {"type": "response.create"})
    pieces = [client(facts.Spoke("resp_1", bytes(1764))) for _ in range(50)]
    whole = [length for events in pieces for length in lengths(events)]
    assert whole == [35280] * 2
    rest = client(facts.Finished(response_id="resp_1"))
    assert sum(whole + lengths(rest)) == 50 * 1764
    assert names(rest).index("response.output_audio.delta") < names(rest).index("response.output_audio.done")


def test_two_minutes_of_sound_fit_into_a_hundred_deltas():
    client = Client(Yandex())
    client(update(**SEED), {"type": "response.create"})
    deltas = lengths(client(facts.Spoke("resp_1", bytes(2 * 44100 * 120)), facts.Finished(response_id="resp_1")))
    assert len(deltas) < 100
    assert deltas[MANY] == LONG_DELTA_MS * 44100 // 500


def test_sound_that_is_held_comes_before_the_interruption():
    client = Client(Yandex())
    client(update(**SEED), {"type": "response.create"}, facts.Said("resp_1", "One"), facts.Spoke("resp_1", bytes(2000)))
    cut = names(client(wire.InputAudioBufferAppend(audio=sound(500)), facts.Started(200)))
    assert cut[:3] == ["response.output_audio.delta", "input_audio_buffer.speech_started", "response.output_audio.done"]


def test_sound_of_two_answers_is_not_mixed():
    client = Client(Yandex())
    client(
        update(**SEED), {"type": "response.create"}, {"type": "response.create", "response": {"conversation": "none"}}
    )
    client(facts.Spoke("resp_1", bytes([1, 1]) * 100))
    client(facts.Spoke("resp_2", bytes([2, 2]) * 100))
    (one, *_) = client(facts.Spoke("resp_1", bytes([1, 1]) * 100))
    assert (one["response_id"], set(base64.b64decode(one["delta"]))) == ("resp_2", {2})


def test_a_function_that_the_server_runs_is_never_seen_called():
    client = Client(Yandex())
    client(update(**SEED), {"type": "response.create"})
    assert client(facts.Called("resp_1", "web_search", "{}")) == []
    assert "response.function_call_arguments.done" in names(client(facts.Called("resp_1", "get_weather", "{}")))
    client(facts.Finished(response_id="resp_1"))
    choice = {"type": "function", "name": "web_search"}
    client({"type": "response.create", "response": {"tool_choice": choice}})
    assert client.prompt.tool_choice == "web_search"


def test_a_second_answer_asked_for_too_soon_is_no_error_at_yandex():
    client = Client(Yandex())
    client(update(**SEED), {"type": "response.create"})
    assert client({"type": "response.create", "response": {"instructions": "x"}}) == []
    assert client({"type": "conversation.item.retrieve", "item_id": "x"})[0]["type"] == "error"


def test_answers_at_yandex_have_both_modalities():
    client = Client(Yandex())
    response = {"output_modalities": ["audio", "text"], "conversation": "default"}
    assert names(client({"type": "response.create", "response": response})) == ["response.created"]


@pytest.mark.parametrize("session", [{"audio": "loud"}, {"audio": {"input": 5}}, {"type": 5}, {"modalities": 5}])
def test_nonsense_is_still_refused(session):
    (answer,) = Client(Yandex())(update(**session))
    assert answer["type"] == "error"


# Beta


def test_the_settings_of_the_beta():
    client = Client(Beta())
    session = client.greeting[0]["session"]
    assert session["modalities"] == ["audio", "text"]
    assert (session["input_audio_format"], session["output_audio_format"]) == ("pcm16", "pcm16")
    assert session["turn_detection"]["type"] == "server_vad"
    assert (session["voice"], session["temperature"], session["max_response_output_tokens"]) == ("default", 0.8, "inf")
    assert not {"audio", "output_modalities", "type", "max_output_tokens"} & set(session)
    beta = {
        "modalities": ["text"],
        "input_audio_format": "g711_ulaw",
        "input_audio_transcription": {"model": "whisper-1"},
    }
    (updated,) = client(update(**beta))
    assert {name: updated["session"][name] for name in beta} == beta


def test_a_turn_in_the_beta():
    client = Client(Beta())
    client(update(input_audio_transcription={"model": "whisper-1"}))
    turned = turn(client)
    assert names(turned)[:3] == [
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.created",
    ]
    assert turned[2]["item"]["object"] == "realtime.item"
    said = client(facts.Said("resp_1", "Hi."), facts.Spoke("resp_1", sound(50)), facts.Finished(response_id="resp_1"))
    assert names(said) == [
        "response.output_item.added",
        "conversation.item.created",
        "response.content_part.added",
        "response.audio_transcript.delta",
        "response.audio.delta",
        "response.audio.done",
        "response.audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.done",
        "rate_limits.updated",
    ]
    response = said[-2]["response"]
    assert response["output"][0]["content"] == [{"type": "audio", "transcript": "Hi."}]
    assert (response["modalities"], response["voice"]) == (["audio", "text"], "default")
    (retrieved,) = client({"type": "conversation.item.retrieve", "item_id": response["output"][0]["id"]})
    assert retrieved["item"]["content"][0]["type"] == "audio"


def test_text_in_the_beta():
    client = Client(Beta())
    client(update(modalities=["text"]), {"type": "response.create"})
    said = client(facts.Said("resp_1", "Hi."), facts.Finished(response_id="resp_1"))
    assert [name for name in names(said) if "text" in name] == ["response.text.delta", "response.text.done"]
    assert said[-2]["response"]["output"][0]["content"] == [{"type": "text", "text": "Hi."}]


def test_transcription_in_the_beta():
    audio = TranscriptionAudio(input=TranscriptionInput(turn_detection=SilenceVad()))
    client = Client(Beta(), TranscriptionSession(id="sess_1", audio=audio))
    assert names(client.greeting) == ["transcription_session.created"]
    settings = {"input_audio_transcription": {"model": "whisper-1"}, "turn_detection": None}
    (updated,) = client({"type": "transcription_session.update", "session": settings})
    assert updated["type"] == "transcription_session.updated"
    assert updated["session"]["input_audio_transcription"] == {"model": "whisper-1"}
    assert updated["session"]["turn_detection"] is None


def test_others_hear_no_beta_names():
    client = Client(recognise("gpt-realtime"))
    client({"type": "response.create"})
    for event in client(facts.Said("resp_1", "Hi."), facts.Finished(response_id="resp_1")):
        openai_union().validate_python(event)
        assert event["type"] != "conversation.item.created"
