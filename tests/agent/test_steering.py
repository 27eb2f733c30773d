"""What the keys and the typed lines do to a conversation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest
from tests.agent.scripted_talk import MAIL, RUN
from tests.agent.test_console import block, live

from vivavoce.agent import steering
from vivavoce.agent.editor import Paste
from vivavoce.agent.keys import type_lines
from vivavoce.agent.steering import KEYS, Keys, SpaceBar, speak_lines
from vivavoce.agent.transcript import Questions

if TYPE_CHECKING:
    from collections.abc import Sequence


class Conversation:
    """Notes what is done to it."""

    def __init__(self):
        self.muted = self.push_to_talk = False
        self.quiet, self.did = True, []
        self.voices: Sequence[str] = ["Ada", "Ben"]
        self.voice: str | None = None
        self.saves_to, self.replays = Path("talk.md"), True

    async def run(self):
        raise NotImplementedError

    def say(self, text):
        self.did.append(text)

    def press(self):
        self.did.append("<press>")

    def release(self):
        self.did.append("<release>")

    def interrupt(self):
        self.did.append("<interrupt>")

    def replay(self):
        return self.replays

    def change_voice(self, name):
        self.voice = name

    def confirm(self, *, yes):
        self.did.append(yes)

    def save(self):
        if self.saves_to is None:
            raise PermissionError(13, "Permission denied", "talk.md")
        return self.saves_to

    def stop(self):
        self.did.append("<stop>")


class Person:
    """Presses keys at a time of their own."""

    def __init__(self):
        self.now = 0.0
        self.conversation = Conversation()
        self.console, self.file = live(clock=lambda: self.now)
        self.console.state("listening")
        self.keys = Keys(self.conversation, self.console, clock=lambda: self.now)

    def press(self, *keys, after=1.0):
        for key in keys:
            self.wait(after)
            self.keys.press(key)

    def wait(self, seconds):
        for _ in range(round(seconds * 100)):
            self.now += 0.01
            self.keys.watch_space()

    @property
    def did(self):
        return self.conversation.did

    @property
    def seen(self):
        return "\n".join(block(self.console))


@pytest.fixture
def person():
    return Person()


def test_every_key_of_the_help_is_a_key(person):
    person.press("?")
    for key, what in KEYS:
        assert key in person.seen
        assert what in person.seen
    person.press("esc")
    assert KEYS[0][1] not in person.seen
    assert person.did == []


def test_mute_skip_and_quit(person):
    person.press("m", "s", "esc", "x", "q", "ctrl+d")
    assert person.conversation.muted
    assert "muted" in person.seen
    assert person.did == ["<interrupt>", "<interrupt>", "<stop>", "<stop>"]


def test_replay_says_what_it_does(person):
    person.press("r")
    assert "The last answer again" in person.seen
    person.conversation.replays = False
    person.press("r")
    assert "nothing to replay" in person.seen


def test_voices_take_turns(person):
    chosen = []
    for _ in range(3):
        person.press("v")
        chosen.append(person.conversation.voice)
    assert chosen == ["Ben", "Ada", "Ben"]
    assert "Voice: Ben" in person.seen
    person.conversation.voices = ["Ada"]
    person.press("v")
    assert "There is no other voice" in person.seen


def test_the_conversation_is_saved_or_the_reason_told(person):
    person.press("w")
    person.conversation.saves_to = None
    person.press("w")
    assert person.file.getvalue().splitlines() == [
        "       The conversation is in talk.md",
        "!      The conversation could not be saved: [Errno 13] Permission denied:",
        "       'talk.md'",
    ]


def test_a_question_is_answered_by_y_and_n_and_by_nothing_else(person):
    person.press("y", "n")
    person.console.confirm(MAIL, "Send the mail to Ada?")
    person.press("x", "y")
    person.console.confirmed(MAIL, yes=True)
    person.console.confirm(RUN, "And look up the weather?")
    person.press("ctrl+t", *"yesterday", "enter", *"No", "enter")
    assert person.did == [True, "yesterday", False]


def test_the_typed_prompt_edits_sends_and_leaves(person):
    person.press("ctrl+t", *"qnm é", "backspace", "ü", "enter")
    assert person.did == ["qnm ü"]
    assert person.console.typing
    person.press("enter", " ", "enter", *"one two", "ctrl+w")
    assert "type   one" in person.seen
    assert "Enter send · Esc back" in person.seen
    person.press("esc", "m")
    assert person.did == ["qnm ü"]
    assert person.conversation.muted


def test_ctrl_d_deletes_in_a_line_and_leaves_an_empty_one(person):
    person.press("ctrl+t", "a", "home", "ctrl+d")
    assert person.console.typing
    person.press("ctrl+d")
    assert not person.console.typing
    assert person.did == []


def test_a_paste_is_text_never_keys(person):
    person.press(Paste("quit\nmy job"))
    assert "type   quit↵my job" in person.seen
    assert person.did == []
    person.press("enter")
    assert person.did == ["quit\nmy job"]


# Push-to-talk ---------------------------------------------------------------------------------------------------------


def test_space_begins_and_ends_a_turn(person):
    person.press(" ")
    assert person.conversation.push_to_talk
    assert "push-to-talk held · space ends" in person.seen
    person.wait(5)
    assert person.did == ["<press>"]
    person.press(" ")
    person.wait(0.2)
    assert person.did == ["<press>", "<release>"]
    assert "push-to-talk · space begins" in person.seen


def test_space_held_down_ends_when_it_is_let_go(person):
    person.press(" ")
    person.press(" ", after=0.5)
    for _ in range(60):
        person.press(" ", after=0.033)
    assert person.did == ["<press>"]
    person.wait(0.2)
    assert person.did == ["<press>"]
    person.wait(0.2)
    assert person.did == ["<press>", "<release>"]


def test_p_opens_the_microphone_again_and_ends_the_turn(person):
    person.press("p")
    assert person.conversation.push_to_talk
    assert "Push-to-talk: tap space to begin and to end" in person.seen
    person.press("m")
    assert not person.conversation.muted
    person.press(" ", "p")
    assert person.did == ["<press>", "<release>"]
    assert not person.conversation.push_to_talk
    assert not person.console.push_to_talk


def test_a_conversation_without_a_microphone_has_no_push_to_talk(person):
    class Deaf(Conversation):
        push_to_talk = property(lambda _: False, lambda *_: None)

        def __init__(self):
            self.muted, self.did = False, []

    person.keys._agent = Deaf()
    person.press(" ")
    assert person.keys._agent.did == []
    assert not person.console.held


@pytest.mark.parametrize("repeat", [0.02, 0.033, 0.09, 0.12])
@pytest.mark.parametrize("first", [0.15, 0.25, 0.66])
def test_the_repetition_of_a_terminal_is_no_tap(repeat, first):
    bar, now = SpaceBar(), first
    bar.strike(0)
    for _ in range(20):
        bar.strike(now)
        bar.tick(now + 0.01)
        assert bar.held
        now += repeat
    bar.tick(now + bar.LET_GO_S)
    assert not bar.held


# Lines ----------------------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_no_line_is_said_before_the_session_is_open(monkeypatch, tmp_path):
    conversation, asked = Conversation(), []
    conversation.quiet = False
    with _typing(monkeypatch, tmp_path, "hello\n"):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(speak_lines, conversation, Questions(), lambda: asked.append(1))
            await anyio.wait_all_tasks_blocked()
            assert asked == conversation.did == []
            conversation.quiet = True
    assert conversation.did == ["hello", "<stop>"]


@pytest.mark.anyio
async def test_a_line_answers_a_question(monkeypatch, tmp_path):
    conversation, questions = Conversation(), Questions()
    conversation.quiet = False
    questions.ask(MAIL, "Send?")

    def confirm(*, yes):
        conversation.did.append(yes)
        questions.answer(MAIL)
        conversation.quiet = True

    monkeypatch.setattr(conversation, "confirm", confirm)
    with _typing(monkeypatch, tmp_path, "what?\nYes\nhello\n"):
        await speak_lines(conversation, questions)
    assert conversation.did == [True, "hello", "<stop>"]


def _typing(monkeypatch, tmp_path, text):
    path = tmp_path / "lines"
    path.write_text(text)
    stdin = path.open()
    monkeypatch.setattr(steering, "type_lines", lambda ask: type_lines(ask, stdin.fileno()))
    return stdin
