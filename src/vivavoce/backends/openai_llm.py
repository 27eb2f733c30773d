"""A language model behind any OpenAI-compatible endpoint: Ollama, vLLM, llama.cpp, OpenAI, Yandex AI Studio."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import anyio
import msgspec
from httpx_sse import EventSource

from vivavoce.backends.openai_http import OPENAI, Endpoint, Options
from vivavoce.ports import BackendError, Call, Text, Usage
from vivavoce.realtime.values import public_schema

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
    from typing import Unpack

    import httpx

    from vivavoce.realtime.conversation import Prompt, PromptMessage

_DONE: Final = "[DONE]"
_AFTERMATH: Final = 0.2


class OpenAIChat:
    """Continues a conversation by `POST /chat/completions`, streamed."""

    def __init__(
        self,
        *,
        model: str,
        url: str = OPENAI,
        temperature: float | None = None,
        extra: Mapping[str, Any] | None = None,
        **options: Unpack[Options],
    ) -> None:
        self._endpoint = Endpoint(url, model=model, key_variable="VIVAVOCE_LLM_KEY", **options)
        self._settings = {"model": model, **({} if temperature is None else {"temperature": temperature})}
        self._extra = dict(extra or {})
        self._conceded: set[str] = set()

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Text | Call | Usage, None]:
        """Yield the answer piece by piece, each tool call as soon as it is whole, and the usage at the end.

        Raises:
            BackendError: the endpoint cannot be reached, refuses, or breaks off.
        """
        answer = _Answer(self._endpoint)
        response = await self._ask(prompt)
        async with aclosing(response), aclosing(self._endpoint.paced(_events(response))) as events:
            try:
                async for data in events:
                    for piece in answer.read(data):
                        yield piece
            except BackendError:
                if not answer.finished:
                    raise
        for piece in answer.end():
            yield piece

    async def warm_up(self) -> None:
        """Make sure that the endpoint answers and accepts the key."""
        await self._endpoint.check()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._endpoint.aclose()

    async def _ask(self, prompt: Prompt) -> httpx.Response:
        """Open the stream, leaving out what the server says it does not take."""
        while True:
            try:
                return await self._endpoint.post("/chat/completions", json=self._body(prompt))
            except BackendError as refusal:
                if not self._concede(refusal):
                    raise

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        body = self._settings | request_body(prompt) | self._extra
        for name in self._conceded & body.keys():
            value = body.pop(name)
            if name == "max_tokens":
                body["max_completion_tokens"] = value
        return body

    def _concede(self, refusal: BackendError) -> bool:
        """Remember one more field that this server refuses; tell whether there is one."""
        if refusal.code != "request_refused":
            return False
        for name in ("stream_options", "parallel_tool_calls", "max_tokens"):
            if name in refusal.message and name not in self._conceded:
                self._conceded.add(name)
                return True
        return False


def request_body(prompt: Prompt) -> dict[str, Any]:
    """Return the prompt as the chat completions API has it."""
    system = [{"role": "system", "content": prompt.instructions}] if prompt.instructions else []
    body: dict[str, Any] = {
        "messages": [*system, *map(_message, prompt.messages)],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if prompt.max_output_tokens is not None:
        body["max_tokens"] = prompt.max_output_tokens
    # Ollama does not read `tool_choice`: only a request without tools is sure to be answered without a call.
    if prompt.tools and prompt.tool_choice != "none":
        body |= _tools(prompt)
    return body


def _message(message: PromptMessage) -> dict[str, Any]:
    match message.role:
        case "tool":
            return {"role": "tool", "tool_call_id": message.call_id or "", "content": message.text}
        case "assistant" if message.calls:
            calls = [
                {
                    "id": call.call_id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in message.calls
            ]
            return {"role": "assistant", "content": message.text or None, "tool_calls": calls}
        case _:
            return {"role": message.role, "content": message.text}


def _tools(prompt: Prompt) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": {"type": "object", "properties": {}} | public_schema(tool.parameters),
                },
            }
            for tool in prompt.tools
        ],
    }
    choice = prompt.tool_choice
    named = choice not in {"auto", "required"}
    fields["tool_choice"] = {"type": "function", "function": {"name": choice}} if named else choice
    if not prompt.parallel_tool_calls:
        fields["parallel_tool_calls"] = False
    return fields


async def _events(response: httpx.Response) -> AsyncGenerator[str, None]:
    """Yield the data of each event; a body that is not a stream is one event."""
    if "text/event-stream" not in response.headers.get("content-type", ""):
        yield (await response.aread()).decode(errors="replace")
        return
    async with aclosing(EventSource(response).aiter_sse()) as events:
        async for event in events:
            if event.data:
                yield event.data
            if event.data == _DONE:
                # A connection whose response was read to its end serves the next request.
                with anyio.move_on_after(_AFTERMATH):
                    async for _ in events:
                        pass
                return


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _CallPiece(msgspec.Struct):
    function: _Function
    index: int | None = None
    id: str | None = None


class _Part(msgspec.Struct):
    type: str = ""
    text: str = ""


class _Delta(msgspec.Struct):
    content: str | list[_Part] | None = None
    tool_calls: list[_CallPiece] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None


class _Chunk(msgspec.Struct):
    """What we read of a chunk; no field is promised by every server."""

    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


_Piece: TypeAlias = Text | Call | Usage


class _Answer:
    """Reads the events of one answer."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._decoder = msgspec.json.Decoder(_Chunk)
        self._speech = Unthought()
        self._calls = _Calls(endpoint)
        self._usage = _Usage()
        self._truncated = False
        self.finished = False

    def read(self, data: str) -> Iterator[_Piece]:
        """Yield what one event brings."""
        if data == _DONE:
            self.finished = True
            return
        try:
            chunk = self._decoder.decode(data)
        except msgspec.DecodeError as error:
            raise self._endpoint.garbled(data) from error
        if chunk.error:
            raise self._endpoint.failed(_said(chunk.error))
        self._usage = chunk.usage or self._usage
        for choice in (chunk.choices or [])[:1]:
            yield from self._read(choice)

    def _read(self, choice: _Choice) -> Iterator[_Piece]:
        delta = choice.delta or choice.message or _Delta()
        if text := self._speech.feed(_text(delta.content)):
            yield Text(text)
        yield from self._calls.feed(delta.tool_calls or ())
        if choice.finish_reason:
            self.finished = True
            self._truncated = choice.finish_reason == "length"

    def end(self) -> Iterator[_Piece]:
        """Yield what was held back, and the usage.

        Raises:
            BackendError: the answer is not at its end.
        """
        if not self.finished:
            raise self._endpoint.cut()
        if text := self._speech.rest():
            yield Text(text)
        yield from self._calls.rest(truncated=self._truncated)
        details = self._usage.prompt_tokens_details or _Details()
        yield Usage(
            input_tokens=self._usage.prompt_tokens or 0,
            output_tokens=self._usage.completion_tokens or 0,
            cached_tokens=details.cached_tokens or 0,
            truncated=self._truncated,
        )


class _Pending(msgspec.Struct):
    """A tool call whose pieces are still coming."""

    index: int | None
    call_id: str | None
    name: str
    arguments: str = ""
    told: bool = False

    @property
    def whole(self) -> bool:
        return self.arguments.rstrip().endswith("}") and _is_object(self.arguments)


class _Calls:
    """Puts tool calls together from their pieces."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._calls: list[_Pending] = []

    def feed(self, pieces: Sequence[_CallPiece]) -> Iterator[Call]:
        """Yield the calls that these pieces complete."""
        for piece in pieces:
            call = self._call_of(piece)
            arguments = piece.function.arguments or ""
            call.arguments += arguments if isinstance(arguments, str) else _encoded(arguments)
            # A first piece may say "{}" where the arguments are still to come.
            if not call.told and call.whole and call.arguments.strip() != "{}":
                yield self._tell(call)

    def rest(self, *, truncated: bool) -> Iterator[Call]:
        """Yield the calls that only the end of the answer completes; a truncated one is dropped."""
        for call in self._calls:
            if call.told:
                continue
            call.arguments = call.arguments.strip() or "{}"
            if call.name and call.whole:
                yield self._tell(call)
            elif not truncated:
                raise self._endpoint.garbled(f"{call.name}({call.arguments})")

    def _call_of(self, piece: _CallPiece) -> _Pending:
        """Find the call that a piece belongs to.

        Some servers give every call the index 0 or none, some give each piece an identifier of its own, some repeat
        the name in each piece: only a piece with a name begins a call, and it does unless it matches the last one.
        """
        alike = [call for call in self._calls if piece.index is None or call.index == piece.index]
        if alike and not (piece.function.name and _begins(piece, alike[-1])):
            return alike[-1]
        self._calls.append(_Pending(piece.index, piece.id or None, piece.function.name or ""))
        return self._calls[-1]

    def _tell(self, call: _Pending) -> Call:
        call.told = True
        return Call(name=call.name, arguments=call.arguments.strip(), call_id=call.call_id)


def _begins(piece: _CallPiece, last: _Pending) -> bool:
    if piece.id:
        return piece.id != last.call_id
    return last.whole or piece.index is None


class Unthought:
    """Takes `<think>…</think>` and leading white space out of a stream of text."""

    def __init__(self) -> None:
        self._held = ""
        self._thinking = False
        self._begun = False

    def feed(self, text: str) -> str:
        """Return what may be said now; what may be the start of a tag is held back."""
        self._held += text
        said = ""
        while True:
            tag = "</think>" if self._thinking else "<think>"
            before, found, after = self._held.partition(tag)
            if not found:
                break
            said += "" if self._thinking else before
            self._held, self._thinking = after, not self._thinking
        split = len(self._held) - _overlap(self._held, tag)
        said += "" if self._thinking else self._held[:split]
        self._held = self._held[split:]
        return self._trimmed(said)

    def rest(self) -> str:
        """Return what was held back when the stream ends."""
        return "" if self._thinking else self._trimmed(self._held)

    def _trimmed(self, said: str) -> str:
        if not self._begun:
            said = said.lstrip()
            self._begun = bool(said)
        return said


def _overlap(text: str, tag: str) -> int:
    """Return the length of the longest end of the text that a tag may begin with."""
    return next((size for size in range(len(tag) - 1, 0, -1) if text.endswith(tag[:size])), 0)


def _text(content: str | list[_Part] | None) -> str:
    if isinstance(content, list):
        return "".join(part.text for part in content if part.type == "text")
    return content or ""


def _said(error: Any) -> str:
    return str(error.get("message") or error) if isinstance(error, dict) else str(error)


def _is_object(arguments: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(arguments), dict)
    except msgspec.DecodeError:
        return False


def _encoded(arguments: dict[str, Any]) -> str:
    return msgspec.json.encode(arguments).decode()
