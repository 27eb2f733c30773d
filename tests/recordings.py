"""The recordings of people in tests/data, with their words."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import soundfile

from vivavoce.speech.pcm import resample

if TYPE_CHECKING:
    from vivavoce.ports import Samples

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Recording:
    name: str
    words: str
    sound: Samples
    starts: float
    """Seconds after which the reader begins."""


def recorded(sample_rate: int) -> list[Recording]:
    """Return them all at this rate, Hz."""
    with (DATA / "manifest.tsv").open(encoding="utf-8", newline="") as manifest:
        rows = list(csv.DictReader(manifest, delimiter="\t"))
    return [
        Recording(row["file"], row["transcript"], _read(row["file"], sample_rate), float(row["starts"])) for row in rows
    ]


def _read(name: str, sample_rate: int) -> Samples:
    sound, rate = soundfile.read(DATA / name, dtype="float32")
    return resample(sound, rate, sample_rate)
