"""Workbooks and comma-separated values: a row is a line that repeats the names of its columns."""

from __future__ import annotations

import csv as values
import io
from typing import TYPE_CHECKING, Any, Final

from vivavoce.search.extractors.text import decoded
from vivavoce.search.extractors.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from vivavoce.search.chunking import Document

_LONGEST_FIELD: Final = 2**20
_COLUMNS: Final = 256
"""Of a row that are read."""


def csv(path: Path) -> Document:
    """Read comma-separated values, with whatever separates them."""
    text = decoded(path.read_bytes())
    values.field_size_limit(_LONGEST_FIELD)
    try:
        dialect: Any = values.Sniffer().sniff(text[:8192], ",;\t|")
    except values.Error:
        dialect = values.excel
    writer = Writer()
    _rows(writer, values.reader(io.StringIO(text), dialect))
    return writer.document()


def xlsx(path: Path) -> Document:
    """Read the values of a workbook, sheet by sheet."""
    from openpyxl import load_workbook

    book = load_workbook(path, read_only=True, data_only=True, keep_links=False)
    writer = Writer()
    for sheet in book.worksheets:
        writer.section(1, sheet.title)
        _rows(writer, sheet.iter_rows(values_only=True, max_col=_COLUMNS))
    return writer.document()


def _rows(writer: Writer, rows: Iterable[Iterable[Any]]) -> None:
    names: list[str] = []
    for row in rows:
        cells = ["" if cell is None else " ".join(str(cell).split()) for cell in row]
        if not any(cells):
            continue
        if not names:
            names = cells
            writer.paragraph(", ".join(filter(None, cells)), "\n")
            continue
        names += [""] * (len(cells) - len(names))
        said = (f"{name}: {cell}" if name else cell for name, cell in zip(names, cells, strict=False) if cell)
        writer.paragraph("; ".join(said) + ".", "\n")
