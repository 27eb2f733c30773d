"""A real-time voice agent, and the Realtime server behind it.

import vivavoce

@vivavoce.tool
def in_stock(item: str) -> int:
    \"\"\"Tell how many of an item are in stock.\"\"\"
    return {"apples": 3, "pears": 0}.get(item, 0)

vivavoce.talk(tools=[in_stock], instructions="You keep a fruit shop. Answer in one short sentence.")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vivavoce.agent.agent import Agent
    from vivavoce.agent.connection import connect
    from vivavoce.agent.conversation import Called, Confirm, Confirmed, Conversation, Event, Note, Said, StateChanged
    from vivavoce.agent.pulled import PulledSpeaker
    from vivavoce.agent.tools import Toolbox, tool
    from vivavoce.agent.view import SoundCounts
    from vivavoce.api import converse, embedded, serve, talk
    from vivavoce.compose import in_process
    from vivavoce.config import Settings
    from vivavoce.errors import VivavoceError
    from vivavoce.realtime.client import Cite, Report, Run, Show, Warn

__all__ = [
    "Agent",
    "Called",
    "Cite",
    "Confirm",
    "Confirmed",
    "Conversation",
    "Event",
    "Note",
    "PulledSpeaker",
    "Report",
    "Run",
    "Said",
    "Settings",
    "Show",
    "SoundCounts",
    "StateChanged",
    "Toolbox",
    "VivavoceError",
    "Warn",
    "connect",
    "converse",
    "embedded",
    "in_process",
    "serve",
    "talk",
    "tool",
]

_HOMES = {
    "Agent": "vivavoce.agent.agent",
    "Called": "vivavoce.agent.conversation",
    "Cite": "vivavoce.realtime.client",
    "Confirm": "vivavoce.agent.conversation",
    "Confirmed": "vivavoce.agent.conversation",
    "Conversation": "vivavoce.agent.conversation",
    "Event": "vivavoce.agent.conversation",
    "Note": "vivavoce.agent.conversation",
    "PulledSpeaker": "vivavoce.agent.pulled",
    "Report": "vivavoce.realtime.client",
    "Run": "vivavoce.realtime.client",
    "Said": "vivavoce.agent.conversation",
    "Settings": "vivavoce.config",
    "Show": "vivavoce.realtime.client",
    "SoundCounts": "vivavoce.agent.view",
    "StateChanged": "vivavoce.agent.conversation",
    "Toolbox": "vivavoce.agent.tools",
    "VivavoceError": "vivavoce.errors",
    "Warn": "vivavoce.realtime.client",
    "connect": "vivavoce.agent.connection",
    "converse": "vivavoce.api",
    "embedded": "vivavoce.api",
    "in_process": "vivavoce.compose",
    "serve": "vivavoce.api",
    "talk": "vivavoce.api",
    "tool": "vivavoce.agent.tools",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `import vivavoce` stays quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'vivavoce' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
