"""Plain text, source code and Markdown: the text as it is, with its lines."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from vivavoce.search.chunking import Document, Mark
from vivavoce.search.extractors.writer import Headings

if TYPE_CHECKING:
    from pathlib import Path


def plain(path: Path) -> Document:
    """Read text in whatever encoding it seems to have."""
    return Document(decoded(path.read_bytes()), lined=True)


def markdown(path: Path) -> Document:
    """Read Markdown with its headings; front matter stays text."""
    from markdown_it import MarkdownIt

    text = decoded(path.read_bytes())
    offsets = [0]
    for line in text.split("\n"):
        offsets.append(offsets[-1] + len(line) + 1)
    headings, marks = Headings(), []
    parsed = MarkdownIt("commonmark").parse(text)
    for token, inline in pairwise(parsed):
        if token.type == "heading_open" and token.map and token.level == 0:
            headings.enter(int(token.tag[1:]), inline.content)
            marks.append(Mark(offsets[token.map[0]], heading=headings.path))
    return Document(text, tuple(marks), lined=True)


def decoded(content: bytes) -> str:
    """Return text with Unix line ends, of UTF-8, of UTF-16 with its mark, else of what the bytes look like."""
    for encoding in ("utf-8-sig",) if not content.startswith((b"\xff\xfe", b"\xfe\xff")) else ("utf-16",):
        try:
            return _lines(content.decode(encoding))
        except UnicodeDecodeError:
            pass
    from charset_normalizer import from_bytes

    best = from_bytes(content).best()
    return _lines(str(best) if best else content.decode("latin-1"))


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
