"""What tests of agents, servers and engines stand on: talks with an agent, scripted engines, contracts of the ports."""

from __future__ import annotations

from vivavoce.testing.contracts import llm_contract, stt_contract, tts_contract, vad_contract
from vivavoce.testing.engines import (
    Reply,
    ScriptedLanguageModel,
    ScriptedSearch,
    ScriptedSpeechToText,
    ScriptedTextToSpeech,
    ScriptedVad,
    call,
    tone,
)
from vivavoce.testing.talk import AsyncTalk, Talk, TalkError
from vivavoce.testing.turn import Moment, ToolCall, Turn

__all__ = [
    "AsyncTalk",
    "Moment",
    "Reply",
    "ScriptedLanguageModel",
    "ScriptedSearch",
    "ScriptedSpeechToText",
    "ScriptedTextToSpeech",
    "ScriptedVad",
    "Talk",
    "TalkError",
    "ToolCall",
    "Turn",
    "call",
    "llm_contract",
    "stt_contract",
    "tone",
    "tts_contract",
    "vad_contract",
]
