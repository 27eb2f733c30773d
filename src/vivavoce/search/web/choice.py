"""Which engine searches the web, by settings and environment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from vivavoce.config import ConfigError
from vivavoce.search.web.brave import Brave
from vivavoce.search.web.duckduckgo import DuckDuckGo
from vivavoce.search.web.fetch import TIMEOUT_S
from vivavoce.search.web.regions import CODES
from vivavoce.search.web.results import host_of
from vivavoce.search.web.searxng import Searxng
from vivavoce.search.web.tavily import Tavily
from vivavoce.search.web.websearch import Engine, WebSearch
from vivavoce.search.web.yandex import Yandex

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vivavoce.config import Settings

MOST_DOMAINS: Final = 100
UNASKED: Final = {"searxng": "VIVAVOCE_SEARXNG_URL", "brave": "BRAVE_API_KEY", "tavily": "TAVILY_API_KEY"}
"""Engines that are chosen where their variable is set and nothing else is said. Yandex is not among them: its key is
there for the voice service, and each search costs; nor is DuckDuckGo, which has no official interface."""


def chosen(
    settings: Settings, environ: Mapping[str, str] | None = None, *, timeout_s: float = TIMEOUT_S
) -> WebSearch | None:
    """Return the search of the web that the settings or the environment choose, None where nothing does.

    Args:
        settings: `web_search`, `web_domains`, `web_region`, `web_context`.
        environ: instead of the process's environment.
        timeout_s: seconds until a search has failed.

    Raises:
        ConfigError: the engine lacks its address or key, or a setting has a bad value; the message names the remedy.
    """
    environ = os.environ if environ is None else environ
    there = (name for name, variable in UNASKED.items() if environ.get(variable, "").strip())
    wanted: str | None = settings.web_search or next(there, None)
    if wanted is None:
        return None
    return WebSearch(
        _engine(wanted, environ),
        domains=_domains(settings.web_domains),
        region=_region(settings.web_region),
        context_size=settings.web_context,
        timeout_s=timeout_s,
    )


def _engine(name: str, environ: Mapping[str, str]) -> Engine:
    match name:
        case "searxng":
            return Searxng(_url(_needed(environ, name, "VIVAVOCE_SEARXNG_URL")))
        case "brave":
            return Brave(_needed(environ, name, "BRAVE_API_KEY"))
        case "tavily":
            return Tavily(_needed(environ, name, "TAVILY_API_KEY"))
        case "yandex":
            token = environ.get("YANDEX_CLOUD_IAM_TOKEN", "").strip()
            variable = "YANDEX_CLOUD_API_KEY"
            if token and not environ.get(variable, "").strip():
                variable = "YANDEX_CLOUD_IAM_TOKEN"
            key = _needed(environ, name, variable)
            bearer = variable == "YANDEX_CLOUD_IAM_TOKEN" or key.startswith("t1.")
            return Yandex(key, _needed(environ, name, "YANDEX_CLOUD_FOLDER_ID"), bearer=bearer)
        case _:
            return DuckDuckGo()


def _needed(environ: Mapping[str, str], engine: str, variable: str) -> str:
    value = environ.get(variable, "").strip()
    if not value:
        raise ConfigError(f"Set {variable} to search the web with {engine}, or leave web_search out.")
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise ConfigError(f"{variable} holds characters that do not belong there: copy it again.")
    return value


def _url(url: str) -> str:
    try:
        parts = urlsplit(url)
        sound = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise ConfigError("VIVAVOCE_SEARXNG_URL looks like https://search.example.org: correct it.")
    return url


def _domains(sites: tuple[str, ...]) -> tuple[str, ...]:
    if len(sites) > MOST_DOMAINS:
        raise ConfigError(f"web_domains names {len(sites)} sites: {MOST_DOMAINS} are the most.")
    hosts = {site: host_of(site) for site in sites}
    for site, host in hosts.items():
        if host is None:
            raise ConfigError(f"web_domains has {site!r}: name sites without https:// and path, as in docs.python.org.")
    return tuple(dict.fromkeys(host for host in hosts.values() if host))


def _region(country: str | None) -> str | None:
    if not country:
        return None
    if country.upper() not in CODES:
        hint = "GB" if country.upper() == "UK" else "DE"
        raise ConfigError(f"web_region is {country!r}: it is a country's ISO 3166 code, as in {hint}.")
    return country.upper()
