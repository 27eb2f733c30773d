"""What engines find, made fit for a model and a listener: plain, bounded, from the sites that are asked for."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

import msgspec

from vivavoce.ports import Passage, Query
from vivavoce.realtime.values import Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Depth(NamedTuple):
    """How much is told of what was found."""

    results: int
    characters: int
    """Of each result."""


DEPTHS: Final = {"low": Depth(3, 300), "medium": Depth(5, 500), "high": Depth(10, 1000)}
"""By context size: at most 900, 2,500 and 10,000 characters. A listener wants little, and so does a small model."""
LONGEST_QUERY: Final = 400
"""Characters: what Brave, Tavily and Yandex take."""
LONGEST_TITLE: Final = 200
LONGEST_URL: Final = 2_000
LONGEST_RAW: Final = 20_000
"""Characters of a text that are looked at before it is cut."""

_TAG: Final = re.compile(r"</?[a-zA-Z][^<>]*>|<!--.*?-->|<![^<>]*>", re.DOTALL)
_UNSEEN: Final = re.compile(r"[\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f]")
"""Marks that a person does not see and a model reads."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\u2028\u2029]+")
_ODD_URL: Final = re.compile(r"[\x00-\x20\x7f\\<>\"]")
_HOST: Final = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*")


def found(title: str | None, url: str | None, text: str | None) -> Passage:
    """Return something as an engine tells it."""
    return Passage(text=text or "", source=Source(title=title or "", url=url or ""))


def tidy(passages: Iterable[Passage], query: Query) -> tuple[Passage, ...]:
    """Return what may be told: pages of the web, each once, on the sites that are asked for, in plain words.

    The score tells no more than the rank: engines do not say how well a page fits.
    """
    depth = DEPTHS[query.context_size or "medium"]
    pages: dict[str, Passage] = {}
    for passage in passages:
        address = _address(passage.source.url or "")
        if address is None or not within(address.hostname or "", query.domains):
            continue
        url = address.geturl()
        title = cut(plain(passage.source.title), LONGEST_TITLE) or address.hostname or ""
        text = cut(plain(passage.text), depth.characters)
        source = Source(title=title, url=url, quote=text)
        pages.setdefault(_same(address), Passage(text=text, source=source, score=1 / (len(pages) + 1)))
    return tuple(pages.values())[: query.limit]


def plain(text: str) -> str:
    """Return a text without markup, entities, control characters and unseen marks, on one line."""
    text = _TAG.sub("", html.unescape(_TAG.sub("", text[:LONGEST_RAW])))
    return " ".join(_UNSEEN.sub("", _CONTROL.sub(" ", text)).split())


def cut(text: str, longest: int) -> str:
    """Return a text that is no longer than that, cut between words where there are any."""
    if len(text) <= longest:
        return text
    head = text[: longest - 1]
    return (head.rpartition(" ")[0] or head).rstrip(" ,;:") + "…"


def host_of(site: str) -> str | None:
    """Return the name of a site as addresses have it, in ASCII and lower case; None where it is none."""
    name = site.strip().lower().strip(".")
    try:
        name = name.encode("idna").decode()
    except UnicodeError:
        return None
    return name if _HOST.fullmatch(name) else None


def within(host: str, domains: Sequence[str]) -> bool:
    """Tell whether a host is one of the sites, or below one; any is where there are none."""
    name = host_of(host)
    return not domains or (
        name is not None and any(name == domain or name.endswith(f".{domain}") for domain in domains)
    )


def narrowed(query: Query, domains: Sequence[str]) -> tuple[str, ...] | None:
    """Return the sites that both a query and the settings allow, empty for all; None where they allow none."""
    asked = tuple(host for site in query.domains if (host := host_of(site)))
    if query.domains and not asked:
        return None
    if not (asked and domains):
        return asked or tuple(domains)
    both = [site for site in asked if within(site, domains)] + [site for site in domains if within(site, asked)]
    return tuple(dict.fromkeys(both)) or None


def with_sites(query: Query, either: str = " OR ") -> str:
    """Return the words of a query with its sites, as most engines read them.

    Where that grows too long, the sites are left out, and only what comes back is filtered.

    Args:
        query: what is looked for, and where.
        either: what the engine reads as "or".
    """
    if not query.domains:
        return query.text
    sites = either.join(f"site:{domain}" for domain in query.domains)
    long = f"{query.text} ({sites})" if len(query.domains) > 1 else f"{query.text} {sites}"
    return long if len(long) <= LONGEST_QUERY else query.text


def shortened(text: str) -> str:
    """Return the words of a query on one line, as many as engines take."""
    words = " ".join(_CONTROL.sub(" ", text).split())
    return words if len(words) <= LONGEST_QUERY else words[:LONGEST_QUERY].rpartition(" ")[0] or words[:LONGEST_QUERY]


def resolved(query: Query, **changes: object) -> Query:
    """Return a query with changes."""
    return msgspec.structs.replace(query, **changes)


def _address(url: str) -> SplitResult | None:
    """Return the parts of an address that a person may open; None for any other."""
    if len(url) > LONGEST_URL or _ODD_URL.search(url):
        return None
    try:
        parts = urlsplit(url)
        sound = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        return None
    return parts if sound and "@" not in parts.netloc else None


def _same(address: SplitResult) -> str:
    """Return what two addresses of one page have in common."""
    host = (address.hostname or "").removeprefix("www.")
    return f"{host}:{address.port or ''}{address.path.rstrip('/')}?{address.query}"
