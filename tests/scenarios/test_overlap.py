"""Somebody is heard over the answer: real sound, real ears, and what the listener hears of the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import numpy as np
import pytest
import soundfile
from tests.overlaps import Overlap, backchannels, interruptions, noises, side_talk
from tests.scenarios.people import OURS, STRANGER, talking
from tests.scenarios.speech import RATE

from vivavoce import compose
from vivavoce.backends.moonshine import Moonshine
from vivavoce.backends.silero import Silero
from vivavoce.ports import Text
from vivavoce.realtime.client import Duck, Hush, Unduck
from vivavoce.realtime.events import ConversationItemAdded
from vivavoce.run import LEAD_S
from vivavoce.server.engine import Engines
from vivavoce.server.hub import Hub
from vivavoce.testing import ScriptedLanguageModel, ScriptedTextToSpeech

if TYPE_CHECKING:
    from pathlib import Path

    from vivavoce.agent.services import Service

pytestmark = [pytest.mark.speech, pytest.mark.anyio]

STORY = [Text(f"Of lighthouse number {number} there is much to tell. ") for number in range(100)]
EARS = Moonshine()
"""One for all, as a server has it: loaded and warm."""
AUDIBLE = 0.01
AFTER_S = 1.2


async def heard(overlap: Overlap, output: Path, service: Service = OURS) -> tuple[list[type], int, np.ndarray]:
    """Speak over an answer; return what the agent did, how many items that added, and the sound from there on."""
    question = side_talk(1)[0].sound * 8
    hub = Hub(Engines(Silero(), EARS, ScriptedLanguageModel([STORY]), ScriptedTextToSpeech()), lead_s=LEAD_S)
    await hub.warm_up()
    async with compose.in_process(hub) as link, talking(link, output, service=service) as talk:
        talk.mouth.say(question)
        await talk.hears(1.0)
        before = len(talk.seen)
        talk.mouth.say(overlap.sound)
        await anyio.sleep(len(overlap.sound) / RATE + AFTER_S)
        seen, at = talk.seen[before:], talk.mouth.spoke_at
    sound, _ = soundfile.read(output, dtype="float32")
    did = [type(what) for what in seen if isinstance(what, Duck | Unduck | Hush)]
    added = sum(isinstance(what, ConversationItemAdded) for what in seen)
    return did, added, sound[round(at * RATE) :]


_made: dict[str, list[Overlap]] = {}
"""By kind: they take seconds to synthesise."""


async def _one(kind: str, name: str) -> Overlap:
    if not _made:
        made = [*await interruptions(1), *await backchannels(), *noises()]
        _made.update({kind: [each for each in made if each.kind == kind] for kind in {each.kind for each in made}})
    return next(each for each in _made[kind] if each.name.startswith(name))


@pytest.mark.parametrize("name", ["What about tomorrow?", "Stop it.", "Okay, and what about London?"])
async def test_words_for_us_end_the_answer(name: str, tmp_path: Path) -> None:
    did, _, sound = await heard(await _one("interruption", name), tmp_path / "output.wav")
    assert did[0] is Duck
    assert Hush in did
    blocks = np.abs(sound[: RATE // 100 * 100]).reshape(-1, RATE // 100).max(axis=1)
    assert (blocks[:100] < AUDIBLE).any()


@pytest.mark.parametrize("name", ["right", "okay", "I see", "uh-huh (heart)"])
async def test_signs_of_a_listener_stop_nothing(name: str, tmp_path: Path) -> None:
    did, added, sound = await heard(await _one("backchannel", name), tmp_path / "output.wav")
    assert did == [Duck, Unduck]
    assert added == 0
    assert (np.abs(sound[-RATE // 5 :]) > AUDIBLE).any()


@pytest.mark.parametrize("name", ["cough", "throat 1", "slam", "clap", "keys"])
async def test_noises_stop_nothing(name: str, tmp_path: Path) -> None:
    did, added, sound = await heard(await _one("noise", name), tmp_path / "output.wav")
    assert did in ([], [Duck, Unduck])
    assert added == 0
    assert (np.abs(sound[-RATE // 5 :]) > AUDIBLE).any()


async def test_somebody_across_the_room_stops_nothing(tmp_path: Path) -> None:
    did, added, _ = await heard(side_talk(1)[0], tmp_path / "output.wav")
    assert Hush not in did
    assert added == 0


async def test_a_plain_client_is_interrupted_by_anything(tmp_path: Path) -> None:
    did, _, _ = await heard(await _one("backchannel", "okay"), tmp_path / "output.wav", STRANGER)
    assert did == [Hush]
