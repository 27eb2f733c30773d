"""A program that follows a conversation: what is said, called and done comes as events, without a terminal.

python examples/events.py                                   microphone and speaker
python examples/events.py What is the weather in Paris?     in writing
"""

from __future__ import annotations

import sys
from contextlib import suppress

import anyio

import vivavoce


async def main(question: str) -> None:
    """Follow a conversation until Ctrl+C, or the answer to one question."""
    async with vivavoce.converse(text=bool(question)) as conversation:
        if question:
            conversation.say(question)
        async for event in conversation:
            match event:
                case vivavoce.Said():
                    print(f"{event.role}: {event.text}{' — interrupted' if event.cut else ''}")
                case vivavoce.Run():
                    print(f"calls {event.name} {event.arguments}")
                case vivavoce.Called():
                    print(f"→ {event.result.output}")
                case vivavoce.Warn():
                    print(f"! {event.message}")
                case vivavoce.StateChanged(state="listening") if question:
                    break
                case _:
                    pass  # each word as it is said, sources, timings, consent


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        anyio.run(main, " ".join(sys.argv[1:]))
