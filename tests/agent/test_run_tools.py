"""Which tools a talk has, and how the agent behaves around them, by settings and service."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

import pytest

from vivavoce import run, tool
from vivavoce.agent import services
from vivavoce.config import ConfigError, Settings

if TYPE_CHECKING:
    from vivavoce.agent.hands import Manner
    from vivavoce.agent.tools import Toolbox

pytestmark = pytest.mark.anyio

YANDEX = {"YANDEX_CLOUD_API_KEY": "k", "YANDEX_CLOUD_FOLDER_ID": "f", "VECTOR_STORE_ID": "v"}
USUAL = {"get_weather", "date_and_time", "calculator", "set_timer", "list_timers", "cancel_timer"}


@tool
def calculator(question: str) -> str:
    """Calculate in another way."""
    return question


def names(box: Toolbox) -> set[str]:
    return {each.name for each in box.definitions()}


def parts(settings: Settings, environ: dict[str, str]) -> tuple[Toolbox, Manner]:
    service = services.find(settings, environ)
    box = run.toolbox(settings, service, [calculator])
    return box, run.manner_of(settings)


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    for name in ("VIVAVOCE_SEARXNG_URL", "BRAVE_API_KEY", "TAVILY_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_a_tool_of_ones_own_takes_the_place_of_ours(tmp_path):
    elsewhere = "ws://127.0.0.1:1/v1/realtime"
    settings = Settings(url=elsewhere, files=str(tmp_path), web_search="duckduckgo", language="ru-RU")
    box, manner = parts(settings, {})
    assert names(box) == USUAL | {"web_search", "file_search"}
    assert box.definitions()[0].description == "Calculate in another way."
    assert manner.words.wait == "Одну секунду."
    assert (manner.fillers, manner.filler_after_s, manner.settle_s) == (True, 1.5, 0.0)


def test_a_server_in_this_process_searches_itself(tmp_path):
    settings = Settings(files=str(tmp_path), web_search="duckduckgo")
    assert names(parts(settings, {})[0]) == USUAL
    wanted = services.find(settings, {}).session["vivavoce"]["search"]
    assert wanted == {"files": {"vector_store_ids": [str(tmp_path)]}, "web": {}}


def test_a_service_that_searches_itself_is_left_to_it_and_speaks_no_fillers(tmp_path):
    settings = Settings(service="yandex", files=str(tmp_path), web_search="duckduckgo")
    box, manner = parts(settings, YANDEX)
    assert names(box) == USUAL
    assert not manner.fillers
    assert manner.settle_s > 0


def test_fillers_can_be_turned_off():
    assert not parts(Settings(filler_s=0), {})[1].fillers


def test_a_search_engine_without_its_key_is_refused():
    with pytest.raises(ConfigError, match="BRAVE_API_KEY"):
        parts(Settings(web_search="brave"), {})


def test_a_folder_of_files_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"There is no folder .*nowhere"):
        parts(Settings(files=str(tmp_path / "nowhere")), {})


async def test_a_program_that_ends_at_once_is_told(capfd):
    settings = Settings(mcp=(f"{shlex.quote(sys.executable)} -c pass",))
    async with run.open_tools(settings, services.find(settings, {})) as box:
        assert names(box) == USUAL
    assert "the program ended; run it by itself to see why" in capfd.readouterr().err


async def test_a_server_that_is_away_is_told_once_and_the_talk_begins(capfd):
    settings = Settings(mcp=("no-such-program --really",))
    async with run.open_tools(settings, services.find(settings, {})) as box:
        assert names(box) == USUAL
    assert "No tools of --really: there is no program 'no-such-program'." in capfd.readouterr().err
