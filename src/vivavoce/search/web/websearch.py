"""A search of the web: one engine, with a time-out, a cache, and the limits of the settings."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import anyio

from vivavoce.search.web.cache import Cache
from vivavoce.search.web.fetch import TIMEOUT_S
from vivavoce.search.web.results import DEPTHS, narrowed, resolved, shortened, tidy

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vivavoce.ports import Passage, Query
    from vivavoce.search.web.fetch import Site

ContextSize: TypeAlias = Literal["low", "medium", "high"]


class Engine(Protocol):
    """One search engine."""

    name: str
    """As the settings have it."""
    site: Site

    async def find(self, query: Query) -> Iterable[Passage]:
        """Return what it finds, the best first, with whatever markup it has.

        Args:
            query: with every choice made: context size, region in upper case or None, sites as ASCII names.

        Raises:
            BackendError: it cannot be asked, or refuses.
        """
        ...


class WebSearch:
    """The port `Search` over the web.

    Args:
        engine: who searches.
        domains: the only sites that are searched, with those below them; all where it is empty. A query narrows it
            further and never widens it.
        region: ISO 3166-1 country where a query names none.
        context_size: where a query names none.
        timeout_s: seconds until an engine has failed.
        cache: instead of one of its own.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        domains: Sequence[str] = (),
        region: str | None = None,
        context_size: ContextSize = "medium",
        timeout_s: float = TIMEOUT_S,
        cache: Cache[tuple[Passage, ...]] | None = None,
    ) -> None:
        self.engine = engine
        self._domains = tuple(domains)
        self._region = region
        self._context_size: ContextSize = context_size
        self._timeout_s = timeout_s
        self._cache: Cache[tuple[Passage, ...]] = cache or Cache()

    async def search(self, query: Query) -> Sequence[Passage]:
        """Return the pages that fit best; nothing where nothing does.

        Raises:
            BackendError: the engine cannot be reached, refuses, fails or is late; the message is fit for a person.
        """
        wanted = self._wanted(query)
        if wanted is None or not wanted.text:
            return ()
        question = (self.engine.name, resolved(wanted, text=wanted.text.casefold()))
        return await self._cache.fetch(question, functools.partial(self._ask, wanted))

    def _wanted(self, query: Query) -> Query | None:
        """Return the query with every choice made; None where no site is left to search."""
        domains = narrowed(query, self._domains)
        if domains is None:
            return None
        size = query.context_size or self._context_size
        return resolved(
            query,
            text=shortened(query.text),
            limit=max(1, min(query.limit, DEPTHS[size].results)),
            stores=(),
            filters=None,
            domains=domains,
            region=(query.region or self._region or "").upper() or None,
            context_size=size,
        )

    async def _ask(self, query: Query) -> tuple[Passage, ...]:
        try:
            with anyio.fail_after(self._timeout_s):
                return tidy(await self.engine.find(query), query)
        except TimeoutError:
            raise self.engine.site.late(self._timeout_s) from None
