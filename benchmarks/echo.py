"""What the canceller takes off, in simulated rooms: `uv run python benchmarks/echo.py [--words] [--devices]`.

Thirty answers of the embedded voice come back to the microphone at -20 dBFS, with each room's response and a delay of
which the devices tell nothing. The real VAD and turn detection judge what is left, and what people say over it, 3 dB
softer than the echo. ERLE: echo return loss enhancement. CPU seconds include the simulation's. With `--words`: what
suppression of noise does to the word error rate of the embedded recogniser, in pink noise. With `--devices`, nothing
else: a real agent speaks thirty answers beside a loopback of PulseAudio, then a person talks over one more.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import anyio
import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.append(str(Path(__file__).parents[1]))

from tests.agent.overheard import ANSWERS as THIRTY
from tests.agent.overheard import cleaned, in_turn, interjections, spoken_answers, turn_starts
from tests.agent.rooms import CAPTURED, RATE, Room, loudness
from tests.recordings import recorded
from tests.scenarios.speech import read, wer
from tests.system.test_echo import answered, interrupt, talking, turns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vivavoce.ports import Samples

ROOMS = (
    Room("studio", decay_s=0.2, direct_db=6, delay_s=0.02, seed=1),
    Room("office", decay_s=0.4, direct_db=3, delay_s=0.08, seed=0),
    Room("kitchen", decay_s=0.4, direct_db=0, delay_s=0.15, seed=2),
    Room("living room", decay_s=0.6, direct_db=3, delay_s=0.05, seed=3),
    Room("living room, wireless speaker", decay_s=0.6, direct_db=0, delay_s=0.25, seed=4),
    Room("hall", decay_s=0.8, direct_db=6, delay_s=0.1, seed=5),
    Room("office, clocks 200 ppm apart", decay_s=0.4, direct_db=3, delay_s=0.08, drift=2e-4, seed=0),
    Room("office, loud", decay_s=0.4, direct_db=3, delay_s=0.08, level_db=-12, seed=0),
    Room("office, times that jitter by 3 ms", decay_s=0.4, direct_db=3, delay_s=0.08, jitter_s=0.003, seed=0),
)
SOFTER_DB = 3.0
ANSWERS = [*THIRTY, "It is a long way to the station, so let us take the bus at the corner and talk about it there."]
TALK_S = 20.0
NOISES: tuple[int | None, ...] = (None, 0, 1, 2)
SNRS = (None, 15.0, 5.0)


def erle_db(echo: Samples, left: Samples) -> float:
    """Return the median over seconds in which the echo is loud, the first ten left out: it is learnt then."""
    seconds = range(10 * RATE, min(len(echo), len(left)) - RATE, RATE)
    loud = [at for at in seconds if np.mean(echo[at : at + RATE] ** 2) > 1e-4]
    ratios = [np.mean(echo[at : at + RATE] ** 2) / (np.mean(left[at : at + RATE] ** 2) + 1e-10) for at in loud]
    return float(10 * np.log10(np.median(ratios)))


async def row(room: Room, answers: Sequence[Samples]) -> tuple[str, ...]:
    played = in_turn(answers)
    echo = room.echo(played)
    begun = time.process_time()
    left = await cleaned(room, played)
    spent = time.process_time() - begun
    people = interjections(answers, room.level_db - SOFTER_DB)
    delays = people.delays(turn_starts(await cleaned(room, played, people.sound)))
    return (
        room.name,
        f"{room.decay_s:.1f}",
        f"{1000 * room.delay_s:.0f}",
        f"{erle_db(echo, left):.0f}",
        str(len(turn_starts(echo))),
        str(len(turn_starts(left))),
        f"{len(delays)}/{len(people.onsets)}",
        f"{1000 * statistics.median(delays):.0f}",
        f"{1000 * statistics.quantiles(delays, n=10)[-1]:.0f}",
        f"{100 * spent * RATE / len(played):.1f}",
    )


def noisy(sound: Samples, snr_db: float | None, seed: int) -> Samples:
    """Return the sound with half a second of room before it, and pink noise."""
    sound = np.pad(sound, (RATE // 2, RATE // 4))
    if snr_db is None:
        return sound
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(len(sound)))
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.fft.rfftfreq(len(sound), 1 / RATE), 100)), len(sound))
    noise *= 10 ** ((loudness(sound) - snr_db) / 20) / np.std(noise)
    return np.asarray(sound + noise, np.float32)


async def suppressed(sound: Samples, noise: int | None) -> Samples:
    """Return what is yielded while the loudspeaker is silent."""
    return await cleaned(Room(level_db=-200.0), np.zeros(len(sound) + CAPTURED, np.float32), sound, noise=noise)


async def words(snr_db: float | None) -> tuple[str, ...]:
    people = recorded(RATE)
    sounds = [noisy(person.sound, snr_db, seed) for seed, person in enumerate(people)]
    said = [person.words for person in people]
    heard = [[await read(sound) for sound in sounds]]
    heard += [[await read(await suppressed(sound, noise)) for sound in sounds] for noise in NOISES]
    rates = [wer(said, each) for each in heard]
    return ("clean" if snr_db is None else f"{snr_db:.0f} dB", *(f"{100 * rate:.1f}" for rate in rates))


async def at_devices() -> None:
    """Count the turns that the agent's own voice begins, and print them."""
    table = Table(title=f"{len(ANSWERS) - 1} answers beside a loopback of PulseAudio, and one that is talked over")
    for heading in ("load", "turns on echo alone", "answers cut", "interrupted by a person"):
        table.add_column(heading, justify="right")
    with TemporaryDirectory() as folder:
        async with talking(Path(folder), ANSWERS) as (agent, seen, view):
            for number in range(1, len(ANSWERS)):
                agent.say("And then?")
                await answered(agent, view, number)
                print(number, turns(seen), file=sys.stderr)
            alone, cut = turns(seen), sum(show.cut for show in view.said("assistant"))
            agent.say("And then?")
            with anyio.move_on_after(TALK_S) as late:
                await interrupt(seen, view, len(view.said("assistant")) + 1)
    table.add_row(f"{os.getloadavg()[1]:.1f}", str(alone), str(cut), "no" if late.cancelled_caught else "yes")
    Console(width=140).print(table)


async def main(*, with_words: bool) -> None:
    console, answers = Console(width=140), await spoken_answers()
    table = Table(title="Thirty answers that the microphone hears")
    for heading in ("room", "RT60 s", "delay ms", "ERLE dB", "turns without", "with", "people heard"):
        table.add_column(heading, justify="right" if table.columns else "left")
    for heading in ("p50 ms", "p90 ms", "CPU %"):
        table.add_column(heading, justify="right")
    for room in ROOMS:
        table.add_row(*await row(room, answers))
    console.print(table)
    if with_words:
        table = Table(title="WER %, nine recordings")
        for heading in ("noise", "untouched", "no suppression", "6 dB", "12 dB", "18 dB"):
            table.add_column(heading, justify="right" if table.columns else "left")
        for snr_db in SNRS:
            table.add_row(*await words(snr_db))
        console.print(table)
    console.print(
        f"{platform.machine()}, Python {platform.python_version()}, pywebrtc-audio {version('pywebrtc-audio')}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--words", action="store_true", help="measure word error rates too")
    parser.add_argument("--devices", action="store_true", help="measure at devices instead")
    chosen = parser.parse_args()
    anyio.run(at_devices if chosen.devices else partial(main, with_words=chosen.words))
