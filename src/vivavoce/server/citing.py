"""How what was found is told: the best sentences of each passage to the model, the source to the listener; pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from vivavoce.speech.sentences import split

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from vivavoce.ports import Passage
    from vivavoce.realtime.values import Source

LONGEST_QUOTE: Final = 200
"""Characters of a passage that a client is shown."""

_ENDING: Final = re.compile(r"(?<=\w)\.(?!\d)\w{1,5}$")
_PLACE: Final = re.compile(r"(?<=\.)(?P<ending>\w{1,5})(?:, (?P<place>.+)|:\d+)$")
_PAGE: Final = re.compile(r"\bpage (\d+)\b")
_DETERMINED: Final = re.compile(r"(?:the|a|an|my|our|your|his|her|their)\b", re.IGNORECASE)
_NATIONAL: Final = frozenset(["co", "com", "org", "ac", "gov", "net", "edu", "or", "go", "ne"])
_INITIALS: Final = 3
"""Letters of a site's name up to which they are spelled."""
_STEM: Final = 5
"""Letters of a word that tell what it is about, whatever it ends with."""
_COMMON: Final = frozenset(
    "a an and any are as at be by can could did do does for from had has have he her his how i if in into is it its "  # noqa: SIM905 - reads best as one string
    "may me much many my no not of on or our please say says said she should so some tell than that the their them "
    "then there these they this to us was we were what when where which who whom whose why will with would you your "
    "about according documents document file files notes handbook manual".split()
)


def spoken(source: Source) -> str:
    """Return what a source is called in speech, as in "the employee handbook, page 4"."""
    if source.url and not source.file_id:
        return _site(source.url) or "a page on the web"
    title = source.title or source.file_id or ""
    place = _PLACE.search(title)
    told = place["place"] if place and place["place"] else ""
    name = _ENDING.sub("", title[: place.end("ending")] if place else title).replace("\\", "/").rsplit("/", 1)[-1]
    name = " ".join(re.sub(r"[-_.]+", " ", name).split())
    if not name:
        return "your documents"
    name = name if _DETERMINED.match(name) else f"the {name}"
    page = source.page or next((int(found) for found in _PAGE.findall(told)), None)
    return f"{name}, page {page}" if page else name


def opening(sources: Iterable[Source], before: str = "") -> str:
    """Return how an answer begins that has something from a source; empty where it was named just before.

    Args:
        sources: the best first.
        before: what was said last.
    """
    for source in sources:
        name = spoken(source)
        return "" if name.lower() in before.lower() else f"According to {name}, "
    return ""


def excerpt(text: str, question: str, longest: int) -> str:
    """Return the sentences of a text that are nearest to a question, in their order.

    Args:
        text: of a passage.
        question: what is looked for.
        longest: characters.
    """
    sentences = [
        " ".join(sentence.split()) for line in text.splitlines() for sentence in split(line) if sentence.strip()
    ]
    whole = " ".join(sentences)
    if len(whole) <= longest:
        return whole
    wanted = stems(question)
    held = [wanted & stems(sentence) for sentence in sentences]
    rarity = {stem: 1 / sum(stem in each for each in held) for stem in set().union(*held)}
    worth = [sum(rarity[stem] for stem in each) for each in held]
    kept, left = set[int](), longest
    for index in _outwards(worth):
        if len(sentences[index]) + 1 <= left:
            kept.add(index)
            left -= len(sentences[index]) + 1
        elif not kept:
            return sentences[index][:longest].rsplit(" ", 1)[0]
        else:
            break
    return " ".join(sentences[index] for index in sorted(kept))


def quotes(passages: Sequence[Passage], question: str, longest: int) -> list[tuple[Passage, str]]:
    """Return what the model reads of each passage; the best one may take most of the room.

    Args:
        passages: the best first.
        question: what is looked for.
        longest: characters of all.
    """
    told: list[tuple[Passage, str]] = []
    left = longest
    for number, passage in enumerate(passages):
        room = left if number == len(passages) - 1 else left * 2 // 3
        if quote := excerpt(passage.text, question, room):
            told.append((passage, quote))
            left -= len(quote)
    return told


def stems(text: str) -> frozenset[str]:
    """Return what the words of a text are about, roughly."""
    words = re.findall(r"\w+", text.lower())
    return frozenset(word[:_STEM] for word in words if word not in _COMMON)


def shown(source: Source, text: str) -> str:
    """Return the words of a passage that a client is shown: the source's own, or the beginning of the passage."""
    return source.quote or " ".join(text.split())[:LONGEST_QUOTE]


def _outwards(worth: Sequence[float]) -> Iterator[int]:
    """Yield the index of the best sentence, then those around it, the following first, while there are any."""
    best = max(range(len(worth)), key=lambda index: worth[index])
    yield best
    for distance in range(1, len(worth)):
        yield from (index for index in (best + distance, best - distance) if 0 <= index < len(worth))


def _site(url: str) -> str:
    """Return what people call a site: "Wikipedia", "BBC"."""
    try:
        labels = (urlsplit(url).hostname or "").split(".")
    except ValueError:
        return ""
    if len(labels) > 2 and len(labels[-1]) == 2 and labels[-2] in _NATIONAL:  # noqa: PLR2004 - co.uk, com.au
        labels = labels[:-1]
    name = labels[-2] if len(labels) > 1 else labels[0]
    if name.isdigit():
        return ""
    return name.upper() if len(name) <= _INITIALS else name.replace("-", " ").title()
