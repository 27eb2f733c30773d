"""What the server hears of the person: the microphone's frames, unless it is muted or push-to-talk is not pressed."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from vivavoce.speech.pcm import level_db, to_pcm16

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from vivavoce.ports import Microphone


class Ears:
    """Listens to a microphone and passes on what the server may hear."""

    def __init__(
        self, microphone: Microphone, level: Callable[[float], None], in_turn: Callable[[], bool] = lambda: False
    ) -> None:
        """Get ready.

        Args:
            microphone: what to listen to.
            level: told how loud each frame is, dB below full scale, whether it is passed on or not.
            in_turn: tells whether the server waits for the end of a turn, which it can only hear.
        """
        self.muted = False
        self.push_to_talk = False
        self.held = False
        """Whether push-to-talk is pressed."""
        self._microphone = microphone
        self._level = level
        self._in_turn = in_turn

    @property
    def open(self) -> bool:
        """Tell whether the server hears what the microphone does."""
        return self.held if self.push_to_talk else not self.muted

    async def frames(self) -> AsyncGenerator[bytes | None, None]:
        """Yield PCM16 for each frame of 20 ms, None for one that the server may not hear.

        Raises:
            DeviceError: the microphone has gone.
        """
        async with aclosing(self._microphone.frames()) as frames:
            async for frame in frames:
                self._level(level_db(frame))
                sound = to_pcm16(frame)
                if self.open:
                    yield sound
                else:
                    yield bytes(len(sound)) if self._in_turn() else None
