"""The transcript of one utterance in the making: while it is spoken, and afresh as a whole if that comes to nothing."""

from __future__ import annotations

from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import anyio
from anyio import CancelScope

from vivavoce.ports import BackendError
from vivavoce.server import guard
from vivavoce.server.ears import decode
from vivavoce.server.venture import Venture
from vivavoce.speech.pcm import resample

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable

    from vivavoce.ports import Samples
    from vivavoce.realtime.facts import Transcribe

Hear: TypeAlias = "Callable[[AsyncIterable[Samples], Callable[[], bool]], Awaitable[None]]"
"""Passes on what a recogniser makes of the sound; asks before the final result whether it counts."""


class Recognition:
    """One utterance before the recogniser."""

    def __init__(self, rate: int, audio: AsyncGenerator[Samples, None] | None = None) -> None:
        """Get ready.

        Args:
            rate: Hz, of the sound that the recogniser takes.
            audio: the utterance while it is spoken; None if it is whole already.
        """
        self._rate = rate
        self._audio = audio
        self._whole: Transcribe | None = None
        self._scope = CancelScope()
        self._venture = Venture()

    def want(self, command: Transcribe) -> None:
        """Note that the utterance is whole and its transcript is waited for."""
        self._whole = command
        seconds = len(command.audio) / command.format.bytes_per_second
        self._scope.deadline = anyio.current_time() + guard.HEARING_S + seconds
        self._venture.want()

    def stop(self) -> None:
        """Recognise no further."""
        self._scope.cancel()

    async def run(self, hear: Hear) -> BackendError | None:
        """Recognise until the end or until stopped, and return what went wrong."""
        with self._scope:
            try:
                if self._audio is None:
                    await self._hear(hear, self._sound(), lambda: True)
                else:
                    along = partial(self._hear, hear, self._audio)
                    await self._venture.run(along, lambda leads: self._hear(hear, self._sound(), leads))
            except BackendError as failed:
                return failed
        late = self._scope.cancelled_caught and self._scope.deadline <= anyio.current_time()
        return guard.late() if late else None

    async def _hear(self, hear: Hear, audio: AsyncGenerator[Samples, None], leads: Callable[[], bool]) -> None:
        async with aclosing(audio):
            await hear(audio, leads)

    async def _sound(self) -> AsyncGenerator[Samples, None]:
        if self._whole is not None:
            sound = self._whole.format
            yield resample(decode(self._whole.audio, sound), sound.rate, self._rate)
