"""The shapes of the beta, written down from its reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

OLD_KNOWN = {
    "model",
    "modalities",
    "instructions",
    "voice",
    "input_audio_format",
    "output_audio_format",
    "input_audio_transcription",
    "input_audio_noise_reduction",
    "turn_detection",
    "tools",
    "tool_choice",
    "temperature",
    "max_response_output_tokens",
    "speed",
}
NAMES = {
    "response.output_text.": "response.text.",
    "response.output_audio.": "response.audio.",
    "response.output_audio_transcript.": "response.audio_transcript.",
}
PARTS = {"output_text": "text", "output_audio": "audio"}


def old_session() -> dict[str, Any]:
    """Return what a session begins with."""
    return {
        "id": "sess_1",
        "object": "realtime.session",
        "model": "gpt-4o-realtime-preview",
        "modalities": ["audio", "text"],
        "output_modalities": ["audio"],
        "voice": "alloy",
        "input_audio_format": "pcm16",
        "output_audio_format": "pcm16",
        "input_audio_transcription": None,
        "turn_detection": {"type": "server_vad", "threshold": 0.5, "silence_duration_ms": 200},
        "tools": [],
        "temperature": 0.8,
        "max_response_output_tokens": "inf",
    }


def in_beta(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield an event of GA as the beta told it."""
    kind = event["type"]
    if kind == "conversation.item.done":
        return
    for new, old in NAMES.items():
        kind = old + kind.removeprefix(new) if kind.startswith(new) else kind
    told = event | {"type": "conversation.item.created" if kind == "conversation.item.added" else kind}
    if "session" in told:
        told["session"] = {name: value for name, value in told["session"].items() if name != "output_modalities"}
    if "item" in told:
        told["item"] = _item(told["item"])
    if "response" in told:
        told["response"] = told["response"] | {"output": [_item(item) for item in told["response"]["output"]]}
    yield told


def _item(item: dict[str, Any]) -> dict[str, Any]:
    if "content" not in item:
        return item | {"object": "realtime.item"}
    parts = [part | {"type": PARTS.get(part["type"], part["type"])} for part in item["content"]]
    return item | {"object": "realtime.item", "content": parts}
