"""The server's half of a session, as a fold: what happened goes in, what to say and what to do comes out.

No I/O, no clock: time is an argument, `deadline()` says when to call again with `Tick`. Sound is bytes in the session's
format; speech detection, transcription, generation and synthesis are the engine's, which reports facts and obeys
commands.

Source: OpenAI Realtime API reference (GA) for events, their order and errors.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, assert_never

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from vivavoce.realtime.answer import Answer
from vivavoce.realtime.buffer import InputBuffer
from vivavoce.realtime.context import CONTEXT_TOKENS, item_tokens, overflow, room
from vivavoce.realtime.conversation import Conversation, Prompt, PromptMessage, PromptTool, part_text, prompt_messages
from vivavoce.realtime.drafts import Draft
from vivavoce.realtime.errors import ProtocolError
from vivavoce.realtime.events import (
    MAX_AUDIO_BYTES,
    AnyClientEvent,
    AnyServerEvent,
    ClientEvent,
    ConversationItemAdded,
    ConversationItemCreate,
    ConversationItemDelete,
    ConversationItemDeleted,
    ConversationItemDone,
    ConversationItemRetrieve,
    ConversationItemRetrieved,
    ConversationItemTruncate,
    ConversationItemTruncated,
    Error,
    InputAudioBufferAppend,
    InputAudioBufferClear,
    InputAudioBufferCleared,
    InputAudioBufferCommit,
    InputAudioBufferCommitted,
    InputTranscriptPartial,
    OutputAudioBufferClear,
    OverlapEnded,
    OverlapStarted,
    RateLimit,
    RateLimitsUpdated,
    ResponseCancel,
    ResponseCreate,
    SearchDone,
    SearchStarted,
    ServerEvent,
    SessionCreated,
    SessionUpdate,
    SessionUpdated,
    SpeechStarted,
    SpeechStopped,
    TimeoutTriggered,
    TranscriptionCompleted,
    TranscriptionDelta,
    TranscriptionFailed,
)
from vivavoce.realtime.facts import (
    AnyCommand,
    AnyFact,
    Called,
    Cancel,
    CancelReason,
    Close,
    Finished,
    Forget,
    Generate,
    Heard,
    Listed,
    Listen,
    Overheard,
    Paused,
    Returned,
    Said,
    Searched,
    Spoke,
    Started,
    Stopped,
    Tick,
    Timed,
    Transcribe,
    Unheard,
)
from vivavoce.realtime.hosted import check_searches, hosted_tools
from vivavoce.realtime.remote import Offer, RemoteTools, check_tools, shown
from vivavoce.realtime.values import (
    AnySession,
    AnyTool,
    AudioFormat,
    CachedTokenDetails,
    ErrorDetail,
    Extensions,
    FunctionCall,
    FunctionChoice,
    FunctionTool,
    InputAudio,
    InputTokenDetails,
    Item,
    ItemReference,
    McpApprovalResponse,
    MeaningVad,
    Message,
    Modality,
    OutputTokenDetails,
    Pcm,
    Response,
    ResponseAudio,
    ResponseExtensions,
    ResponseParams,
    ResponseStatus,
    ServerVad,
    Session,
    SilenceVad,
    StatusDetails,
    ToolChoice,
    TranscriptionSeconds,
    TranscriptionSession,
    TurnDetection,
    Usage,
    VoiceOutput,
    merge,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vivavoce.realtime.answer import Mint
    from vivavoce.realtime.conversation import HostedTool

Input: TypeAlias = AnyClientEvent | AnyFact
Output: TypeAlias = AnyServerEvent | AnyCommand
Outputs: TypeAlias = "Iterator[Output]"

T = TypeVar("T")

GA_PCM_RATE = 24000
MIN_COMMIT_MS = 100
MAX_BUFFER_MS = 10 * 60 * 1000
KEPT_BEFORE_SPEECH_MS = 2000
"""Sound kept for the padding while nobody speaks, beyond the padding itself; detection may lag this much."""
UNDECIDED_S, LONGEST_OVERLAP_S = 1.5, 10.0
"""Nobody waits longer to know whether an answer is interrupted, or for the end of what does not interrupt it."""
NEARLY_OVER_MS = 1500
"""Of a question: who says "yes" then answers it."""
SILENCE = "(The user says nothing.)"
"""What a model is told after the time-out of silence."""


class Ids:
    """Mints identifiers that are unique in one session and, with a random seed, everywhere."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._count = 0

    def __call__(self, kind: str) -> str:
        """Return a new identifier: "item" gives "item_…"."""
        self._count += 1
        return f"{kind}_{self._seed}{self._count:06x}"


@dataclass
class _Turn:
    """The user is speaking."""

    item_id: str
    start_ms: int
    verdict: Heard | Unheard | None = None
    """What the recogniser ended with before the turn did."""


@dataclass
class _Overlap:
    """Somebody speaks over the answer, which may become a turn."""

    turn: _Turn
    since: float
    """Seconds."""
    since_ms: float
    """On the time line of the sound."""
    paused: bool = True
    """Whether the client has paused the answer."""
    verdict: Literal["backchannel", "aside"] | None = None
    """Why it is no turn; None where that is not known yet."""


@dataclass
class _Open:
    """A response that is not done."""

    answer: Answer
    generate: Generate
    input: tuple[Item, ...]
    """What it answers; references are followed when it begins."""
    tools: tuple[AnyTool, ...]
    choice: ToolChoice
    offers: dict[str, Offer] = field(default_factory=dict)
    """The remote tools that the model was told of."""
    awaited: set[str] = field(default_factory=set)
    """Spoken items that must be transcribed first, and lists of remote tools that only this response has asked for."""
    remembers: bool = False
    """Whether it answers the conversation, so that what it has no room for is forgotten."""
    nudge: str = ""
    """What the model is told in the user's place."""


class ServerSession:
    """One client's session."""

    def __init__(
        self,
        session: AnySession,
        *,
        mint: Mint,
        now: float = 0.0,
        lifetime: float | None = None,
        context_tokens: int = CONTEXT_TOKENS,
        voices: tuple[str, ...] = (),
        allowances: Callable[[], tuple[RateLimit, ...]] = tuple,
    ) -> None:
        """Begin.

        Args:
            session: the settings in effect at first, with `id`, `model` and `expires_at`.
            mint: makes identifiers.
            now: seconds, on any clock that later steps use too.
            lifetime: seconds after which the session expires.
            context_tokens: what the model takes in a prompt.
            voices: what the answer may be spoken by; told to clients that know our extensions.
            allowances: tells what is left of the client's limits on responses, for `rate_limits.updated`.
        """
        self.session = session
        self.conversation = Conversation()
        self._mint = mint
        self._remote = RemoteTools(self.conversation, self._new_id)
        self._conversation_id = mint("conv")
        self._buffer = InputBuffer(session.audio.input.format.bytes_per_second)
        self._turn: _Turn | None = None
        self._overlap: _Overlap | None = None
        self._open: dict[str, _Open] = {}
        self._current: str | None = None
        self._owed: str | None = None
        self._awaited: set[str] = set()
        self._drafts: dict[str, Draft] = {}
        self._spoke = False
        self._expires = None if lifetime is None else now + lifetime
        self._context_tokens = context_tokens
        self._voices = voices
        self._allowances = allowances
        self._forgotten: set[str] = set()
        self._played_until = 0.0
        self._audible_until_ms = 0.0
        """When the answer will have been heard, on the time line of the user's sound: as fast as that comes."""
        self._quiet_since: float | None = None

    def _shown(self, session: AnySession) -> AnySession:
        """Return the settings as events show them."""
        if isinstance(session, Session) and session.tools:
            session = replace(session, tools=shown(session.tools))
        if session.vivavoce:
            told = replace(session.vivavoce, voices=self._voices, context_tokens=self._context_tokens)
            session = replace(session, vivavoce=told)
        return session

    # What happens ----------------------------------------------------------------------------------------------------

    def start(self) -> list[Output]:
        """Greet the client: the first event, once."""
        return self._stamped(iter((SessionCreated(session=self._shown(self.session)),)))

    def step(self, happened: Input, now: float = 0.0) -> list[Output]:
        """Take one thing that happened and return what to say and do, in order.

        A client event that cannot be honoured changes nothing and is answered by one `error`.
        """
        if not isinstance(happened, ClientEvent):
            return self._stamped(self._fact(happened, now))
        try:
            if isinstance(happened, InputAudioBufferAppend):  # fifty a second: the short way
                self._append(happened)
                return self._stamped(self._learned()) if self._has_tools else []
            return self._stamped(self._asked_and_learned(happened))
        except ProtocolError as wrong:
            wrong.event_id = happened.event_id if isinstance(happened.event_id, str) else None
            return self.refuse(wrong)

    def refuse(self, wrong: ProtocolError) -> list[Output]:
        """Tell the client what was wrong with an event."""
        detail = ErrorDetail(
            type=wrong.kind, code=wrong.code, message=wrong.message, param=wrong.param, event_id=wrong.event_id
        )
        return self._stamped(iter((Error(error=detail),)))

    def deadline(self) -> float | None:
        """Return when `Tick` is due, in seconds, or None."""
        times = (self._expires, self._bored_at(), self._overlap_due())
        return min((time for time in times if time is not None), default=None)

    def outlook(self, words: str = "") -> Prompt:
        """Return how the prompt of the next answer begins, for a model that wants to read ahead.

        Args:
            words: what the user seems to have said in the turn that is open.
        """
        messages = prompt_messages(entry.item for entry in self.conversation if entry.id not in self._forgotten)
        said = (PromptMessage(role="user", text=words.strip()),) if words else ()
        prompt = replace(self._prompt(ResponseParams()), messages=(*messages, *said))
        return self._remote.equip(prompt, self._speaks.tools, self._speaks.tool_choice)[0]

    @property
    def searches(self) -> tuple[HostedTool, ...]:
        """Return what the server searches for the model."""
        return hosted_tools(_extensions(self.session), getattr(self.session, "tools", ()))

    @property
    def speaking(self) -> str | None:
        """Return the id that the utterance being spoken will have as an item, or None."""
        turn = self._overlap.turn if self._overlap else self._turn
        return turn.item_id if turn else None

    @property
    def overlapping(self) -> bool:
        """Tell whether that is heard over an answer, so that it may be no turn."""
        return self._overlap is not None

    def _asked_and_learned(self, event: AnyClientEvent) -> Outputs:
        """Answer, and ask remote servers for their tools: not before the client has spoken."""
        yield from self._asked(event)
        yield from self._learned()

    @property
    def _has_tools(self) -> bool:
        return isinstance(self.session, Session) and bool(self.session.tools)

    def _learned(self) -> Outputs:
        if isinstance(self.session, Session):
            yield from self._remote.learn(self.session.tools)

    def _asked(self, event: AnyClientEvent) -> Outputs:
        match event:
            case SessionUpdate():
                return self._update(event)
            case InputAudioBufferAppend():
                self._append(event)
                return iter(())
            case InputAudioBufferCommit():
                return self._client_commit()
            case InputAudioBufferClear():
                return self._clear()
            case OutputAudioBufferClear():
                return self._clear_output()
            case ConversationItemCreate():
                return self._create_item(event)
            case ConversationItemRetrieve():
                return self._retrieve(event)
            case ConversationItemDelete():
                return self._delete(event)
            case ConversationItemTruncate():
                return self._truncate(event)
            case ResponseCreate():
                return self._create_response(event)
            case ResponseCancel():
                return self._cancel_response(event)
            case _:
                assert_never(event)

    def _fact(self, fact: AnyFact, now: float) -> Outputs:
        match fact:
            case Started():
                return self._started(fact, now)
            case Paused():
                return iter(())
            case Stopped():
                return self._stopped(fact, now)
            case Overheard():
                return self._overheard(fact, now)
            case Heard():
                return self._heard(fact)
            case Unheard():
                return self._unheard(fact)
            case Said() | Spoke() | Called() | Searched() | Finished():
                return self._answered(fact, now)
            case Listed():
                return self._listed(fact)
            case Returned():
                return self._remote.returned(fact)
            case Timed():
                return self._timed(fact)
            case Tick():
                return self._tick(now)
            case _:
                assert_never(fact)

    def _stamped(self, outputs: Outputs) -> list[Output]:
        """Run the outputs to their end and give each event its id."""
        return [
            replace(output, event_id=self._mint("event")) if isinstance(output, ServerEvent) else output
            for output in outputs
        ]

    def _new_id(self, kind: str) -> str:
        """Return an identifier that no client has chosen for an item."""
        while (new := self._mint(kind)) in self.conversation:
            pass
        return new

    # Settings --------------------------------------------------------------------------------------------------------

    def _update(self, event: SessionUpdate) -> Outputs:
        patch = event.session
        if "type" not in patch:
            message = "Missing required parameter: 'session.type'."
            raise ProtocolError("missing_required_parameter", message, param="session.type")
        self._check_kind(patch["type"])
        fixed = {"id", "object", "model", "expires_at"}
        new = merge(self.session, {name: patch[name] for name in patch if name not in fixed}, path="session")
        _check_settings(new)
        if self._spoke and _voice_of(new) != _voice_of(self.session):
            message = "The voice cannot be changed once the session has spoken; open a new session for another voice."
            raise ProtocolError("cannot_update_voice", message, param="session.audio.output.voice")
        sound, old = new.audio.input.format, self.session.audio.input.format
        if (type(sound), sound.rate) != (type(old), old.rate):
            self._buffer.change_rate(sound.bytes_per_second)
        if "tools" in patch:
            self._remote.forget_failures()
        self.session = new
        yield SessionUpdated(session=self._shown(new))
        if self._overlap and not self._considerate:
            yield from self._begin(self._overlap.turn)

    def _check_kind(self, kind: Any) -> None:
        ours = "transcription" if isinstance(self.session, TranscriptionSession) else "realtime"
        if kind != ours:
            message = f"Invalid value: '{kind}'. This session is of the type '{ours}' and stays so; open another one."
            raise ProtocolError("invalid_value", message, param="session.type")

    @property
    def _speaks(self) -> Session:
        """Return the settings of a session that answers.

        Raises:
            ProtocolError: this one only transcribes.
        """
        if isinstance(self.session, TranscriptionSession):
            message = "A transcription session gives no answers; connect without intent=transcription for them."
            raise ProtocolError("invalid_value", message, param="type")
        return self.session

    # The user's sound ------------------------------------------------------------------------------------------------

    def _append(self, event: InputAudioBufferAppend) -> None:
        if len(event.audio) > MAX_AUDIO_BYTES:
            raise ProtocolError("string_above_max_length", "Send at most 15 MiB of audio an event.", param="audio")
        if isinstance(self.session.audio.input.format, Pcm) and len(event.audio) % 2:
            message = "16-bit audio has an even number of bytes; split it between samples."
            raise ProtocolError("invalid_value", message, param="audio")
        if self._buffer.length_ms > MAX_BUFFER_MS:
            message = "More than ten minutes of audio wait to be committed; commit or clear the buffer."
            raise ProtocolError("input_audio_buffer_full", message)
        if self.speaking is None and (padding := self._padding_ms()) is not None:
            # Only what came earlier: nobody has looked for speech in this sound yet.
            self._buffer.drop_before(self._buffer.end_ms - padding - KEPT_BEFORE_SPEECH_MS)
        self._buffer.append(event.audio)

    def _padding_ms(self) -> int | None:
        """Return the sound before a turn that belongs to it, None where the client says what a turn is."""
        match self.session.audio.input.turn_detection:
            case SilenceVad(prefix_padding_ms=padding):
                return padding
            case MeaningVad():
                return SilenceVad().prefix_padding_ms
            case None:
                return None

    def _started(self, fact: Started, now: float) -> Outputs:
        if self.speaking is not None:
            return
        start_ms = round(max(fact.ms - (self._padding_ms() or 0), self._buffer.start_ms))
        turn = _Turn(self._new_id("item"), start_ms)
        if self._considerate and self._audible:
            self._overlap = _Overlap(turn, now, self._buffer.end_ms)
            yield OverlapStarted(item_id=turn.item_id, audio_start_ms=start_ms)
            yield Listen(turn.item_id, start_ms)
        else:
            yield from self._begin(turn)

    def _begin(self, turn: _Turn) -> Outputs:
        """Open a turn, which may have been an overlap."""
        listened, self._overlap = self._overlap is not None, None
        self._turn, self._quiet_since = turn, None
        yield SpeechStarted(item_id=turn.item_id, audio_start_ms=turn.start_ms)
        if not listened:
            yield Listen(turn.item_id, turn.start_ms)
        if self._interruptible:
            self._audible_until_ms = 0.0
            if self._current is not None:
                self._owed = None
                yield from self._cancel(self._current, "turn_detected")

    @property
    def _interruptible(self) -> bool:
        detection = self.session.audio.input.turn_detection
        return isinstance(detection, TurnDetection) and detection.interrupt_response

    def _stopped(self, fact: Stopped, now: float) -> Outputs:
        if self._overlap:
            yield from self._settle_overlap(fact, now)
        if self._turn is None:
            return
        turn, self._turn = self._turn, None
        yield SpeechStopped(item_id=turn.item_id, audio_end_ms=fact.ms)
        yield from self._commit(turn.item_id, self._buffer.take(turn.start_ms, fact.ms))
        detection = self.session.audio.input.turn_detection
        if isinstance(detection, TurnDetection) and detection.create_response:
            if self._current is None:
                yield from self._respond(ResponseParams(), turn.item_id)
            else:
                self._owed = turn.item_id
        if turn.verdict is not None:
            yield from self._fact(turn.verdict, 0.0)

    def _client_commit(self) -> Outputs:
        turn = self._overlap.turn if self._overlap else self._turn
        start_ms = turn.start_ms if turn else self._buffer.start_ms
        held = self._buffer.end_ms - start_ms
        if held < MIN_COMMIT_MS or (turn is None and self._padding_ms() is not None):
            held = held if turn or self._padding_ms() is None else 0.0
            message = (
                "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio, but buffer "
                f"only has {held:.2f}ms of audio."
            )
            raise ProtocolError("input_audio_buffer_commit_empty", message)
        yield from self._resume()
        self._turn = self._overlap = None
        yield from self._commit(turn.item_id if turn else self._new_id("item"), self._buffer.take(start_ms))
        if turn is not None and turn.verdict is not None:
            yield from self._fact(turn.verdict, 0.0)

    def _commit(self, item_id: str, audio: bytes) -> Outputs:
        yield from self._add_spoken(item_id, audio)
        self._awaited.add(item_id)
        yield from self._show_draft(item_id)
        yield Transcribe(item_id, audio, self.session.audio.input.format)

    def _add_spoken(self, item_id: str, audio: bytes) -> Outputs:
        self._quiet_since = None
        sound = self.session.audio.input.format
        item = Message(id=item_id, status="completed", role="user", content=(InputAudio(audio=audio),))
        previous = self.conversation.add(item, audio_ms=len(audio) * 1000 / sound.bytes_per_second)
        shown = replace(item, content=(InputAudio(transcript=None),))
        yield InputAudioBufferCommitted(item_id=item_id, previous_item_id=previous)
        yield ConversationItemAdded(item=shown, previous_item_id=previous)
        yield ConversationItemDone(item=shown, previous_item_id=previous)

    def _clear(self) -> Outputs:
        self._buffer.drop_before(self._buffer.end_ms)
        yield from self._resume()
        item_id, self._turn, self._overlap = self.speaking, None, None
        if item_id:
            self._drafts.pop(item_id, None)
            yield Forget(item_id)
        yield InputAudioBufferCleared()

    def _clear_output(self) -> Outputs:
        message = "This connection plays nothing at the server; send response.cancel and stop playback yourself."
        raise ProtocolError("invalid_value", message, param="type")

    # Speech over the answer ------------------------------------------------------------------------------------------

    @property
    def _considerate(self) -> bool:
        """Tell whether not everything that is heard over an answer is to interrupt it."""
        return self._interruptible and _extensions(self.session).considerate

    @property
    def _audible(self) -> bool:
        """Tell whether the answer is being heard, as far as the server can know."""
        begun = self._current is not None and self._open[self._current].answer.audio_ms > 0
        return begun or self._buffer.end_ms < self._audible_until_ms

    @property
    def _awaits_answer(self) -> bool:
        """Tell whether what was said is over, or is a question that nearly is."""
        if not self._audible:
            return True
        left_ms = self._audible_until_ms - self._buffer.end_ms
        if self._current is not None or left_ms > NEARLY_OVER_MS:
            return False
        said = [
            entry.item for entry in self.conversation if isinstance(entry.item, Message) and not _by_user(entry.item)
        ]
        return bool(said) and "".join(map(part_text, said[-1].content)).endswith("?")

    def _overheard(self, fact: Overheard, now: float) -> Outputs:
        overlap = self._overlap
        if overlap is None or fact.item_id != overlap.turn.item_id:
            return
        if fact.verdict == "addressed":
            yield from self._begin(overlap.turn)
        else:
            overlap.verdict = fact.verdict
            yield from self._resume(now)

    def _resume(self, now: float | None = None) -> Outputs:
        """Let the client go on with the answer; whoever speaks is still listened to."""
        overlap = self._overlap
        if overlap is None or not overlap.paused:
            return
        overlap.paused = False
        self._audible_until_ms += self._buffer.end_ms - overlap.since_ms
        if now is not None:
            self._played_until += now - overlap.since
            self._quiet_since = self._quiet_since and self._quiet_since + now - overlap.since
        yield OverlapEnded(item_id=overlap.turn.item_id)

    def _settle_overlap(self, fact: Stopped, now: float) -> Outputs:
        """Drop what interrupts nothing; in doubt, or if it may answer what has been said meanwhile, it is a turn."""
        overlap = self._overlap
        if overlap is None:
            return
        if overlap.verdict is None or (overlap.verdict == "backchannel" and self._awaits_answer):
            yield from self._begin(overlap.turn)
        else:
            yield from self._drop_overlap(fact.ms, now)

    def _drop_overlap(self, until_ms: float, now: float) -> Outputs:
        yield from self._resume(now)
        item_id, self._overlap = self.speaking, None
        self._buffer.drop_before(until_ms)
        if item_id:
            yield Forget(item_id)

    def _unless_heard(self) -> Outputs:
        """Take what is said over an answer for a turn where the client has silenced the answer."""
        if self._overlap and self._current is None and not self._audible_until_ms:
            yield from self._begin(self._overlap.turn)

    def _overlap_due(self) -> float | None:
        if self._overlap is None:
            return None
        return self._overlap.since + (UNDECIDED_S if self._overlap.paused else LONGEST_OVERLAP_S)

    def _hurry_overlap(self, now: float) -> Outputs:
        """Wait no longer for a verdict, nor for the end of what goes on and on."""
        if self._overlap and self._overlap.paused:
            self._overlap.verdict = "aside"
            yield from self._resume(now)
        else:
            yield from self._drop_overlap(self._buffer.end_ms, now)

    # What the user said ----------------------------------------------------------------------------------------------

    def _heard(self, fact: Heard) -> Outputs:
        if not fact.final:
            yield from self._told_so_far(fact)
            return
        if self._too_soon_or_late(fact):
            return
        draft = self._drafts.pop(fact.item_id, Draft())
        text = draft.end(fact.text)
        entry = self.conversation.get(fact.item_id)
        if entry is not None and isinstance(entry.item, Message):
            parts = (
                replace(part, transcript=text) if isinstance(part, InputAudio) else part for part in entry.item.content
            )
            entry.item = replace(entry.item, content=tuple(parts))
        if entry is not None and self._transcribes:
            if rest := text[len(draft.shown) :]:
                yield TranscriptionDelta(item_id=fact.item_id, delta=rest)
            seconds = TranscriptionSeconds(seconds=round(entry.audio_ms / 1000, 3))
            yield TranscriptionCompleted(item_id=fact.item_id, transcript=text, usage=seconds)
        yield from self._transcribed(fact.item_id, None)

    def _told_so_far(self, fact: Heard) -> Outputs:
        """Show what the user seems to have said so far, to those who want to know."""
        if (self._overlap or fact.item_id != self.speaking) and fact.item_id not in self._awaited:
            return
        if _extensions(self.session).partials:
            yield InputTranscriptPartial(item_id=fact.item_id, transcript=fact.text)
        if isinstance(self.session, TranscriptionSession):
            self._drafts.setdefault(fact.item_id, Draft()).hear(fact.text)
            yield from self._show_draft(fact.item_id)

    def _show_draft(self, item_id: str) -> Outputs:
        """Go on with the transcript of an item, as far as it is certain; before it is an item there is none."""
        draft = self._drafts.get(item_id)
        if draft and item_id in self._awaited and item_id in self.conversation and (delta := draft.show()):
            yield TranscriptionDelta(item_id=item_id, delta=delta)

    @property
    def _transcribes(self) -> bool:
        """Tell whether the client is told what the user said."""
        return isinstance(self.session, TranscriptionSession) or self.session.audio.input.transcription is not None

    def _unheard(self, fact: Unheard) -> Outputs:
        if self._too_soon_or_late(fact):
            return
        self._drafts.pop(fact.item_id, None)
        if fact.item_id in self.conversation and self._transcribes:
            error = {"type": "server_error", "code": fact.code, "message": fact.message}
            yield TranscriptionFailed(item_id=fact.item_id, error=error)
        yield from self._transcribed(fact.item_id, (fact.code, fact.message))

    def _too_soon_or_late(self, fact: Heard | Unheard) -> bool:
        """Put off a verdict on speech that is still going on, and tell whether this one does not count now."""
        turn = self._overlap.turn if self._overlap else self._turn
        if turn is not None and fact.item_id == turn.item_id:
            turn.verdict = fact
        return fact.item_id not in self._awaited

    def _transcribed(self, item_id: str, error: tuple[str, str] | None) -> Outputs:
        """Let the responses go on that waited for this item."""
        self._awaited.discard(item_id)
        for response_id, waiting in list(self._open.items()):
            if item_id not in waiting.awaited:
                continue
            waiting.awaited.discard(item_id)
            if error and item_id == waiting.generate.item_id:
                yield from self._finish(Finished(response_id=response_id, error=error))
            elif not waiting.awaited:
                yield from self._generate(waiting)

    # Items -----------------------------------------------------------------------------------------------------------

    def _create_item(self, event: ConversationItemCreate) -> Outputs:
        item, after = event.item, event.previous_item_id
        if isinstance(item, ItemReference):
            raise ProtocolError(
                "invalid_value", "An item_reference is not an item of a conversation.", param="item.type"
            )
        self.conversation.check_place(item, after)
        if item.id == self.speaking:
            raise ProtocolError("invalid_value", f"The id '{item.id}' is that of the user's turn.", param="item.id")
        item_id = item.id if isinstance(item.id, str) else self._new_id("item")
        item = replace(item, id=item_id, status="completed")
        if isinstance(item, McpApprovalResponse):
            self._remote.check_consent(item)
        if isinstance(item, FunctionCall) and item.call_id is UNSET:
            item = replace(item, call_id=self._mint("call"))
        audio = _untranscribed(item)
        sound = self.session.audio.input.format
        previous = self.conversation.add(item, after, audio_ms=len(audio) * 1000 / sound.bytes_per_second)
        shown = _without_audio(item)
        yield ConversationItemAdded(item=shown, previous_item_id=previous)
        yield ConversationItemDone(item=shown, previous_item_id=previous)
        if isinstance(item, McpApprovalResponse):
            yield from self._remote.decided(item)
        if audio:
            self._awaited.add(item_id)
            yield Transcribe(item_id, audio, sound)

    def _retrieve(self, event: ConversationItemRetrieve) -> Outputs:
        entry = self.conversation.get(event.item_id)
        if entry is None:
            message = f"There is no item '{event.item_id}' to retrieve."
            raise ProtocolError("item_retrieve_invalid_item_id", message, param="item_id")
        yield ConversationItemRetrieved(item=entry.item)

    def _delete(self, event: ConversationItemDelete) -> Outputs:
        if event.item_id not in self.conversation:
            message = f"There is no item '{event.item_id}' to delete."
            raise ProtocolError("item_delete_invalid_item_id", message, param="item_id")
        self.conversation.remove(event.item_id)
        self._forgotten.discard(event.item_id)
        yield ConversationItemDeleted(item_id=event.item_id)

    def _truncate(self, event: ConversationItemTruncate) -> Outputs:
        for waiting in self._open.values():
            waiting.answer.settle(event.item_id)
        end = self.conversation.truncate(event.item_id, event.audio_end_ms)
        yield ConversationItemTruncated(item_id=event.item_id, content_index=event.content_index, audio_end_ms=end)
        if self._current is None:
            self._audible_until_ms = 0.0
        yield from self._unless_heard()

    # Responses -------------------------------------------------------------------------------------------------------

    def _create_response(self, event: ResponseCreate) -> Outputs:
        session = self._speaks
        params = event.response if isinstance(event.response, ResponseParams) else ResponseParams()
        check_tools(_given(params.tools, ()), "response.tools")
        if params.conversation == "auto" and self._current is not None:
            message = (
                f"Conversation already has an active response in progress: {self._current}. "
                "Wait until the response is finished before creating a new one."
            )
            raise ProtocolError("conversation_already_has_active_response", message)
        modalities = _given(params.output_modalities, session.output_modalities)
        _check_modalities(modalities, "response.output_modalities")
        _check_format(_voice(params, session).format, "response.audio.output.format", session)
        self._check_references(_given(params.input, ()))
        return self._respond(params, None)

    def _respond(self, params: ResponseParams, item_id: str | None, nudge: str = "") -> Outputs:
        """Open a response and begin to generate it, or wait for what the user said or which tools there are."""
        yield from self._remote.learn(_given(params.tools, ()))
        waiting = self._opened(params, item_id)
        waiting.nudge = nudge
        response = waiting.answer.response
        self._open[response.id] = waiting
        if params.conversation == "auto":
            self._current = response.id
            self._quiet_since = None
        yield from waiting.answer.begin()
        if not waiting.awaited:
            yield from self._generate(waiting)

    def _opened(self, params: ResponseParams, item_id: str | None) -> _Open:
        session = self._speaks
        in_conversation = params.conversation == "auto"
        voice = _voice(params, session)
        response = Response(
            id=self._mint("resp"),
            conversation_id=self._conversation_id if in_conversation else None,
            output_modalities=_given(params.output_modalities, session.output_modalities),
            max_output_tokens=_given(params.max_output_tokens, session.max_output_tokens),
            audio=ResponseAudio(output=voice),
            metadata=_given(params.metadata, None),
        )
        sound = voice.format if voice.format is not UNSET else session.audio.output.format
        answer = Answer(response, self.conversation if in_conversation else None, self._new_id, sound.bytes_per_second)
        remembered = (entry.id for entry in self.conversation if entry.id not in self._forgotten)
        given = _given(params.input, tuple(ItemReference(id=item_id) for item_id in remembered))
        generate = Generate(
            response_id=response.id,
            prompt=self._prompt(params),
            spoken=answer.spoken,
            voice=str(voice.voice),
            speed=session.audio.output.speed,
            format=sound,
            item_id=item_id,
            say=_given(params.vivavoce, ResponseExtensions()).say,
        )
        awaited = self._awaited.intersection(_references(given)) | self._remote.pending(_given(params.tools, ()))
        return _Open(
            answer,
            generate,
            given,
            tools=_given(params.tools, session.tools),
            choice=_given(params.tool_choice, session.tool_choice),
            awaited=awaited,
            remembers=not isinstance(params.input, tuple),
        )

    def _check_references(self, items: tuple[Item, ...]) -> None:
        """Refuse a reference that leads nowhere.

        Raises:
            ProtocolError: likewise.
        """
        for item_id in _references(items):
            if item_id not in self.conversation:
                message = f"There is no item '{item_id}' to refer to."
                raise ProtocolError("invalid_value", message, param="response.input")

    def _followed(self, item: Item) -> Item | None:
        """Return what an item of an input stands for now, None where it is deleted."""
        if not isinstance(item, ItemReference):
            return item
        entry = self.conversation.get(str(item.id))
        return entry.item if entry else None

    def _prompt(self, params: ResponseParams) -> Prompt:
        """Return the prompt but for its messages, which may still have to be transcribed."""
        session = self._speaks
        tokens = _given(params.max_output_tokens, session.max_output_tokens)
        choice = _given(params.tool_choice, session.tool_choice)
        tools = _given(params.tools, session.tools)
        hosted, searches = _extensions(session).hosted, hosted_tools(_extensions(session), tools)
        ours = {search.name for search in searches}
        return Prompt(
            instructions=_given(params.instructions, session.instructions),
            tools=tuple(
                PromptTool(name=tool.name, description=tool.description or "", parameters=_schema(tool))
                for tool in tools
                if isinstance(tool, FunctionTool) and tool.name not in hosted
            ),
            tool_choice=choice.name
            if isinstance(choice, FunctionChoice) and (choice.name not in hosted or choice.name in ours)
            else choice
            if isinstance(choice, str)
            else "auto",
            parallel_tool_calls=_given(params.parallel_tool_calls, session.parallel_tool_calls) is not False,
            max_output_tokens=None if tokens == "inf" else tokens,
            hosted=searches,
        )

    def _generate(self, waiting: _Open) -> Outputs:
        generate = waiting.generate
        turn = self.conversation.get(generate.item_id) if generate.item_id else None
        if turn is not None and isinstance(turn.item, Message) and not any(map(part_text, turn.item.content)):
            yield from self._finish(Finished(response_id=generate.response_id))
            return
        prompt, waiting.offers = self._remote.equip(generate.prompt, waiting.tools, waiting.choice)
        items = self._shortened(waiting, prompt)
        if items is None:
            message = "The conversation does not fit into the model's context; delete items or allow truncation."
            error = ("context_length_exceeded", message)
            yield from self._finish(Finished(response_id=generate.response_id, error=error))
            return
        said = (PromptMessage(role="user", text=waiting.nudge),) if waiting.nudge else ()
        yield replace(generate, prompt=replace(prompt, messages=(*prompt_messages(items), *said)))

    def _shortened(self, waiting: _Open, prompt: Prompt) -> tuple[Item, ...] | None:
        """Return what a response answers as far as it fits, None where it does not and nothing may be left out."""
        session = self._speaks
        limit, goal = room(session, prompt, self._context_tokens)
        pairs = [(given, item) for given in waiting.input if (item := self._followed(given)) is not None]
        items = [item for _, item in pairs]
        if session.truncation == "disabled" and sum(map(item_tokens, items)) > limit:
            return None
        dropped = overflow(items, limit, goal)
        waiting.input = tuple(given for given, _ in pairs[dropped:])
        if waiting.remembers:
            self._forgotten.update(_references(tuple(given for given, _ in pairs[:dropped])))
        return tuple(items[dropped:])

    def _answered(self, fact: Said | Spoke | Called | Searched | Finished, now: float) -> Outputs:
        waiting = self._open.get(fact.response_id)
        if waiting is None:
            return
        match fact:
            case Said():
                yield from waiting.answer.say(fact.text)
            case Spoke():
                self._spoke = True
                length_ms = len(fact.audio) * 1000 / waiting.generate.format.bytes_per_second
                self._audible_until_ms = max(self._audible_until_ms, self._buffer.end_ms) + length_ms
                if fact.response_id == self._current:
                    seconds = len(fact.audio) / waiting.generate.format.bytes_per_second
                    self._played_until = max(self._played_until, now) + seconds
                yield from waiting.answer.speak(fact.audio)
            case Called() if fact.name in _extensions(self.session).hosted:
                return
            case Called():
                if offer := waiting.offers.get(fact.name):
                    yield from self._remote.call(waiting.answer, offer, fact.arguments)
                else:
                    yield from waiting.answer.call(fact.name, fact.arguments, fact.call_id)
            case Searched():
                yield from self._searched(fact, waiting.answer)
            case Finished():
                ended = fact.response_id == self._current and fact.error is None
                yield from self._finish(fact)
                if ended and self._current is None:
                    self._quiet_since = max(self._played_until, now)
            case _:
                assert_never(fact)

    def _searched(self, fact: Searched, answer: Answer) -> Outputs:
        """Tell of a search, and name its sources in the answer; only to those who ask."""
        if not _extensions(self.session).sources:
            return
        told = {"response_id": fact.response_id, "tool": fact.tool, "query": fact.query}
        if fact.sources is None:
            yield SearchStarted(**told)
        else:
            answer.cite(fact.sources)
            yield SearchDone(**told, sources=fact.sources)

    def _finish(self, fact: Finished) -> Outputs:
        if fact.error is not None:
            code, message = fact.error
            error = ErrorDetail(type="server_error", code=code, message=message)
            yield from self._close(fact, "failed", StatusDetails(type="failed", error=error))
        elif fact.truncated:
            yield from self._close(fact, "incomplete", StatusDetails(type="incomplete", reason="max_output_tokens"))
        else:
            yield from self._close(fact, "completed", None)

    def _listed(self, fact: Listed) -> Outputs:
        """Take the tools of a remote server, and let the responses go on that waited for them."""
        yield from self._remote.listed(fact)
        yield from self._transcribed(fact.item_id, None)

    def _cancel_response(self, event: ResponseCancel) -> Outputs:
        response_id = event.response_id if isinstance(event.response_id, str) else self._current
        if response_id is None or response_id not in self._open:
            raise ProtocolError("response_cancel_not_active", "Cancellation failed: no active response found")
        yield from self._cancel(response_id, "client_cancelled")
        yield from self._unless_heard()

    def _cancel(self, response_id: str, reason: CancelReason) -> Outputs:
        yield Cancel(response_id)
        if response_id == self._current:
            self._played_until = self._audible_until_ms = 0.0
        yield from self._close(
            Finished(response_id=response_id), "cancelled", StatusDetails(type="cancelled", reason=reason)
        )

    def _close(self, fact: Finished, status: ResponseStatus, details: StatusDetails | None) -> Outputs:
        waiting = self._open.pop(fact.response_id)
        yield from self._remote.settle(waiting.answer)
        yield from waiting.answer.close(status, details, self._usage(fact, waiting))
        yield RateLimitsUpdated(rate_limits=self._allowances())
        if self._current == fact.response_id:
            self._current = None
            owed, self._owed = self._owed, None
            if owed is not None and owed in self.conversation:
                yield from self._respond(ResponseParams(), owed)

    def _usage(self, fact: Finished, waiting: _Open) -> Usage:
        """Count tokens: the model's for text, one for 100 ms of the user's sound and for 50 ms of ours."""
        entries = map(self.conversation.get, _references(waiting.input))
        audio_in = round(sum(entry.audio_ms for entry in entries if entry and _by_user(entry.item)) / 100)
        audio_out = round(waiting.answer.audio_ms / 50)
        return Usage(
            total_tokens=fact.input_tokens + audio_in + fact.output_tokens + audio_out,
            input_tokens=fact.input_tokens + audio_in,
            output_tokens=fact.output_tokens + audio_out,
            input_token_details=InputTokenDetails(
                text_tokens=fact.input_tokens,
                audio_tokens=audio_in,
                cached_tokens=fact.cached_tokens,
                cached_tokens_details=CachedTokenDetails(text_tokens=fact.cached_tokens),
            ),
            output_token_details=OutputTokenDetails(text_tokens=fact.output_tokens, audio_tokens=audio_out),
        )

    def _timed(self, fact: Timed) -> Outputs:
        wanted = _extensions(self.session).timings
        if wanted and fact.timings.response_id in self._open:
            yield fact.timings

    # Time ------------------------------------------------------------------------------------------------------------

    def _bored_at(self) -> float | None:
        """Return when an answer is due because nobody has spoken after the last one, in seconds."""
        match self.session.audio.input.turn_detection:
            case ServerVad(idle_timeout_ms=int(limit)) if not self.speaking and not self._current:
                return None if self._quiet_since is None else self._quiet_since + limit / 1000
            case _:
                return None

    def _go_on(self, now: float) -> Outputs:
        """Answer the silence."""
        item_id, end_ms = self._new_id("item"), self._buffer.end_ms
        start_ms = max(end_ms - (now - (self._quiet_since or now)) * 1000, self._buffer.start_ms)
        yield TimeoutTriggered(item_id=item_id, audio_start_ms=round(start_ms), audio_end_ms=round(end_ms))
        yield from self._add_spoken(item_id, b"")
        if self._transcribes:
            yield TranscriptionCompleted(item_id=item_id, transcript="", usage=TranscriptionSeconds(seconds=0.0))
        yield from self._respond(ResponseParams(), None, SILENCE)

    def _tick(self, now: float) -> Outputs:
        if (due := self._overlap_due()) is not None and now >= due:
            yield from self._hurry_overlap(now)
        if (bored_at := self._bored_at()) is not None and now >= bored_at:
            yield from self._go_on(now)
        if self._expires is None or now < self._expires:
            return
        self._expires = None
        detail = ErrorDetail(
            type="invalid_request_error",
            code="session_expired",
            message="Your session hit its maximum duration; open a new one.",
            event_id=None,
        )
        yield Error(error=detail)
        yield Close(1001, "session_expired")


def _given(value: T | UnsetType | None, otherwise: T) -> T:
    return otherwise if value is UNSET or value is None else value


def _voice(params: ResponseParams, session: Session) -> VoiceOutput:
    asked = _given(_given(params.audio, ResponseAudio()).output, VoiceOutput())
    output = session.audio.output
    return VoiceOutput(format=_given(asked.format, output.format), voice=_given(asked.voice, output.voice))


def _schema(tool: FunctionTool) -> dict[str, Any]:
    """Return the tool's JSON schema; some clients send it as a string."""
    schema = tool.parameters
    if isinstance(schema, str):
        try:
            schema = msgspec.json.decode(schema)
        except msgspec.DecodeError:
            schema = None
    return schema if isinstance(schema, dict) and schema else {"type": "object", "properties": {}}


def _untranscribed(item: Item) -> bytes:
    """Return the user's sound in an item that says nothing in words."""
    if not isinstance(item, Message) or any(map(part_text, item.content)):
        return b""
    return b"".join(
        part.audio for part in item.content if isinstance(part, InputAudio) and isinstance(part.audio, bytes)
    )


def _without_audio(item: Item) -> Item:
    """Return the item as events show it: sound is only retrieved."""
    if not isinstance(item, Message):
        return item
    return replace(
        item,
        content=tuple(replace(part, audio=UNSET) if isinstance(part, InputAudio) else part for part in item.content),
    )


def _references(items: tuple[Item, ...]) -> Iterator[str]:
    return (str(item.id) for item in items if isinstance(item, ItemReference))


def _by_user(item: Item) -> bool:
    return isinstance(item, Message) and item.role == "user"


def _extensions(session: AnySession) -> Extensions:
    return _given(session.vivavoce, Extensions())


def _voice_of(session: AnySession) -> str | None:
    return session.audio.output.voice if isinstance(session, Session) else None


def _check_settings(session: AnySession) -> None:
    _check_format(session.audio.input.format, "session.audio.input.format", session)
    if isinstance(session, TranscriptionSession):
        return
    check_tools(session.tools, "session.tools")
    check_searches(_extensions(session), "session.vivavoce")
    _check_modalities(session.output_modalities, "session.output_modalities")
    _check_format(session.audio.output.format, "session.audio.output.format", session)


def _check_format(sound: AudioFormat | UnsetType, param: str, session: AnySession) -> None:
    if _extensions(session).any_rate:
        return
    if isinstance(sound, Pcm) and sound.rate != GA_PCM_RATE:
        code = "integer_below_min_value" if sound.rate < GA_PCM_RATE else "integer_above_max_value"
        message = f"Invalid '{param}.rate': expected {GA_PCM_RATE}, got {sound.rate}."
        raise ProtocolError(code, message, param=f"{param}.rate")


def _check_modalities(modalities: tuple[Modality, ...], param: str) -> None:
    if len(modalities) != 1:
        message = f"Invalid '{param}': expected exactly one of ['audio'] and ['text']."
        raise ProtocolError("invalid_value", message, param=param)
