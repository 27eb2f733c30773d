"""Who may interrupt an answer: `uv run --group bench python benchmarks/interruptions.py`.

The agent and the server in one process, in real time, with the real detector and recogniser and an answer that never
ends; what is heard over it is spoken into the agent's microphone, and what the person hears is measured in the
recording of its speaker. Side by side: plain sessions, where any speech ends the answer, and considerate ones, as our
own agent asks for. Interruptions are recordings of people (../shared/audio where it exists, else tests/data) and
synthesised requests; backchannels are synthesised, coughs and noises made of pulses and noise, side talk is recordings
18 dB weaker and in reverberation. The second set is of other voices, words, noises, rooms and recordings, and no
threshold was fitted to it. Flite spells hums ("em em"), which are no backchannels then; they count all the same. The
clock starts with the speech, as the detector places its onset, or with the sound where it finds none. The machine's own
sound output adds its latency, which is not in here.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import statistics
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import numpy as np
import soundfile
from rich.console import Console
from rich.table import Table

sys.path.append(str(Path(__file__).parents[1]))

from tests.overlaps import RATE, Overlap, backchannels, interruptions, noises, side_talk, unseen
from tests.scenarios.people import OURS, STRANGER, Talk, talking

from vivavoce import compose
from vivavoce.backends.moonshine import Moonshine
from vivavoce.backends.silero import Silero
from vivavoce.ports import Text
from vivavoce.realtime.client import Captured, Duck, Hush, Unduck
from vivavoce.run import LEAD_S
from vivavoce.server.engine import Engines
from vivavoce.server.hub import Hub
from vivavoce.speech.pcm import Framer, resample
from vivavoce.speech.turns import Turns
from vivavoce.testing import ScriptedLanguageModel, ScriptedTextToSpeech

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vivavoce.agent.services import Service
    from vivavoce.ports import Samples

CUT_S = 3.0
"""Of an overlap, so much is heard."""
SESSIONS = 2
"""Of each kind, at one time."""
AFTER_S = 0.8
"""After an overlap nothing more is expected of it."""
HEARD_S = 0.4
"""Of an answer before the next overlap."""
PATIENCE_S = 4.0
"""With an answer that does not begin: to something without words there is none."""
FRAME_MS = 20.0
BLOCK = RATE // 200
AUDIBLE = 0.01
"""Amplitude; the answer is a tone of 0.2."""
STORY = [Text(f"Of lighthouse number {number} there is much to tell. ") for number in range(800)]
SETS = {False: "tuned on", True: "unseen"}
KINDS = ("interruption", "backchannel", "noise", "side talk")
SERVICES = {"plain": STRANGER, "considerate": OURS}


@dataclass
class Outcome:
    """What came of one overlap."""

    overlap: Overlap
    stopped: bool
    decided_ms: float | None
    """From its onset to the decision; None where nothing happened at all."""
    silent_ms: float | None
    """From its onset to silence."""


async def measure(service: Service, overlaps: Sequence[Overlap], engines: Engines, question: Samples) -> list[Outcome]:
    """Speak each over an answer, one after the other in one conversation."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output.wav"
        hub = Hub(engines, lead_s=LEAD_S)
        await hub.warm_up()
        async with compose.in_process(hub) as link, talking(link, output, service=service) as talk:
            talk.mouth.say(question)
            begun = [await _speak(talk, overlap, question) for overlap in overlaps]
        sound, _ = soundfile.read(output, dtype="float32")
    outcomes = []
    for overlap, (at, told) in zip(overlaps, begun, strict=True):
        onset_ms = _onset_ms(overlap.sound)
        decided = told.get(Hush, told.get(Unduck))
        silent = _silence_ms(sound, at + onset_ms / 1000) if told else None
        outcomes.append(Outcome(overlap, Hush in told, None if decided is None else decided - onset_ms, silent))
    return outcomes


def _onset_ms(sound: Samples) -> float:
    """Return where the detector places the beginning of speech, 0 where it finds none."""
    vad = Silero()
    turns, state = Turns(vad.frame * 1000 / vad.sample_rate), vad.state()
    for frame in Framer(vad.frame).feed(resample(sound, RATE, vad.sample_rate)):
        (probability,), (state,) = vad.score(frame[np.newaxis], [state])
        for edge in turns.feed(float(probability)):
            return max(edge.ms, 0.0)
    return 0.0


async def _speak(talk: Talk, overlap: Overlap, question: Samples) -> tuple[float, dict[type, float]]:
    """Speak over the answer, and return when that began and what followed from it, each with its milliseconds."""
    await _answered(talk, question)
    before = len(talk.seen)
    sound = overlap.sound[: round(CUT_S * RATE)]
    talk.mouth.say(sound)
    await anyio.sleep(len(sound) / RATE + AFTER_S)
    told: dict[type, float] = {}
    frames = 0
    for what in talk.seen[before:]:
        frames += isinstance(what, Captured)
        if isinstance(what, Duck | Unduck | Hush):
            told.setdefault(type(what), frames * FRAME_MS)
    return talk.mouth.spoke_at, told


async def _answered(talk: Talk, question: Samples) -> None:
    """Wait until the answer is heard again, whatever became of it; ask again where there is none."""
    while True:
        with anyio.move_on_after(PATIENCE_S):
            while True:
                heard = talk.speaker.heard()
                await anyio.sleep(HEARD_S)
                now = talk.speaker.heard()
                if now and heard and now[0] == heard[0] and now[1] - heard[1] >= HEARD_S * 900:
                    return
        talk.mouth.say(question)


def _silence_ms(sound: Samples, at: float) -> float:
    """Return how long after a moment the answer was still heard."""
    begun = round(at * RATE)
    after = np.abs(sound[begun : begun + round(CUT_S * RATE)])
    blocks = after[: len(after) // BLOCK * BLOCK].reshape(-1, BLOCK).max(axis=1)
    return float(np.argmax(blocks < AUDIBLE)) * BLOCK / RATE * 1000


def table(outcomes: dict[str, list[Outcome]]) -> Table:
    """Lay out what came of it all."""
    found = Table(title="What is heard over an answer")
    texts, numbers = ("", "set", "sessions"), ("heard", "stopped", "went on", "right")
    for column in (*texts, *numbers, "silent p50", "p95", "decided p50", "p95"):
        found.add_column(column, justify="left" if column in texts else "right")
    for kind, (other, name) in itertools.product(KINDS, SETS.items()):
        for sessions, all_outcomes in outcomes.items():
            fitting = [each for each in all_outcomes if each.overlap.kind == kind and each.overlap.unseen is other]
            if fitting:
                found.add_row(kind, name, *_row(sessions, fitting))
    return found


def _row(sessions: str, outcomes: Sequence[Outcome]) -> Iterator[str]:
    stopped = sum(each.stopped for each in outcomes)
    right = stopped if outcomes[0].overlap.kind == "interruption" else len(outcomes) - stopped
    yield from (sessions, str(len(outcomes)), str(stopped), str(len(outcomes) - stopped))
    yield f"{100 * right / len(outcomes):.0f} %"
    yield from _quantiles([each.silent_ms for each in outcomes if each.silent_ms is not None])
    yield from _quantiles([each.decided_ms for each in outcomes if each.decided_ms is not None])


def _quantiles(values: Sequence[float]) -> tuple[str, str]:
    if not values:
        return "", ""
    return f"{statistics.median(values):.0f}", f"{np.quantile(values, 0.95):.0f}"


async def main(arguments: argparse.Namespace, console: Console) -> None:
    """Measure all and print the table."""
    people = await interruptions(arguments.recordings)
    overlaps = []
    if "tuned" in arguments.sets:
        overlaps += [*people, *await backchannels(), *noises(), *side_talk(arguments.recordings // 2)]
    if "unseen" in arguments.sets:
        overlaps += await unseen(arguments.recordings)
    stt = Moonshine()
    await stt.warm_up()
    outcomes: dict[str, list[Outcome]] = defaultdict(list)

    async def run(sessions: str, part: Sequence[Overlap]) -> None:
        engines = Engines(Silero(), stt, ScriptedLanguageModel([STORY]), ScriptedTextToSpeech())
        outcomes[sessions] += await measure(SERVICES[sessions], part, engines, people[0].sound)

    async with anyio.create_task_group() as tasks:
        for sessions in SERVICES:
            for number in range(SESSIONS):
                tasks.start_soon(run, sessions, overlaps[number::SESSIONS])
    console.print(table({sessions: outcomes[sessions] for sessions in SERVICES}))
    if arguments.details:
        for each in sorted(outcomes["considerate"], key=lambda each: each.overlap.kind):
            console.print(
                SETS[each.overlap.unseen],
                each.overlap.kind,
                each.overlap.name,
                each.stopped,
                each.decided_ms,
                each.silent_ms,
            )
    cores, load = os.cpu_count(), os.getloadavg()[0]
    console.print(
        f"{cores} cores, {platform.machine()}, Python {platform.python_version()}, load {load:.1f} at the end; ", end=""
    )
    console.print(", ".join(f"{name} {version(name)}" for name in ("vivavoce", "onnxruntime", "hibari-tts")))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--recordings", type=int, default=32, help="of people who interrupt")
    parser.add_argument("--sets", nargs="+", default=["tuned", "unseen"], choices=["tuned", "unseen"])
    parser.add_argument("--details", action="store_true", help="say what came of each overlap")
    anyio.run(main, parser.parse_args(), Console(width=130))
