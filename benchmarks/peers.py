"""The same work through others: `uv run --group bench python benchmarks/peers.py`.

Ours, Pipecat and LiveKit Agents, each with the same models that cost nothing: a server on the loopback that speaks
OpenAI's HTTP for transcription, chat and speech and answers after a set delay. The peers come from PyPI into
environments of their own, which `uv` makes in the cache folder once. In their shipped settings and in settings tuned
for speed they hear the same utterances in real time, in frames of 20 ms in the noise of a room: recordings of people,
and synthesised speech of the three kinds that models of the end of a turn are known to misjudge (short remarks, digits
read out, complete questions). All servers run throughout, and each hears an utterance 0.8 s after the one before, in
changing order: whatever else the machine does hits all alike, and hardly ever do two answers begin at once. Between
utterances they hear nothing, as from a muted microphone.

The clock runs from the last frame that holds speech, when it is sent, to the first sound of the answer that is louder
than 500 of 32768. An answer that begins before that frame, or so soon after it that it was meant for a pause before,
is a false cut-off and has no latency. Some answers are spoken over: from the first frame of speech to silence at a
client that plays in real time and drops what it holds when it is told to. CPU and memory are those of the server's
process.

What is unfair, to whom:
- LiveKit's transport is WebRTC and needs a server; here its session is joined to a socket directly, which saves it the
  network and the jitter buffer. Customers of its cloud get a larger detector of turns and one of interruptions; here
  work the local ones. Its output can be paused in a room and here only ended.
- Pipecat serves one conversation a process, over its own WebSocket transport; the others could share theirs.
- Ours decodes JSON and base64 and encodes them again, which counts in its CPU; the peers get bare PCM.
- The peers transcribe in one HTTP request at a pause; services that stream would gain them some of what the models'
  delay costs here.
- What is transcribed are the true words up to that moment, without punctuation. Ours alone judges the end of a turn by
  words as well; a real recogniser makes mistakes, this one does not.
- The end of speech is where Silero VAD at 0.5 says. Ours and LiveKit use it so, Pipecat at 0.7. Ours was developed
  while listening to recordings of this collection.

`--minutes 8 --notes FILE` stops after so long and goes on from there the next time. Writes docs/images/peers.svg.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict, deque
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import anyio
import msgspec
import numpy as np
import soundfile
import uvicorn
from platformdirs import user_cache_path
from rich.console import Console
from rich.table import Table
from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Mount, Route
from websockets.asyncio.client import connect as connect_bare

from vivavoce import compose
from vivavoce.agent import services
from vivavoce.agent.connection import connect
from vivavoce.backends.hibari import Hibari
from vivavoce.backends.silero import Silero
from vivavoce.config import Settings
from vivavoce.realtime import events as wire
from vivavoce.run import LEAD_S
from vivavoce.server.app import serve
from vivavoce.speech.pcm import from_pcm16, resample, to_pcm16
from vivavoce.testing import tone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray
    from starlette.requests import Request
    from starlette.responses import Response

    from vivavoce.ports import Samples

HERE = Path(__file__).resolve().parent
SHARED = HERE.parents[1] / "shared" / "audio"
AUDIO = SHARED if SHARED.exists() else HERE.parent / "tests" / "data"
PLOT = HERE.parent / "docs" / "images" / "peers.svg"
PACKAGES = {
    "livekit": ("livekit-agents[openai]==1.8.9", "websockets"),
    "pipecat": ("pipecat-ai[openai,silero,websocket]==1.14.0", "onnxruntime"),
}
SYSTEMS = (
    "vivavoce",
    "vivavoce 400 ms",
    "vivavoce 300 ms",
    "vivavoce high",
    "livekit",
    "livekit tuned",
    "pipecat",
    "pipecat tuned",
)
"""Without a manner: as shipped; ours, as our agent asks for it. The peers are tuned to 300 ms of silence."""
TUNED = {
    "400 ms": {"type": "server_vad", "silence_duration_ms": 400},
    "300 ms": {"type": "server_vad", "silence_duration_ms": 300},
    "high": {"type": "semantic_vad", "eagerness": "high"},
}
"""What a stock client of the protocol asks ours for."""
RATE_PEERS, RATE_OURS, RATE_OUT = 16_000, 24_000, 24_000
FRAME_S = 0.02
LENGTHS = (1.5, 4.5)
"""Seconds of the recordings of people who read sentences."""
READ = 24
"""Of those, so many."""
SAID = {
    "remark": ("Hi, how are you?", "Yes, please.", "Thanks.", "No, not that one.", "Maybe tomorrow."),
    "digits": (
        "Check order one two three four five.",
        "My number is five five five, zero one two three.",
        "It is four two, seven seven, nine.",
        "The code is zero eight one four.",
    ),
    "question": (
        "When does the sun set in the summer?",
        "What can you do for me?",
        "How do I boil an egg?",
        "What should I wear when it rains?",
        "Who painted the Mona Lisa?",
        "Is a tomato a fruit?",
        "How far away is the moon?",
        "Can you recommend a good book?",
    ),
}
REMARKS = ("YES", "GO", "START")
"""Of people; the other short items of AN4 are numbers."""
ROOM_DB = -60.0
SPEECH = 0.5
"""Probability from which a frame is speech."""
AUDIBLE = 500 / 32768
ANSWER = "This is an answer of ten words without a pause."
ANSWER_S, LONG_ANSWER_S = 0.8, 6.0
EARLY_S = 0.1
"""No silence is so short that an answer could begin so soon after the last word, nor before three models are done."""
ANSWERED_S = 6.0
"""After the speech; without an answer by then, an utterance is unanswered."""
REST_S = 0.4
"""Before and after an utterance and its answer."""
DELAYED = 3
"""Every so many utterances are asked with the models' delay too."""
INTERRUPTED = 2
"""Over every so many answers to sentences that are read and to questions, what was asked is said again."""
INTO_S = 0.7
"""So far into the answer."""
APART_S = 0.8
STARTING_S = 60.0
COLOURS = {"vivavoce": "C0", "livekit": "C1", "pipecat": "C2"}
DASHES = {"400 ms": "-.", "300 ms": ":", "high": "--", "tuned": "--"}
TICKS = (250, 500, 1000, 2000, 4000)
WIDTH = 130
"""Of the tables, characters."""


# The models ----------------------------------------------------------------------------------------------------------


@dataclass
class Script:
    """What the models do for one system at the moment."""

    delay: float = 0.0
    answer_s: float = ANSWER_S
    words: Sequence[str] = ()
    heard: float = 0.0
    """The part of the words that has been spoken."""


def stub(scripts: dict[str, Script]) -> Starlette:
    """Return a server of models with a folder for each system."""

    async def transcribe(request: Request) -> Response:
        script = scripts[request.path_params["system"]]
        await request.body()
        text = " ".join(script.words[: round(script.heard * len(script.words))])
        await anyio.sleep(script.delay)
        return JSONResponse({"text": text})

    async def chat(request: Request) -> Response:
        delay = scripts[request.path_params["system"]].delay
        return StreamingResponse(pieces(delay), media_type="text/event-stream")

    async def speak(request: Request) -> Response:
        script = scripts[request.path_params["system"]]
        sound, delay = to_pcm16(tone(440, script.answer_s, RATE_OUT)), script.delay

        async def chunks() -> AsyncIterator[bytes]:
            await anyio.sleep(delay)
            for start in range(0, len(sound), 4800):
                yield sound[start : start + 4800]

        return StreamingResponse(chunks(), media_type="audio/pcm")

    async def models(_: Request) -> Response:
        return JSONResponse({"object": "list", "data": []})

    routes = [
        Route("/models", models),
        Route("/audio/transcriptions", transcribe, methods=["POST"]),
        Route("/chat/completions", chat, methods=["POST"]),
        Route("/audio/speech", speak, methods=["POST"]),
    ]
    return Starlette(routes=[Mount("/{system}/v1", routes=routes)])


async def pieces(delay: float) -> AsyncIterator[str]:
    await anyio.sleep(delay)
    head = {"id": "chat_1", "object": "chat.completion.chunk", "created": 0, "model": "stub"}
    for word in ANSWER.split():
        delta = {"role": "assistant", "content": word + " "}
        yield f"data: {json.dumps(head | {'choices': [{'index': 0, 'delta': delta, 'finish_reason': None}]})}\n\n"
    yield f"data: {json.dumps(head | {'choices': [{'index': 0, 'delta': {}, 'finish_reason': 'stop'}]})}\n\n"
    usage = {"prompt_tokens": 9, "completion_tokens": 11, "total_tokens": 20}
    yield f"data: {json.dumps(head | {'choices': [], 'usage': usage})}\n\ndata: [DONE]\n\n"


@contextmanager
def serving_models(scripts: dict[str, Script]) -> Iterator[str]:
    """Serve the models in a thread, and yield their address."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(stub(scripts), port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


def free_port() -> int:
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return int(any_port.getsockname()[1])


# The systems ---------------------------------------------------------------------------------------------------------


async def run_ours(port: int, models: str) -> None:
    """Serve; the benchmark runs this in a process of its own."""
    settings = Settings(stt_url=models, llm_url=models, llm_model="stub", tts_url=models)
    async with compose.open_hub(settings, lead_s=LEAD_S) as hub:
        await serve(hub, port=port)


def environment(name: str) -> Path:
    """Return the Python of a peer, with its packages."""
    uv, folder = os.environ.get("UV", "uv"), user_cache_path("vivavoce") / "peers" / name
    python = folder / "bin" / "python"
    subprocess.run([uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, folder], check=True)
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *PACKAGES[name]], check=True)
    return python


def key_of(system: str) -> str:
    return system.replace(" ", "-")


@contextmanager
def running(system: str, models: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run a system in a process of its own, and yield its port and the process."""
    name, _, manner = system.partition(" ")
    port, models = free_port(), f"{models}/{key_of(system)}/v1"
    if name == "vivavoce":
        command = [sys.executable, str(HERE / "peers.py"), "--serve", str(port), models]
    else:
        command = [str(environment(name)), str(HERE / f"peers_{name}.py"), str(port), models, manner]
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("w+") as log:
        with subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as process:
            try:
                yield port, process
            except BaseException:
                log.seek(0)
                print(system, log.read()[-2000:], file=sys.stderr)
                raise
            finally:
                process.kill()  # in the middle of nothing: there is no call any more


async def reachable(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until somebody listens."""
    with anyio.fail_after(STARTING_S):
        while True:
            if process.poll() is not None:
                raise RuntimeError(f"it ended with {process.returncode} before anybody could call")
            try:
                await (await anyio.connect_tcp("127.0.0.1", port)).aclose()
            except OSError:
                await anyio.sleep(0.2)
            else:
                break
    await anyio.sleep(3)  # models load behind the open port


def cpu(pid: int) -> float:
    """Return the CPU seconds of a process so far; Linux only."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


class Playback(Enum):
    """What a client is told about the sound that it holds."""

    SILENT = auto()
    GOES_ON = auto()


Heard: TypeAlias = "Samples | Playback"


@dataclass
class Line:
    """A connection to a system."""

    send: Callable[[bytes], Awaitable[None]]
    heard: AsyncIterator[Heard]
    rate: int


@asynccontextmanager
async def calling(system: str, port: int) -> AsyncIterator[Line]:
    name, _, manner = system.partition(" ")
    if name != "vivavoce":
        async with connect_bare(f"ws://127.0.0.1:{port}", compression=None, max_size=None) as bare:
            told = (from_pcm16(data) if isinstance(data, bytes) else Playback.SILENT async for data in bare)
            yield Line(bare.send, told, RATE_PEERS)
        return
    url = f"ws://127.0.0.1:{port}/v1/realtime"
    async with connect(url) as link:
        await link.receive()
        service = services.find(Settings(url=url), {})
        wanted = services.session_settings(Settings(), service, ())
        if manner:
            wanted["audio"]["input"]["turn_detection"] = TUNED[manner]
            del wanted["vivavoce"]
        await link.send(wire.SessionUpdate(session=wanted))

        async def send(sound: bytes) -> None:
            await link.send(wire.InputAudioBufferAppend(audio=sound))

        async def heard() -> AsyncIterator[Heard]:
            while True:
                match await link.receive():
                    case wire.OutputAudioDelta(delta=delta):
                        yield from_pcm16(delta)
                    case wire.SpeechStarted() | wire.OverlapStarted():
                        yield Playback.SILENT
                    case wire.OverlapEnded():
                        yield Playback.GOES_ON
                    case wire.Error(error=wrong):
                        print(wrong, file=sys.stderr)
                    case _:
                        pass

        yield Line(send, heard(), RATE_OURS)


# What is said --------------------------------------------------------------------------------------------------------

Kind: TypeAlias = Literal["read", "remark", "digits", "question"]


@dataclass(frozen=True)
class Utterance:
    kind: str
    words: tuple[str, ...]
    sound: Samples
    """At 16 kHz."""
    synthetic: bool = False

    @cached_property
    def spoken(self) -> NDArray[np.bool_]:
        """Whether the detector finds speech, for each frame."""
        vad = Silero()
        state, scores = vad.state(), []
        for start in range(0, len(self.sound) - vad.frame + 1, vad.frame):
            score, (state,) = vad.score(self.sound[np.newaxis, start : start + vad.frame], [state])
            scores.append(float(score[0]) >= SPEECH)
        ends = np.arange(1, int(len(scores) * vad.frame / RATE_PEERS / FRAME_S) + 1) * FRAME_S
        spoken: NDArray[np.bool_] = np.array(scores)[np.ceil(ends * RATE_PEERS / vad.frame - 1e-6).astype(int) - 1]
        return spoken

    @property
    def first(self) -> int:
        return int(np.flatnonzero(self.spoken)[0])

    @property
    def last(self) -> int:
        return int(np.flatnonzero(self.spoken)[-1])


def words_of(text: str) -> tuple[str, ...]:
    return tuple(text.lower().replace(",", "").rstrip(".?").split())


def recordings() -> Iterator[Utterance]:
    with (AUDIO / "manifest.tsv").open(encoding="utf-8", newline="") as manifest:
        rows = [row for row in csv.DictReader(manifest, delimiter="\t") if row.get("lang", "en") == "en"]
    short = [row for row in rows if row["file"].startswith("an4/")]
    read = [row for row in rows if row not in short and LENGTHS[0] <= float(row["seconds"]) <= LENGTHS[1]]
    for row in [*short, *read[:: max(len(read) // READ, 1)][:READ]]:
        sound, rate = soundfile.read(AUDIO / row["file"], dtype="float32")
        kind = "read" if row in read else "remark" if row["transcript"] in REMARKS else "digits"
        yield Utterance(kind, words_of(row["transcript"]), resample(sound, rate, RATE_PEERS))


async def synthesised() -> AsyncIterator[Utterance]:
    voice = Hibari()
    for kind, texts in SAID.items():
        for text in texts:
            sound = np.concatenate([chunk async for chunk in voice.speak(text)])
            sound = resample(sound, voice.sample_rate, RATE_PEERS)
            yield Utterance(kind, words_of(text), sound, synthetic=True)


def mixed(utterances: Iterable[Utterance]) -> list[Utterance]:
    """Return them in an order in which each part holds all kinds alike."""
    kinds = defaultdict(list)
    for utterance in utterances:
        kinds[utterance.kind, utterance.synthetic].append(utterance)
    places = [((number + 0.5) / len(kind), one) for kind in kinds.values() for number, one in enumerate(kind)]
    return [utterance for _, utterance in sorted(places, key=lambda place: place[0])]


# The calls -----------------------------------------------------------------------------------------------------------


class Note(msgspec.Struct, frozen=True):
    """What came of an utterance."""

    system: str
    delay: float
    kind: str
    waited_ms: float | None
    """None where there was no answer, or it began too early."""
    cut_off: bool
    silent_ms: float | None
    """From speech over the answer to silence."""
    cpu_s: float
    memory_mb: float


@dataclass(frozen=True)
class Round:
    """An utterance that every system hears."""

    utterance: Utterance
    delay: float
    interrupted: bool


@dataclass
class Call:
    """A conversation: sound goes out in real time, and what is audible is noted."""

    system: str
    pid: int
    line: Line
    script: Script
    frame_at: float = 0.0
    heard_at: list[float] = field(default_factory=list)
    silenced_at: list[float] = field(default_factory=list)
    playing_until: float = 0.0

    async def listen(self) -> None:
        async for heard in self.line.heard:
            now = anyio.current_time()
            if heard is Playback.SILENT:
                if now < self.playing_until:
                    self.silenced_at.append(now)
                    self.playing_until = now
            elif heard is Playback.GOES_ON:
                self.silenced_at.clear()
            else:
                self.playing_until = max(self.playing_until, now) + len(heard) / RATE_OUT
                if len(heard) and np.abs(heard).max() > AUDIBLE:
                    self.heard_at.append(now)

    async def ask(self, part: Round, notes: list[Note], after_s: float) -> None:
        """Say an utterance after a while, and wait for the answer and its end; it may be spoken over."""
        await anyio.sleep(after_s)
        self.script.delay, self.script.answer_s = part.delay, LONG_ANSWER_S if part.interrupted else ANSWER_S
        used, self.frame_at = cpu(self.pid), anyio.current_time()
        await self.room(lambda: False, REST_S)
        self.heard_at.clear()
        spoken_at = await self.say(part.utterance)
        await self.room(lambda: self.answered(spoken_at) is not None, ANSWERED_S)
        answered_at = self.answered(spoken_at)
        early = any(at < spoken_at + max(EARLY_S, 3 * part.delay) for at in self.heard_at)
        silent_ms = None
        if part.interrupted and not early and answered_at is not None:
            silent_ms = await self.interrupt(part.utterance)
        await self.room(lambda: anyio.current_time() > self.playing_until + REST_S, LONG_ANSWER_S)
        waited_ms = None if early or answered_at is None else round((answered_at - spoken_at) * 1000, 1)
        spent, memory = cpu(self.pid) - used, resident_mb(self.pid)
        notes.append(Note(self.system, part.delay, part.utterance.kind, waited_ms, early, silent_ms, spent, memory))

    def answered(self, spoken_at: float) -> float | None:
        return next((at for at in self.heard_at if at > spoken_at), None)

    async def interrupt(self, utterance: Utterance) -> float | None:
        """Speak over the answer, and return after how many milliseconds it was silent, None if it was before."""
        await self.room(lambda: False, INTO_S)
        self.silenced_at.clear()
        onset_at = self.frame_at + utterance.first * FRAME_S
        self.script.answer_s = ANSWER_S
        spoken_at = await self.say(utterance)
        ended_at = self.silenced_at[0] if self.silenced_at else self.playing_until
        await self.room(lambda: self.answered(spoken_at) is not None, ANSWERED_S)
        return (ended_at - onset_at) * 1000 if ended_at > onset_at else None

    async def say(self, utterance: Utterance) -> float:
        """Say an utterance, and return when its last word was out."""
        spoken_at, self.script.words = 0.0, utterance.words
        said = np.cumsum(utterance.spoken) / utterance.spoken.sum()
        for number, frame in enumerate(cut(utterance.sound, self.line.rate)):
            await self.send(frame)
            self.script.heard = float(said[min(number, len(said) - 1)])
            spoken_at = anyio.current_time() if number == utterance.last else spoken_at
        return spoken_at

    async def room(self, enough: Callable[[], bool], longest: float) -> None:
        """Let the system hear the room."""
        noise = cut(np.zeros(RATE_PEERS, np.float32), self.line.rate)
        for number in range(round(longest / FRAME_S)):
            if enough():
                return
            await self.send(noise[number % len(noise)])

    async def send(self, frame: bytes) -> None:
        """Send a frame when it has been spoken."""
        self.frame_at += FRAME_S
        await anyio.sleep_until(self.frame_at)
        await self.line.send(frame)


def cut(sound: Samples, rate: int) -> list[bytes]:
    """Return sound in a room as frames of PCM."""
    noise = np.random.default_rng(1).standard_normal(len(sound)) * 10 ** (ROOM_DB / 20)
    loud = resample((sound + noise).astype(np.float32), RATE_PEERS, rate)
    size = round(rate * FRAME_S)
    return [to_pcm16(loud[start : start + size]) for start in range(0, len(loud) - size + 1, size)]


def rounds(utterances: Iterable[Utterance], delay: float) -> Iterator[Round]:
    longer = 0
    for number, utterance in enumerate(utterances):
        long = utterance.kind in ("read", "question")
        longer += long
        yield Round(utterance, 0.0, interrupted=long and longer % INTERRUPTED == 0)
        if delay and number % DELAYED == 0:
            yield Round(utterance, delay, interrupted=False)


async def measure(
    systems: Sequence[str], parts: Sequence[Round], seconds: float, tell: Callable[[list[Note]], None]
) -> None:
    """Tell what came of each round, until the time is over."""
    scripts = {key_of(system): Script() for system in systems}
    over_at = anyio.current_time() + seconds
    async with AsyncExitStack() as stack:
        models = stack.enter_context(serving_models(scripts))
        calls: deque[Call] = deque()
        for system in systems:
            port, process = stack.enter_context(running(system, models))
            await reachable(port, process)
            line = await stack.enter_async_context(calling(system, port))
            calls.append(Call(system, process.pid, line, scripts[key_of(system)]))
        async with anyio.create_task_group() as tasks:
            for call in calls:
                tasks.start_soon(call.listen)
            await one_by_one(calls, parts[0])  # the first turn warms up
            for part in parts:
                tell(await one_by_one(calls, part))
                if anyio.current_time() > over_at:
                    break
            tasks.cancel_scope.cancel()


async def one_by_one(calls: deque[Call], part: Round) -> list[Note]:
    """Let each hear an utterance, one after the other, another one first each time."""
    notes: list[Note] = []
    calls.rotate()
    async with anyio.create_task_group() as tasks:
        for number, call in enumerate(calls):
            tasks.start_soon(call.ask, part, notes, number * APART_S)
    return sorted(notes, key=lambda note: SYSTEMS.index(note.system))


# The report ----------------------------------------------------------------------------------------------------------


def table_of(notes: list[Note], systems: Sequence[str]) -> Table:
    title = "From the end of speech to the first sound of the answer, ms; over the answer, to silence, ms"
    table = Table(title=title, title_justify="left")
    headings = ("", "delay", "asked", "p50", "p95", "max", "cut off", "no answer")
    for heading in (*headings, "silent p50", "max", "n", "CPU s a turn", "MB"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=not heading)
    for delay in sorted({note.delay for note in notes}):
        table.add_section()
        for system in systems:
            chosen = [note for note in notes if note.delay == delay and note.system == system]
            table.add_row(system, f"{delay * 1000:.0f}", *figures(chosen))
    return table


def figures(notes: list[Note]) -> Iterator[str]:
    waited = [note.waited_ms for note in notes if note.waited_ms is not None]
    silent = [note.silent_ms for note in notes if note.silent_ms is not None]
    cut_off = sum(note.cut_off for note in notes)
    yield str(len(notes))
    yield from (f"{value:.0f}" for value in np.percentile(waited or [np.nan], [50, 95, 100]))
    yield str(cut_off)
    yield str(len(notes) - len(waited) - cut_off)
    yield from (f"{value:.0f}" for value in np.percentile(silent or [np.nan], [50, 100]))
    yield str(len(silent))
    yield f"{np.mean([note.cpu_s for note in notes]):.2f}"
    yield f"{max(note.memory_mb for note in notes):.0f}"


def table_of_kinds(notes: list[Note], systems: Sequence[str]) -> Table:
    """Return median, the slowest and false cut-offs for each kind of utterance, without delay."""
    kinds = ("read", *SAID)
    table = Table(title="The same by kind: p50, max, cut off; models without delay", title_justify="left")
    table.add_column("", no_wrap=True)
    for kind in kinds:
        table.add_column(f"{kind}, {sum(note.kind == kind and not note.delay for note in notes) // len(systems)}")
    for system in systems:
        cells = []
        for kind in kinds:
            chosen = [note for note in notes if (note.system, note.kind, note.delay) == (system, kind, 0.0)]
            _, p50, _, most, cut_off, *_ = figures(chosen) if chosen else ("", "", "", "", "")
            cells.append(f"{p50}, {most}, {cut_off}")
        table.add_row(system, *cells)
    return table


def plot(notes: list[Note], systems: Sequence[str]) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    delays = sorted({note.delay for note in notes})
    figure, all_axes = plt.subplots(1, len(delays), figsize=(9, 4), sharey=True, squeeze=False)
    for delay, axes in zip(delays, all_axes[0], strict=True):
        for system in systems:
            chosen = [note for note in notes if note.delay == delay and note.system == system]
            waited = sorted(note.waited_ms for note in chosen if note.waited_ms is not None)
            name, _, manner = system.partition(" ")
            share = 100 * np.arange(1, len(waited) + 1) / len(chosen)
            axes.plot(waited, share, COLOURS[name] + DASHES.get(manner, "-"), label=system, drawstyle="steps-post")
        axes.set(title=f"models answer after {delay * 1000:.0f} ms", xlabel="end of speech to first sound, ms")
        axes.set(xscale="log", xlim=(200, 4000), xticks=TICKS, xticklabels=TICKS)
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    all_axes[0][0].set(ylabel="turns answered and not cut off, %", ylim=(0, 100))
    all_axes[0][-1].legend(fontsize="small", loc="lower right", handlelength=3)
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(PLOT)


def read_notes(file: Path | None) -> list[Note]:
    if file is None or not file.exists():
        return []
    return [msgspec.json.decode(line, type=Note) for line in file.read_bytes().splitlines()]


async def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--utterances", type=int, help="use the first so many; all kinds are among them")
    parser.add_argument("--delay", type=float, default=0.2, help="seconds that each model takes with some utterances")
    parser.add_argument("--system", choices=SYSTEMS, action="append")
    parser.add_argument("--notes", type=Path, help="where results are kept, and taken up again")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after the round that exceeds this")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    options: Any = parser.parse_args()
    if options.serve:
        await run_ours(int(options.serve[0]), options.serve[1])
        return
    systems, console, load = options.system or SYSTEMS, Console(width=WIDTH), os.getloadavg()[0]
    utterances = mixed([*recordings(), *[utterance async for utterance in synthesised()]])[: options.utterances]
    parts, notes = list(rounds(utterances, options.delay)), read_notes(options.notes)

    def tell(new: list[Note]) -> None:
        notes.extend(new)
        if options.notes:
            with options.notes.open("ab") as file:
                file.writelines(msgspec.json.encode(note) + b"\n" for note in new)
        waits = ", ".join(f"{note.system} {'cut' if note.cut_off else note.waited_ms}" for note in new)
        print(f"{len(notes) // len(systems)}/{len(parts)} {new[0].kind}: {waits}", flush=True)

    if left := parts[len(notes) // len(systems) :]:
        await measure(systems, left, options.minutes * 60, tell)
    console.print(table_of(notes, systems))
    console.print(table_of_kinds(notes, systems))
    people = sum(not utterance.synthetic for utterance in utterances)
    console.print(
        f"{people} recordings of people, {len(utterances) - people} synthesised; {platform.machine()}, "
        f"{os.cpu_count()} cores, load {load:.1f} before, Python {platform.python_version()}, {platform.system()}; "
        f"vivavoce {version('vivavoce')}, "
        + ", ".join(packages[0].replace("==", " ") for packages in PACKAGES.values()),
        soft_wrap=True,
    )
    plot(notes, systems)


anyio.run(main)
