# ruff: noqa: RUF001, SIM905 - quotes and stops of many scripts are meant, and words read best as one string
from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vivavoce.speech.sentences import LIMIT, Sentences, speakable, split

WORDS = st.sampled_from(
    [
        *"so Dr. e.g. U.S. 3.5 No. Yes! Really? well, “Hi.” (ok.) ... … 1. - ** ` `` ``` https://a.b/c?d.".split(),
        *"Привет. т.е. — 你好。 「是吗？」 \n \n\n".split(" "),
        "x" * 90,
    ]
)
TEXTS = st.one_of(
    st.text(max_size=500),
    st.lists(WORDS, max_size=60).map(" ".join),
    st.lists(WORDS, max_size=60).map("".join),
    st.lists(st.sampled_from([" ", "\n", "a", ".", "`", ",", "A"]), max_size=500).map("".join),
)


def pieces(deltas, *, early=True):
    sentences = Sentences(early=early)
    found = [piece for delta in deltas for piece in sentences.feed(delta)]
    return found + sentences.flush()


@given(st.lists(TEXTS, max_size=10))
@example(["```", "x" * 300, "```"])
def test_the_pieces_together_are_the_text(deltas):
    assert "".join(pieces(deltas)) == "".join(deltas)


@given(TEXTS, st.data())
def test_the_cuts_do_not_depend_on_the_deltas(text, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=20)))
    deltas = [text[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert pieces(deltas) == pieces([text]) == pieces(text)


@given(TEXTS, st.booleans())
def test_a_piece_is_never_empty_nor_too_long(text, early):
    for piece in pieces([text], early=early):
        assert piece
        assert len(piece) <= LIMIT or piece.startswith("```")


@given(TEXTS)
def test_it_can_be_used_again_after_a_flush(text):
    sentences = Sentences()
    once = [*sentences.feed(text), *sentences.flush()]
    assert [*sentences.feed(text), *sentences.flush()] == once


@pytest.mark.parametrize(
    "text",
    [
        "Hello there. |How are you? |Fine!",
        "Dr. Smith met Mr. Jones vs. Mrs. Brown at St. Mary. |Then they left.",
        "Use a tool, e.g. a saw, i.e. this one. |Good.",
        "He lives in the U.S. Army base. |Yes.",
        "It opens at 9 a.m. and closes at 5 p.m. |Then we go.",
        "It weighs 3.5 kg. |At 10:30 it left.",
        "J. K. Rowling wrote it. |So did I. |Really.",
        "See https://example.com/a.b?c=d. |Then file.txt is there.",
        "Well... maybe not. |Wait... |No! |Stop…",
        '"It is done." |She left. |"Why?" he asked. |(Nobody knew.) |End.',
        "**Note this.** |Then that.",
        "See fig. 3 and No. 5. |No. |It is Jan. 5 today.",
        "Wow!! |What?! |Yes.",
        "First:\n|1. Take it. |Go.\n|2. Leave it.\n\n|- so. |Done",
        "Ph.D. students agree. |Good.",
        "你好。|今天天气很好！|「是吗？」|他说。",
        "Привет! |Это, т.е. пример, т.к. он нужен, и т.д. |А. С. Пушкин родился. |Да… |Нет? |См. стр. 5.",
        "«Да.» |Он ушёл. |«Кто?» спросил он.",
        "Look:\n|```python\nprint('a. B')\n\nx = 1\n```|\nDone. |Bye.",
        "Open ```fence. Never\n\nclosed. Ever",
    ],
)
def test_where_sentences_end(text):
    expected = text.split("|")
    if "Open ```" in text:
        expected = ["Open ", "```fence. Never\n\nclosed. Ever"]
    assert split("".join(expected)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Sure, here is what I found: |it rains, and it is cold. |Take a coat, a hat, and gloves.",
        "The library is open today — |it closes at five, though.",
        "It is what it is; |so be it.",
        "Yes. |Here is what I found, as you asked.",
        "One, two, three. |Four, five, six, seven, eight.",
        "The price is 1,000 dollars at 10:30, |more or less, you see.",
        "The sky is blue today |because of the light and because of the air.",
        "Paris is the capital |and it is large.",
        "Bread and butter and jam taste good. |And so does tea.",
        "Call me but once.",
        "  \n|",
    ],
)
def test_the_first_piece_may_end_at_a_clause(text):
    expected = [piece for piece in text.split("|") if piece]
    assert pieces(["".join(expected)]) == expected


def test_the_first_piece_is_out_before_the_sentence_is():
    sentences = Sentences()
    assert sentences.feed("Here is what I found, ") == []
    assert sentences.feed("a") == ["Here is what I found, "]
    assert sentences.feed(" long, long, long, long tail") == []


def test_a_long_sentence_is_cut_at_a_clause_else_at_a_space_else_anywhere():
    clauses = "and then it went on and on, " * 20
    assert all(piece.endswith("on, ") for piece in split(clauses))
    assert all(piece.endswith("word ") for piece in split("word " * 100))
    assert [len(piece) for piece in split("x" * 450)] == [LIMIT, LIMIT, 50]


@pytest.mark.parametrize("before", range(LIMIT - 4, LIMIT + 1))
def test_a_code_fence_stays_whole_where_a_piece_is_full(before):
    fence = "```\n" + "code. Code\n" * 30 + "```"
    assert pieces("x" * before + fence) == ["x" * before, fence]


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("Hello, *you* and **you** and _you_.", "Hello, you and you and you."),
        ("# Title", "Title"),
        ("> quoted", "quoted"),
        ("- one", "one"),
        ("* one", "one"),
        ("- [x] done", "done"),
        ("1. First", "1. First"),
        ("Use `print` and snake_case.", "Use print and snake_case."),
        ("[the page](https://example.com/a_b) and ![a cat](cat.png)", "the page and a cat"),
        ("See https://www.example.com/a. Next", "See example.com/a. Next"),
        ("```python\nprint()\n```\nDone.", "Done."),
        ("```unclosed", ""),
        ("It is 20 °C. 😀👍🏽 ☂️", "It is 20 °C."),
        ("👩‍👩‍👧 3️⃣ 🇩🇪", "3"),
        ("2 * 3, 2*3, a < b", "2 * 3, 2*3, a < b"),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "a b 1 2"),
        ("line<br>break <b>bold</b>", "line break bold"),
        ("~~no~~ yes", "no yes"),
        ("***", ""),
        ("---", ""),
        ("... — !", ""),
        ("", ""),
        (" \n ", ""),
        ("bell\x07 \x00zero\u200b", "bell zero"),
        ("It's “fine”, isn't it? 50% of $5 & more", "It's “fine”, isn't it? 50% of $5 & more"),
        ("Привет, **мир**!", "Привет, мир!"),
        ("**Never closed", "Never closed"),
    ],
)
def test_speakable(text, spoken):
    assert speakable(text) == spoken


@given(TEXTS)
def test_what_is_spoken_has_something_to_pronounce_and_no_breaks(text):
    spoken = speakable(text)
    assert spoken == " ".join(spoken.split())
    assert not spoken or any(map(str.isalnum, spoken))
    assert "`" not in spoken
    assert "**" not in spoken
