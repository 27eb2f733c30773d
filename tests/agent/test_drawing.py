"""Whatever is said, no line is wider than the terminal, and nothing of it is lost."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console as Terminal
from tests.agent.scripted_talk import LONG, RUN, SOURCES, TIMINGS

from vivavoce.agent.drawing import Pen
from vivavoce.agent.editor import LineEditor, Paste
from vivavoce.agent.glyphs import ASCII, ROUND, glyphs_for
from vivavoce.agent.live import Console
from vivavoce.agent.tools import ToolResult
from vivavoce.agent.transcript import Call, Cited, Note, Stopwatch, Words
from vivavoce.realtime.client import Run, Show

PARTS = [*"ab,. \n", "日本", "👩‍🚀", "e\u0301", "שלום", "مرحبا", "🇫🇷", "\u200b", "ﷺ", "a" * 30]
SAID = st.lists(st.sampled_from(PARTS), max_size=60).map("".join)
WIDTHS = st.integers(20, 100)


class Written(io.TextIOWrapper):
    def __init__(self, encoding="utf-8"):
        super().__init__(io.BytesIO(), encoding=encoding, errors="replace")


def pen(width, encoding="utf-8", height=24):
    return Pen(terminal(width, encoding, height))


def terminal(width, encoding="utf-8", height=24):
    return Terminal(file=Written(encoding), width=width, height=height, force_terminal=True, _environ={"TERM": "xterm"})


def squeezed(lines):
    return "".join("".join(line.plain[7:] for line in lines).split())


@given(SAID, WIDTHS, st.integers(0, 90), st.booleans(), st.booleans())
def test_words_fit_and_none_is_lost(text, width, heard, cut, final):
    words = Words("assistant", "i", text, final=final, cut=cut, heard=min(heard, len(text)))
    lines = pen(width).entry(words)
    assert all(line.cell_len <= width for line in lines)
    assert squeezed(lines).replace("//", "") == "".join(text.split())


@given(SAID, WIDTHS, st.integers(1, 10), st.integers(0, 90))
def test_a_glimpse_has_no_more_lines_than_there_is_room_for(text, width, room, heard):
    words = Words("assistant", "i", text, heard=min(heard, len(text)))
    lines = pen(width).glimpse(words, room)
    assert 1 <= len(lines) <= room
    assert all(line.cell_len <= width for line in lines)


@given(SAID, SAID, WIDTHS)
def test_every_other_entry_fits(one, other, width):
    result = ToolResult(other, ok=bool(one), seconds=1.2, sources=SOURCES)
    calls, notes = [Call(Run("c", one, other)), Call(RUN, result)], [Note("warning", one), Note("time", one, "x")]
    for entry in [*calls, *notes, Cited(list(SOURCES))]:
        assert all(line.cell_len <= width for line in pen(width).entry(entry))
    assert all(line.cell_len <= width for line in pen(width).question(one))
    assert pen(width).rule(other.replace("\n", " ")).cell_len == width


@given(SAID, WIDTHS, st.lists(st.sampled_from(["left", "home", "ctrl+left"]), max_size=5))
def test_the_prompt_fits_and_shows_the_cursor(text, width, moves):
    editor = LineEditor()
    editor.press(Paste(text))
    for key in moves:
        editor.press(key)
    line = pen(width).prompt(editor)
    assert line.cell_len <= width
    assert any(span.style == "reverse" for span in line.spans)


def test_a_huge_paste_is_shown_at_once():
    editor = LineEditor()
    editor.press(Paste("日 " * 10_000))
    assert pen(60).prompt(editor).plain.startswith("type   …")


@given(WIDTHS, st.integers(1, 40), SAID, st.sampled_from(["utf-8", "ascii", "koi8-r", "cp866"]), st.booleans())
def test_the_block_fits_the_screen(width, height, text, encoding, helping):
    screen = terminal(width, encoding, height)
    console = Console("USB Microphone", "Built-in Audio", title="local, 日本", recording=True, terminal=screen)
    console.state("speaking")
    console.words(Show(role="assistant", item_id="i", text=text + LONG, heard=len(text)))
    console.words(Show(role="user", item_id="u", text=text))
    console.confirm(RUN, text)
    console._stopwatch.lap(TIMINGS)
    console.help, console.typing = helping, len(text) % 2 == 0
    lines = console._block()
    assert all(line.cell_len <= width for line in lines)
    assert all("\n" not in line.plain for line in lines)
    assert len(lines) < max(height, 2)


@pytest.mark.parametrize("width", [20, 40, 60, 100])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_stages_are_in_proportion_wherever_there_is_room(width, encoding):
    watch = Stopwatch()
    watch.lap(TIMINGS)
    line = pen(width, encoding).stages(watch.stages).plain
    assert len(line) <= width
    assert line.startswith("waited ")
    assert line.isascii() or encoding == "utf-8"


def test_what_took_any_time_is_seen():
    assert [ROUND.bar(share, 2) for share in (0.0, 0.01, 0.25, 0.5, 0.75, 1.0, 7.0)] == [
        "▏", "▏", "▌", "█", "█▌", "██", "██",
    ]  # fmt: skip
    assert [ASCII.bar(share, 4) for share in (0.0, 0.3, 1.0)] == ["#", "#", "####"]


@pytest.mark.parametrize(
    ("encoding", "glyphs"),
    [("utf-8", ROUND), ("UTF8", ROUND), ("latin-1", ASCII), ("koi8-r", ASCII), (None, ASCII), ("nonsense", ASCII)],
)
def test_the_signs_suit_the_encoding(encoding, glyphs):
    assert glyphs_for(encoding) is glyphs
