"""A person who talks through the agent in real time, and whatever can be seen of that."""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
from tests.scenarios.speech import RATE, Mouth

from vivavoce.agent import services
from vivavoce.agent.agent import Agent
from vivavoce.agent.files import AudioClock, WavSpeaker
from vivavoce.agent.tools import Toolbox
from vivavoce.agent.view import SoundCounts
from vivavoce.config import Settings
from vivavoce.realtime.server import Ids

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from vivavoce.agent.lasting import ClientLink
    from vivavoce.agent.tools import ToolResult
    from vivavoce.realtime.client import Cite, Report, Run, Show, Warn

PATIENCE_S = 60.0
STRANGER = services.Service("")
"""A server of which nothing is known but that it speaks the protocol."""
OURS = services.find(Settings(), {})
"""Our own, with its extensions."""


class Onlooker:
    """A view that remembers (port `View`)."""

    def __init__(self) -> None:
        self.words_of: dict[str, Show] = {}
        self.calls: list[Run] = []
        self.results: list[ToolResult] = []
        self.reports: list[Report] = []
        self.warnings: list[Warn] = []
        self.questions: list[str] = []
        self.consents: list[bool] = []
        self.cites: list[Cite] = []
        self.counts = SoundCounts()
        self.notes: list[str] = []

    def said(self, role: str) -> list[Show]:
        """Return the last state of each item that a side said."""
        return [show for show in self.words_of.values() if show.role == role]

    def state(self, state: str) -> None: ...

    def words(self, show: Show) -> None:
        self.words_of[show.item_id] = show

    def calling(self, run: Run) -> None:
        self.calls.append(run)

    def called(self, run: Run, result: ToolResult) -> None:
        self.results.append(result)

    def confirm(self, run: Run, question: str) -> None:
        self.questions.append(question)

    def confirmed(self, run: Run, *, yes: bool) -> None:
        self.consents.append(yes)

    def citing(self, cite: Cite) -> None:
        self.cites.append(cite)

    def sound(self, counts: SoundCounts) -> None:
        self.counts = counts

    def note(self, text: str) -> None:
        self.notes.append(text)

    def report(self, report: Report) -> None:
        self.reports.append(report)

    def warn(self, warn: Warn) -> None:
        self.warnings.append(warn)

    def level(self, db: float) -> None: ...


@dataclass
class Talk:
    """A conversation that goes on."""

    mouth: Mouth
    speaker: WavSpeaker
    view: Onlooker
    link: ClientLink
    seen: list[Any]
    """Everything that went in and out of the agent's session."""

    async def hears(self, seconds: float, *, after: str | None = None) -> str:
        """Wait until so much of an answer is heard, another one than that, and return its item."""
        with anyio.fail_after(PATIENCE_S):
            while True:
                heard = self.speaker.heard()
                if heard and heard[0] != after and heard[1] >= seconds * 1000:
                    return heard[0]
                await anyio.sleep(0.01)

    async def sees(self, kind: type[Any]) -> Any:
        """Wait for something of a kind, and return the last of it."""
        with anyio.fail_after(PATIENCE_S):
            while True:
                if found := [each for each in self.seen if isinstance(each, kind)]:
                    return found[-1]
                await anyio.sleep(0.01)


@asynccontextmanager
async def talking(
    link: ClientLink,
    output: Path,
    *,
    tools: Toolbox | None = None,
    service: services.Service = STRANGER,
    **settings: Any,
) -> AsyncIterator[Talk]:
    """Converse over a link: speak into the mouth, hear what lands in the file."""
    tools = tools or Toolbox()
    clock, view, seen = AudioClock(realtime=True), Onlooker(), list[Any]()
    mouth = Mouth(clock)
    definitions = [msgspec.to_builtins(definition) for definition in tools.definitions()]
    wanted = services.session_settings(Settings(**settings), service, definitions)
    async with WavSpeaker(output, clock=clock, sample_rate=RATE) as speaker, anyio.create_task_group() as tasks:
        agent = Agent(
            link,
            wanted,
            mint=Ids(secrets.token_hex(4)),
            view=view,
            tools=tools,
            microphone=mouth,
            speaker=speaker,
            watchers=[seen.append],
        )
        tasks.start_soon(agent.run)
        yield Talk(mouth, speaker, view, link, seen)
        tasks.cancel_scope.cancel()
