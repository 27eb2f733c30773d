from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest

from vivavoce.aio import link_pair
from vivavoce.ports import BackendError, Call, Text, Usage
from vivavoce.realtime import events as wire
from vivavoce.realtime.conversation import Prompt, PromptMessage
from vivavoce.server.ahead import Ahead, Budget, settled
from vivavoce.server.engine import Engines
from vivavoce.server.hub import Hub
from vivavoce.server.thinking import Manner, Rehearsal, Thinking
from vivavoce.server.voice import Clock
from vivavoce.speech.pcm import to_pcm16
from vivavoce.testing import (
    ScriptedLanguageModel,
    ScriptedSpeechToText,
    ScriptedTextToSpeech,
    ScriptedVad,
    tone,
)

pytestmark = pytest.mark.anyio

ALOUD = Manner(spoken=True)
PROMPT = Prompt(messages=(PromptMessage(role="user", text="Hello."),))


async def collected(thinking):
    return [thought async for thought in thinking.thoughts(Clock(anyio.current_time()))]


async def begun(llm, *, spoken=True):
    thinking = Thinking(PROMPT, Manner(spoken=spoken))
    await thinking.run(llm)
    return thinking


async def test_what_was_thought_ahead_is_heard_whole_in_sentences():
    thinking = await begun(ScriptedLanguageModel(["Good morning to you. How are you?"]))
    *said, usage = await collected(thinking)
    assert said == [Text("Good morning to you. "), Text("How are you?")]
    assert isinstance(usage, Usage)


async def test_text_is_passed_on_as_it_comes():
    *said, _ = await collected(await begun(ScriptedLanguageModel(["one two three"]), spoken=False))
    assert len(said) == 3


async def test_words_come_before_the_call_that_follows_them():
    call = Call("look", "{}")
    thoughts = await collected(await begun(ScriptedLanguageModel([[Text("Let me see"), call]])))
    assert thoughts[:2] == [Text("Let me see"), call]


async def test_thoughts_and_thinking_go_on_side_by_side_and_mark_the_first_token():
    thinking = Thinking(PROMPT, ALOUD)
    clock = Clock(anyio.current_time())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(thinking.run, ScriptedLanguageModel(["Yes. No."], delay=0.01))
        first, *_ = [thought async for thought in thinking.thoughts(clock)]
    assert first == Text("Yes. ")
    assert clock.timings("r").first_token_ms is not None


async def test_what_was_begun_ahead_says_by_how_much():
    for decided_after, told in ((0.5, 500.0), (-0.5, None)):
        thinking = await begun(ScriptedLanguageModel(["Yes."]))
        clock = Clock(thinking.began_at + decided_after)
        assert [thought async for thought in thinking.thoughts(clock)]
        assert clock.timings("r").ahead_ms == (told and pytest.approx(told, abs=0.1))


async def test_a_failure_is_the_last_thought():
    class Broken:
        async def generate(self, prompt):
            yield Text("Well, ")
            raise BackendError("language_model_failed", "It fell over.")

    *_, last = await collected(await begun(Broken()))
    assert isinstance(last, BackendError)


async def test_stopped_thinking_ends_and_closes_the_model():
    closed = anyio.Event()

    class Endless:
        async def generate(self, prompt):
            try:
                while True:
                    await anyio.lowlevel.checkpoint()
                    yield Text("and ")
            finally:
                closed.set()

    thinking = Thinking(PROMPT, ALOUD)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(thinking.run, Endless())
            await anyio.sleep(0.01)
            thinking.stop()
        await closed.wait()


async def test_only_the_same_prompt_in_the_same_form_is_answered():
    thinking = Thinking(PROMPT, ALOUD)
    assert thinking.answers(Prompt(messages=(PromptMessage(role="user", text="Hello."),)), ALOUD)
    assert not thinking.answers(PROMPT, Manner(spoken=False))
    assert not thinking.answers(PROMPT, Manner(spoken=True, voice="another"))
    assert not thinking.answers(Prompt(), ALOUD)


def sound(*pieces):
    """Return pieces of speech (seconds) and of silence (seconds below zero) as one."""
    return b"".join(to_pcm16(tone(220.0, abs(piece), 24_000) * (piece > 0)) for piece in pieces)


async def conversed(llm, audio, *, tts=None, budget=None):
    """Return every event of one session that hears the sound, up to the end of its first response."""
    stt = ScriptedSpeechToText(["Hello there."])
    hub = Hub(Engines(ScriptedVad(), stt, llm, tts or ScriptedTextToSpeech()), budget=budget)
    await hub.warm_up()
    ours, theirs = link_pair(1)  # type: ignore[var-annotated]
    events: list[Any] = []
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hub.open, theirs, "m")

            async def speak():
                for start in range(0, len(audio), 960):
                    await ours.send(wire.InputAudioBufferAppend(audio=audio[start : start + 960]))
                    await anyio.sleep(0.001)

            tasks.start_soon(speak)
            while not events or not isinstance(events[-1], wire.ResponseDone):
                events.append(await ours.receive())
            tasks.cancel_scope.cancel()
    await ours.close()
    await theirs.close()
    return events


async def test_an_answer_begun_at_the_pause_is_the_answer_and_made_once():
    llm = ScriptedLanguageModel(["Good day."])
    events = await conversed(llm, sound(-0.5, 0.5, -1.0))
    assert len(llm.prompts) == 1
    assert events[-1].response.status == "completed"
    assert [event.transcript for event in events if isinstance(event, wire.OutputAudioTranscriptDone)] == ["Good day."]


async def test_an_answer_begun_at_a_pause_in_the_middle_leaves_no_trace():
    llm = ScriptedLanguageModel(lambda prompt: "Good day.", delay=0.05)
    events = await conversed(llm, sound(-0.5, 0.5, -0.25, 0.5, -1.0))
    assert len(llm.prompts) > 1
    assert sum(isinstance(event, wire.ResponseCreated) for event in events) == 1
    assert [event.transcript for event in events if isinstance(event, wire.OutputAudioTranscriptDone)] == ["Good day."]
    assert events[-1].response.usage.output_tokens < 10


class Heard(ScriptedTextToSpeech):
    """A voice that remembers what it said."""

    def __init__(self):
        super().__init__()
        self.said = []

    async def speak(self, sentence, *, voice=None, speed=1.0):
        self.said.append(sentence)
        async for samples in super().speak(sentence, voice=voice, speed=speed):
            yield samples


async def test_the_first_sentence_is_spoken_ahead_and_once():
    tts, budget = Heard(), Budget()
    events = await conversed(
        ScriptedLanguageModel(["Good day. How are you?"]), sound(-0.5, 0.5, -1.0), tts=tts, budget=budget
    )
    assert tts.said == ["Good day.", "How are you?"]
    assert (budget.begun, budget.wanted, budget.used) == (1, 1, 0)
    spoken = sum(len(event.delta) for event in events if isinstance(event, wire.OutputAudioDelta))
    made = 0
    for sentence in tts.said[:2]:
        async for samples in ScriptedTextToSpeech().speak(sentence):
            made += len(samples)
    assert spoken == 2 * made


async def test_answers_ahead_are_bounded_in_a_turn():
    llm, budget = ScriptedLanguageModel(lambda prompt: "Good day."), Budget(tries=2)
    await conversed(llm, sound(-0.5, *[0.3, -0.2] * 5, -1.0), budget=budget)
    assert (budget.begun, budget.wanted, len(llm.prompts)) == (2, 0, 3)


async def test_speculation_can_be_switched_off():
    tts, llm = Heard(), ScriptedLanguageModel(["Good day."])
    events = await conversed(llm, sound(-0.5, 0.5, -1.0), tts=tts, budget=Budget(tries=0))
    assert len(llm.prompts) == 1
    assert events[-1].response.status == "completed"


async def test_no_more_answers_are_begun_ahead_at_once_than_the_budget_has():
    started = []
    budget = Budget(at_once=1)
    sessions = [
        Ahead(ScriptedLanguageModel(["Yes."]), ScriptedTextToSpeech(), budget, lambda *work: started.append(work))
        for _ in range(2)
    ]
    for ahead in sessions:
        ahead.think(PROMPT, ALOUD)
        ahead.think(PROMPT, ALOUD)
    assert len(started) == 1
    sessions[0].drop()
    sessions[0].drop()
    sessions[1].think(PROMPT, ALOUD)
    assert (len(started), budget.used) == (2, 1)


async def test_a_rehearsal_that_fails_says_so_when_it_is_wanted():
    class Mute(ScriptedTextToSpeech):
        async def speak(self, sentence, *, voice=None, speed=1.0):
            raise BackendError("voice_lost", "The voice is lost.")
            yield

    rehearsal = Rehearsal(Mute(), "Hello.", ALOUD)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(rehearsal.run)
        with pytest.raises(BackendError, match="lost"):
            _ = [samples async for samples in rehearsal.sound()]


def test_the_last_words_of_a_partial_are_not_settled():
    assert settled("What is the weather in") == "What is the"
    assert settled("What is") == settled("") == ""


async def test_a_session_that_ends_gives_its_share_of_the_budget_back():
    budget, begun = Budget(), anyio.Event()

    class Slow:
        async def generate(self, prompt):
            begun.set()
            await anyio.sleep_forever()
            yield Text("Never.")

    hub = Hub(Engines(ScriptedVad(), ScriptedSpeechToText(["Hello."]), Slow(), ScriptedTextToSpeech()), budget=budget)
    await hub.warm_up()
    ours, theirs = link_pair(100)  # type: ignore[var-annotated]
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hub.open, theirs, "m")
            await ours.send(wire.InputAudioBufferAppend(audio=sound(-0.5, 0.5, -0.2)))
            await begun.wait()
            assert budget.used == 1
            await ours.close()
    assert budget.used == 0
