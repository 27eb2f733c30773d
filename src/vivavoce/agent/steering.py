"""How a person steers a conversation: the keys of the live view, and lines in writing."""

from __future__ import annotations

import os
import signal
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol

import anyio
from anyio import create_task_group

from vivavoce.agent.editor import Paste
from vivavoce.agent.keys import Keyboard, type_lines
from vivavoce.aio import beside
from vivavoce.errors import VivavoceError
from vivavoce.realtime.client import Warn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from vivavoce.agent.live import Console
    from vivavoce.agent.transcript import Questions

FRAME_S = 1 / 12
"""Time between two drawings of the live block."""
WATCH_S = 0.02
"""How often it is asked whether the space bar was let go, while it is held."""
POLL_S = 0.05
"""How often a conversation in writing is asked whether the answer is complete."""
KEYS = (
    ("m", "mute the microphone"),
    ("space", "talk: tap twice, or hold"),
    ("p", "push-to-talk on, off"),
    ("s Esc", "skip the answer"),
    ("r", "replay the last answer"),
    ("v", "next voice"),
    ("Ctrl+T", "type"),
    ("y n", "agree, refuse"),
    ("w", "write a transcript"),
    ("?", "these keys"),
    ("q", "quit"),
)
"""Every key of the live view and what it does."""


class Steered(Protocol):
    """What the keyboard does to a conversation."""

    muted: bool
    push_to_talk: bool
    voices: Sequence[str]
    voice: str | None

    @property
    def quiet(self) -> bool:
        """Tell whether nothing is being said, made or awaited."""

    async def run(self) -> None:
        """Converse until it is over."""

    def say(self, text: str) -> None:
        """Send what the person typed."""

    def press(self) -> None:
        """Begin a turn of push-to-talk."""

    def release(self) -> None:
        """End it."""

    def interrupt(self) -> None:
        """Make the answer stop."""

    def replay(self) -> bool:
        """Play the last answer again, and tell whether there is one."""

    def change_voice(self, name: str) -> None:
        """Let the next answers be spoken by another voice."""

    def confirm(self, *, yes: bool) -> None:
        """Answer the call that waits for the person's consent."""

    def save(self) -> Path:
        """Write the conversation to a file and return where it is."""

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
    async with beside(console.drive, agent):
        await agent.run()


async def press_keys(agent: Steered, console: Console, keyboard: Keyboard | None = None) -> None:
    """Let the keys steer the agent, and keep the live block moving, until cancelled; a closed terminal ends it."""
    with keyboard or Keyboard() as held:
        async with create_task_group() as tasks:
            keys = Keys(agent, console)
            tasks.start_soon(_draw, console)
            tasks.start_soon(_watch_space, keys)
            if not held.held:
                return
            tasks.start_soon(_stand_aside, console, held)
            async with aclosing(held.keys()) as pressed:
                async for key in pressed:
                    keys.press(key)
            agent.stop()


async def speak_lines(agent: Steered, questions: Questions, ask: Callable[[], None] | None = None) -> None:
    """Say each typed line to the agent, ask again when it has answered, and stop it after the last.

    The first is asked for when the session is open: what is said before would be answered without its settings. While a
    call waits for the person's consent a line answers that.
    """
    await _answered(agent, questions)
    async with aclosing(type_lines(ask)) as lines:
        async for line in lines:
            if questions.first:
                if (yes := agreed(line)) is not None:
                    agent.confirm(yes=yes)
            elif line:
                agent.say(line)
            await _answered(agent, questions)
    agent.stop()


def agreed(line: str) -> bool | None:
    """Return whether a typed line agrees or refuses, None where it does neither."""
    word = line.strip().casefold()
    return True if word in ("y", "yes") else False if word in ("n", "no") else None


class SpaceBar:
    """Makes a beginning and an end of a key of which terminals only tell that it was pressed.

    A tap begins and the next one ends. Whoever holds the key down instead makes the terminal repeat it, quicker than
    anyone taps: then the end of the repetition is the end.
    """

    REPEAT_S = 0.13
    """A terminal repeats a key that is held down faster than this."""
    LET_GO_S = 0.3
    """A repetition that pauses for so long has ended."""

    def __init__(self) -> None:
        self.held = False
        self._last = 0.0
        self._repeats = False
        self._ends: float | None = None
        """When the second tap counts, unless it turns out to be a repetition."""

    def strike(self, now: float) -> None:
        """Take that the key was told at this time, in seconds."""
        if not self.held:
            self.held, self._repeats, self._ends = True, False, None
        elif now - self._last < self.REPEAT_S:
            self._repeats, self._ends = True, None
        elif not self._repeats:
            self._ends = now + self.REPEAT_S
        self._last = now

    def tick(self, now: float) -> None:
        """Take that time has passed."""
        over = self._repeats and now - self._last > self.LET_GO_S
        if self.held and (over or (self._ends is not None and now >= self._ends)):
            self.let_go()

    def let_go(self) -> None:
        """End it at once."""
        self.held = False


class Keys:
    """What the keys of the live view mean."""

    def __init__(self, agent: Steered, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        """Get ready.

        Args:
            agent: what the keys steer.
            console: what shows it.
            clock: seconds.
        """
        self.space = SpaceBar()
        self._agent = agent
        self._console = console
        self._clock = clock

    def press(self, key: str) -> None:
        """Do what a key means."""
        if self._console.typing or isinstance(key, Paste):
            self._type(key)
        elif self._console.asked and key in ("y", "n"):
            self._agent.confirm(yes=key == "y")
        elif key in ("m", " ", "p"):
            self._listen(key)
        else:
            self._steer(key)

    def watch_space(self) -> None:
        """End a turn of push-to-talk when its time has come."""
        self.space.tick(self._clock())
        if self._console.held and not self.space.held:
            self._console.held = False
            self._agent.release()

    def _steer(self, key: str) -> None:
        match key:
            case "esc" if self._console.help:
                self._console.help = False
            case "s" | "esc":
                self._agent.interrupt()
            case "ctrl+t":
                self._console.typing = True
            case "?":
                self._console.help = not self._console.help
            case "r":
                played = self._agent.replay()
                self._console.flash("The last answer again" if played else "There is nothing to replay now.")
            case "v":
                self._change_voice()
            case "w":
                self._write()
            case "q" | "ctrl+d":
                self._agent.stop()
            case _:
                pass

    def _listen(self, key: str) -> None:
        """Change what the server hears of the microphone."""
        agent, console = self._agent, self._console
        if key == "m" and not agent.push_to_talk:
            agent.muted = not agent.muted
        elif key == "m":
            console.flash("In push-to-talk the microphone is open only while you talk; p ends it.")
        elif key == "p":
            self._set_push_to_talk(wanted=not agent.push_to_talk)
        else:
            self._talk()
        console.muted, console.push_to_talk = agent.muted, agent.push_to_talk

    def _set_push_to_talk(self, *, wanted: bool) -> None:
        self.space.let_go()
        self.watch_space()
        self._agent.push_to_talk = wanted
        self._console.flash(
            "Push-to-talk: tap space to begin and to end, or hold it down; p opens the microphone again."
            if self._agent.push_to_talk
            else "The microphone is open."
        )

    def _talk(self) -> None:
        if not self._agent.push_to_talk:
            self._set_push_to_talk(wanted=True)
        if not self._agent.push_to_talk:
            return
        self.space.strike(self._clock())
        if not self._console.held:
            self._console.held = True
            self._agent.press()

    def _change_voice(self) -> None:
        agent, voices = self._agent, list(self._agent.voices)
        if len(voices) < 2:  # noqa: PLR2004 - there must be another
            self._console.flash("There is no other voice to choose.")
            return
        at = voices.index(agent.voice) if agent.voice in voices else -1 if agent.voice else 0
        agent.change_voice(voices[(at + 1) % len(voices)])
        self._console.flash(f"Voice: {agent.voice}, from the next answer on")

    def _write(self) -> None:
        try:
            self._console.note(f"The conversation is in {os.path.relpath(self._agent.save())}")
        except (OSError, VivavoceError) as wrong:
            self._console.warn(Warn("save_failed", f"The conversation could not be saved: {wrong}"))

    def _type(self, key: str) -> None:
        """Edit the typed line."""
        console, editor = self._console, self._console.editor
        if key in ("esc", "ctrl+t") or (key == "ctrl+d" and not editor.text):
            console.typing = False
            return
        console.typing = True
        line = editor.press(key)
        if line is None or not line.strip():
            return
        if console.asked and (yes := agreed(line)) is not None:
            self._agent.confirm(yes=yes)
        else:
            self._agent.say(line.strip())


async def _draw(console: Console) -> None:
    while True:
        console.tick()
        await anyio.sleep(FRAME_S)


async def _watch_space(keys: Keys) -> None:
    while True:
        await anyio.sleep(WATCH_S if keys.space.held else FRAME_S)
        keys.watch_space()


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


async def _answered(agent: Steered, questions: Questions) -> None:
    while True:
        await anyio.sleep(POLL_S)
        if agent.quiet or questions.first:
            return
