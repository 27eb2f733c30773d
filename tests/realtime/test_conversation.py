from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.realtime.harness import check_prompt

from vivavoce.realtime.conversation import Conversation, PromptMessage, ToolCall, heard_text, prompt_messages
from vivavoce.realtime.errors import ProtocolError
from vivavoce.realtime.values import (
    FunctionCall,
    FunctionCallOutput,
    InputAudio,
    InputImage,
    InputText,
    Message,
    OutputAudio,
    OutputText,
)

SENTENCES = st.lists(
    st.tuples(
        st.lists(st.sampled_from(["A", "skylark", "sings,", "high!"]), min_size=1, max_size=6), st.integers(0, 5000)
    ),
    min_size=1,
    max_size=5,
)


def spoken(sentences):
    """The transcript, the marks and the length of sentences that took so many milliseconds."""
    text, marks, ms = "", [], 0.0
    for words, took in sentences:
        marks.append((ms, len(text)))
        text += " ".join(words) + " "
        ms += took
    return text, marks, ms


@given(SENTENCES, st.lists(st.floats(-10, 30000), min_size=2, max_size=6))
def test_more_time_never_means_fewer_words(sentences, times):
    text, marks, ms = spoken(sentences)
    heard = [heard_text(text, marks, ms, end) for end in sorted(times)]
    for less, more in pairwise(heard):
        assert more.startswith(less)
    assert all(text.startswith(one) for one in heard)


@given(SENTENCES, st.floats(0, 1))
def test_only_whole_words_that_were_spoken_before_are_heard(sentences, share):
    text, marks, ms = spoken(sentences)
    end = share * ms
    heard = heard_text(text, marks, ms, end)
    assert heard.split() == text.split()[: len(heard.split())]
    if end < ms:
        (start, before), (stop, after) = next(
            (here, there) for here, there in zip(marks, [*marks[1:], (ms, len(text))], strict=True) if end < there[0]
        )
        assert before - 1 <= len(heard) <= before + (after - before) * (end - start) / (stop - start)


@given(SENTENCES)
def test_at_the_end_all_is_heard(sentences):
    text, marks, ms = spoken(sentences)
    assert heard_text(text, marks, ms, ms) == text
    assert heard_text(text, marks, ms, ms + 1) == text


@pytest.mark.parametrize(
    ("end", "heard"),
    [(0, ""), (333, ""), (334, "One"), (888, "One"), (889, "One two."), (1454, "One two."), (1455, "One two. Three")],
)
def test_words_end_at_spaces_and_sentences_at_marks(end, heard):
    assert heard_text("One two. Three four.", [(0, 0), (1000, 9)], 2000, end) == heard


def test_speech_before_its_words_says_nothing():
    assert heard_text("Hello.", [(500, 0)], 900, 200) == ""
    assert heard_text("Hello.", [], 900, 200) == ""


def test_a_language_without_spaces_is_heard_by_the_sentence():
    text = "今日は。良い天気です。"
    assert heard_text(text, [(0, 0), (800, 4)], 2000, 1500) == "今日は。"


def user(text, item_id="u"):
    return Message(id=item_id, role="user", content=(InputText(text=text),))


def answer(text, item_id="a"):
    return Message(id=item_id, role="assistant", content=(OutputAudio(transcript=text),))


def test_order_and_places():
    conversation = Conversation()
    assert conversation.add(user("1", "a")) is None
    assert conversation.add(user("2", "b")) == "a"
    assert conversation.add(user("0", "c"), "root") is None
    assert conversation.add(user("1.5", "d"), "a") == "a"
    assert [entry.id for entry in conversation] == ["c", "a", "d", "b"]
    assert conversation.previous_id("c") is None
    assert conversation.previous_id("b") == "d"
    conversation.remove("d")
    assert conversation.previous_id("b") == "a"
    assert conversation.previous_id("d") is None
    assert "d" not in conversation
    assert len(conversation) == 3


@pytest.mark.parametrize(
    ("item", "after", "param"), [(user("", "a"), None, "item.id"), (user("", "b"), "nowhere", "previous_item_id")]
)
def test_a_taken_id_and_a_missing_place_are_refused(item, after, param):
    conversation = Conversation()
    conversation.add(user("1", "a"))
    with pytest.raises(ProtocolError) as wrong:
        conversation.check_place(item, after)
    assert wrong.value.param == param
    conversation.check_place(user("", "b"), "root")


def of_ours(text, ms, marks):
    conversation = Conversation()
    conversation.add(answer(text), audio_ms=ms)
    entry: Any = conversation.get("a")
    entry.marks = marks
    return conversation, entry


@pytest.mark.parametrize(("asked", "got"), [(-5, 0), (0, 0), (700, 700), (1000, 1000), (99999, 1000)])
def test_truncating_beyond_the_end_is_the_end(asked, got):
    conversation, entry = of_ours("Hello there.", 1000.4, ((0.0, 0),))
    assert conversation.truncate("a", asked) == got
    assert entry.audio_ms == min(max(asked, 0), 1000.4)
    assert entry.item.content[0].transcript == {0: "", 700: "Hello", 1000: "Hello"}.get(
        asked, "Hello there." * (asked > 0)
    )


@given(SENTENCES, st.lists(st.integers(-10, 30000), min_size=1, max_size=4))
def test_truncating_again_gives_nothing_back(sentences, ends):
    text, marks, ms = spoken(sentences)
    conversation, entry = of_ours(text, ms, tuple(marks))
    for end in ends:
        before = entry.item.content[0].transcript
        conversation.truncate("a", end)
        assert before.startswith(entry.item.content[0].transcript)


@pytest.mark.parametrize(
    ("item", "code"),
    [
        (None, "item_truncate_invalid_item_id"),
        (user("Hello."), None),
        (Message(id="a", role="assistant", content=(OutputText(text="Hello."),)), None),
        (FunctionCall(id="a", name="x", arguments="{}"), None),
    ],
)
def test_only_speech_of_ours_is_truncated(item, code):
    conversation = Conversation()
    if item is not None:
        conversation.add(item)
    with pytest.raises(ProtocolError) as wrong:
        conversation.truncate(item.id if item is not None else "nowhere", 0)
    assert (wrong.value.code, wrong.value.param) == (code, "item_id")


def call(call_id, name="look"):
    return FunctionCall(id=f"i{call_id}", call_id=call_id, name=name, arguments="{}")


def output(call_id, text="found"):
    return FunctionCallOutput(id=f"o{call_id}", call_id=call_id, output=text)


def shape(*items):
    return [(m.role, m.text, *(c.call_id for c in m.calls), *filter(None, [m.call_id])) for m in prompt_messages(items)]


def test_what_says_nothing_is_left_out():
    picture = Message(role="user", content=(InputImage(image_url="data:"), InputText(text=" Look. ")))
    unheard = Message(role="user", content=(InputAudio(audio=b"00"), InputAudio(transcript=None)))
    heard = Message(role="user", content=(InputAudio(transcript="Hello."), InputText(text="Again.")))
    assert shape(picture, unheard, heard, answer("")) == [("user", "Look."), ("user", "Hello. Again.")]


def test_calls_without_answers_and_answers_without_calls_are_left_out():
    assert shape(call("1"), output("2"), call("3"), output("3", "")) == [("assistant", "", "3"), ("tool", "", "3")]


def test_calls_join_what_was_said_before_them():
    said = shape(user("?"), answer("One moment."), call("1"), call("2"), output("2", "b"), output("1", "a"))
    assert said == [("user", "?"), ("assistant", "One moment.", "1", "2"), ("tool", "a", "1"), ("tool", "b", "2")]


def test_results_follow_their_calls_whatever_was_said_meanwhile():
    said = shape(call("1"), user("Hurry!"), answer("Yes."), output("1"), call("2"), output("2"))
    assert said == [
        ("assistant", "", "1"),
        ("tool", "found", "1"),
        ("user", "Hurry!"),
        ("assistant", "Yes.", "2"),
        ("tool", "found", "2"),
    ]


def test_a_prompt_carries_the_arguments():
    (message, _) = prompt_messages([call("1", "get_weather"), output("1")])
    assert message == PromptMessage(role="assistant", calls=(ToolCall("1", "get_weather", "{}"),))


IDS = st.sampled_from("abc")


@given(
    st.lists(
        st.one_of(IDS.map(call), IDS.map(output), st.sampled_from(["", "Hi."]).map(user), st.just(answer("Yes."))),
        max_size=10,
    )
)
def test_every_prompt_is_well_formed(items):
    check_prompt(prompt_messages(items))
