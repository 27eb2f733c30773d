"""Talks with an agent under test: what was heard, called, said, when, and that it is the same at every run."""

from __future__ import annotations

import sys
import threading
import time

import anyio
import numpy as np
import pytest
import soundfile

import vivavoce
from vivavoce.agent.conversation import Confirm, StateChanged
from vivavoce.config import ConfigError
from vivavoce.plugins import PluginError
from vivavoce.ports import Call, Text
from vivavoce.realtime.client import Run, Show
from vivavoce.testing import AsyncTalk, Reply, Talk, TalkError, call, tone

QUESTION = "How many apples are left?"
LOOKS: list[Reply] = [call("in_stock", item="apples"), "Three apples are left."]
STORY = "Once upon a time there was a robot. It lived in a shed by the sea, alone."


@vivavoce.tool
def in_stock(item: str, *, fresh: bool = True) -> int:
    """Tell how many there are."""
    return 3 if fresh and item == "apples" else 0


# A turn --------------------------------------------------------------------------------------------------------------


def test_a_turn_tells_what_came_of_it(agent_test):
    turn = agent_test(tools=[in_stock], replies=LOOKS).say(QUESTION)
    assert turn.asked == turn.heard == QUESTION
    assert [(each.name, each.arguments, each.result, each.ok) for each in turn.calls] == [
        ("in_stock", {"item": "apples"}, "3", True)
    ]
    assert turn.said == turn.meant == "Three apples are left."
    assert not turn.cut
    assert turn.warnings == []


def test_calls_are_found_by_some_of_their_arguments(agent_test):
    turn = agent_test(tools=[in_stock], replies=[call("in_stock", item="apples", fresh=False), "No."]).say(QUESTION)
    assert turn.called("in_stock")
    assert turn.called("in_stock", item="apples")
    assert turn.called("in_stock", fresh=False, item="apples")
    assert not turn.called("in_stock", item="pears")
    assert not turn.called("in_stock", price=3)
    assert not turn.called("order")


def test_a_call_that_fails_is_told(agent_test):
    turn = agent_test(tools=[in_stock], replies=[call("in_stock"), "Sorry."]).say(QUESTION)
    assert turn.calls[0].ok is False
    assert "Wrong arguments" in str(turn.calls[0].result)


def test_arguments_that_are_no_object_are_kept_as_they_are(agent_test):
    turn = agent_test(tools=[in_stock], replies=[[Call("in_stock", "[1]")], "Sorry."]).say(QUESTION)
    assert turn.calls[0].arguments == {"": "[1]"}


def test_the_answer_is_sound(agent_test):
    turn = agent_test(replies=["One two three four five."]).say("Count.")
    assert len(turn.answer) / 24_000 == pytest.approx(5 * 0.2, abs=0.05)
    assert np.abs(turn.answer).max() == pytest.approx(0.2, abs=0.02)


def test_time_is_sound(agent_test):
    talk = agent_test(replies=["Hello."], silence_ms=400)
    quick = talk.say("Hello there, how are you?")
    assert quick.latency == pytest.approx(0.4, abs=0.1)
    slow = agent_test(replies=["Hello."], silence_ms=1000).say("Hello there, how are you?")
    assert slow.latency == pytest.approx(1.0, abs=0.1)
    assert 5 * 0.2 + 0.4 < talk.seconds < 5 * 0.2 + 0.4 + 1.0


def test_events_are_told_with_their_time(agent_test):
    talk = agent_test(replies=["Hello."])
    turn = talk.say("Hi.")
    states = [event.state for _, event in turn.events if isinstance(event, StateChanged)]
    assert states == ["hearing you", "listening", "thinking", "speaking", "listening"]
    times = [moment.at for moment in turn.events]
    assert times == sorted(times)
    assert 0 < times[0] < times[-1] <= talk.seconds


def test_every_run_is_the_same():
    def run():
        with Talk(tools=[in_stock], replies=[*LOOKS, STORY, "Goodbye."]) as talk:
            talk.say(QUESTION)
            talk.say("Tell me a story.", until=1.3)
            talk.say("Stop.")
            return [[(at, type(event), getattr(event, "text", "")) for at, event in turn.events] for turn in talk.turns]

    first = run()
    assert len(first[1]) > 10
    assert [run() for _ in range(4)] == [first] * 4


def test_a_turn_shows_itself_as_a_transcript(agent_test):
    turn = agent_test(tools=[in_stock], replies=LOOKS).say(QUESTION, heard="How many chapels are left?")
    assert repr(turn) == (
        f"<Turn answered after {turn.latency:g} s\n"
        "    you:     How many apples are left?\n"
        "    heard:   How many chapels are left?\n"
        "    tool:    in_stock(item='apples') → 3\n"
        "    agent:   Three apples are left.>"
    )


# What the person does ------------------------------------------------------------------------------------------------


def test_the_ears_may_mishear(agent_test):
    talk = agent_test(replies=lambda prompt: f"You said {prompt.messages[-1].text}")
    turn = talk.say(QUESTION, heard="How many chapels?")
    assert (turn.asked, turn.heard, turn.said) == (QUESTION, "How many chapels?", "You said How many chapels?")


def test_a_typed_sentence_is_answered_aloud(agent_test):
    turn = agent_test(replies=["Hello."]).type("Hi.")
    assert (turn.heard, turn.said) == ("Hi.", "Hello.")
    assert len(turn.answer) > 0


def test_a_recording_is_played(agent_test, tmp_path):
    path = tmp_path / "question.wav"
    soundfile.write(path, np.stack([tone(220, 1.0, 16_000)] * 2, axis=1), 16_000)
    talk = agent_test(replies=["One.", "Two."])
    assert talk.play(path, heard=QUESTION).heard == QUESTION
    assert talk.play(tone(220, 1.0, 24_000), heard="Again.").said == "Two."
    assert talk.seconds > 2 * (1.0 + 0.4)


def test_a_recording_for_scripted_ears_needs_its_words(agent_test, tmp_path):
    with pytest.raises(TalkError, match="heard="):
        agent_test(replies=["One."]).play(tmp_path / "question.wav")
    with pytest.raises(TalkError, match="cannot be played"):
        agent_test(replies=["One."]).play(tmp_path / "question.wav", heard="Hi.")


def test_silence_is_not_answered(agent_test):
    talk = agent_test(replies=["Hello."])
    turn = talk.play(np.zeros(24_000, np.float32), heard="Nothing.")
    assert (turn.heard, turn.said, turn.latency) == ("", "", None)
    assert talk.prompts == []
    before = talk.seconds
    assert talk.listen(2.0).said == ""
    assert talk.seconds == pytest.approx(before + 2.0, abs=0.05)


def test_the_agent_may_open(agent_test):
    talk = agent_test(replies=["Welcome.", "Hello."], greeting="Greet me.")
    assert talk.opening.said == "Welcome."
    assert talk.say("Hi.").said == "Hello."
    assert len(talk.turns) == 1


@pytest.mark.parametrize("until", [1.0, "upon a"])
def test_what_is_said_over_an_answer_interrupts_it(agent_test, until):
    talk = agent_test(replies=[STORY, "Goodbye."])
    story = talk.say("Tell me a story.", until=until)
    assert not story.cut
    at = talk.seconds
    stop = talk.say("Stop.")
    assert story.cut
    assert story.said.startswith("Once upon a")
    assert len(story.said) < len(story.meant) == len(STORY)
    assert len(story.answer) / 24_000 == pytest.approx(at - story_began(story), abs=0.2)
    assert (stop.heard, stop.said, stop.cut) == ("Stop.", "Goodbye.", False)
    assert talk.prompts[-1].messages[-2].text == story.said


def story_began(turn):
    return next(at for at, event in turn.events if isinstance(event, Show) and event.heard == 0)


def test_an_answer_that_was_heard_to_its_end_is_not_cut(agent_test):
    talk = agent_test(replies=["Hello.", "Goodbye."])
    first = talk.say("Hi.", until=99.0)
    talk.say("Bye.")
    assert (first.said, first.cut) == ("Hello.", False)


# Tools ---------------------------------------------------------------------------------------------------------------


def test_the_model_is_told_what_to_be_and_what_there_is(agent_test):
    talk = agent_test(tools=[in_stock], replies=["Hello."], instructions="You keep a shop.")
    talk.say("Hi.")
    assert talk.prompts[0].instructions == "You keep a shop."
    assert [each.name for each in talk.prompts[0].tools] == ["in_stock"]


def test_a_call_with_consequences_waits_for_consent(agent_test):
    ordered = []

    @vivavoce.tool(confirm="Shall I order {item}?")
    def order(item: str) -> str:
        """Order something."""
        ordered.append(item)
        return "ordered"

    talk = agent_test(tools=[order], replies=[call("order", item="pears"), "Shall I order pears?", "Done."])
    asked = talk.say("Order pears.")
    assert [event.question for _, event in asked.events if isinstance(event, Confirm)] == ["Shall I order pears?"]
    assert (ordered, asked.calls[0].result) == ([], None)
    agreed = talk.say("Yes.")
    assert (ordered, agreed.said) == (["pears"], "Done.")
    assert asked.calls[0].result == "ordered"


def test_a_call_that_ends_when_the_person_interrupts(agent_test):
    @vivavoce.tool(cancel_on_interrupt=True, filler="")
    async def search() -> str:
        """Search."""
        await anyio.sleep_forever()
        return ""

    talk = agent_test(tools=[search], replies=[call("search"), "All right."])
    turn = talk.say("Search.", until=Run)
    assert turn.calls[0].result is None
    assert talk.say("Never mind.").said == "All right."
    assert "Cancelled" in str(turn.calls[0].result)


def test_a_call_that_runs_long_has_news_later(agent_test):
    @vivavoce.tool(long_running=True)
    async def search() -> str:
        """Search."""
        await anyio.sleep(0.2)
        return "a needle"

    talk = agent_test(tools=[search], replies=[call("search"), "I am looking.", "I have found a needle."])
    assert talk.say("Search.").said == "I am looking."
    assert talk.listen().said == "I have found a needle."


def test_an_agent_without_news_is_given_up(agent_test, monkeypatch):
    monkeypatch.setattr("vivavoce.testing.talk.PATIENCE_S", 0.2)
    with pytest.raises(TalkError, match="no end"):
        agent_test(replies=["Hello."]).listen()


def test_a_talk_may_take_its_time(agent_test):
    talk = agent_test(replies=["Hello."], realtime=True, silence_ms=200)
    began = time.monotonic()
    turn = talk.say("Hi.")
    assert turn.said == "Hello."
    assert time.monotonic() - began >= talk.seconds - 0.1


def test_a_slow_tool_takes_no_time(agent_test):
    @vivavoce.tool
    async def slow() -> str:
        """Take long."""
        await anyio.sleep(0.3)
        return "done"

    turn = agent_test(tools=[slow], replies=[[Text("One moment. "), call("slow")], "It is done."]).say("Do it.")
    assert turn.said == "One moment. It is done."
    assert turn.latency == pytest.approx(0.4, abs=0.1)


# In every kind of test -----------------------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_async_tests_share_their_loop_with_the_tools(agent_test):
    asked, answered = anyio.create_memory_object_stream[str](1)

    @vivavoce.tool
    async def tell() -> str:
        """Tell."""
        return await answered.receive()

    await asked.send("from the test")
    async with agent_test(tools=[tell], replies=[call("tell"), "Told."]) as talk:
        turn = await talk.say("Tell.")
        assert turn.calls[0].result == "from the test"
        assert (await talk.type("Again.")).said == "Told."
        assert (await talk.listen(0.5)).said == ""
    asked.close()
    answered.close()


@pytest.mark.anyio
async def test_the_failure_of_a_test_comes_out_as_it_is():
    with pytest.raises(KeyError, match="mine"):  # noqa: PT012 - the talk must have begun
        async with AsyncTalk(replies=["Hello."]) as talk:
            await talk.say("Hi.")
            raise KeyError("mine")


def test_talks_stand_side_by_side(agent_test):
    one, two = agent_test(replies=["One."]), agent_test(replies=["Two."])
    assert (one.say("Hi.").said, two.say("Hi.").said, one.say("Hi.").said) == ("One.", "Two.", "One.")


# Mishaps -------------------------------------------------------------------------------------------------------------


def test_somebody_must_answer(agent_test):
    with pytest.raises(TalkError, match="replies"):
        agent_test()


def test_a_wrong_setting_is_named(agent_test):
    with pytest.raises(ConfigError, match="did you mean 'instructions'"):
        agent_test(replies=["Hello."], instruction="You keep a shop.")


def test_an_engine_that_is_not_there_is_named_and_leaves_no_thread(agent_test):
    threads = threading.active_count()
    with pytest.raises(PluginError, match="no stt engine 'nobody'"):
        agent_test(models="embedded", stt="nobody").say("Hi.")
    assert threading.active_count() == threads


def test_settings_of_the_machine_change_nothing(agent_test, tmp_path, monkeypatch):
    (tmp_path / "vivavoce.toml").write_text('instructions = "of the folder"', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VIVAVOCE_URL", "ws://127.0.0.1:1")
    talk = agent_test(replies=["Hello."])
    assert talk.say("Hi.").said == "Hello."
    assert "of the folder" not in talk.prompts[0].instructions


def test_a_model_that_fails_is_a_warning(agent_test):
    turn = agent_test(replies=[]).say("Hi.")
    assert "The script holds nothing to say" in turn.warnings[0]
    assert "warning: The script holds" in repr(turn)


def test_an_agent_that_has_gone_says_so(agent_test):
    talk = agent_test(replies=["Hello."])
    talk.say("Hi.")
    talk._begin().call(talk._talk.agent.stop)
    with pytest.raises(TalkError, match="over"):
        talk.say("Are you there?")


def test_an_agent_that_hangs_is_given_up(agent_test, monkeypatch):
    @vivavoce.tool(filler="")
    async def hang() -> str:
        """Hang."""
        await anyio.sleep_forever()
        return ""

    monkeypatch.setattr("vivavoce.testing.talk.PATIENCE_S", 0.5)
    with pytest.raises(TalkError, match=r"no end in 0.5 s.*\n.*\n.*you: +Hang[^.]*\.\n.*hang\(\) → None"):
        agent_test(tools=[hang], replies=[call("hang"), "Done."]).say("Hang.")


# The plug-in ---------------------------------------------------------------------------------------------------------

FAILING = """
def test_it(agent_test):
    talk = agent_test(replies=["Hello.", "Goodbye."])
    talk.say("Hi.")
    assert talk.say("Bye.").said == "Hello."

def test_other():
    assert False
"""


def test_a_failed_test_shows_what_was_said(tmp_path):
    import subprocess

    (tmp_path / "test_it.py").write_text(FAILING, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert "2 failed" in ended.stdout, ended.stdout
    assert ended.stdout.count("Talk with the agent") == 1
    assert "    you:     Hi.\n    agent:   Hello.>" in ended.stdout


def test_the_plug_in_costs_others_nothing(tmp_path):
    import subprocess

    told = "import sys\ndef test_it():\n    heavy = {'numpy', 'onnxruntime', 'anyio', 'msgspec', 'vivavoce.testing'}\n"
    told += "    assert 'vivavoce.pytest_plugin' in sys.modules\n    assert not heavy & set(sys.modules)\n"
    (tmp_path / "test_it.py").write_text(told, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:anyio", "test_it.py"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert "1 passed" in ended.stdout, ended.stdout


# Real engines --------------------------------------------------------------------------------------------------------


@pytest.mark.speech
def test_real_ears_and_voices_with_a_scripted_model(agent_test):
    talk = agent_test(tools=[in_stock], replies=[*LOOKS, STORY, "Goodbye."], models="embedded")
    turn = talk.say(QUESTION)
    assert "apples" in turn.heard.lower()
    assert turn.called("in_stock", item="apples")
    assert "apples" in turn.read_back().lower()
    assert 0.2 < turn.latency < 1.0
    story = talk.say("Tell me a story.", until="upon a")
    talk.say("Stop it, please.")
    assert story.cut
    assert talk.prompts[-1].messages[-2].text == story.said


@pytest.mark.speech
def test_real_models_call_the_tool(agent_test):
    @vivavoce.tool(examples=["how many apples are left", "do you still have pears"])
    def stock(item: str) -> int:
        """Tell how many pieces of a kind of fruit are in stock."""
        return 3 if "apple" in item.lower() else 0

    shop = "You keep a fruit shop. Answer in one short sentence."
    turn = agent_test(tools=[stock], instructions=shop, models="embedded", profile="fast").say(QUESTION)
    assert turn.called("stock")
    assert "three" in turn.said.lower() or "3" in turn.said
