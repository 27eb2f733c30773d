"""Tools of the agent: what the model may call, how calls are run, and what comes of them."""

from __future__ import annotations

import logging
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import anyio
import msgspec

from vivavoce import plugins
from vivavoce.agent.functions import Found, FunctionTool, ToolError, plain, tool
from vivavoce.realtime import values

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

    from vivavoce.ports import Tool

__all__ = ["Conduct", "Found", "FunctionTool", "Streaming", "ToolError", "ToolResult", "Toolbox", "load_tools", "tool"]

LONGEST = 8_000
"""Characters of a result that the model is told: more is slow to read and drowns the conversation."""
STARTED = "Started. It takes a while: the result will be reported here when it is there. Do not call it again."

_log = logging.getLogger(__name__)


class Conduct(msgspec.Struct, frozen=True, kw_only=True):
    """How the calls of a tool are run; a tool says so by attributes of these names."""

    cancel_on_interrupt: bool = False
    """Whether a call ends when the person interrupts."""
    long_running: bool = False
    """Whether a call returns at once and its result is reported later, across turns."""
    filler: str | None = None
    """Said where a call is slow: None for the agent's usual words, empty for silence."""
    confirm: bool | str = False
    """Whether a person must agree to each call; a text is the question, with arguments in braces."""


@runtime_checkable
class Streaming(Protocol):
    """A tool that returns more than text, or more than once."""

    def outcomes(self, arguments: dict[str, Any]) -> AsyncGenerator[Found, None]:
        """Run, and yield what the model is told: the first is the call's result, later ones are news."""
        ...


class ToolResult(msgspec.Struct, frozen=True):
    """What came of a call."""

    output: str
    """What the model is told; a JSON object with the key `error` where the call failed."""
    ok: bool
    seconds: float
    sources: tuple[values.Source, ...] = ()
    """Where the output has something from."""


class Toolbox:
    """The tools of one agent, by name."""

    def __init__(self, tools: Iterable[Tool | Callable[..., Any]] = ()) -> None:
        self._tools: dict[str, Tool] = {}
        for each in tools:
            self.add(each)

    def __len__(self) -> int:
        return len(self._tools)

    def __contains__(self, name: object) -> bool:
        return name in self._tools

    def add(self, new: Tool | Callable[..., Any]) -> None:
        """Add a tool, or a typed function as one.

        Raises:
            TypeError: it is neither.
            ValueError: there is a tool of that name already.
        """
        fitting = as_tool(new)
        if fitting.name in self._tools:
            raise ValueError(f"There are two tools called {fitting.name!r}: rename one with @tool(name=...).")
        self._tools[fitting.name] = fitting

    def definitions(self) -> list[values.FunctionTool]:
        """Return the tools as the session describes them to the model."""
        return [
            values.FunctionTool(name=each.name, description=each.description, parameters=each.parameters)
            for each in self._tools.values()
        ]

    def conduct(self, name: str) -> Conduct:
        """Return how the calls of a tool are run."""
        told = self._tools.get(name)
        chosen = {field: getattr(told, field) for field in Conduct.__struct_fields__ if hasattr(told, field)}
        return Conduct(**chosen)

    async def run(self, name: str, arguments_json: str) -> ToolResult:
        """Run one call up to its first result; whatever goes wrong becomes a result that tells the model so."""
        async with aclosing(self.results(name, arguments_json)) as results:
            return await anext(results)

    async def results(self, name: str, arguments_json: str) -> AsyncGenerator[ToolResult, None]:
        """Run one call; yield its result, and for what runs long the news that come later.

        Whatever goes wrong becomes a result that tells the model so.
        """
        start, output = time.perf_counter(), None
        try:
            called, arguments = self._fit(name, arguments_json)
            async with aclosing(self._outcomes(called, arguments)) as outcomes:
                async for found in outcomes:
                    seconds = time.perf_counter() - start
                    yield ToolResult(_clip(str(found.output)), ok=True, seconds=seconds, sources=found.sources)
        except ToolError as wrong:
            output = _error(str(wrong))
        except (Exception, SystemExit) as failed:  # noqa: BLE001 - a tool may do anything, and the talk goes on
            _log.exception("The tool %r failed", name)
            output = _error(f"{name} failed: {type(failed).__name__}: {failed}")
        if output is not None:
            yield ToolResult(output, ok=False, seconds=time.perf_counter() - start)

    def _fit(self, name: str, arguments_json: str) -> tuple[Tool, dict[str, Any]]:
        called = self._tools.get(name)
        if called is None:
            raise ToolError(f"There is no tool {name!r}; there are: {', '.join(self._tools) or 'none'}")
        try:
            return called, msgspec.json.decode(arguments_json.strip() or "{}", type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeEncodeError) as wrong:
            raise ToolError(f"The arguments of {name} are not a JSON object: {plain(str(wrong))}") from wrong

    async def _outcomes(self, called: Tool, arguments: dict[str, Any]) -> AsyncGenerator[Found, None]:
        """Yield what a tool finds; only the call itself has a time limit, not what it tells later."""
        limit: float | None = called.timeout
        if self.conduct(called.name).long_running:
            limit = None
            yield Found(STARTED)
        outcomes = called.outcomes(arguments) if isinstance(called, Streaming) else _once(called, arguments)
        async with aclosing(outcomes):
            while True:
                with anyio.move_on_after(limit) as patience:
                    found = await anext(outcomes, None)
                if patience.cancelled_caught:
                    _log.warning("The tool %r was given up after %g s", called.name, called.timeout)
                    raise ToolError(f"{called.name} did not answer within {called.timeout:g} seconds")
                if found is None and limit is not None:
                    raise ToolError(f"{called.name} ended without a result")
                if found is None:
                    return
                yield found
                limit = None


async def _once(called: Tool, arguments: dict[str, Any]) -> AsyncGenerator[Found, None]:
    yield Found(await called(arguments))


def as_tool(candidate: Any) -> Tool:
    """Return a tool as it is, and a typed function as one.

    Raises:
        TypeError: it is neither.
    """
    if all(hasattr(candidate, name) for name in ("name", "description", "parameters", "timeout")):
        return candidate  # type: ignore[no-any-return]
    if callable(candidate) and not isinstance(candidate, type):
        return FunctionTool(candidate)
    raise TypeError(f"{candidate!r} is no tool: write a typed function, or decorate one with @tool.")


def load_tools(path: str) -> list[Tool]:
    """Return what "module:name" names: a tool, a function, or a list of either.

    Raises:
        PluginError: it is not there, or cannot be a tool.
    """
    found = plugins.load_object(path)
    try:
        return [as_tool(each) for each in (found if isinstance(found, list | tuple) else [found])]
    except TypeError as wrong:
        raise plugins.PluginError(f"{path!r} cannot be used: {wrong}") from wrong


def _clip(text: str) -> str:
    """Cut what is too long, and replace what UTF-8 cannot carry."""
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}\n[cut here: {len(text) - LONGEST:,} of {len(text):,} characters left out]"
    return text.encode("utf-8", "replace").decode()


def _error(message: str) -> str:
    return msgspec.json.encode({"error": _clip(message)}).decode()
