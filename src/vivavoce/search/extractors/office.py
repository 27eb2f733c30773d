"""Word documents and PowerPoint presentations."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from vivavoce.search.extractors.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vivavoce.search.chunking import Document


def docx(path: Path) -> Document:
    """Read paragraphs, tables and headings in order."""
    import docx as word

    writer = Writer()
    for part in word.Document(str(path)).iter_inner_content():
        if hasattr(part, "rows"):
            for row in part.rows:
                writer.paragraph(" | ".join(dict.fromkeys(cell.text.strip() for cell in row.cells)), "\n")
            continue
        style = (part.style.name if part.style is not None else "") or ""
        if level := re.match(r"(?:Heading (\d)|Title$)", style):
            writer.heading(int(level.group(1) or 1), part.text)
        else:
            writer.paragraph(part.text)
    return writer.document()


def pptx(path: Path) -> Document:
    """Read the slides with their notes."""
    from pptx import Presentation

    writer = Writer()
    for number, slide in enumerate(Presentation(str(path)).slides, 1):
        title = slide.shapes.title
        writer.section(1, title.text_frame.text if title is not None else "")
        writer.page(number)
        for text in _texts(slide.shapes):
            writer.paragraph(text)
        if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
            writer.paragraph(slide.notes_slide.notes_text_frame.text)
    return writer.document()


def _texts(shapes: Any) -> Iterator[str]:
    for shape in shapes:
        if hasattr(shape, "shapes"):
            yield from _texts(shape.shapes)
        elif shape.has_text_frame:
            yield shape.text_frame.text
        elif getattr(shape, "has_table", False):
            yield "\n".join(" | ".join(cell.text.strip() for cell in row.cells) for row in shape.table.rows)
