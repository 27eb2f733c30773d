from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest

from vivavoce.aio import link_pair
from vivavoce.ports import BackendError, Call, Text, Usage
from vivavoce.realtime import events as wire
from vivavoce.realtime.conversation import Prompt, PromptMessage
from vivavoce.server.engine import Engines
from vivavoce.server.hub import Hub
from vivavoce.server.thinking import Thinking
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

PROMPT = Prompt(messages=(PromptMessage(role="user", text="Hello."),))


async def collected(thinking):
    return [thought async for thought in thinking.thoughts(Clock(anyio.current_time()))]


async def begun(llm, *, spoken=True):
    thinking = Thinking(PROMPT, spoken=spoken)
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
    thinking = Thinking(PROMPT, spoken=True)
    clock = Clock(anyio.current_time())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(thinking.run, ScriptedLanguageModel(["Yes. No."], delay=0.01))
        first, *_ = [thought async for thought in thinking.thoughts(clock)]
    assert first == Text("Yes. ")
    assert clock.timings("r").first_token_ms is not None


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

    thinking = Thinking(PROMPT, spoken=True)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(thinking.run, Endless())
            await anyio.sleep(0.01)
            thinking.stop()
        await closed.wait()


async def test_only_the_same_prompt_in_the_same_form_is_answered():
    thinking = Thinking(PROMPT, spoken=True)
    assert thinking.answers(Prompt(messages=(PromptMessage(role="user", text="Hello."),)), spoken=True)
    assert not thinking.answers(PROMPT, spoken=False)
    assert not thinking.answers(Prompt(), spoken=True)


def sound(*pieces):
    """Return pieces of speech (seconds) and of silence (seconds below zero) as one."""
    return b"".join(to_pcm16(tone(220.0, abs(piece), 24_000) * (piece > 0)) for piece in pieces)


async def conversed(llm, audio):
    """Return every event of one session that hears the sound, up to the end of its first response."""
    stt = ScriptedSpeechToText(["Hello there."])
    hub = Hub(Engines(ScriptedVad(), stt, llm, ScriptedTextToSpeech()))
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
