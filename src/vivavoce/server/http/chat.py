"""The language model for text, without a session."""

from __future__ import annotations

import secrets
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from vivavoce.ports import BackendError, Call, Searched, Text, Usage
from vivavoce.realtime.conversation import Prompt, PromptMessage, PromptTool, ToolCall
from vivavoce.server import guard
from vivavoce.server.http.wire import EVENTS, JSON, ApiError, ErrorBody, Made, failed, read_json, server_sent

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request
    from starlette.responses import Response

    from vivavoce.server.hub import Hub

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls"]
Tokens: TypeAlias = Annotated[int, Meta(ge=1)]

_DONE: Final = b"data: [DONE]\n\n"
_NOT_HERE: Final = ("stop", "logprobs", "audio", "functions", "function_call")
"""Parameters that would change the answer, and that no engine here follows."""


class Function(msgspec.Struct, frozen=True, kw_only=True):
    """A function that the model may call."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    """JSON schema of the arguments."""


class ChatTool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool; all are functions."""

    type: Literal["function"] = "function"
    function: Function


class CalledFunction(msgspec.Struct, frozen=True, kw_only=True):
    """A function and what it is called with."""

    name: str
    arguments: str
    """A JSON object."""


class ChatToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """The model calls a tool."""

    index: int | UnsetType = UNSET
    """In a stream only."""
    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class ContentPart(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of what was said."""

    type: str
    text: str = ""


class ChatMessage(msgspec.Struct, frozen=True, kw_only=True):
    """What was said, called or returned."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[ContentPart] | None = None
    tool_calls: list[ChatToolCall] | None = None
    tool_call_id: str | None = None


class NamedFunction(msgspec.Struct, frozen=True, kw_only=True):
    """The name of a function."""

    name: str


class ForcedFunction(msgspec.Struct, frozen=True, kw_only=True):
    """The function that must be called."""

    type: Literal["function"] = "function"
    function: NamedFunction


class ResponseFormat(msgspec.Struct, frozen=True, kw_only=True):
    """What the answer is to be."""

    type: str = "text"


class StreamOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the answer is streamed."""

    include_usage: bool | None = None


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to continue, and how; `temperature` and its like are the engine's own."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    model: str = ""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: list[ChatTool] | None = None
    tool_choice: Literal["auto", "none", "required"] | ForcedFunction | None = None
    parallel_tool_calls: bool | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    n: Literal[1] | None = None
    response_format: ResponseFormat | None = None
    stop: Any = None
    logprobs: Any = None
    audio: Any = None
    functions: Any = None
    function_call: Any = None


class PromptTokenDetails(msgspec.Struct, frozen=True, kw_only=True):
    """What the tokens of the prompt were."""

    cached_tokens: int


class ChatUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What it took, in tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokenDetails


class ChatAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the model says, or a piece of it."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType | None = UNSET
    tool_calls: list[ChatToolCall] | UnsetType = UNSET


class ChatChoice(msgspec.Struct, frozen=True, kw_only=True):
    """The answer; there is one."""

    index: int = 0
    message: ChatAnswer | UnsetType = UNSET
    """The whole of it."""
    delta: ChatAnswer | UnsetType = UNSET
    """In a stream: more of it."""
    finish_reason: FinishReason | None = None


class ChatCompletion(msgspec.Struct, frozen=True, kw_only=True):
    """An answer, or a piece of it in a stream."""

    id: str
    object: Literal["chat.completion", "chat.completion.chunk"]
    created: int
    """Unix time, seconds."""
    model: str
    choices: tuple[ChatChoice, ...]
    usage: ChatUsage | UnsetType | None = UNSET


class Chat:
    """Answers."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def complete(self, request: Request) -> Response:
        """Continue a conversation."""
        wanted = await read_json(request, ChatRequest)
        answering = _Answering(wanted, self._hub)
        if wanted.stream:
            return Made(answering.stream(), EVENTS)
        return Made(answering.whole(), JSON)


class _Answering:
    """One answer."""

    def __init__(self, wanted: ChatRequest, hub: Hub) -> None:
        self._prompt = prompt_of(wanted)
        self._llm = hub.engines.llm
        self._model = wanted.model or hub.models[0]
        self._id = f"chatcmpl-{secrets.token_hex(12)}"
        self._created = int(time.time())
        self._with_usage = bool(wanted.stream_options and wanted.stream_options.include_usage)
        self._calls = 0
        self._usage = Usage()

    async def whole(self) -> AsyncGenerator[bytes, None]:
        """Yield the answer at once."""
        text, calls = "", []
        async with aclosing(guard.think(self._llm, self._prompt)) as pieces:
            async for piece in pieces:
                match piece:
                    case Text():
                        text += piece.text
                    case Call():
                        calls.append(self._call(piece))
                    case Usage():
                        self._usage = piece
                    case Searched():
                        pass
        message = ChatAnswer(role="assistant", content=text or None, tool_calls=calls or UNSET)
        choice = ChatChoice(message=message, finish_reason=self._reason())
        yield msgspec.json.encode(self._completion("chat.completion", choice, usage=_spent(self._usage)))

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Yield the answer as it comes; an error in its midst is an event too."""
        first = True
        try:
            async with aclosing(guard.think(self._llm, self._prompt)) as pieces:
                async for piece in pieces:
                    if first:
                        yield self._chunk(ChatAnswer(role="assistant", content=""))
                        first = False
                    match piece:
                        case Text():
                            yield self._chunk(ChatAnswer(content=piece.text))
                        case Call():
                            index = self._calls
                            call = msgspec.structs.replace(self._call(piece), index=index)
                            yield self._chunk(ChatAnswer(tool_calls=[call]))
                        case Usage():
                            self._usage = piece
                        case Searched():
                            pass
        except BackendError as wrong:
            if first:
                raise
            yield server_sent(ErrorBody(failed(wrong).detail))
            return
        yield self._chunk(ChatAnswer(), self._reason())
        if self._with_usage:
            yield server_sent(self._completion("chat.completion.chunk", usage=_spent(self._usage)))
        yield _DONE

    def _call(self, call: Call) -> ChatToolCall:
        self._calls += 1
        return ChatToolCall(
            id=call.call_id or f"call_{secrets.token_hex(12)}",
            function=CalledFunction(name=call.name, arguments=call.arguments),
        )

    def _reason(self) -> FinishReason:
        if self._calls:
            return "tool_calls"
        return "length" if self._usage.truncated else "stop"

    def _chunk(self, delta: ChatAnswer, reason: FinishReason | None = None) -> bytes:
        choice = ChatChoice(delta=delta, finish_reason=reason)
        usage = None if self._with_usage else UNSET
        return server_sent(self._completion("chat.completion.chunk", choice, usage=usage))

    def _completion(
        self,
        kind: Literal["chat.completion", "chat.completion.chunk"],
        *choices: ChatChoice,
        usage: ChatUsage | UnsetType | None,
    ) -> ChatCompletion:
        return ChatCompletion(
            id=self._id, object=kind, created=self._created, model=self._model, choices=choices, usage=usage
        )


def prompt_of(wanted: ChatRequest) -> Prompt:
    """Return a request as what our language models understand; system messages at its beginning are instructions.

    Raises:
        ApiError: it asks for what they cannot do.
    """
    _check(wanted)
    messages = [_message(message, f"messages[{index}]") for index, message in enumerate(wanted.messages)]
    first = next((index for index, message in enumerate(messages) if message.role != "system"), len(messages))
    return Prompt(
        instructions="\n\n".join(message.text for message in messages[:first]),
        messages=tuple(messages[first:]),
        tools=tuple(map(_tool, wanted.tools or ())),
        tool_choice=_choice(wanted),
        parallel_tool_calls=wanted.parallel_tool_calls is not False,
        max_output_tokens=wanted.max_completion_tokens or wanted.max_tokens,
    )


def _check(wanted: ChatRequest) -> None:
    asked = next((name for name in _NOT_HERE if getattr(wanted, name)), None)
    if wanted.response_format and wanted.response_format.type != "text":
        asked = "response_format"
    if asked:
        raise ApiError(
            400, f"'{asked}' is not supported here; leave it out.", code="unsupported_parameter", param=asked
        )


def _message(message: ChatMessage, param: str) -> PromptMessage:
    role = "system" if message.role == "developer" else message.role
    calls = [ToolCall(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ()]
    if role == "tool" and message.tool_call_id is None:
        missing = f"{param}.tool_call_id"
        message_ = f"Missing required parameter: '{missing}'."
        raise ApiError(400, message_, code="missing_required_parameter", param=missing)
    return PromptMessage(
        role=role, text=_text(message.content, param), calls=tuple(calls), call_id=message.tool_call_id
    )


def _text(content: str | list[ContentPart] | None, param: str) -> str:
    if not isinstance(content, list):
        return content or ""
    if other := next((part.type for part in content if part.type != "text"), None):
        message = f"A content part of type '{other}' is not understood here; send text."
        raise ApiError(400, message, code="invalid_value", param=f"{param}.content")
    return "".join(part.text for part in content)


def _tool(tool: ChatTool) -> PromptTool:
    function = tool.function
    return PromptTool(name=function.name, description=function.description or "", parameters=function.parameters or {})


def _choice(wanted: ChatRequest) -> str:
    if not isinstance(wanted.tool_choice, ForcedFunction):
        return wanted.tool_choice or "auto"
    name = wanted.tool_choice.function.name
    if name not in {tool.function.name for tool in wanted.tools or ()}:
        message = f"The function '{name}' is not among the tools."
        raise ApiError(400, message, code="invalid_value", param="tool_choice")
    return name


def _spent(usage: Usage) -> ChatUsage:
    return ChatUsage(
        prompt_tokens=usage.input_tokens,
        completion_tokens=usage.output_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
        prompt_tokens_details=PromptTokenDetails(cached_tokens=usage.cached_tokens),
    )
