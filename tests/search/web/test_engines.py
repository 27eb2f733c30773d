"""Each engine against what its service answers, as documented, and against what no service should."""

from __future__ import annotations

import base64
import gzip
import json
import logging
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.search.web.loopback import Reply, serving

from vivavoce.ports import BackendError, Passage, Query
from vivavoce.search.web.brave import Brave
from vivavoce.search.web.duckduckgo import DuckDuckGo, region_of
from vivavoce.search.web.fetch import LARGEST
from vivavoce.search.web.searxng import Searxng
from vivavoce.search.web.tavily import Tavily
from vivavoce.search.web.websearch import Engine, WebSearch
from vivavoce.search.web.yandex import Yandex

pytestmark = pytest.mark.anyio

RECORDED = Path(__file__).parent / "recorded"
KEY = "s3cret-key-of-mine"
NAMES = ("searxng", "brave", "tavily", "yandex")


def recorded(name: str) -> Any:
    if name == "yandex":
        return packed((RECORDED / "yandex.xml").read_bytes())
    return json.loads((RECORDED / f"{name}.json").read_bytes())


def packed(xml: bytes) -> dict[str, str]:
    return {"rawData": base64.b64encode(xml).decode()}


def engine_at(name: str, url: str) -> Engine:
    match name:
        case "searxng":
            return Searxng(url.replace("://", f"://me:{KEY}@"))
        case "brave":
            return Brave(KEY, url=url)
        case "tavily":
            return Tavily(KEY, url=url)
        case _:
            return Yandex(KEY, "folder-of-mine", url=url)


async def looked(name: str, url: str, query: Query | None = None, **options: Any) -> list[Passage]:
    return list(await WebSearch(engine_at(name, url), **options).search(query or Query(text="bees")))


async def failure(name: str, url: str, **options: Any) -> BackendError:
    with pytest.raises(BackendError) as failed:
        await looked(name, url, **options)
    assert KEY not in f"{failed.value}{failed.value!r}"
    return failed.value


@pytest.mark.parametrize("name", NAMES)
async def test_what_it_finds_is_plain_and_ranked(name):
    with serving(recorded(name)) as server:
        bees, garden = await looked(name, server.url)
    assert bees.source.title == "Western honey bee"
    assert bees.source.url == "https://en.wikipedia.org/wiki/Western_honey_bee"
    assert bees.text.startswith("The western honey bee & its dance.")
    assert bees.source.quote == bees.text
    assert (garden.source.title, garden.text) == ("Bees | RHS", "Plants that bees like.")
    assert (bees.score, garden.score) == (1.0, 0.5)


async def asked_of(name: str, **query: Any) -> Any:
    with serving(recorded(name)) as server:
        await looked(name, server.url, Query(**({"text": "bees"} | query)))
    (asked,) = server.asked
    return asked


async def test_what_searxng_is_asked():
    asked = await asked_of("searxng", domains=("rhs.org.uk", "bees.org"), region="de")
    assert asked.path == "/search"
    assert asked.query == {
        "q": "bees (site:rhs.org.uk OR site:bees.org)",
        "format": "json",
        "language": "de-DE",
    }
    assert asked.headers["authorization"] == "Basic " + base64.b64encode(f"me:{KEY}".encode()).decode()
    assert "language" not in (await asked_of("searxng", region="MM")).query


async def test_what_brave_is_asked():
    asked = await asked_of("brave", domains=("rhs.org.uk",), region="gb", context_size="high")
    assert asked.headers["x-subscription-token"] == KEY
    assert asked.query == {
        "q": "bees site:rhs.org.uk",
        "count": "20",
        "result_filter": "web",
        "text_decorations": "false",
        "country": "GB",
        "extra_snippets": "true",
    }
    assert asked.query.keys() - (await asked_of("brave", region="KZ")).query.keys() == {"country", "extra_snippets"}


async def test_what_tavily_is_asked():
    asked = await asked_of("tavily", domains=("rhs.org.uk",), region="GB", context_size="high", limit=4)
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.body == {
        "query": "bees",
        "max_results": 4,
        "search_depth": "advanced",
        "include_domains": ["rhs.org.uk"],
        "country": "united kingdom",
    }
    assert (await asked_of("tavily", region="MM")).body == {"query": "bees", "max_results": 5, "search_depth": "basic"}


async def test_what_yandex_is_asked():
    asked = await asked_of("yandex", text="пчёлы", domains=("rhs.org.uk", "bees.org"), context_size="low")
    assert asked.headers["authorization"] == f"Api-Key {KEY}"
    assert asked.body == {
        "query": {"searchType": "SEARCH_TYPE_RU", "queryText": "пчёлы (site:rhs.org.uk | site:bees.org)"},
        "groupSpec": {"groupMode": "GROUP_MODE_FLAT", "groupsOnPage": "20", "docsInGroup": "1"},
        "maxPassages": "2",
        "folderId": "folder-of-mine",
        "responseFormat": "FORMAT_XML",
    }
    assert (await asked_of("yandex")).body["query"]["searchType"] == "SEARCH_TYPE_COM"
    kazakh = (await asked_of("yandex", region="KZ")).body
    assert (kazakh["query"]["searchType"], kazakh["region"]) == ("SEARCH_TYPE_KK", "159")
    with serving(recorded("yandex")) as server:
        await Yandex("t1.token", "f", bearer=True, url=server.url).find(Query(text="bees"))
    assert server.asked[0].headers["authorization"] == "Bearer t1.token"


@pytest.mark.parametrize("size", ["low", "medium", "high"])
@pytest.mark.parametrize("name", NAMES)
async def test_the_context_size_bounds_what_is_told(name, size):
    results, characters = {"low": (3, 300), "medium": (5, 500), "high": (10, 1000)}[size]
    many = [{"title": "t " * 500, "url": f"https://e.org/{n}", "content": "word " * 999} for n in range(30)]
    renamed = [row | {"description": row["content"]} for row in many]
    rows = "".join(
        f"<group><doc><url>{row['url']}</url><title>{row['title']}</title><headline>{row['content']}</headline></doc></group>"
        for row in many
    )
    xml = f"<yandexsearch><response><results><grouping>{rows}</grouping></results></response></yandexsearch>"
    answers: dict[str, Any] = {
        "searxng": {"results": many},
        "brave": {"type": "search", "web": {"results": renamed}},
        "tavily": {"results": many},
        "yandex": packed(xml.encode()),
    }
    with serving(answers[name]) as server:
        told = await looked(name, server.url, Query(text="bees", limit=99, context_size=size))
    assert len(told) == results
    assert all(characters - 10 < len(each.text) <= characters for each in told)
    assert all(len(each.source.title) <= 200 for each in told)


@pytest.mark.parametrize("name", NAMES)
async def test_sites_are_kept_to_whatever_the_engine_does(name):
    with serving(recorded(name)) as server:
        search = WebSearch(engine_at(name, server.url), domains=("rhs.org.uk", "example.org"))
        (only,) = await search.search(Query(text="bees"))
        assert only.source.url == "https://www.rhs.org.uk/bees"
        assert only.score == 1.0
        assert await search.search(Query(text="bees", domains=("wikipedia.org",))) == ()
        assert len(server.asked) == 1, "a query never widens what the settings allow"


NOTHING: dict[str, Any] = {
    "searxng": {"query": "bees", "results": [], "unresponsive_engines": []},
    "brave": {"type": "search", "query": {"original": "bees"}},
    "tavily": {"query": "bees", "results": []},
    "yandex": packed(b'<yandexsearch><response><error code="15">No results</error></response></yandexsearch>'),
}


@pytest.mark.parametrize("name", NAMES)
async def test_nothing_found_is_no_failure(name):
    with serving(NOTHING[name]) as server:
        assert await looked(name, server.url) == []


BAD = {
    "empty": b"",
    "a page": b"<html><body>502 Bad Gateway</body></html>",
    "an object of something else": b'{"error": "no"}',
    "no object": b"[1]",
    "null": b"null",
    "wrong types": b'{"type": "search", "results": 7, "web": 7, "rawData": 7}',
    "results of wrong types": b'{"type": "search", "results": [1, {"url": 5}], "web": {"results": [{"url": []}]}, "rawData": "PHg+"}',  # noqa: E501
    "not base64": b'{"type": 4, "results": "x", "rawData": "\xc3\xa9!"}',
    "deep": b"[" * 100_000,
    "not unicode": b'{"type": "search", "results": "\xff", "web": "\xff", "rawData": "\xff"}',
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("name", NAMES)
async def test_what_is_no_answer_is_told(name, kind):
    with serving(BAD[kind]) as server:
        assert (await failure(name, server.url)).code == "bad_answer"


@pytest.mark.parametrize("name", NAMES)
async def test_an_answer_that_is_cut_is_told(name):
    whole = json.dumps(recorded(name)).encode()
    with serving(whole[: len(whole) // 2]) as server:
        assert (await failure(name, server.url)).code == "bad_answer"


@pytest.mark.parametrize("name", ["searxng", "brave", "tavily"])
async def test_a_result_that_is_odd_is_left_out(name):
    answer = recorded(name)
    rows = answer["web"]["results"] if name == "brave" else answer["results"]
    rows[:0] = [7, {"title": "no address"}, {"url": "javascript:alert(1)"}, {"url": "https://e.org", "title": 7}]
    with serving(answer) as server:
        assert len(await looked(name, server.url)) == 2


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [
        (401, "search_refused", "HTTP 401"),
        (403, "search_refused", "HTTP 403"),
        (404, "search_refused", "HTTP 404"),
        (422, "search_refused", "HTTP 422"),
        (429, "rate_limit_exceeded", "takes no more searches now"),
        (432, "rate_limit_exceeded", "takes no more searches now"),
        (500, "search_failed", "HTTP 500"),
        (503, "search_failed", "HTTP 503"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
async def test_a_refusal_is_told_without_the_key(name, status, code, told):
    with serving(Reply(status=status, body=f"no: {KEY}".encode())) as server:
        failed = await failure(name, server.url)
    assert failed.code == code
    assert told in failed.message
    assert len(server.asked) == 1, "a refusal is not asked again"


@pytest.mark.parametrize("name", NAMES)
async def test_an_engine_that_is_silent_is_given_up(name):
    with serving(Reply(never=True)) as server:
        failed = await failure(name, server.url, timeout_s=0.2)
    assert failed.code == "search_timeout"
    assert "within 0.2 seconds" in failed.message


@pytest.mark.parametrize("name", NAMES)
async def test_a_machine_that_is_offline_says_so(name):
    failed = await failure(name, "http://127.0.0.1:9")
    assert failed.code == "search_unreachable"
    assert "offline" in failed.message


async def test_an_endless_answer_is_cut_off():
    piece = b" " * 100_000
    with serving(Reply(body=piece, pieces=1 + LARGEST // len(piece))) as server:
        assert "longer than 2 MB" in (await failure("searxng", server.url)).message


async def test_a_packed_answer_is_read_and_may_not_burst():
    zipped = {"Content-Encoding": "gzip"}
    whole = json.dumps(recorded("brave")).encode()
    with serving(
        Reply(body=gzip.compress(whole), headers=zipped),
        Reply(body=gzip.compress(b" " * (LARGEST + 1)), headers=zipped),
        Reply(body=whole, headers=zipped),
    ) as server:
        assert len(await looked("brave", server.url)) == 2
        assert "longer than 2 MB" in (await failure("brave", server.url)).message
        assert (await failure("brave", server.url)).code == "bad_answer"


async def test_a_connection_that_is_reset_is_tried_once_more():
    with serving(Reply(reset=True), recorded("tavily")) as server:
        assert len(await looked("tavily", server.url)) == 2
    with serving(Reply(reset=True)) as server:
        assert (await failure("tavily", server.url)).code == "search_unreachable"
        assert len(server.asked) == 2


async def test_a_redirect_is_followed_on_the_same_server_only():
    def to(where: str) -> Reply:
        return Reply(status=302, headers={"Location": where})

    with (
        serving(Reply(body=b"secrets of the house")) as other,
        serving(
            to("/elsewhere"),
            recorded("brave"),
            to(other.url),
            to("http://169.254.169.254/"),
            to("file:///etc/passwd"),
            to("/"),
        ) as server,
    ):
        assert len(await looked("brave", server.url)) == 2
        assert [asked.path for asked in server.asked] == ["/", "/elsewhere"]
        for _ in range(3):
            assert "elsewhere" in (await failure("brave", server.url)).message
        assert "without end" in (await failure("brave", server.url)).message
        assert other.asked == []


async def test_engines_of_searxng_that_all_fail_are_told():
    answer = {"query": "bees", "results": [], "unresponsive_engines": [["bing", "timeout"], ["qwant", "CAPTCHA"]]}
    with serving(answer) as server:
        assert "none of the engines" in (await failure("searxng", server.url)).message


@pytest.mark.parametrize(
    ("code", "told"),
    [("32", "takes no more"), ("55", "takes no more"), ("42", "YANDEX_CLOUD_API_KEY"), ("20", "code 20"), (KEY, "why")],
)
async def test_errors_in_the_answer_of_yandex_are_told(code, told):
    xml = f'<yandexsearch><response><error code="{code}">{KEY}</error></response></yandexsearch>'
    with serving(packed(xml.encode())) as server:
        assert told in (await failure("yandex", server.url)).message


@pytest.mark.parametrize(
    "entity",
    ['<!ENTITY a SYSTEM "file:///etc/hostname">', '<!ENTITY b "b"><!ENTITY a "&b;&b;&b;">', ""],
)
async def test_entities_in_the_answer_of_yandex_are_refused(entity):
    xml = f"<!DOCTYPE x [{entity}]><yandexsearch><response/></yandexsearch>"
    with serving(packed(xml.encode())) as server:
        assert (await failure("yandex", server.url)).code == "bad_answer"


@pytest.mark.parametrize("name", NAMES)
async def test_no_key_reaches_a_log(name, caplog):
    caplog.set_level(logging.DEBUG)
    with serving(recorded(name)) as server:
        search = WebSearch(engine_at(name, server.url))
        await search.search(Query(text="bees"))
    assert caplog.records
    assert KEY not in caplog.text + repr(search) + repr(search.engine)


async def test_a_search_that_is_given_up_leaves_nothing_behind():
    with serving(Reply(never=True), recorded("brave")) as server:
        search = WebSearch(Brave(KEY, url=server.url))
        with anyio.move_on_after(0.2):
            await search.search(Query(text="bees"))
        assert len(await search.search(Query(text="bees"))) == 2


# DuckDuckGo: the real library over its real transport, at an address of ours ------------------------------------------


@pytest.fixture
def duckduckgo(monkeypatch):
    from ddgs.engines.duckduckgo import Duckduckgo

    return lambda url: monkeypatch.setattr(Duckduckgo, "search_url", url)


async def test_duckduckgo_is_read(duckduckgo):
    page = Reply(body=(RECORDED / "duckduckgo.html").read_bytes(), headers={"Content-Type": "text/html"})
    with serving(page) as server:
        duckduckgo(server.url)
        found = await WebSearch(DuckDuckGo(), region="GB").search(Query(text="bees"))
    assert sorted(each.source.url or "" for each in found) == [
        "https://en.wikipedia.org/wiki/Western_honey_bee",
        "https://www.rhs.org.uk/bees",
    ]
    assert len(server.asked) == 1, "nobody else is asked"


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (Reply(body=b"<html><body></body></html>"), "knows none, or turns programs away"),
        (Reply(status=202, body=b"<html>challenge</html>"), "knows none, or turns programs away"),
        (Reply(reset=True), "offline"),
    ],
)
async def test_duckduckgo_that_gives_nothing_is_told(duckduckgo, reply, told):
    with serving(reply) as server:
        duckduckgo(server.url)
        with pytest.raises(BackendError, match=told):
            await WebSearch(DuckDuckGo()).search(Query(text="bees"))


@pytest.mark.parametrize(("country", "region"), [(None, "wt-wt"), ("GB", "uk-en"), ("DE", "de-de"), ("MM", "wt-wt")])
def test_how_duckduckgo_names_a_country(country, region):
    assert region_of(country) == region
