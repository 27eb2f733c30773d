"""DuckDuckGo, through the library `ddgs`, which reads its pages; there is no official interface.

Source: ddgs 9.16, `DDGS.text`. The library bounds neither the size of a page nor where it is redirected, and tells
"nothing found" and "turned away" alike.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

from vivavoce.ports import BackendError
from vivavoce.search.web.fetch import TIMEOUT_S, Site
from vivavoce.search.web.regions import COUNTRIES
from vivavoce.search.web.results import found, with_sites

if TYPE_CHECKING:
    from vivavoce.ports import Passage, Query

SITE: Final = Site("DuckDuckGo", "wait a while, or choose another engine")
MOST: Final = 20
THREADS: Final = 4
"""Searches at once, those included that were given up but have not returned."""
_LIMIT: RunVar[CapacityLimiter] = RunVar("duckduckgo")
_OTHERWISE: Final = {"GB": "uk-en", "JP": "jp-jp", "KR": "kr-kr", "NO": "no-no", "SI": "sl-sl", "TW": "tw-tzh"}
"""Regions that it does not name by country and language as ISO does."""


class DuckDuckGo:
    """The search engine, without a key."""

    name = "duckduckgo"
    site = SITE

    async def find(self, query: Query) -> list[Passage]:
        """Return its results."""
        rows = await to_thread.run_sync(_search, query, abandon_on_cancel=True, limiter=_limiter())
        return [found(_text(row, "title"), _text(row, "href"), _text(row, "body")) for row in rows]


def region_of(country: str | None) -> str:
    """Return how it names a country, or the whole world."""
    known = COUNTRIES.get(country or "")
    if country is None or known is None:
        return "wt-wt"
    return _OTHERWISE.get(country, f"{country.lower()}-{known.language}")


def _limiter() -> CapacityLimiter:
    try:
        return _LIMIT.get()
    except LookupError:
        limiter = CapacityLimiter(THREADS)
        _LIMIT.set(limiter)
        return limiter


def _search(query: Query) -> list[dict[str, Any]]:
    try:
        from ddgs import DDGS
        from ddgs.exceptions import DDGSException, RatelimitException, TimeoutException
    except ModuleNotFoundError:
        raise BackendError("search_refused", 'DuckDuckGo is not installed here: pip install "vivavoce[web]".') from None
    try:
        engine = DDGS(timeout=math.ceil(TIMEOUT_S))
        # One engine: by default the library asks others, too, which the settings do not name.
        rows = engine.text(with_sites(query), region=region_of(query.region), max_results=MOST, backend="duckduckgo")
    except RatelimitException:
        raise SITE.busy("it says so") from None
    except TimeoutException:
        raise SITE.late() from None
    except DDGSException as failed:
        if "No results" in str(failed):
            raise BackendError(
                "search_failed",
                "DuckDuckGo gave no results: it knows none, or turns programs away for now. Nothing was found out.",
            ) from None
        raise SITE.unreachable() from None
    return list(rows)


def _text(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    return value if isinstance(value, str) else ""
