"""The conversation: items in their order, how far each was heard, and the same as a prompt for a language model."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from vivavoce.realtime.errors import ProtocolError
from vivavoce.realtime.values import (
    FunctionCall,
    FunctionCallOutput,
    InputAudio,
    InputText,
    Item,
    McpCall,
    Message,
    OutputAudio,
    OutputText,
    Part,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = "root"


class ToolCall(msgspec.Struct, frozen=True):
    """A call that the model made earlier."""

    call_id: str
    name: str
    arguments: str
    """A JSON object."""


class PromptMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a prompt."""

    role: Literal["system", "user", "assistant", "tool"]
    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    """Of an assistant message: the tools that it called."""
    call_id: str | None = None
    """Of a tool message: the call that it answers."""


class PromptTool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that the model may call."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = msgspec.field(default_factory=dict)
    """JSON schema of the arguments."""


class HostedTool(msgspec.Struct, frozen=True, kw_only=True):
    """A search that the server makes for the model; no client sees it called."""

    name: Literal["file_search", "web_search"]
    stores: tuple[str, ...] = ()
    """Ids of the vector stores that are searched."""
    limit: int | None = None
    """Passages at most."""
    filters: Any = None
    """Comparisons of attributes, as in OpenAI's vector store search."""
    domains: tuple[str, ...] = ()
    """Of the web: only these sites and those below them; all where it is empty."""
    region: str | None = None
    """Of the web: ISO 3166 country that the person is in."""
    context_size: Literal["low", "medium", "high"] = "medium"
    """Of the web: how much is read of each page."""


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """What a language model is asked to continue."""

    instructions: str = ""
    messages: tuple[PromptMessage, ...] = ()
    tools: tuple[PromptTool, ...] = ()
    tool_choice: str = "auto"
    """`auto`, `none`, `required`, or the name of the function to call."""
    parallel_tool_calls: bool = True
    max_output_tokens: int | None = None
    hosted: tuple[HostedTool, ...] = ()
    """What the server searches for the model; not among the tools."""


@dataclass
class Entry:
    """An item, and what is known of its sound."""

    item: Item
    audio_ms: float = 0.0
    """Length of the item's sound."""
    marks: tuple[tuple[float, int], ...] = ()
    """Of speech that we made: from this millisecond on, the characters of the transcript before this one are said."""

    @property
    def id(self) -> str:
        """Return the identifier that every item of a conversation has."""
        return str(self.item.id)


class Conversation:
    """Items in their order, each with an id of its own."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._order: list[str] = []

    def __iter__(self) -> Iterator[Entry]:
        return (self._entries[item_id] for item_id in self._order)

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._entries

    def __len__(self) -> int:
        return len(self._order)

    def get(self, item_id: str) -> Entry | None:
        """Return the entry of an item, or None."""
        return self._entries.get(item_id)

    def check_place(self, item: Item, after: str | UnsetType | None) -> None:
        """Refuse an item whose id is taken or whose place does not exist.

        Raises:
            ProtocolError: likewise.
        """
        if item.id in self._entries:
            message = f"An item with the id '{item.id}' already exists; leave the id out or choose another."
            raise ProtocolError("invalid_value", message, param="item.id")
        if isinstance(after, str) and after != ROOT and after not in self._entries:
            message = f"There is no item '{after}' to insert after."
            raise ProtocolError("invalid_value", message, param="previous_item_id")

    def add(self, item: Item, after: str | UnsetType | None = UNSET, *, audio_ms: float = 0.0) -> str | None:
        """Insert an item and return the id of the one before it, None for the first.

        Args:
            item: with an id that is not taken.
            after: an id, "root" for first; at the end where it is absent.
            audio_ms: length of its sound.
        """
        entry = Entry(item, audio_ms)
        index = len(self._order)
        if isinstance(after, str):
            index = 0 if after == ROOT else self._order.index(after) + 1
        self._order.insert(index, entry.id)
        self._entries[entry.id] = entry
        return self._order[index - 1] if index else None

    def remove(self, item_id: str) -> None:
        """Take an item out."""
        del self._entries[item_id]
        self._order.remove(item_id)

    def previous_id(self, item_id: str) -> str | None:
        """Return the id of the item before this one, None for the first."""
        index = self._order.index(item_id) if item_id in self._entries else 0
        return self._order[index - 1] if index else None

    def truncate(self, item_id: str, audio_end_ms: int) -> int:
        """Forget what was not heard of an answer, and return its new length in milliseconds.

        A length beyond the end is the end: the client and we count samples at different ends of a wire.

        Raises:
            ProtocolError: there is no such item, or it is not speech of ours.
        """
        entry = self._entries.get(item_id)
        if entry is None:
            message = f"There is no item '{item_id}' to truncate."
            raise ProtocolError("item_truncate_invalid_item_id", message, param="item_id")
        item = entry.item
        if not isinstance(item, Message) or item.role != "assistant" or not _spoken(item):
            raise ProtocolError(None, "Only spoken assistant messages can be truncated.", param="item_id")
        end = min(max(audio_end_ms, 0), entry.audio_ms)
        heard = heard_text(_transcript(item), entry.marks, entry.audio_ms, end)
        entry.item = msgspec.structs.replace(item, content=(OutputAudio(transcript=heard),), status="incomplete")
        entry.audio_ms = end
        return round(end)


def heard_text(transcript: str, marks: Iterable[tuple[float, int]], audio_ms: float, end_ms: float) -> str:
    """Return the part of a transcript that was heard, up to a word's end.

    Args:
        transcript: all that was spoken.
        marks: for each sentence, where its sound begins in milliseconds and how many characters come before it.
        audio_ms: length of all the sound.
        end_ms: how much of it was heard.
    """
    if end_ms >= audio_ms:
        return transcript
    edges = [*marks, (audio_ms, len(transcript))]
    for (start, before), (stop, after) in itertools.pairwise(edges):
        if end_ms < stop:
            share = max(end_ms - start, 0.0) / max(stop - start, 1.0)
            cut = before + int(share * (after - before))
            return transcript[: max(_word_end(transcript, cut), before)].rstrip()
    return ""


def _word_end(text: str, cut: int) -> int:
    """Return the end of the last whole word at or before a position."""
    while 0 < cut < len(text) and not text[cut].isspace():
        cut -= 1
    return cut


def prompt_messages(items: Iterable[Item]) -> tuple[PromptMessage, ...]:
    """Render items as a prompt; what was never heard, never answered or says nothing is left out.

    What a function returned directly follows its call, whatever was said while it ran: models insist on that.
    """
    items = tuple(items)
    outputs = {item.call_id: item.output for item in items if isinstance(item, FunctionCallOutput)}
    outputs |= {str(item.id): _outcome(item) for item in items if isinstance(item, McpCall) and _ended(item)}
    messages: list[PromptMessage] = []
    for is_call, group in itertools.groupby(items, lambda item: isinstance(item, FunctionCall | McpCall)):
        if is_call:
            _add_calls(messages, group, outputs)
        else:
            messages.extend(said for item in group if isinstance(item, Message) and (said := _said(item)).text)
    return tuple(messages)


def part_text(part: Part) -> str:
    """Return what a part says, empty for a picture or for speech that is not transcribed."""
    match part:
        case InputText(text=text) | OutputText(text=text):
            return text.strip()
        case InputAudio(transcript=str(text)) | OutputAudio(transcript=str(text)):
            return text.strip()
        case _:
            return ""


def _said(item: Message) -> PromptMessage:
    return PromptMessage(role=item.role, text=" ".join(filter(None, map(part_text, item.content))))


def _add_calls(messages: list[PromptMessage], group: Iterable[Item], outputs: dict[str, str]) -> None:
    """Add the answered calls of a group to the assistant message that ends the prompt, and the answers after it."""
    calls = tuple(
        ToolCall(_call_id(call), call.name, call.arguments)
        for call in group
        if isinstance(call, FunctionCall | McpCall) and _call_id(call) in outputs
    )
    if not calls:
        return
    said = messages.pop().text if messages and messages[-1].role == "assistant" else ""
    messages.append(PromptMessage(role="assistant", text=said, calls=calls))
    messages.extend(PromptMessage(role="tool", text=outputs[call.call_id], call_id=call.call_id) for call in calls)


def _call_id(call: FunctionCall | McpCall) -> str:
    return str(call.call_id if isinstance(call, FunctionCall) else call.id)


def _ended(call: McpCall) -> bool:
    return isinstance(call.output, str) or isinstance(call.error, msgspec.Struct)


def _outcome(call: McpCall) -> str:
    """Quote what a remote tool returned: a stranger's words are data, and must look like data to the model."""
    error = call.error.message if isinstance(call.error, msgspec.Struct) else None
    told = {"error": error} if error is not None else {"output": call.output}
    return msgspec.json.encode(told).decode()


def _spoken(item: Message) -> bool:
    return any(isinstance(part, OutputAudio) for part in item.content)


def _transcript(item: Message) -> str:
    return "".join(
        part.transcript for part in item.content if isinstance(part, OutputAudio) and isinstance(part.transcript, str)
    )
