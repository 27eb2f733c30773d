"""Whether words sound as if more were to come."""
# ruff: noqa: RUF001, SIM905 - words of other scripts are meant, and read best as one string

from __future__ import annotations

import re

OPEN = frozenset(
    "a an the and or but because if when while although of to for with from into about as than my your his its our "
    "their i'm i've we're they're it's whether unless until um uh er erm "
    "и а но или что чтобы если когда потому как в на с к о от для по из у мой твой наш ваш его её их не э эм ну".split()
)
"""Words that hardly end what somebody wants to say."""
COPULAS = frozenset("is are was were".split())
SUBJECTS = frozenset("i you he she it we they this that these those there here".split())
"""What may stand before the last word of a sentence that ends in a copula."""
DIGITS = frozenset("zero oh one two three four five six seven eight nine ноль один два три четыре пять шесть".split())
DICTATED = 2
"""Digits in a row that look like a number being dictated."""
ASKED = re.compile(
    r"^\W*(what|who|whose|where|when|why|how|which|is|are|do|does|did|can|could|will|would|should|have|has|"
    r"что|кто|где|когда|почему|как|какой|какая|какие|сколько|можно)\b.*\?\W*$",
    re.IGNORECASE,
)
YES_OR_NO = re.compile(
    r"^\W*(is|are|am|was|were|do|does|did|can|could|will|would|should|have|has|may|might|please)\b", re.IGNORECASE
)
"""What no preposition is left behind in: "could you remind me to"."""
ANNOUNCED = re.compile(r"\b(tell|show|remind|ask|give|let|send|bring|help) (me|us|him|her|them)\W*$", re.IGNORECASE)
"""It is still to be said what."""
SHORTEST_QUESTION = 4
"""Words of a question that is complete."""
MORE, DICTATING, COMPLETE = -3.0, -2.0, 1.0
"""Log odds that the speaker has finished."""

_WORD = re.compile(r"[\w']+")


def finished(words: str) -> float:
    """Return the log odds that somebody who has said these words has finished; 0 where they do not tell.

    A recogniser puts a full stop behind everything, so that only its commas and dashes mean something.
    """
    text = words.strip().lower()
    said = _WORD.findall(text)
    if not said:
        return 0.0
    if YES_OR_NO.match(text) and (said[-1] in OPEN or ANNOUNCED.search(text)):
        return MORE
    if text.endswith("?"):
        return COMPLETE if len(said) >= SHORTEST_QUESTION and ASKED.match(text) else 0.0
    if said[-1] in OPEN or text.endswith((",", "-", "—", "–", "...", "…")):
        return MORE
    if said[-1] in COPULAS and len(said) > 1 and said[-2] not in SUBJECTS:
        return MORE
    if len(said) >= DICTATED and all(word.isdecimal() or word in DIGITS for word in said[-DICTATED:]):
        return DICTATING
    return 0.0
