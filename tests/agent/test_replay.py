"""A log is shown as the conversation was, with its timing, whatever is left of it."""

from __future__ import annotations

import json
import re
import subprocess
import time
from io import StringIO
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest
import trio.testing
from tests.agent.test_recorder import COMMAND, ENVIRONMENT, lines_of, talk

from vivavoce.agent.console import PlainConsole
from vivavoce.agent.masking import Mask
from vivavoce.agent.recorder import Recorder
from vivavoce.agent.replay import Replay, fold, replay
from vivavoce.agent.sessionlog import NAME, LogError, SessionLog, read_effect, read_input, written
from vivavoce.realtime.client import (
    Captured,
    Changed,
    Cite,
    ClientSession,
    Lost,
    Played,
    Report,
    Run,
    Show,
    Stop,
    Typed,
    Warn,
)
from vivavoce.realtime.events import OutputAudioDelta, ResponseTimings, SessionCreated, SessionUpdated, Unknown
from vivavoce.realtime.server import Ids
from vivavoce.realtime.values import AnySession, Source

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.anyio


class Paper(StringIO):
    """A stream that takes every letter."""

    encoding = "utf-8"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A conversation with a call of a tool, as fast as it can; beside it what the person saw."""
    folder = tmp_path_factory.mktemp("recording")
    out = Paper()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", out)
        kept = anyio.run(lambda: talk(folder, llm="tests.scripted_engines:shopkeeper"))
    (folder / "seen").write_text(out.getvalue())
    return kept


def seen(recording: Path) -> str:
    return (recording.parents[1] / "seen").read_text()


async def shown(log: Path, **options: Any) -> tuple[str, str]:
    """Return what the plain view tells of the conversation, and what it says beside it."""
    out, beside = Paper(), Paper()
    with PlainConsole(out, beside) as console:
        await Replay(SessionLog(log), console, speed=float("inf"), **options).run()
    return out.getvalue(), beside.getvalue()


async def test_it_looks_as_it_did(recording: Path) -> None:
    out, beside = await shown(recording)
    assert out == seen(recording)
    assert set(re.findall(r"^(\w+):", out, re.MULTILINE)) == {"you", "tool", "agent", "time"}
    assert beside == ""
    assert await shown(recording / NAME) == (out, beside)


async def test_the_command_shows_it_and_programs_can_read_it(recording: Path) -> None:
    def run(*arguments: str) -> str:
        command = [*COMMAND, "replay", str(recording), "--no-wait", *arguments]
        done = subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True, text=True, timeout=60)
        assert done.stderr == ""
        return done.stdout

    assert run() == seen(recording)
    kinds = [json.loads(line)["type"] for line in run("--print-json").splitlines()]
    assert kinds[0] == "state"
    assert {"words", "tool.call", "tool.result"} <= set(kinds)


class Clocked:
    """A view that notes when it is shown something."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = {}

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: self.times.setdefault(name, []).append(anyio.current_time())


def write_log(path: Path, *lines: Any) -> Path:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in ({"log": 1, "session": {}}, *lines)]
    path.write_text("\n".join(texts) + "\n")
    return path


def typed(t: float, text: str = "Hello") -> dict[str, Any]:
    return {"t": t, "in": {"type": "Typed", "text": text}}


END = {"t": 9, "end": "The conversation is over."}


@pytest.mark.parametrize("speed", [1.0, 2.0])
async def test_it_takes_as_long_as_it_did(tmp_path: Path, speed: float) -> None:
    log = write_log(tmp_path / NAME, typed(1.0), typed(4.0), {"t": 4.0, "out": {"type": "Hush"}}, typed(8.5), END)

    async def show() -> list[float]:
        view, began = Clocked(), anyio.current_time()
        await Replay(SessionLog(log), view, speed=speed).run()
        return [time - began for time in view.times["words"]]

    times = await anyio.to_thread.run_sync(lambda: _virtually(show))
    assert times == pytest.approx([1.0 / speed, 4.0 / speed, 8.5 / speed])


def _virtually(work: Any) -> Any:
    clock = trio.testing.MockClock(autojump_threshold=0)
    return anyio.run(work, backend="trio", backend_options={"clock": clock})


async def test_a_log_that_breaks_off_is_shown_up_to_there(recording: Path, tmp_path: Path) -> None:
    data = (recording / NAME).read_bytes()
    whole, _ = await shown(recording)
    for cut in (len(data) // 2, len(data) - 3, data.index(b"\n") + 1, len(data) * 9 // 10):
        (tmp_path / NAME).write_bytes(data[:cut])
        out, beside = await shown(tmp_path)
        lines = [re.sub(r" — interrupted$", "", line) for line in out.splitlines()]
        assert all(any(known.startswith(line) for known in whole.splitlines()) for line in lines), (out, whole)
        assert beside.endswith("note: The log breaks off here.\n")


async def test_what_is_damaged_or_unknown_is_left_out_and_counted(tmp_path: Path) -> None:
    log = write_log(
        tmp_path / NAME,
        typed(1.0, "First"),
        '{"t": 2, "in": {"type": "Ty',
        "\x00\xff not json",
        {"t": 2.0, "in": {"type": "SomethingNew", "field": 1}},
        {"t": 2.0, "in": {"type": "Typed"}},
        {"t": 2.0, "out": {"type": "Show", "nonsense": 1}},
        {"t": 2.0, "sideways": {}},
        {"t": "late", "in": {"type": "Hush"}},
        [1, 2],
        typed(3.0, "Second"),
        END,
    )
    out, beside = await shown(log)
    assert out == "you: First\nyou: Second\n"
    assert beside == "note: 7 lines are damaged or unknown and left out.\n"
    assert [step.line.t for step in SessionLog(log).steps()] == [1.0, 2.0, 2.0, 3.0]


async def test_another_version_is_shown_with_a_notice(tmp_path: Path) -> None:
    log = write_log(tmp_path / NAME, typed(1.0), END)
    log.write_text(log.read_text().replace('"log": 1', '"log": 7'))
    assert "of another version" in (await shown(log))[1]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, r"There is no session log .*session\.jsonl: check the path\."),
        (b"", r"is no session log: give a folder that `vivavoce talk --record` made\."),
        (b"hello\n", "is no session log"),
        (b"[1]\n", "is no session log"),
        (b'{"type": "something"}\n', "is no session log"),
        (b"[" * 100_000, "is no session log"),
        (bytes(range(256)), "is no session log"),
    ],
)
def test_what_is_no_log_is_refused_in_one_sentence(tmp_path: Path, content: bytes | None, complaint: str) -> None:
    if content is not None:
        (tmp_path / NAME).write_bytes(content)
    with pytest.raises(LogError, match=complaint):
        SessionLog(tmp_path)


async def test_sound_that_is_not_there_is_said(tmp_path: Path) -> None:
    write_log(tmp_path / NAME, END)
    with pytest.raises(LogError, match=r"There is no .*conversation\.wav: replay the log without --sound\."):
        await replay(tmp_path, sound=True)


@pytest.mark.parametrize("flags", [["--speed", "2"], ["--no-wait"]])
def test_sound_has_its_own_speed(tmp_path: Path, flags: list[str]) -> None:
    done = subprocess.run(
        [*COMMAND, "replay", str(tmp_path), "--sound", *flags],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "Sound is played at its own speed" in done.stderr


# What the log says of one thing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "effect",
    [
        Show(role="assistant", item_id="a", text="Hi — \u2028 \ud83d", final=True, cut=True, heard=1),
        Run("c", "look", '{"a": 1}'),
        Stop(("c", "d")),
        Cite("a", (Source(title="t", url="https://example.org"),)),
        Warn("w", "no"),
        Report(ResponseTimings(event_id="e", response_id="r", total_ms=12.5)),
    ],
)
def test_effects_are_read_as_they_were(effect: Any) -> None:
    assert read_effect(written(effect, Mask())) == effect


@pytest.mark.parametrize(
    "happened",
    [
        Captured(bytes(960)),
        Played("a", 20, all_played=True),
        Changed({"audio": {"output": {"voice": "x"}}}),
        OutputAudioDelta(
            event_id="e", response_id="r", item_id="i", output_index=0, content_index=0, delta=bytes(4800)
        ),
        Unknown("some.thing", {"type": "some.thing", "n": 1}),
    ],
)
def test_inputs_are_read_with_silence_for_their_sound(happened: Any) -> None:
    raw = json.loads(json.dumps(written(happened, Mask())))
    assert read_input(raw) == happened


def test_sound_is_nowhere_in_the_log(recording: Path) -> None:
    for line in lines_of(recording):
        assert not re.search(r"[A-Za-z0-9+/]{200}", json.dumps(line.get("in") or line.get("out") or {}))
    assert fold(recording) == []


def test_a_log_of_a_conversation_over_two_connections_can_be_run_again(tmp_path: Path) -> None:
    """Identifiers that are minted while there is no server are sent when there is one again."""
    settings: dict[str, Any] = {"type": "realtime", "output_modalities": ["audio"]}
    session = msgspec.convert({**settings, "id": "sess_1"}, AnySession)
    happenings: list[Any] = [
        SessionCreated(event_id="e", session=session),
        SessionUpdated(event_id="e", session=session),
        Typed("Before"),
        Lost(),
        Typed("Meanwhile"),
        Captured(bytes(960)),
        SessionCreated(event_id="e", session=session),
        SessionUpdated(event_id="e", session=session),
    ]
    with Recorder(tmp_path, {"session": settings}) as recorder:
        client = ClientSession(settings, mint=Ids("ab12"), unix=time.time() - time.monotonic())
        for happened in happenings:
            recorder.watch(happened)
            for output in client.step(happened, time.monotonic()):
                recorder.watch(output)
    assert "conversation.item.create" in [
        line["out"]["type"] for line in lines_of(recorder.folder)[-6:] if "out" in line
    ]
    assert fold(recorder.folder) == []
