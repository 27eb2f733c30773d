"""Yandex AI Studio, as far as it is recorded: what a person sees and hears of the agent there."""

from __future__ import annotations

from itertools import pairwise

import pytest
from tests.services.emulated import TONE_HZ, Turn
from tests.services.talking import talk
from tests.services.yandex import FOLDER, INDEX, OldYandex, Yandex

pytestmark = pytest.mark.anyio

KEYS = {"YANDEX_CLOUD_API_KEY": Yandex.key, "YANDEX_CLOUD_FOLDER_ID": FOLDER, "VECTOR_STORE_ID": INDEX}
YANDEX = {"service": "yandex"}
CREATE = "conversation.item.create"
QUESTION = "What is the weather in Moscow today, please?"

generations = pytest.mark.parametrize("generation", [Yandex, OldYandex])
ran: list[str] = []


@pytest.fixture(autouse=True)
def forget():
    ran.clear()


def get_weather(city: str) -> str:
    """Tell the weather of a city.

    Args:
        city: where.
    """
    ran.append(city)
    return f"It is sunny in {city}."


def web_search(query: str) -> str:
    """Search the web, ourselves."""
    raise AssertionError(query)


@generations
async def test_the_weather_by_voice_as_in_the_guide(generation, tmp_path):
    server = generation(Turn(QUESTION, "It is sunny.", calls=(("get_weather", {"city": "Moscow"}),)))
    got = await talk(server, YANDEX, KEYS, tmp_path, parts=(0.2, 0.6), tools=[get_weather])
    assert ran == ["Moscow"]
    assert got.finals == [QUESTION]
    grown = [text for text, final in got.view.shown if not final]
    assert len(grown) > 2
    assert all(more.startswith(less) for less, more in pairwise(grown))
    assert got.answers == ["It is sunny."]
    assert got.rate == 44_100
    assert got.tone_s == pytest.approx(0.6, abs=0.05)
    assert got.pitch == pytest.approx(TONE_HZ, abs=2)
    assert (got.warned, server.refused, got.ended) == ([], [], None)
    assert len(server.got("response.create")) == 1


@generations
async def test_what_is_asked_for_is_what_the_samples_ask_for(generation, tmp_path):
    server = generation(Turn("Hi", "Hello."))
    await talk(server, YANDEX | {"language": "ru", "voice": "marina:whisper"}, KEYS, tmp_path, parts=(0.2, 0.5))
    [session] = [event["session"] for event in server.got("session.update")]
    assert session["output_modalities"] == ["audio"]
    assert session["audio"] == {
        "input": {
            "format": {"type": "audio/pcm", "rate": 24_000, "channels": 1},
            "languages": ["ru-RU"],
            "turn_detection": {"type": "server_vad", "threshold": 0.5, "silence_duration_ms": 200},
        },
        "output": {
            "format": {"type": "audio/pcm", "rate": 44_100, "channels": 1},
            "voice": "marina",
            "role": "whisper",
        },
    }
    [request] = server.requests
    assert request.headers["OpenAI-Project"] == FOLDER
    assert request.headers["x-data-logging-enabled"] == "false"


@generations
async def test_searches_are_the_service_s_own_business(generation, tmp_path):
    server = generation(Turn("Search.", "I found it.", hosted=("web_search", "file_search")))
    got = await talk(server, YANDEX, KEYS, tmp_path, parts=(0.2, 0.6), tools=[web_search, get_weather])
    assert server.ran == [("web_search", "Search the web"), ("file_search", INDEX)]
    assert got.answers == ["I found it."]
    assert got.view.calls == []
    assert got.warned == []


@pytest.mark.parametrize("surfaces", [True, False])
async def test_a_search_that_shows_as_a_call_is_not_answered(surfaces, tmp_path):
    class Showing(Yandex):
        def run(self, name, settings):
            call = {"id": "f", "type": "function_call", "call_id": "c", "name": name, "arguments": "{}"}
            return [*super().run(name, settings), *[call] * surfaces]

    server = Showing(Turn("Search.", "I found it.", hosted=("web_search",)))
    got = await talk(server, YANDEX, KEYS, tmp_path, typed=["Search."])
    assert (got.answers, got.view.calls, server.refused) == (["I found it."], [], [])


@generations
async def test_an_interruption_and_what_comes_late_of_it(generation, tmp_path):
    server = generation(Turn("Tell me a story.", "Once upon a time there was.", 4.0, slow=True), Turn("Stop.", "Yes."))
    server.late_deltas = 5
    got = await talk(server, YANDEX, KEYS, tmp_path, parts=(0.2, 0.5, 2.0, 0.5))
    assert server.outcome == ["cancelled", "completed"]
    assert got.finals == ["Tell me a story.", "Stop."]
    assert got.view.said("assistant")[0].cut
    [cut] = server.got("conversation.item.truncate")
    assert got.tone_s == pytest.approx(cut["audio_end_ms"] / 1000 + 0.6, abs=0.4)
    assert got.warned == []


async def test_in_writing_it_speaks_all_the_same(tmp_path):
    class Speaking(Yandex):
        def check(self, session):
            session["output_modalities"] = ["text", "audio"]

    server = Speaking(Turn("Hi", "Hello."), Turn("Bye", "Good bye."))
    got = await talk(server, YANDEX, KEYS, tmp_path, typed=["Hi", "Bye"])
    assert got.answers == ["Hello.", "Good bye."]
    assert got.warned == []


async def test_an_iam_token_opens_it_too(tmp_path):
    environ = {"YANDEX_CLOUD_IAM_TOKEN": "t1.token.of-the-test", "YANDEX_CLOUD_FOLDER_ID": FOLDER}
    got = await talk(Yandex(Turn("Hi", "Hello.")), YANDEX, environ, tmp_path, typed=["Hi"])
    assert got.answers == ["Hello."]


async def test_a_model_that_does_not_exist(tmp_path):
    server = OldYandex()
    got = await talk(server, YANDEX | {"model": "speech-realtime-000000"}, KEYS, tmp_path, typed=["Hi"])
    assert got.warned == ["Invalid model URI"]
    assert str(got.ended) == "The server has ended the session for breaking its rules: Invalid model URI"


async def test_a_key_that_is_refused_is_named_and_not_shown(tmp_path):
    with pytest.raises(Exception, match="refused the key; check YANDEX_CLOUD_API_KEY") as refused:
        await talk(Yandex(), YANDEX, KEYS | {"YANDEX_CLOUD_API_KEY": "AQVN-wrong"}, tmp_path, typed=["Hi"])
    assert "AQVN-wrong" not in str(refused.value)


@generations
async def test_an_error_is_said_in_either_shape(generation, tmp_path):
    server = generation(Turn("Hi", "Hello."))
    got = await talk(server, YANDEX, KEYS | {"VECTOR_STORE_ID": "nowhere"}, tmp_path, typed=["Hi"])
    assert got.warned == ["There is no index nowhere"]
    assert got.answers == ["Hello."]


async def test_a_session_that_ends_is_followed_by_another_that_knows_of_it(tmp_path):
    class Forgetful(Yandex):
        def check(self, session):
            self.limit_s = None  # the next one lasts
            return super().check(session)

    server = Forgetful(Turn("My name is Ann.", "Hello, Ann."), Turn("Who am I?", "You are Ann."), limit_s=4.5)
    got = await talk(server, YANDEX, KEYS, tmp_path, parts=(0.2, 0.5, 6.0, 0.5), lasting=True)
    assert got.finals == ["My name is Ann.", "Who am I?"]
    assert got.answers == ["Hello, Ann.", "You are Ann."]
    assert len(server.requests) == 2
    retold = [(event["item"]["role"], event["item"]["content"][0]["text"]) for event in server.got(CREATE)]
    assert retold == [("user", "My name is Ann."), ("system", "You have said to the user: Hello, Ann.")]
    assert (got.warned, got.ended) == ([], None)
