"""Talks to remote servers of tools (Model Context Protocol) for one session: streamable HTTP, or HTTP with SSE."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import anyio
import msgspec
from anyio import CancelScope, fail_after, to_thread

from vivavoce.mcp_link import CONNECTION_CLOSED, dial, innermost, is_broken, load, text_of, tools_of
from vivavoce.realtime.facts import Listed, Returned
from vivavoce.realtime.values import McpHttpError, McpProtocolError, McpToolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskGroup
    from mcp import Client
    from mcp.types import CallToolResult

    from vivavoce.realtime.facts import CallTool, ListTools
    from vivavoce.realtime.values import McpError, McpTool, RemoteTool

LISTING_S: Final = 10.0
"""Time to connect and to be told the tools."""
CALLING_S: Final = 30.0
"""Time for a tool to return."""

log = logging.getLogger("vivavoce.server")


class RemoteServers:
    """The remote servers that one session uses, each over one connection."""

    def __init__(self, tell: Callable[[Listed | Returned], object]) -> None:
        """Begin without any connection; `tell` is told what servers and tools say."""
        self._tell = tell
        self._connections: dict[bytes, _Connection] = {}

    async def list_tools(self, command: ListTools, tasks: TaskGroup) -> None:
        """Ask a server for its tools and tell them; whatever goes wrong, the answer is that there are none."""
        tools: tuple[RemoteTool, ...] | None = None
        try:
            with fail_after(LISTING_S):
                connection = await self._connected(command.server, tasks)
                tools = await tools_of(connection.client)
        except Exception as wrong:  # noqa: BLE001 - the other side may do anything
            self._drop(command.server)
            log.info("the tools of the remote server %s are unknown: %s", command.server.server_label, _name(wrong))
        self._tell(Listed(command.item_id, tools))

    async def call_tool(self, command: CallTool, tasks: TaskGroup) -> None:
        """Run a tool and tell what it returns, or how it failed."""
        returned = Returned(command.item_id, error=McpToolError(message=f"{command.name} broke."))
        try:
            with fail_after(CALLING_S):
                connection = await self._connected(command.server, tasks)
                connection.status = None
                result = await connection.client.call_tool(command.name, command.arguments)
            returned = _returned(command.item_id, result)
        except Exception as wrong:  # noqa: BLE001 - the other side may do anything
            status = self._status(command.server)
            returned = Returned(command.item_id, error=_error(wrong, command.name, status))
            if status is not None or is_broken(wrong):
                self._drop(command.server)
        self._tell(returned)

    async def _connected(self, server: McpTool, tasks: TaskGroup) -> _Connection:
        connection = self._connections.get(_key(server))
        if connection is None:
            connection = self._connections[_key(server)] = _Connection()
            tasks.start_soon(connection.hold, server)
        await connection.settled.wait()
        if connection.failure is not None:
            raise connection.failure
        return connection

    def _status(self, server: McpTool) -> int | None:
        connection = self._connections.get(_key(server))
        return connection.status if connection else None

    def _drop(self, server: McpTool) -> None:
        """Close a connection that is of no use any more; the next request opens another."""
        if connection := self._connections.pop(_key(server), None):
            connection.scope.cancel()


@dataclass
class _Connection:
    """A connection to a remote server, entered and left by the one task that holds it."""

    scope: CancelScope = field(default_factory=CancelScope)
    settled: anyio.Event = field(default_factory=anyio.Event)
    failure: Exception | None = None
    status: int | None = None
    """HTTP status of the latest refusal."""
    _client: Client | None = None

    @property
    def client(self) -> Client:
        """Return the client of a connection that is open."""
        if self._client is None:
            raise ConnectionError("the connection is closed")
        return self._client

    async def hold(self, server: McpTool) -> None:
        """Connect, and stay so until the scope is cancelled."""
        with self.scope:
            try:
                await to_thread.run_sync(load)
                async with AsyncExitStack() as stack:
                    opening = dial(str(server.server_url), _headers(server), self._note)
                    self._client = await stack.enter_async_context(opening)
                    self.settled.set()
                    await anyio.sleep_forever()
            except Exception as wrong:  # noqa: BLE001 - the other side may do anything
                self.failure = innermost(wrong)
        self._client = None
        self.failure = self.failure or ConnectionError("the connection is closed")
        self.settled.set()

    def _note(self, status: int) -> None:
        self.status = status


def _returned(item_id: str, result: CallToolResult) -> Returned:
    said = text_of(result)
    if result.is_error:
        return Returned(item_id, error=McpToolError(message=said or "The tool failed without a word."))
    return Returned(item_id, said)


def _error(wrong: Exception, name: str, status: int | None) -> McpError:
    from mcp import MCPError

    wrong = innermost(wrong)
    if isinstance(wrong, TimeoutError):
        return McpToolError(message=f"{name} did not return within {CALLING_S:.0f} seconds.")
    if status is not None:
        return McpHttpError(code=status, message=_phrase(status))
    if isinstance(wrong, MCPError):
        return McpProtocolError(code=wrong.code, message=wrong.message)
    return McpProtocolError(code=CONNECTION_CLOSED, message="The remote server cannot be reached.")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "The remote server refused the request."


def _name(wrong: Exception) -> str:
    """Name an error without its text, in which there may be an address with credentials."""
    if isinstance(wrong, ModuleNotFoundError):
        return "the package 'mcp' is not installed; run: pip install 'vivavoce[server]'"
    return type(innermost(wrong)).__name__


def _headers(server: McpTool) -> dict[str, str]:
    headers = dict(server.headers) if isinstance(server.headers, dict) else {}
    if isinstance(server.authorization, str) and server.authorization:
        headers["Authorization"] = f"Bearer {server.authorization}"
    return headers


def _key(server: McpTool) -> bytes:
    """Return what makes a connection what it is."""
    return msgspec.json.encode([server.server_url, _headers(server)])
