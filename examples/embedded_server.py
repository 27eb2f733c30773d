"""The server inside a program: a conversation without a socket, typed question in, streamed answer out."""

from __future__ import annotations

import sys

import anyio

import vivavoce
from vivavoce.realtime.events import ConversationItemCreate, OutputTextDelta, ResponseCreate, ResponseDone
from vivavoce.realtime.values import InputText, Message, ResponseParams


async def main(question: str) -> None:
    """Ask one question."""
    async with vivavoce.embedded() as hub, vivavoce.in_process(hub) as link:
        message = Message(role="user", content=(InputText(text=question),))
        await link.send(ConversationItemCreate(item=message))
        await link.send(ResponseCreate(response=ResponseParams(output_modalities=("text",))))
        while not isinstance(event := await link.receive(), ResponseDone):
            if isinstance(event, OutputTextDelta):
                print(event.delta, end="", flush=True)
        print()


if __name__ == "__main__":
    anyio.run(main, " ".join(sys.argv[1:]) or "What is the capital of France?")
