"""Who searches the web, by settings and environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.search.web.loopback import Reply, serving

from vivavoce import config, household
from vivavoce.config import ConfigError, Settings
from vivavoce.search import web

if TYPE_CHECKING:
    from pathlib import Path

KEYS = {
    "VIVAVOCE_SEARXNG_URL": "https://search.example.org",
    "BRAVE_API_KEY": "b",
    "TAVILY_API_KEY": "t",
    "YANDEX_CLOUD_API_KEY": "y",
    "YANDEX_CLOUD_FOLDER_ID": "f",
}


def name(settings: Settings, **environ: str) -> str | None:
    chosen = web.chosen(settings, environ)
    return chosen.engine.name if chosen else None


@pytest.mark.parametrize("engine", ["searxng", "brave", "tavily", "yandex", "duckduckgo"])
def test_the_engine_that_is_named(engine):
    assert name(Settings(web_search=engine), **KEYS) == engine


def test_the_engine_that_the_environment_knows():
    assert name(Settings()) is None
    assert name(Settings(), **KEYS) == "searxng"
    assert name(Settings(), TAVILY_API_KEY="t", BRAVE_API_KEY=" ") == "tavily"
    assert name(Settings(), YANDEX_CLOUD_API_KEY="y", YANDEX_CLOUD_FOLDER_ID="f") is None, (
        "its key is there for the voice"
    )
    assert name(Settings(web_search="yandex"), YANDEX_CLOUD_IAM_TOKEN="t1.x", YANDEX_CLOUD_FOLDER_ID="f") == "yandex"


@pytest.mark.parametrize(
    ("settings", "environ", "told"),
    [
        (Settings(web_search="brave"), {"TAVILY_API_KEY": "k"}, "Set BRAVE_API_KEY to search the web with brave"),
        (Settings(web_search="searxng"), {}, "Set VIVAVOCE_SEARXNG_URL"),
        (Settings(web_search="yandex"), {"YANDEX_CLOUD_API_KEY": "k"}, "Set YANDEX_CLOUD_FOLDER_ID"),
        (Settings(web_search="yandex"), {"YANDEX_CLOUD_FOLDER_ID": "f"}, "Set YANDEX_CLOUD_API_KEY"),
        (Settings(), {"BRAVE_API_KEY": "k\nX-Other: 1"}, "BRAVE_API_KEY holds characters"),
        (Settings(), {"VIVAVOCE_SEARXNG_URL": "search.example.org"}, "looks like https"),
        (Settings(), {"VIVAVOCE_SEARXNG_URL": "ftp://e.org"}, "looks like https"),
        (Settings(web_domains=("https://e.org/x",)), KEYS, "without https:// and path"),
        (Settings(web_domains=tuple(f"e{n}.org" for n in range(101))), KEYS, "100 are the most"),
        (Settings(web_region="UK"), KEYS, "as in GB"),
        (Settings(web_region="Germany"), KEYS, "as in DE"),
    ],
)
def test_what_is_lacking_or_wrong_is_told(settings: Settings, environ: dict[str, str], told: str):
    with pytest.raises(ConfigError, match=told) as wrong:
        web.chosen(settings, environ)
    assert "X-Other" not in str(wrong.value)


def test_settings_from_file_and_environment(tmp_path: Path):
    file = tmp_path / "vivavoce.toml"
    file.write_text('web_search = "yandex"\nweb_domains = ["python.org"]\nweb_region = "de"\n')
    settings = config.load(environ={"VIVAVOCE_WEB_DOMAINS": "a.org,b.org", "VIVAVOCE_WEB_CONTEXT": "low"}, file=file)
    assert (settings.web_search, settings.web_region, settings.web_context) == ("yandex", "de", "low")
    assert settings.web_domains == ("a.org", "b.org")
    with pytest.raises(ConfigError, match="web_context"):
        config.load(environ={"VIVAVOCE_WEB_CONTEXT": "huge"}, file=file)


@pytest.fixture
def searxng(monkeypatch):
    for variable in ("BRAVE_API_KEY", "TAVILY_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    return lambda url: monkeypatch.setenv("VIVAVOCE_SEARXNG_URL", url)


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (Reply(body={"results": []}), "✓ Web search: SearXNG"),
        (Reply(status=403), "! The web cannot be searched"),
    ],
)
def test_a_doctor_asks_the_engine(searxng, capsys, reply: Reply, told: str):
    with serving(reply) as server:
        searxng(server.url)
        household.doctor(Settings())
    said = capsys.readouterr().out
    assert told in said
    assert "search: formats:" in said or reply.status == 200


def test_a_doctor_finds_an_engine_without_its_key(searxng, capsys):
    searxng("")
    assert not household.doctor(Settings(web_search="brave"))
    assert "Set BRAVE_API_KEY" in capsys.readouterr().out


def test_a_doctor_without_an_engine_says_nothing_of_it(searxng, capsys):
    searxng("")
    household.doctor(Settings())
    assert "eb search" not in capsys.readouterr().out
