"""Servers of tools (Model Context Protocol) as sources of the agent's tools: programs, and servers on the network.

Each server has a task of its own that connects, and connects again when the server has gone. A server that is away
fails the calls of its tools, honestly, and nothing else.
"""

from __future__ import annotations

import logging
import os
import random
import re
import shlex
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
from anyio import create_task_group, fail_after, move_on_after, to_thread

from vivavoce import mcp_link
from vivavoce.agent.functions import ToolError
from vivavoce.config import ConfigError, McpServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence
    from contextlib import AbstractAsyncContextManager

    from mcp import Client

    from vivavoce.ports import Tool
    from vivavoce.realtime.values import RemoteTool

LISTING_S: Final = 10.0
"""Time to connect and to be told the tools; a talk begins without a server that takes longer."""
CALLING_S: Final = 30.0
"""Time for a tool to return."""
RETURN_S: Final = 5.0
"""Time for a server that has gone to come back before a call fails."""
BEAT_S: Final = 10.0
"""How often a server is asked whether it is still there."""
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 30.0
"""Between attempts to reach a server that is away."""

_NAME_LENGTH: Final = 64
_log = logging.getLogger(__name__)


class Source:
    """One server, connected by the one task that holds it."""

    def __init__(self, server: McpServer) -> None:
        self.server = server
        self.name = server.name or _name(server)
        self.tools: tuple[RemoteTool, ...] = ()
        self.failure = "it took too long"
        self.listed = anyio.Event()
        """The first attempt is over."""
        self._client: Client | None = None
        self._back = anyio.Event()
        self._lost = anyio.Event()

    @property
    def listed_tools(self) -> bool:
        """Tell whether the server has told its tools."""
        return bool(self.tools)

    async def hold(self) -> None:
        """Stay connected until cancelled."""
        pause = FIRST_PAUSE_S
        while True:
            try:
                with fail_after(LISTING_S) as patience:
                    async with AsyncExitStack() as stack:
                        client = await self._connect(stack)
                        pause, patience.deadline = FIRST_PAUSE_S, float("inf")
                        await self._watch(client)
            except Exception as wrong:  # noqa: BLE001 - the other side may do anything
                self.failure = self._failure(wrong)
                _log.info("the server of tools %s is away: %s", self.name, self.failure)
            self.listed.set()
            await anyio.sleep(pause * random.uniform(0.75, 1.25))  # noqa: S311 - spreads attempts, hides nothing
            pause = min(2 * pause, LONGEST_PAUSE_S)

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        """Run a tool and return what it says.

        Raises:
            ToolError: the server is away, or the tool fails.
        """
        with move_on_after(RETURN_S):
            await self._back.wait()
        if self._client is None:
            raise ToolError(f"{self.name}, which has this tool, cannot be reached now: say so.")
        try:
            result = await self._client.call_tool(name, arguments)
        except Exception as wrong:
            if mcp_link.is_broken(wrong):
                self._away()
                self._lost.set()
                raise ToolError(f"{self.name} broke off; whether {name} was done is not known: say so.") from wrong
            raise ToolError(f"{name} failed: {mcp_link.innermost(wrong)}") from wrong
        said = mcp_link.text_of(result)
        if result.is_error:
            raise ToolError(said or f"{name} failed without a word.")
        return said

    async def _connect(self, stack: AsyncExitStack) -> Client:
        client = await stack.enter_async_context(self._dial(stack))
        self.tools = await mcp_link.tools_of(client)
        self._client = client
        self._back.set()
        self.listed.set()
        return client

    async def _watch(self, client: Client) -> None:
        """Wait until the connection is of no use any more."""
        self._lost = anyio.Event()
        try:
            while not self._lost.is_set():
                with move_on_after(BEAT_S):
                    await self._lost.wait()
                if self.server.command is not None and not self._lost.is_set():
                    with fail_after(BEAT_S):
                        await mcp_link.beat(client)
        finally:
            self._away()

    def _away(self) -> None:
        """Let calls wait for the connection to come back."""
        self._client = None
        if self._back.is_set():
            self._back = anyio.Event()

    def _dial(self, stack: AsyncExitStack) -> AbstractAsyncContextManager[Client]:
        if self.server.url is not None:
            return mcp_link.dial(self.server.url, self.server.headers)
        from mcp import Client, StdioServerParameters, stdio_client

        quiet = stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        program, *arguments = shlex.split(str(self.server.command))
        parameters = StdioServerParameters(command=program, args=arguments, env=self.server.env)
        return Client(stdio_client(parameters, errlog=quiet))

    def _failure(self, wrong: Exception) -> str:
        """Name an error without an address or a header, in which there may be credentials."""
        wrong = mcp_link.innermost(wrong)
        if isinstance(wrong, FileNotFoundError):
            return f"there is no program {shlex.split(str(self.server.command))[0]!r}"
        if self.server.command is not None and getattr(wrong, "code", None) == mcp_link.CONNECTION_CLOSED:
            return "the program ended; run it by itself to see why"
        return "it took too long" if isinstance(wrong, TimeoutError) else type(wrong).__name__


class SourceTool:
    """A tool of a server (port `Tool`)."""

    def __init__(self, source: Source, told: RemoteTool, name: str) -> None:
        self.name = name
        self.description = told.description or ""
        self.parameters = told.input_schema
        self.timeout = CALLING_S
        annotations = told.annotations if isinstance(told.annotations, dict) else {}
        asks = {"always": True, "never": False, "destructive": annotations.get("destructiveHint") is True}
        self.confirm = asks[source.server.confirm]
        self._source = source
        self._its_name = told.name

    async def __call__(self, arguments: dict[str, Any]) -> str:
        """Run it.

        Raises:
            ToolError: the server is away, or the tool fails.
        """
        return await self._source.call(self._its_name, arguments)


@asynccontextmanager
async def open_sources(servers: Sequence[McpServer]) -> AsyncIterator[list[Source]]:
    """Hold a connection to each server; all are given a bounded time to tell their tools.

    Raises:
        ConfigError: the package that is needed is not installed.
    """
    sources = [Source(server) for server in servers]
    if not sources:
        yield []
        return
    try:
        await to_thread.run_sync(mcp_link.load)
    except ModuleNotFoundError:
        raise ConfigError('Servers of tools need a package that is missing: pip install "vivavoce[mcp]"') from None
    failed: Exception | None = None
    async with create_task_group() as tasks:
        for source in sources:
            tasks.start_soon(source.hold)
        with move_on_after(LISTING_S):
            for source in sources:
                await source.listed.wait()
        try:
            yield sources
        except Exception as error:  # noqa: BLE001 - raised again outside the group, which would wrap it
            failed = error
        tasks.cancel_scope.cancel()
    if failed is not None:
        raise failed


def tools_of(sources: Iterable[Source], taken: Iterable[str] = ()) -> list[Tool]:
    """Return the tools that servers offer; only a name that is taken is changed."""
    names = set(taken)
    tools: list[Tool] = []
    for source in sources:
        for told in source.tools:
            if source.server.tools is not None and told.name not in source.server.tools:
                continue
            name = _free(_speakable(told.name), _speakable(f"{source.name}_{told.name}"), names)
            names.add(name)
            tools.append(SourceTool(source, told, name))
    return tools


def _free(name: str, longer: str, taken: set[str]) -> str:
    if name not in taken:
        return name
    number, wanted = 2, longer
    while wanted in taken:
        wanted = f"{longer[: _NAME_LENGTH - 4]}_{number}"
        number += 1
    return wanted


def _speakable(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:_NAME_LENGTH] or "tool"


def _name(server: McpServer) -> str:
    """Name a server that was given none: by its host, or by its program."""
    if server.url is not None:
        return re.sub(r"^\w+://([^/?#@]*@)?", "", server.url).partition("/")[0]
    words = shlex.split(str(server.command))
    return os.path.basename(words[-1] if words else "tools").partition(".")[0]  # noqa: PTH119 - no path, a word
