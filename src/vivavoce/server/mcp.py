"""Talks to remote servers of tools (Model Context Protocol) for one session: streamable HTTP, or HTTP with SSE."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import anyio
import msgspec
from anyio import CancelScope, fail_after, to_thread
from msgspec import UNSET

from vivavoce.realtime.facts import Listed, Returned
from vivavoce.realtime.values import McpHttpError, McpProtocolError, McpToolError, RemoteTool

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    import httpx2
    from anyio.abc import TaskGroup
    from mcp import Client
    from mcp.types import CallToolResult

    from vivavoce.realtime.facts import CallTool, ListTools
    from vivavoce.realtime.values import McpError, McpTool

LISTING_S: Final = 10.0
"""Time to connect and to be told the tools."""
CALLING_S: Final = 30.0
"""Time for a tool to return."""
MAX_TOOLS: Final = 128
"""Of one server; what is beyond them is left out."""

_MAX_PAGES: Final = 16
_CONNECT_S: Final = 5.0
_CONNECTION_CLOSED: Final = -32000
"""Code of JSON-RPC for a connection that broke."""

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
                tools = await _tools(connection.client)
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
            if status is not None or _broken(wrong):
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
                await to_thread.run_sync(_load)
                async with AsyncExitStack() as stack:
                    self._client = await self._open(server, stack)
                    self.settled.set()
                    await anyio.sleep_forever()
            except Exception as wrong:  # noqa: BLE001 - the other side may do anything
                self.failure = _innermost(wrong)
        self._client = None
        self.failure = self.failure or ConnectionError("the connection is closed")
        self.settled.set()

    async def _open(self, server: McpTool, stack: AsyncExitStack) -> Client:
        from mcp import Client
        from mcp.client.streamable_http import streamable_http_client

        url = str(server.server_url)
        if not url.partition("?")[0].endswith("/sse"):
            http = await stack.enter_async_context(self._http(_headers(server)))
            try:
                return await stack.enter_async_context(Client(streamable_http_client(url, http_client=http)))
            except Exception:
                if self.status not in {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}:
                    raise
        return await stack.enter_async_context(Client(self._sse(url, server)))

    def _sse(self, url: str, server: McpTool) -> AbstractAsyncContextManager[Any]:
        from mcp.client.sse import sse_client

        def http(headers: Any = None, timeout: Any = None, auth: Any = None) -> httpx2.AsyncClient:  # noqa: ARG001
            return self._http(headers)

        return sse_client(url, headers=_headers(server), httpx_client_factory=http)

    def _http(self, headers: dict[str, str] | None) -> httpx2.AsyncClient:
        import httpx2

        timeout = httpx2.Timeout(_CONNECT_S, read=None)
        return httpx2.AsyncClient(headers=headers, timeout=timeout, event_hooks={"response": [self._note]})

    async def _note(self, response: httpx2.Response) -> None:
        if response.status_code >= HTTPStatus.BAD_REQUEST:
            self.status = response.status_code


def _load() -> None:
    """Import what takes a second, away from the event loop."""
    import_module("mcp")
    import_module("mcp.client.sse")


async def _tools(client: Client) -> tuple[RemoteTool, ...]:
    tools: list[RemoteTool] = []
    cursor: str | None = None
    for _ in range(_MAX_PAGES):
        page = await client.list_tools(cursor=cursor)
        for tool in page.tools:
            annotations = tool.annotations.model_dump(by_alias=True, exclude_none=True) if tool.annotations else UNSET
            tools.append(
                RemoteTool(
                    name=tool.name,
                    description=tool.description or "",
                    input_schema=tool.input_schema,
                    annotations=annotations,
                )
            )
        cursor = page.next_cursor
        if not cursor or len(tools) >= MAX_TOOLS:
            break
    return tuple(tools[:MAX_TOOLS])


def _returned(item_id: str, result: CallToolResult) -> Returned:
    said = "\n".join(filter(None, map(_said, result.content)))
    if not said and result.structured_content is not None:
        said = msgspec.json.encode(result.structured_content).decode()
    if result.is_error:
        return Returned(item_id, error=McpToolError(message=said or "The tool failed without a word."))
    return Returned(item_id, said)


def _said(block: Any) -> str:
    """Return what a part of a result says; what is not text is named."""
    match block.type:
        case "text":
            return str(block.text)
        case "resource":
            return str(getattr(block.resource, "text", f"[resource: {block.resource.uri}]"))
        case "resource_link":
            return f"[resource: {block.uri}]"
        case kind:
            return f"[{kind}: {block.mime_type}]"


def _error(wrong: Exception, name: str, status: int | None) -> McpError:
    from mcp import MCPError

    wrong = _innermost(wrong)
    if isinstance(wrong, TimeoutError):
        return McpToolError(message=f"{name} did not return within {CALLING_S:.0f} seconds.")
    if status is not None:
        return McpHttpError(code=status, message=_phrase(status))
    if isinstance(wrong, MCPError):
        return McpProtocolError(code=wrong.code, message=wrong.message)
    return McpProtocolError(code=_CONNECTION_CLOSED, message="The remote server cannot be reached.")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "The remote server refused the request."


def _broken(wrong: Exception) -> bool:
    from mcp import MCPError

    wrong = _innermost(wrong)
    return wrong.code == _CONNECTION_CLOSED if isinstance(wrong, MCPError) else not isinstance(wrong, TimeoutError)


def _innermost(wrong: Exception) -> Exception:
    """Return the error in a group of one, as task groups wrap it."""
    while isinstance(wrong, ExceptionGroup):
        wrong = wrong.exceptions[0]
    return wrong


def _name(wrong: Exception) -> str:
    """Name an error without its text, in which there may be an address with credentials."""
    if isinstance(wrong, ModuleNotFoundError):
        return "the package 'mcp' is not installed; run: pip install 'vivavoce[server]'"
    return type(_innermost(wrong)).__name__


def _headers(server: McpTool) -> dict[str, str]:
    headers = dict(server.headers) if isinstance(server.headers, dict) else {}
    if isinstance(server.authorization, str) and server.authorization:
        headers["Authorization"] = f"Bearer {server.authorization}"
    return headers


def _key(server: McpTool) -> bytes:
    """Return what makes a connection what it is."""
    return msgspec.json.encode([server.server_url, _headers(server)])
