"""OpenAI, as far as it is recorded: what a person sees and hears of the agent there."""

from __future__ import annotations

import pytest
from tests.services.emulated import TONE_HZ, Emulated, Turn
from tests.services.talking import talk

pytestmark = pytest.mark.anyio

OPENAI = {"service": "openai"}
KEY = {"OPENAI_API_KEY": Emulated.key}
ADDRESS = "?model=gpt-realtime"


def get_weather(city: str) -> str:
    """Tell the weather of a city.

    Args:
        city: where.
    """
    ran.append(city)
    return f"It is sunny in {city}."


ran: list[str] = []


@pytest.fixture(autouse=True)
def forget():
    ran.clear()


async def test_a_spoken_question_with_a_call(tmp_path):
    turn = Turn("What is the weather in Paris?", "Sunny, in Paris.", calls=(("get_weather", {"city": "Paris"}),))
    server = Emulated(turn)
    got = await talk(server, OPENAI | {"model": "gpt-realtime"}, KEY, tmp_path, parts=(0.2, 0.6), tools=[get_weather])
    assert got.finals == ["What is the weather in Paris?"]
    assert [text for text, final in got.view.shown if not final][:2] == ["What ", "What is "]
    assert ran == ["Paris"]
    assert got.answers == ["Sunny, in Paris."]
    assert got.tone_s == pytest.approx(0.6, abs=0.05)
    assert got.pitch == pytest.approx(TONE_HZ, abs=2)
    assert (got.warned, server.refused, got.ended) == ([], [], None)
    [session] = [event["session"] for event in server.got("session.update")]
    assert "vivavoce" not in session


async def test_several_calls_side_by_side_are_followed_by_one_answer(tmp_path):
    calls = tuple(("get_weather", {"city": city}) for city in ("Paris", "Rome", "Oslo"))
    server = Emulated(Turn("And there?", "Sunny everywhere.", calls=calls))
    got = await talk(server, OPENAI | {"model": "m"}, KEY, tmp_path, typed=["And there?"], tools=[get_weather])
    assert sorted(ran) == ["Oslo", "Paris", "Rome"]
    assert got.answers == ["Sunny everywhere."]
    assert len(server.got("response.create")) == 2
    assert server.refused == []


async def test_an_interruption_while_the_answer_is_made(tmp_path):
    server = Emulated(
        Turn("Tell me a story.", "Once upon a time there was a king.", 4.0, slow=True), Turn("Stop.", "Yes.")
    )
    got = await talk(server, OPENAI | {"model": "m"}, KEY, tmp_path, parts=(0.2, 0.5, 2.0, 0.5))
    assert server.outcome == ["cancelled", "completed"]
    assert got.finals == ["Tell me a story.", "Stop."]
    story, stop = got.view.said("assistant")
    assert story.cut
    assert not story.text.endswith("king.")
    assert stop.text == "Yes."
    [cut] = server.got("conversation.item.truncate")
    assert 500 < cut["audio_end_ms"] < 2500
    assert got.tone_s == pytest.approx(cut["audio_end_ms"] / 1000 + 0.6, abs=0.4)
    assert got.warned == []


async def test_an_interruption_when_all_is_made_and_half_is_heard(tmp_path):
    server = Emulated(Turn("Tell me a story.", "Once upon a time.", 4.0), Turn("Stop.", "Yes."))
    got = await talk(server, OPENAI | {"model": "m"}, KEY, tmp_path, parts=(0.2, 0.5, 2.0, 0.5))
    assert server.outcome == ["completed", "completed"]
    assert got.view.said("assistant")[0].cut
    assert got.tone_s < 3.5
    assert server.got("response.cancel") == []


async def test_a_greeting_comes_first(tmp_path):
    server = Emulated(Turn("Hello.", "Hello again."), greeting=Turn("", "Good day."))
    got = await talk(server, OPENAI | {"model": "m"}, KEY, tmp_path, parts=(1.5, 0.5), greeting="Greet me.")
    assert got.answers == ["Good day.", "Hello again."]
    assert server.got("response.create")[0]["response"]["instructions"] == "Greet me."


async def test_a_key_that_is_refused_is_named_and_not_shown(tmp_path):
    server = Emulated()
    got = await talk(server, OPENAI | {"model": "m"}, {"OPENAI_API_KEY": "sk-wrong-and-secret"}, tmp_path, typed=["Hi"])
    assert str(got.ended).startswith("The server refused the key; check OPENAI_API_KEY")
    assert "wrong-and-secret" not in str(got.ended) + "".join(got.warned) + repr(got.service)
    assert got.warned == ["Incorrect API key provided: ***."]


async def test_a_session_that_has_lasted_long_enough(tmp_path):
    server = Emulated(Turn("Hi", "Hello."), limit_s=4.0)
    got = await talk(server, OPENAI | {"model": "m"}, KEY, tmp_path, parts=(0.2, 0.5, 6.0))
    assert got.answers == ["Hello."]
    assert "The server has ended the session" in str(got.ended)


async def test_voices_that_do_not_exist_cost_the_voice_only(tmp_path):
    class Choosy(Emulated):
        def check(self, session):
            if session["audio"]["output"].get("voice") == "nobody":
                return {"type": "e", "code": "invalid_value", "param": "session.audio.output.voice", "message": "No."}
            return super().check(session)

    server = Choosy(Turn("Hi", "Hello."))
    got = await talk(server, OPENAI | {"model": "m", "voice": "nobody"}, KEY, tmp_path, typed=["Hi"])
    assert got.answers == ["Hello."]
    assert got.warned == ["No. The conversation goes on without it."]
