"""The live view on a real terminal, driven as a person would: tmux types, looks, resizes and closes it."""

from __future__ import annotations

import re
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.agent.screen import PATIENCE_S, Screen, needs_tmux

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TALK = Path(__file__).with_name("scripted_talk.py")

pytestmark = needs_tmux


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Callable[..., Screen]]:
    """Return what opens a screen."""
    opened = []

    def show(*arguments: str, **options: Any) -> Screen:
        opened.append(Screen(tmp_path, sys.executable, TALK, *arguments, **options))
        return opened[-1]

    yield show
    for screen in opened:
        screen.close()


@pytest.fixture
def screen(shown: Callable[..., Screen]) -> Screen:
    screen = shown()
    screen.wait_for("ready", "connecting")
    return screen


@pytest.fixture
def heard(shown: Callable[..., Screen]) -> Screen:
    """A conversation that is heard, word by word."""
    screen = shown("--sound", "--record", size=(100, 30))
    screen.wait_for("ready", "connecting")
    return screen


# What is seen ---------------------------------------------------------------------------------------------------------


def test_a_conversation(screen):
    screen.go_on("listening · Speak, or press Ctrl+T to type", "▇")
    screen.go_on("you    what is the", "hearing you")
    screen.go_on("you    what is the weather in")
    screen.go_on("you    What is the weather in Paris?", "thinking")
    screen.go_on("get_weather city=Paris, api_key=***")
    screen.go_on("✓ get_weather", "sky=sunny")
    screen.go_on("agent  It is sunny", "speaking", "957 ms · median 957 ms", "waited ███")
    screen.go_on("agent  It is sunny in [bold]Paris[/bold], and 21 degrees.")
    screen.go_on("listening")
    screen.go_on("you    Tell me a story.")
    screen.go_on("agent  Once upon a time")
    screen.go_on("beach. //")
    seen = screen.go_on("!      The service is busy.")
    assert seen.count("What is the weather in Paris?") == 1
    assert seen.count("Once upon a time") == 1
    assert seen.count("── local, scripted ──") == 1


def test_an_answer_turns_from_dim_to_normal_and_what_was_not_heard_is_struck(heard):
    heard.go_on("listening")
    heard.go_on("It is twelve degrees")
    assert re.search(r"2m(\x1b\[\d+m)*It is twelve degrees and raining", heard.look("-e"))
    heard.go_on()
    heard.wait_for_style(r"0m(\x1b\[\d+m)*It is twelve degrees\x1b\[2m and raining")
    heard.go_on("● REC   2 underruns, 1 drop   957 ms")
    heard.go_on("agent  It is twelve degrees // and raining.")
    heard.wait_for_style(r"// \x1b\[0;2;9m(\x1b\[\d+m)*and raining")


def test_consent_sources_and_a_lost_connection(heard):
    for _ in range(5):
        heard.go_on()
    heard.go_on("ask    Send the mail to Ada?  y/n", "send_mail to=Ada")
    heard.send("y")
    heard.wait_for_no("y/n")
    heard.go_on("✓ send_mail to=Ada → sent")
    heard.wait_for("Send the mail to Ada? Yes.")
    heard.go_on("agent  It says so in the paper.")
    heard.go_on("[1] Rain in Paris, meteo.example", "[2] handbook.pdf")
    heard.go_on("reconnecting")
    seen = heard.go_on("small, very stubborn robot", "  …    ")
    assert seen.count("stubborn") < 20


# Keys -----------------------------------------------------------------------------------------------------------------


def test_keys_that_steer(screen):
    screen.go_on("listening")
    screen.send("m")
    screen.wait_for("muted")
    screen.send("m")
    screen.wait_for("listening")
    screen.send("s")
    seen = screen.wait_for("skipped", "a stray line\n", "listening")
    assert seen.count("q quit") == 1
    screen.send("r")
    screen.wait_for("replayed", "The last answer again")
    screen.send("v")
    screen.wait_for("Voice: Ben")
    screen.send("w")
    screen.wait_for("The conversation is in talk.md")
    screen.send("?")
    screen.wait_for("push-to-talk on, off", "write a transcript")
    screen.send("Escape")
    screen.wait_for_no("push-to-talk on, off")


def test_push_to_talk_by_tapping_and_by_holding(screen):
    screen.go_on("listening")
    screen.send("p")
    screen.wait_for("push-to-talk · space begins")
    screen.send("Space")
    screen.wait_for("push-to-talk held · space ends", "pressed")
    screen.send("Space")
    screen.wait_for("push-to-talk · space begins", "released")
    screen.send("Space")
    screen.wait_for("push-to-talk held")
    screen.send("-N", "30", "Space")
    screen.wait_for("push-to-talk · space begins")
    assert screen.look().count("released") == 2
    screen.send("p")
    screen.wait_for("The microphone is open.", "listening")


def test_typing_with_a_line_editor_and_a_clean_end(screen):
    screen.send("C-t")
    screen.send("-l", "hello quiet 日本 wrold")
    screen.send("Left", "Left", "Left", "Left", "Delete", "Right", "r")
    screen.wait_for("type   hello quiet 日本 world", "Enter send · Esc back")
    screen.send("C-Left", "C-w", "Home", "o", "h", "Space")
    screen.wait_for("type   oh hello quiet world")
    screen.send("Enter")
    screen.wait_for("you    oh hello quiet world", "agent  You said 'oh hello quiet world'.")
    screen.send("Up", "BSpace", "Enter")
    screen.wait_for("you    oh hello quiet worl\n")
    screen.send("Escape")
    screen.wait_for("q quit")
    screen.paste("quit\nand more")
    screen.wait_for("type   quit↵and more")
    screen.send("Enter", "Escape")
    screen.wait_for("you    quit\n       and more", "q quit")
    assert not screen.cursor_shown()
    screen.send("q")
    seen = screen.wait_for("ended", "status 0", "over")
    assert "q quit" not in seen
    assert screen.cursor_shown()
    assert screen.same_settings()


# Ends -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["C-c", "C-d", signal.SIGTERM])
def test_an_end_from_outside_leaves_a_sane_terminal(screen, end):
    screen.go_on("listening")
    screen.go_on("hearing you")
    if isinstance(end, str):
        screen.send(end)
    else:
        screen.signal(end)
    seen = screen.wait_for("over")
    assert "Traceback" not in seen
    assert "hearing you" not in seen
    assert "status 0" in seen
    assert screen.cursor_shown()
    assert screen.same_settings()


def test_a_closed_terminal_ends_the_program_cleanly(shown, tmp_path):
    ending = tmp_path / "ending"
    screen = shown(ENDING=str(ending))
    screen.wait_for("ready")
    process = screen.process
    screen.close()
    deadline = time.monotonic() + PATIENCE_S
    while Path(f"/proc/{process}").exists():
        assert time.monotonic() < deadline, "still runs"
        time.sleep(0.05)
    assert ending.read_text() == "clean"


def test_ctrl_z_gives_the_terminal_to_the_shell_and_fg_takes_it_back(screen):
    screen.send("m")
    screen.wait_for("muted")
    screen.send("C-z")
    screen.wait_for("Stopped")
    assert screen.cursor_shown()
    screen.send("clear; stty -a | grep -o '[-]*icanon'", "Enter")
    assert "-icanon" not in screen.wait_for("icanon")
    screen.send("fg", "Enter")
    screen.wait_for("muted", "q quit")
    screen.send("m")
    screen.wait_for("connecting")
    screen.send("C-c")
    screen.wait_for_no("q quit")
    assert screen.cursor_shown()


# Terminals of every kind ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(20, 10), (40, 15), (60, 20)])
def test_a_narrow_terminal(shown, size):
    screen = shown(size=size)
    screen.wait_for("ready")
    for _ in range(11):
        screen.go_on()
    seen = screen.wait_for("speaking", "quit")
    assert seen.count("speaking") == 1
    assert max(map(len, seen.splitlines())) <= size[0]


WIDTHS = [[60], [40, 100], [79, 61, 33], [70, 60, 50, 40, 30, 20, 80]]


@pytest.mark.parametrize("steps", [1, 14])
@pytest.mark.parametrize("widths", WIDTHS)
def test_resizing_leaves_no_copies(shown, widths, steps):
    """Not on the screen: what tmux scrolls away of the old block while there is room below nobody can take back."""
    screen = shown(size=(80, 12))
    screen.wait_for("ready")
    for _ in range(steps):
        screen.go_on()
    for width in widths:
        screen.resize(width, 12)
        time.sleep(0.3)
    seen = screen.wait_for("listening", "q quit")
    assert seen.count("── local, ") == seen.count("q quit") == seen.count("listening") == 1
    assert seen.count("service is busy") <= (steps == 14)


def test_a_terminal_that_becomes_low_and_high_again(screen):
    for _ in range(8):
        screen.go_on()
    screen.resize(80, 4)
    screen.wait_for("speaking")
    screen.resize(80, 24)
    seen = screen.wait_for("speaking", "q quit")
    assert seen.count("speaking") == seen.count("q quit") == 1


def test_no_colour_where_none_is_wanted_and_the_same_signs(shown):
    screen = shown("--sound", NO_COLOR="1")
    screen.wait_for("ready")
    for _ in range(5):
        screen.go_on()
    screen.wait_for("It is twelve degrees // and raining.", "waited █")
    sent = screen.look("-e")
    assert not re.search(r"\x1b\[[0-9;]*\b(3[0-7]|9[0-7]|4[0-7])\b", sent)
    assert "\x1b[2m" in sent


def test_a_locale_without_the_signs_gets_plain_ones(shown):
    screen = shown("--sound", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", PYTHONIOENCODING="ascii")
    screen.wait_for("ready")
    for _ in range(5):
        screen.go_on()
    seen = screen.wait_for("It is twelve degrees // and raining.", "waited #", "-- local, scripted --")
    assert seen.isascii()


def test_a_dumb_terminal_gets_plain_lines(shown):
    screen = shown("--sound", TERM="dumb")
    screen.wait_for("note: ready")
    for _ in range(5):
        screen.go_on()
    seen = screen.wait_for("agent: It is twelve degrees // and raining.", "time: waited 416")
    assert "q quit" not in seen


def test_a_silent_microphone_is_told(shown):
    screen = shown("--silent")
    screen.wait_for("USB Microphone gives no sound at all", "`vivavoce doctor`")


def test_typing_in_a_conversation_in_writing(shown):
    screen = shown("--text")
    screen.wait_for("you>")
    screen.send("hello", "Enter")
    screen.wait_for("you> hello\nagent> You said 'hello'.\nyou>")
    screen.send("C-d")
    screen.wait_for("ended", "status 0")
