"""The person of a talk: what they say is a microphone, what they hear a speaker, and between both time passes."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from anyio import create_memory_object_stream

from vivavoce.agent.pulled import PulledSpeaker
from vivavoce.ports import Samples

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from vivavoce.testing.pace import Pace

RATE = 24_000
"""Hz, of what the person says and hears."""
QUIET = 0.003
"""Amplitude below which nobody speaks, -50 dBFS."""
FRAME_S = 0.02
FRAME = round(RATE * FRAME_S)


class Stretch(NamedTuple):
    """A piece of an answer as it was heard."""

    at: float
    """When its first sample was heard, seconds from the beginning of the talk."""
    item_id: str
    sound: Samples


class Person(PulledSpeaker):
    """Speaks and listens frame by frame (ports `Microphone` and `Speaker`); time is the sound that has passed."""

    def __init__(self, pace: Pace) -> None:
        """Get ready; the pace is told when the agent wants a frame, or has given a piece of sound."""
        super().__init__(RATE)
        self._lived = 0
        """Frames."""
        self.spoke_until = 0.0
        """When the last sound of the person ended."""
        self.stretches: list[Stretch] = []
        """What was heard."""
        self._pace = pace
        self._to_say: deque[Samples] = deque()
        self._frames_in, self._frames = create_memory_object_stream[Samples](0)

    @property
    def now(self) -> float:
        """Return the seconds of sound since the talk began."""
        return self._lived * FRAME / RATE

    def say(self, sound: Samples) -> None:
        """Begin to say this."""
        loud = np.flatnonzero(np.abs(sound) > QUIET)
        self.spoke_until = self.now + (int(loud[-1]) + 1 if loud.size else 0) / RATE
        self._to_say.extend(np.pad(sound, (0, -len(sound) % FRAME)).reshape(-1, FRAME))

    @property
    def speaking(self) -> bool:
        """Tell whether there is more to say."""
        return bool(self._to_say)

    @property
    def attended(self) -> bool:
        """Tell whether the agent has taken every frame and waits for the next."""
        return self._frames.statistics().tasks_waiting_receive > 0

    async def live(self) -> None:
        """Let the time of one frame pass: hear it, and let the agent hear it."""
        self._lived += 1
        self._listen()
        silence = np.zeros(FRAME, np.float32)
        await self._frames_in.send(self._to_say.popleft() if self._to_say else silence)

    def leave(self) -> None:
        """Say nothing more, ever."""
        self._frames_in.close()
        self._frames.close()

    # Microphone ------------------------------------------------------------------------------------------------------

    async def frames(self) -> AsyncGenerator[Samples, None]:
        """Yield what the person says."""
        while True:
            self._pace.changed()
            yield await self._frames.receive()

    # Speaker ---------------------------------------------------------------------------------------------------------

    async def play(self, item_id: str, samples: Samples) -> None:
        """Take sound of an answer."""
        await super().play(item_id, samples)
        self._pace.given()

    def _listen(self) -> None:
        """Hear what the time of one frame holds."""
        at = self.now - FRAME_S
        for item_id, sound in self.pieces(FRAME):
            self.stretches.append(Stretch(at, item_id, sound))
            at += len(sound) / RATE
