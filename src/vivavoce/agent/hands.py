"""What the model does in the world: its calls, each in a scope of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vivavoce.realtime.client import Returned

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskGroup

    from vivavoce.agent.agent import View
    from vivavoce.agent.tools import Toolbox
    from vivavoce.realtime.client import Input, Run, Stop


class Hands:
    """Runs the calls of one conversation, side by side."""

    def __init__(self, tools: Toolbox, view: View, step: Callable[[Input], None]) -> None:
        """Get ready.

        Args:
            tools: what may be called.
            view: shown each call and its result.
            step: told what came of each call.
        """
        self._tools = tools
        self._view = view
        self._step = step

    def run(self, run: Run, tasks: TaskGroup) -> None:
        """Start a call."""
        self._view.calling(run)
        tasks.start_soon(self._call, run)

    def stop(self, stop: Stop) -> None:
        """Take that the person interrupted while calls ran."""

    def confirm(self, *, yes: bool) -> None:
        """Answer the call that waits for the person's consent, if one does."""

    async def _call(self, run: Run) -> None:
        result = await self._tools.run(run.name, run.arguments)
        self._view.called(run, result)
        self._step(Returned(run.call_id, result.output))
