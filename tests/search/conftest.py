"""Files of every format, and a library in a folder."""

from __future__ import annotations

import hashlib
import zipfile
from contextlib import asynccontextmanager

import numpy as np
import pytest
from tests.search.servers import PostgresServer, why_not

from vivavoce.search.library import open_library
from vivavoce.search.words import keywords, stem


class WordsEmbedder:
    """Vectors that tell which words a text has: for tests of everything but meaning."""

    name = "words"
    dimension = 256

    def embed(self, texts, *, query=False):
        found = np.full((len(texts), self.dimension), 1e-3, np.float32)
        for row, text in zip(found, texts, strict=True):
            for word in keywords(text):
                row[int(hashlib.md5(stem(word).encode()).hexdigest(), 16) % self.dimension] += 1
        return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.fixture
def embedder():
    return WordsEmbedder()


@pytest.fixture(scope="session")
def postgres():
    """A server that need not survive this."""
    if why := why_not():
        pytest.skip(why)
    server = PostgresServer(fsync="off", full_page_writes="off")
    yield server
    server.stop()


@pytest.fixture(params=["folder", "postgres"])
def place(request, tmp_path):
    """Where a library can be: a folder, or a database of its own on a real server."""
    if request.param == "folder":
        return str(tmp_path / "library")
    return request.getfixturevalue("postgres").database()


@pytest.fixture
def opened(place, embedder):
    """A library, as often as wanted."""

    @asynccontextmanager
    async def open_it(**options):
        async with open_library(place, embedder=embedder, **options) as library:
            yield library

    return open_it


def make_pdf(pages, outline=None):
    """A PDF with one line of text a page; a page without text is None."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", ""]
    kids = []
    font = "<< /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"
    for text in pages:
        drawn = "0 0 m 100 100 l S" if text is None else f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET"
        objects.append(f"<< /Length {len(drawn)} >>\nstream\n{drawn}\nendstream")
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources {font} /Contents {len(objects)} 0 R >>"
        )
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>"
    content, places = b"%PDF-1.4\n", []
    for number, what in enumerate(objects, 1):
        places.append(len(content))
        content += f"{number} 0 obj\n{what}\nendobj\n".encode()
    table = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n" + "".join(
        f"{place:010} 00000 n \n" for place in places
    )
    end = f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(content)}\n%%EOF"
    return content + table.encode() + end.encode()


def make_epub(path, chapters):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        book.writestr("mimetype", "application/epub+zip")
        book.writestr(
            "META-INF/container.xml",
            '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="OEBPS/content.opf"/></rootfiles></container>',
        )
        items = "".join(f'<item id="c{n}" href="text/c%20{n}.xhtml"/>' for n in range(len(chapters)))
        spine = "".join(f'<itemref idref="c{n}"/>' for n in range(len(chapters)))
        book.writestr(
            "OEBPS/content.opf",
            f'<package xmlns="http://www.idpf.org/2007/opf"><manifest>{items}</manifest><spine>{spine}</spine></package>',
        )
        for number, (title, text) in enumerate(chapters):
            page = f'<?xml version="1.0"?><html><body><h1>{title}</h1><p>{text}</p></body></html>'
            book.writestr(f"OEBPS/text/c {number}.xhtml", page)
