from __future__ import annotations

import pytest

from vivavoce.search.filters import check, matches
from vivavoce.search.shapes import Attributes, LibraryError

FILE: Attributes = {"year": 2024, "author": "Ann", "draft": False, "share": 0.5}


def compare(kind, key, value):
    return {"type": kind, "key": key, "value": value}


@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        (compare("eq", "year", 2024), True),
        (compare("eq", "year", 2024.0), True),
        (compare("eq", "year", "2024"), False),
        (compare("eq", "draft", False), True),
        (compare("eq", "draft", 0), False),
        (compare("ne", "author", "Bob"), True),
        (compare("ne", "absent", "x"), True),
        (compare("eq", "absent", "x"), False),
        (compare("gt", "year", 2023), True),
        (compare("gte", "year", 2024), True),
        (compare("lt", "share", 0.5), False),
        (compare("lte", "share", 0.5), True),
        (compare("gt", "author", "Aaron"), True),
        (compare("gt", "author", 3), False),
        (compare("gt", "absent", 3), False),
        (compare("gt", "draft", -1), False),
        (compare("in", "author", ["Ann", "Bob"]), True),
        (compare("nin", "author", ["Ann", "Bob"]), False),
        (compare("nin", "absent", ["Ann"]), True),
        ({"type": "and", "filters": [compare("eq", "year", 2024), compare("eq", "author", "Bob")]}, False),
        ({"type": "or", "filters": [compare("eq", "year", 1), compare("eq", "author", "Ann")]}, True),
    ],
)
def test_comparisons(filters, passes):
    check(filters)
    assert matches(filters, FILE) is passes


def nested(depth):
    return compare("eq", "a", 1) if depth == 0 else {"type": "and", "filters": [nested(depth - 1)]}


@pytest.mark.parametrize(
    ("filters", "param"),
    [
        ("x", "filters"),
        ({}, "filters.type"),
        ({"type": "like", "key": "a", "value": "b"}, "filters.type"),
        ({"type": "eq", "value": 1}, "filters.key"),
        (compare("eq", "a", None), "filters.value"),
        (compare("eq", "a", [1]), "filters.value"),
        (compare("in", "a", 1), "filters.value"),
        (compare("gt", "a", True), "filters.value"),
        ({"type": "and", "filters": []}, "filters.filters"),
        ({"type": "or", "filters": [compare("eq", "a", 1), {"type": "eq"}]}, "filters.filters[1].key"),
    ],
)
def test_what_is_no_filter_is_refused_with_its_place(filters, param):
    with pytest.raises(LibraryError) as refused:
        check(filters)
    assert (refused.value.code, refused.value.param) == ("invalid_value", param)


def test_filters_do_not_nest_without_end():
    check(nested(16))
    with pytest.raises(LibraryError):
        check(nested(17))
