"""What the person says, as servers tell it: in pieces, in wholes that grow, several times over, early or late."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

REMEMBERED = 16
"""Turns whose transcript may still come."""


class Told(NamedTuple):
    """What the person said in one turn, so far or for good."""

    item_id: str
    text: str
    final: bool


@dataclass
class _Turn:
    text: str = ""
    whole: bool = False
    """The server has told all of it, though it may do so again with more."""
    taken: bool = False
    """It is answered, or in the conversation: nothing more is added to it."""
    final: str | None = None
    """The words that were told for good."""


class Hearing:
    """The transcripts of the turns of one conversation."""

    def __init__(self) -> None:
        self._turns: dict[str, _Turn] = {}

    def begun(self, item_id: str) -> Iterator[Told]:
        """Take that the person speaks: the turns before are over."""
        yield from self.answered()
        self._turns.pop(item_id, None)

    def piece(self, item_id: str, more: str) -> Iterator[Told]:
        """Take the next words of a turn."""
        turn = self._turn(item_id)
        if not turn.whole:
            turn.text += more
            yield Told(item_id, turn.text, final=False)

    def whole(self, item_id: str, text: str) -> Iterator[Told]:
        """Take all the words of a turn, which some services tell again when there are more."""
        turn = self._turn(item_id)
        turn.text, turn.whole = text, True
        if turn.taken:
            yield from self._settled(item_id, turn)
        else:
            yield Told(item_id, text, final=False)

    def taken(self, item_id: str) -> Iterator[Told]:
        """Take that a turn is in the conversation."""
        turn = self._turn(item_id)
        turn.taken = True
        yield from self._settled(item_id, turn)

    def answered(self) -> Iterator[Told]:
        """Take that there will be an answer to all that was said."""
        for item_id, turn in list(self._turns.items()):
            turn.taken = True
            yield from self._settled(item_id, turn)

    def _turn(self, item_id: str) -> _Turn:
        while len(self._turns) >= REMEMBERED and item_id not in self._turns:
            del self._turns[next(iter(self._turns))]
        return self._turns.setdefault(item_id, _Turn())

    def _settled(self, item_id: str, turn: _Turn) -> Iterator[Told]:
        if turn.whole and turn.text != turn.final:
            turn.final = turn.text
            yield Told(item_id, turn.text, final=True)
