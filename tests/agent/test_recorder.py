"""What is recorded of a conversation is what was: heard, said and done, whatever becomes of disk and process."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
import soundfile

from vivavoce import run
from vivavoce.agent import recorder as recorder_module
from vivavoce.agent.masking import Mask
from vivavoce.agent.recorder import CAPTIONS, MARKDOWN, SOUND, Recorder, RecordError
from vivavoce.agent.replay import fold
from vivavoce.agent.seams import RATE
from vivavoce.agent.sessionlog import NAME, SessionLog
from vivavoce.config import Settings
from vivavoce.realtime import events as wire
from vivavoce.realtime.client import Captured, Changed, Played, Returned, Run, Show, Typed, Warn
from vivavoce.realtime.values import AnySession, FunctionCall
from vivavoce.run import TalkOptions
from vivavoce.speech.pcm import from_pcm16, to_pcm16

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vivavoce.ports import Samples, Tap

pytestmark = pytest.mark.anyio

ENGINES = {name: f"tests.scripted_engines:{name}" for name in ("vad", "stt", "llm", "tts")}
COMMAND = [sys.executable, "-c", "from vivavoce.cli import main; main()"]
ENVIRONMENT = os.environ | {f"VIVAVOCE_{name.upper()}": engine for name, engine in ENGINES.items()}
ENVIRONMENT |= {"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONIOENCODING": "utf-8"}
SPEECH = (1.0, 2.2)
"""When the person speaks in the recording that is the microphone, seconds."""


def tone(seconds: float, rate: int = RATE, hertz: float = 300.0) -> Samples:
    times = np.arange(round(seconds * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


def question(path: Path, rate: int = RATE) -> Any:
    """Write what the person says and return it as it is sent."""
    start, end = SPEECH
    sound = np.concatenate([np.zeros(round(start * rate), np.float32), tone(end - start, rate)])
    soundfile.write(path, sound, rate, "PCM_16")
    return soundfile.read(path, dtype="int16")[0]


async def talk(folder: Path, *, fast: bool = True, rate: int = RATE, **settings: Any) -> Path:
    """Hold a conversation from file to file and return where it was recorded."""
    question(folder / "question.wav", rate)
    options = TalkOptions(input_file=str(folder / "question.wav"), output_file=str(folder / "answer.wav"), fast=fast)
    await run.talk(Settings(record=str(folder / "kept"), **{**ENGINES, **settings}), options)
    (recording,) = (folder / "kept").iterdir()
    return recording


def tracks(recording: Path) -> tuple[Any, Any]:
    sound, rate = soundfile.read(recording / SOUND, dtype="int16", always_2d=True)
    assert rate == RATE
    return sound[:, 0], sound[:, 1]


def cues(recording: Path) -> list[tuple[float, float, str]]:
    found = re.findall(r"(\S+) --> (\S+)\n(.*)\n", (recording / CAPTIONS).read_text())
    return [(seconds(start), seconds(end), text) for start, end, text in found]


def seconds(stamp: str) -> float:
    hours, minutes, rest = stamp.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


def lines_of(recording: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (recording / NAME).read_text().splitlines()]


def spans(track: Any) -> tuple[float, float]:
    """Return when a track is heard first and last, seconds."""
    loud = np.flatnonzero(np.abs(track) > 300)
    return loud[0] / RATE, loud[-1] / RATE


# A whole conversation -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fast", [True, False])
async def test_both_sides_are_kept_to_the_sample(tmp_path: Path, fast: bool) -> None:
    recording = await talk(tmp_path, fast=fast)
    left, right = tracks(recording)
    said, _ = soundfile.read(tmp_path / "question.wav", dtype="int16")
    heard, _ = soundfile.read(tmp_path / "answer.wav", dtype="int16")
    start = 0 if fast else int(np.flatnonzero(left)[0] - np.flatnonzero(said)[0])
    assert 0 <= start < RATE / 10
    assert np.array_equal(left[start : start + len(said)], said)
    assert not left[start + len(said) :].any()
    common = min(len(right), len(heard))
    assert common > 4 * RATE
    assert np.array_equal(right[:common], heard[:common])
    assert right.any()


async def test_what_is_sent_is_counted_as_it_is_kept(tmp_path: Path) -> None:
    recording = await talk(tmp_path, rate=16_000)
    sent = [line for line in lines_of(recording) if line.get("in", {}).get("type") == "Captured"]
    left, _ = tracks(recording)
    assert sum(line["in"]["audio"]["bytes"] for line in sent) == 2 * len(left)
    assert [line["at"] for line in sent if "at" in line][-1] == pytest.approx(len(left) / RATE, abs=1e-3)
    loud = [line["at"] for line in sent if line["db"] > -30]
    assert (loud[0], loud[-1]) == (pytest.approx(SPEECH[0], abs=0.04), pytest.approx(SPEECH[1], abs=0.04))


@pytest.mark.parametrize("fast", [True, False])
async def test_captions_are_there_when_the_words_are(tmp_path: Path, fast: bool) -> None:
    recording = await talk(tmp_path, fast=fast)
    left, right = tracks(recording)
    (asked, asked_end, question), (told, told_end, answer) = cues(recording)
    assert (question, answer) == ("<v You>What is the capital of France?", "<v Agent>Paris, of course.")
    first, last = spans(left)
    assert first - 0.5 < asked <= first
    assert last <= asked_end < last + 0.7
    first, last = spans(right)
    assert told == pytest.approx(first, abs=0.05)
    assert told_end >= last - 0.05


async def test_transcript_says_who_when_and_what(tmp_path: Path) -> None:
    recording = await talk(tmp_path, llm="tests.scripted_engines:shopkeeper")
    text = (recording / MARKDOWN).read_text()
    assert re.match(r"# Conversation of \d{4}-\d\d-\d\d \d\d:\d\d\n", text)
    assert "**You** · 00:00\\\nWhat is the capital of France?\n" in text or "**You** · 00:01\\\nWhat" in text
    assert '*Tool* `in_stock` · 00:02 · 0.0 s · failed\n\n```json\n{"item": "apples"}\n```' in text
    assert text.index("in_stock") < text.index("Three apples are left.")


async def test_log_tells_everything_and_can_be_run_again(tmp_path: Path) -> None:
    recording = await talk(tmp_path, llm="tests.scripted_engines:shopkeeper")
    head, *lines, last = lines_of(recording)
    assert (head["log"], head["session"]["type"], head["settings"]["service"]) == (1, "realtime", "local")
    assert last["end"]
    kinds = {(*line.keys(),)[-1] + " " + (line.get("in") or line["out"])["type"] for line in lines}
    assert {
        "in session.created",
        "out session.update",
        "in Captured",
        "out input_audio_buffer.append",
        "in response.output_audio.delta",
        "out Play",
        "in Played",
        "out Run",
        "in Returned",
    } <= kinds
    times = [line["t"] for line in lines]
    assert times == sorted(times)
    assert fold(recording) == []


async def test_fold_finds_what_is_no_longer_done(tmp_path: Path) -> None:
    recording = await talk(tmp_path)
    text = (recording / NAME).read_text()
    (recording / NAME).write_text(text.replace("Paris, of course.", "Paris, of curse.", 1))
    assert fold(recording)
    (recording / NAME).write_text(re.sub(r'.*"out":\{"type":"Play".*\n', "", text))
    assert {difference.now[0]["type"] for difference in fold(recording)} == {"Play"}


def test_a_conversation_in_writing_has_no_sound(tmp_path: Path) -> None:
    subprocess.run(
        [*COMMAND, "talk", "--text", "--record", "kept"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        input=b"Where is it?\n",
        check=True,
        timeout=60,
        stdout=subprocess.DEVNULL,
    )
    (recording,) = (tmp_path / "kept").iterdir()
    assert {path.name for path in recording.iterdir()} == {MARKDOWN, NAME}
    text = (recording / MARKDOWN).read_text()
    assert re.search(r"\*\*You\*\* · 00:0\d\\\nWhere is it\?\n\n\*\*Agent\*\* · 00:0\d\\\nParis, of course\.\n", text)
    assert fold(recording) == []


async def test_recordings_do_not_overwrite_each_other_and_are_the_owners(tmp_path: Path) -> None:
    folders = []
    for _ in range(3):
        with Recorder(tmp_path / "kept", {}) as recorder:
            folders.append(recorder.folder)
    assert len(set(folders)) == 3
    assert {folder.stat().st_mode & 0o777 for folder in folders} == {0o700}


# Devices --------------------------------------------------------------------------------------------------------------


class End:
    """An end of the sound that others may listen to."""

    sample_rate = RATE

    def __init__(self, tap_rate: int = RATE) -> None:
        self.taps: list[Tap] = []
        self.tap_rate = tap_rate

    def tell(self, when: float, samples: Samples) -> None:
        for tap in self.taps:
            tap(when, samples)

    def tell_from_elsewhere(self, when: float, samples: Samples) -> None:
        """As an audio thread does."""
        thread = threading.Thread(target=self.tell, args=(when, samples))
        thread.start()
        thread.join()


def end(tap_rate: int = RATE) -> Any:
    return End(tap_rate)


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[tuple[Any, Any, Recorder]]:
    microphone, speaker = end(), end()
    recorder = Recorder(tmp_path, {}, microphone=microphone, speaker=speaker)
    with recorder:
        yield microphone, speaker, recorder


FRAME = RATE // 50


def ramp(start: int, count: int = FRAME) -> Any:
    return ((np.arange(start, start + count) % 20_000) + 1).astype(np.int16)


def frame_of(pcm: Any) -> Samples:
    return from_pcm16(pcm.tobytes())


@pytest.mark.parametrize("elsewhere", [False, True])
def test_what_is_muted_is_not_kept_and_leaves_its_place(ends: Any, elsewhere: bool) -> None:
    microphone, speaker, recorder = ends
    speaker.tell(100.0, np.zeros(1, np.float32))
    muted = range(50, 150)
    for number in range(200):
        pcm = ramp(number * FRAME)
        tell = microphone.tell_from_elsewhere if elsewhere else microphone.tell
        tell(100 + number / 50, frame_of(pcm))
        if number not in muted:
            recorder.watch(Captured(pcm.tobytes()))
    recorder.__exit__(None, None, None)
    left, _ = tracks(recorder.folder)
    assert np.array_equal(left[: 50 * FRAME], ramp(0, 50 * FRAME))
    assert not left[50 * FRAME : 149 * FRAME].any()
    assert np.array_equal(left[151 * FRAME : 200 * FRAME], ramp(151 * FRAME, 49 * FRAME))


def test_frames_that_wait_for_a_busy_event_loop_keep_their_places(ends: Any) -> None:
    microphone, _, recorder = ends
    frames = [ramp(number * FRAME) for number in range(100)]
    for start in range(0, 100, 10):
        for number in range(start, start + 10):
            microphone.tell_from_elsewhere(7 + number / 50, frame_of(frames[number]))
        for number in range(start, start + 10):
            recorder.watch(Captured(frames[number].tobytes()))
    recorder.__exit__(None, None, None)
    assert np.array_equal(tracks(recorder.folder)[0], np.concatenate(frames))


def test_times_that_tremble_leave_no_seams_and_clocks_that_drift_apart_are_followed(tmp_path: Path) -> None:
    microphone, speaker, random = End(), End(), np.random.default_rng(5)
    recorder = Recorder(tmp_path, {}, microphone=microphone, speaker=speaker, in_step=True)  # type: ignore[arg-type]
    with recorder:
        for number in range(2000):
            microphone.tell(number / 50, np.zeros(FRAME, np.float32))
            recorder.watch(Captured(bytes(2 * FRAME)))
            speaker.tell(number / 50 * 1.001 + random.uniform(-0.004, 0.004), frame_of(ramp(number * FRAME)))
    _, right = tracks(recorder.folder)
    gaps = np.count_nonzero(np.diff((right[FRAME:] == 0).astype(int)) == 1)
    assert 4 <= gaps <= 10
    assert np.array_equal(right[right > 0], ramp(0, 2000 * FRAME))
    assert len(right) == pytest.approx(2000 * FRAME * 1.001, abs=0.02 * RATE)


@pytest.mark.parametrize("other", [0.0, 1e9])
def test_a_clock_that_is_another_one_or_becomes_one_is_brought_to_the_first(ends: Any, other: float) -> None:
    microphone, speaker, recorder = ends
    start = time.monotonic()
    for number in range(20):
        pcm = ramp(number * FRAME)
        now = time.monotonic()
        microphone.tell(500 + number / 50 if number < 10 else now + 3e5, frame_of(pcm))
        recorder.watch(Captured(pcm.tobytes()))
        speaker.tell(other + number / 50, frame_of(pcm))
        time.sleep(max(start + (number + 1) / 50 - time.monotonic(), 0))
    recorder.__exit__(None, None, None)
    left, right = tracks(recorder.folder)
    assert len(left) < RATE
    assert np.count_nonzero(right) == 20 * FRAME
    assert np.flatnonzero(right)[0] == pytest.approx(np.flatnonzero(left)[0], abs=0.04 * RATE)


def test_another_rate_is_brought_to_ours_without_delay(tmp_path: Path) -> None:
    speaker = end(44_100)
    recorder = Recorder(tmp_path, {}, speaker=speaker)
    sound = np.concatenate([np.zeros(44_100, np.float32), tone(1.0, 44_100), np.zeros(44_100, np.float32)])
    with recorder:
        for start in range(0, len(sound), 441):
            speaker.tell(5 + start / 44_100, sound[start : start + 441])
    _, right = tracks(recorder.folder)
    first, last = spans(right)
    assert first == pytest.approx(1.0, abs=0.002)
    assert last == pytest.approx(2.0, abs=0.002)
    assert np.corrcoef(right[RATE : 2 * RATE], tone(1.0))[0, 1] > 0.999


def test_an_end_that_tells_nothing_is_silent(tmp_path: Path) -> None:
    class Deaf:
        sample_rate = RATE

    recorder = Recorder(tmp_path, {}, microphone=Deaf(), speaker=Deaf())  # type: ignore[arg-type]
    with recorder:
        for number in range(10):
            recorder.watch(Captured(ramp(number * FRAME).tobytes()))
            time.sleep(0.02)
    left, right = tracks(recorder.folder)
    assert np.array_equal(left[: 10 * FRAME], ramp(0, 10 * FRAME))
    assert not right.any()


# Mishaps --------------------------------------------------------------------------------------------------------------


def test_a_process_that_is_killed_leaves_everything_up_to_the_last_second(tmp_path: Path) -> None:
    start = np.zeros(RATE, np.float32)
    soundfile.write(tmp_path / "long.wav", np.concatenate([start, tone(1.2), np.tile(start, 20)]), RATE, "PCM_16")
    files = ["--input", "long.wav", "--output", "out.wav", "--record", "kept"]
    with subprocess.Popen([*COMMAND, "talk", *files], cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.DEVNULL) as talk:
        log = _await(lambda: next(tmp_path.glob(f"kept/*/{NAME}"), None))
        recording = log.parent
        _await(lambda: '"at":5.' in log.read_text())
        _await(lambda: (recording / CAPTIONS).exists() and "Paris" in (recording / CAPTIONS).read_text())
        written = log.read_text()
        talk.send_signal(signal.SIGKILL)
    left, right = tracks(recording)
    at = max(line.get("at", 0) for line in map(json.loads, written.splitlines()))
    assert len(left) / RATE > at - 1.5
    assert spans(left)[0] == pytest.approx(1.0, abs=0.1)
    assert right.any()
    assert "Paris, of course" in (recording / MARKDOWN).read_text()
    log_now = SessionLog(recording)
    assert len(list(log_now.steps())) > 100
    assert log_now.troubles[-1] == "The log breaks off here."
    assert log_now.skipped <= 1
    assert fold(recording)[:-1] == []


def _await(condition: Any) -> Any:
    for _ in range(1000):
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come")


def test_a_full_disk_ends_the_recording_with_one_warning(tmp_path: Path) -> None:
    warnings: list[str] = []
    microphone = end()
    recorder = Recorder(tmp_path, {}, microphone=microphone, complain=warnings.append)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with recorder:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
        try:
            for number in range(1000):
                microphone.tell(number / 50, frame_of(ramp(0)))
                recorder.watch(Captured(ramp(0).tobytes()))
                time.sleep(0.001)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    (warning,) = warnings
    assert re.search(r"cannot be written \(File too large\): the recording ends here\.", warning)
    assert not recorder._queue


def test_a_disk_that_does_not_keep_up_costs_the_recording_and_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "WAITING", 100)
    gate = threading.Event()
    monkeypatch.setattr(recorder_module._Writer, "take", lambda *_: gate.wait(10))
    warnings: list[str] = []
    with Recorder(tmp_path, {}, complain=warnings.append) as recorder:
        for _ in range(500):
            recorder.watch(Typed("Hello"))
        assert len(recorder._queue) <= 100
        gate.set()
    assert warnings == ["The disk is too slow for the recording: it ends here, the conversation goes on."]
    assert b'"end"' not in (recorder.folder / "session.jsonl").read_bytes()


@pytest.mark.parametrize("where", ["file", "file/below"])
def test_a_folder_that_cannot_be_is_refused_in_one_sentence(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match=r"choose another (folder|one) with --record\.$"):
        Recorder(tmp_path / where, {})


# Secrets --------------------------------------------------------------------------------------------------------------

CANARY = "canary0123456789abcdef"
KNOWN = "a-plain-word-that-opens-the-door"
ARGUMENTS = json.dumps({"city": "Paris", "password": CANARY, "url": f"https://me:{CANARY}@example.org/?token={CANARY}"})
MCP = {
    "type": "mcp",
    "server_label": "docs",
    "server_url": f"https://example.org/?api_key={CANARY}",
    "authorization": CANARY,
    "headers": {"X-Access": CANARY},
}


def happenings() -> Iterator[Any]:
    """Yield everything that could carry a secret."""
    item = FunctionCall(id="item_1", call_id="call_1", name="look", arguments=ARGUMENTS, status="completed")
    yield wire.SessionCreated(event_id="e", session=settings({"type": "realtime", "instructions": f"Key: {KNOWN}"}))
    yield wire.SessionUpdate(session={"tools": [MCP], "instructions": f"Use Bearer {CANARY}."})
    yield Changed({"tools": [MCP]})
    yield wire.FunctionCallArgumentsDelta(
        event_id="e", response_id="r", item_id="item_1", output_index=0, call_id="call_1", delta=f'word": "{CANARY}'
    )
    yield wire.OutputItemDone(event_id="e", response_id="r", output_index=0, item=item)
    yield Run("call_1", "look", ARGUMENTS)
    yield Returned("call_1", json.dumps({"client_secret": CANARY, "note": f"sk-{CANARY}"}))
    yield Typed(f"My key is {KNOWN} and sk-{CANARY}")
    yield Show(role="user", item_id="u", text=f"Say ek_{CANARY} and {KNOWN}", final=True)
    yield Show(role="assistant", item_id="a", text=f"wss://{CANARY}@example.org {KNOWN}", final=True)
    yield Warn("bad", f"Api-Key {CANARY} is not known; {KNOWN}")
    yield wire.Unknown("some.thing", {"type": "some.thing", "deep": [{"authorization": CANARY, "x": KNOWN}]})


def settings(raw: dict[str, Any]) -> Any:
    return msgspec.convert(raw, AnySession)


def test_no_secret_is_in_any_file(tmp_path: Path) -> None:
    about = {
        "settings": {"url": f"wss://me:{CANARY}@example.org/?key={CANARY}", "instructions": KNOWN},
        "session": {"tools": [MCP]},
        "greeting": f"Say {KNOWN}",
    }
    mask = Mask.of_environment({"DOOR_KEY": KNOWN})
    with Recorder(tmp_path, about, mask=mask) as recorder:
        for happened in happenings():
            recorder.watch(happened)
    for path in recorder.folder.iterdir():
        text = path.read_text()
        assert "***" in text
        for secret in (CANARY, KNOWN):
            assert secret not in text, path.name
    assert len(lines_of(recorder.folder)) == 14


async def test_no_key_of_the_environment_is_in_a_whole_conversation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIVAVOCE_KEY", KNOWN)
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    recording = await talk(tmp_path, instructions=f"The door opens with {KNOWN}. {CANARY}")
    for path in recording.iterdir():
        data = path.read_bytes()
        assert KNOWN.encode() not in data
        assert CANARY.encode() not in data
    assert "The door opens with ***. ***" in (recording / NAME).read_text()


def test_played_sound_is_not_repeated_in_the_log(tmp_path: Path) -> None:
    with Recorder(tmp_path, {}) as recorder:
        recorder.watch(Played("item_1", 20))
        recorder.watch(Captured(to_pcm16(tone(1.0))))
    assert (recorder.folder / NAME).stat().st_size < 1000
