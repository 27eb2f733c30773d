"""Words of a question and of a text, as full text search sees them; pure."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Final

_WORD: Final = re.compile(r"\w+(?:['’]\w+)*")  # noqa: RUF001 - typographic apostrophe
_ENDING: Final = re.compile(r"(?<=\w{3})(?:ings?|edly|ed|ies|es|ly|s|e|y)$")
_POLITE: Final = re.compile(
    r"^(?:(?:hi|hello|hey|ok|okay|so|well|and|please|um+|uh+)[,.! ]+)*"
    r"(?:(?:can|could|would) you (?:please )?(?:tell me|say|look up|find out|explain)|tell me|"
    r"(?:do you know|i(?: would|'d) like to know|i want to know|what does the \w+ say about))[, ]+",
    re.IGNORECASE,
)

STOP: Final = frozenset((files(__package__) / "stopwords.txt").read_text(encoding="utf-8").split())
"""English and Russian words that no question is about."""


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, each once, in order."""
    return list(dict.fromkeys(match.group().lower() for match in _WORD.finditer(text)))


def keywords(question: str) -> list[str]:
    """Return the words that a question is about; all of them where it has no others."""
    every = words(question)
    return [word for word in every if word not in STOP] or every


def stem(word: str) -> str:
    """Cut the commonest English endings off."""
    return _ENDING.sub("", word.removesuffix("'s").removesuffix("’s"))  # noqa: RUF001 - typographic apostrophe


class Coverage:
    """Tells which share of a question's words a text has.

    Args:
        wanted: words and how much each weighs.
    """

    def __init__(self, wanted: dict[str, float]) -> None:
        self._weights: dict[str, float] = {}
        for word, weight in wanted.items():
            self._weights[stem(word)] = max(weight, self._weights.get(stem(word), 0.0))
        self._total = sum(self._weights.values())
        # A word begins with its stem: only those that begin so are looked at.
        stems = "|".join(map(re.escape, sorted(self._weights, key=len, reverse=True)))
        self._may = re.compile(rf"(?<!\w)(?:{stems})[\w'’]*")  # noqa: RUF001 - typographic apostrophe

    def of(self, text: str) -> float:
        """Return the share, in [0, 1]."""
        if not self._total:
            return 0.0
        there = {stem(word.rstrip("'’")) for word in set(self._may.findall(text.lower()))}  # noqa: RUF001 - apostrophe
        return sum(self._weights[one] for one in there & self._weights.keys()) / self._total


def rewritten(question: str) -> str:
    """Take politeness and what leads up to a question out of it."""
    return _POLITE.sub("", question.strip()).strip() or question.strip()
