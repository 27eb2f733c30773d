"""Servers of tools (Model Context Protocol), as agent and server reach them: connections, lists of tools, results."""

from __future__ import annotations

import logging
import warnings
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET

from vivavoce.realtime.values import RemoteTool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    import httpx2
    from mcp import Client
    from mcp.types import CallToolResult

MAX_TOOLS: Final = 128
"""Of one server; what is beyond them is left out."""
CONNECTION_CLOSED: Final = -32000
"""Code of JSON-RPC for a connection that broke."""

_MAX_PAGES: Final = 16
_CONNECT_S: Final = 5.0


def load() -> None:
    """Import what takes a second.

    Raises:
        ModuleNotFoundError: the package `mcp` is not installed.
    """
    logging.getLogger("mcp").addHandler(logging.NullHandler())  # else it writes what servers do wrong to the terminal
    import_module("mcp")
    import_module("mcp.client.sse")
    warnings.filterwarnings("ignore", "ping is removed")  # `beat` takes the refusal of newer servers for an answer


@asynccontextmanager
async def dial(
    url: str, headers: Mapping[str, str] | None = None, refused: Callable[[int], object] = lambda _: None
) -> AsyncIterator[Client]:
    """Connect to a server by streamable HTTP, or where it does not know that, by HTTP with SSE.

    Args:
        url: of the server.
        headers: sent with each request.
        refused: told the HTTP status of each refusal.
    """
    from mcp import Client

    statuses: list[int] = []

    def note(status: int) -> None:
        statuses.append(status)
        refused(status)

    async with AsyncExitStack() as stack:
        if not url.partition("?")[0].endswith("/sse"):
            try:
                client = await _streamable(stack, url, headers, note)
            except Exception:
                if not {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}.intersection(statuses[-1:]):
                    raise
            else:
                yield client
                return
        yield await stack.enter_async_context(Client(_sse(url, headers, note)))


async def _streamable(
    stack: AsyncExitStack, url: str, headers: Mapping[str, str] | None, note: Callable[[int], object]
) -> Client:
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

    http = await stack.enter_async_context(_http(headers, note))
    return await stack.enter_async_context(Client(streamable_http_client(url, http_client=http)))


def _sse(url: str, headers: Mapping[str, str] | None, note: Callable[[int], object]) -> Any:
    from mcp.client.sse import sse_client

    def http(headers: Any = None, timeout: Any = None, auth: Any = None) -> httpx2.AsyncClient:  # noqa: ARG001
        return _http(headers, note)

    return sse_client(url, headers=dict(headers or {}), httpx_client_factory=http)


def _http(headers: Mapping[str, str] | None, note: Callable[[int], object]) -> httpx2.AsyncClient:
    import httpx2

    async def told(response: httpx2.Response) -> None:
        if response.status_code >= HTTPStatus.BAD_REQUEST:
            note(response.status_code)

    timeout = httpx2.Timeout(_CONNECT_S, read=None)
    return httpx2.AsyncClient(headers=dict(headers or {}), timeout=timeout, event_hooks={"response": [told]})


async def tools_of(client: Client) -> tuple[RemoteTool, ...]:
    """Ask a server for its tools."""
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


def text_of(result: CallToolResult) -> str:
    """Return what a tool returned as text."""
    said = "\n".join(filter(None, map(_said, result.content)))
    if not said and result.structured_content is not None:
        return msgspec.json.encode(result.structured_content).decode()
    return said


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


async def beat(client: Client) -> None:
    """Wait for a sign of life; that a server knows no ping, as from protocol 2026-07-28 on, is one.

    Raises:
        MCPError: the connection is broken.
    """
    from mcp import MCPError

    try:
        await client.send_ping()
    except MCPError as refused:
        if is_broken(refused):
            raise


def is_broken(wrong: Exception) -> bool:
    """Tell whether an error means that the connection is of no use any more."""
    from mcp import MCPError

    wrong = innermost(wrong)
    return wrong.code == CONNECTION_CLOSED if isinstance(wrong, MCPError) else not isinstance(wrong, TimeoutError)


def innermost(wrong: Exception) -> Exception:
    """Return the error in a group of one, as task groups wrap it."""
    while isinstance(wrong, ExceptionGroup):
        wrong = wrong.exceptions[0]
    return wrong
