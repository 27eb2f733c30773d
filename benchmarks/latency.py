"""How long a person waits for an answer: `uv run python benchmarks/latency.py [--profile fast|quality|both]`.

A server of our own in a process of its own, with the embedded engines; a client that streams speech in real time over
the WebSocket, in frames of 20 ms, as `vivavoce talk` does, its tools declared. The clock starts when the last frame of
the speech above -40 dBFS is sent (its last sample is spoken then) and stops at the first byte of the answer's sound.
Recordings of people (../shared/audio where it exists, else tests/data) are remarks rather than questions; the questions
are synthesised. The stages are the server's own account, `vivavoce.response.timings`.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import jiwer
import msgspec
import numpy as np
import soundfile
from rich.console import Console
from rich.table import Table

from vivavoce.agent import services
from vivavoce.agent.connection import connect
from vivavoce.backends.hibari import Hibari
from vivavoce.config import Settings
from vivavoce.realtime import events as wire
from vivavoce.run import toolbox
from vivavoce.speech.pcm import level_db, resample, to_pcm16

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vivavoce.ports import Samples

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "audio"
AUDIO = SHARED if SHARED.exists() else ROOT / "tests" / "data"
PACKAGES = ("vivavoce", "xllamacpp", "onnxruntime", "hibari-tts", "numpy", "websockets", "uvicorn")
RATE = 24_000
FRAME = RATE // 50
LOUD_DB = -40.0
LENGTHS = (1.5, 8.0)
"""Seconds of the recordings that are used."""
RECORDINGS = 32
TURNS = 6
"""In one conversation."""
ANSWERED_S = 20.0
"""After the speech; an utterance without an answer by then counts as unanswered."""
STAGES = ("waiting", "transcription", "first_token", "first_sentence", "synthesis")
EXTENSIONS = {"vivavoce": {"timings": True}}
QUESTIONS = """\
What is the capital of France?
How many days are there in a week?
Why is the sky blue?
Who wrote Romeo and Juliet?
Can you recommend a good book for a long train ride?
What should I cook for dinner tonight?
How far away is the moon?
Tell me a joke.
What is the difference between a frog and a toad?
How do I remove a coffee stain from a shirt?
""".splitlines()


@dataclass(frozen=True)
class Utterance:
    kind: str
    words: str
    sound: Samples

    @property
    def last_loud(self) -> int:
        """The last frame of the speech."""
        return max(n for n, frame in enumerate(frames(self.sound)) if level_db(frame) > LOUD_DB)


@dataclass
class Turn:
    """What came of an utterance."""

    utterance: Utterance
    spoken_at: float = 0.0
    answered_at: float | None = None
    heard: list[str] = field(default_factory=list)
    timings: wire.ResponseTimings | None = None
    calls: int = 0
    done: bool = False

    @property
    def waited_ms(self) -> float | None:
        return None if self.answered_at is None else (self.answered_at - self.spoken_at) * 1000


def frames(sound: Samples) -> Samples:
    """Cut sound into frames, shape (n, FRAME)."""
    return np.pad(sound, (0, -len(sound) % FRAME)).reshape(-1, FRAME)


def words(text: str) -> str:
    return " ".join(re.sub(r"[^a-z0-9' ]+", " ", text.lower()).split())


# What is said --------------------------------------------------------------------------------------------------------


def recordings() -> Iterator[Utterance]:
    with (AUDIO / "manifest.tsv").open(encoding="utf-8", newline="") as manifest:
        rows = list(csv.DictReader(manifest, delimiter="\t"))
    shortest, longest = LENGTHS
    for row in rows:
        if row.get("lang", "en") == "en" and shortest <= float(row["seconds"]) <= longest:
            sound, rate = soundfile.read(AUDIO / row["file"], dtype="float32")
            yield Utterance("recorded", row["transcript"], resample(sound, rate, RATE))


async def questions() -> list[Utterance]:
    voice = Hibari()
    return [
        Utterance("synthesised", text, np.concatenate([chunk async for chunk in voice.speak(text)]))
        for text in QUESTIONS
    ]


# The conversation ----------------------------------------------------------------------------------------------------


async def converse(url: str, utterances: list[Utterance]) -> list[Turn]:
    """Say some utterances in one session, each after the answer to the one before."""
    definitions = [msgspec.to_builtins(definition) for definition in toolbox(()).definitions()]
    wanted = services.session_settings(Settings(), services.Service("", session=EXTENSIONS), definitions)
    async with connect(url) as link:
        await link.receive()
        await link.send(wire.SessionUpdate(session=wanted))
        return [await say(link, utterance) for utterance in utterances]


async def say(link: Any, utterance: Utterance) -> Turn:
    """Say one utterance in real time, then silence until it is answered."""
    turn = Turn(utterance)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listen, link, turn)
        await speak(link, turn)
        tasks.cancel_scope.cancel()
    return turn


async def speak(link: Any, turn: Turn) -> None:
    pieces, last = frames(turn.utterance.sound), turn.utterance.last_loud
    start = anyio.current_time()
    number, silence = 0, np.zeros(FRAME, np.float32)
    while number <= last or (not turn.done and anyio.current_time() < turn.spoken_at + ANSWERED_S):
        frame = pieces[number] if number < len(pieces) else silence
        number += 1
        await anyio.sleep_until(start + number * FRAME / RATE)
        if number <= last + 1:
            turn.spoken_at, turn.done = anyio.current_time(), False
        await link.send(wire.InputAudioBufferAppend(audio=to_pcm16(frame)))


async def listen(link: Any, turn: Turn) -> None:
    while True:
        match await link.receive():
            case wire.SpeechStarted():
                turn.answered_at, turn.timings = None, None
            case wire.TranscriptionCompleted(transcript=text):
                turn.heard.append(text)
            case wire.OutputAudioDelta() if turn.answered_at is None:
                turn.answered_at = anyio.current_time()
            case wire.FunctionCallArgumentsDone():
                turn.calls += 1
            case wire.ResponseTimings() as timings:
                turn.timings = timings
            case wire.ResponseDone(response=response):
                turn.done = response.status != "cancelled"
            case _:
                pass


# The server ----------------------------------------------------------------------------------------------------------


@contextmanager
def serving(profile: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run a server until the block ends."""
    command = [str(Path(sys.executable).with_name("vivavoce")), "serve", "--profile", profile, "--port", "0"]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process,
    ):
        assert process.stderr is not None
        try:
            yield next(line.split()[1] for line in process.stderr if line.startswith("Ready: ")), process
        finally:
            process.terminate()


def peak_gb(pid: int) -> float:
    """Return the most memory that a process has held; Linux only."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return float("nan")
    return int(re.findall(r"VmHWM:\s+(\d+)", status.read_text())[0]) * 1024 / 1e9


# The table -----------------------------------------------------------------------------------------------------------


def row(table: Table, name: str, values: list[float]) -> None:
    if values:
        p95 = float(np.percentile(values, 95))
        table.add_row(name, str(len(values)), f"{statistics.median(values):.0f}", f"{p95:.0f}", f"{max(values):.0f}")


def show(console: Console, profile: str, turns: list[Turn], peak: float) -> None:
    table = Table(title=f"From the end of speech to the first sound of the answer, profile {profile}, ms")
    for heading in ("", "n", "p50", "p95", "max"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=not heading)
    for kind in ("recorded", "synthesised", ""):
        chosen = [turn.waited_ms for turn in turns if turn.utterance.kind.startswith(kind)]
        row(table, kind or "all", [waited for waited in chosen if waited is not None])
    table.add_section()
    accounts = [turn.timings for turn in turns if turn.timings is not None and turn.answered_at is not None]
    for stage in STAGES:
        spent = [getattr(account, f"{stage}_ms") for account in accounts]
        row(table, f"  {stage.replace('_', ' ')}", [ms for ms in spent if ms is not None])
    console.print(table)
    recorded = [turn for turn in turns if turn.utterance.kind == "recorded"]
    said, heard = [words(turn.utterance.words) for turn in recorded], [words(" ".join(turn.heard)) for turn in recorded]
    silent = sum(turn.answered_at is None for turn in turns)
    console.print(
        f"unanswered {silent} of {len(turns)} ({100 * silent / len(turns):.0f} %), "
        f"tools called {sum(turn.calls for turn in turns)}, WER of the recordings {100 * jiwer.wer(said, heard):.1f} % "
        f"(in {len(recorded)}), peak memory of the server {peak:.2f} GB",
        soft_wrap=True,
    )


async def measure(profile: str, utterances: list[Utterance]) -> tuple[list[Turn], float]:
    with serving(profile) as (url, process):
        turns = [
            turn
            for first in range(0, len(utterances), TURNS)
            for turn in await converse(url, utterances[first : first + TURNS])
        ]
        return turns, peak_gb(process.pid)


async def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--profile", choices=["fast", "quality", "both"], default="both")
    parser.add_argument("--recordings", type=int, default=RECORDINGS)
    options = parser.parse_args()
    utterances = [*list(recordings())[: options.recordings], *await questions()]
    console, load = Console(), os.getloadavg()[0]
    for profile in ("fast", "quality") if options.profile == "both" else (options.profile,):
        show(console, profile, *await measure(profile, utterances))
    console.print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f} before, Python {platform.python_version()}, "
        f"{platform.system()}; " + ", ".join(f"{package} {version(package)}" for package in PACKAGES),
        soft_wrap=True,
    )


anyio.run(main)
