"""One voice activity detector for all sessions: frames that come at about the same time are scored in one run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio
import numpy as np
from anyio import CancelScope, to_thread

if TYPE_CHECKING:
    from vivavoce.ports import Samples, Vad, VadState

GATHER_S: Final = 0.004
"""From one run to the next, where there is more than one stream."""
WIDE: Final = 32
"""Frames from which on a run is worth a thread, which costs as much by itself: half a millisecond of the network."""
WIDEST: Final = 64
"""Frames of one run."""


@dataclass(eq=False)
class _Asked:
    frame: Samples
    state: VadState
    score: float | None = None
    failure: Exception | None = None


class Detector:
    """Scores the frames of many streams.

    Whoever asks first gathers the frames of the others and runs the network for all of them. A stream that is alone
    waits for nobody.
    """

    def __init__(self, vad: Vad) -> None:
        self.sample_rate = vad.sample_rate
        self.frame = vad.frame
        self._vad = vad
        self._asked: list[_Asked] = []
        self._scored = anyio.Event()
        self._gathering = False
        self._crowded = False
        self._ran_at = 0.0
        self._thread = anyio.CapacityLimiter(1)

    def state(self) -> VadState:
        """Return the memory of a stream that has heard nothing."""
        return self._vad.state()

    async def score(self, frame: Samples, state: VadState, *, late: bool = False) -> tuple[float, VadState]:
        """Return how likely a frame holds speech, and what is remembered of the stream after it.

        Args:
            frame: shape (frame,), the next of its stream.
            state: the memory of the stream.
            late: more of the stream is here already; the frame waits for no other.
        """
        asked = _Asked(frame, state)
        self._asked.append(asked)
        while asked.score is None:
            if self._gathering:
                await self._scored.wait()
            else:
                await self._gather(late=late)
            if asked.failure is not None:
                raise asked.failure
        return asked.score, asked.state

    async def _gather(self, *, late: bool) -> None:
        """Let others ask too, and score what was asked, even if whoever gathers is cancelled."""
        self._gathering = True
        waits = self._ran_at + GATHER_S - anyio.current_time() if self._crowded and not late else 0.0
        try:
            await anyio.sleep(max(waits, 0.0))
        finally:
            with CancelScope(shield=True):
                await self._run()

    async def _run(self) -> None:
        asked, self._asked = self._asked[:WIDEST], self._asked[WIDEST:]
        self._crowded, self._ran_at = len(asked) > 1, anyio.current_time()
        if len(asked) < WIDE:
            self._score(asked)
        else:
            await to_thread.run_sync(self._score, asked, limiter=self._thread)
        self._gathering = False
        self._scored.set()
        self._scored = anyio.Event()

    def _score(self, asked: list[_Asked]) -> None:
        try:
            scores, states = self._vad.score(np.stack([one.frame for one in asked]), [one.state for one in asked])
        except Exception as wrong:  # noqa: BLE001 - whoever asked is told
            for one in asked:
                one.failure = wrong
            return
        for one, score, state in zip(asked, scores.tolist(), states, strict=True):
            one.score, one.state = score, state
