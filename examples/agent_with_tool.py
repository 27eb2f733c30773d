"""An agent with a tool: ask "How many apples are left?". With --text you type."""

from __future__ import annotations

import sys

import vivavoce


@vivavoce.tool(examples=["how many apples are left", "do you still have pears"])
def in_stock(item: str) -> int:
    """Tell how many pieces of a kind of fruit are in stock."""
    return {"apple": 3, "pear": 0}.get(item.lower().removesuffix("s"), 0)


if __name__ == "__main__":
    instructions = "You keep a fruit shop. Answer in one short sentence."
    vivavoce.talk(tools=[in_stock], text="--text" in sys.argv, instructions=instructions)
