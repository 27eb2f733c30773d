"""The connection breaks in every way and at every moment; the conversation goes on."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import numpy as np
import pytest
from anyio import create_task_group, fail_after
from tests.scenarios.faults import Network, network
from tests.scenarios.people import Onlooker
from tests.scenarios.speech import RATE, Mouth, silence, words

from vivavoce.agent import connection, lasting
from vivavoce.agent.agent import Agent
from vivavoce.agent.connection import connect
from vivavoce.agent.files import AudioClock, WavSpeaker
from vivavoce.agent.tools import Toolbox, tool
from vivavoce.ports import Call
from vivavoce.realtime.server import Ids
from vivavoce.server.app import serve
from vivavoce.server.engine import Engines
from vivavoce.server.hub import Hub
from vivavoce.testing import (
    ScriptedLanguageModel,
    ScriptedSpeechToText,
    ScriptedTextToSpeech,
    ScriptedVad,
    tone,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.recordings import Recording
    from tests.scenarios.conftest import House

    from vivavoce.realtime.conversation import Prompt

pytestmark = pytest.mark.anyio

PATIENCE_S = 20.0
SPOKEN = {
    "type": "realtime",
    "instructions": "Be kind.",
    "audio": {"input": {"transcription": {}, "turn_detection": {"type": "server_vad", "silence_duration_ms": 200}}},
}
WRITTEN = {"type": "realtime", "output_modalities": ["text"]}


class Watching(Onlooker):
    """A view that remembers lines and states."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []
        self.states: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def state(self, state: str) -> None:
        if self.states[-1:] != [state]:
            self.states.append(state)


class Place:
    """A server with scripted engines that can be restarted, behind a network."""

    def __init__(self, replies: Any, *, lifetime_s: float = 3600.0, delay: float = 0.0) -> None:
        self.llm = ScriptedLanguageModel(replies, delay=delay)
        self.stt = ScriptedSpeechToText(["My name is Ada.", "What is my name?"])
        self.lifetime_s = lifetime_s
        self.network: Network
        self.url = ""
        self.direct = ""

    @property
    def prompts(self) -> list[list[tuple[str, str]]]:
        return [[(message.role, message.text) for message in prompt.messages] for prompt in self.llm.prompts]

    def hub(self) -> Hub:
        engines = Engines(vad=ScriptedVad(), stt=self.stt, llm=self.llm, tts=ScriptedTextToSpeech())
        return Hub(engines, lifetime_s=self.lifetime_s)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async with self.running() as url, network(url) as (self.network, self.url):
            yield

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        ready = anyio.Event()
        urls: list[str] = []

        def on_ready(url: str) -> None:
            urls.append(url)
            ready.set()

        async with create_task_group() as tasks:
            tasks.start_soon(partial(serve, self.hub(), port=0, grace_s=0, on_ready=on_ready))
            await ready.wait()
            yield urls[0]
            tasks.cancel_scope.cancel()


class Person:
    """Somebody who talks through an agent, by voice into a file or in writing."""

    def __init__(self, agent: Agent, view: Watching, mouth: Mouth, speaker: WavSpeaker) -> None:
        self.agent, self.view, self.mouth, self.speaker = agent, view, mouth, speaker

    async def until(self, true: Callable[[], object], *, patience_s: float = PATIENCE_S) -> None:
        with fail_after(patience_s):
            while not true():  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(0.01)

    async def until_back(self, times: int = 1) -> None:
        await self.until(lambda: sum("Reconnected" in note for note in self.view.notes) >= times)

    async def until_quiet(self) -> None:
        await self.until(lambda: self.agent.quiet)

    def answers(self) -> list[str]:
        return [show.text for show in self.view.said("assistant")]


@asynccontextmanager
async def talking(
    url: str, tmp_path: Path, *, spoken: bool = True, tools: Toolbox | None = None, session: Any = None
) -> AsyncIterator[Person]:
    clock, view = AudioClock(realtime=True), Watching()
    mouth = Mouth(clock)
    async with connect(url) as link, WavSpeaker(tmp_path / "answers.wav", clock=clock, sample_rate=RATE) as speaker:
        agent = Agent(
            link,
            session or (SPOKEN if spoken else WRITTEN),
            mint=Ids("c"),
            view=view,
            tools=tools or Toolbox(),
            microphone=mouth if spoken else None,
            speaker=speaker if spoken else None,
            reopen=lambda: connect(url),
        )
        async with create_task_group() as tasks:
            tasks.start_soon(agent.run)
            person = Person(agent, view, mouth, speaker)
            await person.until(lambda: view.states[-1:] == ["listening"])
            yield person
            tasks.cancel_scope.cancel()


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PING_S", 0.2)
    monkeypatch.setattr(connection, "SILENT_S", 0.8)
    monkeypatch.setattr(lasting, "FIRST_S", 0.05)


def name_known(prompt: Prompt) -> str:
    known = any("Ada" in message.text for message in prompt.messages if message.role == "user")
    return "You are Ada." if known else "I do not know you."


async def break_off(place: Place, fault: str) -> None:
    match fault:
        case "cut":
            await place.network.cut()
        case "reset":
            await place.network.reset()
        case _:
            place.network.swallows = True
            await anyio.sleep(1.2)
            place.network.swallows = False


@pytest.mark.parametrize("fault", ["cut", "reset", "half open"])
async def test_what_the_person_told_is_known_after_the_connection_broke(tmp_path: Path, fault: str) -> None:
    place = Place(name_known)
    async with place.open(), talking(place.url, tmp_path, spoken=False) as person:
        person.agent.say("My name is Ada.")
        await person.until_quiet()
        await break_off(place, fault)
        await person.until_back()
        person.agent.say("What is my name?")
        await person.until(lambda: len(person.answers()) == 2)
        await person.until_quiet()
        assert person.answers() == ["You are Ada.", "You are Ada."]
        assert place.prompts[-1] == [
            ("user", "My name is Ada."),
            ("assistant", "You are Ada."),
            ("user", "What is my name?"),
        ]
        assert [note.split()[0] for note in person.view.notes] == ["Connection", "Reconnected"]
        assert "reconnecting" in person.view.states
        assert person.view.warnings == []


async def test_the_server_is_restarted(tmp_path: Path) -> None:
    place = Place(name_known)
    async with place.open(), talking(place.url, tmp_path, spoken=False) as person:
        person.agent.say("My name is Ada.")
        await person.until_quiet()
        place.network.refuses = True
        await place.network.reset()
        person.agent.say("What is my name?")
        await anyio.sleep(0.5)
        async with place.running() as url:
            place.network.port = int(url.split("/")[2].rpartition(":")[2])
            place.network.refuses = False
            await person.until(lambda: len(person.answers()) == 2)
            await person.until_quiet()
        assert person.answers() == ["You are Ada.", "You are Ada."]
        assert place.network.connections > 2


async def test_a_slow_network_is_no_broken_one(tmp_path: Path) -> None:
    place = Place(name_known)
    async with place.open(), talking(place.url, tmp_path, spoken=False) as person:
        place.network.delay_s = 0.15
        person.agent.say("My name is Ada.")
        await person.until(lambda: person.answers() == ["You are Ada."])
        await anyio.sleep(1)
        assert person.view.notes == []


@pytest.mark.parametrize("fault", ["cut", "half open"])
async def test_a_sentence_is_heard_whole_though_the_connection_breaks_in_its_middle(tmp_path: Path, fault: str) -> None:
    place = Place(name_known)
    async with place.open(), talking(place.url, tmp_path) as person:
        person.mouth.say(np.concatenate([tone(300, 1.5, RATE), silence(1)]))
        await person.until(lambda: "hearing you" in person.view.states)
        await anyio.sleep(0.3)
        await break_off(place, fault)
        await person.until(lambda: person.answers() == ["You are Ada."])
        seconds = [len(heard) / 16_000 for heard in place.stt.heard if len(heard)]
        assert 1.5 <= seconds[-1] <= 2.6, seconds
        assert [show.text for show in person.view.said("user") if show.text] == ["My name is Ada."]


async def test_an_answer_that_was_heard_in_part_is_left_so(tmp_path: Path) -> None:
    sentences = " ".join(f"{number} one two three four five." for number in range(8))
    place = Place([sentences, "Yes."], delay=0.15)
    async with place.open(), talking(place.url, tmp_path) as person:
        person.agent.say("Count.")
        await person.until(lambda: (person.speaker.heard() or ("", 0))[1] > 300)
        await place.network.cut()
        await person.until_back()
        await person.until_quiet()
        person.agent.say("And?")
        await person.until(lambda: len(place.prompts) == 2)
        (user, first), (assistant, said), (_, last) = place.prompts[-1]
        assert (user, assistant, first, last) == ("user", "assistant", "Count.", "And?")
        assert said
        assert sentences.startswith(said)
        assert len(said) < len(sentences)
        await person.until_quiet()


async def test_an_answer_of_which_nothing_was_heard_is_given_again(tmp_path: Path) -> None:
    place = Place(name_known, delay=0.5)
    async with place.open(), talking(place.url, tmp_path) as person:
        person.agent.say("My name is Ada.")
        await person.until(lambda: place.prompts)
        await place.network.cut()
        await person.until(lambda: "You are Ada." in person.answers())
        await person.until_quiet()
        assert place.prompts == [[("user", "My name is Ada.")]] * 2


@pytest.mark.parametrize("spoken", [True, False])
async def test_a_call_runs_on_and_its_result_reaches_the_new_session(tmp_path: Path, *, spoken: bool) -> None:
    calls: list[str] = []
    going_on = anyio.Event()

    @tool
    async def count_apples() -> str:
        """Count the apples."""
        calls.append("called")
        await going_on.wait()
        return "There are three apples."

    place = Place([[Call("count_apples", "{}")], "Three."])
    tools = Toolbox([count_apples])
    definitions = [msgspec.to_builtins(definition) for definition in tools.definitions()]
    session = (SPOKEN if spoken else WRITTEN) | {"tools": definitions}
    async with place.open(), talking(place.url, tmp_path, spoken=spoken, tools=tools, session=session) as person:
        person.agent.say("How many apples?")
        await person.until(lambda: calls)
        await place.network.reset()
        await person.until_back()
        going_on.set()
        await person.until(lambda: "Three." in person.answers())
        await person.until_quiet()
        assert calls == ["called"]
        assert [role for role, _ in place.prompts[-1]] == ["user", "assistant", "tool"]
        assert "three apples" in place.prompts[-1][-1][1]


async def test_a_session_is_renewed_before_it_ends_and_nobody_notices(tmp_path: Path) -> None:
    place = Place(name_known, lifetime_s=2.0)
    async with place.open(), talking(place.url, tmp_path, spoken=False) as person:
        person.agent.say("My name is Ada.")
        await person.until_quiet()
        await person.until(lambda: place.network.connections == 2)
        await person.until_quiet()
        person.agent.say("What is my name?")
        await person.until(lambda: len(person.answers()) == 2)
        assert person.answers() == ["You are Ada.", "You are Ada."]
        assert (person.view.notes, person.view.warnings) == ([], [])
        assert "reconnecting" not in person.view.states


async def test_a_session_that_expires_in_the_middle_of_an_answer_goes_on_in_another(tmp_path: Path) -> None:
    place = Place(name_known, lifetime_s=3.0, delay=0.6)
    async with place.open(), talking(place.url, tmp_path, spoken=False) as person:
        await anyio.sleep(1.5)
        person.agent.say("My name is Ada.")
        await person.until(lambda: "You are Ada." in person.answers())
        assert person.view.warnings == []
        assert place.network.connections == 2
        assert place.prompts == [[("user", "My name is Ada.")]] * 2


@pytest.mark.speech
async def test_a_person_is_understood_though_the_connection_breaks_in_mid_sentence(
    house: House, recordings: list[Recording], tmp_path: Path
) -> None:
    recording = next(each for each in recordings if each.name == "2609-156975-0003.flac")
    async with network(house.url) as (between, url), talking(url, tmp_path) as person:
        person.mouth.say(np.concatenate([recording.sound, silence(2)]))
        await person.until(lambda: "hearing you" in person.view.states)
        await anyio.sleep(len(recording.sound) / RATE / 2 - recording.starts)
        await between.reset()
        await person.until(lambda: any(show.final and show.text for show in person.view.said("user")), patience_s=90)
        said = [show.text for show in person.view.said("user") if show.final]
        heard, spoken = words(" ".join(said)).split(), words(recording.words).split()
        assert heard[:3] == spoken[:3]
        assert heard[-2:] == spoken[-2:]
        assert len(heard) == pytest.approx(len(spoken), abs=len(spoken) // 4)
