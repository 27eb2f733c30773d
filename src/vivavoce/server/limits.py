"""How many sessions a caller may have, and how fast it may open them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio
import msgspec

from vivavoce.realtime.values import ErrorDetail

if TYPE_CHECKING:
    from vivavoce.server.auth import Caller

Refusal: TypeAlias = tuple[int, ErrorDetail]
"""WebSocket close code, and what the client is told."""

MAX_BUCKETS: Final = 10_000


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one caller may take; None is as much as the server has."""

    sessions_per_key: int | None = None
    """At one time."""
    sessions_per_address: int | None = None
    """At one time."""
    openings_per_s: float | None = None
    """Sessions that a key, or an address where there is none, may open a second; twice as many at once."""


class Turnstile:
    """Counts who is inside."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._keys: Counter[str] = Counter()
        self._addresses: Counter[str] = Counter()
        self._buckets: dict[str, tuple[float, float]] = {}
        """By caller: tokens that were left, and when."""

    def refusal(self, caller: Caller) -> Refusal | None:
        """Return why the caller may not open a session now, or None; to ask counts as an attempt."""
        if not self._take_token(caller):
            message = f"More than {self._limits.openings_per_s:g} sessions a second were opened; wait a moment."
            return 1013, ErrorDetail(type="rate_limit_error", code="rate_limit_exceeded", message=message)
        for who, limit, used in (
            ("API key", self._limits.sessions_per_key, self._keys[caller.key] if caller.key else 0),
            ("address", self._limits.sessions_per_address, self._addresses[caller.address] if caller.address else 0),
        ):
            if limit is not None and used >= limit:
                message = f"All {limit} sessions of this {who} are in use; close one, or try again later."
                return 1008, ErrorDetail(type="rate_limit_error", code="session_limit_reached", message=message)
        return None

    def enter(self, caller: Caller) -> None:
        """Count a session."""
        self._keys[caller.key] += 1
        self._addresses[caller.address] += 1

    def leave(self, caller: Caller) -> None:
        """Count a session no more."""
        for counter, name in ((self._keys, caller.key), (self._addresses, caller.address)):
            counter[name] -= 1
            if not counter[name]:
                del counter[name]

    def _take_token(self, caller: Caller) -> bool:
        rate, who = self._limits.openings_per_s, caller.key or caller.address
        if rate is None or not who:
            return True
        now, size = anyio.current_time(), max(2 * rate, 1.0)
        if len(self._buckets) >= MAX_BUCKETS:
            self._buckets = {name: (left, at) for name, (left, at) in self._buckets.items() if (now - at) * rate < size}
        left, at = self._buckets.get(who, (size, now))
        left = min(left + (now - at) * rate, size)
        self._buckets[who] = left - (left >= 1), now
        return left >= 1
