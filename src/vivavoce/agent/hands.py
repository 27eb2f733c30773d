"""What the model does in the world: its calls, each in a scope of its own.

A slow call is bridged by a few words, one with consequences waits for the person's consent, and one that runs long
returns at once and tells its news when there are any.
"""

from __future__ import annotations

from collections import deque
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import anyio
from anyio import CancelScope

from vivavoce.agent.consent import Again, Ask, Busy, Consent, Decision, Join, decoded
from vivavoce.agent.phrases import Phrases, phrases
from vivavoce.agent.tools import ToolResult
from vivavoce.realtime.client import Interrupted, Reported, Returned, Waiting

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskGroup

    from vivavoce.agent.tools import Conduct, Toolbox
    from vivavoce.agent.view import View
    from vivavoce.realtime.client import Input, Run, Show, Stop

CANCELLED: Final = '{"error": "Cancelled: the user interrupted before there was a result."}'
HELD: Final = "Not done yet: the user must agree first. Ask the user exactly this, and nothing else: {}"
AGAIN: Final = "Still not done: it waits for the user's yes or no to this question: {}"
BUSY: Final = "Not done, and it will not be: something else waits for the user's yes or no. Ask that first: {}"
NEWS: Final = 'News of {}: "{}"'
"""Told in the user's place: what a tool says has no more weight than what a person says."""
NOT_DONE: Final = "It was not done, because {}."
WHY: Final = {
    "refused": "you do not want it",
    "forgotten": "you talked of something else",
    "unanswered": "you did not answer in time",
}
TURNS: Final = 16
"""Of the person, that are remembered."""


class Manner(NamedTuple):
    """How the agent behaves around its calls."""

    words: Phrases = phrases(None)
    fillers: bool = True
    """Whether it says a few words where a call is slow; not every service can speak out of turn."""
    filler_after_s: float = 1.5
    """A call without a result for so long is slow."""
    settle_s: float = 0.0
    """For so long what the person said may still grow, seconds: some services tell it piece by piece."""


USUAL: Final = Manner()


class _Work:
    """A call that runs."""

    def __init__(self, run: Run, conduct: Conduct) -> None:
        self.run = run
        self.conduct = conduct
        self.scope = CancelScope()
        self.result: ToolResult | None = None
        self.over = anyio.Event()
        """There is a first result."""


class Hands:
    """Runs the calls of one conversation, side by side."""

    def __init__(self, tools: Toolbox, view: View, step: Callable[[Input], None], manner: Manner = USUAL) -> None:
        """Get ready.

        Args:
            tools: what may be called.
            view: shown each call and its result.
            step: told what came of each call.
            manner: how to behave around calls.
        """
        self._tools = tools
        self._view = view
        self._step = step
        self._manner = manner
        self._tasks: TaskGroup
        self._running: dict[str, _Work] = {}
        self._consent = Consent()
        self._turns: deque[str] = deque(maxlen=TURNS)
        self._before: frozenset[str] = frozenset()
        """Turns that had begun when the person was asked: their words, which may come late, are no answer."""
        self._agreed: _Work | None = None
        self._joined = 0
        """Calls that wait for the result of the one that was agreed to."""
        self._bridged = False
        """Something was said to bridge a silence since the person spoke."""
        self._settling = CancelScope()

    def begin(self, tasks: TaskGroup) -> None:
        """Run calls in this group from now on."""
        self._tasks = tasks

    def run(self, run: Run) -> None:
        """Start a call, or hold it where the person must agree."""
        self._view.calling(run)
        conduct = self._tools.conduct(run.name)
        if conduct.confirm:
            self._hold(run, _question(run, conduct, self._manner.words))
        else:
            self._start(_Work(run, conduct))

    def stop(self, stop: Stop) -> None:
        """Give up those calls that end when the person interrupts."""
        for call_id in stop.call_ids:
            work = self._running.get(call_id)
            if work is not None and work.conduct.cancel_on_interrupt:
                del self._running[call_id]
                work.scope.cancel()
                self._view.called(work.run, ToolResult(CANCELLED, ok=False, seconds=0.0))
                self._step(Returned(call_id, CANCELLED, moot=True))

    # One call --------------------------------------------------------------------------------------------------------

    def _start(self, work: _Work) -> None:
        self._running[work.run.call_id] = work
        self._tasks.start_soon(self._call, work)
        self._tasks.start_soon(self._bridge, work)

    async def _call(self, work: _Work) -> None:
        with work.scope:
            async with aclosing(self._tools.results(work.run.name, work.run.arguments)) as results:
                async for result in results:
                    self._take(work, result)

    def _take(self, work: _Work, result: ToolResult) -> None:
        """Tell what a call returns, or what it has to tell later; one that was given up may return before it ends."""
        if work.scope.cancel_called:
            return
        run = work.run
        if work.result is not None:
            self._view.called(run, result)
            self._step(Reported(_news(run.name, result.output), result.sources))
            return
        work.result = result
        work.over.set()
        self._view.called(run, result)
        del self._running[run.call_id]
        if work is self._agreed:
            self._tell_agreed(work, result)
        else:
            self._step(Returned(run.call_id, result.output, sources=result.sources))

    async def _bridge(self, work: _Work) -> None:
        """Say a few words where a call is slow, once until the person speaks again."""
        words = self._manner.words.wait if work.conduct.filler is None else work.conduct.filler
        with anyio.move_on_after(self._manner.filler_after_s):
            await work.over.wait()
        if self._manner.fillers and words and not self._bridged and self._running.get(work.run.call_id) is work:
            self._bridged = True
            self._step(Waiting(words))

    # Consent ---------------------------------------------------------------------------------------------------------

    def begun(self, item_id: str) -> None:
        """Take that the person speaks; it will be told what."""
        self._turns.append(item_id)

    def heard(self, show: Show) -> None:
        """Take what the person said or wrote: it may be the answer to a question of ours."""
        if show.role != "user" or not show.final or show.item_id in self._before:
            return
        self._bridged = False
        self._settling.cancel()
        if self._manner.settle_s and self._consent.waiting:
            self._settling = CancelScope()
            self._tasks.start_soon(self._settle, show.text, self._settling)
        else:
            self._decide(self._consent.said(show.text))

    def confirm(self, *, yes: bool) -> None:
        """Answer the call that waits for the person's consent, if one does."""
        self._decide(self._consent.chosen(yes=yes))

    async def _settle(self, text: str, scope: CancelScope) -> None:
        with scope:
            await anyio.sleep(self._manner.settle_s)
            self._decide(self._consent.said(text))

    def _hold(self, run: Run, question: str) -> None:
        match self._consent.called(run, question, anyio.current_time()):
            case Ask():
                self._before = frozenset(self._turns)
                self._view.confirm(run, question)
                self._tasks.start_soon(self._expire)
                self._step(Returned(run.call_id, HELD.format(question), say=question))
            case Again(question=pending):
                self._refuse(run, AGAIN.format(pending))
            case Busy(question=pending):
                self._refuse(run, BUSY.format(pending))
            case Join():
                self._tasks.start_soon(self._join, run)

    def _refuse(self, run: Run, told: str) -> None:
        self._view.called(run, ToolResult(told, ok=False, seconds=0.0))
        self._step(Returned(run.call_id, told))

    def _decide(self, decision: Decision | None) -> None:
        """Run the call that the person agreed to, or let the model know that it is dropped.

        What the model makes of a yes or no by itself is not spoken: it does not know yet what comes of it.
        """
        if decision is None:
            return
        run, verdict = decision
        self._view.confirmed(run, yes=verdict == "agreed")
        if verdict in {"agreed", "refused"}:
            self._step(Interrupted())
        if verdict == "agreed":
            self._agreed, self._joined = _Work(run, self._tools.conduct(run.name)), 0
            self._start(self._agreed)
            return
        told = _news(_spoken(run), NOT_DONE.format(WHY[verdict]))
        self._view.called(run, ToolResult(told, ok=False, seconds=0.0))
        self._step(Reported(told))

    async def _expire(self) -> None:
        while (deadline := self._consent.deadline) is not None:
            await anyio.sleep_until(deadline)
            self._decide(self._consent.tick(anyio.current_time()))

    def _tell_agreed(self, work: _Work, result: ToolResult) -> None:
        """Tell the model what came of the call that the person agreed to, unless it waits for it in a call again."""
        self._consent.settled(work.run)
        if not self._joined:
            self._step(Reported(_news(_spoken(work.run), result.output), result.sources))

    async def _join(self, run: Run) -> None:
        """Answer a call with the result of the same call that was agreed to."""
        work = self._agreed
        if work is None:
            return
        self._joined += 1
        await work.over.wait()
        if work.result is not None:
            self._view.called(run, work.result)
            self._step(Returned(run.call_id, work.result.output, sources=work.result.sources))


def _question(run: Run, conduct: Conduct, words: Phrases) -> str:
    """Return what the person is asked before a call."""
    if isinstance(conduct.confirm, str):
        try:
            return conduct.confirm.format_map(_arguments(run))
        except (KeyError, ValueError, IndexError, AttributeError):
            return conduct.confirm
    return words.may_i.format(call=_spoken(run))


def _news(of: str, output: str) -> str:
    return NEWS.format(of, output.replace('"', "'"))


def _spoken(run: Run) -> str:
    """Return what a call does as words: "send money, amount 10, to Bob"."""
    name = run.name.replace("_", " ").replace("-", " ")
    return ", ".join([name, *(f"{key.replace('_', ' ')} {value}" for key, value in _arguments(run).items())])


def _arguments(run: Run) -> dict[str, Any]:
    given = decoded(run.arguments)
    return given if isinstance(given, dict) else {}
