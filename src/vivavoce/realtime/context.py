"""How much of a conversation a model can take, by a rule of thumb that needs no tokenizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from vivavoce.realtime.conversation import part_text
from vivavoce.realtime.values import FunctionCall, FunctionCallOutput, Item, McpCall, Message, RetentionRatio, Session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vivavoce.realtime.conversation import Prompt

CONTEXT_TOKENS: Final = 32_768 - 4_096
"""Tokens of a prompt for a model of 32k, with room for the answer."""
CHARACTERS_PER_TOKEN: Final = 3
"""A little less than what tokenizers reach in English and in Russian, so that the estimate is too high."""
TOKENS_PER_ITEM: Final = 4
"""What marks where a message begins and ends, and whose it is."""
FOUND_TOKENS: Final = 300
"""What the server's searches bring into a prompt of a small model."""


def text_tokens(text: str) -> int:
    """Estimate the tokens of a text, rather too high."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def item_tokens(item: Item) -> int:
    """Estimate what an item takes in a prompt."""
    match item:
        case Message():
            return TOKENS_PER_ITEM + sum(text_tokens(part_text(part)) for part in item.content)
        case FunctionCall():
            return TOKENS_PER_ITEM + text_tokens(item.name) + text_tokens(item.arguments)
        case FunctionCallOutput():
            return TOKENS_PER_ITEM + text_tokens(item.output)
        case McpCall():
            output = item.output if isinstance(item.output, str) else ""
            return 2 * TOKENS_PER_ITEM + text_tokens(item.name) + text_tokens(item.arguments) + text_tokens(output)
        case McpCall():
            told = item.error.message if isinstance(item.error, msgspec.Struct) else item.output or ""
            return TOKENS_PER_ITEM + text_tokens(item.name) + text_tokens(item.arguments) + text_tokens(str(told))
        case _:
            return 0


def frame_tokens(prompt: Prompt) -> int:
    """Estimate what a prompt takes besides the conversation: instructions and tools."""
    tools = msgspec.json.encode(prompt.tools).decode() if prompt.tools else ""
    return text_tokens(prompt.instructions) + text_tokens(tools) + FOUND_TOKENS * bool(prompt.hosted)


def room(session: Session, prompt: Prompt, context_tokens: int) -> tuple[int, int]:
    """Return how many tokens of conversation fit, and how many shall be left when they do not."""
    limit = max(context_tokens - frame_tokens(prompt), 0)
    if not isinstance(session.truncation, RetentionRatio):
        return limit, limit
    if session.truncation.token_limits:
        limit = min(limit, session.truncation.token_limits.get("post_instructions", limit))
    return limit, int(limit * session.truncation.retention_ratio)


def overflow(items: Sequence[Item], limit: int, goal: int) -> int:
    """Return how many of the oldest items have to go.

    What the user said last, and what followed it, stays. Of a call and its output, a prompt holds both or neither.

    Args:
        items: in their order.
        limit: tokens that fit.
        goal: tokens to come down to when the limit is passed, so that the next turns begin with the same prompt.
    """
    costs = [item_tokens(item) for item in items]
    left = sum(costs)
    if left <= limit:
        return 0
    by_user = [index for index, item in enumerate(items) if isinstance(item, Message) and item.role == "user"]
    droppable = by_user[-1] if by_user else max(len(items) - 1, 0)
    for dropped in range(droppable):
        if left <= goal:
            return dropped
        left -= costs[dropped]
    return droppable
