"""Which sentence of what was found answers a question, and how it is quoted; pure.

A small model muddles what it reads, and obeys it. A sentence that is quoted is as true as its source and gives no
orders; to choose it takes milliseconds.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final, NamedTuple

from vivavoce.ports import Passage  # noqa: TC001 - a named tuple's fields
from vivavoce.server import citing
from vivavoce.speech.sentences import speakable, split

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_STEM: Final = 6
"""Letters of a word that tell what it is about, whatever it ends with."""
_SENTENCE: Final = 4
"""Words that make a sentence; fewer are a heading."""
_CONTROL: Final = re.compile(r"<\|[^|<>]*\|>")
_ORDER: Final = re.compile(
    r"\b(?:ignore|forget|disregard)\b.*\b(?:instructions?|prompt|rules)\b|\byou (?:are now|must now|only say)\b",
    re.IGNORECASE,
)
"""What speaks to a model, not to a reader."""
_NUMBERED: Final = re.compile(r"^\W*\d+(?:\.\d+)*\.\s+")
_SECTION: Final = re.compile(r"^\d+\.\d")
_NEARLY: Final = 0.85
"""Share of the best claim's worth from which another one is told beside it."""
_LONGEST: Final = 320
"""Characters of both."""
_BEGINS: Final = re.compile(r"\s*(?:[-*+•#|>]|\d+[.)]\s|$)")
"""What a line begins with that is not the rest of the one before."""
_MEASURE: Final = re.compile(r"\bhow (?:many|much|long|old|often|far|big|large|late|early)\b|\bwhen\b", re.IGNORECASE)
"""Questions whose answer has a number or a time."""
_AMOUNT: Final = re.compile(
    r"\d|\b(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|twenty|thirty|forty|fifty|"
    r"sixty|seventy|eighty|ninety|hundreds?|thousands?|half|quarter|once|twice|first|second|third|fourth|daily|weekly|"
    r"monthly|annual|yearly|every|never|always|before|after|until|during|\w+day)\b",
    re.IGNORECASE,
)
_LACKING: Final = 0.15
"""What a sentence without one loses."""
_LIKENESS: Final = 0.75
"""Similarity from which a recogniser's spelling counts as the word."""
_SHORT: Final = 3
"""Letters of words that are like too many others."""
_ENDINGS: Final = re.compile(r"(?<=\w{3})(?:ies|es|s|ed|ing|ly|y|e)$")
_COMMON: Final = frozenset(
    "a an and any are as at be by can could did do does for from had has have he her his how i if in into is it its "  # noqa: SIM905 - reads best as one string
    "may me much many my no not of on or our please say says said she should so some tell than that the their them "
    "then there these they this to us was we were what when where which who whom whose why will with would you your "
    "about according documents document file files notes handbook manual".split()
)
"""Words that say nothing about what is asked."""


class Claim(NamedTuple):
    """One sentence of something that was found."""

    passage: Passage
    text: str
    about: str = ""
    """The heading or question right above it."""

    @property
    def whole(self) -> str:
        """Return the sentence with what it is about."""
        return f"{self.about} {self.text}".strip()


def claims(passages: Iterable[Passage], question: str, most: int) -> list[Claim]:
    """Return the sentences of passages that share most words with a question, in their order.

    Args:
        passages: the best first.
        question: what is looked for.
        most: how many.
    """
    wanted, told = stems(question), dict[str, Claim]()
    for passage in passages:
        for text, about in _sentences(passage.text):
            told.setdefault(text, Claim(passage, text, about))
    ranked = sorted(told.values(), key=lambda claim: -len(wanted & stems(claim.whole)))[:most]
    return [claim for claim in told.values() if claim in ranked]


def best(found: Sequence[Claim], question: str, nearness: Sequence[float]) -> tuple[tuple[Claim, ...], float]:
    """Return the claim that answers best, with another that does nearly so, and how likely they do, in [0, 1].

    Args:
        found: claims.
        question: what is asked.
        nearness: of the meaning of each to that of the question, in [-1, 1].
    """
    values = [_worth(claim, question, near) for claim, near in zip(found, nearness, strict=True)]
    ranked = sorted(range(len(found)), key=lambda index: -values[index])
    if not ranked:
        return (), 0.0
    first, *others = ranked
    beside = [
        index
        for index in others[:1]
        if values[index] >= _NEARLY * values[first]
        and found[index].passage is found[first].passage
        and len(found[index].text) + len(found[first].text) <= _LONGEST
    ]
    return tuple(found[index] for index in sorted([first, *beside])), values[first]


def quoted(told: Sequence[Claim], before: str = "") -> str:
    """Return sentences of one source as they are spoken, with its name unless that was told just before."""
    begun = citing.opening(told[0].passage.source, before)
    text = " ".join(map(_ended, told))
    first = text.split(maxsplit=1)[0]
    small = begun and first != "I" and first.lower() in _COMMON
    return f"{begun}{text[0].lower() if small else text[0]}{text[1:]}"


def stems(text: str) -> frozenset[str]:
    """Return what the words of a text are about, roughly."""
    words = re.findall(r"\w+", text.lower())
    return frozenset(_ENDINGS.sub("", word)[:_STEM] for word in words if word not in _COMMON)


def _worth(claim: Claim, question: str, nearness: float) -> float:
    wanted = stems(question)
    here, around = stems(claim.whole), stems(f"{claim.passage.source.title} {claim.passage.text}")
    meant = len(wanted & around) / max(len(wanted), 1)
    said = sum(word in here or _misheard(word, here) for word in wanted) / max(len(wanted), 1)
    lacking = _LACKING if _MEASURE.search(question) and not _AMOUNT.search(claim.text) else 0.0
    return min(max(0.5 * nearness + 0.25 * said + 0.25 * meant - lacking, 0.0), 1.0)


def _misheard(word: str, known: Iterable[str]) -> bool:
    """Tell whether a recogniser may have spelled one of these words so."""
    return len(word) > _SHORT and bool(get_close_matches(word, known, 1, _LIKENESS))


def _ended(claim: Claim) -> str:
    return claim.text if claim.text.endswith((".", "!", "?", "…")) else f"{claim.text.rstrip(',;: ')}."


def _sentences(text: str) -> Iterator[tuple[str, str]]:
    """Yield the sentences of a text, without markup, each with the heading or question right above it."""
    about = ""
    for line in _unwrapped(_CONTROL.sub(" ", text)):
        for piece in map(speakable, split(_NUMBERED.sub("", line))):
            short = len(piece.split()) < _SENTENCE
            heading = short or piece.endswith("?") or line.startswith("#") or bool(_SECTION.match(line))
            if piece and not heading and not _ORDER.search(piece):
                yield piece, about
            about = piece if heading and piece else ""


def _unwrapped(text: str) -> list[str]:
    """Return the lines of a text as they were meant; a line that was only broken is joined to the one before."""
    lines: list[str] = []
    for line in text.splitlines():
        if lines and lines[-1] and not _BEGINS.match(line) and not lines[-1].startswith("#"):
            lines[-1] = f"{lines[-1]} {line.strip()}"
        else:
            lines.append(line.strip())
    return lines
