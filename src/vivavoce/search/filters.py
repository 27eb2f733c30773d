"""Filters over attributes, as in OpenAI's vector store search; pure."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, Final

from vivavoce.search.shapes import LibraryError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vivavoce.search.shapes import Attributes, Filters

_ORDERED: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
_DEEPEST: Final = 16


def check(filters: Any, where: str = "filters", depth: int = 0) -> None:
    """Refuse what is no filter.

    Raises:
        LibraryError: `invalid_value`; `param` says which part.
    """
    if not isinstance(filters, dict) or depth > _DEEPEST:
        raise _wrong("A filter is an object with a type, nested 16 deep at most.", where)
    match filters.get("type"):
        case "and" | "or":
            parts = filters.get("filters")
            if not isinstance(parts, list) or not parts:
                raise _wrong(f"A filter {filters['type']!r} needs a list of filters.", f"{where}.filters")
            for number, part in enumerate(parts):
                check(part, f"{where}.filters[{number}]", depth + 1)
        case "eq" | "ne" | "gt" | "gte" | "lt" | "lte" | "in" | "nin" as kind:
            if not isinstance(filters.get("key"), str):
                raise _wrong("A comparison needs the key of an attribute.", f"{where}.key")
            value = filters.get("value")
            values = value if kind in {"in", "nin"} and isinstance(value, list) else [value]
            if (kind in {"in", "nin"}) != isinstance(value, list) or not all(map(_is_plain, values)):
                wanted = (
                    "a list of texts, numbers or booleans" if kind in {"in", "nin"} else "a text, number or boolean"
                )
                raise _wrong(f"A comparison {kind!r} needs {wanted}.", f"{where}.value")
            if kind in _ORDERED and isinstance(value, bool):
                raise _wrong(f"A comparison {kind!r} needs a text or a number.", f"{where}.value")
        case kind:
            raise _wrong(
                f"There is no filter {kind!r}; use eq, ne, gt, gte, lt, lte, in, nin, and, or.", f"{where}.type"
            )


def matches(filters: Filters, attributes: Attributes) -> bool:
    """Tell whether attributes pass a checked filter; an absent attribute equals nothing."""
    match filters["type"]:
        case "and":
            return all(matches(part, attributes) for part in filters["filters"])
        case "or":
            return any(matches(part, attributes) for part in filters["filters"])
        case kind:
            return _compare(kind, attributes.get(filters["key"]), filters["value"])


def _compare(kind: str, value: Any, wanted: Any) -> bool:
    match kind:
        case "eq":
            return _equal(value, wanted)
        case "ne":
            return not _equal(value, wanted)
        case "in":
            return any(_equal(value, one) for one in wanted)
        case "nin":
            return not any(_equal(value, one) for one in wanted)
        case _:
            alike = isinstance(value, str) == isinstance(wanted, str) and not isinstance(value, bool)
            return value is not None and alike and _ORDERED[kind](value, wanted)


def _equal(value: Any, wanted: Any) -> bool:
    return isinstance(value, bool) == isinstance(wanted, bool) and bool(value == wanted)


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float | bool)


def _wrong(message: str, where: str) -> LibraryError:
    return LibraryError("invalid_value", message, where)
