"""Sound files in place of devices: a microphone that reads one, and a loudspeaker that writes one."""

from __future__ import annotations

import contextlib
import os
import struct
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import numpy as np
from anyio import lowlevel

from vivavoce.agent.framing import FRAME_S, Framer, to_mono
from vivavoce.ports import DeviceError
from vivavoce.speech.pcm import level_db

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from os import PathLike
    from types import TracebackType
    from typing import Self

    from vivavoce.ports import Samples, Tap

TAIL_SILENCE_S = 2.0
"""Silence after the file: long enough for any server to hear the end of the turn."""

SAVE_S = 1.0
"""Seconds of sound that a crash may lose at the end of a file."""


class AudioClock:
    """The time line that the file ends of one conversation share, in seconds from its start.

    In real time it follows the event loop's clock. Otherwise it counts the sound that the microphone has yielded, and
    once that has ended everything that is played is heard at once.
    """

    def __init__(self, *, realtime: bool) -> None:
        self.realtime = realtime
        self.ended = False
        """Whether a counted clock has nothing more to count."""
        self._start: float | None = None
        self._counted = 0.0

    def now(self) -> float:
        """Return how long the conversation has lasted."""
        if not self.realtime:
            return self._counted
        if self._start is None:
            self._start = anyio.current_time()
        return anyio.current_time() - self._start

    async def until(self, moment: float) -> None:
        """Wait for a moment, in real time, or go there."""
        if self.realtime:
            await anyio.sleep(max(moment - self.now(), 0.0))
        else:
            await lowlevel.checkpoint()
            self._counted = max(self._counted, moment)

    def end(self) -> None:
        """Say that no more time will be counted."""
        self.ended = not self.realtime


class WavMicrophone:
    """A sound file as a microphone: any format that libsndfile reads, then silence; `async with` opens it."""

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        clock: AudioClock,
        sample_rate: int = 24_000,
        tail_silence_s: float = TAIL_SILENCE_S,
    ) -> None:
        self.sample_rate = sample_rate
        self.dropped = 0
        """Always 0: a file waits."""
        self.overflows = 0
        """Likewise."""
        self.taps: list[Tap] = []
        """Who else gets each frame, just before it is yielded; times are the clock's."""
        self._path = Path(path)
        self._clock = clock
        self._tail_silence_s = tail_silence_s
        self._last = np.empty(0, np.float32)

    async def __aenter__(self) -> Self:
        self._file = _open_sound(self._path)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def level(self) -> float:
        """The level of the last frame in dB below full scale."""
        return level_db(self._last)

    @property
    def tap_rate(self) -> int:
        """The rate of what the taps get, Hz."""
        return self.sample_rate

    async def frames(self) -> AsyncGenerator[Samples, None]:
        """Yield the file and the silence after it in frames of 20 ms, each when its last sample is due.

        Raises:
            DeviceError: the file is damaged.
        """
        start = self._clock.now()
        for number, frame in enumerate(self._all(), 1):
            await self._clock.until(start + number * FRAME_S)
            self._last = frame
            for tap in self.taps:
                tap(start + (number - 1) * FRAME_S, frame)
            yield frame
        self._clock.end()

    def _all(self) -> Iterator[Samples]:
        framer = Framer(self._file.samplerate, self.sample_rate)
        while len(block := self._read()):
            yield from framer.feed(block)
        yield from framer.feed(np.empty(0, np.float32), last=True)
        silence = np.zeros(round(self.sample_rate * FRAME_S), np.float32)
        for _ in range(round(self._tail_silence_s / FRAME_S)):
            yield silence

    def _read(self) -> Samples:
        import soundfile

        try:
            block = self._file.read(round(self._file.samplerate * FRAME_S), dtype="float32", always_2d=True)
        except soundfile.SoundFileError as damaged:
            raise DeviceError(f"{self._path} is damaged ({damaged}): record or convert it again.") from damaged
        return np.clip(np.nan_to_num(to_mono(block)), -1.0, 1.0)


def _open_sound(path: Path) -> Any:
    import soundfile

    if not path.is_file():
        raise DeviceError(f"There is no sound file {path}: check the path.")
    try:
        sound = soundfile.SoundFile(path)
    except (soundfile.SoundFileError, TypeError) as unknown:
        raise DeviceError(
            f"{path} is not a sound file that can be read: convert it, for instance with `ffmpeg -i {path} out.wav`."
        ) from unknown
    if not sound.frames:
        sound.close()
        raise DeviceError(f"{path} holds no sound: record it again.")
    return sound


class WavSpeaker:
    """A sound file as a loudspeaker: what a listener would have heard, and when; `async with` opens it.

    The file grows on the conversation's time line, with silence where nothing is said. It is 16 bit and mono, and
    readable at any moment: a crash costs the last second.
    """

    def __init__(self, path: str | PathLike[str], *, clock: AudioClock, sample_rate: int = 24_000) -> None:
        self.sample_rate = sample_rate
        self.taps: list[Tap] = []
        """Who else gets what is heard, silence included; times are the clock's."""
        self._path = Path(path)
        self._clock = clock
        self._queue: deque[tuple[str, Samples]] = deque()
        self._written = 0
        self._saved = 0
        self._item_id: str | None = None
        self._item_samples = 0
        self._last = np.empty(0, np.float32)
        self.underruns = 0
        """How often an item ran dry before its sound had all come."""
        self.underflows = 0
        """Always 0: a file keeps up."""
        self._put: str | None = None
        self._dry = False
        self._paused = False

    async def __aenter__(self) -> Self:
        with self._writing():
            # Unbuffered: what cannot be written must not be tried again when the file is closed.
            self._file = self._path.open("wb", buffering=0)
            try:
                self._save()
            except OSError:
                self._file.close()
                raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._writing(), self._file:
            self._catch_up()
            self._save()

    @property
    def level(self) -> float:
        """The level of the last 20 ms in dB below full scale."""
        self._catch_up()
        return level_db(self._last)

    @property
    def tap_rate(self) -> int:
        """The rate of what the taps get, Hz."""
        return self.sample_rate

    async def play(self, item_id: str, samples: Samples) -> None:
        """Queue sound that belongs to an item; never waits for room.

        Raises:
            DeviceError: the disk is full.
        """
        self._catch_up()
        self.underruns += self._dry and item_id == self._put
        self._put, self._dry = item_id, False
        self._queue.append((item_id, np.array(samples, dtype=np.float32)))
        await lowlevel.checkpoint()

    def hush(self) -> None:
        """Forget what would not have been heard yet."""
        self._catch_up()
        self._queue.clear()
        self._put = None
        self._paused = False

    def pause(self) -> None:
        """Write silence until `resume` or `hush`."""
        self._catch_up()
        self._paused = True

    def resume(self) -> None:
        """Go on."""
        self._catch_up()
        self._paused = False

    def heard(self) -> tuple[str, int] | None:
        """Return the item that is being heard, or was last, and how many milliseconds of it."""
        self._catch_up()
        if self._item_id is None:
            return None
        return self._item_id, self._item_samples * 1000 // self.sample_rate

    def idle(self) -> bool:
        """Tell whether everything queued has been heard."""
        self._catch_up()
        return not self._queue

    def _catch_up(self) -> None:
        """Write everything up to now, and all there is once a counted clock has ended."""
        due = round(self._clock.now() * self.sample_rate)
        paused = self._paused and not self._clock.ended
        while self._queue and not paused and (self._written < due or self._clock.ended):
            item_id, samples = self._queue.popleft()
            room = len(samples) if self._clock.ended else due - self._written
            if len(samples) > room:
                self._queue.appendleft((item_id, samples[room:]))
            self._hear(item_id, samples[:room])
        self._dry = self._dry or (self._written < due and not paused)
        while self._written < due:
            self._write(np.zeros(min(due - self._written, self.sample_rate), np.float32))

    def _hear(self, item_id: str, samples: Samples) -> None:
        if item_id != self._item_id:
            self._item_id, self._item_samples = item_id, 0
        self._item_samples += len(samples)
        self._write(samples)

    def _write(self, samples: Samples) -> None:
        frame = round(self.sample_rate * FRAME_S)
        self._last = np.concatenate((self._last, samples[-frame:]))[-frame:]
        pcm = np.clip(np.rint(samples * 32768), -32768, 32767).astype("<i2")
        for tap in self.taps:
            tap(self._written / self.sample_rate, samples)
        with self._writing():
            self._file.write(pcm.tobytes())
            self._written += len(samples)
            if self._written - self._saved >= SAVE_S * self.sample_rate:
                self._save()

    def _save(self) -> None:
        """Bring the header up to date."""
        self._file.seek(0)
        self._file.write(_header(self.sample_rate, self._written))
        self._file.seek(0, os.SEEK_END)
        self._saved = self._written

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as refused:
            raise DeviceError(
                f"{self._path} cannot be written ({refused.strerror}): choose another place for the recording."
            ) from refused


def _header(sample_rate: int, samples: int) -> bytes:
    """Return the 44 bytes before mono 16 bit PCM (RIFF WAVE, Microsoft and IBM 1991)."""
    size = samples * 2
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, sample_rate, sample_rate * 2, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", 36 + size, b"WAVE") + form + struct.pack("<4sI", b"data", size)
