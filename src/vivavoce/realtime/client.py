"""The client's half of a session, as a fold: what happened goes in, what to send and what to do comes out.

It knows what is being played and how much of it was heard, so that an interruption tells the server the truth; it
runs the calls of a response and asks for the next one when all have returned. It outlives a connection: what the
server of the next session must know is told again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, deque
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from vivavoce.realtime import events as wire
from vivavoce.realtime.backlog import Backlog
from vivavoce.realtime.context import CHARACTERS_PER_TOKEN
from vivavoce.realtime.hearing import Hearing
from vivavoce.realtime.recall import Recall
from vivavoce.realtime.refusal import MOST_REFUSALS, is_harmless, matters, refused_setting, without
from vivavoce.realtime.values import (
    Extensions,
    FunctionCall,
    FunctionCallOutput,
    InputText,
    Message,
    OutputAudio,
    OutputText,
    ResponseExtensions,
    ResponseParams,
    Source,
    TurnDetection,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vivavoce.realtime.answer import Mint
    from vivavoce.realtime.hearing import Told
    from vivavoce.realtime.values import Item

State: TypeAlias = Literal["connecting", "reconnecting", "listening", "hearing you", "thinking", "speaking"]

SHORTEST_MS = 100
"""A shorter turn by push-to-talk is a slip of the finger; servers refuse to take it."""
MOST_REPEATS = 2
"""How often the model may make the same call before the person speaks again."""
MOST_ROUNDS = 8
"""Responses with calls before the person speaks again."""
NOT_RUN = '{"error": "Not run: you have called often enough. Answer the user with what you know by now."}'
SHARE = 4
"""What the calls of one response return may fill this part of the model's window together."""
CUT = "\n[cut here: this is the beginning of a longer result]"
ASIDE = "vivavoce_aside"
"""Key of the metadata by which we know words that bridge a silence."""
SAY = "Say exactly this and nothing else: {}"
PCM_RATE = 24_000
"""Hz, of the sound of a session that asked for nothing else."""
PCM_BYTES = 2
"""A sample."""
HUSHED = 64
"""Interrupted responses and items that are remembered, in case something of them comes late."""
RENEW_SHARE, RENEW_S = 0.9, 60.0
"""A session is renewed, in a quiet moment, when this share of its life is over and no more than this is left of it."""
RETELLING = "retelling"
"""Part of the names of events that tell a new session of the conversation."""


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
    moot: bool = False
    """Nothing need be said about it: nobody waits for it any more."""
    sources: tuple[Source, ...] = ()
    """Where the output has something from."""
    say: str = ""
    """The answer to it, word for word; a server that cannot speak given words reads the output."""


class Typed(Happened, frozen=True):
    """The person typed this."""

    text: str


class Interrupted(Happened, frozen=True):
    """The person wants silence."""


class TurnBegun(Happened, frozen=True):
    """The person pressed push-to-talk."""


class TurnTaken(Happened, frozen=True):
    """The person released push-to-talk."""


class Changed(Happened, frozen=True):
    """The person wants other settings, as in `session.update`; they last as long as the conversation."""

    settings: dict[str, Any]


class Reported(Happened, frozen=True):
    """Something that runs long has news for the conversation, told as soon as nobody speaks."""

    text: str
    sources: tuple[Source, ...] = ()
    """Where the news has something from."""


class Waiting(Happened, frozen=True):
    """A call takes long: these words bridge the silence, if there is one."""

    text: str


class Unanswered(Happened, frozen=True):
    """The server was asked for settings and has had its time to say that they hold."""


class Lost(Happened, frozen=True):
    """The connection has gone; another one is being opened."""


class Tick(Happened, frozen=True):
    """The time of `deadline` has come."""


AnyHappened: TypeAlias = (
    Captured
    | Played
    | Returned
    | Typed
    | Interrupted
    | TurnBegun
    | TurnTaken
    | Changed
    | Reported
    | Waiting
    | Unanswered
    | Lost
    | Tick
)


class Effect(msgspec.Struct, frozen=True, tag=True):
    """Something to do at the person's end."""


class Play(Effect, frozen=True):
    """Queue this sound."""

    item_id: str
    audio: bytes


class Hush(Effect, frozen=True):
    """Fall silent now."""


class Duck(Effect, frozen=True):
    """Fall silent now, but forget nothing: somebody speaks, perhaps not to us."""


class Unduck(Effect, frozen=True):
    """Go on from there."""


class Show(Effect, frozen=True, kw_only=True):
    """Show words."""

    role: Literal["user", "assistant"]
    item_id: str
    text: str
    """All the words of the item so far."""
    final: bool = False
    cut: bool = False
    """The item was interrupted."""
    heard: int | None = None
    """Characters of an answer that have been heard by now, whole words; None where it is only read."""


class Run(Effect, frozen=True):
    """Run a tool."""

    call_id: str
    name: str
    arguments: str


class Stop(Effect, frozen=True):
    """The person interrupted while these calls ran."""

    call_ids: tuple[str, ...]


class Cite(Effect, frozen=True):
    """Show where an answer has something from."""

    item_id: str
    sources: tuple[Source, ...]


class Warn(Effect, frozen=True):
    """Tell the person what the server complains about."""

    code: str
    message: str


class Report(Effect, frozen=True):
    """Show where the time of a turn went."""

    timings: wire.ResponseTimings


class Renew(Effect, frozen=True):
    """Open another connection instead of this one, whose session ends soon."""


AnyEffect: TypeAlias = Play | Hush | Duck | Unduck | Show | Run | Stop | Cite | Warn | Report | Renew
Input: TypeAlias = wire.AnyServerEvent | wire.Unknown | AnyHappened
Output: TypeAlias = wire.AnyClientEvent | AnyEffect
Outputs: TypeAlias = "Iterator[Output]"


@dataclass
class _Life:
    """When a session begins and ends; times are those of the steps, seconds."""

    unix: float
    """Unix time at which their clock shows 0."""
    now: float = 0.0
    created: bool = False
    """Whether there is a session, its settings in effect or not."""
    lost: Literal["", "lost", "renewing"] = ""
    """Why there is none any more."""
    renew_at: float | None = None

    def begin(self, expires_at: int) -> None:
        """Note that there is a session and, where the server tells, when it ends: Unix time, seconds."""
        left = expires_at - self.unix - self.now
        self.created = True
        self.renew_at = self.now + max(RENEW_SHARE * left, left - RENEW_S) if left > 0 else None

    def end(self, why: Literal["lost", "renewing"]) -> None:
        """Note that there is none."""
        self.created, self.lost, self.renew_at = False, why, None


@dataclass
class _Turn:
    """What the person says, as the server takes it."""

    open: str | None = None
    """The turn that goes on, by the item that it will be."""
    answers: bool = True
    """Whether the server answers turns by itself."""
    unanswered: bool = False
    """Whether one has ended that it will answer, and has not begun to."""
    drafted: bool = False
    """Whether words of the open one were shown."""

    def begin(self, item_id: str) -> None:
        """Note that the person speaks."""
        self.open, self.unanswered, self.drafted = item_id, False, False

    def end(self) -> None:
        """Note that the turn is taken."""
        self.open = None


@dataclass
class _Words:
    """What an item says so far."""

    told_by: type | None = None
    """The kind of event that brings them; some servers send the same words as another kind, too."""
    text: str = ""
    whole: bool = False
    sound_ms: float = 0.0
    """Length of its sound so far."""
    marks: dict[float, int] = field(default_factory=lambda: {0.0: 0})
    """From this millisecond of its sound on, so many characters had been said."""
    heard: int = 0
    """Characters that have been heard."""

    def say(self, more: str) -> None:
        """Add text; what comes after it is its sound."""
        self.marks.setdefault(self.sound_ms, len(self.text))
        self.text += more

    def hear(self, ms: float) -> bool:
        """Note how much of the sound was heard and tell whether that is another word."""
        before, self.heard = self.heard, max(self.heard, self._said_by(ms))
        return self.heard > before

    def _said_by(self, ms: float) -> int:
        """Return the characters said by then, between two marks in proportion, without the word that is being said."""
        if ms >= self.sound_ms:
            return len(self.text) if self.whole else self.marks.get(self.sound_ms, len(self.text))
        marks = [*sorted(self.marks.items()), (self.sound_ms, len(self.text))]
        at = bisect_right(marks, ms, key=lambda mark: mark[0])
        (start, said), (end, more) = marks[max(at - 1, 0)], marks[at]
        here = said + int((more - said) * (ms - start) / (end - start))
        whole = here if self.text[here : here + 1].isspace() else self.text.rfind(" ", 0, here) + 1
        return len(self.text[:whole].rstrip())


@dataclass
class _Calls:
    """The calls of one response that have not all returned."""

    running: set[str] = field(default_factory=set)
    made: int = 0
    """Those that have returned, too."""
    matters: bool = False
    """Whether the model is to answer what they returned."""
    done: bool = False
    """The response is done."""


@dataclass
class _Patience:
    """How often the model has called since the person spoke."""

    rounds: int = 0
    """Responses with calls."""
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    lost: bool = False
    """Whether it shall answer without further calls."""
    told: bool = False
    """Whether it was asked to."""

    def takes(self, call: FunctionCall, *, first: bool) -> bool:
        """Count a call, the first of its response or another one, and tell whether it may run."""
        key = call.name, _normal(call.arguments)
        self.rounds += first
        self.calls[key] += 1
        self.lost = self.lost or self.rounds > MOST_ROUNDS or self.calls[key] > MOST_REPEATS
        return not self.lost


@dataclass
class _Aside:
    """Words between two answers, out of the conversation; one at a time."""

    spoken_by: Literal["nobody", "model", "server"] = "model"
    """Who can say them: only our own server speaks a text as it is."""
    asked: str = ""
    """The event that asked for it."""
    response: str | None = None
    """The response, empty as long as it is not created; None where there is none."""
    responses: deque[str] = field(default_factory=lambda: deque(maxlen=HUSHED))
    """All there were lately."""
    items: deque[str] = field(default_factory=lambda: deque(maxlen=HUSHED))
    """What cannot be truncated, since the conversation does not hold it."""

    def create(self, text: str) -> wire.ResponseCreate:
        """Ask for it."""
        self.response = ""
        metadata = {ASIDE: "true"}
        if self.spoken_by == "server":
            say = ResponseExtensions(say=text)
            return wire.ResponseCreate(
                response=ResponseParams(conversation="none", input=(), metadata=metadata, vivavoce=say)
            )
        return wire.ResponseCreate(
            response=ResponseParams(
                conversation="none", input=(), metadata=metadata, instructions=SAY.format(text), tool_choice="none"
            )
        )


class ClientSession:
    """One person's session with a server."""

    def __init__(
        self,
        session: dict[str, Any],
        *,
        mint: Mint,
        greeting: str | None = None,
        unix: float = 0.0,
    ) -> None:
        """Begin.

        Args:
            session: the settings to ask for when the server has greeted us, as in `session.update`.
            mint: makes identifiers.
            greeting: what the model is told to open the conversation with; None to let the person begin.
            unix: Unix time at which the clock of the steps shows 0, seconds.
        """
        self._wanted = session
        self._mint = mint
        self._life = _Life(unix)
        self._ready = False
        self._recall = Recall(mint=mint, bytes_per_ms=self._bytes_per_ms("output"))
        self._backlog = Backlog(self._bytes_per_ms("input"))
        self._turn = _Turn()
        self._answer: dict[str, bool] = {}
        """The messages of the response that is open, and whether each has sound."""
        self._speech_open = False
        self._interruptible = True
        self._active: str | None = None
        """The response that is open, empty for one that was asked for and is not created yet."""
        self._asked = ""
        """The event that asked for a response last."""
        self._to_say = ""
        """The next answer, word for word."""
        self._only_tell = False
        """Whether the next answer may call nothing: what a tool says must not set another one to work."""
        self._owed = False
        """Whether to ask for a response when the one that is open is done."""
        self._hushed: deque[str] = deque(maxlen=HUSHED)
        """Responses and items that were interrupted lately: what still comes of them is late."""
        self._playing: dict[str, int] = {}
        """Items whose sound is queued or being heard, in this order, and how many milliseconds were heard of each."""
        self._all_played = False
        self._ducked = False
        self._calls: dict[str, _Calls] = {}
        self._patience = _Patience()
        self._aside = _Aside()
        self._window: int | None = None
        """Tokens that the model takes in a prompt, where the server tells."""
        self._words: dict[str, _Words] = {}
        self._greeting = greeting
        self._hearing = Hearing()
        self._unheard_for: set[str] = set()
        """Why the person's words could not be shown."""
        self._refused = 0
        """Settings that the server would not have."""
        self._silencing: deque[str] = deque(maxlen=HUSHED)
        """Events that only ask for silence: it does not matter if the server has nothing to silence."""
        self._insisted = ""
        """The response that was cancelled because it went on although the person spoke."""
        self._ran: deque[str] = deque(maxlen=HUSHED)
        """Calls that were run, in case the server tells one again."""
        self._news: deque[str] = deque()
        """What waits for a quiet moment to be told."""
        self._held_bytes: int | None = None
        """Sound since push-to-talk was pressed; None while it is not."""

    @property
    def state(self) -> State:
        """Return what the conversation is doing."""
        if not self._ready and self._life.lost != "renewing":
            return "reconnecting" if self._life.lost else "connecting"
        if self._speech_open:
            return "hearing you"
        if self._playing:
            return "speaking"
        return "thinking" if self.answering or self._owed or self._calls else "listening"

    @property
    def answering(self) -> bool:
        """Tell whether a response is open."""
        return self._active is not None

    @property
    def playing_item(self) -> str | None:
        """Return the item that is being heard or will be heard last, or None."""
        return next(reversed(self._playing), None)

    @property
    def quiet(self) -> bool:
        """Tell whether nothing is being said, made or awaited."""
        return self.state == "listening"

    @property
    def ready(self) -> bool:
        """Tell whether there is a session with the settings in effect."""
        return self._ready

    def deadline(self) -> float | None:
        """Return when `Tick` is due, in seconds, or None."""
        renew_at = self._life.renew_at
        return None if renew_at is None or renew_at <= self._life.now else renew_at

    def step(self, happened: Input, now: float = 0.0) -> list[Output]:
        """Take one thing that happened and return what to send and do, in order.

        Without a session nothing is sent; it is remembered for the next one.

        Args:
            happened: at the person's end or from the server.
            now: seconds, on any clock.
        """
        self._life.now = now
        outputs = self._server(happened) if isinstance(happened, wire.ServerEvent) else self._person(happened)
        return list(self._passed(chain(outputs, self._tell_news(), self._renew())))

    def _passed(self, outputs: Outputs) -> Outputs:
        for output in map(self._stamped, outputs):
            self._ducked = self._ducked and not isinstance(output, Hush)
            if isinstance(output, wire.ClientEvent):
                self._recall.follow(output)
                if not self._ready and not isinstance(output, wire.SessionUpdate):
                    continue
            yield output

    def _stamped(self, output: Output) -> Output:
        if not isinstance(output, wire.ClientEvent) or isinstance(output, wire.InputAudioBufferAppend):
            return output
        event = replace(output, event_id=output.event_id or self._mint("event"))
        if isinstance(event, wire.ResponseCreate):
            if isinstance(event.response, ResponseParams) and event.response.conversation == "none":
                self._aside.asked = str(event.event_id)
            else:
                self._asked = str(event.event_id)
        if isinstance(event, wire.ResponseCancel | wire.ConversationItemTruncate | wire.InputAudioBufferClear):
            self._silencing.append(str(event.event_id))
        return event

    # The person ------------------------------------------------------------------------------------------------------

    def _person(self, happened: AnyHappened | wire.Unknown) -> Outputs:
        match happened:
            case Captured():
                if self._held_bytes is not None:
                    self._held_bytes += len(happened.audio)
                self._backlog.add(happened.audio)
                yield wire.InputAudioBufferAppend(audio=happened.audio)
            case Played():
                yield from self._played(happened)
            case Returned():
                yield from self._returned(happened)
            case Typed():
                yield from self._typed(happened)
            case Interrupted():
                self._owed = False
                yield from self._interrupt(cancel=True)
            case TurnBegun():
                yield from self._turn_begun()
            case TurnTaken():
                yield from self._turn_taken()
            case Changed(settings=settings):
                self._wanted = _merged(self._wanted, settings)
                if self._ready:
                    yield wire.SessionUpdate(session={"type": "realtime"} | settings)
            case Reported(text=text):
                self._news.append(text)
            case Waiting(text=text):
                yield from self._bridge(text)
            case Unanswered():
                if self._life.created:
                    yield from self._begin()
            case Lost():
                yield from self._lose("lost")
            case wire.Unknown() | Tick():
                pass

    def _played(self, played: Played) -> Outputs:
        if played.item_id not in self._playing:
            return
        while (first := next(iter(self._playing))) != played.item_id:
            del self._playing[first]
            if (words := self._words.get(first)) and words.hear(words.sound_ms):
                yield self._show(first, words)
        self._playing[first] = max(self._playing[first], played.ms)
        if (words := self._words.get(first)) and words.hear(self._playing[first]):
            yield self._show(first, words)
        self._all_played = played.all_played and len(self._playing) == 1
        self._rest()

    def _show(self, item_id: str, words: _Words, *, cut: bool = False) -> Show:
        heard = words.heard if self._spoken else None
        return Show(role="assistant", item_id=item_id, text=words.text, final=cut or words.whole, cut=cut, heard=heard)

    def _turn_begun(self) -> Outputs:
        self._patience = _Patience()
        yield from self._interrupt(cancel=True)
        yield wire.InputAudioBufferClear()
        self._backlog.clear()
        self._backlog.begin()
        self._speech_open = True
        self._held_bytes = 0

    def _turn_taken(self) -> Outputs:
        held, self._held_bytes = self._held_bytes or 0, None
        self._speech_open = False
        if held < SHORTEST_MS * self._bytes_per_ms("input"):
            yield wire.InputAudioBufferClear()
            self._backlog.clear()
            yield from self._pay()
            return
        yield wire.InputAudioBufferCommit()
        self._backlog.commit()
        yield from self._ask()

    def _tell_news(self) -> Outputs:
        """Tell the model what has happened meanwhile, in a quiet moment."""
        if self._news and self.quiet:
            item = Message(id=self._mint("item"), role="user", content=(InputText(text=self._news.popleft()),))
            yield wire.ConversationItemCreate(item=item)
            self._only_tell = True
            yield from self._ask()

    def _bridge(self, text: str) -> Outputs:
        """Say something while everybody waits in silence, unless that is not possible here."""
        silent = self.state in {"thinking", "listening"} and self._active is None and self._aside.response is None
        if silent and self._spoken and self._aside.spoken_by != "nobody":
            yield self._aside.create(text)

    @property
    def _spoken(self) -> bool:
        return "audio" in self._wanted.get("output_modalities", ("audio",))

    def _bytes_per_ms(self, direction: Literal["input", "output"]) -> float:
        sound = self._wanted.get("audio", {}).get(direction, {}).get("format", {})
        return float(sound.get("rate", PCM_RATE)) * PCM_BYTES / 1000

    def _rest(self) -> None:
        """Stop speaking when everything was heard and nothing more will come."""
        if self._all_played and self._active is None and self._aside.response is None:
            self._playing.clear()

    def _typed(self, typed: Typed) -> Outputs:
        self._patience = _Patience()
        yield from self._interrupt(cancel=True)
        item = Message(id=self._mint("item"), role="user", content=(InputText(text=typed.text),))
        yield wire.ConversationItemCreate(item=item)
        yield from self._ask()

    def _returned(self, returned: Returned) -> Outputs:
        calls = next((calls for calls in self._calls.values() if returned.call_id in calls.running), None)
        if calls is None:
            return
        calls.running.remove(returned.call_id)
        calls.matters = calls.matters or not returned.moot
        self._to_say = returned.say or self._to_say
        yield self._output(returned.call_id, self._fitting(returned.output, calls.made))
        yield from self._go_on()

    def _output(self, call_id: str, output: str) -> wire.ConversationItemCreate:
        item = FunctionCallOutput(id=self._mint("item"), call_id=call_id, output=output)
        return wire.ConversationItemCreate(item=item)

    def _fitting(self, output: str, among: int) -> str:
        """Cut what one of so many calls returned to its share of the model's window, where that is known."""
        if self._window is None:
            return output
        longest = self._window * CHARACTERS_PER_TOKEN // SHARE // among
        return output if len(output) <= longest else f"{output[:longest]}{CUT}"

    def _go_on(self) -> Outputs:
        """Ask for the next response when every call of a finished one has returned, unless it was interrupted."""
        finished = {key: calls for key, calls in self._calls.items() if calls.done and not calls.running}
        for key in finished:
            del self._calls[key]
        if any(calls.matters and key not in self._hushed for key, calls in finished.items()):
            yield from self._ask()

    def _ask(self) -> Outputs:
        """Ask for a response, now or when what is being said is done; what the person says may be answered with it."""
        busy = self._active is not None or self._aside.response is not None or self._speech_open
        self._owed = busy or not self._ready
        if not self._owed:
            self._active = ""
            self._patience.told = self._patience.lost
            yield wire.ResponseCreate(response=self._wish())

    def _wish(self) -> ResponseParams | UnsetType:
        """Return what is special about the response that is asked for."""
        words, self._to_say = self._to_say, ""
        only_tell, self._only_tell = self._only_tell or self._patience.lost, False
        if words and self._aside.spoken_by == "server":
            return ResponseParams(vivavoce=ResponseExtensions(say=words))
        return ResponseParams(tool_choice="none") if only_tell else UNSET

    def _interrupt(self, *, cancel: bool) -> Outputs:
        """Fall silent, and tell the server what was heard."""
        self._to_say = ""
        active = self._active or self._asked
        if self.answering and active not in self._hushed and (cancel or self._active):
            self._hushed.append(active)
            if cancel:
                self._insisted = self._active or ""
                yield wire.ResponseCancel(response_id=self._active or UNSET)
        if self._aside.response is not None:
            yield from self._end_aside()
        playing, self._playing = self._playing, {}
        if playing:
            yield Hush()
        for item_id, heard_ms in playing.items():
            yield from self._cut(item_id, heard_ms)
        for item_id, words in self._words.items():
            if words.text and (item_id in playing or not words.whole):
                yield self._show(item_id, words, cut=True)
        self._words.clear()
        if running := tuple(call_id for calls in self._calls.values() for call_id in sorted(calls.running)):
            yield Stop(running)

    def _end_aside(self) -> Outputs:
        """Let nothing more come of the words between two answers."""
        response, self._aside.response = self._aside.response, None
        self._hushed.append(response or self._aside.asked)
        if response:
            yield wire.ResponseCancel(response_id=response)

    def _cut(self, item_id: str, heard_ms: int) -> Outputs:
        self._hushed.append(item_id)
        if item_id in self._aside.items:
            return
        yield from self._recall.cut(item_id, heard_ms)

    # Another session -------------------------------------------------------------------------------------------------

    def _renew(self) -> Outputs:
        """Leave a session that ends soon, in a quiet moment."""
        due = self._life.renew_at is not None and self._life.now >= self._life.renew_at
        if due and self._ready and self.quiet and not self._turn.unanswered:
            yield from self._lose("renewing")
            yield Renew()

    def _lose(self, why: Literal["lost", "renewing"]) -> Outputs:
        """Go on without a session: sound that is here is played, calls run on, and what is said is kept."""
        self._ready, self._refused = False, 0
        self._life.end(why)
        self._backlog.lose()
        yield from self._drop_turn()
        yield from self._salvage()
        self._aside.response = None
        for calls in self._calls.values():
            calls.done = True
        yield from self._go_on()

    def _drop_turn(self) -> Outputs:
        """Forget a turn that the server will not take any more."""
        self._speech_open = self._held_bytes is not None
        if self._turn.open is not None and self._turn.drafted:
            yield Show(role="user", item_id=self._turn.open, text="", final=True)
        self._turn.end()
        yield from self._unduck()

    def _salvage(self) -> Outputs:
        """Leave the answer that is open as it was heard; one of which nothing was heard is asked for again."""
        opened, self._active = self._active, None
        hushed = (opened or self._asked) in self._hushed
        heard = any(sound and self._playing.get(item_id, 1) for item_id, sound in self._answer.items())
        again = opened is not None and not hushed and not heard and opened not in self._calls
        if again:
            yield from self._unsay()
        elif opened is not None and not hushed:
            for item_id in self._answer:
                if (words := self._words.get(item_id)) and not words.whole:
                    words.text, words.whole = self._recall.text(item_id), True
                    yield self._show(item_id, words)
        self._owed = self._owed or again or self._turn.unanswered
        self._turn.unanswered = False
        self._answer.clear()
        self._rest()

    def _unsay(self) -> Outputs:
        """Take back an answer of which nothing was heard."""
        playing, self._playing = self._playing, {}
        if playing:
            yield Hush()
        for item_id, heard_ms in playing.items():
            if item_id not in self._answer:
                yield from self._cut(item_id, heard_ms)
        for item_id in self._answer:
            if (words := self._words.pop(item_id, None)) and words.text:
                yield self._show(item_id, words, cut=True)
        self._hushed.extend(self._answer)
        self._recall.forget(*self._answer)

    def _begin(self, *, greet: bool = True) -> Outputs:
        """Open or continue the conversation when the settings are in effect, once a session.

        What the server does first shows that, too.
        """
        if self._ready:
            return
        self._ready, self._life.lost = True, ""
        running = {call_id for calls in self._calls.values() for call_id in calls.running}
        for event in self._recall.recreate(running):
            yield replace(event, event_id=self._mint(RETELLING))
        if self._greeting and greet and not self._recall:
            self._owed, self._active = False, ""
            yield wire.ResponseCreate(response=ResponseParams(instructions=self._greeting))
        committing = self._backlog.committing
        if not committing:
            yield from self._pay()
        for audio in self._backlog.again():
            yield wire.InputAudioBufferAppend(audio=audio)
        if committing:
            yield wire.InputAudioBufferCommit()
            yield from self._pay()

    # The server ------------------------------------------------------------------------------------------------------

    def _server(self, event: wire.AnyServerEvent) -> Outputs:
        if getattr(event, "response_id", None) not in self._aside.responses:
            self._recall.follow(event)
        match event:
            case wire.SessionCreated():
                self._life.begin(event.session.expires_at)
                yield wire.SessionUpdate(session=self._wanted)
            case wire.SessionUpdated():
                yield from self._follow_settings(event)
            case wire.SpeechStarted():
                yield from self._begin(greet=False)
                yield from self._speech_started(event)
            case wire.OverlapStarted():
                yield from self._duck()
            case wire.OverlapEnded():
                yield from self._unduck()
            case wire.SpeechStopped() | wire.InputAudioBufferCommitted() | wire.InputAudioBufferCleared():
                self._speech_ended(event)
            case wire.ResponseCreated() if self._is_aside(event):
                yield from self._aside_created(event)
            case wire.ResponseCreated():
                self._response_created(event)
                yield from self._begin(greet=False)
                yield from self._heard(self._hearing.answered())
            case wire.ResponseDone() if event.response.id == self._aside.response:
                self._aside.response = None
                self._rest()
                yield from self._pay()
            case wire.ResponseDone():
                yield from self._response_done(event)
            case wire.OutputAudioDelta():
                yield from self._sound(event)
            case wire.OutputItemDone(item=FunctionCall()):
                yield from self._call(event)
            case wire.OutputItemDone(item=Message()):
                yield from self._said_all(event)
            case wire.Error():
                yield from self._error(event)
            case wire.ResponseTimings():
                yield Report(event)
            case _:
                yield from self._told(event)

    def _follow_settings(self, event: wire.SessionUpdated) -> Outputs:
        self._learn(event.session.vivavoce)
        yield from self._begin()
        detection = event.session.audio.input.turn_detection
        if isinstance(detection, TurnDetection):
            self._interruptible, self._turn.answers = detection.interrupt_response, detection.create_response
        else:
            self._interruptible, self._turn.answers = True, False
            yield from self._drop_turn()

    def _speech_started(self, event: wire.SpeechStarted) -> Outputs:
        yield from self._heard(self._hearing.begun(event.item_id))
        self._turn.begin(event.item_id)
        self._backlog.begin(event.audio_start_ms)
        self._speech_open = True
        self._patience = _Patience()
        if self._interruptible:
            yield from self._interrupt(cancel=False)
        yield from self._unduck()

    def _duck(self) -> Outputs:
        if self._playing and not self._ducked:
            self._ducked = True
            yield Duck()

    def _unduck(self) -> Outputs:
        if self._ducked:
            self._ducked = False
            yield Unduck()

    def _speech_ended(
        self, event: wire.SpeechStopped | wire.InputAudioBufferCommitted | wire.InputAudioBufferCleared
    ) -> None:
        """Keep how the turn sounded until its words are known."""
        match event:
            case wire.SpeechStopped():
                self._recall.keep_sound(event.item_id, self._backlog.end(event.audio_end_ms))
                self._turn.unanswered = self._turn.answers
            case wire.InputAudioBufferCommitted() if self._backlog.committing:
                self._recall.keep_sound(event.item_id, self._backlog.end())
            case _:
                pass
        self._turn.end()
        self._speech_open = self._held_bytes is not None

    def _learn(self, told: Extensions | UnsetType) -> None:
        """Take what only our own server tells."""
        if isinstance(told, Extensions):
            self._window = told.context_tokens
            if self._aside.spoken_by == "model":
                self._aside.spoken_by = "server"

    def _told(self, event: wire.AnyServerEvent) -> Outputs:
        match event:
            case wire.OutputAudioTranscriptDelta() | wire.OutputTextDelta():
                yield from self._says(event)
            case wire.InputTranscriptPartial():
                self._turn.drafted = True
                yield Show(role="user", item_id=event.item_id, text=event.transcript)
            case wire.TranscriptionDelta():
                yield from self._heard(self._hearing.piece(event.item_id, event.delta))
            case wire.TranscriptionCompleted():
                yield from self._heard(self._hearing.whole(event.item_id, event.transcript))
            case (
                wire.ConversationItemCreated(item=Message(role="user") as item)
                | wire.ConversationItemAdded(item=Message(role="user") as item)
                | wire.ConversationItemDone(item=Message(role="user") as item)
            ):
                yield from self._heard(self._hearing.taken(str(item.id)))
            case wire.TranscriptionFailed():
                yield from self._unheard(event.error)
            case _:
                pass

    def _heard(self, told: Iterator[Told]) -> Outputs:
        for item_id, text, final in told:
            yield Show(role="user", item_id=item_id, text=text, final=final)

    def _unheard(self, error: dict[str, Any]) -> Outputs:
        """Warn that the person's words cannot be shown, once for each reason: it will be so at every turn."""
        code = str(error.get("code") or "transcription_failed")
        if code not in self._unheard_for:
            self._unheard_for.add(code)
            yield Warn(code, str(error.get("message") or "What you said could not be transcribed."))

    def _is_aside(self, event: wire.ResponseCreated) -> bool:
        metadata = event.response.metadata
        return ASIDE in metadata if metadata else self._aside.response == "" and self._active is None

    def _aside_created(self, event: wire.ResponseCreated) -> Outputs:
        self._aside.responses.append(event.response.id)
        if self._aside.response == "":
            self._aside.response = event.response.id
        else:
            self._hushed.append(event.response.id)
            yield wire.ResponseCancel(response_id=event.response.id)

    def _response_created(self, event: wire.ResponseCreated) -> None:
        if self._active == "" and self._asked in self._hushed:
            self._hushed.append(event.response.id)
        self._owed = self._owed and self._active is not None
        self._active, self._turn.unanswered = event.response.id, False
        self._answer.clear()
        self._words = {item_id: words for item_id, words in self._words.items() if item_id in self._playing}

    def _late(self, event: wire.ResponseItemEvent | wire.OutputItemDone) -> bool:
        item_id = event.item.id if isinstance(event, wire.OutputItemDone) else event.item_id
        return event.response_id in self._hushed or item_id in self._hushed

    def _sound(self, event: wire.OutputAudioDelta) -> Outputs:
        if event.response_id in self._aside.responses and event.item_id not in self._aside.items:
            self._aside.items.append(event.item_id)
        if not self._late(event):
            self._playing.setdefault(event.item_id, 0)
            self._all_played = False
            self._note_answer(event, sounds=True)
            words = self._words.setdefault(event.item_id, _Words())
            words.sound_ms += len(event.delta) / self._bytes_per_ms("output")
            yield Play(event.item_id, event.delta)
            return
        yield from self._insist(event.response_id)
        if event.item_id not in self._hushed:
            yield from self._cut(event.item_id, 0)

    def _insist(self, response_id: str) -> Outputs:
        """Cancel a response that goes on although the person speaks, once."""
        if response_id == self._active and response_id not in {self._insisted, ""}:
            self._insisted = response_id
            yield wire.ResponseCancel(response_id=response_id)

    def _says(self, event: wire.OutputAudioTranscriptDelta | wire.OutputTextDelta) -> Outputs:
        if self._late(event):
            return
        words = self._words.setdefault(event.item_id, _Words())
        words.told_by = words.told_by or type(event)
        if words.told_by is type(event):
            self._note_answer(event, sounds=False)
            words.say(event.delta)
            yield self._show(event.item_id, words)

    def _note_answer(self, event: wire.ResponseItemEvent, *, sounds: bool) -> None:
        if not event.response_id or event.response_id == self._active:
            self._answer[event.item_id] = sounds or self._answer.get(event.item_id, False)

    def _said_all(self, event: wire.OutputItemDone) -> Outputs:
        item_id = str(event.item.id)
        if self._late(event):
            return
        if (words := self._words.get(item_id)) and words.text:
            words.whole = True
            yield self._show(item_id, words)
        if sources := _sources(event.item):
            yield Cite(item_id, sources)

    def _call(self, event: wire.OutputItemDone) -> Outputs:
        item = event.item
        if self._late(event) or not isinstance(item, FunctionCall) or item.status == "incomplete":
            return
        if isinstance(item.call_id, str) and item.call_id not in self._ran:
            self._ran.append(item.call_id)
            yield from self._take(item, item.call_id, event.response_id or self._active or "")

    def _take(self, call: FunctionCall, call_id: str, response_id: str) -> Outputs:
        """Run a call, unless the model does nothing but call."""
        first = response_id not in self._calls
        calls = self._calls.setdefault(response_id, _Calls())
        calls.made += 1
        if self._patience.takes(call, first=first):
            calls.running.add(call_id)
            yield Run(call_id, call.name, call.arguments)
            return
        calls.matters = calls.matters or not self._patience.told
        yield self._output(call_id, NOT_RUN)

    def _response_done(self, event: wire.ResponseDone) -> Outputs:
        response = event.response
        if self._active == response.id:
            self._active = None
            self._rest()
        details = response.status_details
        if response.status == "failed" and details is not None and isinstance(details.error, msgspec.Struct):
            yield Warn(details.error.code or details.error.type, details.error.message)
        if calls := self._calls.get(response.id):
            calls.done = True
            yield from self._go_on()
        yield from self._pay()

    def _pay(self) -> Outputs:
        """Ask for the response that is owed, if the moment has come."""
        if self._owed and self._active is None:
            yield from self._ask()

    def _error(self, event: wire.Error) -> Outputs:
        setting = None if self._ready else refused_setting(event.error)
        if setting and (lesser := without(self._wanted, setting)) and self._refused < MOST_REFUSALS:
            yield from self._ask_less(lesser, event, setting)
            return
        code, event_id = event.error.code, event.error.event_id
        if RETELLING in str(event_id) or code == "session_expired":
            return
        if self._aside.response == "" and (event_id == self._aside.asked or not isinstance(event_id, str)):
            self._aside.response, self._aside.spoken_by = None, "nobody"
            yield from self._pay()
            return
        refused = event_id == self._asked or (self._active == "" and not isinstance(event_id, str))
        if refused and self._active == "":
            self._active = None
        if code == "conversation_already_has_active_response" and self.answering:
            self._owed = self._owed or refused
        elif not is_harmless(event.error) and event_id not in self._silencing:
            yield Warn(event.error.code or event.error.type, event.error.message)

    def _ask_less(self, lesser: dict[str, Any], refusal: wire.Error, setting: str) -> Outputs:
        """Ask for the settings without one that the server refuses."""
        self._wanted = lesser
        self._refused += 1
        yield wire.SessionUpdate(session=lesser)
        if matters(setting):
            complaint = refusal.error.message.rstrip(".")
            yield Warn(refusal.error.code or refusal.error.type, f"{complaint}. The conversation goes on without it.")


def _sources(item: Item) -> tuple[Source, ...]:
    """Return what the answer cites, each source once."""
    parts = item.content if isinstance(item, Message) else ()
    cited = [part.annotations or () for part in parts if isinstance(part, OutputText | OutputAudio)]
    return tuple(dict.fromkeys(annotation.source for each in cited for annotation in each))


def _normal(arguments: str) -> str:
    """Return arguments in one spelling."""
    try:
        return msgspec.json.encode(msgspec.json.decode(arguments), order="sorted").decode()
    except (msgspec.DecodeError, UnicodeEncodeError):
        return arguments


def _merged(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return the settings with the changes, nested objects merged."""
    merged = dict(settings)
    for name, value in changes.items():
        old = merged.get(name)
        merged[name] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
