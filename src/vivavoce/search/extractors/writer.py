"""Collects a document paragraph by paragraph."""

from __future__ import annotations

from vivavoce.search.chunking import Document, Mark

JOIN = " > "
"""Between a heading and the one above it."""


class Headings:
    """Which headings are in force."""

    def __init__(self) -> None:
        self._open: list[tuple[int, str]] = []

    def enter(self, level: int, heading: str) -> None:
        """Begin a section; 1 is the outermost level, and one without a heading only ends others."""
        while self._open and self._open[-1][0] >= level:
            self._open.pop()
        if heading := " ".join(heading.split()):
            self._open.append((level, heading))

    @property
    def path(self) -> str | None:
        """Return them all, outermost first."""
        return JOIN.join(heading for _, heading in self._open) or None


class Writer:
    """A document in the making."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._marks: list[Mark] = []
        self._length = 0
        self._page: int | None = None
        self._headings = Headings()

    def page(self, number: int) -> None:
        """Begin a page."""
        self._page = number
        self._mark()

    def heading(self, level: int, text: str) -> None:
        """Begin a section with its heading."""
        if text.strip():
            self._headings.enter(level, text)
            self._mark()
            self.paragraph(text)

    def section(self, level: int, name: str) -> None:
        """Begin a section whose heading isn't part of the text."""
        self._headings.enter(level, name)
        self._mark()

    def paragraph(self, text: str, end: str = "\n\n") -> None:
        """Add text."""
        if text := text.strip():
            self._parts.append(text + end)
            self._length += len(text) + len(end)

    def document(self) -> Document:
        """Return what was written."""
        return Document("".join(self._parts), tuple(self._marks))

    def _mark(self) -> None:
        if self._marks and self._marks[-1].offset == self._length:
            self._marks.pop()
        self._marks.append(Mark(self._length, self._page, self._headings.path))
