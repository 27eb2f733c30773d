"""The ears of one session: its sound in, where turns begin and end out, and each utterance as a stream."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from vivavoce.aio import Spool
from vivavoce.realtime.values import AudioFormat, MeaningVad, Pcm, Pcma, Pcmu, SilenceVad, TurnEnd
from vivavoce.speech import pcm
from vivavoce.speech.turns import Edge, Turns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from vivavoce.ports import Samples, Vad

HISTORY_MS = 8000
"""Sound kept for an utterance whose start is noticed late, with the longest padding."""
SEMANTIC_SILENCE_MS = {"low": 900.0, "medium": 600.0, "auto": 600.0, "high": 400.0}
"""Silence that ends a turn in `semantic_vad`."""


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

    def chunks(self) -> AsyncIterator[Samples]:
        """Yield the sound as it comes, once."""
        return aiter(self._chunks)


class Ears:
    """Listens to one session."""

    def __init__(self, vad: Vad, sound: AudioFormat) -> None:
        self._vad = vad
        self._state = vad.state()
        self._turns = Turns(vad.frame * 1000 / vad.sample_rate)
        self._framer = pcm.Framer(vad.frame)
        self._history: deque[Samples] = deque()
        self._heard = 0
        self._listen_in(sound)

    @property
    def speaking(self) -> bool:
        """Tell whether a turn is open."""
        return self._turns.speaking

    def settle(self, sound: AudioFormat, detection: TurnEnd | None) -> None:
        """Follow the session's settings; an open turn goes on."""
        if sound != self._sound:
            self._listen_in(sound)
        match detection:
            case SilenceVad():
                self._turns.threshold = detection.threshold
                self._turns.silence_ms = float(detection.silence_duration_ms)
            case MeaningVad():
                self._turns.threshold = SilenceVad().threshold
                self._turns.silence_ms = min(SEMANTIC_SILENCE_MS[detection.eagerness], detection.max_wait_ms)
            case None:
                pass

    def reset(self) -> None:
        """Forget the open turn."""
        self._turns.reset()

    def skip(self, audio: bytes) -> None:
        """Let sound go by that nobody listens to; the time line goes on."""
        seconds = len(audio) / self._sound.bytes_per_second
        self._turns.skip(seconds * 1000)
        self._heard += round(seconds * self._vad.sample_rate)
        self._history.clear()

    def feed(self, audio: bytes) -> Iterator[tuple[Samples, list[Edge]]]:
        """Take the session's next sound and yield it frame by frame, with what changed in each."""
        for frame in self._framer.feed(self._resampler.feed(decode(audio, self._sound))):
            self._remember(frame)
            probabilities, (self._state,) = self._vad.score(frame[np.newaxis, :], [self._state])
            yield frame, list(self._turns.feed(float(probabilities[0])))

    def utterance(self, start_ms: float, rate: int) -> Utterance:
        """Open the stream of an utterance that began at this moment."""
        utterance = Utterance(self._vad.sample_rate, rate)
        sound = np.concatenate(self._history) if self._history else np.zeros(0, np.float32)
        began = self._heard - len(sound)
        offset = max(round(start_ms * self._vad.sample_rate / 1000) - began, 0)
        utterance.feed(sound[offset:])
        return utterance

    def _listen_in(self, sound: AudioFormat) -> None:
        self._sound = sound
        self._resampler = pcm.Resampler(sound.rate, self._vad.sample_rate)

    def _remember(self, frame: Samples) -> None:
        self._history.append(frame)
        self._heard += len(frame)
        while len(self._history) * self._vad.frame * 1000 > HISTORY_MS * self._vad.sample_rate:
            self._history.popleft()
