"""One answer while it is being given: what the model says, as the protocol's events in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias, TypedDict

from msgspec import UNSET
from msgspec.structs import replace

from vivavoce.realtime.conversation import heard_text
from vivavoce.realtime.events import (
    AnyServerEvent,
    ContentPartAdded,
    ContentPartDone,
    ConversationItemAdded,
    ConversationItemDone,
    FunctionCallArgumentsDelta,
    FunctionCallArgumentsDone,
    McpCallArgumentsDelta,
    McpCallArgumentsDone,
    OutputAudioDelta,
    OutputAudioDone,
    OutputAudioTranscriptDelta,
    OutputAudioTranscriptDone,
    OutputItemAdded,
    OutputItemDone,
    OutputTextDelta,
    OutputTextDone,
    ResponseCreated,
    ResponseDone,
    ResponsePart,
)
from vivavoce.realtime.values import (
    Annotation,
    FunctionCall,
    Item,
    ItemStatus,
    McpApprovalRequest,
    McpCall,
    Message,
    OutputAudio,
    OutputText,
    Response,
    ResponseStatus,
    StatusDetails,
    Usage,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from vivavoce.realtime.conversation import Conversation, Entry
    from vivavoce.realtime.values import Source

MS_PER_CHARACTER = 60
"""Of ordinary speech."""


class Mint(Protocol):
    """Makes identifiers."""

    def __call__(self, kind: str) -> str:
        """Return a new identifier: "item" gives "item_…"."""
        ...


class Ids(TypedDict):
    """What says where in a response a delta belongs."""

    response_id: str
    item_id: str
    output_index: int


Events: TypeAlias = "Iterator[AnyServerEvent]"


class Answer:
    """A response that is open: one item after the other, each closed before the next begins."""

    def __init__(
        self, response: Response, conversation: Conversation | None, mint: Mint, bytes_per_second: int
    ) -> None:
        self.response = response
        self.spoken = "audio" in response.output_modalities
        self._conversation = conversation
        self._mint = mint
        self._bytes_per_second = bytes_per_second
        self._message: Message | None = None
        self._text: list[str] = []
        self._marks: list[tuple[float, int]] = []
        self._sources: list[Source] = []
        self._entry: Entry | None = None
        self._item_ms = 0.0
        self._settled = False
        self._remote: dict[str, Entry | None] = {}
        self._unfinished: list[str] = []
        self.audio_ms = 0.0
        """Sound sent in the whole response."""

    def begin(self) -> Events:
        """Announce the response."""
        yield ResponseCreated(response=self.response)

    def say(self, text: str) -> Events:
        """Go on with these words; their sound, if any, follows."""
        yield from self._open_message()
        self._marks.append((self._item_ms, sum(map(len, self._text))))
        self._text.append(text)
        if self.spoken:
            yield OutputAudioTranscriptDelta(**self._ids(), delta=text)
        else:
            yield OutputTextDelta(**self._ids(), delta=text)

    def speak(self, audio: bytes) -> Events:
        """Go on with this sound."""
        yield from self._open_message()
        self._item_ms += len(audio) * 1000 / self._bytes_per_second
        self.audio_ms += len(audio) * 1000 / self._bytes_per_second
        yield OutputAudioDelta(**self._ids(), delta=audio)

    def cite(self, sources: Iterable[Source]) -> None:
        """Name where the words that follow have something from, in the item that they are."""
        self._sources += sources

    def call(self, name: str, arguments: str, call_id: str | None) -> Events:
        """Call a function."""
        yield from self._close_message("completed")
        call_id = call_id or self._mint("call")
        call = FunctionCall(id=self._mint("item"), status="in_progress", call_id=call_id, name=name, arguments="")
        yield from self._add(call)
        ids = self._item_ids(str(call.id))
        yield FunctionCallArgumentsDelta(**ids, call_id=call_id, delta=arguments)
        yield FunctionCallArgumentsDone(**ids, call_id=call_id, name=name, arguments=arguments)
        call = replace(call, status="completed", arguments=arguments)
        if self._entry is not None:
            self._entry.item = call
        yield from self._done(call)

    def call_remotely(self, call: McpCall, arguments: str) -> Generator[AnyServerEvent, None, McpCall]:
        """Call a remote tool and return the call; its item is open until the tool returns or the response ends."""
        yield from self._close_message("completed")
        yield from self._add(call)
        self._remote[str(call.id)] = self._entry
        self._unfinished.append(str(call.id))
        ids = self._item_ids(str(call.id))
        yield McpCallArgumentsDelta(**ids, delta=arguments, obfuscation="")
        yield McpCallArgumentsDone(**ids, arguments=arguments)
        call = replace(call, arguments=arguments)
        self.update(call)
        return call

    def ask(self, request: McpApprovalRequest) -> Events:
        """Ask for consent to a remote call."""
        yield from self._add(request)
        yield from self._done(request)

    def update(self, call: McpCall) -> None:
        """Remember more of a remote call."""
        if (entry := self._remote.get(str(call.id))) is not None:
            entry.item = call
        if str(call.id) in self._unfinished:
            before, after = self.response.output[: self.index_of(str(call.id))], self.index_of(str(call.id)) + 1
            self.response = replace(self.response, output=(*before, call, *self.response.output[after:]))

    def end_remotely(self, call: McpCall) -> Events:
        """Show the outcome of a remote call in the conversation, and in the response where that has not ended."""
        self.update(call)
        if self._conversation is not None and self._conversation.get(str(call.id)) is self._remote[str(call.id)]:
            previous = self._conversation.previous_id(str(call.id))
            yield ConversationItemDone(item=call, previous_item_id=previous)
        if str(call.id) in self._unfinished:
            yield from self._close_remote(str(call.id))

    @property
    def open(self) -> bool:
        """Tell whether the response is not done."""
        return self.response.status == "in_progress"

    def index_of(self, item_id: str) -> int:
        """Return the place of an item in the response."""
        return [item.id for item in self.response.output].index(item_id)

    def close(self, status: ResponseStatus, details: StatusDetails | None, usage: Usage) -> Events:
        """End the response, and the item that is open in it."""
        yield from self._close_message("completed" if status == "completed" else "incomplete")
        for item_id in tuple(self._unfinished):
            yield from self._close_remote(item_id)
        self.response = replace(self.response, status=status, status_details=details, usage=usage)
        yield ResponseDone(response=self.response)

    def settle(self, item_id: str) -> None:
        """Write what was said so far of an open spoken item into the conversation; later words do not change it."""
        message = self._message if self.spoken and not self._settled else None
        if message is not None and message.id == item_id and self._present():
            self._store(replace(message, content=(OutputAudio(transcript=self._sounded()),)))
            self._settled = True

    def _open_message(self) -> Events:
        if self._message is not None:
            return
        self._text, self._marks, self._item_ms, self._settled = [], [], 0.0, False
        self._message = Message(id=self._mint("item"), status="in_progress", role="assistant", content=())
        yield from self._add(self._message)
        part = ResponsePart(type="audio", transcript="") if self.spoken else ResponsePart(type="text", text="")
        yield ContentPartAdded(**self._ids(), part=part)

    def _close_message(self, status: ItemStatus) -> Events:
        if self._message is None:
            return
        text = "".join(self._text)
        annotations, self._sources = tuple(map(Annotation.of, dict.fromkeys(self._sources))) or UNSET, []
        if self.spoken:
            yield OutputAudioDone(**self._ids())
            yield OutputAudioTranscriptDone(**self._ids(), transcript=text)
            yield ContentPartDone(**self._ids(), part=ResponsePart(type="audio", transcript=text))
            shown: OutputAudio | OutputText = OutputAudio(transcript=text, annotations=annotations)
            kept = shown if status == "completed" else OutputAudio(transcript=self._sounded())
        else:
            yield OutputTextDone(**self._ids(), text=text)
            yield ContentPartDone(**self._ids(), part=ResponsePart(type="text", text=text))
            shown = kept = OutputText(text=text, annotations=annotations)
        message, self._message = replace(self._message, status=status), None
        if not self._settled:
            self._store(replace(message, content=(kept,)))
        yield from self._done(replace(message, content=(shown,)))

    def _sounded(self) -> str:
        """Return the words whose sound was sent; of an unfinished sentence those that its sound can hold."""
        text = "".join(self._text)
        start_ms, before = self._marks[-1] if self._marks else (0.0, 0)
        whole_ms = max(self._item_ms, start_ms + (len(text) - before) * MS_PER_CHARACTER)
        return heard_text(text, self._marks, whole_ms, self._item_ms)

    def _add(self, item: Item) -> Events:
        self.response = replace(self.response, output=(*self.response.output, item))
        yield OutputItemAdded(response_id=self.response.id, output_index=self._index, item=item)
        if self._conversation is not None:
            previous = self._conversation.add(item)
            self._entry = self._conversation.get(str(item.id))
            yield ConversationItemAdded(item=item, previous_item_id=previous)

    def _done(self, item: Item) -> Events:
        self.response = replace(self.response, output=(*self.response.output[:-1], item))
        if self._conversation is not None and self._present():
            yield ConversationItemDone(item=item, previous_item_id=self._conversation.previous_id(str(item.id)))
        yield OutputItemDone(response_id=self.response.id, output_index=self._index, item=item)

    def _close_remote(self, item_id: str) -> Events:
        self._unfinished.remove(item_id)
        index = self.index_of(item_id)
        yield OutputItemDone(response_id=self.response.id, output_index=index, item=self.response.output[index])

    def _present(self) -> bool:
        """Tell whether the newest item is in the conversation: it is not out of band, and nobody has deleted it."""
        if self._conversation is None or self._entry is None:
            return False
        return self._conversation.get(self._entry.id) is self._entry

    def _store(self, message: Message) -> None:
        if self._entry is not None:
            self._entry.item, self._entry.audio_ms, self._entry.marks = message, self._item_ms, tuple(self._marks)

    @property
    def _index(self) -> int:
        return len(self.response.output) - 1

    def _ids(self) -> Ids:
        return self._item_ids(str(self._message.id) if self._message else "")

    def _item_ids(self, item_id: str) -> Ids:
        return Ids(response_id=self.response.id, item_id=item_id, output_index=self._index)
