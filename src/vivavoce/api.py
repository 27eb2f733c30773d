"""What programs call: talk, serve, and a server embedded in a program."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio

from vivavoce import compose, run
from vivavoce.config import load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from vivavoce.ports import Tool
    from vivavoce.server.hub import Hub


def talk(
    *,
    tools: Sequence[Tool | Callable[..., Any]] = (),
    text: bool = False,
    input_file: str | None = None,
    output_file: str | None = None,
    fast: bool = False,
    **settings: Any,
) -> None:
    """Hold a conversation in the terminal until it ends or Ctrl+C.

    Args:
        tools: what the model may call: `@tool` functions, or plain typed ones.
        text: type and read instead of speaking and listening.
        input_file: speak this recording instead of the microphone.
        output_file: write what a listener would hear to this WAV file.
        fast: with a recording, as fast as it can.
        **settings: fields of `Settings`.

    Raises:
        VivavoceError: it cannot be held; the message names the remedy.
    """
    options = run.TalkOptions(text=text, input_file=input_file, output_file=output_file, fast=fast, tools=tuple(tools))
    with suppress(KeyboardInterrupt):
        anyio.run(run.talk, load(settings), options)


def serve(**settings: Any) -> None:
    """Offer the server to others until SIGTERM or Ctrl+C.

    Args:
        **settings: fields of `Settings`.

    Raises:
        VivavoceError: it cannot listen, or a model cannot be had.
    """
    with suppress(KeyboardInterrupt):
        anyio.run(run.serve, load(settings))


@asynccontextmanager
async def embedded(**settings: Any) -> AsyncIterator[Hub]:
    """Run the server inside this program: a warm hub, whose sessions need no socket.

        async with vivavoce.embedded() as hub, vivavoce.in_process(hub) as link: ...

    Args:
        **settings: fields of `Settings`.

    Raises:
        VivavoceError: an engine or a model cannot be had.
    """
    async with compose.open_hub(load(settings)) as hub:
        await hub.warm_up()
        yield hub
