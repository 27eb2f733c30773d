from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vivavoce.search.chunking import Document, Mark, chunks, spans, tokens
from vivavoce.search.shapes import Chunking

TEXTS = st.text(st.sampled_from("ab cdé жы 漢字.!?\n\t-_'"), max_size=600) | st.lists(
    st.sampled_from(["word", "Longerword.", "\n\n", "unbelievablylongword" * 12, "Ответ!", "x", "\n"]), max_size=120
).map(" ".join)
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
CHUNKINGS = st.integers(32, 120).flatmap(
    lambda most: st.builds(Chunking, max_tokens=st.just(most), overlap_tokens=st.integers(0, most // 2))
)


@st.composite
def marked(draw):
    text = draw(TEXTS)
    return text, sorted(draw(st.sets(st.integers(0, max(len(text) - 1, 0)), max_size=8)))


@UNHURRIED
@given(marked(), CHUNKINGS)
def test_the_fresh_parts_laid_side_by_side_are_the_text(given_text, chunking):
    text, marks = given_text
    found = list(spans(text, marks, chunking))
    assert "".join(text[span.fresh : span.end] for span in found) == text
    assert all(span.start <= span.fresh < span.end for span in found)
    assert all(later.fresh == earlier.end for earlier, later in pairwise(found))


@UNHURRIED
@given(TEXTS, CHUNKINGS)
def test_no_chunk_has_more_tokens_than_it_may(text, chunking):
    for span in spans(text, [], chunking):
        assert tokens(text[span.start : span.end]) <= chunking.max_tokens


@UNHURRIED
@given(TEXTS, CHUNKINGS)
def test_chunks_overlap_by_no_more_than_they_may_and_only_with_the_one_before(text, chunking):
    found = list(spans(text, [], chunking))
    for earlier, later in pairwise(found):
        assert later.start > earlier.start
        assert tokens(text[later.start : later.fresh]) <= chunking.overlap_tokens


def test_short_sentences_are_repeated_at_the_start_of_the_next_chunk():
    text = " ".join(f"This is sentence {number}." for number in range(60))
    first, second, *_ = chunks(Document(text), Chunking(max_tokens=60, overlap_tokens=20))
    assert first.text.splitlines()[-1].endswith(".")
    assert second.text.split(". ")[0] in first.text


@UNHURRIED
@given(marked(), CHUNKINGS)
def test_places_are_where_most_of_what_is_new_is(given_text, chunking):
    text, offsets = given_text
    marks = tuple(Mark(offset, page=number + 1) for number, offset in enumerate(offsets))
    found = iter(chunks(Document(text, marks, lined=True), chunking))
    for span in spans(text, offsets, chunking):
        if not text[span.start : span.end].strip():
            continue
        chunk = next(found)
        fresh = text[span.fresh : span.end]
        begin = span.fresh + len(fresh) - len(fresh.lstrip())
        pages = Counter(sum(mark <= at for mark in offsets) for at in range(begin, span.fresh + len(fresh.rstrip())))
        assert pages[chunk.place.page or 0] == max(pages.values(), default=0)
        assert chunk.place.line == text.count("\n", 0, begin) + 1


def test_a_heading_begins_a_chunk_unless_what_is_before_it_is_small():
    long, short = "A sentence of some words. " * 30, "Tiny. "
    text = long + "Two " + long + "Three " + short + "Four " + long
    marks = [Mark(text.index(word), heading=word) for word in ("Two", "Three", "Four")]
    found = chunks(Document(text, tuple(marks)), Chunking())
    assert next(chunk for chunk in found if chunk.place.heading == "Two").text.startswith("Two")
    (joined,) = (chunk for chunk in found if "Three Tiny. Four" in chunk.text)
    assert joined.place.heading == "Four"
