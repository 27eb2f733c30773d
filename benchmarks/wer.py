"""How well and how cheaply the embedded engines hear and speak: `uv run python benchmarks/wer.py`.

Word error rates of Moonshine on recordings of people (../shared/audio where it exists, else tests/data), and of what it
hears of each voice; CPU seconds an utterance are of this process and its children, in all threads.
"""

from __future__ import annotations

import csv
import os
import platform
import re
import statistics
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import jiwer
import numpy as np
import soundfile
import soxr
from rich.console import Console
from rich.table import Table

from vivavoce.backends.flite import Flite
from vivavoce.backends.hibari import Hibari
from vivavoce.backends.moonshine import Moonshine
from vivavoce.ports import BackendError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from vivavoce.ports import Samples

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "audio"
AUDIO = SHARED if SHARED.exists() else ROOT / "tests" / "data"
PACKAGES = ("vivavoce", "onnxruntime", "hibari-tts", "numpy", "jiwer")

SENTENCES = """\
The report is ready, and I have sent it to your inbox.
Would you like me to book a table by the window?
I am sorry, I did not catch that; could you say it again?
Your train leaves from the second platform in a few minutes.
It will rain in the afternoon, so take an umbrella.
The library is closed on Monday and on Friday.
She bought fresh bread and a bottle of milk.
Please turn left after the bridge and walk along the river.
The meeting was moved to Tuesday morning because of the holiday.
I can look that up for you, but it may take a moment.
According to the handbook, new employees have twenty days of leave.
Nobody had told him that the door was already open.
You can reach the support team by phone or by email.
The weather in Paris is sunny, with a light wind from the west.
Let me know when you have finished, and I will send the next one.
""".splitlines()


@dataclass
class Score:
    """What was said, what was heard of it, and what each took."""

    said: list[str] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(self, said: str, heard: str, cpu: float, seconds: float) -> None:
        self.said.append(words(said))
        self.heard.append(words(heard))
        self.cpu.append(cpu)
        self.seconds.append(seconds)

    def row(self) -> tuple[str, ...]:
        return (
            str(len(self.said)),
            f"{sum(self.seconds):.0f}",
            f"{100 * jiwer.wer(self.said, self.heard):.1f}",
            f"{statistics.median(self.cpu):.3f}",
            f"{sum(self.cpu) / sum(self.seconds):.3f}",
        )


def words(text: str) -> str:
    return " ".join(re.sub(r"[^a-z0-9' ]+", " ", text.lower()).split())


def cpu() -> float:
    """CPU seconds of this process, its threads and its finished children."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def recordings() -> Iterator[tuple[str, str, Samples]]:
    """Yield the set, the transcript and the sound of each English recording."""
    with (AUDIO / "manifest.tsv").open(encoding="utf-8", newline="") as manifest:
        for row in csv.DictReader(manifest, delimiter="\t"):
            if row.get("lang", "en") == "en":
                sound, _ = soundfile.read(AUDIO / row["file"], dtype="float32")
                yield row["file"].rpartition("/")[0] or AUDIO.name, row["transcript"], sound


async def hear(stt: Moonshine, sound: Samples) -> str:
    async def once() -> AsyncGenerator[Samples, None]:
        yield sound

    return [heard async for heard in stt.transcribe(once())][-1].text


async def listening(stt: Moonshine) -> dict[str, Score]:
    scores: dict[str, Score] = {}
    for name, said, sound in recordings():
        begun = cpu()
        heard = await hear(stt, sound)
        scores.setdefault(f"moonshine, {name}", Score()).add(said, heard, cpu() - begun, len(sound) / stt.sample_rate)
    return scores


async def speaking(stt: Moonshine, tts: Any, voice: str) -> Score:
    score = Score()
    for sentence in SENTENCES:
        begun = cpu()
        sound = np.concatenate([chunk async for chunk in tts.speak(sentence, voice=voice)])
        spent = cpu() - begun
        heard = await hear(stt, soxr.resample(sound, tts.sample_rate, stt.sample_rate))
        score.add(sentence, heard, spent, len(sound) / tts.sample_rate)
    return score


async def main() -> None:
    console, stt, hibari, flite = Console(), Moonshine(), Hibari(), Flite()
    await stt.warm_up()
    await hibari.warm_up()
    scores = await listening(stt)
    for name, tts in (("hibari", hibari), ("flite", flite)):
        for voice in tts.voices:
            try:
                scores[f"{name} {voice}, read back"] = await speaking(stt, tts, voice)
            except BackendError as error:
                console.print(error.message)
    table = Table(title="Hearing and speaking")
    for heading in ("", "n", "s", "WER %", "CPU-s p50", "CPU-s a s"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=not heading)
    for name, score in scores.items():
        table.add_row(name, *score.row())
    console.print(table)
    console.print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"
    )
    console.print(", ".join(f"{package} {version(package)}" for package in PACKAGES))


anyio.run(main)
