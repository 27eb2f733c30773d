"""How one server speaks the protocol, for the client's end of a link: its messages into GA events and back.

What can mean one thing only is understood of everyone (`dialects.server_to_ga`); the rest is here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import replace

from vivavoce.realtime.dialects import is_beta, item_to_beta, server_to_ga, setting_to_ga, settings_to_beta
from vivavoce.realtime.events import (
    AnyClientEvent,
    AnyServerEvent,
    ConversationItemCreate,
    Error,
    InputAudioBufferAppend,
    InputAudioBufferClear,
    SessionUpdate,
    Unknown,
    decode_server,
    encode,
)
from vivavoce.realtime.refusal import refused_setting
from vivavoce.realtime.values import FunctionCall, InputText, Message, OutputAudio, OutputText
from vivavoce.realtime.yandex import HOSTED, OUT_RATE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vivavoce.realtime.values import Item, Part

_NOT_IN_BETA: Final = ("type", "audio", "output_modalities")
_LANGUAGES: Final = {"ru": "ru-RU", "kk": "kk-KZ", "en": "en-US", "uz": "uz-UZ"}
_DETECTION: Final = ("type", "threshold", "silence_duration_ms")
"""Fields of `turn_detection` that the samples of Yandex AI Studio send."""


class Accent:
    """GA, or the beta where the server turns out to speak it."""

    def __init__(self) -> None:
        self._beta = False

    def read(self, text: str | bytes) -> AnyServerEvent | Unknown:
        """Return what a server's message says.

        Raises:
            ProtocolError: it cannot be made sense of.
        """
        event = decode_server(text, self._to_ga)
        return self._complaint(event) if isinstance(event, Error) else event

    def write(self, event: AnyClientEvent) -> str | None:
        """Return the message that tells the server of an event, or None for one that it does not know."""
        return _in_beta(event) if self._beta else encode(event)

    def _to_ga(self, raw: dict[str, Any]) -> dict[str, Any]:
        match raw:
            case {"type": "session.created", "session": dict(session)}:
                self._beta = is_beta(session)
            case _:
                pass
        return server_to_ga(raw)

    def _complaint(self, event: Error) -> Error:
        """Return an error that names our setting; one that the beta does not have shows the beta."""
        setting = refused_setting(event.error)
        if setting is None:
            return event
        if event.error.code == "unknown_parameter" and setting in _NOT_IN_BETA and not self._beta:
            self._beta = True
            setting = "type"  # all else is said in the beta's way from now on
        elif self._beta:
            setting = setting_to_ga(setting)
        return replace(event, error=replace(event.error, param=f"session.{setting}"))


class YandexAccent(Accent):
    """Yandex AI Studio, both generations."""

    def read(self, text: str | bytes) -> AnyServerEvent | Unknown:
        """Return what a server's message says; the calls that it runs itself are its own business."""
        event = super().read(text)
        match event:
            case Error() | Unknown():
                return event
            case _ if _is_hosted(getattr(event, "item", None)):
                return Unknown(type(event).__struct_config__.tag, {})  # type: ignore[arg-type]
            case _:
                return event

    def write(self, event: AnyClientEvent) -> str | None:
        """Return the message that tells the server of an event, or None for one that it does not know."""
        match event:
            case InputAudioBufferClear():
                return None
            case SessionUpdate(session=session):
                return encode(replace(event, session=_yandex_session(session)))
            case ConversationItemCreate(item=Message(role="assistant") as said):
                return encode(replace(event, item=_remembered(said)))
            case _:
                return encode(event)

    def _to_ga(self, raw: dict[str, Any]) -> dict[str, Any]:
        match raw:
            case {"session": {"audio": {"output": {"format": {"rate": None} as sound}}}}:
                sound["rate"] = OUT_RATE
            case _:
                pass
        return super()._to_ga(raw)


def _in_beta(event: AnyClientEvent) -> str:
    if isinstance(event, InputAudioBufferAppend):
        return encode(event)
    raw: dict[str, Any] = msgspec.json.decode(encode(event))
    for name in ("session", "response"):
        if isinstance(settings := raw.get(name), dict):
            raw[name] = settings_to_beta(settings)
    if isinstance(item := raw.get("item"), dict):
        raw["item"] = item_to_beta(item)
    return msgspec.json.encode(raw).decode()


def _is_hosted(item: Item | None) -> bool:
    return isinstance(item, FunctionCall) and item.name in HOSTED


def _remembered(said: Message) -> Message:
    """Return an earlier answer as the service takes it: it refuses items of the assistant."""
    texts = (part.text if isinstance(part, OutputText) else _transcript(part) for part in said.content)
    text = " ".join(filter(None, texts))
    return replace(said, role="system", content=(InputText(text=f"You have said to the user: {text}"),))


def _transcript(part: Part) -> str:
    return (part.transcript or "") if isinstance(part, OutputAudio) else ""


def _yandex_session(session: Mapping[str, Any]) -> dict[str, Any]:
    audio = dict(session.get("audio", {}))
    if "input" in audio:
        audio["input"] = _yandex_input(audio["input"])
    if "output" in audio:
        audio["output"] = _yandex_output(audio["output"])
    return {**session, "audio": audio} if audio else dict(session)


def _yandex_input(heard: Mapping[str, Any]) -> dict[str, Any]:
    """Return how sound arrives; the user's words come unasked, in the languages that are named."""
    asked = {name: value for name, value in heard.items() if name != "transcription"}
    language = (heard.get("transcription") or {}).get("language")
    if language:
        asked["languages"] = [_LANGUAGES.get(language, language)]
    if detection := heard.get("turn_detection"):
        asked["turn_detection"] = {name: detection[name] for name in _DETECTION if name in detection}
    return _mono(asked)


def _yandex_output(spoken: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the answer sounds; a voice may have a role, as in `marina:whisper`."""
    asked = dict(spoken)
    voice, _, role = str(asked.get("voice") or "").partition(":")
    if role:
        asked |= {"voice": voice, "role": role}
    return _mono(asked)


def _mono(asked: dict[str, Any]) -> dict[str, Any]:
    return asked | {"format": {**asked["format"], "channels": 1}} if "format" in asked else asked
