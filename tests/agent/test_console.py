"""What a person sees: on a recording terminal, in a pipe, and on a real screen."""

from __future__ import annotations

import io
import json
from typing import get_args

import pytest
from rich.console import Console as Terminal
from tests.agent.scripted_talk import DEGREES, LONG, MAIL, RUN, SOUND, SOURCES, STEPS, TIMINGS, agent, user

from vivavoce.agent.console import JsonConsole, PlainConsole, console_for
from vivavoce.agent.live import Console
from vivavoce.agent.tools import ToolResult
from vivavoce.agent.transcript import Words, arguments_of, clean, outcome_of, redact
from vivavoce.agent.view import SoundCounts
from vivavoce.agent.writing import WritingConsole
from vivavoce.realtime.client import Cite, Report, Run, State, Warn
from vivavoce.realtime.events import ResponseTimings


def play(view, steps=STEPS):
    for step in steps:
        for method, *arguments in step:
            getattr(view, method)(*arguments)


class Written(io.StringIO):
    encoding = "utf-8"


def live(width=80, height=24, **options):
    """Return a console, and what it has written for good."""
    file = Written()
    terminal = Terminal(file=file, width=width, height=height, force_terminal=False, highlight=False)
    return Console("USB Microphone", "Built-in Audio", title="local, scripted", terminal=terminal, **options), file


def block(console):
    return [line.plain for line in console._block()]


# The scroll -----------------------------------------------------------------------------------------------------------


def test_the_conversation_reads_in_the_order_in_which_it_was_held():
    console, file = live()
    play(console)
    assert file.getvalue().splitlines() == [
        "",
        "you    What is the weather in Paris?",
        "tool   ✓ get_weather city=Paris, api_key=*** → temperature=21 °C, sky=sunny 0.4s",
        "agent  It is sunny in [bold]Paris[/bold], and 21 degrees.",
        "",
        "you    Tell me a story.",
        "agent  Once upon a time there was a very small, very stubborn robot who lived at",
        "       the edge of a long and windy beach. //",
        "!      The service is busy. Wait a minute, or use `--service local`.",
    ]


def test_a_turn_that_is_told_again_adds_only_what_is_new():
    console, file = live()
    told = ["What is the weather", "what is the weather?", "What is the weather in Paris?", "How is it?"]
    play(console, [[("words", user(text, final=True)), ("state", "listening")] for text in told])
    assert file.getvalue().splitlines() == [
        "",
        "you    What is the weather",
        "",
        "you    What is the weather in Paris?",
        "",
        "you    How is it?",
    ]
    play(
        console, [[("words", user(text, final=True)), ("state", "listening")] for text in ("How is it? Fine", "Hello")]
    )
    assert "you    … Fine" in file.getvalue()
    play(console, [[("words", user("Yes", final=True, item="typed")), ("state", "listening")]] * 2)
    assert file.getvalue().count("you    Yes") == 2


def test_an_answer_is_told_when_it_has_been_heard_and_only_once():
    console, file = live()
    play(console, [[("words", agent("All of it.", final=True)), ("state", "speaking")]])
    assert "All of it." not in file.getvalue()
    assert "agent  All of it." in block(console)
    play(console, [[("words", agent("All of it.", final=True, cut=True)), ("words", agent("All of it. And more"))]])
    assert file.getvalue() == "agent  All of it. //\n"
    assert "And more" not in "\n".join(block(console))


def coloured(console, file):
    console._terminal = Terminal(file=file, force_terminal=True, width=80, color_system="standard", _environ={})
    console._foot._terminal = console._pen._terminal = console._terminal


def test_what_was_not_heard_of_an_interrupted_answer_is_struck():
    console, file = live()
    coloured(console, file)
    play(console, [[("words", agent(DEGREES, cut=True, final=True, heard=20))]])
    assert file.getvalue() == (
        "\x1b[1;32magent\x1b[0m\x1b[1;32m  \x1b[0mIt is twelve degrees"
        "\x1b[1;33m // \x1b[0m\x1b[2;9mand raining.\x1b[0m\n"
    )


@pytest.mark.parametrize(("heard", "line"), [(0, "// It is"), (5, "It is //"), (2, "It // is")])
def test_the_mark_of_an_interruption(heard, line):
    console, file = live()
    play(console, [[("words", agent("It is", cut=True, final=True, heard=heard))]])
    assert file.getvalue() == f"agent  {line}\n"


def test_words_turn_from_dim_to_normal_as_they_are_heard():
    console, _ = live()
    for heard, dim in [(0, DEGREES), (20, DEGREES[20:]), (len(DEGREES), "")]:
        play(console, [[("words", agent(f"  {DEGREES}", heard=heard and heard + 2)), ("state", "speaking")]])
        (line,) = [line for line in console._block() if line.plain.startswith("agent")]
        assert line.plain == f"agent  {DEGREES}"
        assert "".join(line.plain[span.start : span.end] for span in line.spans if span.style == "dim") == dim


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
    assert file.getvalue() == "tool   ✗ look_up not json → error=no network 10.0s\n"


def test_sources_stand_below_the_answer_and_the_tool_that_name_them():
    console, file = live()
    play(console, [[("words", agent("So.", final=True)), ("citing", Cite("a1", SOURCES)), ("state", "listening")]])
    found = ["       [1] Rain in Paris, meteo.example", "       [2] handbook.pdf"]
    assert file.getvalue().splitlines() == ["agent  So.", *found]
    console.citing(Cite("a1", SOURCES[:1]))
    assert file.getvalue().splitlines()[3:] == found[:1]
    console.calling(RUN)
    console.called(RUN, ToolResult("rain", ok=True, seconds=0, sources=SOURCES))
    assert file.getvalue().splitlines()[5:] == found


def test_a_call_that_needs_consent_asks_until_it_is_answered():
    console, file = live()
    play(console, SOUND[5:6])
    console.confirm(RUN, "\x1b[31mAnd the weather?")
    assert console.asked
    assert "ask    Send the mail to Ada?  y/n" in block(console)
    console.confirmed(MAIL, yes=True)
    assert "ask    And the weather?  y/n" in block(console)
    console.confirmed(RUN, yes=False)
    assert not console.asked
    console.called(MAIL, ToolResult("sent", ok=True, seconds=0.3))
    assert file.getvalue().splitlines() == [
        "tool   ✓ send_mail to=Ada → sent 0.3s",
        "       Send the mail to Ada? Yes.",
        "       And the weather? No.",
    ]


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


def status(console):
    lines = block(console)
    return next(line for line in lines if line and line[0] in "▁▂▃▄▅▆▇█")


@pytest.mark.parametrize("state", get_args(State))
@pytest.mark.parametrize("width", [20, 80])
def test_the_state_word(state, width):
    console, _ = live(width)
    console.state(state)
    assert state[:11] in status(console)
    console.muted = True
    assert "muted" in status(console) or state in ("connecting", "reconnecting", "thinking", "speaking")
    console.muted, console.push_to_talk, console.held = False, True, True
    assert "space ends" in status(console) or width == 80 or state != "hearing you"


def test_how_the_microphone_is_held_is_said():
    console, _ = live()
    play(console, [[("state", "listening")]])
    console.muted = True
    assert status(console).split("  ", 1)[1] == "muted"
    console.push_to_talk = True
    assert status(console).endswith("push-to-talk · space begins")
    console.held = True
    assert status(console).endswith("push-to-talk held · space ends")
    console.held = False
    console.state("thinking")
    assert status(console).endswith("push-to-talk · ⠋ thinking")


def test_the_status_names_the_service_the_devices_the_keys_and_the_times():
    console, _ = live(100)
    console.report(Report(TIMINGS))
    console.report(Report(ResponseTimings(response_id="r", waiting_ms=400, total_ms=1043)))
    rule, status, stages, footer = block(console)
    assert rule.startswith("── local, scripted ───")
    assert status.endswith("1043 ms · median 1000 ms")
    assert stages == "waited ████████████████ 400"
    assert footer.startswith("? keys · q quit · m mute")
    assert footer.endswith("USB Microphone → Built-in Audio")


def test_a_device_that_takes_the_place_of_another_is_named():
    names = ["USB Microphone"]
    terminal = Terminal(file=Written(), width=80, height=24)
    console = Console(lambda: names[-1], "Speaker", terminal=terminal)
    assert block(console)[-1].endswith("USB Microphone → Speaker")
    names.append("Built-in\x1b[31m Microphone")
    assert block(console)[-1].endswith("Built-in Microphone → Speaker")


def test_each_stage_has_a_bar_in_proportion():
    console, _ = live(100)
    console.report(Report(TIMINGS))
    assert block(console)[2] == (
        "waited ███████ 416  heard ▏ 1  first word ██████▍ 380  first sentence ██ 120  voice ▋ 40"
    )


def test_troubles_and_the_recording_are_shown_when_there_are_any():
    console, _ = live()
    assert "REC" not in status(console)
    console.sound(SoundCounts(underruns=2, dropped=1, overflows=3))
    assert status(console).endswith("  2 underruns, 4 drops")
    console.recording = True
    assert status(console).endswith("  ● REC   2 underruns, 4 drops")


def test_newcomers_are_told_what_to_do_until_someone_speaks():
    console, _ = live()
    console.state("listening")
    assert status(console).endswith("listening · Speak, or press Ctrl+T to type")
    console.words(user("Hi"))
    assert status(console).endswith("listening")
    console, _ = live(40)
    console.state("listening")
    assert status(console).endswith("listening · speak, or Ctrl+T")


def test_a_microphone_that_gives_nothing_at_all_is_told_once():
    now = [0.0]
    console, file = live(clock=lambda: now[0])
    for second in range(20):
        now[0] = float(second)
        console.level(-120)
        console.tick()
    assert file.getvalue().count("USB Microphone gives no sound at all") == 1
    assert "`vivavoce doctor`" in file.getvalue()
    console, file = live(clock=lambda: now[0])
    console.level(-119)
    now[0] += 60
    console.level(-120)
    console.tick()
    assert file.getvalue() == ""


def test_a_passing_line_takes_the_place_of_the_keys():
    now = [0.0]
    console, _ = live(clock=lambda: now[0])
    console.flash("Voice: \x1b[31mAda")
    assert block(console)[-1] == "Voice: Ada"
    now[0] += 5
    assert "? keys" in block(console)[-1]


def test_many_tools_do_not_flood_the_block():
    console, file = live()
    for number in range(12):
        console.calling(Run(str(number), f"tool_{number}", "{}"))
    lines = block(console)
    assert lines[0] == "       8 more tools"
    assert [line.split()[2] for line in lines[1:5]] == ["tool_8", "tool_9", "tool_10", "tool_11"]
    assert len(lines) == 8
    for number in reversed(range(12)):
        console.called(Run(str(number), f"tool_{number}", "{}"), ToolResult("1", ok=True, seconds=0))
    assert len(file.getvalue().splitlines()) == 12


def test_a_long_answer_is_shown_around_what_is_being_heard():
    console, _ = live(40, 20)
    text, lines = " ".join(f"word{number}" for number in range(300)), [""]
    for heard in (0, text.index("word150"), len(text)):
        play(console, [[("words", agent(text, heard=heard)), ("state", "speaking")]])
        lines = [line for line in block(console) if "word" in line]
        assert len(lines) <= 10
        assert f"word{text[:heard].count('word')}" in " ".join(lines) or heard == len(text)
        assert any(line.startswith("  …") for line in lines) == (heard < len(text))
    assert "word299" in lines[-1]


def test_a_tall_answer_leaves_the_status_on_the_screen():
    console, _ = live(40, 8)
    play(console, [[("words", agent(LONG * 10)), ("state", "speaking")]])
    lines = block(console)
    assert len(lines) <= 7
    assert "beach." in lines[-4]
    assert "speaking" in lines[-2]


@pytest.mark.parametrize("height", [1, 2, 3, 4, 6])
def test_a_low_terminal_keeps_what_says_what_happens(height):
    console, _ = live(80, height)
    play(console, [[("words", agent(LONG)), ("state", "speaking"), ("report", Report(TIMINGS))]])
    console.help = True
    lines = block(console)
    assert len(lines) < max(height, 2)
    assert any("speaking" in line for line in lines)


def test_no_colour_where_none_is_wanted(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    file = Written()
    terminal = Terminal(file=file, force_terminal=True, width=80)
    with Console("Mic", "Speaker", terminal=terminal) as console:
        play(console)
        console.tick()
    sequences = {part.split("m")[0] for part in file.getvalue().split("\x1b[")[1:] if "m" in part}
    colours = {code for sequence in sequences for code in sequence.split(";") if code[:1] in "3459" and len(code) > 1}
    assert colours == set()


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


@pytest.mark.parametrize(
    "secret",
    ["sk-abcdefghij", "Bearer abcd.efgh", "Api-Key xyz-1234", "AQVN" + "x" * 30, "ghp_abcdefghijkl", "ek_12345678"],
)
def test_redact(secret):
    assert secret.split()[-1] not in redact(f"refused: {secret}!")
    assert redact("wss://me:hunter2@host/") == "wss://***@host/"
    assert redact("a plain risk-free token") == "a plain risk-free token"


def test_arguments_and_results_are_summed_up():
    assert arguments_of(RUN) == "city=Paris, api_key=***"
    assert arguments_of(Run("c", "n", '{"a":1,"b":[2],"c":null,"d":4}')) == "a=1, b=[2], c=null, …"
    assert len(outcome_of(ToolResult("long " * 100, ok=True, seconds=0))) <= 60


# Pipes and programs ---------------------------------------------------------------------------------------------------


def test_a_pipe_gets_plain_lines():
    out, errors = Written(), Written()
    with PlainConsole(out, errors) as console:
        play(console)
    assert out.getvalue().splitlines() == [
        "you: What is the weather in Paris?",
        "tool: get_weather city=Paris, api_key=*** → temperature=21 °C, sky=sunny (0.4 s)",
        "agent: It is sunny in [bold]Paris[/bold], and 21 degrees.",
        "time: waited 416 · heard 1 · first word 380 · first sentence 120 · voice 40 = 957 ms (median 957)",
        "you: Tell me a story.",
        f"agent: {LONG} //",
    ]
    assert errors.getvalue() == "warning: The service is busy. Wait a minute, or use `--service local`.\n"


def test_a_program_gets_an_object_a_line():
    out = Written()
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


def test_a_pipe_gets_sources_questions_and_troubles():
    out, errors = Written(), Written()
    with PlainConsole(out, errors) as console:
        play(console, SOUND[:5])
        console.confirm(MAIL, "Send the mail to Ada?")
        console.confirmed(MAIL, yes=False)
        play(console, SOUND[7:9])
    assert out.getvalue().splitlines() == [
        "agent: It is twelve degrees // and raining.",
        "time: waited 416 · heard 1 · first word 380 · first sentence 120 · voice 40 = 957 ms (median 957)",
        "agent: It says so in the paper.",
        "source: [1] Rain in Paris, meteo.example",
        "source: [2] handbook.pdf",
    ]
    assert errors.getvalue().splitlines() == [
        "ask: Send the mail to Ada? (yes or no)",
        "note: Send the mail to Ada? No.",
        "sound: 2 underruns, 1 drop",
    ]


def test_a_program_is_told_of_everything():
    out = Written()
    with JsonConsole(out) as console:
        play(console, SOUND[1:9])
        console.confirmed(MAIL, yes=True)
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    told = {event["type"]: event for event in events}
    words = [event for event in events if event["type"] == "words" and event["item_id"] == "a1"]
    assert [event.get("heard") for event in words] == [None, 20]  # that more was heard is no event of its own
    assert told["sound"] == {"type": "sound", "underruns": 2, "dropped": 1, "overflows": 0}
    assert told["confirm"] == {
        "type": "confirm", "call_id": "call_2", "name": "send_mail", "arguments": '{"to":"Ada"}',
        "question": "Send the mail to Ada?",
    }  # fmt: skip
    assert told["confirmed"] == {"type": "confirmed", "call_id": "call_2", "name": "send_mail", "yes": True}
    assert told["citations"]["item_id"] == "a2"
    assert told["citations"]["sources"][0] == {
        "title": "Rain in Paris", "url": "https://meteo.example/paris", "file_id": None, "quote": None, "page": None,
    }  # fmt: skip


def test_an_answer_in_writing_is_written_as_it_comes():
    file = Written()
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
    assert isinstance(console_for("a", "b", stream=Written(), **options), kind)


class Tty(io.TextIOWrapper):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("term", "encoding", "kind"),
    [
        ("xterm", "utf-8", Console),
        ("dumb", "utf-8", PlainConsole),
        ("xterm", "latin-1", Console),
        ("", "ascii", PlainConsole),
    ],
)
def test_a_terminal_that_cannot_draw_gets_plain_lines(monkeypatch, term, encoding, kind):
    monkeypatch.setenv("TERM", term)
    raw = io.BytesIO()
    stream = Tty(raw, encoding=encoding)
    console = console_for("a", "b", stream=stream)
    assert isinstance(console, kind)
    play(console)  # letters that the encoding lacks are replaced, never an error
    console._tell(Words("assistant", "i", "Привет ☕"))
    stream.flush()
    written = raw.getvalue().decode(encoding)
    assert ("Привет ☕" in written) == (encoding == "utf-8")
    assert ("→" in written) == (encoding == "utf-8")
    assert ("->" in written) == (encoding != "utf-8")
