"""SearXNG, of one's own: a search engine that asks others.

Source: docs.searxng.org, "Search API": GET /search with q, format=json and language; the formats that an instance
answers in are listed under `search.formats` of its settings.yml, and any other is refused with 403.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

import msgspec

from vivavoce.search.web.fetch import Site, fetch
from vivavoce.search.web.regions import COUNTRIES
from vivavoce.search.web.results import found, with_sites

if TYPE_CHECKING:
    from vivavoce.ports import Passage, Query

SITE: Final = Site("SearXNG", "list json under search: formats: in its settings.yml, and check VIVAVOCE_SEARXNG_URL")


class _Result(msgspec.Struct):
    url: str
    title: str | None = None
    content: str | None = None


class _Answer(msgspec.Struct):
    results: list[msgspec.Raw]
    unresponsive_engines: list[Any] = []


class Searxng:
    """An instance.

    Args:
        url: its address, as in https://search.example.org; a name and a password in it are sent as basic access.
    """

    name = "searxng"
    site = SITE

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._url = parts._replace(netloc=parts.netloc.rpartition("@")[2], path=f"{parts.path.rstrip('/')}/search")
        self._headers = _basic_access(parts.username, parts.password)

    async def find(self, query: Query) -> list[Passage]:
        """Return its results; a country is told by the language that most of its pages are in."""
        params = {"q": with_sites(query), "format": "json"}
        if (country := COUNTRIES.get(query.region or "")) is not None:
            params["language"] = f"{country.language}-{query.region}"
        body = await fetch(self.site, self._url.geturl(), params=params, headers=self._headers)
        answer = self.site.decoded(body, _Answer)
        if answer.unresponsive_engines and not answer.results:
            raise self.site.failed("none of the engines that it asks answers it")
        return [found(row.title, row.url, row.content) for row in self.site.rows(answer.results, _Result)]


def _basic_access(name: str | None, password: str | None) -> dict[str, str]:
    if not name and not password:
        return {}
    pair = f"{unquote(name or '')}:{unquote(password or '')}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
