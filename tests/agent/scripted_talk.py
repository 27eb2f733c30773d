"""A conversation that goes one step on at each SIGUSR1, under the real console: what the screen tests look at."""

from __future__ import annotations

import signal
import sys
from typing import Any

import anyio

from vivavoce.agent.console import console_for
from vivavoce.agent.steering import attend
from vivavoce.agent.tools import ToolResult
from vivavoce.realtime.client import Report, Run, Show, Warn
from vivavoce.realtime.events import ResponseTimings

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


def user(text: str, *, final: bool = False, item: str = "u1") -> Show:
    return Show(role="user", item_id=item, text=text, final=final)


def agent(text: str, *, final: bool = False, cut: bool = False, item: str = "a1") -> Show:
    return Show(role="assistant", item_id=item, text=text, final=final, cut=cut)


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


class Scripted:
    """A conversation whose other side is a script."""

    def __init__(self, view):
        self.muted = False
        self.quiet = True
        self.view = view
        self.over = anyio.Event()

    async def run(self):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._sound)
            with anyio.open_signal_receiver(signal.SIGUSR1) as going_on:
                self.view.note("ready")
                steps = iter(STEPS)
                tasks.start_soon(self._end, tasks.cancel_scope)
                async for _ in going_on:
                    for method, *arguments in next(steps):
                        getattr(self.view, method)(*arguments)

    async def _end(self, scope):
        await self.over.wait()
        scope.cancel()

    async def _sound(self):
        while True:
            for db in (-60, -50, -40, -30, -20, -14):
                self.view.level(db)
                await anyio.sleep(0.08)

    def say(self, text):
        self.view.words(user(text, final=True, item="typed"))
        self.view.words(agent(f"You said {text}.", final=True, item=f"echo {text}"))
        self.view.state("listening")

    def interrupt(self):
        self.view.note("skipped")

    def stop(self):
        self.over.set()


async def main():
    with console_for("USB Microphone", "Built-in Audio", text="--text" in sys.argv) as console:
        await attend(Scripted(console), console)


if __name__ == "__main__":
    try:
        anyio.run(main)
    except KeyboardInterrupt:
        sys.exit(0)
    print("ended")  # noqa: T201 - the tests wait for it
