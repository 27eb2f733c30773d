"""Engines for programs that are run as they are: VIVAVOCE_LLM=scripted_engines:llm and the like choose them."""

from __future__ import annotations

from vivavoce.ports import Call
from vivavoce.testing import ScriptedLanguageModel, ScriptedSpeechToText, ScriptedTextToSpeech, ScriptedVad

QUESTION = "What is the capital of France?"
ANSWER = "Paris, of course."
STOCK = "Three apples are left."
STORY = " ".join(["Well,", *["once"] * 99, "upon a time."])
"""Six seconds long."""


def stt() -> ScriptedSpeechToText:
    return ScriptedSpeechToText([QUESTION])


def llm() -> ScriptedLanguageModel:
    return ScriptedLanguageModel([ANSWER])


def storyteller() -> ScriptedLanguageModel:
    return ScriptedLanguageModel([STORY])


def shopkeeper() -> ScriptedLanguageModel:
    return ScriptedLanguageModel([[Call("in_stock", '{"item": "apples"}')], STOCK])


def clockmaker() -> ScriptedLanguageModel:
    return ScriptedLanguageModel([[Call("current_time", "{}")], "Look at the clock."])


def timekeeper() -> ScriptedLanguageModel:
    return ScriptedLanguageModel([[Call("date_and_time", "{}")], "Look at the clock."])


tts = ScriptedTextToSpeech
vad = ScriptedVad
