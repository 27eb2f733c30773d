"""A transcript that is shown while it grows."""

from __future__ import annotations


class Draft:
    """What a recogniser's passing results agree on, word by word; what was shown is never taken back.

    Source: Macháček, Dabre and Bojar, "Turning Whisper into a Real-Time Transcription System" (2023), local agreement
    of two.
    """

    def __init__(self) -> None:
        self._latest = ""
        self._agreed = ""
        self.shown = ""
        """What the client has seen."""

    def hear(self, text: str) -> None:
        """Take a passing result."""
        agreed = _common(self._latest, text)
        self._latest = text
        if agreed.startswith(self.shown):
            self._agreed = agreed

    def show(self) -> str:
        """Return what has been agreed on and not been shown."""
        new, self.shown = self._agreed[len(self.shown) :], self._agreed
        return new

    def end(self, text: str) -> str:
        """Return the whole transcript, which begins with what was shown.

        Args:
            text: the final result; where it contradicts what was shown, it counts from the word after that.
        """
        if text.startswith(self.shown):
            return text
        rest = text.split()[len(self.shown.split()) :]
        return self.shown + " ".join(rest)


def _common(one: str, other: str) -> str:
    """Return the whole words with which both begin, and the space after them."""
    end = 0
    for index, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            break
        if left.isspace():
            end = index + 1
    return one[:end]
