"""The dialect of one connection: a mapping between what the client says and the events that a session understands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from vivavoce.realtime.dialects import to_ga
from vivavoce.realtime.events import AnyServerEvent, encode

if TYPE_CHECKING:
    from collections.abc import Iterable

BOTH: Final = frozenset({"text", "audio"})
"""Modalities that GA does not allow together."""


class Dialect:
    """GA, and what is accepted from everyone: the beta's input and a few common slips."""

    def read(self, event: dict[str, Any]) -> dict[str, Any]:
        """Return a client event as GA has it.

        Args:
            event: decoded JSON with a `type`.
        """
        return to_ga(event)

    def write(self, event: AnyServerEvent) -> Iterable[str]:
        """Return the messages that tell a client of an event, in their order."""
        return (encode(event),)


def modalities(settings: dict[str, Any]) -> Any:
    """Return the modalities that a client asks for, under whichever name, or None."""
    return settings.get("output_modalities", settings.get("modalities"))


def are_both(asked: Any) -> bool:
    """Tell whether these modalities are text and audio."""
    return isinstance(asked, list) and len(asked) == len(BOTH) and all(kind in asked for kind in BOTH)
