"""Cuts streamed text into pieces that a voice can begin with, and cleans a piece for the voice."""
# ruff: noqa: RUF001, SIM905 - quotes and stops of many scripts are meant, and words read best as one string

from __future__ import annotations

import re
import unicodedata

LIMIT = 200
"""Characters a piece has at most; a code fence, which nobody speaks, may have more."""

CLAUSE_WORDS = 4
"""Words that the first piece needs before it may end at a clause."""

_FENCE = "```"
_LOOKAHEAD = 4
"""Characters past the limit that must be known before a cut there, as a fence or the next word may begin."""

_CLOSERS = r"""["'”’»)\]*_`]*"""
_END = re.compile(
    rf"(?P<stop>[.!?…]+)(?P<close>{_CLOSERS})\s+(?=\S)"
    r"|[。！？]+[」』”’）】]*\s*(?=[^\s。！？」』”’）】])"
    r"|\s*\n\s*(?=\S)"
)
_CLAUSE = re.compile(rf"(?:[,;:]{_CLOSERS}|\s*[—–]|\s-)\s+(?=\S)|[，、；：](?=\S)")
_JOINT = re.compile(
    r"\s+(?=(?:because|but|while|which|although|though|whereas|unless|until|"
    r"and (?:I|you|he|she|it|we|they|there|this|that|then)|потому|поэтому|хотя)\s)"
)
"""Before a word that begins another clause, where no comma need stand."""
_WORD = re.compile(r"""[^\s("'“‘«\[*_]*$""")
_LINE_MARKS = " \t*_#>-"

_BEFORE_NAME = frozenset(
    "mr mrs ms mx dr prof st mt gen col capt lt sgt rev hon gov sen rep pres vs cf approx est incl "
    "г ул им см проф акад доц тов напр".split()
)
_BEFORE_NUMBER = frozenset(
    "no nos fig vol p pp ch sec art jan feb mar apr jun jul aug sep sept oct nov dec стр рис гл п тел".split()
)
_MAY_END = frozenset(["a.m", "p.m", "т.д", "т.п"])
_PRONOUNS = frozenset("IЯ")


class Sentences:
    """Cuts streamed text into speakable pieces whose concatenation is the text.

    A piece ends with a sentence, a line or a code fence, at a clause or space before `LIMIT`, and the first one
    already at a clause that can stand alone, so that speech starts early. The cuts do not depend on the sizes of
    the deltas.
    """

    def __init__(self, *, early: bool = True) -> None:
        self._early = early
        self._first = early
        self._text = ""

    def feed(self, delta: str) -> list[str]:
        """Return the pieces that the delta completes."""
        self._text += delta
        pieces = []
        while (end := _cut(self._text, clause=self._first)) is not None:
            pieces.append(self._take(end))
        return pieces

    def flush(self) -> list[str]:
        """Return what is left and be ready for another text."""
        pieces = []
        while self._text:
            pieces.append(self._take(_cut(self._text, clause=self._first, whole=True) or len(self._text)))
        self._first = self._early
        return pieces

    def _take(self, end: int) -> str:
        piece, self._text = self._text[:end], self._text[end:]
        self._first = self._first and not piece.strip()
        return piece


def split(text: str) -> list[str]:
    """Cut a whole text into pieces that end with sentences and have at most `LIMIT` characters."""
    sentences = Sentences(early=False)
    return [*sentences.feed(text), *sentences.flush()]


def _cut(text: str, *, clause: bool, whole: bool = False) -> int | None:
    """Return where the first piece of the text ends, or None while that is unknown.

    Args:
        text: what has not been cut yet; no more than the limit and what follows it is looked at.
        clause: whether the piece may end at a clause.
        whole: whether no more text comes.
    """
    if text.startswith(_FENCE):
        closing = text.find(_FENCE, len(_FENCE))
        return closing + len(_FENCE) if closing > 0 else None
    text = text[: LIMIT + _LOOKAHEAD]
    fence = text.find(_FENCE)
    bound = min(LIMIT, fence) if fence > 0 else LIMIT
    end = min(_ends(text, bound, clause=clause), default=None)
    if end is not None:
        return end
    if fence == bound:
        return fence
    return _last_resort(text) if len(text) >= LIMIT + (1 if whole else _LOOKAHEAD) else None


def _ends(text: str, bound: int, *, clause: bool) -> list[int]:
    """Return the first end of a sentence and the first of a clause, where there are such up to the bound."""
    joints = (_CLAUSE, _JOINT) if clause else ()
    found = [next((m.end() for m in _END.finditer(text) if _ends_sentence(text, m)), None)]
    found += [next((m.end() for m in each.finditer(text) if _stands_alone(text[: m.start()])), None) for each in joints]
    return [end for end in found if end is not None and end <= bound]


def _stands_alone(clause: str) -> bool:
    return len(clause.split()) >= CLAUSE_WORDS


def _ends_sentence(text: str, match: re.Match[str]) -> bool:
    """Tell whether a stop followed by space, or a line break, ends a sentence here."""
    before, following = text[: match.start()], text[match.end()]
    stop = match["stop"]
    if stop is None or "\n" in match[0]:
        return bool(before.strip())
    if stop == ".":
        return not following.islower() and not _is_abbreviation(before, following)
    goes_on = match["close"] or stop.endswith(("..", "…"))
    return not (goes_on and following.islower())


def _is_abbreviation(before: str, following: str) -> bool:
    """Tell whether a full stop belongs to the word before it, given the character that follows the space."""
    found = _WORD.search(before)
    word = found[0] if found else ""
    if word.isdigit():
        return not before[: -len(word)].rpartition("\n")[2].strip(_LINE_MARKS)
    if len(word) == 1 and word.isupper():
        return word not in _PRONOUNS
    lower = word.lower()
    if "." in lower.strip("."):
        return lower not in _MAY_END and all(len(part) <= 2 for part in lower.split("."))  # noqa: PLR2004 - "Ph.D."
    return lower in _BEFORE_NAME or (lower in _BEFORE_NUMBER and following.isdigit())


def _last_resort(text: str) -> int:
    """Return a cut within the limit where a sentence is longer: after a clause, else a word, else anywhere."""
    clauses = [m.end() for m in _CLAUSE.finditer(text) if LIMIT // 3 <= m.end() <= LIMIT]
    spaces = [m.end() for m in re.finditer(r"\s", text[:LIMIT])]
    return max(clauses or spaces, default=LIMIT)


_UNSPOKEN = (
    (re.compile(r"```.*?(?:```|\Z)", re.DOTALL), " "),
    (re.compile(r"!?\[([^\]]*)\]\([^)\s]*(?:\s+\"[^\"]*\")?\)"), r"\1"),
    (re.compile(r"<?https?://(?:www\.)?([^\s<>]+?)/?(?=[.,;:!?)>]*(?:\s|$))>?"), r"\1"),
    (re.compile(r"</?[A-Za-z][^<>]*>"), " "),
    (re.compile(r"^[ \t]*(?:(?:[-*_][ \t]*){3,}|\|?[ \t]*:?-{3,}[-:| \t]*)$", re.MULTILINE), " "),
    (re.compile(r"^[ \t]*(?:(?:#{1,6}|>+|[-*+•‣◦])[ \t]+)+(?:\[[ xX]\][ \t]+)?", re.MULTILINE), ""),
    (re.compile(r"\*{2,}|~~|`+|(?<!\w)_+|_+(?!\w)|(?<![\w\s])\*+|\*+(?![\w\s])|(?<!\S)\*(?=\S)|(?<=\S)\*(?!\S)"), ""),
    (re.compile(r"[|\u2190-\u21ff]"), " "),
)
_SPOKEN_SYMBOLS = frozenset("°№")
_SILENT_CATEGORIES = frozenset(["Cc", "Cf", "Cn", "Co", "Cs", "Me", "So"])
_PRESENTATION = re.compile("[\ufe00-\ufe0f\U0001f3fb-\U0001f3ff]")


def speakable(text: str) -> str:
    """Return what a voice should say of a piece of Markdown; "" if there is nothing to pronounce.

    Code fences and emoji go, a link keeps its text and a bare URL its address without the scheme.
    """
    for pattern, replacement in _UNSPOKEN:
        text = pattern.sub(replacement, text)
    text = "".join(map(_spoken, _PRESENTATION.sub("", text)))
    text = " ".join(text.split())
    return text if any(map(str.isalnum, text)) else ""


def _spoken(character: str) -> str:
    if character.isspace() or character in _SPOKEN_SYMBOLS:
        return character
    return "" if unicodedata.category(character) in _SILENT_CATEGORIES else character
