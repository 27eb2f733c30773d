"""PDF, by PDFium: the text of each page, with the outline's headings."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from vivavoce.search.extractors.writer import Writer
from vivavoce.search.shapes import LibraryError

if TYPE_CHECKING:
    from pathlib import Path

    from vivavoce.search.chunking import Document

_PAGES: Final = 20_000
_HYPHEN: Final = re.compile(r"(?<=\w)(?:\ufffe|\u00ad|-)\n(?=[a-zа-я])")  # noqa: RUF001 - Cyrillic
_LINE: Final = re.compile(r"(?<![.!?:;\n])\n(?=\S)")


def pdf(path: Path) -> Document:
    """Read a PDF.

    Raises:
        LibraryError: `invalid_file` (broken or encrypted), `no_text` (a scan).
    """
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as wrong:
        locked = "password" in str(wrong).lower()
        why = "it needs a password; save it without one" if locked else "it is damaged"
        raise LibraryError("invalid_file", f"The PDF can't be read: {why}.") from wrong
    if len(document) > _PAGES:
        raise LibraryError("file_too_large", f"The PDF has more than {_PAGES:,} pages; split it.")
    writer, outline, empty = Writer(), _outline(document), 0
    for number in range(len(document)):
        for level, title in outline.get(number, ()):
            writer.section(level, title)
        writer.page(number + 1)
        text = _text(document, number)
        empty += not text
        writer.paragraph(text)
    if empty == len(document):
        raise LibraryError(
            "no_text",
            f"The PDF has {empty} page{'s' * (empty != 1)} and no text: it is a scan. "
            "Recognise its text first, for example with ocrmypdf.",
        )
    return writer.document()


def _text(document: Any, number: int) -> str:
    import pypdfium2

    try:
        page = document[number]
        text: str = page.get_textpage().get_text_bounded()
        page.close()
    except pypdfium2.PdfiumError:
        return ""
    text = _HYPHEN.sub("", text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", ""))
    return _LINE.sub(" ", text).strip()


def _outline(document: Any) -> dict[int, list[tuple[int, str]]]:
    """Return the headings that begin on each page, with their levels."""
    found: dict[int, list[tuple[int, str]]] = {}
    for entry in document.get_toc(max_depth=3):
        destination = entry.get_dest()
        page = destination.get_index() if destination is not None else None
        if page is not None and (title := entry.get_title().strip()):
            found.setdefault(page, []).append((entry.level + 1, title))
    return found
