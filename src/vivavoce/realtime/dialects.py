"""The shapes that clients send, made into the GA shapes that the session understands.

The beta's input fields and a few common slips are accepted from everyone: they mean one thing only.
"""

from __future__ import annotations

from typing import Any

_BETA_FORMATS = {
    "pcm16": {"type": "audio/pcm", "rate": 24000},
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
}
_BETA_SESSION = {
    "modalities": ("output_modalities",),
    "input_audio_format": ("audio", "input", "format"),
    "output_audio_format": ("audio", "output", "format"),
    "input_audio_transcription": ("audio", "input", "transcription"),
    "input_audio_noise_reduction": ("audio", "input", "noise_reduction"),
    "turn_detection": ("audio", "input", "turn_detection"),
    "voice": ("audio", "output", "voice"),
    "speed": ("audio", "output", "speed"),
    "max_response_output_tokens": ("max_output_tokens",),
}
_GONE = frozenset({"temperature"})
_CHOICES = ("auto", "none", "required")


def to_ga(event: dict[str, Any]) -> dict[str, Any]:
    """Return a client event in the GA shape; what is in it already is untouched."""
    match event:
        case {"type": "session.update", "session": dict(session)}:
            return event | {"session": _settings(session)}
        case {"type": "transcription_session.update", "session": dict(session)}:
            return event | {"type": "session.update", "session": _settings(session) | {"type": "transcription"}}
        case {"type": "response.create", "response": dict(response)}:
            return event | {"response": _response(_settings(response))}
        case {"type": "conversation.item.create", "item": {"role": "assistant", "content": [*parts]} as item}:
            return event | {"item": item | {"content": [_assistant_part(part) for part in parts]}}
        case _:
            return event


def error_to_ga(event: dict[str, Any]) -> dict[str, Any]:
    """Return a server's `error` event in the GA shape; some servers put the message beside the type."""
    told = event["error"] if isinstance(event.get("error"), dict) else event | {"type": None}
    message = told.get("message") or event.get("error") or "The server reports an error without saying which."
    known = {name: told[name] for name in ("code", "param", "event_id") if isinstance(told.get(name), str)}
    kind = told.get("type") if isinstance(told.get("type"), str) else "server_error"
    return {"type": "error", "error": known | {"type": kind, "message": str(message)}}


def _settings(old: dict[str, Any]) -> dict[str, Any]:
    new = {name: value for name, value in old.items() if name not in _BETA_SESSION and name not in _GONE}
    for name, path in _BETA_SESSION.items():
        if name in old:
            _put(new, path, _beta_value(name, old[name]))
    if isinstance(choice := new.get("tool_choice"), dict) and choice.get("type") in _CHOICES:
        new["tool_choice"] = choice["type"]
    return _named_voice(new)


def _beta_value(name: str, value: Any) -> Any:
    match name, value:
        case "modalities", [*modalities] if "audio" in modalities:
            return ["audio"]  # in the beta, text always came along
        case (("input_audio_format" | "output_audio_format"), str()):
            return _BETA_FORMATS.get(value, value)
        case _:
            return value


def _named_voice(settings: dict[str, Any]) -> dict[str, Any]:
    match settings:
        case {"audio": {"output": {"voice": {"id": str(name)}} as output} as audio}:
            return settings | {"audio": audio | {"output": output | {"voice": name}}}
        case _:
            return settings


def _response(settings: dict[str, Any]) -> dict[str, Any]:
    if "conversation" in settings and settings["conversation"] in ("default", None):
        return settings | {"conversation": "auto"}
    return settings


def _assistant_part(part: Any) -> Any:
    match part:
        case {"type": "text"}:
            return part | {"type": "output_text"}
        case {"type": "audio"}:
            return part | {"type": "output_audio"}
        case _:
            return part


def _put(target: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Set a nested field that is not set yet, copying what is on the way; what is no object there is left to refuse."""
    *way, last = path
    for name in way:
        inner = target.get(name) or {}
        if not isinstance(inner, dict):
            return
        target[name] = dict(inner)
        target = target[name]
    target.setdefault(last, value)
