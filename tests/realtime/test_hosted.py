"""What the server searches for the model, as a session declares it and as its clients see it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.realtime.harness import Server, new_session, only, sound, types
from tests.realtime.test_rules import CREATE, raw, text, update

from vivavoce.realtime import events as wire
from vivavoce.realtime import facts
from vivavoce.realtime.conversation import HostedTool
from vivavoce.realtime.values import Source
from vivavoce.realtime.yandex import Yandex

HANDBOOK = Source(title="handbook.pdf", file_id="file-1", quote="27 days", page=4)
PAGE = Source(title="Louvre", url="https://www.louvre.fr/en", quote="closed on Tuesdays")
RESERVED = [
    {"type": "function", "name": "web_search", "description": "Search the web", "parameters": "{}"},
    {"type": "function", "name": "file_search", "description": " vs_1 ", "parameters": {}},
    {"type": "function", "name": "get_weather"},
]
FILTER = {"type": "eq", "key": "year", "value": 2024}
SEARCH = {"files": {"vector_store_ids": ["vs_1"], "max_num_results": 4, "filters": FILTER}}
BEGUN = facts.Searched("resp_1", "file_search", "holidays")
FOUND = facts.Searched("resp_1", "file_search", "holidays", (HANDBOOK, PAGE))
ANSWER = (facts.Said("resp_1", "27 days."), facts.Spoke("resp_1", sound(500)), facts.Finished(response_id="resp_1"))


def hosted(server: Server) -> tuple[HostedTool, ...]:
    found: tuple[HostedTool, ...] = only(server(CREATE), facts.Generate).prompt.hosted
    return found


@pytest.fixture
def server() -> Server:
    return Server(new_session())


def test_functions_with_reserved_names_are_searches_in_yandex_dialect(server: Server) -> None:
    asked = Yandex().read({"type": "session.update", "session": {"type": "realtime", "tools": RESERVED}})
    server.strict = False
    server(asked)
    generate = only(server(CREATE), facts.Generate)
    assert generate.prompt.hosted == (HostedTool(name="file_search", stores=("vs_1",)), HostedTool(name="web_search"))
    assert [tool.name for tool in generate.prompt.tools] == ["get_weather"]


def test_without_the_dialect_they_are_functions_like_others(server: Server) -> None:
    server(update(tools=RESERVED))
    generate = only(server(CREATE), facts.Generate)
    assert generate.prompt.hosted == ()
    assert len(generate.prompt.tools) == 3


def test_our_own_clients_say_what_is_searched_and_how(server: Server) -> None:
    web = {"allowed_domains": ["python.org"], "region": "DE", "context_size": "low"}
    server(update(vivavoce={"search": {**SEARCH, "web": web}}))
    files, pages = hosted(server)
    assert (files.stores, files.limit, files.filters) == (("vs_1",), 4, FILTER)
    assert (pages.domains, pages.region, pages.context_size) == (("python.org",), "DE", "low")


def test_a_function_of_the_client_keeps_its_name(server: Server) -> None:
    server(update(tools=RESERVED[1:2], vivavoce={"search": SEARCH}))
    generate = only(server(CREATE), facts.Generate)
    assert (generate.prompt.hosted, [tool.name for tool in generate.prompt.tools]) == ((), ["file_search"])


@pytest.mark.parametrize(
    ("search", "param"),
    [
        ({"files": {}}, "session.vivavoce.search.files.vector_store_ids"),
        ({"files": {"vector_store_ids": []}}, "session.vivavoce.search.files.vector_store_ids"),
        (
            {"files": {"vector_store_ids": ["a"], "max_num_results": 51}},
            "session.vivavoce.search.files.max_num_results",
        ),
        ({"web": {"context_size": "vast"}}, "session.vivavoce.search.web.context_size"),
        ({"books": {}}, "session.vivavoce.search.books"),
    ],
)
def test_what_cannot_be_searched_so_is_refused_by_name(server: Server, search: Any, param: str) -> None:
    assert server.error(update(vivavoce={"search": search})).param == param


def test_a_search_is_ended_with_null(server: Server) -> None:
    server(update(vivavoce={"search": SEARCH}))
    server(update(vivavoce={"search": None}))
    assert hosted(server) == ()


def test_stock_clients_see_nothing_but_the_answer(server: Server) -> None:
    plain = types(Server(new_session())(text(), CREATE, *ANSWER))
    seen = server(text(), CREATE, BEGUN, FOUND, *ANSWER)
    assert types(seen) == plain
    told = json.dumps(raw(seen))
    assert not any(word in told for word in ("handbook", "louvre", "search", "annotations"))


def test_clients_that_ask_are_told_of_the_search_and_of_its_sources(server: Server) -> None:
    server(update(vivavoce={"search": SEARCH, "sources": True}))
    begun, done, *_ = server(text(), CREATE, BEGUN, FOUND)[-2:]
    assert (begun.tool, begun.query, begun.response_id) == ("file_search", "holidays", "resp_1")
    assert done.sources == (HANDBOOK, PAGE)
    item = only(server(*ANSWER), wire.OutputItemDone).item
    file, page = item.content[0].annotations
    assert (file.type, file.file_id, file.filename, file.page) == ("file_citation", "file-1", "handbook.pdf", 4)
    assert (page.type, page.url, page.title) == ("url_citation", "https://www.louvre.fr/en", "Louvre")
    assert [annotation.source for annotation in (file, page)] == [HANDBOOK, PAGE]


def test_an_answer_that_comes_later_does_not_name_the_sources_of_an_earlier_one(server: Server) -> None:
    server(update(vivavoce={"search": SEARCH, "sources": True}))
    server(CREATE, BEGUN, FOUND, *ANSWER)
    said = (facts.Said("resp_2", "You are welcome."), facts.Finished(response_id="resp_2"))
    item = only(server(CREATE, *said), wire.OutputItemDone).item
    assert not item.content[0].annotations


def test_a_search_that_comes_too_late_is_ignored(server: Server) -> None:
    server(update(vivavoce={"sources": True}))
    server(CREATE, {"type": "response.cancel"})
    assert server(FOUND) == []
