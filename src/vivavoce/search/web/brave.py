"""Brave Search.

Source: api-dashboard.search.brave.com, "Web Search API": GET with q (400 characters, 50 words), count (20), country,
extra_snippets, text_decorations; the key goes into X-Subscription-Token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from vivavoce.search.web.fetch import Site, fetch
from vivavoce.search.web.results import found, with_sites

if TYPE_CHECKING:
    from vivavoce.ports import Passage, Query

URL: Final = "https://api.search.brave.com/res/v1/web/search"
SITE: Final = Site("Brave", "check BRAVE_API_KEY")
MOST: Final = 20
COUNTRIES: Final = frozenset(
    "AR AT AU BE BR CA CH CL CN DE DK ES FI FR GB GR HK ID IN IT JP KR MX MY NL NO NZ PH PL PT RU SA SE TR TW US "  # noqa: SIM905
    "ZA".split()
)
"""That it takes; any other is refused, and so is left out."""


class _Result(msgspec.Struct):
    url: str
    title: str | None = None
    description: str | None = None
    extra_snippets: list[str] = []


class _Web(msgspec.Struct):
    results: list[msgspec.Raw] = []


class _Answer(msgspec.Struct):
    type: str
    web: _Web | None = None
    """Absent where nothing was found."""


class Brave:
    """The service, by key."""

    name = "brave"
    site = SITE

    def __init__(self, key: str, *, url: str = URL) -> None:
        self._key = key
        self._url = url

    async def find(self, query: Query) -> list[Passage]:
        """Return its results of the web, with more of each page where much is wanted."""
        params = {"q": with_sites(query), "count": str(MOST), "result_filter": "web", "text_decorations": "false"}
        if query.region in COUNTRIES:
            params["country"] = query.region
        if query.context_size == "high":
            params["extra_snippets"] = "true"
        body = await fetch(self.site, self._url, params=params, headers={"X-Subscription-Token": self._key})
        web = self.site.decoded(body, _Answer).web or _Web()
        rows = self.site.rows(web.results, _Result)
        return [found(row.title, row.url, " … ".join([row.description or "", *row.extra_snippets])) for row in rows]
