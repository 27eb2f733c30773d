"""The shapes that clients and servers send, made into the GA shapes that the session understands, and the beta's again.

The beta's fields and names and a few common slips are accepted from everyone: they mean one thing only.
"""

from __future__ import annotations

from typing import Any

_BETA_FORMATS: dict[str, dict[str, Any]] = {
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
_BETA_NAMES = {
    "response.text.": "response.output_text.",
    "response.audio.": "response.output_audio.",
    "response.audio_transcript.": "response.output_audio_transcript.",
}
_BETA_PARTS = {"text": "output_text", "audio": "output_audio"}
_G711 = ("audio/pcmu", "audio/pcma")
_TELEPHONE_RATE = 8000
_GONE = frozenset({"temperature"})
_CHOICES = ("auto", "none", "required")
_ABSENT = object()


def to_ga(event: dict[str, Any]) -> dict[str, Any]:
    """Return a client event in the GA shape; what is in it already is untouched."""
    match event:
        case {"type": "session.update", "session": dict(session)}:
            return event | {"session": _settings(session)}
        case {"type": "transcription_session.update", "session": dict(session)}:
            return event | {"type": "session.update", "session": _settings(session) | {"type": "transcription"}}
        case {"type": "response.create", "response": dict(response)}:
            return event | {"response": _response(_settings(response))}
        case {"type": "conversation.item.create", "item": dict(item)}:
            return event | {"item": _item(item)}
        case _:
            return event


def server_to_ga(event: dict[str, Any]) -> dict[str, Any]:
    """Return a server's event in the GA shape; what is in it already is untouched."""
    kind = event.get("type")
    if kind == "error":
        return error_to_ga(event)
    if kind in ("session.created", "session.updated"):
        session = event.get("session")
        return event | {"session": {"type": "realtime"} | (_settings(session) if isinstance(session, dict) else {})}
    new = event | {"type": _ga_name(kind)} if isinstance(kind, str) else event
    match new:
        case {"item": dict(item)}:
            return new | {"item": _item(item)}
        case {"response": {"output": [*items]} as response}:
            return new | {"response": response | {"output": [_item(item) for item in items]}}
        case _:
            return new


def error_to_ga(event: dict[str, Any]) -> dict[str, Any]:
    """Return a server's `error` event in the GA shape; some servers put the message beside the type.

    The `event_id` beside the type is the server's own and names nothing that was asked.
    """
    told = event["error"] if isinstance(event.get("error"), dict) else event | {"type": None, "event_id": None}
    message = told.get("message") or event.get("error") or "The server reports an error without saying which."
    known = {name: told[name] for name in ("code", "param", "event_id") if isinstance(told.get(name), str)}
    kind = told.get("type") if isinstance(told.get("type"), str) else "server_error"
    return {"type": "error", "error": known | {"type": kind, "message": str(message)}}


def is_beta(session: dict[str, Any]) -> bool:
    """Tell whether a server's settings have the beta's shape."""
    return not session.keys() & {"audio", "output_modalities"} and bool(session.keys() & _BETA_SESSION.keys())


def settings_to_beta(settings: dict[str, Any]) -> dict[str, Any]:
    """Return a client's settings, of a session or of a response, in the beta's shape."""
    gone = {"type", "audio", "vivavoce", *(path[0] for path in _BETA_SESSION.values())}
    old = {name: value for name, value in settings.items() if name not in gone}
    for name, path in _BETA_SESSION.items():
        value: Any = settings
        for step in path:
            value = value.get(step, _ABSENT) if isinstance(value, dict) else _ABSENT
        if value is not _ABSENT:
            old[name] = _value_to_beta(name, value)
    return old


def setting_to_ga(setting: str) -> str:
    """Return where GA has a setting of the beta, as in `turn_detection.type`."""
    name, dot, rest = setting.partition(".")
    return ".".join(_BETA_SESSION.get(name, (name,))) + dot + rest


def item_to_beta(item: dict[str, Any]) -> dict[str, Any]:
    """Return an item in the beta's shape."""
    names = {ga: beta for beta, ga in _BETA_PARTS.items()}
    parts = item.get("content")
    if not isinstance(parts, list):
        return item
    return item | {"content": [part | {"type": names.get(part["type"], part["type"])} for part in parts]}


def _settings(old: dict[str, Any]) -> dict[str, Any]:
    new = {name: value for name, value in old.items() if name not in _BETA_SESSION and name not in _GONE}
    for name, path in _BETA_SESSION.items():
        if name in old:
            _put(new, path, _beta_value(name, old[name]))
    if isinstance(choice := new.get("tool_choice"), dict) and choice.get("type") in _CHOICES:
        new["tool_choice"] = choice["type"]
    return _telephone(_named_voice(new))


def _beta_value(name: str, value: Any) -> Any:
    match name, value:
        case "modalities", [*modalities] if "audio" in modalities:
            return ["audio"]  # in the beta, text always came along
        case (("input_audio_format" | "output_audio_format"), str()):
            return _BETA_FORMATS.get(value, value)
        case _:
            return value


def _value_to_beta(name: str, value: Any) -> Any:
    match name, value:
        case "modalities", [*modalities] if "audio" in modalities:
            return ["audio", "text"]
        case (("input_audio_format" | "output_audio_format"), {"type": kind}):
            return next((beta for beta, ga in _BETA_FORMATS.items() if ga["type"] == kind), kind)
        case _:
            return value


def _ga_name(kind: str) -> str:
    prefix = next((beta for beta in _BETA_NAMES if kind.startswith(beta)), "")
    return _BETA_NAMES.get(prefix, "") + kind.removeprefix(prefix)


def _item(item: Any) -> Any:
    match item:
        case {"role": "assistant", "content": [*parts]}:
            return item | {"content": [_assistant_part(part) for part in parts]}
        case _:
            return item


def _named_voice(settings: dict[str, Any]) -> dict[str, Any]:
    match settings:
        case {"audio": {"output": {"voice": {"id": str(name)}} as output} as audio}:
            return settings | {"audio": audio | {"output": output | {"voice": name}}}
        case _:
            return settings


def _telephone(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings without the rate of telephone sound: there is only one."""
    for side in ("input", "output"):
        match settings:
            case {"audio": dict(audio)} if isinstance(audio.get(side), dict):
                sound = audio[side].get("format")
                if isinstance(sound, dict) and sound.get("rate") == _TELEPHONE_RATE and sound.get("type") in _G711:
                    settings = settings | {"audio": audio | {side: audio[side] | {"format": {"type": sound["type"]}}}}
            case _:
                pass
    return settings


def _response(settings: dict[str, Any]) -> dict[str, Any]:
    if "conversation" in settings and settings["conversation"] in ("default", None):
        return settings | {"conversation": "auto"}
    return settings


def _assistant_part(part: Any) -> Any:
    match part:
        case {"type": "text" | "audio" as kind}:
            return part | {"type": _BETA_PARTS[kind]}
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
