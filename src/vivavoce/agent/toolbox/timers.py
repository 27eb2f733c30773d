"""Timers: set, listed, cancelled; one that rings is told to the model, which tells the person."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator  # noqa: TC003 - the tool reads its annotations
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import anyio
from anyio import CancelScope

from vivavoce.agent.functions import FunctionTool, ToolError, tool
from vivavoce.agent.toolbox.spoken import length, seconds

if TYPE_CHECKING:
    from vivavoce.ports import Tool

LONGEST_S: Final = 86_400.0
_NOT_A_LABEL: Final = re.compile(r"\b(?:the|my|a|an|timer|alarm|for|таймер|для)\b", re.IGNORECASE)
MOST: Final = 20
"""At one time."""


@dataclass(eq=False)
class _Timer:
    duration: float
    label: str
    rings_at: float
    waiting: CancelScope = field(default_factory=CancelScope)

    @property
    def name(self) -> str:
        """Call it by its label and length."""
        return f"the {length(self.duration)} timer" + (f" for {self.label}" if self.label else "")


class Timers:
    """The timers of one conversation."""

    def __init__(self) -> None:
        self._running: list[_Timer] = []

    def tools(self) -> list[Tool]:
        """Return what the model may call."""
        made: list[FunctionTool[Any, Any]] = [
            tool(name="set_timer", examples=SET)(self.set),
            tool(name="list_timers", examples=LIST)(self.left),
            tool(name="cancel_timer", examples=CANCEL)(self.cancel),
        ]
        return list(made)

    async def set(self, duration: str, label: str | None = None) -> AsyncGenerator[str, None]:
        """Set a timer that rings after some time.

        Args:
            duration: How long, in words, such as 10 minutes or an hour and a half.
            label: What it is for, if the user says so, such as the pasta.
        """
        timer = self._begin(duration, label)
        try:
            yield f"Done: {timer.name} runs. It will ring by itself, and you will be told."
            with timer.waiting:
                await anyio.sleep_until(timer.rings_at)
            if not timer.waiting.cancelled_caught:
                yield f"{timer.name} rings now."
        finally:
            if timer in self._running:
                self._running.remove(timer)

    async def left(self) -> str:
        """Tell which timers are running and how much time is left on each."""
        return self._told()

    def _told(self) -> str:
        if not self._running:
            return "No timer is running."
        now = anyio.current_time()
        return "; ".join(f"{timer.name}: {length(timer.rings_at - now)} left" for timer in self._running)

    async def cancel(self, which: str | None = None) -> str:
        """Cancel a running timer, or all of them.

        Args:
            which: The timer's label or length, or all; leave it out where there is only one.
        """
        chosen = self._chosen(which)
        for timer in chosen:
            self._running.remove(timer)
            timer.waiting.cancel()
        return f"Cancelled: {', '.join(timer.name for timer in chosen)}."

    def _begin(self, duration: str, label: str | None) -> _Timer:
        told = seconds(duration)
        if not told:
            raise ToolError(f"{duration!r} is no length of time: ask the user how long the timer should run.")
        if told > LONGEST_S:
            raise ToolError("A timer runs for a day at most: say so.")
        if len(self._running) >= MOST:
            raise ToolError(f"{MOST} timers run already: ask the user which to cancel.")
        named = "" if seconds(label or "") else re.sub(_NOT_A_LABEL, "", label or "").strip()
        timer = _Timer(told, named, anyio.current_time() + told)
        self._running.append(timer)
        return timer

    def _chosen(self, which: str | None) -> list[_Timer]:
        if not self._running:
            raise ToolError("No timer is running.")
        wanted = (which or "").casefold().strip()
        if wanted in {"all", "every", "all timers", "все"}:
            return self._running.copy()
        duration = seconds(wanted) if wanted else None
        fitting = [
            timer
            for timer in self._running
            if (duration is not None and timer.duration == duration)
            or (timer.label and wanted and (timer.label.casefold() in wanted or wanted in timer.label.casefold()))
        ]
        if not fitting and len(self._running) == 1:
            fitting = self._running.copy()
        if len(fitting) != 1:
            raise ToolError(f"Ask the user which timer is meant: {self._told()}")
        return fitting


SET: Final = (
    "Set a timer for ten minutes.",
    "Start a five minute timer for the eggs.",
    "Time an hour and a half.",
    "Ring in thirty seconds.",
    "Let me know when twenty minutes are over.",
    "Count down ninety seconds.",
    "Поставь таймер на десять минут.",
)
LIST: Final = (
    "How much time is left on the timer?",
    "Which timers are running?",
    "List my timers.",
    "When does the timer ring?",
    "Is there a timer running?",
    "Сколько осталось на таймере?",
)
CANCEL: Final = (
    "Cancel the timer.",
    "Stop the pasta timer.",
    "Delete all timers.",
    "Turn off the ten minute timer.",
    "I don't need the timer any more.",
    "Отмени таймер.",
)
