"""The user's sound that is not an item yet, on the session's time line."""

from __future__ import annotations


class InputBuffer:
    """Bytes in the session's format, addressed in milliseconds since the session's first sample."""

    def __init__(self, bytes_per_second: int) -> None:
        self._rate = bytes_per_second
        self._sound = bytearray()
        self._dropped_ms = 0.0

    @property
    def start_ms(self) -> float:
        """Return the time of the first sample kept."""
        return self._dropped_ms

    @property
    def end_ms(self) -> float:
        """Return the time after the last sample."""
        return self._dropped_ms + self.length_ms

    @property
    def length_ms(self) -> float:
        """Return how much is kept."""
        return len(self._sound) * 1000 / self._rate

    def append(self, audio: bytes) -> None:
        """Add sound at the end."""
        self._sound += audio

    def take(self, start_ms: float, end_ms: float | None = None) -> bytes:
        """Return the sound between two moments, or from one on, and keep only what came later."""
        end_ms = self.end_ms if end_ms is None else end_ms
        audio = bytes(self._sound[self._offset(start_ms) : self._offset(end_ms)])
        self.drop_before(end_ms)
        return audio

    def drop_before(self, ms: float) -> None:
        """Forget the sound before a moment."""
        offset = self._offset(ms)
        del self._sound[:offset]
        self._dropped_ms += offset * 1000 / self._rate

    def change_rate(self, bytes_per_second: int) -> None:
        """Go on in another format; what is kept of the old one is forgotten."""
        self.drop_before(self.end_ms)
        self._rate = bytes_per_second

    def _offset(self, ms: float) -> int:
        if ms >= self.end_ms:
            return len(self._sound)
        samples = round(max(ms - self._dropped_ms, 0.0) * self._rate / 2000)
        return min(samples * 2, len(self._sound))
