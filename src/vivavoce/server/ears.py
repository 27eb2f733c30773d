"""The ears of one session: its sound in, where turns begin and end out, and each utterance as a stream."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from vivavoce.aio import Spool
from vivavoce.realtime.values import AudioFormat, MeaningVad, Pcm, Pcma, Pcmu, SilenceVad, TurnEnd
from vivavoce.speech import pcm
from vivavoce.speech.patience import Patience
from vivavoce.speech.turns import Edge, Turns

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from vivavoce.ports import Samples
    from vivavoce.server.detector import Detector

HISTORY_MS = 8000
"""Sound kept for an utterance whose start is noticed late, with the longest padding."""
EAGERNESS = {
    "low": Patience(600.0, 900.0, 1500.0),
    "medium": Patience(350.0, 600.0, 1500.0),
    "auto": Patience(350.0, 600.0, 1500.0),
    "high": Patience(300.0, 400.0, 1200.0),
}
"""Silence that ends a turn in `semantic_vad`."""
ADAPTIVE_MS = 1500.0
"""The longest silence in `server_vad` that is asked to adapt."""
LEVEL_MEMORY, LOUDER_MEMORY = 0.85, 0.5
"""Weight of what is known of the level of a person's turns against one more of them: it is soon taken for somebody
nearer, not so soon for somebody farther away.
"""
JUDGED_MS = 8000
"""Sound by which the end of a turn is judged."""


def decode(audio: bytes, sound: AudioFormat) -> Samples:
    """Return the samples of the session's sound."""
    match sound:
        case Pcm():
            return pcm.from_pcm16(audio)
        case Pcmu():
            return pcm.from_ulaw(audio)
        case Pcma():
            return pcm.from_alaw(audio)


def encode(samples: Samples, sound: AudioFormat) -> bytes:
    """Return samples as the session's sound."""
    match sound:
        case Pcm():
            return pcm.to_pcm16(samples)
        case Pcmu():
            return pcm.to_ulaw(samples)
        case Pcma():
            return pcm.to_alaw(samples)


class Utterance:
    """What is being said, for a recogniser: sound while it lasts, an empty chunk at a pause, the end at the end.

    The silence after a pause is held back until the speaker goes on, so that what was recognised at the pause stays
    true.
    """

    def __init__(self, rate_in: int, rate_out: int) -> None:
        self._chunks: Spool[Samples] = Spool()
        self._resampler = pcm.Resampler(rate_in, rate_out)
        self._held: list[Samples] | None = None

    def feed(self, samples: Samples) -> None:
        """Go on with this sound."""
        if self._held is not None:
            self._held.append(samples)
        elif len(out := self._resampler.feed(samples)):
            self._chunks.put(out)

    def pause(self) -> None:
        """The speaker paused."""
        self._held = []
        self._chunks.put(np.zeros(0, np.float32))

    def ask(self) -> None:
        """Ask what is understood so far: an engine takes it for a pause."""
        self._chunks.put(np.zeros(0, np.float32))

    def resume(self) -> None:
        """The speaker went on."""
        held, self._held = self._held or [], None
        for samples in held:
            self.feed(samples)

    @property
    def paused(self) -> bool:
        """Tell whether the speaker has paused."""
        return self._held is not None

    def end(self) -> None:
        """The utterance is whole."""
        self._chunks.end()

    def chunks(self) -> AsyncGenerator[Samples, None]:
        """Yield the sound as it comes, once."""
        return self._chunks.__aiter__()


class Ears:
    """Listens to one session."""

    def __init__(self, vad: Detector, sound: AudioFormat) -> None:
        self._vad = vad
        self._sound = sound
        self._resampler = pcm.prompt_resampler(sound.rate, vad.sample_rate)
        self._raw = bytearray()
        # Samples that are in no frame yet: not unpacked, or still in the resampler, which is worth no call a message.
        self._within = 0.0
        self._state = vad.state()
        self._turns = Turns(vad.frame * 1000 / vad.sample_rate)
        self._framer = pcm.Framer(vad.frame)
        self._history: deque[Samples] = deque()
        self._heard = 0
        self._began_ms = 0.0
        self._patience: Patience | None = None
        self._pause = 0
        self._sounded: float | None = None
        self._worded = 0.0
        self._powers: list[float] = []
        self._usual_db: float | None = None

    @property
    def speaking(self) -> bool:
        """Tell whether a turn is open."""
        return self._turns.speaking

    @property
    def spoken_ms(self) -> float:
        """Return how long the open turn is, without the silence after it."""
        return self._heard * 1000 / self._vad.sample_rate - self._began_ms - self.silent_ms

    @property
    def silent_ms(self) -> float:
        """Return how long the speaker of the open turn has been silent by now."""
        return self._turns.quiet_ms

    @property
    def faint_db(self) -> float:
        """Return by how much the open turn is weaker than turns usually are, 0 where that is not known."""
        return self._usual_db - self._level_db() if self._usual_db is not None and self._powers else 0.0

    @property
    def pause(self) -> int | None:
        """Return which pause it is that the end of may be judged, or None where silence alone decides."""
        return self._pause if self._patience is not None and self._turns.paused else None

    def settle(self, sound: AudioFormat, detection: TurnEnd | None, *, adaptive: bool = False) -> None:
        """Follow the session's settings; an open turn goes on."""
        if sound != self._sound:
            self._listen_in(sound)
        match detection:
            case SilenceVad():
                silence_ms = float(detection.silence_duration_ms)
                self._turns.threshold = detection.threshold
                longest = max(silence_ms, min(3 * silence_ms, ADAPTIVE_MS))
                self._patience = Patience(silence_ms / 2, silence_ms, longest) if adaptive else None
                self._turns.silence_ms = silence_ms
            case MeaningVad():
                self._turns.threshold = SilenceVad().threshold
                self._patience = EAGERNESS[detection.eagerness]
                self._turns.silence_ms = self._patience.usual
            case None:
                self._patience = None

    def weigh(self, pause: int | None, *, sound: float | None = None, words: float | None = None) -> None:
        """Take what is known of how finished the speaker is, and wait accordingly; too late, it is ignored.

        Args:
            pause: the one that it was judged for.
            sound: the probability by the sound.
            words: the log odds by the words.
        """
        if self._patience is None or pause is None or pause != self.pause:
            return
        self._sounded = self._sounded if sound is None else sound
        self._worded = self._worded if words is None else words
        self._turns.wait(self._patience.wait(self._sounded, self._worded))

    def remember_level(self) -> None:
        """Take the turn that is open, or was last, for one of the person's: so loud they usually are."""
        if not self._powers:
            return
        level, usual = self._level_db(), self._usual_db
        weight = 0.0 if usual is None else LOUDER_MEMORY if level > usual else LEVEL_MEMORY
        self._usual_db = weight * (usual or 0.0) + (1 - weight) * level

    def reset(self) -> None:
        """Forget the open turn."""
        self._turns.reset()

    def skip(self, audio: bytes) -> None:
        """Let sound go by that nobody listens to; the time line goes on."""
        seconds = len(audio) / self._sound.bytes_per_second
        self._turns.skip(seconds * 1000)
        self._heard += round(seconds * self._vad.sample_rate)
        self._history.clear()

    def frames(self, audio: bytes) -> Iterator[Samples]:
        """Take the session's next sound and yield the frames that are whole now."""
        self._raw += audio
        self._within += len(audio) / self._sound.bytes_per_second * self._vad.sample_rate
        if self._within + self._framer.waiting >= self._vad.frame:
            sound = self._unpacked()
            self._within -= len(sound)
            yield from self._framer.feed(sound)

    async def hear(self, frame: Samples, *, late: bool = False) -> list[Edge]:
        """Listen to the next frame and return what changed in it.

        Args:
            frame: one of `frames`.
            late: it was here together with the frame before.
        """
        probability, self._state = await self._vad.score(frame, self._state, late=late)
        self._remember(frame)
        edges = list(self._turns.feed(probability))
        for edge in edges:
            self._note(edge)
        if self._turns.speaking and not self._turns.quiet_ms:
            self._powers.append(float(np.dot(frame, frame)) / len(frame))
        return edges

    def utterance(self, start_ms: float, rate: int) -> Utterance:
        """Open the stream of an utterance that began at this moment."""
        utterance = Utterance(self._vad.sample_rate, rate)
        utterance.feed(self._since(start_ms))
        return utterance

    def turn(self, rate: int, *, before_ms: float = 0.0) -> Samples:
        """Return the last seconds of the open turn, up to now, and what came so long before it."""
        now_ms = self._heard * 1000 / self._vad.sample_rate
        return pcm.resample(
            self._since(max(self._began_ms - before_ms, now_ms - JUDGED_MS)), self._vad.sample_rate, rate
        )

    def _level_db(self) -> float:
        return 10 * math.log10(sum(self._powers) / len(self._powers) + 1e-12)

    def _since(self, ms: float) -> Samples:
        sound = np.concatenate(self._history) if self._history else np.zeros(0, np.float32)
        began = self._heard - len(sound)
        return sound[max(round(ms * self._vad.sample_rate / 1000) - began, 0) :]

    def _note(self, edge: Edge) -> None:
        match edge.kind:
            case "started":
                self._began_ms = edge.ms
                self._powers.clear()
            case "paused":
                self._pause += 1
                self._sounded, self._worded = None, 0.0
            case "resumed" | "stopped":
                pass

    def _unpacked(self) -> Samples:
        """Return the sound that has come since the last frame, at the rate of the frames."""
        audio, self._raw = bytes(self._raw), bytearray()
        return self._resampler.feed(decode(audio, self._sound))

    def _listen_in(self, sound: AudioFormat) -> None:
        self._raw.clear()
        self._within = 0.0
        self._sound = sound
        self._resampler = pcm.prompt_resampler(sound.rate, self._vad.sample_rate)

    def _remember(self, frame: Samples) -> None:
        self._history.append(frame)
        self._heard += len(frame)
        while len(self._history) * self._vad.frame * 1000 > HISTORY_MS * self._vad.sample_rate:
            self._history.popleft()
