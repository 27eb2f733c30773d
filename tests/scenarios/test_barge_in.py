"""A person interrupts: the recorded output falls silent, and what was not heard is not remembered."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import numpy as np
import pytest
import soundfile
from tests.scenarios.people import talking
from tests.scenarios.speech import LOUD, RATE, loud, read, spoken, words

from vivavoce.agent.connection import connect
from vivavoce.aio import link_pair
from vivavoce.realtime.events import ConversationItemRetrieve, ConversationItemRetrieved
from vivavoce.realtime.facts import Generate
from vivavoce.realtime.values import Message, OutputAudio

if TYPE_CHECKING:
    from pathlib import Path

    from tests.recordings import Recording
    from tests.scenarios.conftest import House
    from tests.scenarios.people import Talk

    from vivavoce.agent.lasting import ClientLink
    from vivavoce.compose import ServerLink

pytestmark = pytest.mark.speech

QUESTION = "Tell me a very long story about a lighthouse."
STORIES = "You tell long stories of at least eight sentences."
HEARD_S = 1.5
"""Of the answer, before it is interrupted."""
REACTION_S = 0.3
INTERRUPTERS = ("1688-142285-0002.flac", "3005-163389-0008.flac", "sense_and_sensibility-0930.flac")


@pytest.mark.parametrize("interrupter", INTERRUPTERS)
@pytest.mark.anyio
async def test_interruption_over_the_socket(
    house: House, recordings: list[Recording], tmp_path: Path, interrupter: str
) -> None:
    output = tmp_path / "output.wav"
    interruption = _named(recordings, interrupter)
    async with connect(house.url) as link, talking(link, output, instructions=STORIES) as talk:
        answer, said = await _interrupt(talk, interruption)
        await link.send(ConversationItemRetrieve(item_id=answer))
        remembered = (await talk.sees(ConversationItemRetrieved)).item
    assert isinstance(remembered, Message)
    assert remembered.status == "incomplete"
    (part,) = remembered.content
    assert isinstance(part, OutputAudio)
    _assert_silent(output, talk.mouth.spoke_at, interruption)
    await _assert_heard(output, talk.mouth.spoke_at, said, str(part.transcript))


def test_interruption_in_process(house: House, recordings: list[Recording], tmp_path: Path) -> None:
    output = tmp_path / "output.wav"
    interruption = _named(recordings, INTERRUPTERS[0])

    async def converse() -> None:
        server: list[Any] = []
        theirs: ServerLink
        ours: ClientLink
        theirs, ours = link_pair(1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(house.hub.open, theirs, watch=server.append))
            async with talking(ours, output, instructions=STORIES) as talk:
                _, said = await _interrupt(talk, interruption)
            tasks.cancel_scope.cancel()
        prompt = [command.prompt for command in server if isinstance(command, Generate)][-1]
        assert [message.role for message in prompt.messages] == ["user", "assistant", "user"]
        _assert_silent(output, talk.mouth.spoke_at, interruption)
        await _assert_heard(output, talk.mouth.spoke_at, said, prompt.messages[1].text)

    house.portal.call(converse)


async def _interrupt(talk: Talk, interruption: Recording) -> tuple[str, str]:
    """Ask, listen for a while, interrupt, and hear the next answer begin; return the first, and all its words."""
    talk.mouth.say(await spoken(QUESTION))
    answer = await talk.hears(HEARD_S)
    talk.mouth.say(interruption.sound)
    await talk.hears(0.1, after=answer)
    return answer, talk.view.words_of[answer].text


def _named(recordings: list[Recording], name: str) -> Recording:
    return next(recording for recording in recordings if recording.name == name)


def _assert_silent(output: Path, spoke_at: float, interruption: Recording) -> None:
    """Hear the answer until the interrupting voice, then nothing while it lasts."""
    sound, rate = soundfile.read(output, dtype="float32")
    assert rate == RATE
    begun, ended = round((spoke_at + interruption.starts) * RATE), round(spoke_at * RATE) + len(interruption.sound)
    assert loud(sound[begun - RATE : begun])
    late = np.flatnonzero(np.abs(sound[begun:ended]) > LOUD)
    last = (late[-1] + 1) / RATE if len(late) else 0.0
    assert last < REACTION_S, f"silent only {last:.3f} s after the interrupting voice began"


async def _assert_heard(output: Path, spoke_at: float, said: str, remembered: str) -> None:
    """What is remembered begins what was said, and is no more than what a listener heard."""
    assert said.startswith(remembered)
    assert 0 < len(remembered) < len(said)
    sound, _ = soundfile.read(output, dtype="float32")
    heard = words(await read(sound[: round((spoke_at + 2 * REACTION_S) * RATE)])).split()
    assert words(remembered).split()[:2] == heard[:2]
    assert len(words(remembered).split()) <= len(heard) + 1
