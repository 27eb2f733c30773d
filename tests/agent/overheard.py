"""Thirty answers, people who talk over them, and the server's own ears to judge what the microphone then hears."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tests.agent.rooms import RATE, Ends, Room, loudness
from tests.recordings import recorded

from vivavoce.agent.echo import EchoFreeMicrophone
from vivavoce.backends.hibari import Hibari
from vivavoce.backends.silero import Silero
from vivavoce.speech.pcm import resample
from vivavoce.speech.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vivavoce.ports import Samples

ANSWERS = """\
The capital of France is Paris, on the river Seine.
Your train leaves from the second platform in a few minutes.
It will rain in the afternoon, so take an umbrella with you.
The library is closed on Monday and on Friday, but open on Sunday.
Please turn left after the bridge and walk along the river for a while.
The meeting was moved to Tuesday morning because of the holiday.
I can look that up for you, but it may take a moment.
New employees have twenty days of leave in their first year.
The weather in Rome is sunny, with a light wind from the west.
Let me know when you have finished, and I will send you the next one.
A kilogram is about two point two pounds.
The museum opens at nine and closes at six in the evening.
Shakespeare wrote Hamlet around the year sixteen hundred.
Water boils at a hundred degrees, or a little less in the mountains.
I have set a timer for ten minutes and will tell you when it rings.
There are three messages for you, two of them from your sister.
The fastest way is by metro: take line four and change at the station.
You could try the bakery around the corner; their bread is excellent.
The film begins at a quarter past eight and lasts two hours.
Honey bees visit about two million flowers for one jar of honey.
Yes, that is right, and your order will arrive on Wednesday.
No, the shop is closed today, but you can call them tomorrow.
The moon is about four hundred thousand kilometres away.
I am sorry, I did not catch that; could you say it again?
Your appointment is on the third of May at half past two.
A good night's sleep takes seven to nine hours for most people.
The recipe needs two eggs, a cup of flour and a spoon of sugar.
The Danube flows through ten countries, more than any other river.
Hold the button for five seconds until the light begins to blink.
That will be twelve dollars and fifty cents, including the tax.
""".splitlines()
BREATH_S = 2.5
"""Between two answers."""
INTERJECTION_S = 2.0
"""Of a recording, spoken over an answer."""
NOTICED_S = 1.5
"""After its onset an interruption counts as missed."""


async def spoken_answers(count: int = len(ANSWERS)) -> list[Samples]:
    """Have the embedded voice say them."""
    voice = Hibari()
    return [np.concatenate([chunk async for chunk in voice.speak(text)]) for text in ANSWERS[:count]]


def in_turn(answers: Sequence[Samples]) -> Samples:
    """Return the answers one after the other, with time to breathe."""
    silence = np.zeros(round(BREATH_S * RATE), np.float32)
    return np.concatenate([part for answer in answers for part in (answer, silence)])


@dataclass(frozen=True)
class Interjections:
    """People who talk over the answers, one over each."""

    sound: Samples
    onsets: list[float]
    """Seconds."""

    def delays(self, starts: Sequence[float]) -> list[float]:
        """Return how late each was noticed, seconds; those that were not are missing."""
        late = [[start - onset for start in starts if -0.1 < start - onset < NOTICED_S] for onset in self.onsets]
        return [min(found) for found in late if found]


def interjections(answers: Sequence[Samples], level_db: float) -> Interjections:
    """Have the recorded people begin half a second to a second into each answer, at this level."""
    people, random = recorded(RATE), np.random.default_rng(5)
    sound, onsets, at = np.zeros(len(in_turn(answers)) + RATE, np.float32), list[float](), 0
    for number, answer in enumerate(answers):
        person = people[number % len(people)]
        begins = round(person.starts * RATE)
        words = person.sound[begins : begins + round(INTERJECTION_S * RATE)]
        onset = at + round(random.uniform(0.5, 1.0) * RATE)
        sound[onset : onset + len(words)] += words * 10 ** ((level_db - loudness(words)) / 20)
        onsets.append(onset / RATE)
        at += len(answer) + round(BREATH_S * RATE)
    return Interjections(sound, onsets)


async def cleaned(room: Room, played: Samples, voice: Samples | None = None, *, noise: int | None = 0) -> Samples:
    """Return what the canceller leaves of the room's echo, and of a voice in it."""
    captured = room.echo(played)
    if voice is not None:
        both = min(len(captured), len(voice))
        captured[:both] += voice[:both]
    ends = Ends(played, captured, room)
    microphone = EchoFreeMicrophone(ends.microphone, ends.speaker, noise=noise)
    return np.concatenate([frame async for frame in microphone.frames()])


def turn_starts(sound: Samples) -> list[float]:
    """Return when the server would take it that somebody began to speak, seconds."""
    vad = Silero()
    heard, state, turns = resample(sound, RATE, vad.sample_rate), vad.state(), Turns(1000 * vad.frame / vad.sample_rate)
    starts = []
    for end in range(vad.frame, len(heard) + 1, vad.frame):
        scores, (state,) = vad.score(heard[None, end - vad.frame : end], [state])
        starts += [end / vad.sample_rate for edge in turns.feed(float(scores[0])) if edge.kind == "started"]
    return starts
