"""A line that a person types: a cursor among letters as they are seen, words, and the lines before it."""

from __future__ import annotations

import re
import unicodedata

JOINER = "\u200d"
"""Makes one picture of those at its two sides."""
REMEMBERED = 200
"""Lines that can be called back."""

_WORD_BEFORE = re.compile(r"\S*\s*\Z")
_WORD_AFTER = re.compile(r"\s*\S*")


class Paste(str):
    """What was pasted; it may have several lines, and none of its letters is a key."""

    __slots__ = ()


class LineEditor:
    """One line with a cursor, edited key by key."""

    def __init__(self) -> None:
        self.text = ""
        self.cursor = 0
        """Where the next letter goes, an index into the text that never splits a letter from its accents."""
        self._lines: list[str] = []
        self._at = 0
        """Which of the lines before is shown; their number for the new one."""
        self._draft = ""

    def press(self, key: str) -> str | None:
        """Edit the line, and return it when the key sends it.

        Args:
            key: as `Keyboard` names it: a character, `Paste`, or a name such as `left`; what means nothing is ignored.
        """
        if isinstance(key, Paste):
            self._insert(key)
        elif key == "enter":
            return self._send()
        elif len(key) == 1:
            self._insert(key)
        else:
            self._edit(key)
        return None

    def clear(self) -> None:
        """Begin a new line."""
        self._show("")
        self._at, self._draft = len(self._lines), ""

    def _edit(self, key: str) -> None:
        match key:
            case "left" | "ctrl+b":
                self.cursor = self._before()
            case "right" | "ctrl+f":
                self.cursor = self._after()
            case "home" | "ctrl+a":
                self.cursor = 0
            case "end" | "ctrl+e":
                self.cursor = len(self.text)
            case "ctrl+left" | "alt+left" | "alt+b":
                self.cursor = self._word_before()
            case "ctrl+right" | "alt+right" | "alt+f":
                self.cursor = self._word_after()
            case "up" | "ctrl+p":
                self._recall(self._at - 1)
            case "down" | "ctrl+n":
                self._recall(self._at + 1)
            case _:
                self._delete(key)

    def _delete(self, key: str) -> None:
        match key:
            case "backspace":
                self._cut(self._before(), self.cursor)
            case "delete" | "ctrl+d":
                self._cut(self.cursor, self._after())
            case "ctrl+w" | "alt+backspace" | "ctrl+backspace":
                self._cut(self._word_before(), self.cursor)
            case "alt+d" | "ctrl+delete":
                self._cut(self.cursor, self._word_after())
            case "ctrl+u":
                self._cut(0, self.cursor)
            case "ctrl+k":
                self._cut(self.cursor, len(self.text))
            case _:
                pass

    def _insert(self, text: str) -> None:
        self.text = self.text[: self.cursor] + text + self.text[self.cursor :]
        self.cursor = self._whole(self.cursor + len(text))

    def _cut(self, start: int, end: int) -> None:
        self.text = self.text[:start] + self.text[end:]
        self.cursor = self._whole(start)

    def _send(self) -> str:
        line = self.text
        if line.strip() and line not in self._lines[-1:]:
            self._lines = [*self._lines, line][-REMEMBERED:]
        self.clear()
        return line

    def _recall(self, at: int) -> None:
        if not 0 <= at <= len(self._lines):
            return
        if self._at == len(self._lines):
            self._draft = self.text
        self._at = at
        self._show(self._draft if at == len(self._lines) else self._lines[at])

    def _show(self, text: str) -> None:
        self.text, self.cursor = text, len(text)

    def _before(self) -> int:
        return self._start(self.cursor - 1)

    def _after(self) -> int:
        return self._whole(min(self.cursor + 1, len(self.text)))

    def _word_before(self) -> int:
        found = _WORD_BEFORE.search(self.text[: self.cursor])
        return self._start(found.start()) if found else 0

    def _word_after(self) -> int:
        found = _WORD_AFTER.match(self.text, self.cursor)
        return self._whole(found.end()) if found else len(self.text)

    def _start(self, at: int) -> int:
        """Return where the letter begins that a place is in."""
        while at > 0 and _belongs(self.text, at):
            at -= 1
        return max(at, 0)

    def _whole(self, at: int) -> int:
        """Return where the letter ends that a place is in."""
        while 0 < at < len(self.text) and _belongs(self.text, at):
            at += 1
        return at


def letters(text: str) -> list[str]:
    """Return the letters as they are seen: each with its accents, a picture of several parts as one."""
    found: list[str] = []
    for at, char in enumerate(text):
        if at and _belongs(text, at):
            found[-1] += char
        else:
            found.append(char)
    return found


def _belongs(text: str, at: int) -> bool:
    """Tell whether a character is seen as a part of the one before it."""
    char = text[at]
    if unicodedata.category(char) in ("Mn", "Mc", "Me") or char == JOINER or "\U0001f3fb" <= char <= "\U0001f3ff":
        return True
    return text[at - 1] == JOINER or (_flag_half(char) and _flag_halves(text, at) % 2 == 1)


def _flag_half(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def _flag_halves(text: str, at: int) -> int:
    """Return how many halves of flags stand right before."""
    start = at
    while start and _flag_half(text[start - 1]):
        start -= 1
    return at - start
