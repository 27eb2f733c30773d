"""What is made of what engines find."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.ports import Query
from vivavoce.search.web.fetch import stays
from vivavoce.search.web.results import cut, found, host_of, narrowed, plain, shortened, tidy, with_sites, within


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("Bees <b>dance</b>.", "Bees dance."),
        ("a &lt; b &amp; c", "a < b & c"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("&lt;script&gt;steal()&lt;/script&gt;", "steal()"),
        ("<!-- hidden\n --><p class='x'>seen</p>", "seen"),
        ("two\n\n\tlines\x00\x1b[31m", "two lines [31m"),
        ("\u202eevil\u202c \U000e0041\U000e0042tag", "evil tag"),
        ("\u0645\u200c\u062e", "\u0645\u200c\u062e"),
    ],
)
def test_texts_are_plain(written, told):
    assert plain(written) == told


@given(st.text(max_size=300), st.integers(2, 50))
def test_no_text_is_too_long_or_on_two_lines(text, longest):
    told = cut(plain(text), longest)
    assert len(told) <= longest
    assert "\n" not in told
    assert plain(told) == told or "<" in text or "&" in text


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)", "file:///etc/passwd", "ftp://e.org/", "//e.org/", "/path", "", "http://", "https://e.org:x/",
        "https://good.org@evil.org/", "https://evil.org\\@good.org/", "https://e.org/a b", "https://e.org/\n", "http://[/",
        "https://e.org/" + "a" * 2000, "data:text/html,hi", "https://e.org:0/", 'https://e.org/"><x',
    ],
)  # fmt: skip
def test_what_is_no_page_is_left_out(url):
    assert tidy([found("Title", url, "text")], Query(text="q")) == ()


@given(st.text(max_size=80))
def test_no_address_breaks_it(url):
    for text in (url, f"https://{url}"):
        for passage in tidy([found("t", text, "x")], Query(text="q", domains=("e.org",))):
            assert (passage.source.url or "").startswith(("https://", "http://"))


def test_a_page_is_told_once_with_its_best_rank():
    urls = ["https://e.org/a", "http://www.e.org/a/#part", "https://e.org/b", "https://e.org/a?x=1"]
    told = tidy([found("", url, "text") for url in urls], Query(text="q"))
    assert [each.source.url for each in told] == [urls[0], urls[2], urls[3]]
    assert [each.score for each in told] == [1, 1 / 2, 1 / 3]
    assert told[0].source.title == "e.org"


@pytest.mark.parametrize(
    ("host", "domains", "fits"),
    [
        ("docs.python.org", ("python.org",), True),
        ("python.org", ("python.org",), True),
        ("PYTHON.ORG.", ("python.org",), True),
        ("notpython.org", ("python.org",), False),
        ("python.org.evil.com", ("python.org",), False),
        ("python.org", ("docs.python.org",), False),
        ("xn--mnchen-3ya.de", ("xn--mnchen-3ya.de",), True),
        ("münchen.de", ("xn--mnchen-3ya.de",), True),
        ("anything.at.all", (), True),
        ("", ("python.org",), False),
    ],
)
def test_sites_and_those_below_them(host, domains, fits):
    assert within(host, domains) is fits


@pytest.mark.parametrize(
    ("asked", "allowed", "searched"),
    [
        ((), (), ()),
        ((), ("a.org",), ("a.org",)),
        (("A.org",), (), ("a.org",)),
        (("x.a.org",), ("a.org",), ("x.a.org",)),
        (("a.org",), ("x.a.org", "b.org"), ("x.a.org",)),
        (("a.org", "c.org"), ("a.org", "b.org"), ("a.org",)),
        (("c.org",), ("a.org",), None),
        (("not a site",), (), None),
    ],
)
def test_a_query_narrows_what_the_settings_allow(asked, allowed, searched):
    assert narrowed(Query(text="q", domains=asked), allowed) == searched


SITES = st.sampled_from(["a.org", "x.a.org", "y.x.a.org", "b.org", "c.com"])


@given(st.lists(SITES, min_size=1, max_size=4).map(tuple), st.lists(SITES, min_size=1, max_size=4).map(tuple))
def test_a_query_never_widens_what_the_settings_allow(asked, allowed):
    for site in narrowed(Query(text="q", domains=asked), allowed) or ():
        assert within(site, allowed)
        assert within(site, asked)


@pytest.mark.parametrize(
    ("site", "host"),
    [
        ("Docs.Python.org", "docs.python.org"),
        (" rhs.org.uk. ", "rhs.org.uk"),
        ("münchen.de", "xn--mnchen-3ya.de"),
        ("https://e.org", None),
        ("e.org/path", None),
        ("e.org:80", None),
        ("*.e.org", None),
        ("", None),
        ("-e.org", None),
        ("a b.org", None),
        ("a..b", None),
    ],
)
def test_names_of_sites(site, host):
    assert host_of(site) == host


def test_a_query_with_many_sites_leaves_them_out():
    few, many = tuple(f"site{n}.org" for n in range(3)), tuple(f"site{n}.org" for n in range(99))
    assert with_sites(Query(text="q", domains=few)) == "q (site:site0.org OR site:site1.org OR site:site2.org)"
    assert with_sites(Query(text="q", domains=many)) == "q"
    assert with_sites(Query(text="q")) == "q"


def test_a_query_is_one_line_and_not_too_long():
    assert shortened(" what\n is\tit ") == "what is it"
    assert len(shortened("word " * 200)) <= 400
    assert len(shortened("x" * 1000)) == 400


@pytest.mark.parametrize(
    ("before", "after", "followed"),
    [
        ("http://a.org/x", "http://a.org/y", True),
        ("http://a.org/x", "https://a.org/x", True),
        ("https://a.org/x", "http://a.org/x", False),
        ("https://a.org/", "https://b.org/", False),
        ("https://a.org/", "https://x.a.org/", False),
        ("http://a.org:8080/", "http://a.org:9090/", False),
        ("http://a.org:8080/", "https://a.org/", False),
        ("https://a.org/", "https://a.org:443/x", True),
        ("http://10.0.0.1/", "http://10.0.0.2/", False),
    ],
)
def test_redirects_that_are_followed(before, after, followed):
    assert stays(before, after) is followed
