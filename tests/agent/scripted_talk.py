"""A conversation that goes one step on at each SIGUSR1, under the real console: what the screen tests look at."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from vivavoce.agent.console import console_for
from vivavoce.agent.steering import attend
from vivavoce.agent.tools import ToolResult
from vivavoce.agent.view import SoundCounts
from vivavoce.realtime.client import Cite, Report, Run, Show, Warn
from vivavoce.realtime.events import ResponseTimings
from vivavoce.realtime.values import Source

if TYPE_CHECKING:
    from collections.abc import Sequence

RUN = Run("call_1", "get_weather", '{"city":"Paris","api_key":"hunter2"}')
TIMINGS = ResponseTimings(
    response_id="resp_1",
    waiting_ms=416,
    transcription_ms=1.2,
    first_token_ms=380,
    first_sentence_ms=120,
    synthesis_ms=40,
    total_ms=957,
)
LONG = "Once upon a time there was a very small, very stubborn robot who lived at the edge of a long and windy beach."


SOURCES = (
    Source(title="Rain in Paris", url="https://meteo.example/paris"),
    Source(title="handbook.pdf", file_id="file_1", quote="It rains."),
)


def user(text: str, *, final: bool = False, item: str = "u1") -> Show:
    return Show(role="user", item_id=item, text=text, final=final)


def agent(text: str, *, final: bool = False, cut: bool = False, item: str = "a1", heard: int | None = None) -> Show:
    return Show(role="assistant", item_id=item, text=text, final=final, cut=cut, heard=heard)


STEPS: list[list[tuple[Any, ...]]] = [
    [("state", "listening")],
    [("state", "hearing you"), ("words", user("what is the"))],
    [("words", user("what is the weather in"))],
    [("words", user("What is the weather in Paris?", final=True)), ("state", "thinking")],
    [("calling", RUN)],
    [("called", RUN, ToolResult('{"temperature": "21 °C", "sky": "sunny"}', ok=True, seconds=0.42))],
    [("words", agent("It is sunny")), ("state", "speaking"), ("report", Report(TIMINGS))],
    [("words", agent("It is sunny in [bold]Paris[/bold], \x1b[31mand 21 degrees.", final=True)), ("state", "speaking")],
    [("state", "listening")],
    [("words", user("Tell me a story.", final=True, item="u2")), ("state", "thinking")],
    [("words", agent(LONG, item="a2")), ("state", "speaking")],
    [("words", agent(LONG, final=True, cut=True, item="a2")), ("state", "hearing you")],
    [("warn", Warn("rate_limit", "The service is busy. Wait a minute, or use `--service local`."))],
    [("state", "listening")],
]


MAIL = Run("call_2", "send_mail", '{"to":"Ada"}')
DEGREES = "It is twelve degrees and raining."
SOUND: list[list[tuple[Any, ...]]] = [
    [("state", "listening")],
    [("words", agent(DEGREES, heard=0)), ("state", "speaking")],
    [("words", agent(DEGREES, heard=20))],
    [("sound", SoundCounts(underruns=2, dropped=1)), ("report", Report(TIMINGS))],
    [("words", agent(DEGREES, heard=20, final=True, cut=True)), ("state", "listening")],
    [("calling", MAIL), ("confirm", MAIL, "Send the mail to Ada?"), ("state", "thinking")],
    [("called", MAIL, ToolResult("sent", ok=True, seconds=0.3)), ("state", "listening")],
    [("words", agent("It says so in the paper.", final=True, item="a2"))],
    [("citing", Cite("a2", SOURCES)), ("state", "listening")],
    [("state", "reconnecting")],
    [("words", agent(LONG * 20, heard=1200, item="a3")), ("state", "speaking")],
]
SHOWS = {"talk": STEPS, "sound": SOUND}


class Scripted:
    """A conversation whose other side is a script."""

    def __init__(self, view):
        self.muted = self.push_to_talk = False
        self.quiet = True
        self.voices: Sequence[str] = ("Ada", "Ben", "Cleo")
        self.voice: str | None = "Ada"
        self.view = view
        self.over = anyio.Event()

    async def run(self):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._sound)
            with anyio.open_signal_receiver(signal.SIGUSR1) as going_on:
                self.view.note("ready")
                steps = iter(SHOWS["sound" if "--sound" in sys.argv else "talk"])
                tasks.start_soon(self._end, tasks.cancel_scope)
                async for _ in going_on:
                    for method, *arguments in next(steps):
                        getattr(self.view, method)(*arguments)
                    tell("STEPS", ".")

    async def _end(self, scope):
        await self.over.wait()
        scope.cancel()

    async def _sound(self):
        while True:
            for db in (-60, -50, -40, -30, -20, -14):
                self.view.level(-120 if "--silent" in sys.argv else db)
                await anyio.sleep(0.08)

    def say(self, text):
        self.view.words(user(text, final=True, item="typed"))
        self.view.words(agent(f"You said {text!r}.", final=True, item=f"echo {text}"))
        self.view.state("listening")

    def press(self):
        self.view.state("hearing you")
        self.view.note("pressed")

    def release(self):
        self.view.state("listening")
        self.view.note("released")

    def interrupt(self):
        print("a stray line", file=sys.stderr)  # noqa: T201 - as libraries do
        self.view.note("skipped")

    def replay(self):
        self.view.note("replayed")
        return True

    def change_voice(self, name):
        self.voice = name

    def confirm(self, *, yes):
        self.view.confirmed(MAIL, yes=yes)

    def save(self):
        return Path("talk.md")

    def stop(self):
        self.over.set()


async def main():
    text, recording = "--text" in sys.argv, "--record" in sys.argv
    names = ("USB Microphone", "Built-in Audio")
    with console_for(*names, title="local, scripted", text=text, recording=recording) as console:
        await attend(Scripted(console), console)


def tell(where, what):
    """Tell a test what its screen cannot."""
    if where in os.environ:
        with Path(os.environ[where]).open("a") as file:
            file.write(what)


if __name__ == "__main__":
    try:
        anyio.run(main)
    except KeyboardInterrupt:
        tell("ENDING", "clean")
        sys.exit(0)
    tell("ENDING", "clean")
    print("ended")  # noqa: T201 - the tests wait for it
