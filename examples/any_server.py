"""A question to any server of the Realtime API, in writing: `vivavoce serve`, or one that is compatible.

python examples/any_server.py ws://127.0.0.1:8080/v1/realtime What is the capital of France?

The services that vivavoce knows need no address: service="openai" or service="yandex", and their keys in the
environment.
"""

from __future__ import annotations

import sys

import anyio

import vivavoce


async def ask(url: str, question: str) -> str:
    """Return the answer.

    Raises:
        VivavoceError: there is none; the message says why.
    """
    async with vivavoce.converse(url=url, text=True) as conversation:
        conversation.say(question)
        async for event in conversation:
            match event:
                case vivavoce.Said(role="assistant"):
                    return event.text
                case vivavoce.Warn():
                    raise vivavoce.VivavoceError(event.message)
                case _:
                    pass
    raise vivavoce.VivavoceError("The conversation has ended without an answer.")


if __name__ == "__main__":
    try:
        print(anyio.run(ask, sys.argv[1], " ".join(sys.argv[2:])))
    except vivavoce.VivavoceError as wrong:
        sys.exit(str(wrong))
