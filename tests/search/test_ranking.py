"""Which of the candidates comes first, and how sure that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.search.finding import Finder
from vivavoce.search.fusion import fused, merits, relevance
from vivavoce.search.words import Coverage, stem, words

if TYPE_CHECKING:
    from vivavoce.search.index import Index

WORDS = st.lists(
    st.sampled_from("policy policies leave leaves leaving vacation's it’s 漢字 отпуск a c++ x_y".split()),  # noqa: RUF001, SIM905
    max_size=6,
)


@given(WORDS, WORDS)
def test_coverage_is_the_weighted_share_of_the_stems_that_are_there(asked, text):
    wanted = {word: 1.0 + number for number, word in enumerate(words(" ".join(asked)))}
    there = {stem(word) for word in words(" ".join(text))}
    weights: dict[str, float] = {}
    for word, weight in wanted.items():
        weights[stem(word)] = max(weight, weights.get(stem(word), 0.0))
    share = sum(weight for one, weight in weights.items() if one in there) / (sum(weights.values()) or 1.0)
    assert Coverage(wanted).of(" ".join(text)) == pytest.approx(share)


def test_coverage_looks_at_whole_words():
    assert Coverage({"port": 1.0}).of("Ports are closed") == 1.0
    assert Coverage({"port": 1.0}).of("an important report, a portrait") == 0.0
    assert Coverage({}).of("anything") == 0.0


@given(
    st.dictionaries(st.integers(), st.tuples(st.floats(-1, 1), st.floats(0, 1)), max_size=8),
    st.floats(0.1, 10),
    st.floats(-3, 3),
)
def test_merits_do_not_depend_on_the_scale_of_the_cosines(evidence, scale, shift):
    scaled = {key: (cosine * scale + shift, covered) for key, (cosine, covered) in evidence.items()}
    spread = {round(cosine, 3) for cosine, _ in evidence.values()}
    if len(spread) > 1:
        assert merits(scaled) == pytest.approx(merits(evidence), abs=1e-3)


def test_what_has_the_words_comes_before_what_is_only_a_little_nearer():
    evidence = {"far": (0.1, 0.0), "near": (0.50, 0.0), "said": (0.48, 1.0)}
    assert max(merits(evidence), key=merits(evidence).__getitem__) == "said"
    nearest = merits(evidence, lexical=0.0)
    assert max(nearest, key=nearest.__getitem__) == "near"
    assert merits({}) == {}


def test_fusion_prefers_what_both_have():
    assert fused([(1.0, ["a", "b"]), (1.0, ["b", "c"])])[0] == "b"
    assert fused([(1.0, ["a", "b"]), (5.0, ["c", "b"])])[0] == "b"
    assert fused([]) == []


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(0, 0.9))
def test_relevance_means_the_same_for_models_whose_cosines_are_all_high(cosine, covered, unrelated):
    high = unrelated + cosine * (1 - unrelated)
    assert relevance(high, covered, unrelated) == pytest.approx(relevance(cosine, covered), abs=1e-6)


def test_another_model_is_measured_once(embedder):
    seen = []

    class Crowded:
        """All vectors lie close together."""

        name, dimension = "crowded", embedder.dimension

        def embed(self, texts, *, query=False):
            seen.append(len(texts))
            vectors = embedder.embed(texts) + 2 / self.dimension**0.5
            return vectors / (vectors**2).sum(axis=1, keepdims=True) ** 0.5

    finder = Finder(cast("Index", None), Crowded())
    assert 0.5 < finder._cosine_of_unrelated() == finder._cosine_of_unrelated() < 0.95
    assert len(seen) == 1
    assert Finder(cast("Index", None), embedder)._cosine_of_unrelated() < 0.3
