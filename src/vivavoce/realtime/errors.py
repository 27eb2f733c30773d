"""What can be wrong with an event, with the codes and sentences that clients know."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import msgspec


class ProtocolError(Exception):
    """A client's event cannot be honoured; it becomes an `error` event, and the session lives."""

    def __init__(
        self,
        code: str | None,
        message: str,
        *,
        param: str | None = None,
        event_id: str | None = None,
        kind: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.event_id = event_id
        self.kind = kind


_PATTERNS = (
    (re.compile(r"Object missing required field `(?P<field>[^`]+)`"), "missing_required_parameter"),
    (re.compile(r"Invalid (enum )?value (?P<value>.+)"), "invalid_value"),
    (re.compile(r"Expected `(int|float)` >= "), "integer_below_min_value"),
    (re.compile(r"Expected `(int|float)` <= "), "integer_above_max_value"),
    (re.compile(r"Expected `str` of length <= "), "string_above_max_length"),
    (re.compile(r"Expected `object` of length <= "), "object_above_max_properties"),
    (re.compile(r"Expected `"), "invalid_type"),
)


def explain(wrong: msgspec.ValidationError, *, path: str = "", event_id: str | None = None) -> ProtocolError:
    """Translate what the decoder says into the protocol's code, sentence and parameter.

    Args:
        wrong: the decoder's complaint; it ends with " - at `$.where`".
        path: what the client calls the decoded value.
        event_id: the client's event.
    """
    complaint, _, where = str(wrong).partition(" - at ")
    where = where.partition("`$")[2].rstrip("`").replace("[...]", "").lstrip(".")
    param = ".".join(step for step in (path, where) if step)
    for pattern, code in _PATTERNS:
        if found := pattern.match(complaint):
            if field := found.groupdict().get("field"):
                param = f"{param}.{field}" if param else field
            return ProtocolError(code, _sentence(code, complaint, param), param=param or None, event_id=event_id)
    return ProtocolError("invalid_value", f"{complaint}.", param=param or None, event_id=event_id)


def _sentence(code: str, complaint: str, param: str) -> str:
    if code == "missing_required_parameter":
        return f"Missing required parameter: '{param}'."
    return f"Invalid value for '{param}': {complaint}." if param else f"{complaint}."
