"""What a source is called in speech, and which words of it are shown; pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from vivavoce.realtime.values import Source

BEGUN: Final = "According to "
LONGEST_QUOTE: Final = 200
"""Characters of a passage that a client is shown."""

_ENDING: Final = re.compile(r"(?<=\w)\.(?!\d)\w{1,5}$")
_PLACE: Final = re.compile(r"(?<=\.)(?P<ending>\w{1,5})(?:, (?P<place>.+)|:\d+)$")
"""What stands after the name of a file: "handbook.pdf, page 4, Holidays"."""
_PAGE: Final = re.compile(r"\bpage (\d+)\b")
_DETERMINED: Final = re.compile(r"(?:the|a|an|my|our|your|his|her|their)\b", re.IGNORECASE)
_NATIONAL: Final = frozenset(["co", "com", "org", "ac", "gov", "net", "edu", "or", "go", "ne"])
"""Labels before that of a country: co.uk, com.au."""
_INITIALS: Final = 3
"""Letters of a site's name up to which they are spelled."""


def spoken(source: Source) -> str:
    """Return what a source is called in speech, as in "the employee handbook, page 4"."""
    if source.url and not source.file_id:
        return _site(source.url) or "a page on the web"
    title = source.title or source.file_id or ""
    place = _PLACE.search(title)
    told = place["place"] if place and place["place"] else ""
    name = _ENDING.sub("", title[: place.end("ending")] if place else title).replace("\\", "/").rsplit("/", 1)[-1]
    name = " ".join(re.sub(r"[-_.]+", " ", name).split())
    if not name:
        return "your documents"
    name = name if _DETERMINED.match(name) else f"the {name}"
    page = source.page or next((int(found) for found in _PAGE.findall(told)), None)
    return f"{name}, page {page}" if page else name


def opening(source: Source, before: str = "") -> str:
    """Return how an answer begins that has something from a source; empty where it was named just before.

    Args:
        source: of the answer.
        before: what was said last.
    """
    name = spoken(source)
    return "" if name.lower() in before.lower() else f"{BEGUN}{name}, "


def shown(source: Source, text: str) -> str:
    """Return the words of a passage that a client is shown: the source's own, or the beginning of the passage."""
    return source.quote or " ".join(text.split())[:LONGEST_QUOTE]


def _site(url: str) -> str:
    """Return what people call a site: "Wikipedia", "BBC"."""
    try:
        labels = (urlsplit(url).hostname or "").split(".")
    except ValueError:
        return ""
    if len(labels) > 2 and len(labels[-1]) == 2 and labels[-2] in _NATIONAL:  # noqa: PLR2004 - co.uk, com.au
        labels = labels[:-1]
    name = labels[-2] if len(labels) > 1 else labels[0]
    if name.isdigit():
        return ""
    return name.upper() if len(name) <= _INITIALS else name.replace("-", " ").title()
