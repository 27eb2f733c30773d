"""The same work through others: `uv run --group bench python benchmarks/peers.py`.

Ours, Pipecat and LiveKit Agents (from PyPI, each in an environment of its own that `uv` makes for this run), each with
the same models that cost nothing: a server on the loopback that speaks OpenAI's HTTP for transcription, chat and speech
and answers after a set delay. One by one, in their shipped settings and in settings tuned for speed, they hear the same
recordings of people in real time, in frames of 20 ms and with the noise of a room between them.

The clock runs from the last frame that holds speech, when it is sent, to the first sound of the answer that is louder
than 500 of 32768. An utterance over which the answer begins is cut off: it counts as that and has no latency. LiveKit
has no network of its own here (see peers_livekit.py), Pipecat its WebSocket transport, ours the Realtime protocol.
Writes docs/images/peers.svg.
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
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import numpy as np
import soundfile
import uvicorn
from rich.console import Console
from rich.table import Table
from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route
from websockets.asyncio.client import connect as connect_bare

from vivavoce import compose
from vivavoce.agent.connection import connect
from vivavoce.backends.silero import Silero
from vivavoce.config import Settings
from vivavoce.realtime import events as wire
from vivavoce.run import LEAD_S
from vivavoce.server.app import serve
from vivavoce.speech.pcm import from_pcm16, resample, to_pcm16
from vivavoce.testing import tone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

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
SYSTEMS = ("vivavoce", "vivavoce high", "vivavoce fast", "livekit", "livekit fast", "pipecat", "pipecat fast")
TUNED = {
    "high": {"type": "semantic_vad", "eagerness": "high"},
    "fast": {"type": "server_vad", "silence_duration_ms": 300},
}
"""Ours tuned for speed, as a client of the protocol may ask for it: by meaning, and by silence alone as the others."""
RATE_PEERS, RATE_OURS, RATE_OUT = 16_000, 24_000, 24_000
FRAME_S = 0.02
LENGTHS = (1.5, 6.0)
"""Seconds of the recordings that are used."""
ROOM_DB = -60.0
SPEECH = 0.5
"""Probability from which a frame is speech."""
AUDIBLE = 500 / 32768
ANSWER = "This is an answer of ten words that takes two seconds."
ANSWER_S = 2.0
ANSWERED_S = 10.0
"""After the speech; without an answer by then, an utterance is unanswered."""
REST_S = 1.0
"""Between the answer and the next utterance."""
STARTING_S = 300.0
"""With the packages to be fetched."""


# The models ----------------------------------------------------------------------------------------------------------


def stub(delay: float) -> Starlette:
    """Return a server of models that all answer after `delay` seconds."""
    sound = to_pcm16(tone(440, ANSWER_S, RATE_OUT))

    async def transcribe(request: Request) -> Response:
        await request.body()
        await anyio.sleep(delay)
        return JSONResponse({"text": "What time is it now?"})

    async def chat(_: Request) -> Response:
        return StreamingResponse(pieces(delay), media_type="text/event-stream")

    async def speak(_: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            await anyio.sleep(delay)
            for start in range(0, len(sound), 4800):
                yield sound[start : start + 4800]

        return StreamingResponse(chunks(), media_type="audio/pcm")

    async def models(_: Request) -> Response:
        return JSONResponse({"object": "list", "data": []})

    return Starlette(
        routes=[
            Route("/v1/models", models),
            Route("/v1/audio/transcriptions", transcribe, methods=["POST"]),
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/audio/speech", speak, methods=["POST"]),
        ]
    )


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
def serving_models(delay: float) -> Iterator[str]:
    """Serve the models in a thread, and yield their address."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(stub(delay), port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{port}/v1"
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


@contextmanager
def running(system: str, models: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run a system in a process of its own, and yield its port and the process."""
    name, _, manner = system.partition(" ")
    port = str(free_port())
    if name == "vivavoce":
        command = [sys.executable, str(HERE / "peers.py"), "--serve", port, models]
    else:
        packages = [argument for package in PACKAGES[name] for argument in ("--with", package)]
        script = str(HERE / f"peers_{name}.py")
        command = ["uv", "run", "--no-project", *packages, "python", script, port, models, manner]
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("w+") as log:
        with subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as process:
            try:
                yield int(port), process
            except BaseException:
                log.seek(0)
                print(log.read()[-2000:], file=sys.stderr)
                raise
            finally:
                process.terminate()


@dataclass
class Line:
    """A connection to a system."""

    send: Callable[[bytes], Awaitable[None]]
    sounds: AsyncIterator[Samples]
    rate: int


@asynccontextmanager
async def calling(system: str, port: int) -> AsyncIterator[Line]:
    name, _, manner = system.partition(" ")
    if name != "vivavoce":
        async with connect_bare(f"ws://127.0.0.1:{port}", compression=None, max_size=None) as bare:
            yield Line(bare.send, (from_pcm16(data) async for data in bare if isinstance(data, bytes)), RATE_PEERS)
        return
    async with connect(f"ws://127.0.0.1:{port}/v1/realtime") as link:
        await link.receive()
        if manner:
            turns = {"type": "realtime", "audio": {"input": {"turn_detection": TUNED[manner]}}}
            await link.send(wire.SessionUpdate(session=turns))

        async def send(sound: bytes) -> None:
            await link.send(wire.InputAudioBufferAppend(audio=sound))

        async def sounds() -> AsyncIterator[Samples]:
            while True:
                match await link.receive():
                    case wire.OutputAudioDelta(delta=delta):
                        yield from_pcm16(delta)
                    case wire.Error(error=wrong):
                        print(wrong, file=sys.stderr)
                    case _:
                        pass

        yield Line(send, sounds(), RATE_OURS)


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
    await anyio.sleep(5)  # models load behind the open port


# The calls -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Utterance:
    sound: Samples
    """At 16 kHz."""
    last: int
    """The last frame that holds speech."""


def recordings() -> Iterator[Utterance]:
    with (AUDIO / "manifest.tsv").open(encoding="utf-8", newline="") as manifest:
        rows = list(csv.DictReader(manifest, delimiter="\t"))
    for row in rows:
        if row.get("lang", "en") == "en" and LENGTHS[0] <= float(row["seconds"]) <= LENGTHS[1]:
            sound, rate = soundfile.read(AUDIO / row["file"], dtype="float32")
            sound = resample(sound, rate, RATE_PEERS)
            yield Utterance(sound, last_spoken(sound))


def last_spoken(sound: Samples) -> int:
    vad = Silero()
    state, last = vad.state(), 0
    for start in range(0, len(sound) - vad.frame, vad.frame):
        score, (state,) = vad.score(sound[np.newaxis, start : start + vad.frame], [state])
        last = start + vad.frame if score[0] >= SPEECH else last
    return round(last / RATE_PEERS / FRAME_S) - 1


@dataclass
class Results:
    system: str
    latencies: list[float] = field(default_factory=list)
    """Milliseconds."""
    cut_off: int = 0
    unanswered: int = 0
    asked: int = 0


@dataclass
class Call:
    """A conversation: sound goes out in real time, and what is audible is noted."""

    line: Line
    heard_at: list[float] = field(default_factory=list)

    async def listen(self) -> None:
        async for sound in self.line.sounds:
            if len(sound) and np.abs(sound).max() > AUDIBLE:
                self.heard_at.append(anyio.current_time())

    async def ask(self, utterance: Utterance, results: Results) -> None:
        """Say an utterance, and wait for the answer and its end."""
        self.heard_at.clear()
        results.asked += 1
        frames = cut(utterance.sound, self.line.rate)
        start, number, spoken_at, answered_at = anyio.current_time(), 0, float("inf"), float("inf")
        silence = cut(np.zeros(RATE_PEERS, np.float32), self.line.rate)
        while True:
            frame = frames[number] if number < len(frames) else silence[number % len(silence)]
            await anyio.sleep_until(start + (number + 1) * FRAME_S)
            await self.line.send(frame)
            now = anyio.current_time()
            spoken_at = now if number == utterance.last else spoken_at
            number += 1
            after = [at for at in self.heard_at if at > spoken_at]
            answered_at = after[0] if after else answered_at
            if now > min(answered_at + ANSWER_S + REST_S, spoken_at + ANSWERED_S):
                break
        if any(at <= spoken_at for at in self.heard_at):
            results.cut_off += 1
        elif answered_at == float("inf"):
            results.unanswered += 1
        else:
            results.latencies.append((answered_at - spoken_at) * 1000)

    async def rest(self, seconds: float) -> None:
        """Let the system hear the room for a while."""
        start = anyio.current_time()
        for number, frame in enumerate(cut(np.zeros(round(seconds * RATE_PEERS), np.float32), self.line.rate)):
            await anyio.sleep_until(start + number * FRAME_S)
            await self.line.send(frame)


def cut(sound: Samples, rate: int) -> list[bytes]:
    """Return sound in a room as frames of PCM."""
    noise = np.random.default_rng(1).standard_normal(len(sound)) * 10 ** (ROOM_DB / 20)
    loud = resample((sound + noise).astype(np.float32), RATE_PEERS, rate)
    size = round(rate * FRAME_S)
    return [to_pcm16(loud[start : start + size]) for start in range(0, len(loud) - size + 1, size)]


async def measure(system: str, models: str, utterances: list[Utterance]) -> Results:
    results = Results(system)
    with running(system, models) as (port, process):
        await reachable(port, process)
        async with calling(system, port) as line, anyio.create_task_group() as tasks:
            call = Call(line)
            tasks.start_soon(call.listen)
            await call.rest(2)
            await call.ask(utterances[0], Results("the first turn warms up"))
            for utterance in utterances:
                await call.ask(utterance, results)
            tasks.cancel_scope.cancel()
    return results


# The report ----------------------------------------------------------------------------------------------------------


def report(all_results: list[Results]) -> Table:
    table = Table(title="From the end of speech to the first sound of the answer, ms", title_justify="left")
    for heading in ("", "asked", "p50", "p95", "max", "cut off", "unanswered"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=not heading)
    for results in all_results:
        median, late, most = np.percentile(results.latencies or [np.nan], [50, 95, 100])
        row = (str(results.asked), f"{median:.0f}", f"{late:.0f}", f"{most:.0f}")
        table.add_row(results.system, *row, str(results.cut_off), str(results.unanswered))
    return table


def plot(all_results: list[Results]) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4))
    for results in all_results:
        waited = sorted(results.latencies)
        axes.plot(waited, np.linspace(0, 100, len(waited)), label=results.system)
    axes.set(xlabel="end of speech to first sound, ms", ylabel="turns answered, %", xlim=(0, 4000))
    axes.grid(alpha=0.3)
    axes.legend()
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(PLOT)


async def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--utterances", type=int, default=24)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds that each model takes")
    parser.add_argument("--system", choices=SYSTEMS, action="append")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    options: Any = parser.parse_args()
    if options.serve:
        await run_ours(int(options.serve[0]), options.serve[1])
        return
    utterances = list(recordings())
    utterances = utterances[:: max(len(utterances) // options.utterances, 1)][: options.utterances]
    console, load, results = Console(), os.getloadavg()[0], []
    with serving_models(options.delay) as models:
        for system in options.system or SYSTEMS:
            results.append(await measure(system, models, utterances))
            console.print(report(results[-1:]))
    console.print(report(results))
    console.print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f} before, Python {platform.python_version()}, "
        f"{platform.system()}; vivavoce {version('vivavoce')}, "
        + ", ".join(packages[0].replace("==", " ") for packages in PACKAGES.values()),
        soft_wrap=True,
    )
    plot(results)


anyio.run(main)
