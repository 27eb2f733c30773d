"""Azure OpenAI, as far as it is described: what a person sees and hears of the agent there."""

from __future__ import annotations

import pytest
from tests.services.azure import DEPLOYMENT, Azure, DatedAzure
from tests.services.emulated import TONE_HZ, Turn
from tests.services.talking import talk

pytestmark = pytest.mark.anyio

AZURE = {"service": "azure", "model": DEPLOYMENT, "url": None}
KEYS = {"AZURE_OPENAI_ENDPOINT": "http://{root}/", "AZURE_OPENAI_API_KEY": Azure.key}
DATED = KEYS | {"OPENAI_API_VERSION": DatedAzure.version}

versions = pytest.mark.parametrize(("version", "environ"), [(Azure, KEYS), (DatedAzure, DATED)])


def get_weather(city: str) -> str:
    """Tell the weather of a city.

    Args:
        city: where.
    """
    return f"It is sunny in {city}."


@versions
async def test_a_spoken_question_with_a_call(version, environ, tmp_path):
    server = version(Turn("And in Rome?", "Sunny.", calls=(("get_weather", {"city": "Rome"}),)))
    got = await talk(server, AZURE, environ, tmp_path, parts=(0.2, 0.6), tools=[get_weather])
    assert got.finals == ["And in Rome?"]
    assert [run.name for run in got.view.calls] == ["get_weather"]
    assert got.answers == ["Sunny."]
    assert got.tone_s == pytest.approx(0.6, abs=0.05)
    assert got.pitch == pytest.approx(TONE_HZ, abs=2)
    assert (got.warned, server.refused, got.ended) == ([], [], None)


@versions
async def test_an_interruption(version, environ, tmp_path):
    server = version(Turn("Tell me a story.", "Once upon a time there was.", 4.0, slow=True), Turn("Stop.", "Yes."))
    got = await talk(server, AZURE, environ, tmp_path, parts=(0.2, 0.5, 2.0, 0.5))
    assert server.outcome == ["cancelled", "completed"]
    assert [(show.cut, show.text) for show in got.view.said("assistant")][1] == (False, "Yes.")
    [cut] = server.got("conversation.item.truncate")
    assert got.tone_s == pytest.approx(cut["audio_end_ms"] / 1000 + 0.6, abs=0.4)


@versions
async def test_a_token_of_entra_opens_it_too(version, environ, tmp_path):
    token = {name: value for name, value in environ.items() if name != "AZURE_OPENAI_API_KEY"}
    server = version(Turn("Hi", "Hello."))
    got = await talk(server, AZURE, token | {"AZURE_OPENAI_AD_TOKEN": Azure.token}, tmp_path, typed=["Hi"])
    assert got.answers == ["Hello."]
    assert "api-key" not in server.requests[0].headers


@versions
async def test_a_key_that_is_refused_is_named_and_not_shown(version, environ, tmp_path):
    with pytest.raises(Exception, match="refused the key; check AZURE_OPENAI_API_KEY") as refused:
        await talk(version(), AZURE, environ | {"AZURE_OPENAI_API_KEY": "wrong-secret"}, tmp_path, typed=["Hi"])
    assert "wrong-secret" not in str(refused.value)


async def test_the_beta_is_asked_in_its_own_shapes(tmp_path):
    server = DatedAzure(Turn("Hi", "Hello."))
    await talk(server, AZURE | {"voice": "alloy"}, DATED, tmp_path, parts=(0.2, 0.5))
    [session] = [event["session"] for event in server.got("session.update")]
    assert session["modalities"] == ["audio", "text"]
    assert (session["input_audio_format"], session["output_audio_format"]) == ("pcm16", "pcm16")
    assert session["voice"] == "alloy"
    assert session["turn_detection"]["silence_duration_ms"] == 200
    assert session["input_audio_transcription"] == {"model": "whisper-1"}


async def test_without_a_model_that_writes_down_the_person_is_told_once(tmp_path):
    server = Azure(Turn("Hi", "Hello."), Turn("Bye", "Good bye."))
    got = await talk(server, AZURE | {"stt_model": "nowhere"}, KEYS, tmp_path, parts=(0.2, 0.5, 2.0, 0.5))
    assert got.answers == ["Hello.", "Good bye."]
    assert got.warned == ["No such deployment."]
