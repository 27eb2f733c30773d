"""Tools with manners: one asks before it acts, one takes its time, one gives up when you speak. With --text you type.

"Order two apples." · "Bake me a cake." · "Look for durians."
"""

from __future__ import annotations

import sys

import anyio

import vivavoce

BAKING_S = 5.0


@vivavoce.tool(confirm="Shall I order {count} {item}?", examples=["order two apples"])
def order(item: str, count: int = 1) -> str:
    """Order fruit: it costs money, so the agent asks first, and a spoken yes or no decides."""
    return f"{count} {item} ordered"


@vivavoce.tool(long_running=True, examples=["bake me a cake"])
async def bake(what: str) -> str:
    """Bake something: the talk goes on meanwhile, and the agent tells when it is done."""
    await anyio.sleep(BAKING_S)
    return f"the {what} is ready"


@vivavoce.tool(cancel_on_interrupt=True, filler="Let me look around.", examples=["look for durians"])
async def look_for(item: str) -> str:
    """Look for fruit that is not in the shop: a few words bridge the time, and whoever interrupts ends it."""
    await anyio.sleep(3)
    return f"nobody has {item} today"


TOOLS = (order, bake, look_for)
INSTRUCTIONS = "You keep a fruit shop. Answer in one short sentence."

if __name__ == "__main__":
    vivavoce.talk(tools=TOOLS, instructions=INSTRUCTIONS, text="--text" in sys.argv)
