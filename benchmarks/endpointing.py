"""When is a turn over: `uv run --group bench python benchmarks/endpointing.py`.

Every pause of 100 ms or more is a decision. A policy that waits longer than a pause inside an utterance is right, one
that does not has cut the speaker off; after the last word, what it waits is the latency. Compared are a fixed silence,
the acoustic model alone (short when it says finished, else long), and ours, which weighs the model with the words and
waits in proportion. Recordings of people (../shared/audio where it exists, else tests/data) and synthesised requests in
which somebody hesitates; pauses are found by the detector that the server uses. The row "high, held out" is what the
settings do for speakers that the caution was not chosen with. Writes docs/images/endpointing.svg.
"""

from __future__ import annotations

import csv
import os
import platform
import statistics
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import numpy as np
import soundfile
from rich.console import Console
from rich.progress import track
from rich.table import Table

from vivavoce.backends.hibari import Hibari
from vivavoce.backends.moonshine import Moonshine
from vivavoce.backends.silero import Silero
from vivavoce.backends.smart_turn import SmartTurn
from vivavoce.server.ears import EAGERNESS
from vivavoce.speech.patience import CAUTION, Patience
from vivavoce.speech.pcm import resample
from vivavoce.speech.turns import PAUSE_MS, Turns
from vivavoce.speech.wording import finished

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from vivavoce.ports import Samples

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "audio"
AUDIO = SHARED if SHARED.exists() else ROOT / "tests" / "data"
PLOT = ROOT / "docs" / "images" / "endpointing.svg"
RATE = 16_000
LONGEST_S = 40.0
AIM_MS, SHARE = 350.0, 0.52
"""A caution is chosen so that so many ends wait no longer: the median has a little room."""
FOLDS = 8
SHORTEST_MS = 96.0
"""Of a pause: three frames of the detector."""
FINISHED = 0.5
"""Probability from which the acoustic model alone calls a turn over."""
HESITATIONS = """\
What is the weather like | in Paris tomorrow?
I would like to book a table for | four people at eight.
Can you tell me | how far it is to the station?
Set a timer for | ten minutes please.
My telephone number is five five | seven one | two nine eight.
Well | I think that I would rather have tea.
Could you remind me to | call my mother in the evening?
What I want to know is | when the library opens.
Send a message to Anna | and tell her that I am late.
The order number is four four | one nine.
I was wondering whether | you could explain how that works.
Play something quiet | something for the evening.
Is there a train to Boston | after six o'clock?
How many people | live in the city of Vienna?
Please turn on the lights in | the kitchen and the hall.
""".splitlines()
PAUSES_S = (0.35, 0.6, 0.9, 1.2)


@dataclass(frozen=True)
class Pause:
    """A decision."""

    sound: float
    """Probability of the acoustic model."""
    words: float
    """Log odds of the words."""
    sound_ms: float
    """Into the pause, until the first is known; in CPU time, so that a busy machine changes it little."""
    words_ms: float
    """The same of the second; both are asked side by side, on two cores."""
    length_ms: float
    """Until speech went on; infinite at the end."""
    speaker: str

    @property
    def last(self) -> bool:
        return self.length_ms == float("inf")


def recordings() -> Iterator[tuple[str, Samples]]:
    """Yield each with its speaker, who is its file where nobody is named."""
    with (AUDIO / "manifest.tsv").open(encoding="utf-8") as manifest:
        for row in csv.DictReader(manifest, delimiter="\t"):
            if row.get("lang", "en") == "en":
                sound, rate = soundfile.read(AUDIO / row["file"], dtype="float32", always_2d=True)
                if len(sound) / rate <= LONGEST_S:
                    speaker = Path(row["file"]).stem.partition("-")[0] if "librispeech" in row["file"] else row["file"]
                    yield speaker, resample(np.ascontiguousarray(sound.mean(axis=1)), rate, RATE)


async def hesitations() -> list[tuple[str, Samples]]:
    voice, made = Hibari(), []
    for number, line in enumerate(HESITATIONS):
        sound = resample(np.concatenate([part async for part in voice.speak(line.replace("|", ""))]), 24_000, RATE)
        pieces = [await piece(voice, part) for part in line.split("|")]
        silence = np.zeros(round(PAUSES_S[number % len(PAUSES_S)] * RATE), np.float32)
        joined = [part for one in pieces for part in (one, silence)][:-1]
        made += [(line, np.concatenate(joined)), (line, sound)]
    return made


async def piece(voice: Hibari, text: str) -> Samples:
    sound = resample(np.concatenate([part async for part in voice.speak(text.strip(" .?"))]), 24_000, RATE)
    loud = np.flatnonzero(np.abs(sound) > 0.01)
    return sound[loud[0] : loud[-1]] if len(loud) else sound


class Judges:
    """What is asked at each pause."""

    def __init__(self) -> None:
        self.vad, self.eot, self.stt = Silero(), SmartTurn(), Moonshine()

    async def pauses(self, speaker: str, sound: Samples) -> list[Pause]:
        padded = np.concatenate([np.zeros(RATE // 4, np.float32), sound, np.zeros(2 * RATE, np.float32)])
        found = list(self._spans(padded))
        return [await self._judge(speaker, padded, *span) for span in found]

    def _spans(self, sound: Samples) -> Iterator[tuple[float, float, float]]:
        """Yield where the turn began, where a pause was noticed, and how long it lasted, milliseconds."""
        turns, state = Turns(self.vad.frame * 1000 / RATE, silence_ms=float("inf")), self.vad.state()
        began = noticed = None
        for start in range(0, len(sound) - self.vad.frame, self.vad.frame):
            scores, (state,) = self.vad.score(sound[np.newaxis, start : start + self.vad.frame], [state])
            for edge in turns.feed(float(scores[0])):
                began = edge.ms if began is None else began
                if edge.kind == "paused":
                    noticed = edge.ms
                elif edge.kind == "resumed" and noticed is not None:
                    length_ms = edge.ms - noticed + PAUSE_MS - self.vad.frame * 1000 / RATE
                    if length_ms >= SHORTEST_MS:
                        yield began, noticed, length_ms
                    noticed = None
        if began is not None and noticed is not None:
            yield began, noticed, float("inf")

    async def _judge(self, speaker: str, sound: Samples, began: float, noticed: float, length_ms: float) -> Pause:
        heard = sound[max(round((began - 100) * RATE / 1000), 0) : round(noticed * RATE / 1000)]
        begun = time.process_time()
        probability = await self.eot.finished(heard)
        judged_at = time.process_time()
        words = ""
        async for result in self.stt.transcribe(_once(heard)):
            words = result.text
        sound_ms = PAUSE_MS + (judged_at - begun) * 1000
        words_ms = PAUSE_MS + (time.process_time() - judged_at) * 1000
        return Pause(probability, finished(words), sound_ms, words_ms, length_ms, speaker)


async def _once(sound: Samples) -> AsyncIterator[Samples]:
    yield sound


def fixed(ms: float) -> Callable[[Pause], float]:
    return lambda _: ms


def acoustic(longest: float, shortest: float = 200.0) -> Callable[[Pause], float]:
    return lambda pause: max(pause.sound_ms, shortest) if pause.sound >= FINISHED else longest


def ours(patience: Patience, caution: float = CAUTION) -> Callable[[Pause], float]:
    def wait(pause: Pause) -> float:
        """Wait as the server does: by the first opinion as soon as it is there, by both from then on."""
        sooner = pause.sound_ms <= pause.words_ms
        first = patience.wait(pause.sound, caution=caution) if sooner else patience.wait(None, pause.words)
        first_ms, both_ms = sorted((pause.sound_ms, pause.words_ms))
        over = max(first_ms, first)
        return over if over < both_ms else max(both_ms, patience.wait(pause.sound, pause.words, caution=caution))

    return wait


def judged(policy: Callable[[Pause], float], pauses: Sequence[Pause]) -> tuple[float, float, float, float]:
    """Return the share of false cut-offs, and the median, mean and 95th percentile of the latency."""
    inside = [pause for pause in pauses if not pause.last]
    waits = [policy(pause) for pause in pauses if pause.last]
    cut = sum(policy(pause) <= pause.length_ms for pause in inside)
    return 100 * cut / len(inside), statistics.median(waits), statistics.fmean(waits), float(np.quantile(waits, 0.95))


def held_out(patience: Patience, pauses: Sequence[Pause]) -> Callable[[Pause], float]:
    """Choose the caution for each group of speakers with the others, as the greatest that still meets the aim."""
    speakers = sorted({pause.speaker for pause in pauses})
    np.random.default_rng(0).shuffle(speakers)
    group = {speaker: number % FOLDS for number, speaker in enumerate(speakers)}

    def chosen(fold: int) -> float:
        others = [pause for pause in pauses if group[pause.speaker] != fold]
        cautions = [float(caution) for caution in np.arange(-2, 20, 0.5)]
        ends = [pause for pause in others if pause.last]
        return max(each for each in cautions if np.quantile(list(map(ours(patience, each), ends)), SHARE) <= AIM_MS)

    policies = [ours(patience, chosen(fold)) for fold in range(FOLDS)]
    return lambda pause: policies[group[pause.speaker]](pause)


def scaled(patience: Patience, by: float) -> Patience:
    return Patience(*(value * by for value in patience))


def table(title: str, pauses: Sequence[Pause]) -> Table:
    inside = sum(not pause.last for pause in pauses)
    shown = Table(title=f"{title}: {inside} pauses inside, {len(pauses) - inside} ends")
    for column in ("policy", "cut off %", "p50 ms", "mean", "p95"):
        shown.add_column(column, justify="left" if column == "policy" else "right")
    rows = [(f"silence {ms}", fixed(ms)) for ms in (300, 400, 500, 700, 1000)]
    rows += [(f"acoustic model, else {ms}", acoustic(ms)) for ms in (1500, 3000)]
    rows += [(f"semantic_vad {name}", ours(EAGERNESS[name])) for name in ("high", "medium", "low")]
    rows.insert(-2, ("high, held out", held_out(EAGERNESS["high"], pauses)))
    for name, policy in rows:
        share, *waits = judged(policy, pauses)
        shown.add_row(name, f"{share:.0f}", *(f"{wait:.0f}" for wait in waits))
    return shown


def plot(groups: dict[str, list[Pause]]) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    figure, places = plt.subplots(1, len(groups), figsize=(10, 4), sharey=True)
    for axes, (title, pauses) in zip(np.atleast_1d(places), groups.items(), strict=True):
        curves = {
            "fixed silence": [fixed(ms) for ms in range(150, 1600, 50)],
            "acoustic model alone": [acoustic(ms) for ms in range(250, 3000, 125)],
            "ours": [ours(scaled(EAGERNESS["high"], by)) for by in np.linspace(0.4, 2.5, 30)],
        }
        for name, policies in curves.items():
            points = [judged(policy, pauses) for policy in policies]
            axes.plot([point[2] for point in points], [point[0] for point in points], label=name)
        for name in ("high", "medium", "low"):
            share, _, mean, _ = judged(ours(EAGERNESS[name]), pauses)
            axes.plot(mean, share, "k.")
            axes.annotate(name, (mean, share), textcoords="offset points", xytext=(4, 4))
        axes.set(title=title, xlabel="mean wait after the last word, ms", xlim=(0, 1600))
        axes.grid(alpha=0.3)
    np.atleast_1d(places)[0].set_ylabel("pauses cut off, %")
    np.atleast_1d(places)[-1].legend()
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(PLOT)


async def main() -> None:
    judges = Judges()
    await judges.eot.warm_up()
    await judges.stt.warm_up()
    spoken = {"people": list(recordings()), "hesitating requests": await hesitations()}
    groups = {
        title: [pause for each in track(sounds, title) for pause in await judges.pauses(*each)]
        for title, sounds in spoken.items()
    }
    console = Console()
    for title, pauses in groups.items():
        console.print(table(title, pauses))
    known = [(pause.sound_ms, pause.words_ms) for pauses in groups.values() for pause in pauses]
    sound_ms, words_ms = np.median(known, axis=0)
    packages = ", ".join(f"{name} {version(name)}" for name in ("vivavoce", "onnxruntime", "hibari-tts"))
    console.print(
        f"known into the pause: by the sound {sound_ms:.0f} ms, by the words {words_ms:.0f} (medians, CPU time); load "
        f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {platform.machine()}, "
        f"Python {platform.python_version()}, {packages}"
    )
    plot(groups)
    console.print(f"plot: {PLOT.relative_to(ROOT)}")


if __name__ == "__main__":
    anyio.run(main)
