"""The conversation: items in their order, and the same as a prompt for a language model."""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class ToolCall(msgspec.Struct, frozen=True):
    """A call that the model made earlier."""

    call_id: str
    name: str
    arguments: str
    """A JSON object."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
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


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """What a language model is asked to continue."""

    instructions: str = ""
    messages: tuple[Message, ...] = ()
    tools: tuple[PromptTool, ...] = ()
    tool_choice: str = "auto"
    """`auto`, `none`, `required`, or the name of the function to call."""
    parallel_tool_calls: bool = True
    max_output_tokens: int | None = None
