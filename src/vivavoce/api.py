"""What programs call: talk, converse, serve, and a server embedded in a program."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from vivavoce import compose, run
from vivavoce.agent import services
from vivavoce.aio import beside
from vivavoce.config import load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from vivavoce.agent.conversation import Conversation
    from vivavoce.agent.services import Service
    from vivavoce.config import Settings
    from vivavoce.ports import Microphone, Speaker, Tool
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


@asynccontextmanager
async def converse(
    *,
    tools: Sequence[Tool | Callable[..., Any]] = (),
    text: bool = False,
    microphone: Microphone | None = None,
    speaker: Speaker | None = None,
    **settings: Any,
) -> AsyncIterator[Conversation]:
    """Hold a conversation inside a program, without a terminal: it is open within the block, and ends with it.

        async with vivavoce.converse(tools=[in_stock]) as conversation:
            async for event in conversation: ...

    Args:
        tools: what the model may call: `@tool` functions, or plain typed ones.
        text: in writing, without devices.
        microphone: any object with the methods of the port, at any rate; it is yours to open and close.
        speaker: likewise. With neither of the two, the sound devices of the machine; with one alone, no other.
        **settings: fields of `Settings`.

    Raises:
        ConfigError: a setting is wrong, or a key is missing.
        DeviceError: a sound device cannot be opened, or has gone.
        LinkClosed: the server cannot be reached, or has gone.
        VivavoceError: what all of them are; the message names the remedy.
    """
    from vivavoce.agent.conversation import Conversation

    chosen = load(settings)
    service, options = services.find(chosen), run.TalkOptions(text=text)
    async with AsyncExitStack() as stack:
        sound = await stack.enter_async_context(_sound(chosen, service, microphone, speaker, text=text))
        opening = await stack.enter_async_context(compose.open_service(chosen, service, nullcontext))
        link = await stack.enter_async_context(opening())
        box = await stack.enter_async_context(run.open_tools(chosen, service, tools))
        make = partial(
            run.assemble,
            settings=chosen,
            options=options,
            service=service,
            tools=box,
            sound=sound,
            link=link,
            reopen=opening,
        )
        conversation = Conversation(lambda view: stack.enter_context(make(view)))
        await stack.enter_async_context(beside(conversation.run))
        await conversation.opened()
        yield conversation


@asynccontextmanager
async def _sound(
    settings: Settings, service: Service, microphone: Microphone | None, speaker: Speaker | None, *, text: bool
) -> AsyncIterator[run.Sound]:
    """Return the devices of the program, where it has any, else those of the machine."""
    from vivavoce.agent.rates import ResampledSpeaker, microphone_at, speaker_at

    async with AsyncExitStack() as stack:
        if microphone is None and speaker is None:
            yield await stack.enter_async_context(run.open_sound(settings, run.TalkOptions(text=text), service))
            return
        heard = None if microphone is None else microphone_at(services.IN_RATE, microphone)
        spoken = None if speaker is None else speaker_at(service.out_rate, speaker)
        if isinstance(spoken, ResampledSpeaker):
            await stack.enter_async_context(beside(spoken.run))
        yield run.Sound(heard, spoken)


def serve(**settings: Any) -> None:
    """Offer the server to others until SIGTERM or Ctrl+C.

    Args:
        **settings: fields of `Settings`.

    Raises:
        VivavoceError: it cannot listen, or a model cannot be had.
    """
    with suppress(KeyboardInterrupt):
        anyio.run(run.serve, load(settings), backend_options=run.LOOP)


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
