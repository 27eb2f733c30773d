"""Every format, and what hostile files do: the reader runs in its real process."""

from __future__ import annotations

import os
import sys
import zipfile

import pytest
from tests.search.conftest import make_epub, make_pdf

from vivavoce.search import reading
from vivavoce.search.chunking import chunks
from vivavoce.search.reading import reader
from vivavoce.search.shapes import Chunking, LibraryError

pytestmark = pytest.mark.anyio


@pytest.fixture
def read():
    async def run(path, name=None, seconds=60):
        async with reader(seconds) as reading:
            return await reading.read(path, name or path.name)

    return run


async def places(read, path):
    document = await read(path)
    return {chunk.text: str(chunk.place) for chunk in chunks(document, Chunking(max_tokens=32, overlap_tokens=0))}


async def refused(read, path, name=None, **options):
    with pytest.raises(LibraryError) as wrong:
        await read(path, name or path.name, **options)
    assert wrong.value.message.endswith(".")
    return wrong.value.code


async def outcome(read, path):
    """The text, or why there is none."""
    try:
        return (await read(path)).text.strip()
    except LibraryError as wrong:
        return wrong.code


async def test_pages_of_a_pdf_are_numbered(read, tmp_path):
    path = tmp_path / "a.pdf"
    text = "The answer on this page is about the number {} and about some other words that fill the page well"
    path.write_bytes(make_pdf([text.format("one"), text.format("two"), text.format("three")]))
    found = await places(read, path)
    assert [place for text, place in found.items() if "two" in text] == ["page 2"]


async def test_a_scan_is_said_to_be_one(read, tmp_path):
    path = tmp_path / "scan.pdf"
    path.write_bytes(make_pdf([None, None]))
    with pytest.raises(LibraryError, match=r"2 pages and no text: it is a scan") as wrong:
        await read(path)
    assert wrong.value.code == "no_text"


async def test_headings_are_kept_as_places(read, tmp_path):
    path = tmp_path / "a.md"
    rest = "with enough words after it that no chunk is small. " * 3
    path.write_text(
        f"# Handbook\n\n## Holidays\n\nTwenty-five days {rest}\n\n```\n# no heading\n```\n\n## Pay\n\nMonthly {rest}"
    )
    found = await places(read, path)
    (holidays,) = {place for text, place in found.items() if "Twenty-five" in text}
    (pay,) = {place for text, place in found.items() if "Monthly" in text}
    assert (holidays, pay) == ("Handbook > Holidays", "Handbook > Pay")


async def test_source_code_has_lines(read, tmp_path):
    path = tmp_path / "a.py"
    path.write_text("import os\n\n\n" + "def one():\n    return 'a long enough line of code'\n\n\n" * 10)
    document = await read(path)
    lines = [chunk.place.line or 0 for chunk in chunks(document, Chunking(max_tokens=40, overlap_tokens=0))]
    assert lines[0] == 1
    assert len(lines) > 2
    assert all((line - 4) % 4 in {0, 1} for line in lines[1:])


async def test_word_documents(read, tmp_path):
    import docx

    document = docx.Document()
    document.add_heading("Policy", 1)
    document.add_paragraph("Laptops are replaced every three years.")
    table = document.add_table(1, 2)
    table.rows[0].cells[0].text, table.rows[0].cells[1].text = "Owner", "IT department"
    document.save(tmp_path / "a.docx")
    found = await read(tmp_path / "a.docx")
    assert "three years" in found.text
    assert "Owner | IT department" in found.text
    assert found.marks[0].heading == "Policy"


async def test_presentations_have_slides_and_notes(read, tmp_path):
    from pptx import Presentation

    deck = Presentation()
    for title in ("Plan", ""):
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = f"Body of {title or 'nothing'}"
        slide.notes_slide.notes_text_frame.text = "Say it slowly"
    deck.save(tmp_path / "a.pptx")
    found = await read(tmp_path / "a.pptx")
    assert "Say it slowly" in found.text
    assert [(mark.page, mark.heading) for mark in found.marks] == [(1, "Plan"), (2, None)]


async def test_workbooks_and_tables_repeat_the_names_of_columns(read, tmp_path):
    import openpyxl

    book = openpyxl.Workbook()
    book.active.title = "Prices"
    book.active.append(["Item", "Price"])
    book.active.append(["Bolt", 0.25])
    book.save(tmp_path / "a.xlsx")
    (tmp_path / "a.csv").write_text("Item;Price\nBolt;0,25\nNut;\n")
    workbook, table = await read(tmp_path / "a.xlsx"), await read(tmp_path / "a.csv")
    assert "Item: Bolt; Price: 0.25." in workbook.text
    assert workbook.marks[0].heading == "Prices"
    assert table.text == "Item, Price\nItem: Bolt; Price: 0,25.\nItem: Nut.\n"


async def test_web_pages_lose_their_navigation(read, tmp_path):
    path = tmp_path / "a.html"
    path.write_text(
        "<html><head><title>x</title><script>evil()</script></head><body><nav>Home</nav>"
        "<h1>Bikes &amp; <i>more</i></h1>"
        "<p>Brakes come <b>first</b>.</p><table><tr><td>Weight</td><td>9 kg</td></tr></table></body></html>"
    )
    found = await read(path)
    assert found.text == "Bikes & more\n\nBrakes come first.\n\nWeight | 9 kg\n\n"
    assert found.marks[0].heading == "Bikes & more"


async def test_books_are_read_in_order(read, tmp_path):
    make_epub(tmp_path / "a.epub", [("One", "First things."), ("Two", "Then others.")])
    found = await read(tmp_path / "a.epub")
    assert found.text == "One\n\nFirst things.\n\nTwo\n\nThen others.\n\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1251"])
async def test_text_of_any_encoding(read, tmp_path, encoding):
    words = "Отпуск составляет двадцать восемь календарных дней в году для каждого сотрудника."
    (tmp_path / "имя файла.txt").write_bytes(words.encode(encoding))
    assert (await read(tmp_path / "имя файла.txt")).text == words


# Bad input ------------------------------------------------------------------------------------------------------------


async def test_broken_files_are_refused(read, tmp_path):
    broken = {"a.pdf": b"%PDF-1.4\nnothing", "a.docx": b"PK\x03\x04rubbish", "b.docx": b"not a zip", "c.pdf": b"text"}
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
        assert await refused(read, tmp_path / name) == "invalid_file"
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    (tmp_path / "a.doc").write_bytes(b"\xd0\xcf\x11\xe0 old")
    (tmp_path / "empty.txt").write_bytes(b" \n")
    assert await refused(read, tmp_path / "a.png") == "unsupported_file"
    assert await refused(read, tmp_path / "a.doc") == "unsupported_file"
    assert await refused(read, tmp_path / "empty.txt") == "no_text"


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


async def test_a_zip_bomb_is_refused_before_it_is_unpacked(read, tmp_path):
    zipped(tmp_path / "bomb.docx", {"word/document.xml": b"\0" * (300 << 20)})
    assert (tmp_path / "bomb.docx").stat().st_size < 1 << 20
    assert await refused(read, tmp_path / "bomb.docx") == "file_too_large"
    zipped(tmp_path / "many.docx", {f"word/{number}.xml": b"" for number in range(10_001)})
    assert await refused(read, tmp_path / "many.docx") == "file_too_large"


async def test_a_zip_that_lies_about_its_size_unpacks_to_no_more_than_it_says(read, tmp_path):
    path = tmp_path / "liar.epub"
    make_epub(path, [("One", "word " * 4_000_000)])
    content, true = path.read_bytes(), None
    with zipfile.ZipFile(path) as book:
        true = book.getinfo("OEBPS/text/c 0.xhtml").file_size
    path.write_bytes(content.replace(true.to_bytes(4, "little"), (1000).to_bytes(4, "little")))
    assert await refused(read, path) == "invalid_file"


LAUGHS = (
    '<!DOCTYPE lolz [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">'
    + "".join(f'<!ENTITY {chr(99 + n)} "{f"&{chr(98 + n)};" * 10}">' for n in range(9))
    + "]>"
)
FILE = '<!DOCTYPE x [<!ENTITY k SYSTEM "file:///etc/hostname">]>'


@pytest.mark.parametrize(("head", "entity"), [(LAUGHS, "&k;"), (FILE, "&k;")])
async def test_entities_are_not_resolved(read, tmp_path, head, entity):
    import docx

    document = docx.Document()
    document.add_paragraph("Marker")
    document.save(tmp_path / "a.docx")
    with zipfile.ZipFile(tmp_path / "a.docx") as archive:
        members: dict[str, bytes | str] = {name: archive.read(name) for name in archive.namelist()}
    text = str(members["word/document.xml"], "utf-8")  # type: ignore[arg-type]
    members["word/document.xml"] = text.replace("<w:document", head + "<w:document").replace(
        "Marker", f"Marker{entity}"
    )
    zipped(tmp_path / "bad.docx", members)
    assert await outcome(read, tmp_path / "bad.docx") in {"Marker", "invalid_file"}


async def test_elements_may_nest_as_deep_as_they_like(read, tmp_path):
    (tmp_path / "deep.html").write_text("<div>" * 50_000 + "deep down" + "</div>" * 50_000)
    assert await outcome(read, tmp_path / "deep.html") in {"deep down", "invalid_file", "no_text"}


async def test_a_reader_that_hangs_or_dies_is_replaced(tmp_path, monkeypatch):
    (tmp_path / "good.txt").write_text("fine")
    os.mkfifo(tmp_path / "hangs.txt")
    async with reader(seconds=2) as reading:
        assert (await reading.read(tmp_path / "good.txt", "good.txt")).text == "fine"
        assert await refused(reading.read, tmp_path / "hangs.txt") == "invalid_file"
        assert (await reading.read(tmp_path / "good.txt", "good.txt")).text == "fine"
        reading._process.kill()  # type: ignore[union-attr]
        assert await refused(reading.read, tmp_path / "good.txt") == "invalid_file"
        assert (await reading.read(tmp_path / "good.txt", "good.txt")).text == "fine"


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux")
async def test_memory_is_bounded(read, tmp_path):
    path = tmp_path / "huge.txt"
    with path.open("wb") as file:
        file.write(b"text" * 2000)
        file.seek(reading.MEMORY)
        file.write(b"text")
    assert await refused(read, path) == "invalid_file"
