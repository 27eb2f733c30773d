"""The page over HTTP: what is served to whom, and with which headers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from vivavoce.server.console import assets
from vivavoce.server.hub import Hub

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.server.conftest import Serving

    from vivavoce.server.engine import Engines

pytestmark = pytest.mark.anyio

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def http(url: str) -> str:
    return url.replace("ws", "http", 1).removesuffix("/v1/realtime")


async def test_a_browser_gets_the_page_and_others_the_index(engines: Callable[..., Engines], serving: Serving) -> None:
    async with serving(Hub(engines())) as url, httpx.AsyncClient(base_url=http(url)) as web:
        page = await web.get("/", headers=BROWSER)
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert not any(word in policy for word in ("unsafe", "*", "http:", "https:"))
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["referrer-policy"] == "no-referrer"
        assert page.headers["vary"] == "Accept"
        index = await web.get("/")
        assert index.headers["content-type"].startswith("text/plain")
        head = await web.head("/", headers=BROWSER)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == page.headers["content-length"]


async def test_every_file_is_served_and_not_twice(engines: Callable[..., Engines], serving: Serving) -> None:
    assert {"index.html", "style.css", "main.js", "audio/playback-worklet.js"} <= set(assets())
    async with serving(Hub(engines())) as url, httpx.AsyncClient(base_url=http(url)) as web:
        for name, asset in assets().items():
            answer = await web.get(f"/console/{name}")
            assert (answer.content, answer.headers["content-type"]) == (asset.content, asset.type)
            again = await web.get(f"/console/{name}", headers={"If-None-Match": answer.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path", ["/console/", "/console/../run.py", "/console/%2e%2e/run.py", "/console/audio", "/console/x"]
)
async def test_nothing_else_is_served(engines: Callable[..., Engines], serving: Serving, path: str) -> None:
    async with serving(Hub(engines())) as url, httpx.AsyncClient() as web:
        answer = await web.get(httpx.URL(http(url), raw_path=path.encode()))
        assert answer.status_code == 404
