"""Numbers and lengths of time as people say them, and as recognisers write them down."""

# ruff: noqa: RUF001 - Cyrillic words are what they seem to be

from __future__ import annotations

import re
from typing import Final

_SMALL: Final = {
    word: number
    for number, word in enumerate(
        re.findall(
            r"\w+",
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
            "seventeen eighteen nineteen",
        )
    )
}
_TENS: Final = {
    word: 10 * number
    for number, word in enumerate(re.findall(r"\w+", "twenty thirty forty fifty sixty seventy eighty ninety"), start=2)
}
_SCALES: Final = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_UNITS: Final = (
    (r"days?|дн(?:я|ей)|день|сут(?:ки|ок)", 86_400),
    (r"hours?|hrs?|h|час(?:а|ов)?", 3600),
    (r"minutes?|mins?|m|минут[ауы]?|мин", 60),
    (r"seconds?|secs?|s|секунд[ауы]?|сек", 1),
)
_LENGTH: Final = "|".join(f"(?P<u{seconds}>{words})" for words, seconds in _UNITS)
_AMOUNT: Final = re.compile(rf"(?:(\d+(?:[.,]\d+)?)\s*)?\b(?:{_LENGTH})\b")
_CLOCK: Final = re.compile(r"^(?:(\d+):)?(\d+):(\d\d)$")
_HALF: Final = ((r"\bhalf an? (?=\w)", "0.5 "), (r"\bполчаса\b", "0.5 hours"), (r"\bполтора\b", "1.5"))
_AND_A_HALF: Final = re.compile(r"\b(\d+)? ?(hours?|minutes?) and a half\b|\b(\d+) and a half\b")


class _Reader:
    """Adds up number words, as long as each fits behind the one before."""

    def __init__(self) -> None:
        self.total = 0
        self.group = 0
        self.room = 1000
        """Only a smaller number may follow."""
        self.words = 0

    def take(self, word: str) -> bool:
        """Add a word, and tell whether it belongs to the number."""
        value = _SMALL.get(word, _TENS.get(word))
        if value is not None and value < self.room and (value or not self.words):
            self.group += value
            self.room = 10 if word in _TENS else 0
        elif word == "hundred" and 0 < self.group < 10:  # noqa: PLR2004
            self.group *= 100
            self.room = 100
        elif word in _SCALES and self.group:
            self.total += self.group * _SCALES[word]
            self.group, self.room = 0, 1000
        else:
            return False
        self.words += 1
        return True


def digits(text: str) -> str:
    """Write the numbers of a text in digits: "twenty-three point five percent" becomes "23.5 percent"."""
    text = re.sub(r"(?<=y)-(?=\w)", " ", text.lower())
    words = re.findall(
        r"[^\W\d_]+(?:['’][^\W\d_]+)*|\d+(?:[.,]\d+)*|\*\*|\S",
        re.sub(r"\ban? (?=hundred|thousand|million)", "one ", text),
    )
    written: list[str] = []
    while words:
        number, words = _number(words)
        if number:
            written.append(number)
        else:
            written.append(words.pop(0))
    return re.sub(r"\s+([,.!?:])", r"\1", " ".join(written))


def _number(words: list[str]) -> tuple[str, list[str]]:
    """Read a number from the front of words; empty where there is none."""
    if len(words) > 1 and words[0][0].isdigit() and words[1] in _SCALES:
        return f"{float(words[0].replace(',', '')) * _SCALES[words[1]]:.15g}", words[2:]
    reader, at = _Reader(), 0
    while at < len(words):
        joined = words[at] == "and" and reader.room == 100 and at + 1 < len(words)  # noqa: PLR2004
        if not reader.take(words[at + joined]):
            break
        at += 1 + joined
    if not reader.words:
        return "", words
    number, words = str(reader.total + reader.group), words[at:]
    if len(words) > 1 and words[0] == "point" and words[1] in _SMALL:
        decimals = 1
        while decimals < len(words) and _SMALL.get(words[decimals], 10) < 10:  # noqa: PLR2004
            decimals += 1
        number += "." + "".join(str(_SMALL[word]) for word in words[1:decimals])
        words = words[decimals:]
    return number, words


def seconds(text: str) -> float | None:
    """Return the length of time that a text names, None where it names none: "an hour and a half" is 5400."""
    told = digits(text)
    if clock := _CLOCK.match(told.replace(" ", "")):
        hours, minutes, rest = (int(part or 0) for part in clock.groups())
        return 3600.0 * hours + 60 * minutes + rest
    for pattern, written in _HALF:
        told = re.sub(pattern, written, told)
    told = _AND_A_HALF.sub(_with_half, told)
    found = list(_AMOUNT.finditer(told))
    if not found:
        return None
    return sum(float((match[1] or "1").replace(",", ".")) * int(str(match.lastgroup)[1:]) for match in found)


def _with_half(match: re.Match[str]) -> str:
    number, unit, alone = match.groups()
    return f"{alone}.5" if alone else f"{number or 1}.5 {unit}"


def length(amount: float) -> str:
    """Say a length of time: "1 hour 5 minutes"."""
    parts = []
    rest = max(round(amount), 0)
    for name, size in (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {name}{'s' * (count != 1)}")
    return " ".join(parts) or "0 seconds"
