"""A search of the web, as a tool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from vivavoce.agent.functions import Found, ToolError, tool
from vivavoce.ports import BackendError, Query
from vivavoce.realtime.hosted import EXAMPLES, WEB

if TYPE_CHECKING:
    from vivavoce.ports import Search

TIMEOUT_S: Final = 10.0
"""Longer than the search allows itself, so that it can say what went wrong."""


def web_search(web: Search) -> Any:
    """Return the tool that searches the web and tells what was found as numbered passages with their addresses."""

    @tool(name=WEB, timeout=TIMEOUT_S, examples=EXAMPLES[WEB])
    async def search(query: str) -> Found:
        """Search the web for current or unknown facts, news and prices.

        Args:
            query: What to look for.
        """
        if not query.strip():
            raise ToolError("There is nothing to search for: ask the user what is meant.")
        try:
            passages = await web.search(Query(text=query, limit=MOST_RESULTS))
        except BackendError as failed:
            raise ToolError(f"{failed.message} Tell the user that the web search does not work now.") from None
        if not passages:
            raise ToolError(f"The web search found nothing for {query!r}.")
        told = [f"[{n}] {each.source.title} ({each.source.url}): {each.text}" for n, each in enumerate(passages, 1)]
        return Found("\n".join(told), tuple(each.source for each in passages))

    return search


MOST_RESULTS: Final = 10
"""The search itself is set to how many it tells."""
