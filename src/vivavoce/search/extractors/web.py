"""Web pages and EPUB books, which are web pages in an archive."""

from __future__ import annotations

import posixpath
import re
import zipfile
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from vivavoce.search.extractors.text import decoded
from vivavoce.search.extractors.writer import Writer
from vivavoce.search.shapes import LibraryError

if TYPE_CHECKING:
    from pathlib import Path

    from vivavoce.search.chunking import Document

_SILENT: Final = frozenset(
    "script style noscript template svg nav footer header aside form button iframe head math object select".split()  # noqa: SIM905
)
_BLOCKS: Final = frozenset(
    "p li td th dd dt pre blockquote div section article main tr table ul ol dl figure figcaption address hr br body "  # noqa: SIM905
    "caption details summary".split()
)
_CELLS: Final = frozenset({"td", "th"})
_HEADING: Final = re.compile(r"h([1-6])$")


def html(path: Path) -> Document:
    """Read a web page without its navigation."""
    writer = Writer()
    _page(writer, path.read_bytes())
    return writer.document()


def epub(path: Path) -> Document:
    """Read the chapters of a book in reading order."""
    from lxml import etree

    writer = Writer()
    safe = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)
    try:
        with zipfile.ZipFile(path) as book:
            container = etree.fromstring(book.read("META-INF/container.xml"), safe)
            package = container.find(".//{*}rootfile").get("full-path")
            opened = etree.fromstring(book.read(package), safe)
            hrefs = {item.get("id"): item.get("href") for item in opened.iterfind(".//{*}manifest/{*}item")}
            for chapter in opened.iterfind(".//{*}spine/{*}itemref"):
                href = hrefs[chapter.get("idref")]
                member = posixpath.normpath(posixpath.join(posixpath.dirname(package), unquote(href)))
                _page(writer, book.read(member))
    except (etree.LxmlError, zipfile.BadZipFile, KeyError, AttributeError, TypeError) as wrong:
        raise LibraryError("invalid_file", f"The book is damaged: {wrong}.") from wrong
    return writer.document()


def _page(writer: Writer, content: bytes) -> None:
    from lxml import etree
    from lxml import html as pages

    text = re.sub(r"^\s*<\?xml[^>]*>", "", _decoded(content))
    if not text.strip():
        return
    try:
        root = pages.document_fromstring(text, parser=pages.HTMLParser(no_network=True, huge_tree=False))
    except etree.ParserError:
        return
    mains = root.xpath("//main | //*[@role='main']")
    _Walk(writer).element(mains[0] if len(mains) == 1 else root)


def _decoded(content: bytes) -> str:
    declared = re.search(rb"charset\s*=\s*[\"']?([\w-]+)", content[:2048])
    if declared:
        try:
            return content.decode(declared.group(1).decode())
        except (LookupError, UnicodeDecodeError):
            pass
    return decoded(content)


class _Walk:
    """Goes through the elements of a page in order, on a stack of its own: pages may nest without end."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._inline: list[str] = []

    def element(self, root: Any) -> None:
        todo: list[Any] = [root]
        while todo:
            thing = todo.pop()
            if thing is None:
                self._flush()
            elif isinstance(thing, str):
                self._inline.append(thing)
            elif isinstance(thing.tag, str) and thing.tag not in _SILENT:
                self._enter(thing, todo)

    def _enter(self, element: Any, todo: list[Any]) -> None:
        if level := _HEADING.match(element.tag):
            self._flush()
            self._writer.heading(int(level.group(1)), " ".join("".join(element.itertext()).split()))
            return
        block = element.tag in _BLOCKS and element.tag not in _CELLS
        if block:
            self._flush()
            todo.append(None)
        if element.tag in _CELLS:
            todo.append(" | ")
        for child in reversed(element):
            if child.tail:
                todo.append(child.tail)
            todo.append(child)
        if element.text:
            todo.append(element.text)

    def _flush(self) -> None:
        text = " ".join("".join(self._inline).split())
        self._inline.clear()
        self._writer.paragraph(text.removesuffix("|"))
