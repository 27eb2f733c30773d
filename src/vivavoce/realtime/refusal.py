"""What a server refuses, and what is left to ask for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from vivavoce.realtime.values import ErrorDetail

MOST_REFUSALS: Final = 8
"""Settings that a server may refuse one by one before the conversation begins without the rest."""
_HARMLESS: Final = frozenset({"response_cancel_not_active", "item_truncate_invalid_item_id"})
_ABOUT_SILENCE: Final = re.compile(r"(?i)cancel|truncat|shorter than|no active response|audio[ _]buffer[._ ]clear")
_SETTING: Final = re.compile(r"'session\.([\w.\[\]]+)'")
_UNSEEN: Final = ("vivavoce", "type")
"""Settings whose loss nobody notices."""


def refused_setting(error: ErrorDetail) -> str | None:
    """Return the setting that is refused, as in `audio.output.voice`, or None where the error names none."""
    if error.param and error.param.startswith("session."):
        return error.param.removeprefix("session.")
    named = _SETTING.search(error.message)
    return named[1] if named else None


def matters(setting: str) -> bool:
    """Tell whether the person may notice that a setting is missing."""
    return not setting.startswith(_UNSEEN)


def without(settings: dict[str, Any], setting: str) -> dict[str, Any] | None:
    """Return the settings without one of them, or None where it is not among them."""
    lesser: dict[str, Any] | None = _without(settings, re.findall(r"\w+", setting))
    return lesser


def is_harmless(error: ErrorDetail) -> bool:
    """Tell whether an error only says that there was nothing to silence or to cut."""
    unnamed = error.code is None and error.param is None and not error.event_id
    return error.code in _HARMLESS or (unnamed and _ABOUT_SILENCE.search(error.message) is not None)


def _without(value: Any, way: list[str]) -> Any:
    if not way:
        return None
    first, *rest = way
    if isinstance(value, list) and first.isdigit() and int(first) < len(value):
        at = int(first)
        lesser = _without(value[at], rest) if rest else None
        return None if rest and lesser is None else value[:at] + ([lesser] if rest else []) + value[at + 1 :]
    if not isinstance(value, dict) or first not in value:
        return None
    lesser = _without(value[first], rest) if rest else None
    if rest and lesser is None:
        return None
    return {name: lesser if name == first else old for name, old in value.items() if rest or name != first}
