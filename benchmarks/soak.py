"""Holds one long conversation over connections that break, and measures what it leaves behind.

    uv run python -m benchmarks.soak --turns 2000

Everything is real but the engines, which are scripted, and time: only sound takes any.
"""

from __future__ import annotations

import argparse
import gc
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import numpy as np

from vivavoce.agent.agent import Agent
from vivavoce.agent.tools import Toolbox, tool
from vivavoce.compose import in_process
from vivavoce.ports import Call
from vivavoce.realtime.server import Ids
from vivavoce.server.engine import Engines
from vivavoce.server.hub import Hub
from vivavoce.testing import ScriptedLanguageModel, ScriptedSpeechToText, ScriptedTextToSpeech, ScriptedVad, tone

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from vivavoce.agent.lasting import ClientLink
    from vivavoce.ports import Samples
    from vivavoce.realtime.client import Show
    from vivavoce.realtime.conversation import Prompt

RATE = 24_000
FRAME = RATE // 50
CALL_EVERY = 5
"""Turns between two that the model answers with a call."""
PAUSE_S = 0.4
DETECTION = {"type": "server_vad", "silence_duration_ms": 200}


class Footprint(NamedTuple):
    """What the process holds."""

    turn: int
    rss_mb: float
    objects: int
    tasks: int
    files: int


class Counting:
    """A view that counts answers (port `View`)."""

    def __init__(self) -> None:
        self.answers: set[str] = set()

    def words(self, show: Show) -> None:
        if show.role == "assistant" and show.final:
            self.answers.add(show.item_id)

    def __getattr__(self, _: str) -> Callable[..., None]:
        return lambda *_, **__: None


@dataclass
class Soak:
    """A conversation of many turns."""

    turns: int
    cut_every: int
    sample_rate: int = RATE
    view: Counting = field(default_factory=Counting)
    sessions: int = 0
    prompts: int = 0
    footprints: list[Footprint] = field(default_factory=list)
    link: ClientLink | None = None
    agent: Agent | None = None
    notebooks: list[list[Any]] = field(default_factory=list)
    """What the scripted engines remember for tests."""

    async def run(self) -> None:
        """Hold it to its end."""
        llm, stt, tts = ScriptedLanguageModel(self.reply), ScriptedSpeechToText(["Go on."]), ScriptedTextToSpeech()
        self.notebooks = [llm.prompts, stt.heard, tts.spoken]
        engines = Engines(vad=ScriptedVad(), stt=stt, llm=llm, tts=tts)
        hub, tools = Hub(engines), Toolbox([count])
        await hub.warm_up()

        @asynccontextmanager
        async def opening() -> AsyncIterator[ClientLink]:
            async with in_process(hub) as self.link:
                self.sessions += 1
                yield self.link

        session = {"type": "realtime", "audio": {"input": {"transcription": {}, "turn_detection": DETECTION}}}
        async with opening() as link:
            self.agent = Agent(
                link, session, mint=Ids("c"), view=self.view, tools=tools, microphone=self, in_step=True, reopen=opening
            )
            await self.agent.run()

    def reply(self, prompt: Prompt) -> Any:
        """Call a tool now and then, else answer."""
        self.prompts += 1
        asked = prompt.messages[-1].role == "user"
        if asked and self.prompts % CALL_EVERY == 0:
            return [Call("count", f'{{"number": {self.prompts}}}')]
        return f"This is answer {self.prompts}. It has two sentences."

    async def frames(self) -> AsyncGenerator[Samples, None]:
        """Say something in each turn; the agent goes on when it has been answered (port `Microphone`)."""
        half, pause = tone(300, 0.3, RATE), np.zeros(round(PAUSE_S * RATE), np.float32)
        for turn in range(1, self.turns + 1):
            for frame in framed(half):
                yield frame
            if turn % self.cut_every == 0 and self.link is not None:
                await self.link.close()
            for frame in (*framed(half), *framed(pause)):
                yield frame
            while len(self.view.answers) < turn or not (self.agent and self.agent.quiet):
                yield pause[:FRAME]
            if turn % self.cut_every == 0:
                for notebook in self.notebooks:
                    notebook.clear()
                self.footprints.append(footprint(turn))


def framed(sound: Samples) -> list[Samples]:
    """Return sound in frames of 20 ms."""
    return [sound[at : at + FRAME] for at in range(0, len(sound), FRAME)]


@tool
async def count(number: int) -> str:
    """Count to a number."""
    return str(number)


def footprint(turn: int) -> Footprint:
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123
        pages = int(statm.read().split()[1])
    rss_mb = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    files = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    return Footprint(turn, rss_mb, len(gc.get_objects()), len(anyio.get_running_tasks()), files)


def growth(footprints: list[Footprint]) -> Footprint:
    """Return what was added for each hundred turns, after the first half."""
    first, last = footprints[len(footprints) // 2 - 1], footprints[-1]
    hundreds = (last.turn - first.turn) / 100
    return Footprint(
        last.turn - first.turn,
        (last.rss_mb - first.rss_mb) / hundreds,
        round((last.objects - first.objects) / hundreds),
        last.tasks - first.tasks,
        last.files - first.files,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=1000)
    parser.add_argument("--cut-every", type=int, default=25, help="turns between two losses of the connection")
    options = parser.parse_args()
    soak = Soak(options.turns, options.cut_every)
    anyio.run(soak.run)
    print(f"{options.turns} turns, {len(soak.view.answers)} answers, {soak.sessions} sessions")
    print(f"{'turn':>6} {'RSS MB':>8} {'objects':>9} {'tasks':>6} {'files':>6}")
    for each in soak.footprints:
        print(f"{each.turn:6} {each.rss_mb:8.1f} {each.objects:9} {each.tasks:6} {each.files:6}")
    each = growth(soak.footprints)
    print(f"for 100 turns: {each.rss_mb:+.2f} MB, {each.objects:+} objects")


if __name__ == "__main__":
    main()
