"""The verbs of the protocol: every client and every server event, and their JSON.

What we emit is strict; what we read is lenient: an unknown field is ignored and an unknown type becomes `Unknown`.

Source: OpenAI Realtime API reference (GA), client events and server events.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType

from vivavoce.realtime.dialects import server_to_ga, to_ga
from vivavoce.realtime.errors import ProtocolError, explain
from vivavoce.realtime.values import (
    AnySession,
    ErrorDetail,
    Item,
    Response,
    ResponseParams,
    Source,
    TranscriptionUsage,
    unknown_field,
)

if TYPE_CHECKING:
    from collections.abc import Callable

EventId: TypeAlias = Annotated[str, Meta(max_length=512)]
MAX_AUDIO_BYTES = 15 * 1024 * 1024
"""Of one append, decoded."""


class Unknown(msgspec.Struct, frozen=True):
    """An event of a type that we do not know."""

    type: str
    raw: dict[str, Any]


# From the client -----------------------------------------------------------------------------------------------------


class ClientEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Something that a client asks for."""

    event_id: EventId | UnsetType | None = UNSET
    """Chosen by the client; an `error` echoes it."""


class SessionUpdate(ClientEvent, frozen=True, kw_only=True, tag="session.update"):
    """Change only these settings."""

    session: dict[str, Any]


class InputAudioBufferAppend(ClientEvent, frozen=True, kw_only=True, tag="input_audio_buffer.append"):
    """More sound from the user."""

    audio: bytes


class InputAudioBufferCommit(ClientEvent, frozen=True, kw_only=True, tag="input_audio_buffer.commit"):
    """The buffered sound is a turn."""


class InputAudioBufferClear(ClientEvent, frozen=True, kw_only=True, tag="input_audio_buffer.clear"):
    """Forget the buffered sound."""


class OutputAudioBufferClear(ClientEvent, frozen=True, kw_only=True, tag="output_audio_buffer.clear"):
    """Stop what the server plays; only where the server plays."""


class ConversationItemCreate(ClientEvent, frozen=True, kw_only=True, tag="conversation.item.create"):
    """Put an item into the conversation."""

    item: Item
    previous_item_id: str | UnsetType | None = UNSET
    """Where to put it: after this one, "root" for first, at the end where absent."""


class ConversationItemRetrieve(ClientEvent, frozen=True, kw_only=True, tag="conversation.item.retrieve"):
    """Show the item as the server has it."""

    item_id: str


class ConversationItemDelete(ClientEvent, frozen=True, kw_only=True, tag="conversation.item.delete"):
    """Take the item out of the conversation."""

    item_id: str


class ConversationItemTruncate(ClientEvent, frozen=True, kw_only=True, tag="conversation.item.truncate"):
    """Only this much of the answer was heard."""

    item_id: str
    content_index: int
    audio_end_ms: int


class ResponseCreate(ClientEvent, frozen=True, kw_only=True, tag="response.create"):
    """Answer now."""

    response: ResponseParams | UnsetType | None = UNSET


class ResponseCancel(ClientEvent, frozen=True, kw_only=True, tag="response.cancel"):
    """Stop answering."""

    response_id: str | UnsetType | None = UNSET


AnyClientEvent: TypeAlias = (
    SessionUpdate
    | InputAudioBufferAppend
    | InputAudioBufferCommit
    | InputAudioBufferClear
    | OutputAudioBufferClear
    | ConversationItemCreate
    | ConversationItemRetrieve
    | ConversationItemDelete
    | ConversationItemTruncate
    | ResponseCreate
    | ResponseCancel
)

# From the server -----------------------------------------------------------------------------------------------------


class ServerEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Something that the server says."""

    event_id: str = ""
    """Unique in its session; the session stamps it."""


class Error(ServerEvent, frozen=True, kw_only=True, tag="error"):
    """A client event could not be honoured, or something broke."""

    error: ErrorDetail


class SessionCreated(ServerEvent, frozen=True, kw_only=True, tag="session.created"):
    """First, once."""

    session: AnySession


class SessionUpdated(ServerEvent, frozen=True, kw_only=True, tag="session.updated"):
    """The settings in effect."""

    session: AnySession


class ConversationCreated(ServerEvent, frozen=True, kw_only=True, tag="conversation.created"):
    """Documented; not sent on the wire."""

    conversation: dict[str, Any]


class ItemEvent(ServerEvent, frozen=True, kw_only=True):
    """Something about an item and its place."""

    previous_item_id: str | UnsetType | None = UNSET
    item: Item


class ConversationItemCreated(ItemEvent, frozen=True, kw_only=True, tag="conversation.item.created"):
    """The beta name of `added`."""


class ConversationItemAdded(ItemEvent, frozen=True, kw_only=True, tag="conversation.item.added"):
    """The item is in the conversation, perhaps still growing."""


class ConversationItemDone(ItemEvent, frozen=True, kw_only=True, tag="conversation.item.done"):
    """The item is whole."""


class ConversationItemRetrieved(ServerEvent, frozen=True, kw_only=True, tag="conversation.item.retrieved"):
    """The item as the server has it."""

    item: Item


class ConversationItemDeleted(ServerEvent, frozen=True, kw_only=True, tag="conversation.item.deleted"):
    """The item is gone."""

    item_id: str


class ConversationItemTruncated(ServerEvent, frozen=True, kw_only=True, tag="conversation.item.truncated"):
    """The item holds only what was heard."""

    item_id: str
    content_index: int
    audio_end_ms: int


class TranscriptionDelta(
    ServerEvent, frozen=True, kw_only=True, tag="conversation.item.input_audio_transcription.delta"
):
    """More of what the user said."""

    item_id: str
    content_index: int = 0
    delta: str
    logprobs: list[dict[str, Any]] | UnsetType | None = UNSET


class TranscriptionCompleted(
    ServerEvent, frozen=True, kw_only=True, tag="conversation.item.input_audio_transcription.completed"
):
    """What the user said."""

    item_id: str
    content_index: int = 0
    transcript: str
    usage: TranscriptionUsage | UnsetType = UNSET
    logprobs: list[dict[str, Any]] | UnsetType | None = UNSET


class TranscriptionSegment(
    ServerEvent, frozen=True, kw_only=True, tag="conversation.item.input_audio_transcription.segment"
):
    """Who said what when."""

    item_id: str
    content_index: int = 0
    id: str
    speaker: str
    start: float
    end: float
    text: str


class TranscriptionFailed(
    ServerEvent, frozen=True, kw_only=True, tag="conversation.item.input_audio_transcription.failed"
):
    """What the user said could not be transcribed."""

    item_id: str
    content_index: int = 0
    error: dict[str, Any]


class SpeechStarted(ServerEvent, frozen=True, kw_only=True, tag="input_audio_buffer.speech_started"):
    """The user began to speak."""

    item_id: str
    audio_start_ms: int
    """Since the session's first sample, the padding before the speech included."""


class SpeechStopped(ServerEvent, frozen=True, kw_only=True, tag="input_audio_buffer.speech_stopped"):
    """The user's turn is over."""

    item_id: str
    audio_end_ms: int


class InputAudioBufferCommitted(ServerEvent, frozen=True, kw_only=True, tag="input_audio_buffer.committed"):
    """The buffered sound is an item."""

    item_id: str
    previous_item_id: str | UnsetType | None = UNSET


class InputAudioBufferCleared(ServerEvent, frozen=True, kw_only=True, tag="input_audio_buffer.cleared"):
    """The buffered sound is forgotten."""


class TimeoutTriggered(ServerEvent, frozen=True, kw_only=True, tag="input_audio_buffer.timeout_triggered"):
    """Nobody has spoken for a while."""

    item_id: str
    audio_start_ms: int
    audio_end_ms: int


class DtmfEventReceived(ServerEvent, frozen=True, kw_only=True, tag="input_audio_buffer.dtmf_event_received"):
    """A telephone key was pressed."""

    event: str
    received_at: int


class OutputAudioBufferStarted(ServerEvent, frozen=True, kw_only=True, tag="output_audio_buffer.started"):
    """The server began to play."""

    response_id: str


class OutputAudioBufferStopped(ServerEvent, frozen=True, kw_only=True, tag="output_audio_buffer.stopped"):
    """The server has played everything."""

    response_id: str


class OutputAudioBufferCleared(ServerEvent, frozen=True, kw_only=True, tag="output_audio_buffer.cleared"):
    """The server has stopped playing."""

    response_id: str


class ResponseCreated(ServerEvent, frozen=True, kw_only=True, tag="response.created"):
    """An answer begins."""

    response: Response


class ResponseDone(ServerEvent, frozen=True, kw_only=True, tag="response.done"):
    """The answer has ended, one way or another."""

    response: Response


class OutputItemEvent(ServerEvent, frozen=True, kw_only=True):
    """Something about an item of an answer."""

    response_id: str
    output_index: int
    item: Item


class OutputItemAdded(OutputItemEvent, frozen=True, kw_only=True, tag="response.output_item.added"):
    """The answer has a new item."""


class OutputItemDone(OutputItemEvent, frozen=True, kw_only=True, tag="response.output_item.done"):
    """An item of the answer is whole."""


class ResponseItemEvent(ServerEvent, frozen=True, kw_only=True):
    """Something about a piece of an item of an answer."""

    response_id: str
    item_id: str
    output_index: int


class ResponsePart(msgspec.Struct, frozen=True, kw_only=True):
    """A part of an answer, as its events show it."""

    type: str
    text: str | UnsetType = UNSET
    transcript: str | UnsetType = UNSET
    audio: str | UnsetType = UNSET


class ContentPartAdded(ResponseItemEvent, frozen=True, kw_only=True, tag="response.content_part.added"):
    """An item has a new part."""

    content_index: int = 0
    part: ResponsePart


class ContentPartDone(ResponseItemEvent, frozen=True, kw_only=True, tag="response.content_part.done"):
    """A part is whole."""

    content_index: int = 0
    part: ResponsePart


class OutputTextDelta(ResponseItemEvent, frozen=True, kw_only=True, tag="response.output_text.delta"):
    """More text."""

    content_index: int = 0
    delta: str


class OutputTextDone(ResponseItemEvent, frozen=True, kw_only=True, tag="response.output_text.done"):
    """All the text."""

    content_index: int = 0
    text: str


class OutputAudioDelta(ResponseItemEvent, frozen=True, kw_only=True, tag="response.output_audio.delta"):
    """More sound."""

    content_index: int = 0
    delta: bytes


class OutputAudioDone(ResponseItemEvent, frozen=True, kw_only=True, tag="response.output_audio.done"):
    """No more sound."""

    content_index: int = 0


class OutputAudioTranscriptDelta(
    ResponseItemEvent, frozen=True, kw_only=True, tag="response.output_audio_transcript.delta"
):
    """More of what is spoken."""

    content_index: int = 0
    delta: str


class OutputAudioTranscriptDone(
    ResponseItemEvent, frozen=True, kw_only=True, tag="response.output_audio_transcript.done"
):
    """All that is spoken."""

    content_index: int = 0
    transcript: str


class FunctionCallArgumentsDelta(
    ResponseItemEvent, frozen=True, kw_only=True, tag="response.function_call_arguments.delta"
):
    """More of the arguments."""

    call_id: str
    delta: str


class FunctionCallArgumentsDone(
    ResponseItemEvent, frozen=True, kw_only=True, tag="response.function_call_arguments.done"
):
    """All the arguments."""

    call_id: str
    name: str
    arguments: str


class McpCallArgumentsDelta(ResponseItemEvent, frozen=True, kw_only=True, tag="response.mcp_call_arguments.delta"):
    """More of a remote call's arguments."""

    delta: str
    obfuscation: str | UnsetType | None = UNSET


class McpCallArgumentsDone(ResponseItemEvent, frozen=True, kw_only=True, tag="response.mcp_call_arguments.done"):
    """All of a remote call's arguments."""

    arguments: str


class McpCallEvent(ServerEvent, frozen=True, kw_only=True):
    """Something about a remote call."""

    item_id: str
    output_index: int


class McpCallInProgress(McpCallEvent, frozen=True, kw_only=True, tag="response.mcp_call.in_progress"):
    """A remote call runs."""


class McpCallCompleted(McpCallEvent, frozen=True, kw_only=True, tag="response.mcp_call.completed"):
    """A remote call returned."""


class McpCallFailed(McpCallEvent, frozen=True, kw_only=True, tag="response.mcp_call.failed"):
    """A remote call failed."""


class McpListToolsEvent(ServerEvent, frozen=True, kw_only=True):
    """Something about a remote server's list of tools."""

    item_id: str


class McpListToolsInProgress(McpListToolsEvent, frozen=True, kw_only=True, tag="mcp_list_tools.in_progress"):
    """A remote server is asked for its tools."""


class McpListToolsCompleted(McpListToolsEvent, frozen=True, kw_only=True, tag="mcp_list_tools.completed"):
    """A remote server told its tools."""


class McpListToolsFailed(McpListToolsEvent, frozen=True, kw_only=True, tag="mcp_list_tools.failed"):
    """A remote server did not tell its tools."""


class RateLimit(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of an allowance."""

    name: str
    limit: int
    remaining: int
    reset_seconds: float


class RateLimitsUpdated(ServerEvent, frozen=True, kw_only=True, tag="rate_limits.updated"):
    """What is left of the allowances."""

    rate_limits: tuple[RateLimit, ...]


class InputTranscriptPartial(ServerEvent, frozen=True, kw_only=True, tag="vivavoce.input_transcript.partial"):
    """What the user seems to have said so far; replaces the one before. Only to clients that ask."""

    item_id: str
    transcript: str


class OverlapStarted(ServerEvent, frozen=True, kw_only=True, tag="vivavoce.input_audio_buffer.overlap_started"):
    """Somebody speaks over the answer, which is not cancelled yet: pause it. Only to clients that ask.

    What follows is `speech_started` with the same item, or `overlap_ended`: go on. Both may come, in this order:
    `overlap_ended`, `speech_started`.
    """

    item_id: str
    audio_start_ms: int


class OverlapEnded(ServerEvent, frozen=True, kw_only=True, tag="vivavoce.input_audio_buffer.overlap_ended"):
    """What was heard over the answer does not interrupt it: go on. Only to clients that ask."""

    item_id: str


class ResponseTimings(ServerEvent, frozen=True, kw_only=True, tag="vivavoce.response.timings"):
    """Where the time of a turn went. Only to clients that ask.

    Milliseconds from the end of the stage before, in this order; null where a stage did not happen.
    """

    response_id: str
    waiting_ms: float | None = None
    """From the last sample of speech to the decision that the turn is over."""
    transcription_ms: float | None = None
    first_token_ms: float | None = None
    first_sentence_ms: float | None = None
    synthesis_ms: float | None = None
    total_ms: float | None = None
    """From the last sample of speech to the first sample of the answer."""
    ahead_ms: float | None = None
    """From the beginning of the answer to that decision, where the answer was begun ahead of it."""


class SearchStarted(ServerEvent, frozen=True, kw_only=True, tag="vivavoce.search.started"):
    """The server searches something for an answer. Only to clients that ask."""

    response_id: str
    tool: str
    """`file_search` or `web_search`."""
    query: str


class SearchDone(ServerEvent, frozen=True, kw_only=True, tag="vivavoce.search.done"):
    """A search has ended. Only to clients that ask."""

    response_id: str
    tool: str
    query: str
    sources: tuple[Source, ...] = ()
    """What was found, the best first."""


AnyServerEvent: TypeAlias = (
    Error
    | SessionCreated
    | SessionUpdated
    | ConversationCreated
    | ConversationItemCreated
    | ConversationItemAdded
    | ConversationItemDone
    | ConversationItemRetrieved
    | ConversationItemDeleted
    | ConversationItemTruncated
    | TranscriptionDelta
    | TranscriptionCompleted
    | TranscriptionSegment
    | TranscriptionFailed
    | SpeechStarted
    | SpeechStopped
    | InputAudioBufferCommitted
    | InputAudioBufferCleared
    | TimeoutTriggered
    | DtmfEventReceived
    | OutputAudioBufferStarted
    | OutputAudioBufferStopped
    | OutputAudioBufferCleared
    | ResponseCreated
    | ResponseDone
    | OutputItemAdded
    | OutputItemDone
    | ContentPartAdded
    | ContentPartDone
    | OutputTextDelta
    | OutputTextDone
    | OutputAudioDelta
    | OutputAudioDone
    | OutputAudioTranscriptDelta
    | OutputAudioTranscriptDone
    | FunctionCallArgumentsDelta
    | FunctionCallArgumentsDone
    | McpCallArgumentsDelta
    | McpCallArgumentsDone
    | McpCallInProgress
    | McpCallCompleted
    | McpCallFailed
    | McpListToolsInProgress
    | McpListToolsCompleted
    | McpListToolsFailed
    | RateLimitsUpdated
    | InputTranscriptPartial
    | OverlapStarted
    | OverlapEnded
    | ResponseTimings
    | SearchStarted
    | SearchDone
)

# JSON ----------------------------------------------------------------------------------------------------------------

_append = msgspec.json.Decoder(InputAudioBufferAppend)
_server = msgspec.json.Decoder(AnyServerEvent)
_encoder = msgspec.json.Encoder()
_EMPTY: Final[dict[str, Any]] = dict.fromkeys(
    ("id", "item_id", "response_id", "delta", "text", "transcript", "output"), ""
) | {"output_index": 0, "audio_start_ms": 0, "audio_end_ms": 0, "arguments": "{}", "content": [], "error": {}}
"""Stands for what some servers leave out."""


def encode(event: ClientEvent | ServerEvent) -> str:
    """Return the event as the text of one message."""
    return _encoder.encode(event).decode()


def decode_client(text: str | bytes, read: Callable[[dict[str, Any]], dict[str, Any]] = to_ga) -> AnyClientEvent:
    """Read what a client sent.

    Args:
        text: one message.
        read: makes what the client means out of what it says.

    Raises:
        ProtocolError: it is not JSON, not an event, of an unknown type, or has a missing, unknown or bad field.
    """
    try:
        return _append.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _convert(read(_object(text)))


def decode_server(
    text: str | bytes, read: Callable[[dict[str, Any]], dict[str, Any]] = server_to_ga
) -> AnyServerEvent | Unknown:
    """Read what a server sent; a field that cannot be read counts as absent, and what is absent as empty.

    Args:
        text: one message.
        read: makes what the server means out of what it says, where that is not GA.

    Raises:
        ProtocolError: it is not JSON, or an event that we know lacks what makes it one.
    """
    try:
        event: AnyServerEvent = _server.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _readable(_object(text), read)
    return event


@cache
def tags(union: Any) -> tuple[str, ...]:
    """List the `type` of each event of a union, in its order."""
    return tuple(str(event.__struct_config__.tag) for event in get_args(union))


def _convert(raw: dict[str, Any]) -> AnyClientEvent:
    event_id = _event_id(raw)
    kind = raw.get("type")
    if kind is None:
        message = "Missing required parameter: 'type'."
        raise ProtocolError("missing_required_parameter", message, param="type", event_id=event_id)
    if kind not in tags(AnyClientEvent):
        message = f"Invalid value: '{kind}'. Supported values are: {', '.join(map(repr, tags(AnyClientEvent)))}."
        raise ProtocolError("invalid_value", message, param="type", event_id=event_id)
    try:
        event: AnyClientEvent = msgspec.convert(raw, AnyClientEvent)
    except msgspec.ValidationError as wrong:
        raise explain(wrong, event_id=event_id) from None
    if bogus := unknown_field(raw, msgspec.to_builtins(event)):
        message = f"Unknown parameter: '{bogus}'."
        raise ProtocolError("unknown_parameter", message, param=bogus, event_id=event_id)
    return event


def _readable(said: dict[str, Any], read: Callable[[dict[str, Any]], dict[str, Any]]) -> AnyServerEvent | Unknown:
    raw = read(said)
    kind, item = raw.get("type"), raw.get("item")
    if isinstance(kind, str) and kind not in tags(AnyServerEvent):
        return Unknown(kind, said)
    if isinstance(item, dict) and item.get("type") not in tags(Item):
        return Unknown(str(kind), said)
    while True:
        try:
            event: AnyServerEvent = msgspec.convert(raw, AnyServerEvent)
        except msgspec.ValidationError as wrong:
            complaint, _, where = str(wrong).partition(" - at ")
            path = where.partition("`$")[2].rstrip("`")
            if not (_fill(raw, path, complaint) or _drop(raw, path)):
                raise explain(wrong) from None
        else:
            return event


def _fill(raw: Any, path: str, complaint: str) -> bool:
    """Put in what the decoder misses, and tell whether that could be done."""
    field = complaint.removeprefix("Object missing required field ").strip("`")
    if field == complaint or field not in _EMPTY:
        return False
    for step in re.findall(r"\w+", path):
        raw = raw[int(step) if isinstance(raw, list) else step]
    raw[field] = _EMPTY[field]
    return True


def _drop(raw: Any, path: str) -> bool:
    """Take out what the decoder complains about, and tell whether that could be done.

    Args:
        raw: decoded JSON.
        path: ".where.exactly[0]"; where a key of an object is "[...]", the object.
    """
    *way, last = re.findall(r"\w+", path.partition("[...]")[0]) or [""]
    for step in way:
        raw = raw[int(step) if isinstance(raw, list) else step]
    if isinstance(raw, list):
        del raw[int(last)]
    elif last in raw:
        del raw[last]
    else:
        return False
    return True


def _object(text: str | bytes) -> dict[str, Any]:
    try:
        raw = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raw = None
    if not isinstance(raw, dict):
        raise ProtocolError("invalid_json", "The message is not a JSON object; send one event a message, as text.")
    return raw


def _event_id(raw: dict[str, Any]) -> str | None:
    event_id = raw.get("event_id")
    return event_id[:512] if isinstance(event_id, str) else None
