"""An agent at the telephone: an object with a few methods is all that a device of yours needs.

python examples/telephone.py call.ulaw answer.ulaw     G.711 µ-law, 8 kHz, as a media gateway sends and takes it
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import anyio

import vivavoce
from vivavoce.speech.pcm import from_ulaw, to_ulaw

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from vivavoce.ports import Samples


class Telephone(vivavoce.PulledSpeaker):
    """A line: for each 20 ms that come, 20 ms go (ports `Microphone` and `Speaker`)."""

    def __init__(self, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        super().__init__(sample_rate=8_000)
        self._incoming, self._outgoing = incoming, outgoing

    async def frames(self) -> AsyncGenerator[Samples, None]:
        """Yield what the caller says, until they hang up."""
        due = anyio.current_time()
        while sound := self._incoming.read(160):
            due += 0.02
            await anyio.sleep_until(due)
            self._outgoing.write(to_ulaw(self.take(160)))
            yield from_ulaw(sound)


async def main(line: Telephone) -> None:
    """Answer one call."""
    async with vivavoce.converse(microphone=line, speaker=line, greeting="") as conversation:
        async for event in conversation:
            if isinstance(event, vivavoce.Said):
                print(f"{event.role}: {event.text}")


if __name__ == "__main__":
    with Path(sys.argv[1]).open("rb") as incoming, Path(sys.argv[2]).open("wb") as outgoing:
        anyio.run(main, Telephone(incoming, outgoing))
