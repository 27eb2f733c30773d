"""What the client remembers of the conversation, so that another session can be told of it.

A fold over the events of both sides. Source for what a client may create: OpenAI Realtime API reference (GA).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from vivavoce.realtime import events as wire
from vivavoce.realtime.answer import MS_PER_CHARACTER
from vivavoce.realtime.context import overflow
from vivavoce.realtime.conversation import Conversation, heard_text, part_text
from vivavoce.realtime.errors import ProtocolError
from vivavoce.realtime.values import (
    FunctionCall,
    FunctionCallOutput,
    InputAudio,
    InputImage,
    InputText,
    Item,
    McpCall,
    Message,
    OutputAudio,
    OutputText,
    Part,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from vivavoce.realtime.answer import Mint
    from vivavoce.realtime.conversation import Entry

RECALL_TOKENS: Final = 16_000
"""Of the conversation that a new session is told; what is older is left out."""
MAX_ITEMS: Final = 512
"""Items that are remembered; the oldest are forgotten first."""
DELETED: Final = 64
"""Deleted items that are remembered, since the response that makes one may still end it."""
LOST: Final = "The result was lost when the connection broke. Call again if it is still needed."


class Recall:
    """The conversation as the client knows it, in the order of the server."""

    def __init__(self, *, mint: Mint, bytes_per_ms: float) -> None:
        """Begin empty.

        Args:
            mint: makes identifiers.
            bytes_per_ms: of the sound of answers.
        """
        self._mint = mint
        self._bytes_per_ms = bytes_per_ms
        self._conversation = Conversation()
        self._growing: dict[str, type | None] = {}
        """Items of answers that are not whole, and the kind of event that brings their words."""
        self._pending: dict[str, str] = {}
        """Items that we asked for and the server has not confirmed, by the event that asked."""
        self._retold: set[str] = set()
        """Items that this session knows only because it was told of them."""
        self._deleted: deque[str] = deque(maxlen=DELETED)

    def __len__(self) -> int:
        return len(self._conversation)

    # What happens ----------------------------------------------------------------------------------------------------

    def follow(self, event: wire.ClientEvent | wire.ServerEvent) -> None:
        """Take an event that was sent or received."""
        match event:
            case wire.ConversationItemCreate():
                self._asked_for(event)
            case wire.ConversationItemDelete(item_id=item_id) | wire.ConversationItemDeleted(item_id=item_id):
                self._deleted.append(item_id)
                self.forget(item_id)
            case wire.ConversationItemTruncate() | wire.ConversationItemTruncated():
                self._truncate(event.item_id, event.audio_end_ms)
            case wire.ConversationItemAdded() | wire.ConversationItemCreated():
                self._added(event.item, event.previous_item_id)
            case wire.ConversationItemDone():
                self._added(event.item, event.previous_item_id)
                self._done(event.item)
            case wire.OutputItemAdded(item=item) if item.id not in self._deleted:
                self._added(item)
            case wire.OutputItemDone(item=item) if item.id not in self._deleted:
                self._added(item)
                self._done(item)
            case wire.InputAudioBufferCommitted(item_id=item_id, previous_item_id=previous):
                self._added(Message(id=item_id, role="user", content=(InputAudio(),)), previous)
            case wire.TranscriptionCompleted(item_id=item_id, transcript=transcript):
                self._transcribed(item_id, transcript)
            case wire.OutputAudioTranscriptDelta() | wire.OutputTextDelta():
                self._say(event)
            case wire.OutputAudioDelta(item_id=item_id, delta=audio):
                if item_id in self._growing and (entry := self._conversation.get(item_id)):
                    entry.audio_ms += len(audio) / self._bytes_per_ms
            case wire.Error(error=error):
                if isinstance(error.event_id, str) and (refused := self._pending.get(error.event_id)):
                    self.forget(refused)
            case _:
                pass

    def keep_sound(self, item_id: str, audio: bytes) -> None:
        """Keep how the user's last turn sounded until its words are known."""
        for entry in self._conversation:
            if _unheard(entry.item):
                entry.item = replace(entry.item, content=(InputAudio(),))
        self._added(Message(id=item_id, role="user", content=(InputAudio(),)))
        kept = self._conversation.get(item_id)
        if kept is not None and isinstance(kept.item, Message) and not any(map(part_text, kept.item.content)):
            kept.item = replace(kept.item, content=(InputAudio(audio=audio),))

    def forget(self, *item_ids: str) -> None:
        """Take items out; an unknown one is none."""
        for item_id in item_ids:
            if item_id in self._conversation:
                self._conversation.remove(item_id)
            self._growing.pop(item_id, None)
            self._retold.discard(item_id)
            self._confirmed(item_id)

    def cut(self, item_id: str, heard_ms: int) -> Iterator[wire.AnyClientEvent]:
        """Yield what tells the server that only so much of an answer was heard."""
        if item_id not in self._retold:
            yield wire.ConversationItemTruncate(item_id=item_id, content_index=0, audio_end_ms=heard_ms)
            return
        previous = self._conversation.previous_id(item_id)
        self._truncate(item_id, heard_ms)
        entry = self._conversation.get(item_id)
        heard = _creatable(entry.item) if entry else None
        yield wire.ConversationItemDelete(item_id=item_id)
        if heard is not None:
            yield wire.ConversationItemCreate(item=heard, previous_item_id=previous or "root")

    def text(self, item_id: str) -> str:
        """Return what an item says as far as it was sent, of an answer that is not whole as far as it has sounded."""
        self._settle(item_id)
        entry = self._conversation.get(item_id)
        return _text(entry.item) if entry else ""

    # Another session -------------------------------------------------------------------------------------------------

    def recreate(self, running: Collection[str] = ()) -> list[wire.ConversationItemCreate]:
        """Return what tells a new session of the conversation, in order.

        Args:
            running: calls that will still return.
        """
        for item_id in list(self._growing):
            self._settle(item_id)
        self._end_calls(running)
        items = [item for entry in self._conversation if (item := _creatable(entry.item)) is not None]
        items = _paired(items[overflow(items, RECALL_TOKENS, RECALL_TOKENS) :])
        self._retold = {str(item.id) for item in items}
        for entry in list(self._conversation):
            if entry.id not in self._retold:
                self.forget(entry.id)
        self._pending.clear()
        return [wire.ConversationItemCreate(item=item) for item in items]

    def _end_calls(self, running: Collection[str]) -> None:
        """Answer the calls that nobody will answer any more."""
        answered = {entry.item.call_id for entry in self._conversation if isinstance(entry.item, FunctionCallOutput)}
        for entry in list(self._conversation):
            call = entry.item
            if isinstance(call, FunctionCall) and call.call_id not in {*answered, *running}:
                output = FunctionCallOutput(id=self._mint("item"), call_id=str(call.call_id), output=LOST)
                self._conversation.add(output, entry.id)

    # Items -----------------------------------------------------------------------------------------------------------

    def _asked_for(self, event: wire.ConversationItemCreate) -> None:
        item = event.item
        if not isinstance(item.id, str) or item.id in self._conversation:
            return
        after = event.previous_item_id
        self._add(item, after if after == "root" or after in self._conversation else UNSET)
        if isinstance(event.event_id, str):
            self._pending[event.event_id] = item.id

    def _added(self, item: Item, previous: str | UnsetType | None = UNSET) -> None:
        """Put an item where the server has it.

        A first item has none before it, but some servers say so of every item: then it stays where it is.
        """
        item_id = str(item.id)
        if not isinstance(item.id, str):
            return
        previous = previous if previous in self._conversation else UNSET
        if item_id not in self._conversation:
            self._replace_pending(item)
            self._add(item, previous)
            if isinstance(item, FunctionCall | McpCall) or (isinstance(item, Message) and item.role == "assistant"):
                self._growing[item_id] = None
        elif isinstance(previous, str) and self._conversation.previous_id(item_id) != previous:
            self._move(item_id, previous)
        self._confirmed(item_id)

    def _add(self, item: Item, after: str | UnsetType | None) -> None:
        self._conversation.add(item, after)
        if len(self._conversation) > MAX_ITEMS:
            self.forget(next(iter(self._conversation)).id)

    def _move(self, item_id: str, after: str) -> None:
        entry = self._conversation.get(item_id)
        if entry is None:
            return
        self._conversation.remove(item_id)
        self._conversation.add(entry.item, after, audio_ms=entry.audio_ms)
        if (moved := self._conversation.get(item_id)) is not None:
            moved.marks = entry.marks

    def _replace_pending(self, item: Item) -> None:
        """Forget the item that we asked for, where the server gives it an id of its own."""
        for item_id in self._pending.values():
            entry = self._conversation.get(item_id)
            if entry is not None and type(entry.item) is type(item) and _text(entry.item) == _text(item):
                self.forget(item_id)
                return

    def _confirmed(self, item_id: str) -> None:
        self._pending = {event_id: asked for event_id, asked in self._pending.items() if asked != item_id}

    def _done(self, item: Item) -> None:
        item_id = str(item.id)
        entry = self._conversation.get(item_id)
        if entry is None or item_id not in self._growing:
            return
        if isinstance(item, Message) and (item.status == "incomplete" or not _text(item)):
            self._settle(item_id)
            return
        if isinstance(item, FunctionCall) and item.status in {"incomplete", "in_progress"}:
            return
        del self._growing[item_id]
        entry.item = item

    def _transcribed(self, item_id: str, transcript: str) -> None:
        self._added(Message(id=item_id, role="user", content=(InputAudio(),)))
        entry = self._conversation.get(item_id)
        if entry is not None and isinstance(entry.item, Message) and entry.item.role == "user":
            entry.item = replace(entry.item, content=(InputAudio(transcript=transcript),))

    # Answers ---------------------------------------------------------------------------------------------------------

    def _say(self, event: wire.OutputAudioTranscriptDelta | wire.OutputTextDelta) -> None:
        entry = self._conversation.get(event.item_id)
        if entry is None or event.item_id not in self._growing or not isinstance(entry.item, Message):
            return
        kind = self._growing[event.item_id] = self._growing[event.item_id] or type(event)
        if kind is not type(event):
            return
        said = _text(entry.item)
        if not entry.marks or entry.marks[-1][0] < entry.audio_ms:
            entry.marks = (*entry.marks, (entry.audio_ms, len(said)))
        entry.item = replace(entry.item, content=(OutputAudio(transcript=said + event.delta),))

    def _settle(self, item_id: str) -> None:
        """Take an answer that is not whole for what has sounded of it; a call that is not whole for none."""
        entry = self._conversation.get(item_id)
        if item_id not in self._growing or entry is None:
            return
        spoken = self._growing.pop(item_id) is wire.OutputAudioTranscriptDelta
        if not isinstance(entry.item, Message):
            self.forget(item_id)
        elif spoken or entry.audio_ms:
            entry.item = replace(entry.item, content=(OutputAudio(transcript=_sounded(entry)),))

    def _truncate(self, item_id: str, heard_ms: int) -> None:
        self._settle(item_id)
        try:
            self._conversation.truncate(item_id, heard_ms)
        except ProtocolError:
            return


def _sounded(entry: Entry) -> str:
    """Return the words whose sound has come."""
    text = _text(entry.item)
    start_ms, before = entry.marks[-1] if entry.marks else (0.0, 0)
    whole_ms = max(entry.audio_ms, start_ms + (len(text) - before) * MS_PER_CHARACTER)
    return heard_text(text, entry.marks, whole_ms, entry.audio_ms)


def _unheard(item: Item) -> bool:
    """Tell whether an item is speech of which only the sound is known."""
    return isinstance(item, Message) and any(isinstance(part, InputAudio) and part.audio for part in item.content)


def _text(item: Item) -> str:
    """Return all that an item says."""
    match item:
        case Message(content=parts):
            return "".join(_part(part) for part in parts)
        case FunctionCallOutput(output=output):
            return output
        case _:
            return ""


def _part(part: Part) -> str:
    match part:
        case InputText(text=text) | OutputText(text=text):
            return text
        case InputAudio(transcript=str(text)) | OutputAudio(transcript=str(text)):
            return text
        case _:
            return ""


def _creatable(item: Item) -> Item | None:
    """Return the item as a client may create it, None where there is nothing to be told."""
    match item:
        case Message(role="assistant"):
            text = _text(item).strip()
            return Message(id=item.id, role="assistant", content=(OutputText(text=text),)) if text else None
        case Message():
            parts = tuple(told for part in item.content if (told := _told(part)) is not None)
            return Message(id=item.id, role=item.role, content=parts) if parts else None
        case FunctionCall() | FunctionCallOutput():
            return replace(item, status=UNSET, object=UNSET)
        case McpCall() if isinstance(item.output, str) or isinstance(item.error, msgspec.Struct):
            return replace(item, status=UNSET, object=UNSET)
        case _:
            return None


def _told(part: Part) -> Part | None:
    """Return a part of the user's as a client may create it: the words rather than the sound."""
    if isinstance(part, InputImage) or (isinstance(part, InputAudio) and part.audio and not part.transcript):
        return part
    return InputText(text=text) if (text := _part(part).strip()) else None


def _paired(items: list[Item]) -> list[Item]:
    """Leave out what was returned to a call that is left out."""
    calls = {item.call_id for item in items if isinstance(item, FunctionCall)}
    return [item for item in items if not isinstance(item, FunctionCallOutput) or item.call_id in calls]
