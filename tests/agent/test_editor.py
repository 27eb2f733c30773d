"""The typed line: every key, letters of several characters, and no key that loses or tears any."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.agent.editor import LineEditor, Paste, letters

MOVES = ["left", "right", "home", "end", "ctrl+left", "ctrl+right", "alt+b", "alt+f", "ctrl+a", "ctrl+e"]
CUTS = ["backspace", "delete", "ctrl+w", "ctrl+u", "ctrl+k", "alt+d", "alt+backspace"]
ASTRONAUT, FLAG, WAVE, E_ACUTE = "👩‍🚀", "🇫🇷", "👋🏽", "e\u0301"
TYPED = st.text(st.sampled_from([*"ab 日я\n", "\u0301", "\u200d", "🚀", "🇫", "🇷", "🏽"]), max_size=12)
KEYS = st.lists(
    st.sampled_from([*MOVES, *CUTS, *"ab é日", "\u0301", "up", "down", "tab"]) | TYPED.map(Paste), max_size=30
)


def edited(keys, text=""):
    editor = LineEditor()
    editor.press(Paste(text))
    for key in keys:
        editor.press(key)
    return f"{editor.text[: editor.cursor]}|{editor.text[editor.cursor :]}"


@pytest.mark.parametrize(
    ("keys", "text", "wanted"),
    [
        (["left", "left", "X"], "abc", "aX|bc"),
        (["home", "right", "X", "end", "Y"], "abc", "aXbcY|"),
        (["ctrl+left", "X"], "one two", "one X|two"),
        (["alt+b", "alt+b", "ctrl+right"], "one two", "one| two"),
        (["ctrl+w"], "one two  ", "one |"),
        (["ctrl+left", "ctrl+w"], "one two", "|two"),
        (["home", "alt+d"], "one two", "| two"),
        (["left", "ctrl+u"], "abc", "|c"),
        (["home", "right", "ctrl+k"], "abc", "a|"),
        (["home", "delete", "ctrl+d"], "abc", "|c"),
        (["backspace"], "", "|"),
        (["delete", "right", "down", "up", "tab", "f1", ""], "abc", "abc|"),
        (["backspace"], f"a{ASTRONAUT}", "a|"),
        (["left", "X"], f"a{FLAG}{FLAG}", f"a{FLAG}X|{FLAG}"),
        (["left", "backspace"], f"{WAVE}{E_ACUTE}", f"|{E_ACUTE}"),
        (["left", "delete"], f"日本{E_ACUTE}", "日本|"),
        ([Paste("two\nlines")], "a", "atwo\nlines|"),
    ],
)
def test_each_key_does_what_it_does_everywhere(keys, text, wanted):
    assert edited(keys, text) == wanted


def test_enter_sends_the_line_and_begins_another():
    editor = LineEditor()
    assert [editor.press(key) for key in ["h", "i", Paste("\nthere"), "enter"]] == [None, None, None, "hi\nthere"]
    assert (editor.text, editor.cursor) == ("", 0)
    assert editor.press("enter") == ""


def test_lines_before_are_called_back_and_the_draft_is_kept():
    editor = LineEditor()
    for line in ["one", "two", "two", "  "]:
        editor.press(Paste(line))
        editor.press("enter")
    seen = []
    editor.press(Paste("draft"))
    for key in ["up", "up", "up", "down", "down", "down"]:
        editor.press(key)
        seen.append(editor.text)
    assert seen == ["two", "one", "one", "two", "draft", "draft"]
    editor.press("up")
    editor.press("!")
    assert editor.press("enter") == "two!"
    editor.press("up")
    assert editor.text == "two!"


@given(KEYS)
def test_the_cursor_never_leaves_the_line_nor_splits_a_letter(keys):
    editor = LineEditor()
    for key in keys:
        editor.press(key)
        before, after = editor.text[: editor.cursor], editor.text[editor.cursor :]
        assert letters(before) + letters(after) == letters(editor.text)


@given(TYPED, st.lists(st.sampled_from(MOVES), max_size=10), TYPED)
def test_moving_changes_nothing_and_typing_loses_nothing(text, moves, more):
    editor = LineEditor()
    editor.press(Paste(text))
    for key in moves:
        editor.press(key)
    assert editor.text == text
    editor.press(Paste(more))
    assert len(editor.text) == len(text) + len(more)
    assert sorted(editor.text) == sorted(text + more)


@given(TYPED)
def test_backspace_from_the_end_takes_letter_by_letter(text):
    editor = LineEditor()
    editor.press(Paste(text))
    for letter in reversed(letters(text)):
        assert editor.text.endswith(letter)
        editor.press("backspace")
    assert editor.text == ""


@given(TYPED)
def test_letters_are_the_whole_text_and_no_accent_stands_alone(text):
    found = letters(text)
    assert "".join(found) == text
    assert not any(unicodedata.combining(letter[0]) for letter in found[1:])
    assert letters(f"{ASTRONAUT}{FLAG}{FLAG}{WAVE}{E_ACUTE}x") == [ASTRONAUT, FLAG, FLAG, WAVE, E_ACUTE, "x"]
