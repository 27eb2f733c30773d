"""What is heard over an answer: interruptions, backchannels, coughs and noises, people who talk to somebody else.

Two sets: one that constants were set with, and another by other voices, words, noises, rooms and recordings (`OTHER_`,
`unseen`), which must never be tuned on.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal, TypeAlias

import anyio
import numpy as np
import soundfile

from vivavoce.backends.flite import Flite
from vivavoce.backends.hibari import Hibari
from vivavoce.speech.levels import levels, trim
from vivavoce.speech.overlap import is_backchannel, plain
from vivavoce.speech.pcm import resample

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from vivavoce.ports import Samples, TextToSpeech

Kind: TypeAlias = Literal["interruption", "backchannel", "noise", "side talk"]

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "audio"
AUDIO = SHARED if SHARED.exists() else ROOT / "tests" / "data"
RATE = 24_000
"""Hz, of all sound here."""
SPEECH_DB = -23.0
"""Level of what is said into the microphone, dBFS, taken where it is not silent."""
DISTANCE_DB = -18.0
"""Of somebody across the room, below that."""
FORMANTS = ((650.0, 90.0, 1.0), (1150.0, 110.0, 0.6), (2500.0, 180.0, 0.25))
"""Hz, width in Hz, and strength of the resonances of an open mouth."""
NASAL = ((260.0, 80.0, 1.0), (1000.0, 200.0, 0.08), (2300.0, 300.0, 0.04))
"""The same of closed lips."""
SHORTEST_S, LONGEST_S = 0.9, 8.0
"""Of a recording."""

REQUESTS = (
    "Stop.",
    "Stop it.",
    "Wait.",
    "Wait a minute.",
    "No.",
    "No, that's not what I meant.",
    "Hold on a second.",
    "Hey, listen.",
    "What?",
    "Can you repeat that please?",
    "What about tomorrow?",
    "Tell me something else.",
    "How much does it cost?",
    "Okay, and what about London?",
    "Yeah, but I wanted the other one.",
    "Right, set a timer for ten minutes.",
    "Be quiet please.",
    "Never mind.",
)
BACKCHANNELS = (
    "mm-hm",
    "uh-huh",
    "right",
    "okay",
    "yeah",
    "I see",
    "wow",
    "sure",
    "oh really",
    "yes",
    "got it",
    "hmm",
    "ah",
)
OTHER_REQUESTS = (
    "Stop talking.",
    "Wait, wait.",
    "Hang on.",
    "Can I ask something?",
    "No, the other one.",
    "Why?",
    "Who told you that?",
    "Actually, make it five o'clock.",
    "Sorry, I meant Tuesday.",
    "How far is it?",
    "Skip this.",
    "That's enough.",
    "Sure, but when does it open?",
    "I see, so what should I do?",
    "Turn off the lights.",
    "Louder please.",
    "Say that again.",
    "Good, now call my sister.",
)
OTHER_BACKCHANNELS = (
    "mhm",
    "mm",
    "uh-huh",
    "yeah yeah",
    "okay okay",
    "that's right",
    "of course",
    "really",
    "I know",
    "exactly",
    "nice",
    "oh",
    "oh wow",
    "makes sense",
    "great",
    "cool",
)
OTHER_VOICES = ("kal16", "awb")
"""Of flite."""
SPEEDS = (0.8, 1.25)


@dataclass(frozen=True)
class Overlap:
    """Something that is heard over an answer."""

    kind: Kind
    name: str
    sound: Samples
    unseen: bool = False
    """Whether it is of the other set."""


async def interruptions(limit: int | None = None) -> list[Overlap]:
    """Return people who want to be heard: recordings and synthesised requests."""
    people = [Overlap("interruption", name, sound) for name, sound in _recordings(limit)]
    return people + await _said("interruption", REQUESTS, each=False)


async def backchannels() -> list[Overlap]:
    """Return what listeners say to show that they listen."""
    return await _said("backchannel", BACKCHANNELS, each=True)


def noises() -> list[Overlap]:
    """Return coughs, claps, slams and the like, made of noise."""
    random = np.random.default_rng(7)
    makers = {
        "cough": _cough,
        "throat": _throat,
        "groan": _groan,
        "laugh": _laugh,
        "slam": _slam,
        "clap": _clap,
        "keys": _keys,
        "scrape": _scrape,
    }
    return [
        Overlap("noise", f"{name} {number}", _at(make(random), SPEECH_DB))
        for number in range(1, 4)
        for name, make in makers.items()
    ]


def side_talk(limit: int | None = None) -> list[Overlap]:
    """Return people across the room."""
    room = _room(np.random.default_rng(11))
    return [
        Overlap("side talk", name, _at(np.convolve(sound, room).astype(np.float32), SPEECH_DB + DISTANCE_DB))
        for name, sound in _recordings(limit)
    ]


async def unseen(limit: int) -> list[Overlap]:
    """Return the other set.

    Args:
        limit: recordings, which are none of as many of the first set.
    """
    random, room = np.random.default_rng(1907), _room(np.random.default_rng(1908), seconds=0.3)
    people = _recordings(limit, other=True)
    found = [Overlap("interruption", name, sound) for name, sound in people]
    found += [
        Overlap("side talk", name, _at(np.convolve(sound, room).astype(np.float32), SPEECH_DB + DISTANCE_DB))
        for name, sound in people[: limit // 2]
    ]
    for number, text in enumerate(OTHER_REQUESTS):
        found.append(await _voiced("interruption", text, OTHER_VOICES[number % 2]))
    for text in OTHER_BACKCHANNELS:
        found += [await _voiced("backchannel", text, voice) for voice in OTHER_VOICES]
    for text in BACKCHANNELS:
        found += [await _voiced("backchannel", text, "", speed) for speed in SPEEDS]
    hums = {"mm-hm": _assent, "mmm": _hum, "uh-huh": _grunts}
    found += [
        Overlap("backchannel", f"{name}, hummed {number}", _at(make(random), SPEECH_DB))
        for number in range(1, 5)
        for name, make in hums.items()
    ]
    makers = {
        "sneeze": _sneeze,
        "bark": _bark,
        "ring": _ring,
        "glass": _glass,
        "paper": _paper,
        "squeak": _squeak,
        "cough": _cough,
        "throat": _throat,
        "laugh": _laugh,
        "groan": _groan,
    }
    found += [
        Overlap("noise", f"{name} {number}", _at(make(random), SPEECH_DB))
        for number in range(1, 4)
        for name, make in makers.items()
    ]
    return [replace(each, unseen=True) for each in found]


async def _voiced(kind: Kind, text: str, voice: str, speed: float = 1.0) -> Overlap:
    """Say a text with a voice of flite, or with the default one of hibari."""
    if not voice:
        hibari = Hibari()
        sound = np.concatenate([chunk async for chunk in hibari.speak(text, speed=speed)])
        return Overlap(kind, f"{text} (heart, {speed})", _clean(sound, hibari.sample_rate))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "said.wav"
        await anyio.run_process(["flite", "-voice", voice, "-t", text, "-o", str(path)])
        sound, rate = soundfile.read(path, dtype="float32")
    return Overlap(kind, f"{text} ({voice})", _clean(sound, rate))


def _recordings(limit: int | None, *, other: bool = False) -> list[tuple[str, Samples]]:
    """Return recordings of people who speak English, from the first sound to the last.

    Args:
        limit: as many as wanted.
        other: take those that are left over, the first of which come from between the others.
    """
    with (AUDIO / "manifest.tsv").open(encoding="utf-8", newline="") as manifest:
        rows = list(csv.DictReader(manifest, delimiter="\t"))
    fitting = [
        row["file"]
        for row in rows
        if row.get("lang", "en") == "en"
        and SHORTEST_S <= float(row["seconds"]) <= LONGEST_S
        and not is_backchannel(plain(row["transcript"]))
    ]
    step = max(1, len(fitting) // limit) if limit else 1
    chosen = fitting[::step][:limit]
    if other:
        chosen = [name for name in fitting if name not in chosen][:limit]
    return [(name, _read(AUDIO / name)) for name in chosen]


def _read(path: Path) -> Samples:
    sound, rate = soundfile.read(path, dtype="float32")
    return _at(trim(resample(sound, rate, RATE), RATE, lead=0.0, tail=0.0, silence=-38.0), SPEECH_DB)


async def _said(kind: Kind, texts: Sequence[str], *, each: bool) -> list[Overlap]:
    """Synthesise each text, with each of three voices or with one after the other."""
    hibari, flite = Hibari(), Flite()
    engines: list[tuple[TextToSpeech, str]] = [(hibari, hibari.voices[0]), *((flite, voice) for voice in flite.voices)]
    spoken: list[Overlap] = []
    for number, text in enumerate(texts):
        for engine, voice in engines if each else [engines[number % len(engines)]]:
            sound = np.concatenate([chunk async for chunk in engine.speak(text, voice=voice)])
            spoken.append(Overlap(kind, f"{text} ({voice})", _clean(sound, engine.sample_rate)))
    return spoken


def _clean(sound: Samples, rate: int) -> Samples:
    return _at(trim(resample(sound, rate, RATE), RATE, lead=0.0, tail=0.05), SPEECH_DB)


def _at(sound: Samples, db: float) -> Samples:
    """Return the sound with this level where it is not silent, dBFS."""
    found = levels(sound, RATE, frame=0.02)
    loud = found[found > found.max() - 25]
    now = 10 * np.log10(np.mean(10 ** (loud / 10)))
    return np.asarray(np.clip(sound * 10 ** ((db - now) / 20), -1, 1), np.float32)


# Noises --------------------------------------------------------------------------------------------------------------


def _band(random: np.random.Generator, seconds: float, low: float, high: float) -> Samples:
    """Return noise between two frequencies, Hz."""
    spectrum = np.fft.rfft(random.standard_normal(round(seconds * RATE)))
    hertz = np.fft.rfftfreq(round(seconds * RATE), 1 / RATE)
    shape = 1 / (1 + (low / np.maximum(hertz, 1)) ** 4) / (1 + (hertz / high) ** 4)
    return _even(np.fft.irfft(spectrum * shape, round(seconds * RATE)))


def _even(sound: NDArray[np.float64]) -> Samples:
    return np.asarray(sound / np.sqrt(np.mean(np.square(sound))), np.float32)


def _decay(sound: Samples, seconds: float) -> Samples:
    return np.asarray(sound * np.exp(-np.arange(len(sound)) / RATE / seconds), np.float32)


def _joined(parts: Iterator[Samples], random: np.random.Generator, pause: tuple[float, float]) -> Samples:
    pieces = [piece for part in parts for piece in (part, np.zeros(round(random.uniform(*pause) * RATE), np.float32))]
    return np.concatenate(pieces)


def _cough(random: np.random.Generator) -> Samples:
    """An explosive burst, then a voice that breaks off, one to three times."""

    def one() -> Samples:
        burst = _decay(_band(random, 0.3, 350, 3500), 0.05)
        return 0.5 * burst + _decay(_voice(random, 0.3, 220, 130, rough=0.1), 0.12)

    return _joined((one() for _ in range(random.integers(1, 4))), random, (0.05, 0.2))


def _throat(random: np.random.Generator) -> Samples:
    """A rough voice without words."""
    sound = _voice(random, random.uniform(0.35, 0.6), 105, 85, rough=0.12)
    return np.asarray(sound * np.hanning(len(sound)), np.float32)


def _groan(random: np.random.Generator) -> Samples:
    """A sigh with some voice in it."""
    sound = _voice(random, random.uniform(0.4, 0.7), random.uniform(140, 220), 100, rough=0.05)
    return np.asarray(
        sound * np.hanning(len(sound)) + 0.1 * _band(random, len(sound) / RATE, 300, 4000)[: len(sound)], np.float32
    )


def _laugh(random: np.random.Generator) -> Samples:
    """Short puffs of voice, falling."""
    hertz = np.linspace(random.uniform(200, 300), 150, 5)
    puffs = (_decay(_voice(random, 0.11, at, at * 0.9, rough=0.05), 0.06) for at in hertz)
    return _joined(puffs, random, (0.06, 0.08))


def _voice(
    random: np.random.Generator,
    seconds: float,
    first: float,
    last: float,
    *,
    rough: float,
    formants: Sequence[tuple[float, float, float]] = FORMANTS,
) -> Samples:
    """Return glottal pulses, Hz from first to last and so unevenly, through the tract of a mouth."""
    length = round(seconds * RATE)
    hertz = np.linspace(first, last, length) * (
        1 + rough * np.repeat(random.standard_normal(length // 200 + 1), 200)[:length]
    )
    phase = np.cumsum(np.abs(hertz)) / RATE
    pulses = np.diff(np.floor(phase), prepend=0.0) + 0.005 * random.standard_normal(length)
    spectrum, at = np.fft.rfft(pulses), np.fft.rfftfreq(length, 1 / RATE)
    tract = sum(strength / (1 + ((at - center) / width) ** 2) for center, width, strength in formants)
    return _even(np.fft.irfft(spectrum * tract, length))


def _slam(random: np.random.Generator) -> Samples:
    thump = _decay(_band(random, 0.5, 40, 250), 0.08)
    return np.asarray(thump + 0.3 * _decay(_band(random, 0.5, 500, 6000), 0.03), np.float32)


def _clap(random: np.random.Generator) -> Samples:
    return _joined((_decay(_band(random, 0.15, 800, 5000), 0.015) for _ in range(4)), random, (0.1, 0.3))


def _keys(random: np.random.Generator) -> Samples:
    return _joined((_decay(_band(random, 0.06, 1500, 8000), 0.006) for _ in range(12)), random, (0.03, 0.15))


def _scrape(random: np.random.Generator) -> Samples:
    """A chair on the floor: a rough tone that wavers."""
    times = np.arange(round(0.7 * RATE)) / RATE
    hertz = 300 + 60 * np.sin(2 * np.pi * 3 * times) + random.uniform(-50, 50)
    tone = np.sign(np.sin(2 * np.pi * np.cumsum(hertz) / RATE))
    return np.asarray((0.3 * tone + _band(random, 0.7, 200, 4000)) * np.hanning(len(times)), np.float32)


def _assent(random: np.random.Generator) -> Samples:
    """Two hums with closed lips, the second one higher."""
    hertz = random.uniform(95, 220)
    parts = (
        _decay(_nasal(random, random.uniform(0.14, 0.22), hertz * 1.05, hertz), 0.2),
        _nasal(random, random.uniform(0.18, 0.3), hertz * 1.1, hertz * random.uniform(1.2, 1.35)),
    )
    return _joined(iter(parts), random, (0.02, 0.08))


def _hum(random: np.random.Generator) -> Samples:
    hertz = random.uniform(95, 220)
    sound = _nasal(random, random.uniform(0.3, 0.6), hertz * 1.15, hertz * random.uniform(0.85, 1.1))
    return np.asarray(sound * np.hanning(len(sound)) ** 0.5, np.float32)


def _grunts(random: np.random.Generator) -> Samples:
    """Two short open vowels with a breath between them, the second one higher."""
    hertz = random.uniform(95, 220)
    parts = (
        _decay(_voice(random, 0.14, hertz, hertz * 0.95, rough=0.01), 0.1),
        0.7 * _decay(_voice(random, 0.22, hertz * 1.1, hertz * 1.3, rough=0.01), 0.15),
    )
    return _joined(iter(parts), random, (0.04, 0.08))


def _nasal(random: np.random.Generator, seconds: float, first: float, last: float) -> Samples:
    return _voice(random, seconds, first, last, rough=0.01, formants=NASAL)


def _sneeze(random: np.random.Generator) -> Samples:
    breath = 0.15 * _band(random, 0.3, 800, 4000) * np.linspace(0, 1, round(0.3 * RATE))
    burst = _decay(_band(random, 0.35, 900, 7000), 0.1)
    return np.asarray(np.concatenate([breath, burst]), np.float32)


def _bark(random: np.random.Generator) -> Samples:
    barks = (
        _decay(_voice(random, 0.18, random.uniform(350, 500), 280, rough=0.1), 0.06)
        for _ in range(random.integers(1, 4))
    )
    return _joined(barks, random, (0.15, 0.3))


def _ring(random: np.random.Generator) -> Samples:
    """Two tones in turn, as telephones ring."""
    times = np.arange(round(0.8 * RATE)) / RATE
    hertz = np.where(np.sin(2 * np.pi * 10 * times) > 0, random.uniform(800, 1000), random.uniform(1100, 1400))
    return _even(np.sin(2 * np.pi * np.cumsum(hertz) / RATE))


def _glass(random: np.random.Generator) -> Samples:
    times = np.arange(round(0.5 * RATE)) / RATE
    hertz = random.uniform(1800, 5000, 4)
    return _decay(_even(np.sin(2 * np.pi * hertz[:, None] * times).sum(axis=0)), 0.08)


def _paper(random: np.random.Generator) -> Samples:
    crackles = (random.uniform(0.2, 1) * _decay(_band(random, 0.08, 2000, 9000), 0.02) for _ in range(14))
    return _joined(crackles, random, (0.0, 0.08))


def _squeak(random: np.random.Generator) -> Samples:
    """A hinge: a tone that rises and wavers."""
    times = np.arange(round(0.6 * RATE)) / RATE
    hertz = random.uniform(500, 900) * (1 + 0.5 * times) * (1 + 0.05 * np.sin(2 * np.pi * 17 * times))
    phase = 2 * np.pi * np.cumsum(hertz) / RATE
    return _even((np.sin(phase) + 0.5 * np.sin(2 * phase)) * np.hanning(len(times)))


def _room(random: np.random.Generator, *, seconds: float = 0.5) -> Samples:
    """Return the response of a room to somebody at its other end: so much reverberation."""
    length = round(seconds * RATE)
    tail = random.standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
    tail[0] = 4.0
    return np.asarray(tail, np.float32)
