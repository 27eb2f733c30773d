"""A server of tools on standard input and output, in a process of its own."""

from __future__ import annotations

import os
import sys

from mcp.server import MCPServer
from mcp.types import ToolAnnotations

server = MCPServer("shed", log_level="ERROR")


@server.tool(annotations=ToolAnnotations(destructive_hint=True))
def wipe(path: str) -> str:
    """Wipe a file."""
    return f"{path} is wiped"


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def who() -> str:
    """Tell the process."""
    print("noise for the terminal", file=sys.stderr, flush=True)  # noqa: T201
    return f"{os.getpid()} {os.environ.get('COLOUR')}"


@server.tool()
def calculator(question: str) -> str:
    """Calculate, badly."""
    raise ValueError(f"{question} is hard.")


@server.tool()
def die() -> str:
    """End the process."""
    os._exit(3)


if __name__ == "__main__":
    server.run("stdio")
