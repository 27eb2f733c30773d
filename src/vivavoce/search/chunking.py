"""Cuts a text into overlapping chunks at headings, paragraphs, sentences and words, in this order; pure."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from vivavoce.search.shapes import Chunk, Chunking, Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TOKEN: Final = re.compile(r"[^\W_]+|[^\w\s]|_")
_END: Final = re.compile(r"\n\s*\n\s*|(?<=[.!?…。！？])[\"'”’»)\]]*\s+|\n")  # noqa: RUF001 - punctuation of all scripts
_GAP: Final = re.compile(r"\s+")
_SMALL: Final = 4
"""A section of less than this part of a chunk is joined with the next one."""


class Mark(msgspec.Struct, frozen=True):
    """From here on, a text is at another place."""

    offset: int
    page: int | None = None
    heading: str | None = None


class Document(msgspec.Struct, frozen=True):
    """What an extractor reads of a file."""

    text: str
    marks: tuple[Mark, ...] = ()
    """By offset; each replaces the one before it."""
    lined: bool = False
    """Whether the lines of the text are those of the file."""


class Span(NamedTuple):
    """A chunk as a stretch of a text."""

    start: int
    fresh: int
    """Where the part begins that the chunk before it does not have."""
    end: int


def tokens(text: str) -> int:
    """Estimate how many tokens an embedding model makes of a text; adds up over pieces cut at white space."""
    return sum(_cost(match.group()) for match in _TOKEN.finditer(text))


def chunks(document: Document, chunking: Chunking) -> list[Chunk]:
    """Cut a document; chunks without a word are left out, and the place of a chunk is where most of it is new."""
    text, offsets = document.text, [mark.offset for mark in document.marks]
    line, counted, found = 1, 0, []
    for span in spans(text, offsets, chunking):
        if not (said := text[span.start : span.end].strip()):
            continue
        fresh = text[span.fresh : span.end]
        begin = span.fresh + len(fresh) - len(fresh.lstrip())
        line += text.count("\n", counted, begin)
        counted = begin
        mark = _main_mark(document.marks, offsets, begin, span.fresh + len(fresh.rstrip()))
        place = Place(page=mark.page, heading=mark.heading, line=line if document.lined else None)
        found.append(Chunk(text=said, place=place))
    return found


def _main_mark(marks: Sequence[Mark], offsets: Sequence[int], begin: int, end: int) -> Mark:
    """Return the mark under which most of a stretch is."""
    first, last = bisect_right(offsets, begin) - 1, bisect_left(offsets, end)
    cuts = [begin, *offsets[first + 1 : last], end]
    lengths = [after - before for before, after in pairwise(cuts)]
    number = first + lengths.index(max(lengths))
    return marks[number] if number >= 0 else Mark(0)


def spans(text: str, marks: Sequence[int], chunking: Chunking) -> Iterator[Span]:
    """Cover a text with chunks; the fresh parts laid side by side are the text.

    Args:
        text: what is cut.
        marks: offsets at which a section or page begins; a chunk goes over one only while it is small.
        chunking: `max_tokens` is never exceeded, `overlap_tokens` neither.
    """
    sections = set(marks)
    start = fresh = 0
    size = 0
    previous: list[tuple[int, int]] = []
    for begin, end in _pieces(text, marks, chunking.max_tokens):
        cost = tokens(text[begin:end])
        if begin in sections and size * _SMALL >= chunking.max_tokens:
            yield Span(start, fresh, begin)
            start = fresh = begin
            size, previous = 0, []
        elif size + cost > chunking.max_tokens:
            yield Span(start, fresh, begin)
            start, size = _overlap(previous, begin, min(chunking.overlap_tokens, chunking.max_tokens - cost))
            fresh = begin
        size += cost
        previous.append((begin, cost))
    if fresh < len(text):
        yield Span(start, fresh, len(text))


def _overlap(previous: list[tuple[int, int]], begin: int, most: int) -> tuple[int, int]:
    """Return where a chunk starts that repeats the last pieces, and how many tokens those have; forgets the others."""
    start, size = begin, 0
    kept = 0
    for offset, cost in reversed(previous):
        if size + cost > most:
            break
        start, size, kept = offset, size + cost, kept + 1
    del previous[: len(previous) - kept]
    return start, size


def _pieces(text: str, marks: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """Cut a text into sentences, and those that are too long into words and parts of words."""
    cuts = {0, len(text), *(mark for mark in marks if 0 <= mark <= len(text))}
    cuts.update(match.end() for match in _END.finditer(text))
    for begin, end in pairwise(sorted(cuts)):
        if tokens(text[begin:end]) <= most:
            yield begin, end
        else:
            yield from _words(text, begin, end, most)


def _words(text: str, begin: int, end: int, most: int) -> Iterator[tuple[int, int]]:
    cuts = [begin, *(match.end() for match in _GAP.finditer(text, begin, end)), end]
    for first, last in pairwise(sorted(set(cuts))):
        if tokens(text[first:last]) <= most:
            yield first, last
        else:
            yield from ((at, min(at + most, last)) for at in range(first, last, most))


def _cost(word: str) -> int:
    """Five Latin letters are a token, or two of other scripts, rounded up: a word costs no more than its parts."""
    others = 0 if word.isascii() else sum(not letter.isascii() for letter in word)
    return -(-(2 * (len(word) - others) + 5 * others) // 10)
