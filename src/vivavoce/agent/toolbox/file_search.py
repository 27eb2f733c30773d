"""A search of the person's own notes: text and Markdown files of a folder, by words (SQLite FTS5, in memory)."""

from __future__ import annotations

import re
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vivavoce.agent.functions import Found, ToolError, tool
from vivavoce.realtime.hosted import EXAMPLES, FILES
from vivavoce.realtime.values import Source

if TYPE_CHECKING:
    from collections.abc import Iterator

ENDINGS: Final = frozenset([".txt", ".md", ".markdown", ".rst", ".text"])
MOST_FILES: Final = 5_000
LARGEST: Final = 4_000_000
"""Bytes of a file; larger ones are left out."""
PASSAGE: Final = 800
"""Characters from which a passage ends with its paragraph."""
FOUND: Final = 4
"""Passages that are told."""

_PARAGRAPH: Final = re.compile(r"\n\s*\n")


@dataclass(frozen=True)
class Passage:
    """A piece of a file."""

    file: str
    """Its path below the folder."""
    line: int
    """Where it begins, from 1."""
    text: str


class Files:
    """A folder that can be searched; what has changed is read again at the next search."""

    def __init__(self, folder: str | Path) -> None:
        """Take the folder; nothing is read yet."""
        self.folder = Path(folder).expanduser()
        self._known: dict[str, tuple[int, int]] = {}
        """Files that are indexed: when they were written, nanoseconds, and how long they are."""
        self._lock = threading.Lock()
        self._index: sqlite3.Connection | None = None

    def search(self, query: str) -> Found:
        """Return the passages that fit best, with file and line.

        Raises:
            ToolError: the folder cannot be read, or nothing in it fits.
        """
        words = list(dict.fromkeys(re.findall(r"\w+", query.lower())))
        if not words:
            raise ToolError("There is nothing to search for: ask the user what is meant.")
        if not self.folder.is_dir():
            raise ToolError("The folder of the user's files is not there any more: say so.")
        with self._lock:
            index = self._refreshed()
            passages = _matches(index, words)
        if not passages:
            raise ToolError(f"The user's files say nothing about {query!r}.")
        told = [f"[{each.file}:{each.line}] {each.text}" for each in passages]
        sources = (
            Source(title=f"{each.file}:{each.line}", file_id=each.file, quote=each.text[:PASSAGE]) for each in passages
        )
        return Found("\n\n".join(told), tuple(sources))

    def _refreshed(self) -> sqlite3.Connection:
        if self._index is None:
            self._index = sqlite3.connect(":memory:", check_same_thread=False)
            self._index.execute(
                "create virtual table passages "
                "using fts5(file unindexed, line unindexed, text, tokenize='porter unicode61')"
            )
        found = dict(_files(self.folder))
        for name in [name for name, state in self._known.items() if found.get(name) != state]:
            self._index.execute("delete from passages where file = ?", (name,))
            del self._known[name]
        for name, state in found.items():
            if name not in self._known:
                rows = [(each.file, each.line, each.text) for each in passages_of(self.folder, name)]
                self._index.executemany("insert into passages values (?, ?, ?)", rows)
                self._known[name] = state
        return self._index


def passages_of(folder: Path, name: str) -> Iterator[Passage]:
    """Cut a file into passages of whole paragraphs."""
    try:
        text = (folder / name).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    begun = 0
    while begun < len(text):
        end = _end(text, begun)
        if piece := text[begun:end].strip():
            lead = len(text[begun:end]) - len(text[begun:end].lstrip())
            yield Passage(name, text.count("\n", 0, begun + lead) + 1, piece)
        begun = end


def _end(text: str, begun: int) -> int:
    """Return where a passage ends: with a paragraph, or where that is too long, with a line or a word."""
    paragraph = _PARAGRAPH.search(text, begun + PASSAGE)
    end = paragraph.end() if paragraph else len(text)
    if end - begun <= 2 * PASSAGE:
        return end
    latest = begun + 2 * PASSAGE
    cut = max(text.rfind("\n", begun, latest), text.rfind(" ", begun, latest))
    return cut + 1 if cut > begun else latest


def _files(folder: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    count = 0
    for path in sorted(folder.rglob("*")):
        below = path.relative_to(folder)
        if path.suffix.lower() not in ENDINGS or any(part.startswith(".") for part in below.parts):
            continue
        try:
            state = path.stat()
        except OSError:
            continue
        if path.is_file() and state.st_size <= LARGEST and path.resolve().is_relative_to(folder.resolve()):
            yield below.as_posix(), (state.st_mtime_ns, state.st_size)
            count += 1
        if count >= MOST_FILES:
            return


def _matches(index: sqlite3.Connection, words: list[str]) -> list[Passage]:
    query = " OR ".join(f'"{word}"' for word in words)
    rows = index.execute(
        "select file, line, text from passages where passages match ? order by bm25(passages) limit ?", (query, FOUND)
    )
    return [Passage(*row) for row in rows]


def file_search(files: Files) -> Any:
    """Return the tool that searches a folder."""

    @tool(name=FILES, examples=EXAMPLES[FILES])
    def search(query: str) -> Found:
        """Search the user's own files and notes for passages that answer a question.

        Args:
            query: What to look for.
        """
        return files.search(query)

    return search
