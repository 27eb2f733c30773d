"""A tool is called by voice where it is asked for, and not where it is not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.scenarios.people import talking
from tests.scenarios.speech import read, spoken
from tests.scenarios.weather import TEMPERATURE, weather_service

from vivavoce.agent.connection import connect
from vivavoce.agent.toolbox import weather
from vivavoce.agent.tools import Toolbox
from vivavoce.realtime.events import OutputAudioDelta, OutputAudioTranscriptDone
from vivavoce.speech.pcm import from_pcm16

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.scenarios.conftest import House

pytestmark = [pytest.mark.speech, pytest.mark.anyio]


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Those that the weather service was asked for."""
    with weather_service() as (environment, asked):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        weather._weather.cache_clear()
        yield asked
        weather._weather.cache_clear()


async def test_weather_by_voice(house: House, places: list[str], tmp_path: Path) -> None:
    async with connect(house.url) as link, talking(link, tmp_path / "out.wav", tools=_toolbox()) as talk:
        talk.mouth.say(await spoken("What is the weather in Paris?"))
        answer = (await talk.sees(OutputAudioTranscriptDone)).transcript
    (call,) = talk.view.calls
    assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Paris"})
    assert places == ["Paris"]
    sound = from_pcm16(b"".join(event.delta for event in talk.seen if isinstance(event, OutputAudioDelta)))
    heard = await read(sound)
    assert any(word in heard for word in (str(TEMPERATURE), "seventeen", "Seventeen")), f"{answer!r} {heard!r}"


async def test_small_talk_calls_nothing(house: House, places: list[str], tmp_path: Path) -> None:
    async with connect(house.url) as link, talking(link, tmp_path / "out.wav", tools=_toolbox()) as talk:
        talk.mouth.say(await spoken("Tell me a joke."))
        await talk.sees(OutputAudioTranscriptDone)
    assert not talk.view.calls
    assert not places


def _toolbox() -> Toolbox:
    tools = Toolbox()
    tools.add(weather.get_weather)
    return tools
