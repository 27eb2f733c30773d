"""A conversation inside a program: it is open within the block, tells what happens, and ends with the block."""

from __future__ import annotations

from typing import Any

import anyio
import numpy as np
import pytest
import soundfile

import vivavoce
from vivavoce.agent.conversation import KEPT, Told
from vivavoce.agent.pulled import PulledSpeaker
from vivavoce.config import ConfigError
from vivavoce.ports import DeviceError, LinkClosed
from vivavoce.realtime.client import Show
from vivavoce.testing import ScriptedLanguageModel, ScriptedSpeechToText, call, tone

pytestmark = pytest.mark.anyio

STORY = "Once upon a time there was a robot. It lived in a shed by the sea, alone."


def hearing():
    return ScriptedSpeechToText(["How many apples are left?"])


def shopkeeper():
    return ScriptedLanguageModel([call("in_stock", item="apples"), "Three apples are left."])


def narrator():
    return ScriptedLanguageModel([STORY])


ENGINES: dict[str, Any] = {
    "vad": "vivavoce.testing:ScriptedVad",
    "stt": f"{__name__}:hearing",
    "tts": "vivavoce.testing:ScriptedTextToSpeech",
}


@pytest.fixture(autouse=True)
def no_settings_of_the_machine(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def open_conversation(llm="shopkeeper", **options):
    return vivavoce.converse(llm=f"{__name__}:{llm}", **ENGINES, **options)


@vivavoce.tool
def in_stock(item: str) -> int:
    """Tell how many there are."""
    return 3


class Line(PulledSpeaker):
    """A caller who says one thing, waits, and hangs up."""

    def __init__(self, sample_rate=8_000, patience_s=10.0, frame_s=0.002):
        super().__init__(sample_rate)
        self.taken = []
        self._frame_s = frame_s
        self._patience_s = patience_s

    async def frames(self):
        frame = self.sample_rate // 50
        sound = np.concatenate([tone(220, 0.6, self.sample_rate), np.zeros(round(self.sample_rate * self._patience_s))])
        for start in range(0, len(sound), frame):
            await anyio.sleep(self._frame_s)
            self.taken.append(self.take(frame))
            yield sound[start : start + frame].astype(np.float32)


async def until_said(conversation, role="assistant"):
    events = []
    async for event in conversation:
        events.append(event)
        if isinstance(event, vivavoce.Said) and event.role == role:
            return events
    raise AssertionError(f"nothing was said: {events}")


async def test_a_typed_question_is_answered_with_a_tool():
    async with open_conversation(tools=[in_stock], text=True) as conversation:
        assert (conversation.state, conversation.quiet) == ("listening", True)
        conversation.say("How many apples are left?")
        assert not conversation.quiet
        events = await until_said(conversation)
    told = (vivavoce.Said, vivavoce.Run, vivavoce.Called)
    assert [type(event) for event in events if isinstance(event, told)] == [told[0], told[1], told[2], told[0]]
    assert [event for event in events if isinstance(event, vivavoce.Said)] == [
        vivavoce.Said("user", "How many apples are left?"),
        vivavoce.Said("assistant", "Three apples are left."),
    ]
    called = next(event for event in events if isinstance(event, vivavoce.Called))
    assert (called.run.name, called.result.output) == ("in_stock", "3")


async def test_it_waits_for_the_answer():
    async with open_conversation(tools=[in_stock], text=True) as conversation:
        conversation.say("How many apples are left?")
        await conversation.answered()
        assert conversation.quiet
        assert (await until_said(conversation))[-1] == vivavoce.Said("assistant", "Three apples are left.")


async def test_a_device_of_the_program_at_its_own_rate():
    line = Line()
    async with open_conversation("narrator", microphone=line, speaker=line, greeting="") as conversation:
        said = (await until_said(conversation))[-1]
        assert conversation.level_db == pytest.approx(-120.0)
    assert said == vivavoce.Said("assistant", STORY)
    seconds = sum(map(len, line.taken)) / line.sample_rate
    loud = sum(np.abs(taken).max() > 0.1 for taken in line.taken) / 50
    assert len(STORY.split()) * 0.06 == pytest.approx(loud, abs=0.15)
    assert seconds > 0.6 + 0.4 + loud - 0.1


async def test_it_ends_when_the_caller_hangs_up():
    line = Line(patience_s=2.0)
    async with open_conversation("narrator", microphone=line, speaker=line, greeting="") as conversation:
        said = [event.role async for event in conversation if isinstance(event, vivavoce.Said)]
        went_on = True
    assert said == ["user", "assistant"]
    assert went_on


async def test_a_spoken_conversation_is_opened_by_its_greeting():
    line = Line()
    async with open_conversation("narrator", microphone=line, speaker=line, greeting="Greet me.") as conversation:
        assert (await until_said(conversation))[-1].text.startswith("Once")


async def test_an_interrupted_answer_is_told_as_it_was_heard():
    line = Line()
    async with open_conversation("narrator", microphone=line, speaker=line, greeting="") as conversation:
        async for event in conversation:
            if isinstance(event, Show) and event.role == "assistant" and (event.heard or 0) > 10:
                conversation.interrupt()
                break
        said = (await until_said(conversation))[-1]
    assert said.cut
    assert 10 < len(said.text) < len(STORY)
    assert STORY.startswith(said.text)


async def test_stopping_ends_the_iteration_and_not_the_block():
    async with open_conversation(text=True) as conversation:
        conversation.stop()
        assert [event async for event in conversation] == []
        went_on = True
    assert went_on


async def test_the_person_steers():
    line = Line()
    async with open_conversation("narrator", microphone=line, speaker=line, greeting="") as conversation:
        assert not conversation.muted
        conversation.muted = True
        assert conversation.muted
        assert not conversation.push_to_talk
        conversation.push_to_talk = True
        assert conversation.push_to_talk
        conversation.press()
        conversation.release()
        conversation.confirm(yes=True)
        assert not conversation.replay()


async def test_the_failure_of_the_program_comes_out_as_it_is():
    with pytest.raises(KeyError, match="mine"):
        async with open_conversation(text=True):
            raise KeyError("mine")


async def test_the_failure_of_a_device_comes_out_as_it_is():
    class Broken(PulledSpeaker):
        async def frames(self):
            yield np.zeros(160, np.float32)
            raise DeviceError("The line is dead.")

    with pytest.raises(DeviceError, match="The line is dead"):
        async with open_conversation(microphone=Broken(8_000), greeting=""):
            await anyio.sleep_forever()


async def test_a_server_that_cannot_be_reached_is_told_in_one_sentence():
    with pytest.raises(LinkClosed, match=r"Nothing answers at ws://127\.0\.0\.1:1/v1/realtime"):
        async with vivavoce.converse(url="ws://127.0.0.1:1/v1/realtime", text=True):
            pass


async def test_a_server_that_says_nothing_is_given_up(monkeypatch):
    from websockets.asyncio.server import serve

    monkeypatch.setattr("vivavoce.agent.conversation.OPEN_S", 0.2)

    async def silent(connection):
        await connection.wait_closed()

    async with serve(silent, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        with pytest.raises(LinkClosed, match=r"has not opened a session within 0\.2 seconds"):
            async with vivavoce.converse(url=f"ws://127.0.0.1:{port}/v1/realtime", text=True):
                pass


async def test_a_wrong_setting_is_told():
    with pytest.raises(ConfigError, match="did you mean 'voice'"):
        async with vivavoce.converse(voices="x", text=True):
            pass


async def test_events_that_nobody_reads_are_forgotten():
    async with open_conversation(text=True) as conversation:
        for number in range(KEPT + 5):
            conversation._told.note(str(number))
        assert (await anext(conversation)) == vivavoce.Note("5")


def show(text, *, heard=None, cut=False, final=True, role="assistant"):
    return Show(role=role, item_id="item", text=text, heard=heard, cut=cut, final=final)


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        ([show("Hel", final=False), show("Hello.")], [("Hello.", False)]),
        ([show("Hello.", heard=0), show("Hello.", heard=6)], [("Hello.", False)]),
        ([show("Hello. ", heard=0), show("Hello. ", heard=6), show("Hello. ", heard=7)], [("Hello.", False)]),
        ([show("Hello there.", heard=5), show("Hello there.", heard=6, cut=True)], [("Hello", True)]),
        ([show("Hello there.", heard=5)], []),
        ([show("Hi.", role="user"), show("Hi.", role="user")], [("Hi.", False)]),
    ],
)
async def test_what_was_said_is_told_once(shown, said):
    events: list[Any] = []
    told = Told(events.append)
    for each in shown:
        told.words(each)
    assert [(event.text, event.cut) for event in events if isinstance(event, vivavoce.Said)] == said


async def test_an_answer_whose_end_is_not_heard_is_told_when_the_agent_is_silent():
    events: list[Any] = []
    told = Told(events.append)
    told.state("speaking")
    told.words(show("Hello there.", heard=5))
    told.state("speaking")
    assert not any(isinstance(event, vivavoce.Said) for event in events)
    told.state("listening")
    told.state("thinking")
    assert [event for event in events if isinstance(event, vivavoce.Said)] == [
        vivavoce.Said("assistant", "Hello there.")
    ]


async def test_every_public_name_is_there():
    for name in vivavoce.__all__:
        assert getattr(vivavoce, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        _ = vivavoce.nothing


async def test_it_is_recorded_where_the_settings_ask_for_it(tmp_path):
    line = Line(frame_s=0.02)
    options = {"microphone": line, "speaker": line, "greeting": "", "record": str(tmp_path / "kept")}
    async with open_conversation("narrator", **options) as conversation:
        await until_said(conversation)
    (folder,) = (tmp_path / "kept").iterdir()
    assert STORY.split(".", maxsplit=1)[0] in next(folder.glob("*.md")).read_text(encoding="utf-8")
    sound, rate = soundfile.read(next(folder.glob("*.wav")))
    assert sound.shape[1] == 2
    assert len(sound) / rate > 1
    assert np.abs(sound).max(axis=0).min() > 0.05
