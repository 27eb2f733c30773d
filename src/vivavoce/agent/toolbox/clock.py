"""Date and time, here and elsewhere."""

# ruff: noqa: RUF001 - Cyrillic words are what they seem to be

from __future__ import annotations

import functools
import re
from datetime import datetime, timedelta
from difflib import get_close_matches
from importlib.resources import files
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo, available_timezones

from vivavoce.agent.functions import ToolError, tool

if TYPE_CHECKING:
    from collections.abc import Callable

_LIKENESS: Final = 0.85
"""Of two spellings of one place."""
_REGIONS: Final = ("Africa/", "America/", "Asia/", "Atlantic/", "Australia/", "Europe/", "Indian/", "Pacific/")
_HERE: Final = frozenset(["", "here", "local", "my place", "home", "now", "today", "здесь", "тут"])


class Clock:
    """Tells the time in places.

    Args:
        now: returns the current time with its zone; the machine's where it is not given.
    """

    def __init__(self, now: Callable[[], datetime] | None = None) -> None:
        self._now = now or (lambda: datetime.now().astimezone())

    def tell(self, place: str | None = None) -> str:
        """Return the date and time in a place, here where none is given, as words to be read aloud.

        Raises:
            ToolError: no such place is known.
        """
        now, where = self._now(), ""
        if place is not None and _key(place) not in _HERE:
            name = zone_of(place)
            if name is None:
                raise ToolError(f"The time zone of {place!r} is not known: ask the user for a large city nearby.")
            now, where = now.astimezone(ZoneInfo(name)), f" in {place.strip()}"
        return f"It is {now:%H:%M} on {now:%A}, {now.day} {now:%B %Y}{where} ({_offset(now)})."


def zone_of(place: str) -> str | None:
    """Return the time zone of a city, a country or a zone's own name, None where it is unknown."""
    known, key = _places(), _key(place)
    for wanted in (key, _key(place.partition(",")[0])):
        if wanted in known:
            return known[wanted]
    near = get_close_matches(key, known, n=1, cutoff=_LIKENESS)
    return known[near[0]] if near else None


def _key(place: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", place.casefold().replace("ё", "е")))


@functools.cache
def _places() -> dict[str, str]:
    """Return zones by what people call the places in them."""
    zones = sorted(available_timezones())
    known: dict[str, str] = {}
    for zone in (zone for zone in zones if zone.startswith(_REGIONS)):
        known.setdefault(_key(zone.rpartition("/")[2]), zone)
    known |= {_key(zone): zone for zone in zones}
    for line in (files(__package__) / "places.txt").read_text(encoding="utf-8").splitlines():
        zone, _, names = line.partition(":")
        known |= {_key(name): zone.strip() for name in names.split(",")}
    return known


def _offset(now: datetime) -> str:
    offset = now.utcoffset() or timedelta()
    hours, minutes = divmod(abs(offset) // timedelta(minutes=1), 60)
    return f"UTC{'-' if offset < timedelta() else '+'}{hours}" + (f":{minutes:02}" if minutes else "")


@tool(
    examples=(
        "What time is it?",
        "What's today's date?",
        "Which day of the week is it?",
        "What time is it in Tokyo?",
        "How late is it in New York now?",
        "Tell me the time.",
        "Is it past midnight yet?",
        "Который час в Москве?",
    ),
)
def date_and_time(place: str | None = None) -> str:
    """Get the current time and date, here or in another city.

    Args:
        place: The city or country; leave it out for here.
    """
    return Clock().tell(place)
