"""The beta of the Realtime API (OpenAI, until May 2026) as a dialect, for clients that announce that they speak it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from vivavoce.realtime.dialect import Dialect
from vivavoce.realtime.dialects import to_ga
from vivavoce.realtime.events import (
    AnyServerEvent,
    ConversationItemAdded,
    ConversationItemDone,
    ConversationItemRetrieved,
    OutputItemAdded,
    OutputItemDone,
    ResponseCreated,
    ResponseDone,
    SessionCreated,
    SessionUpdated,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_TYPE: Final = '{"type":"'
_NAMES: Final = {
    "response.output_text.": "response.text.",
    "response.output_audio_transcript.": "response.audio_transcript.",
    "response.output_audio.": "response.audio.",
}
_FORMATS: Final = {"audio/pcm": "pcm16", "audio/pcmu": "g711_ulaw", "audio/pcma": "g711_alaw"}
_PARTS: Final = {"output_text": "text", "output_audio": "audio"}
_TEMPERATURE: Final = 0.8
"""The beta's default; nothing follows from it."""


class Beta(Dialect):
    """The beta's names and shapes in both directions."""

    def read(self, event: dict[str, Any]) -> dict[str, Any]:
        """Return a client event as GA has it; a session had no type."""
        match event:
            case {"type": "session.update", "session": dict(session)}:
                return to_ga(event | {"session": {"type": "realtime"} | session})
            case _:
                return to_ga(event)

    def write(self, event: AnyServerEvent) -> Iterator[str]:
        """Yield the message that tells a client of an event, none for what the beta did not tell."""
        match event:
            case ConversationItemDone():
                return
            case ConversationItemAdded() | ConversationItemRetrieved() | OutputItemAdded() | OutputItemDone():
                raw = _raw(event)
                yield _encoded(raw | {"type": _renamed(raw["type"]), "item": _item(raw["item"])})
            case SessionCreated() | SessionUpdated():
                raw = _raw(event)
                prefix = "transcription_" if raw["session"]["type"] == "transcription" else ""
                yield _encoded(raw | {"type": prefix + raw["type"], "session": _session(raw["session"])})
            case ResponseCreated() | ResponseDone():
                raw = _raw(event)
                yield _encoded(raw | {"response": _response(raw["response"])})
            case _:
                yield _named(encode(event))


def _renamed(kind: str) -> str:
    return "conversation.item.created" if kind == "conversation.item.added" else kind


def _named(text: str) -> str:
    """Rename an event without reading it: its sound is long, and its type comes first."""
    for ga, beta in _NAMES.items():
        if text.startswith(_TYPE + ga):
            return _TYPE + beta + text[len(_TYPE + ga) :]
    return text


def _session(ga: dict[str, Any]) -> dict[str, Any]:
    heard = ga["audio"]["input"]
    beta = {
        "id": ga["id"],
        "object": ga["object"],
        "expires_at": ga["expires_at"],
        "input_audio_format": _FORMATS[heard["format"]["type"]],
        "input_audio_transcription": heard["transcription"],
        "input_audio_noise_reduction": heard["noise_reduction"],
        "turn_detection": heard["turn_detection"],
        "include": ga["include"],
    }
    if ga["type"] == "transcription":
        return beta
    kept = {name: ga[name] for name in ("model", "instructions", "tools", "tool_choice", "tracing", "prompt")}
    more = {"speed": ga["audio"]["output"]["speed"], "max_response_output_tokens": ga["max_output_tokens"]}
    return beta | kept | _voice(ga) | more


def _response(ga: dict[str, Any]) -> dict[str, Any]:
    gone = ("output_modalities", "audio")
    kept = {name: value for name, value in ga.items() if name not in gone}
    return kept | _voice(ga) | {"output": [_item(item) for item in ga["output"]]}


def _voice(ga: dict[str, Any]) -> dict[str, Any]:
    spoken = ga["audio"].get("output", {})
    sound = spoken.get("format", {"type": "audio/pcm"})
    both = ["audio", "text"] if "audio" in ga["output_modalities"] else ["text"]
    return {
        "modalities": both,
        "voice": spoken.get("voice"),
        "output_audio_format": _FORMATS[sound["type"]],
        "temperature": _TEMPERATURE,
    }


def _item(ga: dict[str, Any]) -> dict[str, Any]:
    beta = {"object": "realtime.item"} | ga
    if "content" in beta:
        beta["content"] = [part | {"type": _PARTS.get(part["type"], part["type"])} for part in beta["content"]]
    return beta


def _raw(event: AnyServerEvent) -> dict[str, Any]:
    raw: dict[str, Any] = msgspec.json.decode(encode(event))
    return raw


def _encoded(raw: dict[str, Any]) -> str:
    return msgspec.json.encode(raw).decode()
