"""Yandex Search API, version 2.

Source: yandex.cloud/docs/search-api, "WebSearch.Search", "XML format of response", "Error codes", "Search regions":
POST with query, groupSpec, maxPassages, region, folderId; `rawData` of the answer is XML in base64.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree as ET

import msgspec

from vivavoce.search.web.fetch import Site, fetch
from vivavoce.search.web.results import found, with_sites

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vivavoce.ports import Passage, Query

URL: Final = "https://searchapi.api.cloud.yandex.net/v2/web/search"
SITE: Final = Site(
    "Yandex",
    "check YANDEX_CLOUD_API_KEY, YANDEX_CLOUD_FOLDER_ID, and that the account has the role search-api.webSearch.user",
)
MOST: Final = 20
PASSAGES: Final = {"low": 2, "medium": 3, "high": 5}
"""Of each page, by context size; it gives no more than 5."""
REGIONS: Final = {"RU": "225", "UA": "187", "BY": "149", "KZ": "159"}
"""Countries whose numbers are documented."""
KINDS: Final = {"RU": "RU", "TR": "TR", "KZ": "KK", "BY": "BE", "UZ": "UZ"}
"""By country, the site that searches; elsewhere the international one."""

_CYRILLIC: Final = re.compile(r"[\u0400-\u04ff]")


class _Answer(msgspec.Struct):
    rawData: bytes  # noqa: N815 - as the service names it


class Yandex:
    """The service.

    Args:
        key: an API key, or an IAM token.
        folder: id of the folder that pays.
        bearer: whether the key is an IAM token.
        url: where, instead of the usual place.
    """

    name = "yandex"
    site = SITE

    def __init__(self, key: str, folder: str, *, bearer: bool = False, url: str = URL) -> None:
        self._authorization = f"{'Bearer' if bearer else 'Api-Key'} {key}"
        self._folder = folder
        self._url = url

    async def find(self, query: Query) -> list[Passage]:
        """Return its results; without a region, Cyrillic words are looked for in Russia and any other in the world."""
        asked = self._asked(query)
        body = await fetch(self.site, self._url, json=asked, headers={"Authorization": self._authorization})
        return list(self._read(self.site.decoded(body, _Answer).rawData))

    def _asked(self, query: Query) -> dict[str, Any]:
        home = "RU" if _CYRILLIC.search(query.text) else "COM"
        kind = KINDS.get(query.region, "COM") if query.region else home
        asked: dict[str, Any] = {
            "query": {"searchType": f"SEARCH_TYPE_{kind}", "queryText": with_sites(query, " | ")},
            "groupSpec": {"groupMode": "GROUP_MODE_FLAT", "groupsOnPage": str(MOST), "docsInGroup": "1"},
            "maxPassages": str(PASSAGES[query.context_size or "medium"]),
            "folderId": self._folder,
            "responseFormat": "FORMAT_XML",
        }
        return asked | ({"region": REGIONS[query.region]} if query.region in REGIONS else {})

    def _read(self, xml: bytes) -> Iterator[Passage]:
        try:
            response = ET.fromstring(xml, ET.XMLParser(target=_WithoutEntities())).find("response")  # noqa: S314
        except (ET.ParseError, _HasEntities, ValueError, LookupError):
            raise self.site.garbled() from None
        if response is None:
            raise self.site.garbled()
        error = response.find("error")
        if error is not None:
            self._fail(error.get("code", "unknown"))
            return
        for document in response.iterfind("results/grouping/group/doc"):
            passages = [_words(passage) for passage in document.iterfind("passages/passage")]
            text = " … ".join(passages) or _words(document.find("headline"))
            yield found(_words(document.find("title")), _words(document.find("url")), text)

    def _fail(self, code: str) -> None:
        """Raise what an error code says, where it is one."""
        match code:
            case "15":  # nothing was found
                return
            case "32" | "55":  # searches of a day, or of a second
                raise self.site.busy(f"code {code}")
            case "31" | "33" | "42" | "44" | "48":
                raise self.site.refused(403)
            case _:
                raise self.site.failed(f"code {code}" if code.isdecimal() else "it does not say why")


class _HasEntities(Exception):  # noqa: N818 - it never leaves this module
    """A document defines its own entities, which no answer of the service does."""


class _WithoutEntities(ET.TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:  # noqa: ARG002
        """Refuse: entities may grow without bounds or read files."""
        raise _HasEntities


def _words(element: ET.Element | None) -> str:
    return "" if element is None else "".join(element.itertext()).strip()
