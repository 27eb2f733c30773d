"""What the protocol itself costs: `uv run python benchmarks/protocol_cost.py`.

Our server with its models scripted away, and beside it a bare `websockets` server that does JSON and base64 and nothing
else, each in a process of its own on one core; the clients are in this process, on another core. The cost of a frame
of 20 ms is the CPU time of the server's process over the frames that 50 sessions send, or are sent, in real time:
"in" without turn detection, "in, listening" with it and a detector that costs nothing. The round trip is that of
`conversation.item.retrieve`, 5 a second from each session; the bare server gives the same bytes back.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import threading
import time
from base64 import b64decode, b64encode
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import numpy as np
from anyio import create_task_group
from rich.console import Console
from rich.table import Table
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import serve as serve_bare

from vivavoce.server.app import serve
from vivavoce.server.engine import Engines
from vivavoce.server.hub import Hub
from vivavoce.testing import ScriptedLanguageModel, ScriptedSpeechToText, ScriptedTextToSpeech, ScriptedVad

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence

    from websockets.asyncio.server import ServerConnection

    from vivavoce.ports import Samples, VadState

PACKAGES = ("vivavoce", "websockets", "uvicorn", "msgspec", "anyio", "numpy")
FRAME_S = 0.02
FRAME = b64encode(bytes(960)).decode()
SESSIONS = 50
SPOKEN_S = 60.0
"""Length of an answer whose frames are counted."""
ROUNDS = 25
PACE_S = 0.2
"""Between two events of a session whose round trip is measured."""

SILENT = {"type": "session.update", "session": {"type": "realtime", "audio": {"input": {"turn_detection": None}}}}
ITEM = {"type": "message", "id": "item_1", "role": "user", "content": [{"type": "input_text", "text": "Hello."}]}
CREATE = {"type": "conversation.item.create", "item": ITEM}
RETRIEVE = {"type": "conversation.item.retrieve", "item_id": "item_1"}
APPEND = json.dumps({"type": "input_audio_buffer.append", "audio": FRAME})
ANSWER = {"type": "response.create"}


# The servers ----------------------------------------------------------------------------------------------------------


class Deaf(ScriptedVad):
    """A detector that costs nothing and never hears speech."""

    def score(self, frames: Samples, states: Sequence[VadState]) -> tuple[Samples, list[VadState]]:
        return np.zeros(len(frames), np.float32), list(states)


class Monotone(ScriptedTextToSpeech):
    """A voice that costs nothing."""

    async def speak(
        self, sentence: str, *, voice: str | None = None, speed: float = 1.0
    ) -> AsyncGenerator[Samples, None]:
        del sentence, voice, speed
        frame = np.zeros(480, np.float32)
        for _ in range(round(SPOKEN_S / FRAME_S)):
            await anyio.lowlevel.checkpoint()
            yield frame


async def ours(ready: Callable[[str], None]) -> None:
    engines = Engines(Deaf(), ScriptedSpeechToText([""]), ScriptedLanguageModel(["Yes."]), Monotone())
    hub = Hub(engines, max_sessions=1000)
    await serve(hub, port=0, on_ready=ready)


async def bare(ready: Callable[[str], None]) -> None:
    """Decode what comes, and give it back or, where an answer is wanted, frames of sound."""

    async def handle(socket: ServerConnection) -> None:
        async for message in socket:
            event = json.loads(message)
            if event["type"] == "input_audio_buffer.append":
                b64decode(event["audio"])
            elif event["type"] == "response.create":
                await speak(socket)
            else:
                await socket.send(json.dumps(event))

    async def speak(socket: ServerConnection) -> None:
        for _ in range(round(SPOKEN_S / FRAME_S)):
            sound = {"type": "response.output_audio.delta", "delta": b64encode(bytes(960)).decode()}
            await socket.send(json.dumps(sound))
        await socket.send(json.dumps({"type": "response.done"}))

    async with serve_bare(handle, "127.0.0.1", 0, compression=None) as server:
        ready(f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}")
        await server.serve_forever()


SERVERS = {"bare": bare, "ours": ours}


def run_server(name: str, core: int) -> None:
    """Serve on one core; each line on stdin is answered with the CPU seconds of this process."""
    _pin(core)
    threading.Thread(target=_tell_cpu, daemon=True).start()
    anyio.run(SERVERS[name], partial(print, flush=True))


def _tell_cpu() -> None:
    for _ in sys.stdin:
        print(time.process_time(), flush=True)
    os._exit(0)


def _pin(core: int) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})


class Server:
    """A server in another process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout
        self.url = self._out.readline().strip()

    def cpu(self) -> float:
        self._in.write("\n")
        self._in.flush()
        return float(self._out.readline())


@contextmanager
def serving(name: str, core: int) -> Iterator[Server]:
    command = [sys.executable, __file__, "--serve", name, "--core", str(core)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Server(process)
        process.kill()


# The clients ----------------------------------------------------------------------------------------------------------


@dataclass
class Client:
    socket: ClientConnection
    ours: bool

    async def ask(self, what: dict[str, Any], last: str) -> float:
        """Send an event and read to the answer's last one; return how many frames of 20 ms were sent in its deltas."""
        await self.socket.send(json.dumps(what))
        frames = 0.0
        while True:
            message = await self.socket.recv()
            if "response.output_audio.delta" in message:
                frames += len(json.loads(message)["delta"]) / len(FRAME)
            if not self.ours or f'"type":"{last}"' in str(message):
                return frames


async def with_clients(
    server: Server, count: int, work: Callable[[Client], Coroutine[Any, Any, None]], *, ours: bool
) -> float:
    """Let so many clients work at once, and return the CPU seconds of the server."""
    async with AsyncExitStack() as stack:
        clients = []
        for _ in range(count):
            socket = await stack.enter_async_context(connect(server.url, compression=None, max_queue=None))
            clients.append(Client(socket, ours))
        if ours:
            for client in clients:
                await client.socket.recv()
        for client in clients:
            await client.ask(CREATE, "conversation.item.done")
        before = server.cpu()
        async with create_task_group() as tasks:
            for client in clients:
                tasks.start_soon(work, client)
        return server.cpu() - before


async def frames_in(server: Server, *, ours: bool, listening: bool, seconds: float) -> float:
    """Return the CPU microseconds of a frame that a client sends."""
    count = round(seconds / FRAME_S)

    async def work(client: Client) -> None:
        start = anyio.current_time()
        for index in range(count):
            await anyio.sleep_until(start + index * FRAME_S)
            await client.socket.send(APPEND)
        await client.ask(RETRIEVE, "conversation.item.retrieved")  # by then all frames are taken

    async def mute(client: Client) -> None:
        if not listening:
            await client.ask(SILENT, "session.updated")
        await work(client)

    return 1e6 * await with_clients(server, SESSIONS, mute, ours=ours) / (SESSIONS * count)


async def frames_out(server: Server, *, ours: bool) -> float:
    """Return the CPU microseconds of 20 ms of sound that a client is sent; we send five of them in one delta."""
    counted = 0.0

    async def work(client: Client) -> None:
        nonlocal counted
        if ours:
            counted += await client.ask(ANSWER, "response.done")
            return
        await client.socket.send(json.dumps(ANSWER))
        while "response.done" not in str(await client.socket.recv()):
            counted += 1

    seconds = await with_clients(server, 1, work, ours=ours)
    return 1e6 * seconds / counted


async def round_trips(server: Server, sessions: int, *, ours: bool) -> tuple[float, float]:
    """Return the median and the 99th percentile of the milliseconds from an event to its answer."""
    took: list[float] = []

    async def work(client: Client, offset: float = 0.0) -> None:
        start = anyio.current_time() + offset
        for index in range(ROUNDS):
            await anyio.sleep_until(start + index * PACE_S)
            asked = anyio.current_time()
            await client.ask(RETRIEVE, "conversation.item.retrieved")
            took.append(1000 * (anyio.current_time() - asked))

    waiting = iter(range(sessions))

    async def spread(client: Client) -> None:
        await work(client, next(waiting) * PACE_S / sessions)

    await with_clients(server, sessions, spread, ours=ours)
    median, late = np.percentile(took, [50, 99])
    return float(median), float(late)


# The report -----------------------------------------------------------------------------------------------------------


async def measure(server: Server, *, ours: bool, seconds: float) -> dict[str, float]:
    silent = await frames_in(server, ours=ours, listening=False, seconds=seconds)
    results = {"in, µs CPU a frame": silent}
    results["in, listening, µs CPU a frame"] = (
        await frames_in(server, ours=ours, listening=True, seconds=seconds) if ours else silent
    )
    results["out, µs CPU a frame"] = await frames_out(server, ours=ours)
    for sessions in (1, 50, 200):
        median, late = await round_trips(server, sessions, ours=ours)
        results[f"round trip, {sessions} sessions, p50 ms"] = median
        results[f"round trip, {sessions} sessions, p99 ms"] = late
    return results


def report(bare: dict[str, float], ours: dict[str, float]) -> Table:
    table = Table("what", "bare echo", "vivavoce", "times")
    for name, cost in ours.items():
        table.add_row(name, f"{bare[name]:.2f}", f"{cost:.2f}", f"{cost / bare[name]:.2f}")
    return table


def machine() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    names = [line for line in cpuinfo.read_text().splitlines() if "model name" in line] if cpuinfo.exists() else []
    name = names[0].partition(":")[2].strip() if names else platform.processor()
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    return f"{name}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}"


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="of sound that each session sends")
    parser.add_argument("--serve", choices=SERVERS, help=argparse.SUPPRESS)
    parser.add_argument("--core", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        run_server(options.serve, options.core)
        return
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0, 1]
    _pin(cores[-1])
    results = []
    for name in SERVERS:
        with serving(name, cores[0]) as server:
            results.append(anyio.run(partial(measure, server, ours=name == "ours", seconds=options.seconds)))
    console = Console()
    console.print(machine())
    console.print(report(*results))


if __name__ == "__main__":
    main()
