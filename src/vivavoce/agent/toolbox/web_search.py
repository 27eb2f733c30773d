"""A search of the web: by a SearXNG of one's own, by Brave or Tavily with a key, or by DuckDuckGo without one.

Sources: SearXNG search API (JSON format), Brave Web Search API v1, Tavily Search API.
"""

from __future__ import annotations

import html
import os
import re
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import anyio
import msgspec
from anyio import to_thread

from vivavoce.agent.functions import Found, ToolError, tool
from vivavoce.realtime.hosted import EXAMPLES, WEB
from vivavoce.realtime.values import Source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Engine: TypeAlias = Literal["searxng", "brave", "tavily", "duckduckgo"]

BRAVE_URL: Final = "https://api.search.brave.com/res/v1/web/search"
TAVILY_URL: Final = "https://api.tavily.com/search"
TIMEOUT_S: Final = 8.0
RESULTS: Final = 5
LONGEST: Final = 500
"""Characters of a passage."""
OFFLINE: Final = "The web cannot be searched from this machine now, which may be offline. Nothing was found out."


class Page(msgspec.Struct, frozen=True):
    """Something that a search found."""

    title: str
    url: str
    passage: str


class WebSearch:
    """One search engine.

    Args:
        engine: which.
        url: its address where it is not the usual one.
        key: what lets one in, where the engine asks for it.
    """

    def __init__(self, engine: Engine, *, url: str = "", key: str = "") -> None:
        self.engine = engine
        self._url = url
        self._key = key

    async def search(self, query: str) -> Found:
        """Return what the engine finds, as numbered passages with their addresses.

        Raises:
            ToolError: it cannot be reached or refuses, or finds nothing.
        """
        if not query.strip():
            raise ToolError("There is nothing to search for: ask the user what is meant.")
        pages = await self._pages(query.strip())
        if not pages:
            raise ToolError(f"The web search found nothing for {query!r}.")
        told = [f"[{number}] {page.title} ({page.url}): {page.passage}" for number, page in enumerate(pages, start=1)]
        return Found("\n".join(told), tuple(Source(title=page.title, url=page.url) for page in pages))

    async def _pages(self, query: str) -> list[Page]:
        import httpx

        try:
            with anyio.fail_after(TIMEOUT_S):
                return _read(await self._ask(query))
        except httpx.HTTPStatusError as refused:
            status = refused.response.status_code
            raise ToolError(
                f"The web search refused ({self.engine}, HTTP {status}): say that it does not work now."
            ) from None
        except (TimeoutError, httpx.TransportError):
            raise ToolError(OFFLINE) from None
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ToolError("The web search gave no usable answer.") from None

    async def _ask(self, query: str) -> Sequence[Mapping[str, Any]]:
        match self.engine:
            case "searxng":
                answer = await _get(f"{self._url.rstrip('/')}/search", {"q": query, "format": "json"})
                return list(answer["results"])
            case "brave":
                headers = {"X-Subscription-Token": self._key, "Accept": "application/json"}
                answer = await _get(self._url or BRAVE_URL, {"q": query, "count": str(RESULTS)}, headers)
                return list(answer.get("web", {}).get("results", ()))
            case "tavily":
                body = {"query": query, "max_results": RESULTS}
                return list((await _post(self._url or TAVILY_URL, body, self._key))["results"])
            case "duckduckgo":
                return await to_thread.run_sync(_duckduckgo, query, abandon_on_cancel=True)


def chosen(wanted: str | None = None, environ: Mapping[str, str] | None = None) -> WebSearch | None:
    """Return the engine that the settings or the environment choose, None where nothing does.

    Raises:
        ValueError: the engine that is wanted lacks its address or key; the message names the variable.
    """
    environ = os.environ if environ is None else environ
    ways: dict[Engine, str] = {
        "searxng": "VIVAVOCE_SEARXNG_URL",
        "brave": "BRAVE_API_KEY",
        "tavily": "TAVILY_API_KEY",
    }
    if wanted == "duckduckgo":
        return WebSearch("duckduckgo")
    for engine, variable in ways.items():
        value = environ.get(variable, "").strip()
        if wanted in {None, engine} and value:
            return WebSearch(engine, **{"url" if engine == "searxng" else "key": value})
        if wanted == engine:
            raise ValueError(f"Set {variable} to search the web with {engine}, or leave web_search out.")
    return None


def web_search(engine: WebSearch) -> Any:
    """Return the tool that searches with an engine."""

    @tool(name=WEB, timeout=TIMEOUT_S + 2, examples=EXAMPLES[WEB])
    async def search(query: str) -> Found:
        """Search the web for current or unknown facts, news and prices.

        Args:
            query: What to look for.
        """
        return await engine.search(query)

    return search


async def _get(url: str, query: dict[str, str], headers: dict[str, str] | None = None) -> dict[str, Any]:
    import httpx

    async with httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=True) as http:
        return _object(await http.get(url, params=query, headers=headers))


async def _post(url: str, body: dict[str, Any], key: str) -> dict[str, Any]:
    import httpx

    async with httpx.AsyncClient(timeout=TIMEOUT_S) as http:
        return _object(await http.post(url, json=body, headers={"Authorization": f"Bearer {key}"}))


def _object(answer: Any) -> dict[str, Any]:
    answer.raise_for_status()
    decoded: dict[str, Any] = answer.json()
    return decoded


def _duckduckgo(query: str) -> list[dict[str, Any]]:
    try:
        from ddgs import DDGS
    except ModuleNotFoundError:
        raise ToolError('DuckDuckGo is not installed here: pip install "vivavoce[web]". Say so.') from None
    try:
        return list(DDGS(timeout=round(TIMEOUT_S)).text(query, max_results=RESULTS))
    except Exception as failed:
        raise ToolError(OFFLINE) from failed


def _read(results: Sequence[Mapping[str, Any]]) -> list[Page]:
    """Take title, address and passage, whatever the engine calls them."""
    pages = []
    for result in results[:RESULTS]:
        url = str(result.get("url") or result.get("href") or "")
        passage = _plain(str(result.get("content") or result.get("description") or result.get("body") or ""))
        if url.startswith(("http://", "https://")):
            pages.append(Page(_plain(str(result.get("title") or url)), url, passage[:LONGEST]))
    return pages


def _plain(text: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", text)).split())
