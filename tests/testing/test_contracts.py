"""The contracts accept what keeps the promises of the ports, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from vivavoce.ports import BackendError, Call, Heard, Text, Usage
from vivavoce.realtime.conversation import Prompt, PromptMessage
from vivavoce.testing import (
    ScriptedLanguageModel,
    ScriptedSpeechToText,
    ScriptedTextToSpeech,
    ScriptedVad,
    llm_contract,
    stt_contract,
    tone,
    tts_contract,
    vad_contract,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.anyio

NOTHING = Prompt()

test_scripted_language_model = llm_contract(lambda: ScriptedLanguageModel(["Hello there."]))
test_scripted_calls = llm_contract(lambda: ScriptedLanguageModel([[Text("Well, "), Call("stop", "{}")]]))
test_scripted_speech_to_text = stt_contract(lambda: ScriptedSpeechToText(["Hello there."]))
test_scripted_text_to_speech = tts_contract(ScriptedTextToSpeech)
test_scripted_vad = vad_contract(ScriptedVad, speech=tone(220, 1.0, 16_000))


async def answers(model, prompt=NOTHING):
    return [piece async for piece in model.generate(prompt)]


async def test_replies_come_in_their_order_and_the_last_stays():
    model = ScriptedLanguageModel(["One two.", [Call("stop", "{}")]])
    prompt = Prompt(instructions="Be brief.", messages=(PromptMessage(role="user", text="Count."),))
    assert await answers(model, prompt) == [Text("One "), Text("two."), Usage(input_tokens=3, output_tokens=2)]
    assert (await answers(model))[0] == Call("stop", "{}")
    assert (await answers(model))[0] == Call("stop", "{}")
    assert model.prompts == [prompt, Prompt(), Prompt()]


async def test_a_reply_may_depend_on_the_prompt():
    model = ScriptedLanguageModel(lambda prompt: prompt.instructions)
    assert (await answers(model, Prompt(instructions="Echo")))[0] == Text("Echo")


async def test_an_empty_script_fails_as_a_backend_does():
    with pytest.raises(BackendError, match="script"):
        await answers(ScriptedLanguageModel([]))


async def test_transcripts_come_in_their_order():
    engine = ScriptedSpeechToText(["One.", "Two."])

    async def sound():
        yield tone(220, 0.1, 16_000)
        yield np.zeros(0, np.float32)

    for text in ("One.", "Two.", "Two."):
        heard = [result async for result in engine.transcribe(sound())]
        assert heard == [Heard(text), Heard(text, final=True)]
    assert [len(sound) for sound in engine.heard] == [1600] * 3


async def test_a_word_takes_60_ms():
    sound = [chunk async for chunk in ScriptedTextToSpeech().speak("One two three.", speed=0.5)]
    assert sum(map(len, sound)) == round(3 * 0.06 / 0.5 * 24_000)


class Model:
    """Says what its subclass says."""

    pieces: Any = ()

    async def generate(self, prompt):
        for piece in self.pieces:
            yield piece


class SaysStrings(Model):
    pieces = ("Hello.",)


class SaysUsageFirst(Model):
    pieces = (Usage(), Text("Hello."))


class SaysNothing(Model):
    pieces = (Usage(),)


class CallsWithAList(Model):
    pieces = (Call("stop", "[]"), Usage())


class CallsWithoutJson(Model):
    pieces = (Call("stop", "now"), Usage())


class FailsItsOwnWay(Model):
    async def generate(self, prompt):
        if not prompt.messages:
            raise KeyError("messages")
        yield Text("Hello.")


class CannotBeLeft(Model):
    async def generate(self, prompt):
        try:
            yield Text("Hello ")
            yield Text("there.")
        except GeneratorExit:
            raise ValueError("not now") from None


class ServesOne(Model):
    busy = False

    async def generate(self, prompt):
        from anyio.lowlevel import checkpoint

        assert not self.busy, "one at a time"
        self.busy = True
        await checkpoint()
        yield Text("Hello.")
        self.busy = False


class SpoiledByLeaving(Model):
    left = False

    async def generate(self, prompt):
        if self.left:
            return
        self.left = True
        yield Text("Hello.")
        yield Text("Hello.")
        self.left = False


@pytest.mark.parametrize(
    "broken",
    [
        SaysStrings,
        SaysUsageFirst,
        SaysNothing,
        CallsWithAList,
        CallsWithoutJson,
        FailsItsOwnWay,
        CannotBeLeft,
        ServesOne,
        SpoiledByLeaving,
    ],
)
async def test_broken_language_models_fail(broken):
    with pytest.raises((AssertionError, KeyError, ValueError, ExceptionGroup)):
        await llm_contract(broken)()


class Recogniser:
    sample_rate: Any = 16_000
    results: Any = (Heard("Hello.", final=True),)

    async def transcribe(self, audio, *, language=None, prompt=None):
        empty = True
        async for chunk in audio:
            empty = empty and not chunk.size
        for result in [Heard("", final=True)] if empty else self.results:
            yield result


class NeverEnds(Recogniser):
    results = (Heard("Hello."),)


class EndsTwice(Recogniser):
    results = (Heard("Hello.", final=True), Heard("Hello.", final=True))


class GoesOnAfterTheEnd(Recogniser):
    results = (Heard("Hello.", final=True), Heard("Hello."))


class HearsStrings(Recogniser):
    results = ("Hello.",)


class EndsAtThePause(Recogniser):
    async def transcribe(self, audio, *, language=None, prompt=None):
        empty = True
        async for chunk in audio:
            if chunk.size:
                empty = False
            elif not empty:
                break
        yield Heard("" if empty else "Hello.", final=True)


class StumblesAtAPause(Recogniser):
    async def transcribe(self, audio, *, language=None, prompt=None):
        async for chunk in audio:
            chunk.max()
        yield Heard("", final=True)


class HearsPauses(Recogniser):
    async def transcribe(self, audio, *, language=None, prompt=None):
        chunks = [chunk async for chunk in audio]
        yield Heard(" ".join("um" for chunk in chunks if not chunk.size), final=True)


class HearsThingsInSilence(Recogniser):
    async def transcribe(self, audio, *, language=None, prompt=None):
        async for _ in audio:
            pass
        yield Heard("Thank you.", final=True)


class TakesNoHints:
    sample_rate = 16_000

    async def transcribe(self, audio):
        async for heard in Recogniser().transcribe(audio):
            yield heard


class HasNoRate(Recogniser):
    sample_rate = 16.0


@pytest.mark.parametrize(
    "broken",
    [
        NeverEnds,
        EndsTwice,
        GoesOnAfterTheEnd,
        HearsStrings,
        EndsAtThePause,
        StumblesAtAPause,
        HearsPauses,
        HearsThingsInSilence,
        TakesNoHints,
        HasNoRate,
    ],
)
async def test_broken_recognisers_fail(broken):
    await stt_contract(Recogniser)()
    with pytest.raises((AssertionError, AttributeError, ValueError, TypeError)):
        await stt_contract(broken)()


class Voice:
    sample_rate = 24_000
    voices: Sequence[str] = ("one",)

    def sound(self, sentence, voice, speed):
        return tone(440, len(sentence.split()) * 0.1 / speed, self.sample_rate)

    async def speak(self, sentence, *, voice=None, speed=1.0):
        yield self.sound(sentence, voice, speed)


class HasNoVoices(Voice):
    voices = ()


class SpeaksIntegers(Voice):
    def sound(self, *how):
        return (super().sound(*how) * 32767).astype(np.int16)


class SpeaksDoubles(Voice):
    def sound(self, *how):
        return super().sound(*how).astype(np.float64)


class SpeaksStereo(Voice):
    def sound(self, *how):
        return np.stack([super().sound(*how)] * 2, axis=1)


class SpeaksTooLoud(Voice):
    def sound(self, *how):
        return super().sound(*how) * 32767


class IsMute(Voice):
    def sound(self, *how):
        return super().sound(*how) * 0


class SaysNotANumber(Voice):
    def sound(self, *how):
        return super().sound(*how) * np.float32("nan")


class KnowsItsVoices(Voice):
    def sound(self, sentence, voice, speed):
        return super().sound(sentence, {None: 0, "one": 0}[voice], speed)


class SlowsDown(Voice):
    def sound(self, sentence, voice, speed):
        return super().sound(sentence, voice, 1 / speed)


class SpeaksEmptiness(Voice):
    def sound(self, sentence, voice, speed):
        return super().sound(sentence or "nothing", voice, speed)


@pytest.mark.parametrize(
    "broken",
    [
        HasNoVoices,
        SpeaksIntegers,
        SpeaksDoubles,
        SpeaksStereo,
        SpeaksTooLoud,
        IsMute,
        SaysNotANumber,
        KnowsItsVoices,
        SlowsDown,
        SpeaksEmptiness,
    ],
)
async def test_broken_voices_fail(broken):
    await tts_contract(Voice)()
    with pytest.raises((AssertionError, KeyError)):
        await tts_contract(broken)()


class Percent(ScriptedVad):
    def score(self, frames, states):
        scores, states = super().score(frames, states)
        return scores * 100, states


class Reversed(ScriptedVad):
    def score(self, frames, states):
        scores, states = super().score(frames, states)
        return 1 - scores, states


class Mixed(ScriptedVad):
    def score(self, frames, states):
        return super().score(np.broadcast_to(frames.mean(axis=0), frames.shape), states)


class Forgetful(ScriptedVad):
    def score(self, frames, states):
        return super().score(frames, states)[0], []


class Columns(ScriptedVad):
    def score(self, frames, states):
        scores, states = super().score(frames, states)
        return scores[:, None], states


class Deaf(ScriptedVad):
    def score(self, frames, states):
        return super().score(frames * 0, states)


@pytest.mark.parametrize("broken", [Percent, Reversed, Mixed, Forgetful, Columns, Deaf])
async def test_broken_detectors_fail(broken):
    with pytest.raises(AssertionError):
        await vad_contract(broken, speech=tone(220, 1.0, 16_000))()
