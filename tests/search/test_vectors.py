from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vivavoce.search.vectors import AGAIN, Matrix, Segment, encode


def units(count, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((count, 128)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def filled(coded, sizes=(700, 500, 1200)):
    matrix, first = Matrix(128, coded=coded), 10
    vectors: dict[int, Any] = {}
    for number, size in enumerate(sizes):
        rows = units(size, number)
        matrix.add(Segment(first, size), encode(rows) if coded else rows)
        vectors |= dict(zip(range(first, first + size), rows, strict=True))
        first += size + 5
    return matrix, vectors


def best(vectors, question, limit, keep=lambda _: True):
    return sorted((one for one in vectors if keep(one)), key=lambda one: -float(vectors[one] @ question))[:limit]


def test_the_nearest_are_found_exactly_while_they_are_few():
    matrix, vectors = filled(coded=False)
    for question in units(20, 99):
        assert matrix.nearest(question, 10) == best(vectors, question, 10)


def test_codes_bring_up_the_nearest_among_those_that_are_looked_at_again():
    matrix, vectors = filled(coded=True)
    for question in units(20, 99):
        found = matrix.nearest(question, 10)
        assert len(found) == AGAIN
        assert len({*found} & {*best(vectors, question, 10)}) >= 8


@pytest.mark.parametrize("coded", [False, True])
def test_what_is_dropped_or_not_allowed_is_not_found(coded):
    matrix, vectors = filled(coded)
    question = vectors[12]
    assert matrix.nearest(question, 5)[0] == 12
    assert matrix.nearest(question, 5, [715])[0] in range(715, 1215)
    assert {*matrix.nearest(question, 5, [715])} <= {*range(715, 1215)}
    assert matrix.nearest(question, 5, []) == matrix.nearest(question, 5, [3]) == []
    matrix.drop(10)
    assert len(matrix) == 1700
    assert not {*matrix.nearest(question, 5)} & {*range(10, 710)}
    matrix.drop(715)
    matrix.drop(1220)
    assert len(matrix) == 0
    assert matrix.nearest(question, 5) == []
    matrix.add(Segment(5000, 1), encode(question[np.newaxis]) if coded else question[np.newaxis])
    assert matrix.nearest(question, 5) == [5000]
