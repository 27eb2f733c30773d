"""The client's half of a session, as a fold: what happened goes in, what to send and what to do comes out.

It knows what is being played and how much of it was heard, so that an interruption tells the server the truth; it
runs the calls of a response and asks for the next one when all have returned.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec
from msgspec.structs import force_setattr

from vivavoce.realtime import events as wire
from vivavoce.realtime.values import (
    FunctionCall,
    FunctionCallOutput,
    InputText,
    Message,
    Pcm,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vivavoce.realtime.answer import Mint

State: TypeAlias = Literal["connecting", "listening", "hearing you", "thinking", "speaking"]


class Happened(msgspec.Struct, frozen=True, tag=True):
    """Something at the person's end."""


class Captured(Happened, frozen=True):
    """The microphone heard this."""

    audio: bytes


class Played(Happened, frozen=True):
    """So much of an item has been heard by now."""

    item_id: str
    ms: int
    all_played: bool = False
    """Nothing more is queued at the device."""


class Returned(Happened, frozen=True):
    """A tool has returned."""

    call_id: str
    output: str


class Typed(Happened, frozen=True):
    """The person typed this."""

    text: str


class Interrupted(Happened, frozen=True):
    """The person wants silence."""


class TurnTaken(Happened, frozen=True):
    """The person released push-to-talk."""


AnyHappened: TypeAlias = Captured | Played | Returned | Typed | Interrupted | TurnTaken


class Effect(msgspec.Struct, frozen=True, tag=True):
    """Something to do at the person's end."""


class Play(Effect, frozen=True):
    """Queue this sound."""

    item_id: str
    audio: bytes


class Hush(Effect, frozen=True):
    """Fall silent now."""


class Show(Effect, frozen=True, kw_only=True):
    """Show words."""

    role: Literal["user", "assistant"]
    item_id: str
    text: str
    """All the words of the item so far."""
    final: bool = False
    cut: bool = False
    """The item was interrupted."""


class Run(Effect, frozen=True):
    """Run a tool."""

    call_id: str
    name: str
    arguments: str


class Warn(Effect, frozen=True):
    """Tell the person what the server complains about."""

    code: str
    message: str


class Report(Effect, frozen=True):
    """Show where the time of a turn went."""

    timings: wire.ResponseTimings


AnyEffect: TypeAlias = Play | Hush | Show | Run | Warn | Report
Input: TypeAlias = wire.AnyServerEvent | wire.Unknown | AnyHappened
Output: TypeAlias = wire.AnyClientEvent | AnyEffect
Outputs: TypeAlias = "Iterator[Output]"


@dataclass
class _Playing:
    """An answer that is being heard."""

    item_id: str
    sent_ms: float = 0.0
    heard_ms: int = 0


@dataclass
class _Calls:
    """The calls of one response that have not all returned."""

    running: set[str] = field(default_factory=set)
    done: bool = False
    """The response is done."""


class ClientSession:
    """One person's session with a server."""

    def __init__(self, session: dict[str, Any], *, mint: Mint) -> None:
        """Begin.

        Args:
            session: the settings to ask for when the server has greeted us, as in `session.update`.
            mint: makes identifiers.
        """
        self._wanted = session
        self._mint = mint
        self._ready = False
        self._speech_open = False
        self._active: str | None = None
        self._hushed: set[str] = set()
        self._playing: _Playing | None = None
        self._calls: dict[str, _Calls] = {}
        self._owed = False
        self._text: dict[str, str] = {}
        self._output_rate = 48_000

    @property
    def state(self) -> State:
        """Return what the conversation is doing."""
        if not self._ready:
            return "connecting"
        if self._speech_open:
            return "hearing you"
        if self._playing is not None:
            return "speaking"
        return "thinking" if self._active or self._owed or self._calls else "listening"

    @property
    def answering(self) -> bool:
        """Tell whether a response is open."""
        return self._active is not None

    @property
    def playing_item(self) -> str | None:
        """Return the item that is being heard, or None."""
        return self._playing.item_id if self._playing else None

    @property
    def quiet(self) -> bool:
        """Tell whether nothing is being said, made or awaited."""
        return self.state == "listening"

    def step(self, happened: Input) -> list[Output]:
        """Take one thing that happened and return what to send and do, in order."""
        outputs = list(self._server(happened) if isinstance(happened, wire.ServerEvent) else self._person(happened))
        for output in outputs:
            if isinstance(output, wire.ClientEvent) and not isinstance(output, wire.InputAudioBufferAppend):
                force_setattr(output, "event_id", self._mint("event"))
        return outputs

    # The person ------------------------------------------------------------------------------------------------------

    def _person(self, happened: AnyHappened | wire.Unknown) -> Outputs:
        match happened:
            case Captured():
                yield wire.InputAudioBufferAppend(audio=happened.audio)
            case Played():
                self._played(happened)
            case Returned():
                yield from self._returned(happened)
            case Typed():
                yield from self._typed(happened)
            case Interrupted():
                yield from self._interrupt(cancel=True)
            case TurnTaken():
                yield wire.InputAudioBufferCommit()
                yield from self._ask()
            case wire.Unknown():
                pass

    def _played(self, played: Played) -> None:
        playing = self._playing
        if playing is None or played.item_id != playing.item_id:
            return
        playing.heard_ms = max(playing.heard_ms, played.ms)
        if played.all_played and self._active is None:
            self._playing = None

    def _typed(self, typed: Typed) -> Outputs:
        yield from self._interrupt(cancel=True)
        item = Message(id=self._mint("item"), role="user", content=(InputText(text=typed.text),))
        yield wire.ConversationItemCreate(item=item)
        yield from self._ask()

    def _returned(self, returned: Returned) -> Outputs:
        output = FunctionCallOutput(id=self._mint("item"), call_id=returned.call_id, output=returned.output)
        yield wire.ConversationItemCreate(item=output)
        for calls in self._calls.values():
            calls.running.discard(returned.call_id)
        yield from self._go_on()

    def _go_on(self) -> Outputs:
        """Ask for the next response when every call of a finished one has returned."""
        finished = [key for key, calls in self._calls.items() if calls.done and not calls.running]
        for key in finished:
            del self._calls[key]
        if finished:
            yield from self._ask()

    def _ask(self) -> Outputs:
        """Ask for a response, now or when the one that is open is done."""
        self._owed = self._active is not None
        if not self._owed:
            self._active = ""
            yield wire.ResponseCreate()

    def _interrupt(self, *, cancel: bool) -> Outputs:
        """Fall silent, and tell the server what was heard."""
        if cancel and self._active:
            yield wire.ResponseCancel(response_id=self._active)
        playing, self._playing = self._playing, None
        if playing is None:
            return
        self._hushed.add(playing.item_id)
        yield Hush()
        yield wire.ConversationItemTruncate(item_id=playing.item_id, content_index=0, audio_end_ms=playing.heard_ms)
        said = self._text.get(playing.item_id, "")
        yield Show(role="assistant", item_id=playing.item_id, text=said, final=True, cut=True)

    # The server ------------------------------------------------------------------------------------------------------

    def _server(self, event: wire.AnyServerEvent) -> Outputs:
        match event:
            case wire.SessionCreated():
                yield wire.SessionUpdate(session=self._wanted)
            case wire.SessionUpdated():
                self._ready = True
                if isinstance(event.session.audio.output.format, Pcm):
                    self._output_rate = event.session.audio.output.format.bytes_per_second
            case wire.SpeechStarted():
                self._speech_open = True
                yield from self._interrupt(cancel=False)
            case wire.SpeechStopped():
                self._speech_open = False
            case wire.ResponseCreated():
                self._active = event.response.id
            case wire.ResponseDone():
                yield from self._response_done(event)
            case wire.OutputAudioDelta():
                yield from self._sound(event)
            case wire.OutputItemDone(item=FunctionCall()):
                yield from self._call(event)
            case wire.OutputItemDone(item=Message()):
                yield from self._said_all(str(event.item.id))
            case wire.Error():
                yield from self._error(event)
            case wire.ResponseTimings():
                yield Report(event)
            case _:
                yield from self._words(event)

    def _words(self, event: wire.AnyServerEvent) -> Outputs:
        match event:
            case wire.OutputAudioTranscriptDelta() | wire.OutputTextDelta():
                text = self._text[event.item_id] = self._text.get(event.item_id, "") + event.delta
                yield Show(role="assistant", item_id=event.item_id, text=text)
            case wire.InputTranscriptPartial():
                yield Show(role="user", item_id=event.item_id, text=event.transcript)
            case wire.TranscriptionCompleted():
                yield Show(role="user", item_id=event.item_id, text=event.transcript, final=True)
            case wire.TranscriptionFailed():
                message = str(event.error.get("message") or "What you said could not be transcribed.")
                yield Warn(str(event.error.get("code") or "transcription_failed"), message)
            case _:
                pass

    def _sound(self, event: wire.OutputAudioDelta) -> Outputs:
        if event.item_id in self._hushed:
            return
        if self._playing is None or self._playing.item_id != event.item_id:
            self._playing = _Playing(event.item_id)
        self._playing.sent_ms += len(event.delta) * 1000 / self._output_rate
        yield Play(event.item_id, event.delta)

    def _said_all(self, item_id: str) -> Outputs:
        if item_id not in self._hushed and (text := self._text.get(item_id)):
            yield Show(role="assistant", item_id=item_id, text=text, final=True)

    def _call(self, event: wire.OutputItemDone) -> Outputs:
        item = event.item
        if isinstance(item, FunctionCall) and isinstance(item.call_id, str) and item.status != "incomplete":
            self._calls.setdefault(event.response_id, _Calls()).running.add(item.call_id)
            yield Run(item.call_id, item.name, item.arguments)

    def _response_done(self, event: wire.ResponseDone) -> Outputs:
        response = event.response
        if self._active == response.id:
            self._active = None
        details = response.status_details
        if response.status == "failed" and details is not None and isinstance(details.error, msgspec.Struct):
            yield Warn(details.error.code or details.error.type, details.error.message)
        if calls := self._calls.get(response.id):
            calls.done = True
            yield from self._go_on()
        if self._owed and self._active is None:
            yield from self._ask()

    def _error(self, event: wire.Error) -> Outputs:
        if not self._ready and str(event.error.param).startswith("session.vivavoce"):
            self._wanted = {name: value for name, value in self._wanted.items() if name != "vivavoce"}
            yield wire.SessionUpdate(session=self._wanted)
            return
        if self._active == "":
            self._active = None
        yield Warn(event.error.code or event.error.type, event.error.message)
