"""Servers that people run themselves: whatever they leave out, add, rename or repeat, there is a conversation."""

from __future__ import annotations

import pytest
from tests.services.compatible import Chatty, Deaf, LocalAI, Speaches, SpeechToSpeech, Wordless
from tests.services.emulated import TONE_HZ, Emulated, Turn
from tests.services.talking import talk

pytestmark = pytest.mark.anyio

ANY = {"service": "openai"}
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


@pytest.mark.parametrize("kind", [LocalAI, Speaches, SpeechToSpeech, Wordless, Chatty, Deaf])
@pytest.mark.parametrize("settings", [ANY, {}])
async def test_a_spoken_question_with_a_call(kind, settings, tmp_path):
    server = kind(Turn("And in Rome?", "Sunny.", calls=(("get_weather", {"city": "Rome"}),)))
    got = await talk(server, settings, {}, tmp_path, parts=(0.2, 0.6), tools=[get_weather])
    assert got.finals == ["And in Rome?"]
    assert ran == ["Rome"]
    assert got.answers == ["Sunny."]
    assert got.tone_s == pytest.approx(0.6, abs=0.05)
    assert got.pitch == pytest.approx(TONE_HZ, abs=2)
    assert (got.warned, got.ended) == ([], None)
    assert len(server.got("response.create")) == 1


@pytest.mark.parametrize("kind", [Deaf, Speaches])
async def test_a_server_that_goes_on_is_silenced(kind, tmp_path):
    server = kind(Turn("Tell me a story.", "Once upon a time there was.", 8.0, slow=True), Turn("Stop.", "Yes."))
    got = await talk(server, ANY, {}, tmp_path, parts=(0.2, 0.5, 2.0, 0.5))
    assert server.outcome == ["cancelled", "completed"]
    assert len(server.got("response.cancel")) == 1
    assert got.finals == ["Tell me a story.", "Stop."]
    [cut] = server.got("conversation.item.truncate")
    assert got.tone_s == pytest.approx(cut["audio_end_ms"] / 1000 + 0.6, abs=0.4)
    assert got.warned == []


async def test_a_key_of_ones_own(tmp_path):
    server = LocalAI(Turn("Hi", "Hello."))
    got = await talk(server, ANY, {"VIVAVOCE_KEY": "mine", "OPENAI_API_KEY": "sk-theirs"}, tmp_path, typed=["Hi"])
    assert got.answers == ["Hello."]
    assert server.requests[0].headers["Authorization"] == "Bearer mine"


async def test_our_extensions_are_left_out_where_they_are_refused(tmp_path):
    server = Emulated(Turn("Hi", "Hello."))
    got = await talk(server, {"model": "m"}, {"VIVAVOCE_KEY": Emulated.key}, tmp_path, typed=["Hi"])
    assert [error["param"] for error in server.refused] == ["session.vivavoce"]
    assert (got.answers, got.warned) == (["Hello."], [])


async def test_a_beta_that_does_not_show_it_is_found_out(tmp_path):
    class Silent(Speaches):
        def check(self, session):
            if unknown := next((name for name in ("type", "audio", "output_modalities") if name in session), None):
                name = f"session.{unknown}"
                return {"type": "e", "code": "unknown_parameter", "param": name, "message": f"Unknown: '{name}'."}
            return None

        def shape(self, event):
            for told in super().shape(event):
                yield {"type": "session.created"} if told["type"] == "session.created" else told

    server = Silent(Turn("Hi", "Hello."))
    got = await talk(server, ANY | {"voice": "alloy"}, {}, tmp_path, parts=(0.2, 0.5))
    assert server.got("session.update")[-1]["session"]["voice"] == "alloy"
    assert (len(server.refused), got.answers, got.warned) == (1, ["Hello."], [])
