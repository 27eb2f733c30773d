"""The tools that come with the agent, and consent, by voice with the embedded models."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import anyio
import pytest
from tests.scenarios.people import OURS, PATIENCE_S, talking
from tests.scenarios.speech import spoken

from vivavoce import tool
from vivavoce.agent.connection import connect
from vivavoce.agent.toolbox import built_in
from vivavoce.agent.tools import Toolbox
from vivavoce.realtime.events import OutputAudioTranscriptDone

if TYPE_CHECKING:
    from pathlib import Path

    from tests.scenarios.conftest import House
    from tests.scenarios.people import Talk

# ruff: noqa: ASYNC110 - what others do cannot be awaited
pytestmark = [pytest.mark.speech, pytest.mark.anyio]


async def answers(talk: Talk, count: int) -> str:
    """Wait for so many answers, and return the last."""
    with anyio.fail_after(PATIENCE_S):
        while len(said := [each for each in talk.seen if isinstance(each, OutputAudioTranscriptDone)]) < count:
            await anyio.sleep(0.01)
    return said[count - 1].transcript


@pytest.mark.parametrize(
    ("question", "name", "arguments", "result"),
    [
        ("What time is it in Tokyo?", "date_and_time", {"place": "Tokyo"}, "in Tokyo (UTC+9)"),
        ("What is seventeen times twenty three?", "calculator", None, "= 391"),
    ],
)
async def test_it_is_looked_up(house: House, tmp_path: Path, question, name, arguments, result) -> None:
    async with (
        connect(house.url) as link,
        talking(link, tmp_path / "o.wav", tools=Toolbox(built_in()), service=OURS) as talk,
    ):
        talk.mouth.say(await spoken(question))
        answer = await answers(talk, 1)
    assert [call.name for call in talk.view.calls] == [name], (answer, talk.view.said("user"))
    assert arguments is None or json.loads(talk.view.calls[0].arguments) == arguments
    assert talk.view.results[0].output.endswith((result, result + ".")), talk.view.results
    assert name != "calculator" or "391" in answer


async def test_a_timer_rings(house: House, tmp_path: Path) -> None:
    async with (
        connect(house.url) as link,
        talking(link, tmp_path / "o.wav", tools=Toolbox(built_in()), service=OURS) as talk,
    ):
        talk.mouth.say(await spoken("Set a timer for three seconds."))
        await answers(talk, 1)
        rings = await answers(talk, 2)
    assert [call.name for call in talk.view.calls] == ["set_timer"]
    set_, rang = (result.output for result in talk.view.results)
    assert "the 3 seconds timer runs" in set_
    assert rang == "the 3 seconds timer rings now."
    assert "timer" in rings.lower()


@pytest.mark.parametrize(("word", "sent"), [("Yes, please.", ["Bob"]), ("No, don't do it.", [])])
async def test_consent_by_voice(house: House, tmp_path: Path, word: str, sent: list[str]) -> None:
    done: list[str] = []

    @tool(
        confirm="Shall I send the invoice to {name}?", examples=["send the invoice to Alice", "send Carl the invoice"]
    )
    def send_invoice(name: str) -> str:
        """Send the invoice to somebody.

        Args:
            name: Who gets it.
        """
        done.append(name)
        return f"The invoice was sent to {name}."

    async with (
        connect(house.url) as link,
        talking(link, tmp_path / "o.wav", tools=Toolbox([send_invoice]), service=OURS) as talk,
    ):
        talk.mouth.say(await spoken("Please send the invoice to Bob."))
        question = await answers(talk, 1)
        assert talk.view.questions == ["Shall I send the invoice to Bob?"]
        assert done == []
        while talk.speaker.heard() is None or not talk.speaker.idle():
            await anyio.sleep(0.05)
        talk.mouth.say(await spoken(word))
        with anyio.fail_after(PATIENCE_S):
            while not talk.view.results:
                await anyio.sleep(0.01)
        count = len([each for each in talk.seen if isinstance(each, OutputAudioTranscriptDone)])
        answer = await answers(talk, count + 1)
    assert done == sent, f"{question!r} {answer!r}"
    assert talk.view.consents == [bool(sent)]
