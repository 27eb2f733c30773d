"""How a person steers a conversation: the keys of the live view, and lines in writing."""

from __future__ import annotations

import signal
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol

import anyio
from anyio import create_task_group

from vivavoce.agent.keys import Keyboard, type_lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from vivavoce.agent.live import Console

FRAME_S = 1 / 12
"""Time between two drawings of the live block."""
POLL_S = 0.05
"""How often a conversation in writing is asked whether the answer is complete."""


class Steered(Protocol):
    """What the keyboard does to a conversation."""

    muted: bool

    @property
    def quiet(self) -> bool:
        """Tell whether nothing is being said, made or awaited."""

    async def run(self) -> None:
        """Converse until it is over."""

    def say(self, text: str) -> None:
        """Send what the person typed."""

    def interrupt(self) -> None:
        """Make the answer stop."""

    def stop(self) -> None:
        """End the conversation."""


class Driver(Protocol):
    """A view through which the person steers."""

    async def drive(self, agent: Steered) -> None:
        """Take keys or lines until cancelled or the person has no more to say."""


async def attend(agent: Steered, console: Driver) -> None:
    """Run the agent under its console until the conversation ends.

    Raises:
        LinkClosed: the server has gone; the message says why.
        DeviceError: the microphone or the speaker has gone.
    """
    failed: Exception | None = None
    async with create_task_group() as tasks:
        tasks.start_soon(console.drive, agent)
        try:
            await agent.run()
        except Exception as error:  # noqa: BLE001 - raised again outside the group, which would wrap it
            failed = error
        tasks.cancel_scope.cancel()
    if failed is not None:
        raise failed


async def press_keys(agent: Steered, console: Console, keyboard: Keyboard | None = None) -> None:
    """Let the keys steer the agent, and keep the live block moving, until cancelled."""
    with keyboard or Keyboard() as held:
        async with create_task_group() as tasks:
            tasks.start_soon(_draw, console)
            if held.held:
                tasks.start_soon(_stand_aside, console, held)
            async with aclosing(held.keys()) as keys:
                async for key in keys:
                    press(key, agent, console)


async def speak_lines(agent: Steered, ask: Callable[[], None] | None = None) -> None:
    """Say each typed line to the agent, ask again when it has answered, and stop it after the last.

    The first is asked for when the session is open: what is said before would be answered without its settings.
    """
    await _answered(agent)
    async with aclosing(type_lines(ask)) as lines:
        async for line in lines:
            if line:
                agent.say(line)
                await _answered(agent)
    agent.stop()


def press(key: str, agent: Steered, console: Console) -> None:
    """Do what the key means."""
    if console.typing is not None:
        _type(key, console.typing, agent, console)
        return
    match key:
        case "m":
            console.muted = agent.muted = not agent.muted
        case "s" | "esc":
            agent.interrupt()
        case "ctrl+t":
            console.typing = ""
        case "?":
            console.help = not console.help
        case "q" | "ctrl+d":
            agent.stop()
        case _:
            pass


def _type(key: str, typed: str, agent: Steered, console: Console) -> None:
    """Edit the typed prompt."""
    match key:
        case "enter":
            console.typing = ""
            if typed.strip():
                agent.say(typed.strip())
        case "esc" | "ctrl+t" | "ctrl+d":
            console.typing = None
        case "backspace":
            console.typing = typed[:-1]
        case "ctrl+u":
            console.typing = ""
        case "ctrl+w":
            console.typing = typed.rstrip().rpartition(" ")[0]
        case _ if len(key) == 1:
            console.typing = typed + key
        case _:
            pass


async def _draw(console: Console) -> None:
    while True:
        console.tick()
        await anyio.sleep(FRAME_S)


async def _stand_aside(console: Console, keyboard: Keyboard) -> None:
    """Leave the terminal to the shell while Ctrl+Z has stopped us."""
    while True:
        with anyio.open_signal_receiver(signal.SIGTSTP) as received:
            async for _ in received:
                break
        console.suspend()
        keyboard.give_back()
        signal.raise_signal(signal.SIGTSTP)  # no longer received, it stops the process here until SIGCONT
        keyboard.take()
        console.resume()


async def _answered(agent: Steered) -> None:
    while True:
        await anyio.sleep(POLL_S)
        if agent.quiet:
            return
