"""What a person sees: on a recording terminal, in a pipe, and on a real screen."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest
from rich.console import Console as Terminal
from tests.agent.scripted_talk import LONG, RUN, STEPS, TIMINGS, agent, user

from vivavoce.agent.console import JsonConsole, PlainConsole, console_for
from vivavoce.agent.keys import type_lines
from vivavoce.agent.live import Console, WritingConsole
from vivavoce.agent.steering import press, speak_lines
from vivavoce.agent.tools import ToolResult
from vivavoce.agent.transcript import Words, arguments_of, clean, outcome_of, redact
from vivavoce.realtime.client import Report, Run, Warn
from vivavoce.realtime.events import ResponseTimings

if TYPE_CHECKING:
    from collections.abc import Iterator

TALK = Path(__file__).with_name("scripted_talk.py")


def play(view, steps=STEPS):
    for step in steps:
        for method, *arguments in step:
            getattr(view, method)(*arguments)


def live(width=80, height=24, **options):
    """Return a console, and what it has written for good."""
    file = io.StringIO()
    terminal = Terminal(file=file, width=width, height=height, force_terminal=False, highlight=False, **options)
    return Console("USB Microphone", "Built-in Audio", terminal=terminal), file


def block(console):
    return console._block().plain.split("\n")


# The scroll -----------------------------------------------------------------------------------------------------------


def test_the_conversation_reads_in_the_order_in_which_it_was_held():
    console, file = live()
    play(console)
    assert file.getvalue().splitlines() == [
        "",
        "you    What is the weather in Paris?",
        "tool   ✓ get_weather city=Paris, api_key=*** → temperature=21 °C, sky=sunny",
        "       0.4s",
        "agent  It is sunny in [bold]Paris[/bold], and 21 degrees.",
        "       waited 416 · heard 1 · word 380 · sentence 120 · voice 40 = 957 ms",
        "",
        "you    Tell me a story.",
        "agent  Once upon a time there was a very small, very stubborn robot who lived at",
        "       the edge of a long and windy beach. — interrupted",
        "!      The service is busy. Wait a minute, or use `--service local`.",
    ]


@pytest.mark.parametrize("width", [24, 40, 80, 120])
def test_no_line_is_wider_than_the_terminal(width):
    console, file = live(width)
    for step in STEPS:
        play(console, [step])
        console.typing = "a line that is longer than any narrow terminal is wide, to be sure of it"
        assert max(len(line) for line in block(console)) <= width
    assert max(len(line) for line in file.getvalue().splitlines()) <= width


def test_the_long_names_of_the_stages_are_used_where_they_fit():
    console, file = live(120)
    play(console)
    assert "waited 416 · heard 1 · first word 380 · first sentence 120 · voice 40 = 957 ms" in file.getvalue()


def test_an_answer_is_told_when_it_has_been_heard_and_only_once():
    console, file = live()
    play(console, [[("words", agent("All of it.", final=True)), ("state", "speaking")]])
    assert "All of it." not in file.getvalue()
    assert "agent  All of it." in block(console)
    play(console, [[("words", agent("All of it.", final=True, cut=True)), ("words", agent("All of it. And more"))]])
    assert file.getvalue() == "agent  All of it. — interrupted\n"
    assert "And more" not in "\n".join(block(console))


def test_an_interrupted_answer_is_grey():
    console, file = live()
    console._terminal = Terminal(file=file, force_terminal=True, width=80, color_system="standard")
    play(console, [[("words", agent("Half", cut=True, final=True))]])
    assert "\x1b[2mHalf" in file.getvalue()


def test_a_late_transcript_stands_before_its_answer():
    console, file = live()
    play(console, [[("words", agent("Paris.")), ("state", "speaking"), ("words", user("Where?", final=True))]])
    play(console, [[("words", agent("Paris.", final=True)), ("state", "listening")]])
    assert file.getvalue() == "\nyou    Where?\nagent  Paris.\n"


def test_partial_words_replace_each_other_and_a_turn_without_words_leaves_nothing():
    console, file = live()
    play(console, STEPS[1:3])
    assert "you    what is the weather in" in block(console)
    assert "you    what is the" not in block(console)
    play(console, [[("words", user("", final=True)), ("state", "listening")]])
    assert file.getvalue() == ""
    assert not any(line.startswith("you") for line in block(console))


def test_what_is_open_is_told_at_the_end():
    console, file = live()
    with console:
        play(console, [[("words", agent("Half a")), ("state", "speaking")]])
    assert "agent  Half a" in file.getvalue().splitlines()


def test_a_failed_tool_is_crossed():
    console, file = live()
    console.calling(Run("c", "look_up", "not json"))
    console.called(Run("c", "look_up", "not json"), ToolResult('{"error": "no network"}', ok=False, seconds=10))
    assert file.getvalue() == "tool   ✗ look_up not json → error=no network  10.0s\n"


# The block ------------------------------------------------------------------------------------------------------------


def test_the_meter_rises_with_a_voice_falls_after_it_and_is_flat_when_muted():
    console, _ = live()
    console.level(-30)
    console.tick()
    heights = [console._meter[-1]]
    for _ in range(3):
        console.tick()
        heights.append(console._meter[-1])
    assert heights == sorted(heights, reverse=True)
    assert heights[0] > heights[-1] > 0
    console.muted = True
    console.level(-10)
    console.tick()
    assert console._meter[-1] == 0


@pytest.mark.parametrize("state", ["connecting", "listening", "hearing you", "thinking", "speaking"])
def test_the_state_word(state):
    console, _ = live()
    console.state(state)
    assert state in block(console)[-2]
    console.muted = True
    assert "muted" in block(console)[-2]


def test_the_status_names_devices_keys_and_times():
    console, _ = live()
    console.report(Report(TIMINGS))
    console.report(Report(ResponseTimings(response_id="r", waiting_ms=400, total_ms=1043)))
    status, footer = block(console)[-2:]
    assert status.endswith("1043 ms · median 1000")
    assert "m mute · Ctrl+T type · s skip · q quit" in footer
    assert footer.endswith("USB Microphone → Built-in Audio")


def test_a_tall_answer_leaves_the_status_on_the_screen():
    console, _ = live(40, 8)
    play(console, [[("words", agent(LONG * 10)), ("state", "speaking")]])
    lines = block(console)
    assert len(lines) == 7
    assert "beach." in lines[-4]
    assert "speaking" in lines[-2]


def test_no_colour_where_none_is_wanted(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    file = io.StringIO()
    terminal = Terminal(file=file, force_terminal=True, width=80)
    with Console("Mic", "Speaker", terminal=terminal) as console:
        play(console)
        console.tick()
    sequences = {part.split("m")[0] for part in file.getvalue().split("\x1b[")[1:] if "m" in part}
    colours = {code for sequence in sequences for code in sequence.split(";") if code[:1] in "3459" and len(code) > 1}
    assert colours == set()


# The keys -------------------------------------------------------------------------------------------------------------


class Conversation:
    def __init__(self):
        self.muted, self.quiet, self.did = False, True, []

    async def run(self):
        raise NotImplementedError

    def say(self, text):
        self.did.append(text)

    def interrupt(self):
        self.did.append("<interrupt>")

    def stop(self):
        self.did.append("<stop>")


def test_keys_mute_skip_and_quit():
    conversation, (console, _) = Conversation(), live()
    for key in ["m", "s", "esc", "x", "q"]:
        press(key, conversation, console)
    assert conversation.muted
    assert console.muted
    assert conversation.did == ["<interrupt>", "<interrupt>", "<stop>"]


def test_the_typed_prompt_edits_sends_and_leaves():
    conversation, (console, _) = Conversation(), live()
    for key in ["ctrl+t", *"qnm é", "backspace", "ü", "enter"]:
        press(key, conversation, console)
    assert conversation.did == ["qnm ü"]
    assert console.typing == ""
    for key in [*"one two", "ctrl+w"]:
        press(key, conversation, console)
    assert any(line.startswith("type   one") for line in block(console))
    press("esc", conversation, console)
    assert console.typing is None
    assert not conversation.muted


@pytest.mark.anyio
async def test_no_line_is_said_before_the_session_is_open(monkeypatch, tmp_path):
    conversation, asked = Conversation(), []
    conversation.quiet = False
    line = tmp_path / "line"
    line.write_text("hello\n")
    with line.open() as stdin:
        monkeypatch.setattr("vivavoce.agent.steering.type_lines", lambda ask: type_lines(ask, stdin.fileno()))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(speak_lines, conversation, lambda: asked.append(1))
            await anyio.wait_all_tasks_blocked()
            assert asked == conversation.did == []
            conversation.quiet = True
    assert conversation.did == ["hello", "<stop>"]


# Words ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dirty", "plain"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]52;c;aGk=\x1b\\text", "text"),
        ("a\x9b2Jb\x08\x00\x7fc\rd", "abcd"),
        ("safe\u202eevil", "safeevil"),
        ("\x1b[3", ""),
        ("two\nlines\tand 👩‍🚀 é", "two\nlines and 👩‍🚀 é"),
    ],
)
def test_clean(dirty, plain):
    assert clean(dirty) == plain


@pytest.mark.parametrize("secret", ["sk-abcdefghij", "Bearer abc.def", "Api-Key xyz", "AQVN" + "x" * 30])
def test_redact(secret):
    assert secret.split()[-1] not in redact(f"refused: {secret}!")
    assert redact("a plain risk-free token") == "a plain risk-free token"


def test_arguments_and_results_are_summed_up():
    assert arguments_of(RUN) == "city=Paris, api_key=***"
    assert arguments_of(Run("c", "n", '{"a":1,"b":[2],"c":null,"d":4}')) == "a=1, b=[2], c=null, …"
    assert len(outcome_of(ToolResult("long " * 100, ok=True, seconds=0))) <= 60


# Pipes and programs ---------------------------------------------------------------------------------------------------


def test_a_pipe_gets_plain_lines():
    out, errors = io.StringIO(), io.StringIO()
    with PlainConsole(out, errors) as console:
        play(console)
    assert out.getvalue().splitlines() == [
        "you: What is the weather in Paris?",
        "tool: get_weather city=Paris, api_key=*** → temperature=21 °C, sky=sunny (0.4 s)",
        "agent: It is sunny in [bold]Paris[/bold], and 21 degrees.",
        "time: waited 416 · heard 1 · first word 380 · first sentence 120 · voice 40 = 957 ms (median 957)",
        "you: Tell me a story.",
        f"agent: {LONG} — interrupted",
    ]
    assert errors.getvalue() == "warning: The service is busy. Wait a minute, or use `--service local`.\n"


def test_a_program_gets_an_object_a_line():
    out = io.StringIO()
    with JsonConsole(out) as console:
        play(console, [[("state", "listening"), ("state", "listening"), ("level", -20.0)], *STEPS[1:]])
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [event["state"] for event in events if event["type"] == "state"] == [
        "listening", "hearing you", "thinking", "speaking", "listening", "thinking", "speaking", "hearing you",
        "listening",
    ]  # fmt: skip
    assert {event["type"] for event in events} == {
        "state", "words", "tool.call", "tool.result", "timings", "warning",
    }  # fmt: skip
    assert next(event for event in events if event["type"] == "timings")["total_ms"] == 957
    assert [event["text"] for event in events if event.get("interrupted")] == [LONG]


def test_an_answer_in_writing_is_written_as_it_comes():
    file = io.StringIO()
    with WritingConsole(terminal=Terminal(file=file, width=100, highlight=False)) as console:
        console.ask()
        play(console, [[("words", user("Hi", final=True, item="typed")), ("words", agent("Hel"))]])
        assert file.getvalue() == "you> agent> Hel"
        console.report(Report(ResponseTimings(response_id="r", first_token_ms=50, total_ms=90)))
        play(console, [[("words", agent("Hello")), ("words", agent("Hello!", final=True))]])
        console.ask()
        console.warn(Warn("x", "Trouble."))
    assert file.getvalue() == "you> agent> Hello!\n       word 50 = 90 ms\nyou> \n!      Trouble.\nyou> \n".replace(
        "word", "first word"
    )


@pytest.mark.parametrize(
    ("options", "kind"),
    [({}, PlainConsole), ({"text": True}, PlainConsole), ({"print_json": True, "text": True}, JsonConsole)],
)
def test_the_view_suits_the_stream(options, kind):
    assert isinstance(console_for("a", "b", stream=io.StringIO(), **options), kind)


class Tty(io.TextIOWrapper):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("term", "encoding", "kind"),
    [("xterm", "utf-8", Console), ("dumb", "utf-8", PlainConsole), ("xterm", "latin-1", PlainConsole)],
)
def test_a_terminal_that_cannot_draw_gets_plain_lines(monkeypatch, term, encoding, kind):
    monkeypatch.setenv("TERM", term)
    raw = io.BytesIO()
    stream = Tty(raw, encoding=encoding)
    console = console_for("a", "b", stream=stream)
    assert isinstance(console, kind)
    if kind is PlainConsole:
        console._tell(Words("assistant", "i", "Привет ☕"))
        assert raw.getvalue()  # letters that the encoding lacks are replaced, never an error


# A real screen --------------------------------------------------------------------------------------------------------


class Screen:
    """A tmux session in which the scripted conversation runs between two looks at the terminal's settings."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self._tmux = ["tmux", "-S", str(folder / "tmux"), "-f", "/dev/null"]
        talk = f"{sys.executable} {TALK} {' '.join(arguments)}"
        self._do("new-session", "-d", "-x", "80", "-y", "24", "sh")
        self.send(f"PS1='$ '; clear; stty -a > before; {talk}; echo status $?; stty -a > after; echo over", "Enter")

    def _do(self, *arguments: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(TALK.parents[2]), "LC_ALL": "C.UTF-8"}
        command = [*self._tmux, *arguments]
        return subprocess.run(
            command, env=environment, cwd=self.folder, check=True, capture_output=True, text=True
        ).stdout

    def send(self, *keys: str) -> None:
        self._do("send-keys", *keys)

    def look(self) -> str:
        return self._do("capture-pane", "-p")

    def wait_for(self, *texts: str) -> str:
        deadline = time.monotonic() + 30
        while not all(text in (seen := self.look()) for text in texts):
            assert time.monotonic() < deadline, f"{texts} never came:\n{seen}"
            time.sleep(0.05)
        return seen

    def wait_for_no(self, text: str) -> None:
        deadline = time.monotonic() + 30
        while text in (seen := self.look()):
            assert time.monotonic() < deadline, f"{text} never went:\n{seen}"
            time.sleep(0.05)

    def go_on(self) -> None:
        self.signal(signal.SIGUSR1)

    def signal(self, number: signal.Signals) -> None:
        shell = self._do("display-message", "-p", "#{pane_pid}").strip()
        children = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
        os.kill(int(children[0]), number)

    def cursor_shown(self) -> bool:
        return self._do("display-message", "-p", "#{cursor_flag}").strip() == "1"

    def same_settings(self) -> bool:
        return (self.folder / "before").read_text() == (self.folder / "after").read_text()

    def close(self) -> None:
        self._do("kill-server")


needs_tmux = pytest.mark.skipif(
    shutil.which("tmux") is None or not Path("/proc/self").exists(), reason="needs tmux on Linux"
)


@pytest.fixture
def screen(tmp_path) -> Iterator[Screen]:
    screen = Screen(tmp_path)
    screen.wait_for("ready", "connecting")
    yield screen
    screen.close()


@needs_tmux
def test_a_conversation_on_a_real_screen(screen):
    wanted = [
        ["listening", "▇"],
        ["you    what is the", "hearing you"],
        ["you    what is the weather in"],
        ["you    What is the weather in Paris?", "thinking"],
        ["get_weather city=Paris, api_key=***"],
        ["✓ get_weather", "sky=sunny"],
        ["agent  It is sunny", "speaking", "957 ms · median 957"],
        ["agent  It is sunny in [bold]Paris[/bold], and 21 degrees."],
        ["listening"],
        ["you    Tell me a story."],
        ["agent  Once upon a time"],
        ["beach. — interrupted"],
        ["!      The service is busy."],
    ]
    seen = ""
    for texts in wanted:
        screen.go_on()
        seen = screen.wait_for(*texts)
    assert seen.count("What is the weather in Paris?") == 1
    assert seen.count("Once upon a time") == 1
    assert seen.count("USB Microphone → Built-in Audio") == 1


@needs_tmux
def test_keys_on_a_real_screen_and_a_clean_end(screen):
    screen.send("m")
    screen.wait_for("muted")
    screen.send("C-t")
    screen.send("-l", "hello quiet world")
    screen.wait_for("type   hello quiet world", "Enter send · Esc back")
    screen.send("Enter", "Escape")
    screen.wait_for("you    hello quiet world", "agent  You said hello quiet world.", "q quit")
    assert not screen.cursor_shown()
    screen.send("q")
    seen = screen.wait_for("ended", "status 0", "over")
    assert "q quit" not in seen
    assert screen.cursor_shown()
    assert screen.same_settings()


@needs_tmux
@pytest.mark.parametrize("end", ["Ctrl+C", "SIGTERM"])
def test_an_end_from_outside_leaves_a_sane_terminal(screen, end):
    screen.go_on()
    screen.wait_for("listening")
    screen.go_on()
    screen.wait_for("hearing you")
    if end == "Ctrl+C":
        screen.send("C-c")
    else:
        screen.signal(signal.SIGTERM)
    seen = screen.wait_for("over")
    assert "Traceback" not in seen
    assert "hearing you" not in seen
    assert screen.cursor_shown()
    assert screen.same_settings()


@needs_tmux
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


@needs_tmux
def test_typing_in_a_conversation_in_writing(tmp_path):
    screen = Screen(tmp_path, "--text")
    try:
        screen.wait_for("you>")
        screen.send("hello", "Enter")
        screen.wait_for("you> hello\nagent> You said hello.\nyou>")
        screen.send("C-d")
        screen.wait_for("ended", "status 0")
    finally:
        screen.close()
