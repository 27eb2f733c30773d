"""The microphone and the loudspeaker, by way of PortAudio."""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import functools
import os
import platform
import socket
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import anyio
import msgspec
import numpy as np
from anyio import lowlevel, to_thread

from vivavoce.agent.framing import FRAME_S, Framer, to_mono
from vivavoce.agent.playout import Playout
from vivavoce.ports import DeviceError
from vivavoce.speech.pcm import Resampler, level_db

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator
    from types import TracebackType
    from typing import Self

    from vivavoce.ports import Samples, Tap

Direction: TypeAlias = Literal["input", "output"]
Choice: TypeAlias = int | str | None
"""A device by its index, by part of its name, or the default one."""

LATENCY_S = 0.06
"""Sound in the device's buffer: more delays the silence after a barge-in. With 50 ms or less PulseAudio's ALSA plug-in
may never recover from the first underflow: it then restarts for ever and swallows sound faster than real time."""

PATIENCE_S = 0.75
"""A device that has not asked for or brought sound for so long is gone."""

START_S = 5.0
"""Likewise before its first sound: wireless devices wake up slowly."""

CLOSING_S = 1.0
"""A driver whose device has gone may never return from closing it."""

NOUN: dict[Direction, str] = {"input": "microphone", "output": "loudspeaker"}
_portaudio_lock = threading.Lock()


class Device(msgspec.Struct, frozen=True):
    """A sound device as PortAudio lists it."""

    index: int
    """What `--in` and `--out` take."""
    name: str
    host_api: str
    """The sound system that offers it; the same device may be offered by several."""
    inputs: int
    """Channels; 0 where it cannot record."""
    outputs: int
    """Channels; 0 where it cannot play."""
    default_rate: int
    """Hz."""
    default_input: bool = False
    default_output: bool = False

    def channels(self, direction: Direction) -> int:
        """Return how many channels it has in that direction."""
        return self.inputs if direction == "input" else self.outputs

    def is_default(self, direction: Direction) -> bool:
        """Tell whether the system uses it where nothing else is asked for."""
        return self.default_input if direction == "input" else self.default_output


def list_devices() -> list[Device]:
    """Return every sound device that was there when PortAudio started, or at the last `refresh_devices()`.

    Raises:
        DeviceError: PortAudio is not installed, or does not answer.
    """
    portaudio = _portaudio()
    try:
        return _listed(portaudio)
    except portaudio.PortAudioError as refused:
        raise _silent_system(refused) from refused


def _listed(portaudio: Any) -> list[Device]:
    apis = portaudio.query_hostapis()
    source, sink = _default_index(portaudio, "input"), _default_index(portaudio, "output")
    return [
        Device(
            index=index,
            name=found["name"],
            host_api=apis[found["hostapi"]]["name"],
            inputs=found["max_input_channels"],
            outputs=found["max_output_channels"],
            default_rate=int(found["default_samplerate"]),
            default_input=index == source,
            default_output=index == sink,
        )
        for index, found in enumerate(portaudio.query_devices())
    ]


def has_devices() -> bool:
    """Tell whether there is a microphone and a loudspeaker to talk with."""
    try:
        devices = list_devices()
    except DeviceError:
        return False
    return any(device.inputs for device in devices) and any(device.outputs for device in devices)


def refresh_devices() -> None:
    """Look for devices again; only while no stream is open.

    Raises:
        DeviceError: PortAudio is not installed or cannot start, or ALSA has lost its configuration.
    """
    portaudio = _portaudio()
    with _alone():
        _check_alsa()
        with contextlib.suppress(portaudio.PortAudioError):  # it could not be started the last time
            portaudio._terminate()  # noqa: SLF001 - PortAudio has no other way
        try:
            portaudio._initialize()  # noqa: SLF001
        except portaudio.PortAudioError as refused:
            raise _silent_system(refused) from refused


def _silent_system(why: Exception) -> DeviceError:
    return DeviceError(f"The sound system does not answer ({why.args[0] if why.args else why}): is its server running?")


def find_device(choice: Choice, direction: Direction) -> Device:
    """Return the device that is meant.

    Raises:
        DeviceError: there is none, or the name fits none or several; the message lists the candidates.
    """
    noun = NOUN[direction]
    able = [device for device in list_devices() if device.channels(direction)]
    if not able:
        raise DeviceError(f"There is no {noun}: connect one and start again, or use a sound file instead.")
    if choice is None:
        return next((device for device in able if device.is_default(direction)), able[0])
    matches = _matching(able, choice, direction)
    if len(matches) == 1:
        return matches[0]
    candidates = ", ".join(f"{device.index} {device.name!r}" for device in matches or able)
    trouble = f"{choice!r} fits several {noun}s" if matches else f"No {noun} is called {choice!r}"
    raise DeviceError(f"{trouble}: choose by number among {candidates}.")


def _matching(able: list[Device], choice: int | str, direction: Direction) -> list[Device]:
    if isinstance(choice, int) or choice.isdecimal():
        return [device for device in able if device.index == int(choice)]
    wanted = choice.casefold()
    exact = [device for device in able if device.name.casefold() == wanted]
    found = exact or [d for d in able if wanted in f"{d.name}, {d.host_api}".casefold()]
    # Windows offers each device once by every sound system that it has.
    usual = next((device.host_api for device in able if device.is_default(direction)), None)
    return [device for device in found if device.host_api == usual] or found


def _default_index(portaudio: Any, direction: Direction) -> int | None:
    try:
        return int(portaudio.query_devices(kind=direction)["index"])
    except (ValueError, portaudio.PortAudioError):
        return None


@functools.cache
def _portaudio() -> Any:
    _check_alsa()
    try:
        import sounddevice
    except OSError as missing:
        raise DeviceError(
            "The PortAudio library, which reaches sound devices, is missing: sudo apt-get install libportaudio2"
        ) from missing
    return sounddevice


def _check_alsa() -> None:
    """Keep ALSA from writing on the user's terminal, and from ending the process where it is not configured.

    Raises:
        DeviceError: it would abort as soon as PortAudio asks it for devices.
    """
    name = ctypes.util.find_library("asound")
    if name is None:
        return
    alsa = ctypes.CDLL(name)
    # ALSA calls this from the audio thread: a C function without arguments needs neither the interpreter nor a lock.
    alsa.snd_lib_error_set_handler(ctypes.cast(ctypes.CDLL(None).getpid, ctypes.c_void_p))
    alsa.snd_config_update()
    found, top = ctypes.c_void_p(), ctypes.c_void_p.in_dll(alsa, "snd_config")
    if top.value is None or alsa.snd_config_search(top, b"pcm", ctypes.byref(found)) < 0:
        raise DeviceError(
            "ALSA, the sound system, finds no configuration that describes a device: unset ALSA_CONFIG_PATH, or "
            "sudo apt-get install --reinstall libasound2-data"
        )


class _Quiet:
    """Silences something from the first who enters to the last who leaves, across threads."""

    def __init__(self, silence: Callable[[], Callable[[], None]]) -> None:
        """Get ready.

        Args:
            silence: does it, and returns what undoes it.
        """
        self._silence = silence
        self._lock = threading.Lock()
        self._users = 0
        self._undo: Callable[[], None]

    def __enter__(self) -> None:
        with self._lock:
            if not self._users:
                self._undo = self._silence()
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._undo()


def _redirect_stderr() -> Callable[[], None]:
    """Lead file descriptor 2 nowhere."""
    saved = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)

    def undo() -> None:
        os.dup2(saved, 2)
        os.close(saved)

    return undo


def _replace_stdio() -> Callable[[], None]:
    """Have C libraries write elsewhere than to `stderr`, of which Python and file descriptor 2 know nothing.

    Only GNU's library lets one assign to it.
    """
    if platform.libc_ver()[0] != "glibc":
        return lambda: None
    stderr = ctypes.c_void_p.in_dll(ctypes.CDLL(None), "stderr")
    saved, stderr.value = stderr.value, _nowhere()

    def undo() -> None:
        stderr.value = saved

    return undo


@functools.cache
def _nowhere() -> int:
    """Return a C stream that swallows everything; never closed, since a library may still hold it."""
    fopen = ctypes.CDLL(None).fopen
    fopen.restype = ctypes.c_void_p
    return int(fopen(os.devnull.encode(), b"w"))


quiet_stderr = _Quiet(_redirect_stderr)
"""Sends what anyone writes to file descriptor 2 nowhere: for calls that are short."""

_quiet_libraries = _Quiet(_replace_stdio)
"""Silences C libraries only: PortAudio's own thread complains whenever a device dies, long after any call."""


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Call PortAudio from one thread at a time, without the noise of its drivers."""
    if not _portaudio_lock.acquire(timeout=2 * CLOSING_S):
        raise DeviceError("The sound system does not respond: end this program and start it again.")
    try:
        with quiet_stderr:
            yield
    finally:
        _portaudio_lock.release()


class _Bell:
    """Wakes the event loop from the audio thread without blocking it."""

    def __init__(self) -> None:
        self._here, self._there = socket.socketpair()
        for end in (self._here, self._there):
            end.settimeout(0)

    def ring(self) -> None:
        with contextlib.suppress(OSError):
            self._there.send(b"\0")

    async def wait(self) -> None:
        await anyio.wait_readable(self._here)
        with contextlib.suppress(BlockingIOError):
            self._here.recv(4096)

    def close(self) -> None:
        self._here.close()
        self._there.close()


class _SoundDevice:
    """A PortAudio stream in one direction, opened and closed by `async with`."""

    direction: Direction

    def __init__(self, device: Choice, sample_rate: int, latency_s: float) -> None:
        self.sample_rate = sample_rate
        self.taps: list[Tap] = []
        """Who else gets the sound, block by block at the device's own rate, from the audio thread."""
        self._choice = device
        self._latency_s = latency_s
        self._stream: Any = None
        self._beats = 0
        self._beat_at = 0.0
        self._beat_time = 0.0

    @property
    def name(self) -> str:
        """What the system calls the device, once it is open."""
        return self.device.name

    @property
    def tap_rate(self) -> int:
        """The device's own rate, Hz, once it is open."""
        return self.device_rate

    async def __aenter__(self) -> Self:
        self._beats, self._beat_at = 0, time.monotonic()
        with contextlib.ExitStack() as quiet:
            quiet.enter_context(_quiet_libraries)
            self._stream = await to_thread.run_sync(self._open)
            self._quiet = quiet.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._quiet:
            await _close(self._stream)

    def _open(self) -> Any:
        portaudio = _portaudio()
        with _alone():
            self.device = find_device(self._choice, self.direction)
            self.device_rate, channels = self._settle(portaudio)
            try:
                return self._start(portaudio, channels)
            except portaudio.PortAudioError as refused:
                raise self._refusal(refused) from refused

    def _settle(self, portaudio: Any) -> tuple[int, int]:
        """Return the rate and the number of channels that the device accepts, the wanted rate and mono first."""
        check = getattr(portaudio, f"check_{self.direction}_settings")
        most = self.device.channels(self.direction)
        refused: Exception | None = None
        for rate in dict.fromkeys((self.sample_rate, self.device.default_rate)):
            for channels in dict.fromkeys((1, min(2, most), most)):
                try:
                    check(device=self.device.index, channels=channels, samplerate=rate, dtype="float32")
                except portaudio.PortAudioError as no:
                    refused = no
                else:
                    return rate, channels
        raise self._refusal(refused) from refused

    def _refusal(self, why: Exception | None) -> DeviceError:
        reason = str(why.args[0] if why is not None and why.args else why)
        return DeviceError(
            f"The {NOUN[self.direction]} {self.device.name!r} cannot be opened ({reason}): close the program that "
            "holds it, or choose another one of `vivavoce devices`."
        )

    def _start(self, portaudio: Any, channels: int) -> Any:
        raise NotImplementedError

    def _run(self, make: Any, channels: int, **options: Any) -> Any:
        stream = make(
            device=self.device.index,
            samplerate=self.device_rate,
            channels=channels,
            dtype="float32",
            latency=self._latency_s,
            **options,
        )
        try:
            stream.start()
        except BaseException:
            stream.close()
            raise
        return stream

    def _tell(self, time: float, samples: Samples) -> None:
        for tap in self.taps:
            tap(time, samples)

    def _beat(self, when: Any) -> None:
        self._beats += 1
        self._beat_at = time.monotonic()
        self._beat_time = float(when.currentTime)

    @property
    def alive(self) -> bool:
        """Tell whether the driver still runs and has called back lately."""
        if self._stream is None or not _active(self._stream):
            return False
        return time.monotonic() - self._beat_at < (PATIENCE_S if self._beats else START_S)

    async def ensure_alive(self) -> None:
        """Notice that the device has gone.

        Raises:
            DeviceError: it has.
        """
        if self.alive:
            return
        beats = self._beats
        if _active(self._stream):
            # A process that was stopped and continued finds a stale beat; the next one comes soon.
            await anyio.sleep(PATIENCE_S / 3)
        if beats == self._beats:
            raise self._gone()

    def _gone(self) -> DeviceError:
        return DeviceError(
            f"The {NOUN[self.direction]} {self.device.name!r} is gone: connect it again, or choose another one of "
            "`vivavoce devices`."
        )


def _active(stream: Any) -> bool:
    try:
        return bool(stream.active)
    except _portaudio().PortAudioError:
        return False


async def _close(stream: Any) -> None:
    """Close a stream in a thread of its own, which is left behind if the driver does not return."""
    closed = _Bell()

    def close() -> None:
        with contextlib.suppress(DeviceError), _alone():
            stream.close()
        closed.ring()

    threading.Thread(target=close, daemon=True, name="close sound device").start()
    with anyio.move_on_after(CLOSING_S, shield=True) as limit:
        await closed.wait()
    closed.close()
    if limit.cancelled_caught:
        # When the process exits, sounddevice would wait for the driver again.
        _portaudio()._initialized = 0  # noqa: SLF001


class SoundMicrophone(_SoundDevice):
    """A microphone, opened at the wanted rate if it can be, else resampled; `async with` opens it."""

    direction = "input"

    def __init__(
        self,
        device: Choice = None,
        *,
        sample_rate: int = 24_000,
        latency_s: float = LATENCY_S,
        backlog_s: float = 5.0,
    ) -> None:
        super().__init__(device, sample_rate, latency_s)
        self.dropped = 0
        """Frames that were lost because nobody took them for `backlog_s` seconds."""
        self.overflows = 0
        """How often the device itself lost sound."""
        self._queue: deque[Samples] = deque(maxlen=round(backlog_s / FRAME_S))
        self._wanted = False
        self._last = np.empty(0, np.float32)

    async def __aenter__(self) -> Self:
        self._bell = _Bell()
        try:
            return await super().__aenter__()
        except BaseException:
            self._bell.close()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, trace)
        self._bell.close()

    @property
    def level(self) -> float:
        """The level of the last frame in dB below full scale."""
        return level_db(self._last)

    async def frames(self) -> AsyncGenerator[Samples, None]:
        """Yield frames of 20 ms, the oldest first, from now on.

        Raises:
            DeviceError: the device has gone.
        """
        framer = Framer(self.device_rate, self.sample_rate)
        if not self._wanted:
            self._wanted = True
            self._queue.clear()
        while True:
            await self._sound()
            while self._queue:
                for frame in framer.feed(self._queue.popleft()):
                    yield frame

    async def _sound(self) -> None:
        """Wait until there is sound."""
        while not self._queue:
            beats = self._beats
            with anyio.move_on_after(PATIENCE_S / 3):
                await self._bell.wait()
            if not self._queue and beats == self._beats and not self.alive:
                raise self._gone()

    def _start(self, portaudio: Any, channels: int) -> Any:
        block = round(self.device_rate * FRAME_S)
        return self._run(portaudio.InputStream, channels, blocksize=block, callback=self._capture)

    def _capture(self, block: Samples, _frames: int, when: Any, status: Any) -> None:
        """Run in the audio thread; the full queue, a deque of bounded length, drops its oldest block by itself."""
        self._beat(when)
        self.overflows += bool(status.input_overflow)
        self.dropped += self._wanted and len(self._queue) == self._queue.maxlen
        self._last = to_mono(block)
        self._queue.append(self._last)
        self._bell.ring()
        self._tell(when.inputBufferAdcTime or when.currentTime - self._latency_s, self._last)


class _Mark(NamedTuple):
    time: float
    """When its first sample leaves the device, by the stream's clock."""
    item_id: str
    start: int
    """Samples into the item."""
    length: int


class SoundSpeaker(_SoundDevice):
    """A loudspeaker that knows what has left it; `async with` opens it."""

    direction = "output"

    def __init__(
        self,
        device: Choice = None,
        *,
        sample_rate: int = 24_000,
        latency_s: float = LATENCY_S,
        queue_s: float = 120.0,
    ) -> None:
        super().__init__(device, sample_rate, latency_s)
        self.underflows = 0
        """How often the device itself ran dry."""
        self._queue_s = queue_s
        self._item_id: str | None = None
        self._marks: deque[_Mark] = deque(maxlen=256)
        self._block = np.zeros(0, np.float32)
        self._used = 0

    @property
    def level(self) -> float:
        """The level of what was last handed to the device in dB below full scale."""
        return level_db(self._block[: self._used])

    @property
    def underruns(self) -> int:
        """How often an item ran dry before its sound had all come."""
        return self._playout.underruns

    @property
    def held_back_ms(self) -> float:
        """The latency that the prebuffer added to what is being heard, or was last."""
        return self._playout.held_back * 1000 / self.device_rate

    async def play(self, item_id: str, samples: Samples) -> None:
        """Queue sound; waits while more than `queue_s` seconds are queued.

        Raises:
            DeviceError: the device has gone.
        """
        await self.ensure_alive()
        while self._playout.queued > self._queue_s * self.device_rate:
            await anyio.sleep(FRAME_S)
            await self.ensure_alive()
        if item_id != self._item_id:
            self._flush()
            self._item_id = item_id
        sound = np.array(samples, dtype=np.float32)
        self._put(self._resampler.feed(sound))
        self._pending = self.sample_rate != self.device_rate
        await lowlevel.checkpoint()

    def finish(self, item_id: str) -> None:
        """Say that the item's sound is complete, so that nothing of it is held back any more."""
        if item_id == self._item_id:
            self._flush()
            self._playout.finish(item_id)

    def hush(self) -> None:
        """Fade out within 5 ms and forget what is queued."""
        self._playout.hush()
        self._pending = False
        self._resampler.clear()

    def pause(self) -> None:
        """Fade out within 5 ms and stay there, until `resume` or `hush`."""
        self._playout.pause()

    def resume(self) -> None:
        """Fade in and go on."""
        self._playout.resume()

    def heard(self) -> tuple[str, int] | None:
        """Return the item that is being heard, or was last, and how many milliseconds of it left the device."""
        self._flush_before_dry()
        now = self._now()
        for mark in reversed(tuple(self._marks)):
            if mark.time <= now:
                played = min(mark.length, (now - mark.time) * self.device_rate)
                return mark.item_id, int((mark.start + played) * 1000 / self.device_rate)
        return None

    def idle(self) -> bool:
        """Tell whether everything queued has been heard, or never will be since the device is gone."""
        if not self.alive:
            return True
        self._flush_before_dry()
        if self._playout.queued:
            return False
        last = self._marks[-1] if self._marks else None
        return last is None or bool(last.time + last.length / self.device_rate <= self._now())

    def _now(self) -> float:
        """Return the time by the stream's clock; for a device that has gone, of the last sign of life."""
        return float(self._stream.time) if self.alive else self._beat_time

    def _put(self, samples: Samples) -> None:
        if len(samples) and self._item_id is not None:
            self._playout.put(self._item_id, samples)

    def _flush_before_dry(self) -> None:
        """Push out what the resampler holds back, since nothing seems to follow."""
        if not self._playout.waiting and self._playout.queued < 2 * FRAME_S * self.device_rate:
            self._flush()

    def _flush(self) -> None:
        if self._pending:
            self._pending = False
            self._put(self._resampler.feed(np.empty(0, np.float32), last=True))
            self._resampler.clear()

    def _start(self, portaudio: Any, channels: int) -> Any:
        self._playout = Playout(self.device_rate)
        self._resampler = Resampler(self.sample_rate, self.device_rate)
        self._pending = False
        self._block = np.zeros(self.device_rate, np.float32)
        return self._run(portaudio.OutputStream, channels, callback=self._render)

    def _render(self, out: Samples, frames: int, when: Any, status: Any) -> None:
        """Run in the audio thread, for at most a second of sound at once."""
        self._beat(when)
        self.underflows += bool(status.output_underflow)
        block = self._block[:frames]
        runs = self._playout.fill(block)
        out[:] = block[:, np.newaxis]
        self._used = frames
        leaves = when.outputBufferDacTime or when.currentTime + self._latency_s
        for offset, item_id, start, length in runs:
            self._marks.append(_Mark(leaves + offset / self.device_rate, item_id, start, length))
        if self.taps:
            self._tell(leaves, block.copy())
