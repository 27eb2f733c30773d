"""A server's half with every promise of the protocol checked at every step."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from vivavoce.realtime import events as wire
from vivavoce.realtime import facts
from vivavoce.realtime.errors import ProtocolError
from vivavoce.realtime.server import ServerSession
from vivavoce.realtime.values import AnySession, Audio, AudioInput, McpCall, ServerVad, Session

if TYPE_CHECKING:
    from collections.abc import Iterable

BYTES_PER_MS = 48
NEVER_NULL = {
    "part": {"text", "transcript", "audio"},
    "item": {"id", "status", "role", "name", "arguments", "call_id", "content"},
    "usage": {"input_tokens", "output_tokens", "total_tokens"},
}
"""Fields that agents-js loses a frame over when they are null (protocol, rule 4)."""


def sound(ms: float) -> bytes:
    return bytes(2 * round(ms * BYTES_PER_MS / 2))


def new_session(**settings: Any) -> Session:
    audio = Audio(input=AudioInput(turn_detection=ServerVad(silence_duration_ms=400)))
    fields: dict[str, Any] = {"id": "sess_1", "model": "test", "audio": audio} | settings
    return Session(**fields)


@cache
def openai_union() -> TypeAdapter[Any]:
    return TypeAdapter(RealtimeServerEvent)


def types(outputs: Iterable[Any]) -> list[str]:
    """The outputs by the names that the protocol and the engine know them by."""
    return [msgspec.to_builtins(output)["type"] for output in outputs]


def only(outputs: list[Any], kind: type) -> Any:
    (found,) = (output for output in outputs if isinstance(output, kind))
    return found


class Counted:
    """Mints item_1, item_2, resp_1 …"""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.counts: Counter[str] = Counter()

    def __call__(self, kind: str) -> str:
        self.counts[kind] += 1
        return f"{self.prefix}{kind}_{self.counts[kind]}"


class Server:
    """Drives a session and checks each step."""

    def __init__(self, session: AnySession | None = None, *, strict: bool = True, **options: Any) -> None:
        """Drive a session; where it is not strict, frames may hold rates of sound that stock clients do not know."""
        self.strict = strict
        self.half = ServerSession(session or new_session(), mint=Counted(), **options)
        self.order = Order()
        self.greeting = self._checked(self.half.start())

    def __call__(self, *happened: Any, now: float = 0.0) -> list[Any]:
        """Take events, facts or client frames as decoded JSON, and return all outputs."""
        return [output for one in happened for output in self._step(one, now)]

    def refuse(self, wrong: ProtocolError) -> list[Any]:
        """Answer a client event that cannot be read."""
        return self._checked(self.half.refuse(wrong))

    def error(self, happened: Any) -> Any:
        """Take a client event that is refused and return the detail."""
        (refusal,) = self(happened)
        assert isinstance(refusal, wire.Error), refusal
        return refusal.error

    def prompt(self, **response: Any) -> tuple[Any, ...]:
        """What a model would be asked to continue now."""
        out = self({"type": "response.create", "response": {"conversation": "none", **response}})
        generate = only(out, facts.Generate)
        self({"type": "response.cancel", "response_id": generate.response_id})
        messages: tuple[Any, ...] = generate.prompt.messages
        return messages

    def transcript(self, item_id: str) -> str:
        """What an answer of ours is remembered to have said."""
        entry: Any = self.half.conversation.get(item_id)
        return str(entry.item.content[0].transcript)

    def _step(self, one: Any, now: float) -> list[Any]:
        before = snapshot(self.half) if isinstance(one, dict | wire.ClientEvent) else None
        try:
            event = wire.decode_client(json.dumps(one)) if isinstance(one, dict) else one
            outputs = self.half.step(event, now)
        except ProtocolError as wrong:
            outputs = self.half.refuse(wrong)
        if before is not None and any(isinstance(output, wire.Error) for output in outputs):
            assert len(outputs) == 1
            assert snapshot(self.half) == before
        return self._checked(outputs)

    def _checked(self, outputs: list[Any]) -> list[Any]:
        for output in outputs:
            if isinstance(output, wire.ServerEvent):
                check_frame(output, strict=self.strict)
        self.order.follow(outputs)
        assert self.order.items == [entry.id for entry in self.half.conversation]
        return outputs


def check_frame(event: Any, *, strict: bool = True) -> None:
    """A frame survives our own reader and satisfies the strictest stock clients."""
    text = wire.encode(event)
    assert wire.decode_server(text) == event
    raw = json.loads(text)
    assert isinstance(raw["event_id"], str)
    assert raw["event_id"]
    if strict and not raw["type"].startswith("vivavoce."):
        openai_union().validate_json(text)
    _check_nulls(raw, "")


def _check_nulls(raw: Any, name: str) -> None:
    if isinstance(raw, list):
        for one in raw:
            _check_nulls(one, "item" if name == "output" else name)
    elif isinstance(raw, dict):
        assert not {field for field in NEVER_NULL.get(name, ()) if raw.get(field, "") is None}, raw
        for field, value in raw.items():
            _check_nulls(value, field)


class Order:
    """The promises about order that hold over a whole session."""

    def __init__(self) -> None:
        self.event_ids: set[str] = set()
        self.items: list[str] = []
        self.open_items: set[str] = set()
        self.open: dict[str, Any] = {}
        self.done: set[str] = set()
        self.generated: set[str] = set()
        self.output: dict[str, dict[str, bool]] = {}
        self.deltas: defaultdict[tuple[str, str], str] = defaultdict(str)
        self.verdicts: set[str] = set()
        self.asked_for: set[str] = set()
        self.running: set[str] = set()
        """Remote calls whose output item is open: only these leave room for others."""
        self.told: set[str] = set()
        """Remote calls and lists whose end was told."""

    def follow(self, outputs: list[Any]) -> None:
        for output in outputs:
            if isinstance(output, wire.ServerEvent):
                assert output.event_id not in self.event_ids
                self.event_ids.add(output.event_id)
            response_id = getattr(output, "response_id", None)
            assert response_id is None or response_id in self.open or isinstance(output, facts.Cancel)
            self._follow(output)

    def _follow(self, output: Any) -> None:
        match output:
            case wire.ResponseCreated(response=response):
                assert response.id not in self.open | self.output
                assert response.conversation_id is None or not any(r.conversation_id for r in self.open.values())
                self.open[response.id] = response
                self.output[response.id] = {}
            case wire.ResponseDone(response=response):
                created = self.open.pop(response.id)
                assert response.metadata == created.metadata
                assert response.usage is not None
                assert all(self.output[response.id].values())
                assert [item.id for item in response.output] == list(self.output[response.id])
                self.done.add(response.id)
            case facts.Generate(response_id=response_id):
                assert response_id not in self.generated
                self.generated.add(response_id)
                check_prompt(output.prompt.messages)
            case facts.Cancel(response_id=response_id):
                assert response_id in self.open
            case wire.TimeoutTriggered(item_id=item_id):
                self.asked_for.add(item_id)
            case facts.Transcribe(item_id=item_id):
                assert item_id in self.items
                self.asked_for.add(item_id)
            case _:
                self._follow_item(output)

    def _follow_item(self, output: Any) -> None:
        item_id = str(output.item.id) if hasattr(output, "item") else ""
        match output:
            case wire.OutputItemAdded():
                assert output.output_index == len(self.output[output.response_id])
                assert all(self.output[output.response_id].values()) or self.running
                self.output[output.response_id][item_id] = False
                self.running |= {item_id} if isinstance(output.item, McpCall) else set()
            case wire.OutputItemDone():
                assert self.output[output.response_id][item_id] is False
                self.output[output.response_id][item_id] = True
                self.running.discard(item_id)
            case wire.ConversationItemAdded(previous_item_id=previous):
                assert item_id not in self.items
                self.items.insert(self.items.index(previous) + 1 if previous else 0, item_id)
                self.open_items.add(item_id)
            case wire.ConversationItemDone(previous_item_id=previous):
                self.open_items.remove(item_id)
                index = self.items.index(item_id)
                assert previous == (self.items[index - 1] if index else None)
            case wire.ConversationItemDeleted(item_id=item_id):
                self.items.remove(item_id)
                self.open_items.discard(item_id)
            case wire.TranscriptionCompleted(item_id=item_id) | wire.TranscriptionFailed(item_id=item_id):
                assert item_id in self.asked_for - self.verdicts
                self.verdicts.add(item_id)
            case wire.McpCallCompleted() | wire.McpCallFailed():
                assert output.item_id not in self.told
                self.told.add(output.item_id)
            case wire.McpListToolsCompleted() | wire.McpListToolsFailed():
                assert output.item_id not in self.told
                self.told.add(output.item_id)
            case _:
                self._follow_delta(output)

    def _follow_delta(self, output: Any) -> None:
        match output:
            case wire.OutputTextDelta() | wire.OutputAudioTranscriptDelta() | wire.FunctionCallArgumentsDelta():
                assert self.output[output.response_id][output.item_id] is False
                self.deltas[output.response_id, output.item_id] += output.delta
            case wire.OutputAudioDelta():
                assert self.output[output.response_id][output.item_id] is False
            case wire.OutputTextDone(text=whole) | wire.OutputAudioTranscriptDone(transcript=whole):
                assert whole == self.deltas[output.response_id, output.item_id]
            case wire.McpCallArgumentsDelta():
                assert isinstance(output.obfuscation, str)  # agents-js loses the frame without it
                self.deltas[output.response_id, output.item_id] += output.delta
            case wire.FunctionCallArgumentsDone(arguments=whole) | wire.McpCallArgumentsDone(arguments=whole):
                assert whole == self.deltas[output.response_id, output.item_id]
            case _:
                pass


def check_prompt(messages: tuple[Any, ...]) -> None:
    """Results directly follow their calls, and every call has one."""
    waiting: list[str] = []
    for message in messages:
        if waiting:
            assert message.role == "tool"
            assert message.call_id == waiting.pop(0)
            continue
        assert message.role != "tool"
        assert message.text or message.calls
        waiting = [call.call_id for call in message.calls]
    assert not waiting


def snapshot(thing: Any) -> Any:
    """All that an object remembers, as values that can be compared."""
    match thing:
        case dict():
            return {key: snapshot(value) for key, value in thing.items()}
        case list() | tuple() | set():
            return [snapshot(value) for value in (sorted(thing) if isinstance(thing, set) else thing)]
        case bytearray():
            return bytes(thing)
        case _ if isinstance(thing, msgspec.Struct) or not hasattr(thing, "__dict__"):
            return thing
        case _:
            kept = {name: value for name, value in vars(thing).items() if not callable(value)}
            return type(thing).__name__, snapshot(kept)
