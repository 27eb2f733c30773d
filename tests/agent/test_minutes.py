"""The minutes of a conversation: who, when, what, what was heard of it, and where it is from."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest

from vivavoce import compose
from vivavoce.agent.agent import Agent
from vivavoce.agent.console import PlainConsole
from vivavoce.agent.minutes import Minutes, SaveError
from vivavoce.agent.tools import Toolbox
from vivavoce.api import embedded
from vivavoce.realtime import events as wire
from vivavoce.realtime.client import (
    Captured,
    Cite,
    Played,
    Reported,
    Returned,
    Run,
    Show,
    TurnBegun,
    Typed,
    Warn,
)
from vivavoce.realtime.server import Ids
from vivavoce.realtime.values import AnySession, Source

if TYPE_CHECKING:
    from collections.abc import Callable

SECOND = 48_000
STARTED = datetime(2026, 11, 22, 18, 30, tzinfo=UTC)


def assistant(text: str, *, cut: bool = False, heard: int | None = None, item: str = "a1") -> Show:
    return Show(role="assistant", item_id=item, text=text, final=True, cut=cut, heard=heard)


def user(text: str, item: str = "u1") -> Show:
    return Show(role="user", item_id=item, text=text, final=True)


def minutes_of(*noted: tuple[float, object]) -> Minutes:
    minutes = Minutes()
    for now, what in noted:
        minutes.note(now, what)  # type: ignore[arg-type]
    return minutes


def cues(minutes: Minutes, offset: float = 0.0) -> list[tuple[str, str, str]]:
    head, *blocks = minutes.webvtt(offset).strip().split("\n\n")
    assert head == "WEBVTT"
    return [re.fullmatch(r"(\S+) --> (\S+)\n(.*)", block).groups() for block in blocks]  # type: ignore[union-attr,misc]


def test_what_is_said_is_told_in_the_order_in_which_it_was_said() -> None:
    """The transcript of the person comes after the answer has begun."""
    minutes = minutes_of(
        (0.0, Captured(bytes(2 * SECOND))),
        (2.0, Captured(bytes(2 * SECOND))),
        (2.0, wire.SpeechStarted(event_id="e", item_id="u1", audio_start_ms=500)),
        (3.0, wire.SpeechStopped(event_id="e", item_id="u1", audio_end_ms=2500)),
        (3.2, assistant("Paris, of course.")),
        (3.5, Played("a1", 200)),
        (4.5, Played("a1", 1200, all_played=True)),
        (4.6, user("What is the capital of France?")),
    )
    assert minutes.markdown(STARTED) == (
        "# Conversation of 2026-11-22 18:30\n\n"
        "**You** · 00:00\\\nWhat is the capital of France?\n\n"
        "**Agent** · 00:03\\\nParis, of course.\n"
    )
    assert cues(minutes, offset=-1.5) == [
        ("00:00:00.000", "00:00:02.000", "<v You>What is the capital of France?"),
        ("00:00:04.800", "00:00:06.000", "<v Agent>Paris, of course."),
    ]


def test_times_of_the_server_are_those_of_the_sound_it_was_sent() -> None:
    """Ten seconds were muted, and a new session counts from zero."""
    minutes = minutes_of(
        (1.0, Captured(bytes(SECOND))),
        (12.0, Captured(bytes(SECOND))),
        (12.0, wire.SpeechStarted(event_id="e", item_id="u1", audio_start_ms=1500)),
        (12.0, user("After the pause.")),
        (20.0, wire.SessionCreated(event_id="e", session=_session())),
        (21.0, Captured(bytes(SECOND))),
        (21.0, wire.SpeechStarted(event_id="e", item_id="u2", audio_start_ms=250)),
        (21.0, user("In the new session.", "u2")),
    )
    assert [start for start, _, _ in cues(minutes)] == ["00:00:11.500", "00:00:20.250"]


def _session():
    return msgspec.convert({"type": "realtime"}, AnySession)


def test_push_to_talk_is_timed_by_the_key() -> None:
    minutes = minutes_of(
        (1.0, TurnBegun()),
        (3.0, wire.InputAudioBufferCommitted(event_id="e", item_id="u1", previous_item_id=None)),
        (4.0, user("Held.")),
    )
    assert cues(minutes) == [("00:00:01.000", "00:00:03.000", "<v You>Held.")]


def test_interrupted_answers_show_what_was_heard() -> None:
    minutes = minutes_of(
        (1.0, assistant("Once upon a time.", heard=0)),
        (1.5, Played("a1", 500)),
        (1.6, assistant("Once upon a time.", cut=True, heard=9)),
        (2.0, assistant("Never heard.", cut=True, heard=0, item="a2")),
        (3.0, assistant("Only read", cut=True, item="a3")),
    )
    text = minutes.markdown()
    assert "Once upon ~~a time.~~ *(interrupted)*" in text
    assert "~~Never heard.~~ *(interrupted)*" in text
    assert "\nOnly read *(interrupted)*" in text
    assert [words for _, _, words in cues(minutes)] == ["<v Agent>Once upon", "<v Agent>Only read"]


def test_calls_and_what_came_of_them() -> None:
    minutes = minutes_of(
        (1.0, Run("c1", "get_weather", '{"city": "Paris", "api_key": "hunter2"}')),
        (1.0, Run("c2", "slow", "{}")),
        (1.0, Run("c3", "shell", "not json")),
        (1.4, Returned("c1", '{"temperature": 21}')),
        (1.5, Returned("c3", '{"error": "```no```"}')),
        (1.6, Returned("unknown", "x")),
    )
    text = minutes.markdown()
    assert (
        '*Tool* `get_weather` · 00:01 · 0.4 s\n\n```json\n{"city": "Paris", "api_key": "***"}\n```\n\n```json' in text
    )
    assert "*Tool* `slow` · 00:01 · has not returned\n" in text
    assert (
        '*Tool* `shell` · 00:01 · 0.5 s · failed\n\n```\nnot json\n```\n\n````json\n{"error": "```no```"}\n````' in text
    )
    assert cues(minutes) == []


def test_sources_stand_below_what_they_are_for() -> None:
    sources = (
        Source(title="A [page]", url="https://example.org/a?token=hunter2hunter2", quote="so it is"),
        Source(file_id="file_1"),
    )
    minutes = minutes_of((1.0, assistant("So it is.")), (1.1, Cite("a1", sources)), (2.0, Cite("unseen", sources[1:])))
    assert minutes.markdown().endswith(
        "So it is.\n\n"
        "> [1] A \\[page\\] <https://example.org/a?token=***> “so it is”  \n> [2] file\\_1\n\n"
        "> [1] file\\_1\n"
    )


def test_notes_and_warnings() -> None:
    text = minutes_of((1.0, Warn("bad", "The service is *busy*.")), (61.5, Reported("The timer rings."))).markdown()
    assert "*Warning* · 00:01\\\nThe service is \\*busy\\*.\n" in text
    assert "*Note* · 01:01\\\nThe timer rings.\n" in text


@pytest.mark.parametrize(
    ("said", "markdown", "caption"),
    [
        ("a < b & b > c --> d", "a \\< b & b \\> c --\\> d", "a &lt; b &amp; b &gt; c --&gt; d"),
        ("# no title\n- no list", "\\# no title\\\n\\- no list", "# no title - no list"),
        ("one\n\n\ntwo", "one\\\ntwo", "one two"),
        ("\x1b[31mred\x07", "red", "red"),
        ("sk-0123456789abcdef", "\\*\\*\\*", "***"),
    ],
)
def test_words_cannot_break_out(said: str, markdown: str, caption: str) -> None:
    minutes = minutes_of((0.0, Typed(said)))
    assert minutes.markdown() == f"# Conversation\n\n**You** · 00:00\\\n{markdown}\n"
    assert cues(minutes) == [("00:00:00.000", "00:00:01.000", f"<v You>{caption}")]


def test_what_was_taken_for_speech_and_was_none_leaves_nothing() -> None:
    minutes = minutes_of((1.0, wire.SpeechStarted(event_id="e", item_id="u1", audio_start_ms=0)), (2.0, user("")))
    assert minutes.markdown() == "# Conversation\n"
    assert cues(minutes) == []


def test_hours_are_counted() -> None:
    minutes = minutes_of((3 * 3600 + 62.0, Typed("Still here?")))
    assert "**You** · 3:01:02\\\n" in minutes.markdown()
    assert cues(minutes)[0][0] == "03:01:02.000"


# Saving ---------------------------------------------------------------------------------------------------------------


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    minutes = minutes_of((0.0, Typed("Hello")))
    paths = [minutes.save(tmp_path, STARTED) for _ in range(3)]
    assert [path.name for path in paths] == [f"vivavoce-2026-11-22-183000{more}.md" for more in ("", "-2", "-3")]
    assert {path.read_text() for path in paths} == {minutes.markdown(STARTED)}


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SaveError, match=r"vivavoce-.*\.md cannot be written \(Not a directory\): make room, or start"):
        Minutes().save(tmp_path / "file", STARTED)


@pytest.mark.anyio
async def test_a_conversation_is_saved_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    engines: dict[str, Any] = {name: f"tests.scripted_engines:{name}" for name in ("vad", "stt", "llm", "tts")}
    out = StringIO()
    async with embedded(**engines) as hub, compose.in_process(hub) as link:
        parts: dict[str, Any] = {"session": {"type": "realtime", "output_modalities": ["text"]}, "tools": Toolbox()}
        agent = Agent(link, mint=Ids("test"), view=PlainConsole(out, out), **parts)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(agent.run)
            await until(lambda: agent.quiet)
            empty = agent.save()
            agent.say("Where is it?")
            await until(lambda: "Paris, of course." in out.getvalue())
            saved = agent.save()
            (tmp_path / "gone").mkdir()
            monkeypatch.chdir(tmp_path / "gone")
            (tmp_path / "gone").rmdir()
            with pytest.raises(SaveError, match="make room, or start where you may write"):
                agent.save()
            assert agent.quiet
            agent.stop()
    assert "Where" not in empty.read_text()
    assert re.search(r"Where is it\?\n\n\*\*Agent\*\* · 00:0\d\\\nParis, of course\.\n", saved.read_text())


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not condition():  # noqa: ASYNC110 - what is waited for is in another program's hands
            await anyio.sleep(0.01)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_a_full_disk_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open

    def onto_full_disk(path: Path, *arguments, **options):
        opened(path, *arguments, **options).close()
        return opened(Path("/dev/full"), "w", encoding="utf-8")

    monkeypatch.setattr(Path, "open", onto_full_disk)
    with pytest.raises(SaveError, match="No space left on device"):
        minutes_of((0.0, Typed("Hello"))).save(tmp_path, STARTED)
    assert list(tmp_path.iterdir()) == []
