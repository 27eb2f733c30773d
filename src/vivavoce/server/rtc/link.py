"""A session's link to a client over WebRTC: events over the data channel, sound over the tracks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import anyio

from vivavoce.ports import LinkClosed
from vivavoce.realtime.errors import ProtocolError
from vivavoce.realtime.events import (
    AnyClientEvent,
    AnyServerEvent,
    ConversationItemTruncate,
    Error,
    InputAudioBufferAppend,
    OutputAudioBufferClear,
    OutputAudioBufferCleared,
    OutputAudioBufferStarted,
    OutputAudioBufferStopped,
    OutputAudioDelta,
    OverlapEnded,
    OverlapStarted,
    ResponseCreated,
    ResponseDone,
    SessionCreated,
    SessionUpdated,
    SpeechStarted,
    decode_client,
    encode,
)
from vivavoce.realtime.values import (
    AnySession,
    AudioFormat,
    ErrorDetail,
    Pcm,
    Pcma,
    Pcmu,
    ResponseAudio,
    Session,
    VoiceOutput,
)
from vivavoce.server.ears import decode
from vivavoce.server.ears import encode as sounded
from vivavoce.server.rtc.reel import Reel
from vivavoce.speech.pcm import prompt_resampler

if TYPE_CHECKING:
    from vivavoce.ports import Samples
    from vivavoce.realtime.answer import Mint

RATE: Final = 48_000
"""Hz, of Opus (RFC 7587) and of the sound in here."""
WAITING: Final = 512
"""Messages and frames of sound that may wait for the session."""
LONGEST: Final = 256 * 1024
"""Bytes of a message: what browsers take (RFC 8841 section 6, `max-message-size`)."""
BACKLOG: Final = 1024 * 1024
"""Bytes on their way to the client from which a sender waits."""
STALLED_S: Final = 20.0

Message: TypeAlias = str | bytes | AnyClientEvent
"""What has come: over the data channel, or made here."""


class Converter(Protocol):
    """Changes the rate of a stream of sound."""

    def feed(self, samples: Samples) -> Samples: ...  # noqa: D102


class Channel(Protocol):
    """The data channel."""

    @property
    def waiting(self) -> int:
        """Return the bytes that are on their way to the client."""
        ...

    def send(self, text: str) -> None:
        """Send a message."""
        ...

    async def close(self) -> None:
        """End the call."""
        ...


class CallLink:
    """The server's end of a link over WebRTC (port `Link`); playout is here, so truncation is, too."""

    def __init__(self, channel: Channel, mint: Mint) -> None:
        """Take the data channel of a call; `mint` makes ids of events."""
        self.reel = Reel(RATE)
        self._channel = channel
        self._mint = mint
        self._put, self._get = anyio.create_memory_object_stream[Message](WAITING)
        self._heard: AudioFormat = Pcm()
        self._spoken: dict[str, AudioFormat] = {}
        """Of each response that is not done."""
        self._speaking: tuple[str, Converter] = "", prompt_resampler(self._heard.rate, RATE)
        """The item that is being spoken."""
        self._hearing = prompt_resampler(RATE, self._heard.rate)
        self._interruptible = True

    # What comes ------------------------------------------------------------------------------------------------------

    def take(self, message: str | bytes) -> None:
        """Take a message of the data channel; a client that floods us is cut off."""
        if not self._keep(message):
            self.hang_up()

    def hear(self, samples: Samples) -> None:
        """Take sound of the client, 48 kHz; where the session does not keep up, it is dropped."""
        self._keep(InputAudioBufferAppend(audio=sounded(self._hearing.feed(samples), self._heard)))

    def hang_up(self) -> None:
        """Note that the client has gone."""
        self._put.close()

    def forget(self) -> None:
        """Let go of what still waits."""
        self._put.close()
        self._get.close()

    async def receive(self) -> AnyClientEvent:
        """Return the next event."""
        while True:
            try:
                message = await self._get.receive()
            except (anyio.EndOfStream, anyio.ClosedResourceError):
                raise LinkClosed("The client has hung up.") from None
            event = _event(message)
            if not isinstance(event, OutputAudioBufferClear):
                return event
            self._clear()

    # What goes -------------------------------------------------------------------------------------------------------

    async def send(self, event: AnyServerEvent) -> None:
        """Play sound, and tell everything else; waits while the client is slow, but not for ever."""
        match event:
            case OutputAudioDelta():
                self._play(event)
                return
            case SessionCreated(session=session) | SessionUpdated(session=session):
                self._follow(session)
            case ResponseCreated(response=response):
                self._spoken[response.id] = _format(response.audio)
            case ResponseDone(response=response):
                self._spoken.pop(response.id, None)
                self.reel.end(response.id)
            case OverlapStarted():
                self.reel.paused = True
            case OverlapEnded():
                self.reel.paused = False
            case _:
                pass
        await self._tell(event)
        if isinstance(event, SpeechStarted) and self._interruptible:
            self._clear()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """End the call; a data channel carries no code, so an error says what there is to say."""
        if code not in {1000, 1001} and reason:
            detail = ErrorDetail(type="server_error", code="call_ended", message=reason)
            self._send(Error(event_id=self._mint("event"), error=detail))
        self.hang_up()
        await self._channel.close()

    def tell_playout(self, response_id: str, *, begun: bool) -> None:
        """Tell that an answer begins to be heard, or has been heard."""
        kind = OutputAudioBufferStarted if begun else OutputAudioBufferStopped
        self._send(kind(event_id=self._mint("event"), response_id=response_id))

    def _follow(self, session: AnySession) -> None:
        sound = session.audio.input.format
        if sound != self._heard:
            self._heard, self._hearing = sound, prompt_resampler(RATE, sound.rate)
        detection = session.audio.input.turn_detection if isinstance(session, Session) else None
        self._interruptible = detection is not None and detection.interrupt_response

    def _play(self, event: OutputAudioDelta) -> None:
        sound = self._spoken.get(event.response_id, Pcm())
        if event.item_id != self._speaking[0]:
            self._speaking = event.item_id, prompt_resampler(sound.rate, RATE)
        samples = self._speaking[1].feed(decode(event.delta, sound))
        self.reel.put(event.response_id, event.item_id, samples)

    def _clear(self) -> None:
        """Fall silent, and let the conversation forget what was not heard."""
        if cut := self.reel.cut():
            self._send(OutputAudioBufferCleared(event_id=self._mint("event"), response_id=cut.response_id))
            self._keep(ConversationItemTruncate(item_id=cut.item_id, content_index=0, audio_end_ms=cut.heard_ms))

    def _keep(self, message: Message) -> bool:
        """Let a message wait for the session, and tell whether there was room."""
        try:
            self._put.send_nowait(message)
        except (anyio.WouldBlock, anyio.ClosedResourceError, anyio.BrokenResourceError):
            return False
        return True

    async def _tell(self, event: AnyServerEvent) -> None:
        with anyio.move_on_after(STALLED_S) as waiting:
            while self._channel.waiting > BACKLOG:  # noqa: ASYNC110 - a channel tells no event that all of them know
                await anyio.sleep(0.05)
        if waiting.cancelled_caught:
            await self.close()
            raise LinkClosed("The client reads too slowly; call again.", 1008)
        self._send(event)

    def _send(self, event: AnyServerEvent) -> None:
        text = encode(event)
        if len(text) > LONGEST:
            detail = ErrorDetail(
                type="invalid_request_error",
                code="event_too_large",
                message="An event is longer than a data channel carries; use a WebSocket for it.",
            )
            text = encode(Error(event_id=self._mint("event"), error=detail))
        self._channel.send(text)


def _format(sound: ResponseAudio) -> AudioFormat:
    output = sound.output if isinstance(sound.output, VoiceOutput) else VoiceOutput()
    return output.format if isinstance(output.format, Pcm | Pcmu | Pcma) else Pcm()


def _event(message: Message) -> AnyClientEvent:
    if isinstance(message, bytes):
        raise ProtocolError("invalid_event", "A binary message is not an event; send events as JSON in text messages.")
    return decode_client(message) if isinstance(message, str) else message
