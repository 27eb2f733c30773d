"""What the person hears: sound on its way to the loudspeaker, how much of it has left, and the last answer again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import CancelScope

from vivavoce.aio import Spool
from vivavoce.ports import Finishing, Pausable
from vivavoce.realtime.client import Played
from vivavoce.speech.pcm import from_pcm16

if TYPE_CHECKING:
    from vivavoce.ports import Speaker
    from vivavoce.realtime.client import Play

REPLAY = "replay"
"""The item as which the last answer is repeated; no server knows it."""
KEPT_BYTES = 16_000_000
"""Of an answer that may be repeated, some five minutes; of a longer one only its beginning is."""


class Mouth:
    """Plays what it is given, in order; without a speaker everything has been heard at once."""

    def __init__(self, speaker: Speaker | None) -> None:
        self.replaying = False
        self._speaker = speaker
        self._playing = CancelScope()
        self._queued = 0
        """Pieces of this epoch that the speaker has not taken."""
        self._epoch = 0
        """How often we were hushed: what was queued before is not played."""
        self._last = ("", bytearray())
        self._to_play: Spool[tuple[int, str, bytes]] = Spool()

    @property
    def idle(self) -> bool:
        """Tell whether everything that was given has been heard."""
        return not self._queued and (self._speaker is None or self._speaker.idle())

    async def run(self) -> None:
        """Hand the sound to the speaker until cancelled.

        Raises:
            DeviceError: the speaker has gone.
        """
        async for epoch, item_id, audio in self._to_play:
            if epoch == self._epoch:
                with CancelScope() as self._playing:
                    await self._hand_over(item_id, audio)
            self._queued -= epoch == self._epoch

    def play(self, piece: Play) -> None:
        """Queue sound of an answer; it ends a repetition."""
        if self.replaying:
            self.hush()
        if piece.item_id != self._last[0]:
            self._last = (piece.item_id, bytearray())
        if len(self._last[1]) < KEPT_BYTES:
            self._last[1].extend(piece.audio)
        self._queue(piece.item_id, piece.audio)

    def finish(self, item_id: str | None = None) -> None:
        """Note that all sound of an answer, or of the last one, has come: nothing is held back for more."""
        last = self._last[0]
        if last and item_id in {None, last}:
            self._queue(last, b"")

    def replay(self) -> bool:
        """Play the last answer again from its beginning, or tell that there is none."""
        item_id, audio = self._last
        if item_id:
            self.hush()
            self.replaying = True
            self._queue(REPLAY, bytes(audio))
            self._queue(REPLAY, b"")
        return bool(item_id)

    def hush(self) -> None:
        """Fall silent now and forget what is queued."""
        self.replaying = False
        self._epoch += 1
        self._queued = 0
        self._playing.cancel()
        if self._speaker is not None:
            self._speaker.hush()

    def pause(self) -> None:
        """Fall silent and stay there, where the speaker can, until `resume` or `hush`."""
        if isinstance(self._speaker, Pausable) and not self.replaying:
            self._speaker.pause()

    def resume(self) -> None:
        """Go on."""
        if isinstance(self._speaker, Pausable):
            self._speaker.resume()

    def heard(self, playing_item: str | None) -> Played | None:
        """Return how much of the answer has been heard, or None while nothing has.

        Args:
            playing_item: the answer that is under way, for a conversation without a speaker.
        """
        read = (playing_item, 0) if playing_item else None
        heard = read if self._speaker is None else self._speaker.heard()
        if self.replaying and self.idle:
            self.replaying = False
        return None if heard is None else Played(*heard, all_played=self.idle)

    def close(self) -> None:
        """Take nothing more."""
        self._to_play.end()

    async def _hand_over(self, item_id: str, audio: bytes) -> None:
        if audio and self._speaker is not None:
            await self._speaker.play(item_id, from_pcm16(audio))
        elif isinstance(self._speaker, Finishing):
            self._speaker.finish(item_id)

    def _queue(self, item_id: str, audio: bytes) -> None:
        self._queued += 1
        self._to_play.put((self._epoch, item_id, audio))
