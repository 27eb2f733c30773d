"""The person's sound that the server may not have taken in: what is said again when the connection has been lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vivavoce.realtime.buffer import InputBuffer

if TYPE_CHECKING:
    from collections.abc import Iterator

QUIET_MS: Final = 15_000
"""Kept while nobody is known to speak: as long as a dead connection may go unnoticed, and a little more."""
SPEECH_MS: Final = 60_000
"""Kept of a turn, and while there is no connection."""
PREFIX_MS: Final = 500
"""Kept before the start of a turn, so that it is found again."""
PIECE_MS: Final = 1000
"""Of sound that is sent again."""


class Backlog:
    """Sound in the session's format, in milliseconds since the session's first sample."""

    def __init__(self, bytes_per_ms: float) -> None:
        self._rate = round(bytes_per_ms * 1000)
        self._sound = InputBuffer(self._rate)
        self._limit_ms = QUIET_MS
        self._commit_ms: float | None = None

    @property
    def committing(self) -> bool:
        """Tell whether a turn was committed that the server has not confirmed."""
        return self._commit_ms is not None

    def add(self, audio: bytes) -> None:
        """Take what the microphone heard."""
        self._sound.append(audio)
        self._sound.drop_before(self._sound.end_ms - self._limit_ms)

    def begin(self, start_ms: float | None = None) -> None:
        """Note that a turn has begun, there or now; a start that cannot be is not believed."""
        self._limit_ms = SPEECH_MS
        if start_ms is not None and start_ms <= self._sound.end_ms:
            self._sound.drop_before(start_ms - PREFIX_MS)

    def commit(self) -> None:
        """Note that what there is now is to be a turn."""
        self._commit_ms = self._sound.end_ms

    def end(self, end_ms: float | None = None) -> bytes:
        """Return the sound of the turn that the server has taken, up to there or to what was committed."""
        end_ms = self._commit_ms if end_ms is None else end_ms
        self._limit_ms, self._commit_ms = QUIET_MS, None
        believed = end_ms is not None and self._sound.start_ms < end_ms <= self._sound.end_ms
        return self._sound.take(self._sound.start_ms, end_ms if believed else None)

    def clear(self) -> None:
        """Forget it: it is not to be a turn."""
        self.end()

    def lose(self) -> None:
        """Note that nobody hears what comes now."""
        self._limit_ms = SPEECH_MS

    def again(self) -> Iterator[bytes]:
        """Yield what is kept, to be said to another session; times count from its first sample."""
        sound, committing = self._sound.take(self._sound.start_ms), self.committing
        self._sound, self._commit_ms = InputBuffer(self._rate), None
        size = PIECE_MS * self._rate // 2000 * 2
        for start in range(0, len(sound), size):
            self.add(sound[start : start + size])
            yield sound[start : start + size]
        if committing:
            self.commit()
