"""The Realtime API of Yandex AI Studio, both generations, as a dialect.

Source: its documentation and official samples, 2025 and 2026.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import replace

from vivavoce.realtime.dialect import BOTH, Dialect, are_both, modalities
from vivavoce.realtime.dialects import to_ga
from vivavoce.realtime.events import (
    AnyServerEvent,
    ConversationItemAdded,
    ConversationItemCreated,
    Error,
    OutputAudioDelta,
    OutputAudioTranscriptDelta,
    OutputAudioTranscriptDone,
    OutputTextDelta,
    OutputTextDone,
    ResponseCreated,
    ResponseDone,
    ServerEvent,
    SessionCreated,
    SessionUpdated,
    encode,
)
from vivavoce.realtime.values import Pcm, ResponseAudio, VoiceOutput

if TYPE_CHECKING:
    from collections.abc import Iterator

HOSTED: Final = ("web_search", "file_search")
"""Names of functions that the server runs and a client never sees called."""
OUT_RATE: Final = 44_100
"""Hz, of the sound of answers where nobody named another rate; the service tells it as null."""
DELTA_MS: Final = 400
"""Sound in a delta: the reference client keeps 100 deltas and forgets them all when one more comes."""
LONG_DELTA_MS: Final = 2000
MANY: Final = 40
"""Deltas of one response after which they are long: an answer may come minutes ahead of its playback."""

_HARMLESS: Final = frozenset({"conversation_already_has_active_response"})
"""What a sample provokes that answers each `committed` although the server does."""


class Yandex(Dialect):
    """Both modalities at once, any rate, a transcript without asking, text beside the sound, few and long deltas."""

    def __init__(self) -> None:
        self._both = False
        self._updated = False
        self._pieces = _Pieces()

    def read(self, event: dict[str, Any]) -> dict[str, Any]:
        """Return a client event as GA has it."""
        match event:
            case {"type": "session.update", "session": dict(session)}:
                return to_ga(event | {"session": self._settings(session)})
            case {"type": "response.create", "response": dict(response)} if are_both(modalities(response)):
                return to_ga(event | {"response": _spoken(response)})
            case _:
                return to_ga(event)

    def write(self, event: AnyServerEvent) -> Iterator[str]:
        """Yield the messages that tell a client of an event."""
        if isinstance(event, Error) and event.error.code in _HARMLESS:
            return
        if isinstance(event, OutputAudioDelta):
            yield from map(encode, self._pieces.add(event))
            return
        if not isinstance(event, OutputAudioTranscriptDelta):
            yield from map(encode, self._pieces.rest())
        if isinstance(event, ResponseCreated):
            self._pieces.begin(event)
        yield from self._told(event)

    def _told(self, event: AnyServerEvent) -> Iterator[str]:
        match event:
            case SessionCreated() | SessionUpdated():
                raw = _raw(event)
                raw["session"].pop("vivavoce", None)
                yield _encoded(raw | {"session": self._echoed(raw["session"])})
            case ResponseCreated() | ResponseDone():
                raw = _raw(event)
                yield _encoded(raw | {"response": self._echoed(raw["response"])})
            case OutputAudioTranscriptDelta(delta=text):
                yield encode(event)
                yield encode(OutputTextDelta(**_ids(event), delta=text))
            case OutputAudioTranscriptDone(transcript=text):
                yield encode(event)
                yield encode(OutputTextDone(**_ids(event), text=text))
            case ConversationItemAdded(item=item, previous_item_id=previous):
                yield encode(event)
                yield encode(ConversationItemCreated(event_id=_twin(event), item=item, previous_item_id=previous))
            case _:
                yield encode(event)

    def _settings(self, session: dict[str, Any]) -> dict[str, Any]:
        session = {"type": "realtime"} | session
        if (asked := modalities(session)) is not None:
            self._both = are_both(asked)
            session = _spoken(session) if self._both else session
        if session["type"] == "realtime":
            session = _rated(session, first=not self._updated)
            session = session if self._updated else _transcribed(session)
        self._updated = True
        extensions = session.get("vivavoce")
        asked_for = extensions if isinstance(extensions, dict) else {}
        return session | {"vivavoce": asked_for | {"any_rate": True, "hosted": list(HOSTED)}}

    def _echoed(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Return settings with the modalities that the client asked for."""
        if self._both and settings.get("output_modalities") == ["audio"]:
            return settings | {"output_modalities": sorted(BOTH, reverse=True)}
        return settings


class _Pieces:
    """Cuts and joins the sound of responses, one response at a time."""

    def __init__(self) -> None:
        self._rates: dict[str, int] = {}
        """Bytes a second, by response."""
        self._counts: dict[str, int] = {}
        self._sound = bytearray()
        self._last: OutputAudioDelta | None = None

    def begin(self, event: ResponseCreated) -> None:
        """Learn how a response sounds."""
        match event.response.audio:
            case ResponseAudio(output=VoiceOutput(format=sound)) if sound:
                self._rates[event.response.id] = sound.bytes_per_second
            case _:
                self._rates[event.response.id] = Pcm().bytes_per_second
        self._counts[event.response.id] = 0

    def add(self, delta: OutputAudioDelta) -> Iterator[OutputAudioDelta]:
        """Take sound and yield what is long enough."""
        if self._last and (self._last.response_id, self._last.item_id) != (delta.response_id, delta.item_id):
            yield from self.rest()
        self._last = delta
        self._sound += delta.delta
        index = 0
        while len(self._sound) >= (size := self._size(delta.response_id)):
            piece = bytes(self._sound[:size])
            del self._sound[:size]
            self._counts[delta.response_id] = self._counts.get(delta.response_id, 0) + 1
            yield replace(delta, event_id=f"{delta.event_id}_{index}", delta=piece)
            index += 1

    def rest(self) -> Iterator[OutputAudioDelta]:
        """Yield what is left."""
        if self._last and self._sound:
            yield replace(self._last, event_id=f"{self._last.event_id}_rest", delta=bytes(self._sound))
        self._sound.clear()
        self._last = None

    def _size(self, response_id: str) -> int:
        length_ms = DELTA_MS if self._counts.get(response_id, 0) < MANY else LONG_DELTA_MS
        return self._rates.get(response_id, Pcm().bytes_per_second) * length_ms // 2000 * 2


def _spoken(settings: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in settings.items() if name != "modalities"}
    return kept | {"output_modalities": ["audio"]}


def _transcribed(session: dict[str, Any]) -> dict[str, Any]:
    """Ask for the user's words, unless the client says what it wants of them."""
    audio = session.get("audio") or {}
    heard = audio.get("input") or {} if isinstance(audio, dict) else None
    if not isinstance(heard, dict) or "transcription" in heard or "input_audio_transcription" in session:
        return session
    return session | {"audio": audio | {"input": {"transcription": {}} | heard}}


def _rated(session: dict[str, Any], *, first: bool) -> dict[str, Any]:
    """Name the rate of the answers' sound where a client leaves it to the service, by null or at first by silence."""
    audio = session.get("audio") or {}
    spoken = audio.get("output") or {} if isinstance(audio, dict) else None
    sound = spoken.get("format") or {} if isinstance(spoken, dict) else None
    if not isinstance(sound, dict) or sound.get("type", "audio/pcm") != "audio/pcm":
        return session
    left_open = "rate" in sound or (first and "output_audio_format" not in session)
    if sound.get("rate") is not None or not left_open:
        return session
    named = {"type": "audio/pcm"} | sound | {"rate": OUT_RATE}
    return session | {"audio": {**audio, "output": {**(spoken or {}), "format": named}}}


def _raw(event: ServerEvent) -> dict[str, Any]:
    raw: dict[str, Any] = msgspec.json.decode(encode(event))
    return raw


def _encoded(raw: dict[str, Any]) -> str:
    return msgspec.json.encode(raw).decode()


def _twin(event: ServerEvent) -> str:
    """Return an id for an event that tells the same in another way."""
    return f"{event.event_id}_twin"


def _ids(event: OutputAudioTranscriptDelta | OutputAudioTranscriptDone) -> dict[str, Any]:
    names = ("response_id", "item_id", "output_index", "content_index")
    return {name: getattr(event, name) for name in names} | {"event_id": _twin(event)}
