"""How long a person waits for an answer: `uv run --group bench python benchmarks/turns.py [--profile scripted|fast|…]`.

A server of our own in a process of its own, with the embedded engines or with scripted ones that cost nothing (the real
detector still listens); a client that streams speech in real time over the WebSocket, in frames of 20 ms, as
`vivavoce talk` does, its tools declared. The clock starts when the last frame of the speech is sent (its last sample is
spoken then; the detector, asked beforehand, says what is speech) and stops at the first sample of the answer that is
louder than 500 of 32768, as a client that plays at once would play it.
Recordings of people (../shared/audio where it exists, else tests/data) are remarks rather than questions; the questions
are synthesised. The stages are the server's own account, `vivavoce.response.timings`. Some answers are interrupted:
from the first frame of speech to the event that makes a client fall silent. Writes docs/images/turns.svg.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
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

from vivavoce import compose
from vivavoce.agent import services
from vivavoce.agent.connection import connect
from vivavoce.agent.tools import Toolbox
from vivavoce.backends.hibari import Hibari
from vivavoce.backends.silero import Silero
from vivavoce.config import Settings
from vivavoce.realtime import events as wire
from vivavoce.run import LEAD_S, toolbox
from vivavoce.server.app import serve
from vivavoce.server.engine import Engines
from vivavoce.server.hub import Hub
from vivavoce.speech.pcm import from_pcm16, resample, to_pcm16
from vivavoce.testing import ScriptedLanguageModel, ScriptedSpeechToText, ScriptedTextToSpeech

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vivavoce.ports import Samples

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "audio"
AUDIO = SHARED if SHARED.exists() else ROOT / "tests" / "data"
PACKAGES = ("vivavoce", "xllamacpp", "onnxruntime", "hibari-tts", "numpy", "websockets", "uvicorn")
RATE = 24_000
FRAME = RATE // 50
SPEECH = 0.5
"""Probability from which a frame of an utterance is speech; rooms and machines are loud in some of the recordings."""
AUDIBLE = 500 / 32768
LENGTHS = (0.7, 10.0)
"""Seconds of the recordings that are used."""
RECORDINGS = 60
PROFILES = ("scripted", "fast", "quality")
PLOT = ROOT / "docs" / "images" / "turns.svg"
INTERRUPTED = 5
"""Every so many answers are spoken over."""
ANSWER = "This is an answer of several words, and it goes on for a while so that it can be interrupted."
VAD = Silero()
DETECTIONS: dict[str, dict[str, Any] | None] = {
    "silence": None,
    "adaptive": None,
    "auto": {"type": "semantic_vad"},
    "high": {"type": "semantic_vad", "eagerness": "high"},
}
TURNS = 6
"""In one conversation."""
ANSWERED_S = 20.0
"""After the speech; an utterance without an answer by then counts as unanswered."""
STAGES = ("waiting", "transcription", "first_token", "first_sentence", "synthesis")
QUESTIONS = """\
When does the sun set in the summer?
What can you do for me?
Which city is the largest in Japan?
Where do penguins live?
How many planets are there?
Who painted the Mona Lisa?
What should I wear when it rains?
How do I boil an egg?
Do you like music?
What is a black hole?
Why do cats sleep so much?
How can I learn a language quickly?
Is a tomato a fruit?
What is the fastest animal on land?
How long does it take to fly to the moon?
Who invented the telephone?
What is the best time to plant a tree?
Can you explain what inflation is?
How do bees make honey?
What is the tallest mountain in Europe?
How old is the earth?
Where does chocolate come from?
What are the colours of the rainbow?
Why do we dream?
How do I fall asleep faster?
What does a lawyer do?
How many bones does a person have?
Who was the first person on the moon?
What is the opposite of patience?
How does a bicycle stay upright?
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
    def spoken(self) -> tuple[int, int]:
        """The first and the last frame of the speech."""
        sound, state, scores = resample(self.sound, RATE, VAD.sample_rate), VAD.state(), []
        for start in range(0, len(sound) - VAD.frame, VAD.frame):
            score, (state,) = VAD.score(sound[np.newaxis, start : start + VAD.frame], [state])
            scores.append(float(score[0]))
        heard = np.flatnonzero(np.array(scores) >= SPEECH)
        seconds = VAD.frame / VAD.sample_rate
        return int(heard[0] * seconds * RATE / FRAME), int((heard[-1] + 1) * seconds * RATE / FRAME)


@dataclass
class Turn:
    """What came of an utterance."""

    utterance: Utterance
    spoken_at: float = 0.0
    playing_until: float = 0.0
    """When the sound that came so far has been played."""
    over_at: float = float("inf")
    answered_at: float | None = None
    heard: list[str] = field(default_factory=list)
    timings: wire.ResponseTimings | None = None
    hushed_ms: float | None = None
    """From the onset of speech over the answer to the event that silences it."""
    calls: int = 0
    done: bool = False
    status: str = "begun by nobody"
    """How the last response ended."""

    @property
    def waited_ms(self) -> float | None:
        return None if self.answered_at is None else (self.answered_at - self.spoken_at) * 1000

    def play(self, sound: Samples) -> None:
        """Play sound after what came before it, until some of it is audible."""
        starts_at = max(self.playing_until, anyio.current_time())
        self.playing_until = starts_at + len(sound) / RATE
        audible = np.flatnonzero(np.abs(sound) > AUDIBLE)
        if len(audible):
            self.answered_at = starts_at + int(audible[0]) / RATE

    @property
    def unanswered(self) -> str | None:
        """Why there was no answer, or None where there was one."""
        if self.answered_at is not None:
            return None
        if self.calls:
            return "called a tool, which this client does not run"
        if not any(self.heard):
            return "no words were heard"
        return f"no sound within {ANSWERED_S:.0f} s: the response was {self.status}"


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


async def converse(url: str, utterances: list[Utterance], detection: str, *, tools: bool) -> list[Turn]:
    """Say some utterances in one session, each after the answer to the one before, and speak over the last."""
    extensions = {"timings": True, "adaptive": detection == "adaptive"}
    service = services.Service("", session={"vivavoce": extensions})
    box = toolbox(Settings(), service) if tools else Toolbox()
    definitions = [msgspec.to_builtins(definition) for definition in box.definitions()]
    wanted = services.session_settings(Settings(), service, definitions)
    wanted["audio"]["input"]["turn_detection"] = DETECTIONS[detection] or wanted["audio"]["input"]["turn_detection"]
    async with connect(url) as link:
        await link.receive()
        await link.send(wire.SessionUpdate(session=wanted))
        return [
            await say(link, utterance, over=number % INTERRUPTED == INTERRUPTED - 1)
            for number, utterance in enumerate(utterances)
        ]


async def say(link: Any, utterance: Utterance, *, over: bool) -> Turn:
    """Say one utterance in real time, then silence until it is answered; perhaps say it again over the answer."""
    turn = Turn(utterance)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listen, link, turn)
        await speak(link, turn)
        if over and turn.answered_at is not None:
            await speak_over(link, turn)
        tasks.cancel_scope.cancel()
    return turn


async def speak_over(link: Any, turn: Turn) -> None:
    """Say the utterance again until the answer is called off."""
    pieces = frames(turn.utterance.sound)
    first, _ = turn.utterance.spoken
    start = anyio.current_time()
    turn.over_at = start + first * FRAME / RATE
    for number, frame in enumerate(pieces):
        await anyio.sleep_until(start + number * FRAME / RATE)
        await link.send(wire.InputAudioBufferAppend(audio=to_pcm16(frame)))
    turn.over_at, turn.done = float("inf"), False
    silent_since = anyio.current_time()
    while not turn.done and anyio.current_time() < silent_since + ANSWERED_S:
        await link.send(wire.InputAudioBufferAppend(audio=to_pcm16(np.zeros(FRAME, np.float32))))
        await anyio.sleep(FRAME / RATE)


async def speak(link: Any, turn: Turn) -> None:
    pieces, last = frames(turn.utterance.sound), turn.utterance.spoken[1]
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
            case wire.SpeechStarted() if anyio.current_time() >= turn.over_at:
                turn.hushed_ms = turn.hushed_ms or (anyio.current_time() - turn.over_at) * 1000
            case wire.SpeechStarted() if turn.over_at == float("inf") and turn.hushed_ms is None:
                turn.answered_at, turn.timings, turn.playing_until = None, None, 0.0
            case wire.TranscriptionCompleted(transcript=text) if turn.hushed_ms is None:
                turn.heard.append(text)
            case wire.OutputAudioDelta(delta=delta) if turn.answered_at is None:
                turn.play(from_pcm16(delta))
            case wire.FunctionCallArgumentsDone():
                turn.calls += 1
            case wire.ResponseTimings() as timings if turn.hushed_ms is None:
                turn.timings = timings
            case wire.ResponseDone(response=response):
                turn.status, turn.done = str(response.status), response.status != "cancelled"
            case _:
                pass


# The server ----------------------------------------------------------------------------------------------------------


async def run_server(profile: str) -> None:
    """Serve until SIGTERM, then tell how much was begun ahead; the benchmark runs this in a process of its own."""
    if profile == "scripted":
        made = compose.build_engines(Settings())
        llm, stt = ScriptedLanguageModel(lambda _: ANSWER), ScriptedSpeechToText(["What is it?"])
        hub = Hub(Engines(made.vad, stt, llm, ScriptedTextToSpeech(), made.eot), lead_s=LEAD_S)
        await listen_until_told(hub)
    else:
        async with compose.open_hub(Settings(profile=profile), lead_s=LEAD_S) as hub:  # type: ignore[arg-type]
            await listen_until_told(hub)


async def listen_until_told(hub: Hub) -> None:
    await serve(hub, port=0, on_ready=lambda url: print(f"Ready: {url}", flush=True))
    print(json.dumps(asdict(hub.budget)), flush=True)


@contextmanager
def serving(profile: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run a server until the block ends."""
    command = [sys.executable, str(Path(__file__)), "--serve", profile]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            yield next(line.split()[1] for line in process.stdout if line.startswith("Ready: ")), process
        finally:
            process.terminate()


def farewell(process: subprocess.Popen[str]) -> dict[str, int]:
    """End the server and return what it says of its head starts."""
    process.terminate()
    assert process.stdout is not None
    told = [line for line in process.stdout if line.startswith("{")]
    return json.loads(told[-1]) if told else {}


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


@dataclass(frozen=True)
class Run:
    """One profile with one way to find the end of a turn."""

    name: str
    turns: list[Turn]
    peak_gb: float
    ahead: dict[str, int]

    @property
    def scripted(self) -> bool:
        return self.name.startswith("scripted")


def show(console: Console, run: Run) -> None:
    table = Table(title=f"From the end of speech to the first sound of the answer, {run.name}, ms")
    for heading in ("", "n", "p50", "p95", "max"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=not heading)
    for kind in ("recorded", "synthesised", ""):
        chosen = [turn.waited_ms for turn in run.turns if turn.utterance.kind.startswith(kind)]
        row(table, kind or "all", [waited for waited in chosen if waited is not None])
    table.add_section()
    accounts = [turn.timings for turn in run.turns if turn.timings is not None and turn.answered_at is not None]
    for stage in STAGES:
        spent = [getattr(account, f"{stage}_ms") for account in accounts]
        row(table, f"  {stage.replace('_', ' ')}", [ms for ms in spent if ms is not None])
    after = [account.total_ms - account.waiting_ms for account in accounts if account.total_ms and account.waiting_ms]
    row(table, "  after the end of the turn", after)
    table.add_section()
    row(table, "speech over the answer, to silence", [turn.hushed_ms for turn in run.turns if turn.hushed_ms])
    console.print(table)
    recorded = [turn for turn in run.turns if turn.utterance.kind == "recorded"]
    said, heard = [words(turn.utterance.words) for turn in recorded], [words(" ".join(turn.heard)) for turn in recorded]
    silent = [turn for turn in run.turns if turn.unanswered]
    begun, wanted = run.ahead.get("begun", 0), run.ahead.get("wanted", 0)
    used = f" ({100 * wanted / begun:.0f} %)" if begun else ""
    misheard = (
        ""
        if run.scripted or not recorded
        else f", WER of the recordings {100 * jiwer.wer(said, heard):.1f} % (in {len(recorded)})"
    )
    console.print(
        f"unanswered {len(silent)} of {len(run.turns)}, answers begun ahead {begun}, given {wanted}{used}, "
        f"wasted {begun - wanted}, tools called {sum(turn.calls for turn in run.turns)}{misheard}, "
        f"peak memory of the server {run.peak_gb:.2f} GB",
        soft_wrap=True,
    )
    for turn in silent:
        console.print(f"  no answer to {turn.utterance.words!r}: {turn.unanswered}", soft_wrap=True, markup=False)


def plot(runs: list[Run]) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4))
    for run in runs:
        waited = sorted(turn.waited_ms for turn in run.turns if turn.waited_ms is not None)
        axes.plot(waited, np.linspace(0, 100, len(waited)), label=run.name)
    axes.set(xlabel="end of speech to first sound, ms", ylabel="turns answered, %", xlim=(0, 3000))
    axes.grid(alpha=0.3)
    axes.legend()
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(PLOT)


async def measure(profile: str, detection: str, utterances: list[Utterance]) -> Run:
    with serving(profile) as (url, process):
        turns = [
            turn
            for first in range(0, len(utterances), TURNS)
            for turn in await converse(url, utterances[first : first + TURNS], detection, tools=profile != "scripted")
        ]
        peak = peak_gb(process.pid)
        return Run(f"{profile}, {detection}", turns, peak, farewell(process))


async def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--profile", choices=PROFILES, action="append")
    parser.add_argument("--detection", choices=list(DETECTIONS), action="append")
    parser.add_argument("--recordings", type=int, default=RECORDINGS)
    parser.add_argument("--questions", type=int, default=len(QUESTIONS))
    parser.add_argument("--serve", choices=PROFILES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        await run_server(options.serve)
        return
    utterances = [*list(recordings())[: options.recordings], *(await questions())[: options.questions]]
    console, load, runs = Console(), os.getloadavg()[0], []
    for profile in options.profile or PROFILES:
        for detection in options.detection or ("silence",):
            runs.append(await measure(profile, detection, utterances))
            show(console, runs[-1])
    console.print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f} before, Python {platform.python_version()}, "
        f"{platform.system()}; " + ", ".join(f"{package} {version(package)}" for package in PACKAGES),
        soft_wrap=True,
    )
    plot(runs)


anyio.run(main)
