"""Tavily.

Source: docs.tavily.com, "Search": POST with query (400 characters), max_results, search_depth, include_domains and
country, which is an English name in lower case; the key is a bearer token. 432 and 433 say that a plan is used up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from vivavoce.search.web.fetch import Site, fetch
from vivavoce.search.web.regions import COUNTRIES
from vivavoce.search.web.results import found

if TYPE_CHECKING:
    from vivavoce.ports import Passage, Query

URL: Final = "https://api.tavily.com/search"
SITE: Final = Site("Tavily", "check TAVILY_API_KEY")


class _Result(msgspec.Struct):
    url: str
    title: str | None = None
    content: str | None = None


class _Answer(msgspec.Struct):
    results: list[msgspec.Raw]


class Tavily:
    """The service, by key."""

    name = "tavily"
    site = SITE

    def __init__(self, key: str, *, url: str = URL) -> None:
        self._key = key
        self._url = url

    async def find(self, query: Query) -> list[Passage]:
        """Return its results; where much is wanted it searches deeper, at twice the price."""
        depth = "advanced" if query.context_size == "high" else "basic"
        asked: dict[str, Any] = {"query": query.text, "max_results": query.limit, "search_depth": depth}
        if query.domains:
            asked["include_domains"] = list(query.domains)
        if (country := COUNTRIES.get(query.region or "")) is not None:
            asked["country"] = country.name
        body = await fetch(self.site, self._url, json=asked, headers={"Authorization": f"Bearer {self._key}"})
        rows = self.site.rows(self.site.decoded(body, _Answer).results, _Result)
        return [found(row.title, row.url, row.content) for row in rows]
