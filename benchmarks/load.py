"""How many sessions one machine holds at once: `uv run --group bench python benchmarks/load.py [--embedded]`.

A server of our own in one process, with the real detector and scripted models that cost nothing (or the embedded ones);
the callers in another process on the same cores. Every caller streams sound in real time over its own WebSocket, in
frames of 20 ms, never the digital silence that a detector could skip: recordings of people (../shared/audio where it
exists, else tests/data), and between them the noise of a room. Each asks, is answered and asks again; one in three
speaks at any time. The number of callers grows in steps until the 95th percentile of the answer's latency is twice that
of the first step, or the 99th percentile of the events' lateness 100 ms.

The latency runs from the last frame that holds speech, when it is sent, to the first byte of the answer's sound. An
event of speech is late against the same kind of event in the first step, by the time line that it names
(`audio_start_ms`, `audio_end_ms`); a piece of sound is late when a player has run dry before it comes. CPU is of one
core; what waits is what the server's sockets have received and the server has not read. Writes
docs/images/load.svg, or load_embedded.svg.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import os
import platform
import random
import re
import struct
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import anyio
import numpy as np
import soundfile
from anyio.lowlevel import checkpoint
from rich.console import Console
from rich.table import Table

from vivavoce import compose, run
from vivavoce.backends.silero import Silero
from vivavoce.config import Settings
from vivavoce.server.app import serve
from vivavoce.server.engine import Engines
from vivavoce.server.hub import Hub
from vivavoce.speech.pcm import resample, to_pcm16
from vivavoce.testing import ScriptedLanguageModel, ScriptedSpeechToText, ScriptedTextToSpeech
from vivavoce.testing.engines import tone

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from vivavoce.ports import Samples

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "audio"
AUDIO = SHARED if SHARED.exists() else ROOT / "tests" / "data"
PLOTS = {
    name: ROOT / "docs" / "images" / f"load{suffix}.svg"
    for name, suffix in {"scripted": "", "embedded": "_embedded"}.items()
}
PACKAGES = ("vivavoce", "onnxruntime", "numpy", "websockets", "uvicorn", "msgspec")
RATE = 24_000
FRAME_S = 0.02
FRAME = round(RATE * FRAME_S)
LENGTHS = (1.5, 8.0)
"""Seconds of the recordings that are used."""
ROOM_DB = -50.0
"""Level of the room between the recordings, dB below full scale."""
SPEECH = 0.5
"""Probability from which a frame is speech."""
SILENT_SHARE = 2.0
"""Silence after an utterance, for the answer, in lengths of it: one caller in three speaks at any time."""
SHORTEST_SILENCE_S = 3.0
SETTLING_S = 3.0
"""Time that a step's new callers have before it counts."""
LEAST, LONGEST = 20, 5
"""Answers in a step of few callers, and how many times as long it may last for them."""
LATE_MS = 100.0
STEPS = {"scripted": (10, 25, 50, 100, 150, 200, 250, 300, 400), "embedded": (1, 2, 3, 4, 6, 8, 12, 16)}
ANSWER = "This is an answer of ten words that takes three seconds."
ANSWER_S, PIECE_S = 3.0, 0.1
TONE = tone(220.0, PIECE_S, RATE)
SAMPLED_S = 0.5
WIDTH = 120
"""Of the table, characters."""
WAITING = re.compile(r"\s*\d+: \S+:(\w{4}) \S+ \w\w \w+:(\w+)")
"""Local port and bytes not read, in /proc/net/tcp."""


# The server ----------------------------------------------------------------------------------------------------------


class Monotone(ScriptedTextToSpeech):
    """A voice that costs nothing."""

    async def speak(
        self, sentence: str, *, voice: str | None = None, speed: float = 1.0
    ) -> AsyncGenerator[Samples, None]:
        del sentence, voice, speed
        for _ in range(round(ANSWER_S / PIECE_S)):
            await checkpoint()
            yield TONE


async def run_server(profile: str) -> None:
    """Serve until SIGTERM; the benchmark runs this in a process of its own."""
    ready = partial(print, flush=True)
    if profile == "embedded":
        async with compose.open_hub(Settings(profile="fast", max_sessions=1000), lead_s=run.LEAD_S) as hub:
            await serve(hub, port=0, on_ready=ready)
        return
    stt, llm = ScriptedSpeechToText(["What is it?"]), ScriptedLanguageModel(lambda _: ANSWER)
    tts = Monotone()
    hub = Hub(Engines(Silero(), stt, llm, tts), max_sessions=1000, lead_s=run.LEAD_S)

    async def forget() -> None:
        """Keep what the scripted models remember from counting as the server's memory."""
        while True:
            await anyio.sleep(1)
            stt.heard.clear()
            llm.prompts.clear()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(forget)
        await serve(hub, port=0, on_ready=ready)
        tasks.cancel_scope.cancel()


# The callers ---------------------------------------------------------------------------------------------------------


def message(text: str) -> bytes:
    """Return a text message of a client (RFC 6455 section 5.2); masked with zeros, one serves all callers."""
    body = text.encode()
    length = (
        struct.pack("!BB", 0x81, 0x80 | len(body)) if len(body) < 126 else struct.pack("!BBH", 0x81, 0xFE, len(body))
    )
    return length + bytes(4) + body


def append(frame: Samples) -> bytes:
    return message(json.dumps({"type": "input_audio_buffer.append", "audio": b64encode(to_pcm16(frame)).decode()}))


@dataclass(frozen=True)
class Utterance:
    messages: list[bytes]
    last: int
    """The last frame that holds speech."""


def recordings(room: Samples) -> Iterator[Utterance]:
    with (AUDIO / "manifest.tsv").open(encoding="utf-8", newline="") as manifest:
        rows = list(csv.DictReader(manifest, delimiter="\t"))
    for row in rows:
        if row.get("lang", "en") == "en" and LENGTHS[0] <= float(row["seconds"]) <= LENGTHS[1]:
            sound, rate = soundfile.read(AUDIO / row["file"], dtype="float32")
            sound = resample(sound, rate, RATE)
            noise = np.resize(room, len(sound) + -len(sound) % FRAME)
            noise[: len(sound)] += sound
            yield Utterance([append(frame) for frame in noise.reshape(-1, FRAME)], last_spoken(sound))


def last_spoken(sound: Samples) -> int:
    """Return the last frame that holds speech, as the detector hears it."""
    vad = Silero()
    heard, state, last = resample(sound, RATE, vad.sample_rate), vad.state(), 0
    for start in range(0, len(heard) - vad.frame, vad.frame):
        score, (state,) = vad.score(heard[np.newaxis, start : start + vad.frame], [state])
        last = start + vad.frame if score[0] >= SPEECH else last
    return round(last / vad.sample_rate / FRAME_S) - 1


class Caller(asyncio.Protocol):
    """One session: a WebSocket with no more to it than the load needs, so that the callers cost little."""

    transport: asyncio.Transport

    def __init__(self, path: str, utterances: list[Utterance], room: list[bytes], seed: int) -> None:
        self._path, self._utterances, self._room = path, utterances, room
        self._random = random.Random(seed)
        self._received = bytearray()
        self._open = False
        self._began = self._dry_at = self._spoken_at = 0.0
        self._sent = 0
        self._waits = False
        self._next(first=True)
        self.latencies: list[float] = []
        self.lags: list[tuple[str, float]] = []
        """Each event's kind and the milliseconds between the moment on the time line that it names and its coming."""
        self.unanswered = 0
        self.refused = 0
        self.gone = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        head = f"GET {self._path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        self.transport.write(f"{head}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {'A' * 22}==\r\n\r\n".encode())

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.gone = True

    def speak(self, now: float) -> None:
        """Send the next frame."""
        if not self._open or self.gone:
            return
        if self._position < len(self._utterance.messages):
            self.transport.write(self._utterance.messages[self._position])
            if self._position == self._utterance.last:
                self._spoken_at, self._waits = now, True
        else:
            self.transport.write(self._room[self._sent % len(self._room)])
        self._began = self._began or now
        self._sent += 1
        self._position += 1
        if self._position >= self._turn:
            self._next()

    def _next(self, *, first: bool = False) -> None:
        """Choose what to say, and how long to be silent after it."""
        if not first:
            self.unanswered += self._waits
            self._waits = False
        self._utterance = self._random.choice(self._utterances)
        spoken = len(self._utterance.messages)
        self._turn = spoken + round(max(SILENT_SHARE * spoken, SHORTEST_SILENCE_S / FRAME_S))
        self._position = self._random.randrange(spoken, self._turn) if first else 0

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._open:
            head, end, rest = self._received.partition(b"\r\n\r\n")
            if not end:
                return
            self._open, self._received = b" 101 " in head, rest
        while (size := self._whole()) is not None:
            del self._received[:size]

    def _whole(self) -> int | None:
        """Take the message at the front, and return its size; None where it is not whole."""
        received = self._received
        if len(received) < 10:
            return None
        length, start = received[1], 2
        if length == 126:
            length, start = int.from_bytes(received[2:4]), 4
        elif length == 127:
            length, start = int.from_bytes(received[2:10]), 10
        if len(received) < start + length:
            return None
        if received[0] == 0x81:
            self._hear(received[start : start + length], time.monotonic())
        elif received[0] == 0x89:
            self.transport.write(b"\x8a" + bytes([0x80 | length]) + bytes(4) + received[start : start + length])
        return start + length

    def _hear(self, event: bytearray, now: float) -> None:
        kind = event[9:80]
        if kind.startswith(b"response.output_audio.delta"):
            self._sound(now, len(json.loads(event)["delta"]) * 3 // 4 / 2 / RATE)
        elif kind.startswith(b"input_audio_buffer.speech_st"):
            told = json.loads(event)
            ms = told.get("audio_start_ms", told.get("audio_end_ms"))
            self.lags.append((told["type"], (now - self._began) * 1000 - ms))
        elif kind.startswith(b"response.created"):
            self._dry_at = 0.0
        elif kind.startswith(b"error"):
            self.refused += 1

    def _sound(self, now: float, seconds: float) -> None:
        if self._waits:
            self.latencies.append((now - self._spoken_at) * 1000)
            self._waits = False
        if self._dry_at:
            self.lags.append(("sound", max((now - self._dry_at) * 1000, 0.0)))
        self._dry_at = max(self._dry_at, now) + seconds


@dataclass
class Step:
    """What came of one number of callers."""

    callers: int
    began: float
    ended: float
    latencies: list[float]
    lags: dict[str, list[float]]
    lost: int
    """Turns without an answer, and sessions that ended."""
    jitter: list[float]
    """Milliseconds that the callers themselves were behind."""


class Crowd:
    """The callers, and the clock that they share."""

    def __init__(self, url: str) -> None:
        where = urlsplit(url)
        self._host, self._port, self._path = where.hostname or "", where.port or 0, where.path
        noise = np.random.default_rng(1).standard_normal(RATE) * 10 ** (ROOM_DB / 20)
        room = noise.astype(np.float32)
        self._room = [append(frame) for frame in room.reshape(-1, FRAME)]
        self._utterances = list(recordings(room))
        self._callers: list[Caller] = []
        self._behind: list[float] = []

    async def grow(self, count: int) -> None:
        loop = asyncio.get_running_loop()
        while len(self._callers) < count:
            make = partial(Caller, self._path, self._utterances, self._room, len(self._callers))
            _, caller = await loop.create_connection(make, self._host, self._port)
            self._callers.append(caller)
            await anyio.sleep(0.01)

    async def talk(self) -> None:
        """Send a frame of each caller every 20 ms, a few callers each millisecond."""
        began, tick, phases = time.monotonic(), 0, round(FRAME_S * 1000)
        while True:
            due = began + tick / 1000
            if (wait := due - time.monotonic()) > 0:
                await anyio.sleep(wait)
            now = time.monotonic()
            self._behind.append((now - due) * 1000)
            for caller in self._callers[tick % phases :: phases]:
                caller.speak(now)
            tick += 1

    async def step(self, count: int, seconds: float) -> Step:
        await self.grow(count)
        await anyio.sleep(SETTLING_S)
        self._forget()
        began = time.monotonic()
        await anyio.sleep(seconds)
        while self._answers() < LEAST and time.monotonic() < began + LONGEST * seconds:  # noqa: ASYNC110 - no event tells
            await anyio.sleep(1)
        lags = defaultdict(list)
        for caller in self._callers:
            for kind, lag in caller.lags:
                lags[kind].append(lag)
        return Step(
            callers=count,
            began=began,
            ended=time.monotonic(),
            latencies=[latency for caller in self._callers for latency in caller.latencies],
            lags=dict(lags),
            lost=sum(caller.unanswered + caller.gone + caller.refused for caller in self._callers),
            jitter=[float(np.percentile(self._behind, 50)), float(np.percentile(self._behind, 99))],
        )

    def _answers(self) -> int:
        return sum(len(caller.latencies) for caller in self._callers)

    def _forget(self) -> None:
        self._behind.clear()
        for caller in self._callers:
            caller.latencies.clear()
            caller.lags.clear()
            caller.unanswered = caller.refused = 0


async def run_callers(url: str, steps: list[int], seconds: float) -> None:
    """Tell of each step in a line, until told to stop; the benchmark runs this in a process of its own."""
    crowd = Crowd(url)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(crowd.talk)
        for count in steps:
            print(json.dumps(vars(await crowd.step(count, seconds))), flush=True)
        tasks.cancel_scope.cancel()


# The measure ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Moment:
    at: float
    server_cpu: float
    callers_cpu: float
    """CPU seconds so far."""
    server_mb: float
    waiting: int
    """Bytes."""


@dataclass
class Watch:
    """Looks at both processes from outside; Linux only."""

    server: int
    callers: int
    port: int
    moments: list[Moment] = field(default_factory=list)

    async def look(self) -> None:
        while True:
            memory, waiting = resident_mb(self.server), unread(self.port)
            moment = Moment(time.monotonic(), cpu(self.server), cpu(self.callers), memory, waiting)
            self.moments.append(moment)
            await anyio.sleep(SAMPLED_S)

    def during(self, step: Step) -> list[Moment]:
        return [moment for moment in self.moments if step.began <= moment.at <= step.ended]


def cpu(pid: int) -> float:
    """Return the CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def unread(port: int) -> int:
    """Return the bytes that the sockets at a port have received and nobody has read."""
    sockets = (WAITING.match(line) for line in Path("/proc/net/tcp").read_text().splitlines())
    return sum(int(found[2], 16) for found in sockets if found and int(found[1], 16) == port)


@contextmanager
def child(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run this file in another process until the block ends."""
    command = [sys.executable, str(Path(__file__).resolve()), *arguments]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()


@dataclass
class Row:
    """One step, judged."""

    step: Step
    latency: tuple[float, float]
    """Median and 95th percentile, ms."""
    late: tuple[float, float]
    """99th percentile and maximum, ms."""
    server: float
    callers: float
    """Per cent of a core."""
    memory: float
    waiting: tuple[float, float]
    """Median and maximum, in frames of 20 ms a session."""


def judge(step: Step, moments: list[Moment], usual: dict[str, float]) -> Row:
    lags = [lag - usual.get(kind, 0.0) for kind, values in step.lags.items() for lag in values]
    frames = [moment.waiting / len(append(np.zeros(FRAME, np.float32))) / step.callers for moment in moments]
    seconds = moments[-1].at - moments[0].at
    return Row(
        step,
        latency=spread(step.latencies, 50, 95),
        late=spread(lags, 99, 100),
        server=100 * (moments[-1].server_cpu - moments[0].server_cpu) / seconds,
        callers=100 * (moments[-1].callers_cpu - moments[0].callers_cpu) / seconds,
        memory=moments[-1].server_mb,
        waiting=spread(frames, 50, 100),
    )


def spread(values: list[float], low: float, high: float) -> tuple[float, float]:
    if not values:
        return float("nan"), float("nan")
    return float(np.percentile(values, low)), float(np.percentile(values, high))


async def measure(profile: str, steps: list[int], seconds: float, *, goes_on: bool) -> tuple[list[Row], Watch, str]:
    """Return a row a step, what was seen meanwhile, and what ended it."""
    with child("--serve", profile) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        with child("--call", url, "--steps", ",".join(map(str, steps)), "--seconds", str(seconds)) as callers:
            watch = Watch(server.pid, callers.pid, urlsplit(url).port or 0)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watch.look)
                rows, ending = await follow(callers, watch, goes_on=goes_on)
                tasks.cancel_scope.cancel()
    return rows, watch, ending


async def follow(callers: subprocess.Popen[str], watch: Watch, *, goes_on: bool) -> tuple[list[Row], str]:
    assert callers.stdout is not None
    rows: list[Row] = []
    usual: dict[str, float] = {}
    while line := await anyio.to_thread.run_sync(callers.stdout.readline):
        step = Step(**json.loads(line))
        usual = usual or {kind: float(np.median(lags)) for kind, lags in step.lags.items() if kind != "sound"}
        rows.append(judge(step, watch.during(step), usual))
        if goes_on or len(rows) == 1:
            continue
        if rows[-1].latency[1] > 2 * rows[0].latency[1]:
            return rows, "the 95th percentile of the latency has doubled"
        if rows[-1].late[0] > LATE_MS:
            return rows, f"one event in a hundred is {LATE_MS:g} ms late"
    return rows, "no limit was reached"


# The report ----------------------------------------------------------------------------------------------------------


def report(profile: str, rows: list[Row]) -> Table:
    table = Table(
        title=f"Sessions at once, {profile} models: ms, % of a core, frames in a session's queue",
        title_justify="left",
    )
    for heading in (
        "sessions",
        "answers",
        "lost",
        "answer p50",
        "p95",
        "late p99",
        "max",
        "server",
        "callers",
        "MB",
        "queue p50",
        "max",
        "behind p99",
    ):
        table.add_column(heading, justify="right")
    for row in rows:
        step = row.step
        table.add_row(
            str(step.callers),
            str(len(step.latencies)),
            str(step.lost),
            *(f"{value:.0f}" for value in (*row.latency, *row.late, row.server, row.callers, row.memory)),
            *(f"{value:.2f}" for value in row.waiting),
            f"{step.jitter[1]:.0f}",
        )
    return table


def plot(profile: str, rows: list[Row], watch: Watch) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    figure, (over, times) = plt.subplots(2, 1, figsize=(8, 7))
    callers = [row.step.callers for row in rows]
    over.plot(callers, [row.latency[1] for row in rows], "o-", label="answer, p95")
    over.plot(callers, [row.latency[0] for row in rows], "o-", label="answer, p50")
    over.plot(callers, [row.late[0] for row in rows], "o-", label="lateness of events, p99")
    over.set(xlabel=f"sessions at once, {profile} models", ylabel="ms", ylim=(0, None))
    began, moments = watch.moments[0].at, watch.moments
    seconds = [moment.at - began for moment in moments[1:]]
    server = [
        100 * (after.server_cpu - before.server_cpu) / (after.at - before.at) for before, after in pairwise(moments)
    ]
    times.plot(seconds, server, label="CPU of the server, % of a core")
    times.plot(seconds, [moment.server_mb for moment in moments[1:]], label="memory of the server, MB")
    times.plot(seconds, [moment.waiting / 1024 for moment in moments[1:]], label="not yet read, KiB")
    times.step(
        [row.step.began - began for row in rows] + [rows[-1].step.ended - began],
        [*callers, callers[-1]],
        where="post",
        linestyle=":",
        label="sessions",
    )
    times.set(xlabel="s", ylim=(0, None))
    for axes in (over, times):
        axes.grid(alpha=0.3)
        axes.legend()
    PLOTS[profile].parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(PLOTS[profile])


async def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--embedded", action="store_true", help="the embedded models instead of scripted ones")
    parser.add_argument(
        "--steps", type=lambda text: [int(step) for step in text.split(",")], help="numbers of sessions"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="of each step")
    parser.add_argument("--all", action="store_true", help="go through all steps, whatever the limits")
    parser.add_argument("--serve", choices=list(STEPS), help=argparse.SUPPRESS)
    parser.add_argument("--call", help=argparse.SUPPRESS)
    options: Any = parser.parse_args()
    if options.serve:
        await run_server(options.serve)
        return
    if options.call:
        await run_callers(options.call, options.steps, options.seconds)
        return
    profile = "embedded" if options.embedded else "scripted"
    console, load = Console(width=WIDTH), os.getloadavg()[0]
    rows, watch, ending = await measure(
        profile, options.steps or list(STEPS[profile]), options.seconds, goes_on=options.all
    )
    console.print(report(profile, rows))
    console.print(
        f"Ended because {ending}. {platform.machine()}, {os.cpu_count()} cores that the server and the callers share, "
        f"load {load:.1f} before, Python {platform.python_version()}, {platform.system()}; "
        + ", ".join(f"{package} {version(package)}" for package in PACKAGES),
        soft_wrap=True,
    )
    plot(profile, rows, watch)


anyio.run(main, backend_options=run.LOOP)
