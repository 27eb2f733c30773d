"""A microphone and a loudspeaker that outlast their devices: what is unplugged is looked for until it is back.

PortAudio finds new devices only while no stream is open, so both sides of a conversation have one owner, `Devices`,
which closes both for a moment where it must. On PulseAudio and PipeWire the sound server itself moves streams when a
device goes or the person chooses another default; there it only remains to say so.
"""

from __future__ import annotations

import math
import os
import subprocess
import time
from collections import Counter, deque
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import anyio
import numpy as np
from anyio import CancelScope, to_thread

from vivavoce.agent.devices import NOUN, SoundMicrophone, SoundSpeaker, list_devices, refresh_devices
from vivavoce.agent.framing import FRAME_S
from vivavoce.aio import beside
from vivavoce.ports import DeviceError
from vivavoce.speech.pcm import Resampler

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator

    from vivavoce.agent.devices import Choice, Device, Direction
    from vivavoce.ports import Samples, Tap

CHECK_S = 0.25
"""How often both devices are looked at."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 2.0
"""Between attempts to find a device, a third longer each time."""
LONGEST_INTERRUPTION_PAUSE_S = 16.0
"""Between attempts that interrupt the other side, doubled each time."""
LOYALTY_S = 10.0
"""For how long a device that the person has named is waited for before the default one takes its place."""
PATIENCE_S = 2.0
"""For how long an answer waits for a loudspeaker."""
DEFAULT_S = 3.0
"""How often the sound server is asked for its default devices."""
PACTL_S = 2.0
"""In which it must have answered."""
UNCERTAIN_MS = 200
"""A device that has just gone seems to have played more than it did by its latency."""
SERVED = ("default", "pulse", "pipewire")
"""Devices of ALSA behind which a sound server chooses the real one."""


def _say_nothing(text: str) -> None:
    pass


class Devices:
    """The microphone and the loudspeaker of one conversation, and who looks after them while `opened()`."""

    def __init__(self, note: Callable[[str], None] = _say_nothing) -> None:
        """Get ready.

        Args:
            note: told in one line what became of a device; may be set later.
        """
        self.note = note
        self.trouble = anyio.Event()
        """Set when a device has gone."""
        self._sides: list[_Lasting] = []
        self._interruption_pause_s = FIRST_PAUSE_S
        self._uninterrupted_until = 0.0

    def microphone(self, device: Choice = None, *, sample_rate: int = 24_000) -> LastingMicrophone:
        """Add a microphone, opened by `opened()`."""
        microphone = LastingMicrophone(self, device, sample_rate)
        self._sides.append(microphone)
        return microphone

    def speaker(self, device: Choice = None, *, sample_rate: int = 24_000) -> LastingSpeaker:
        """Add a loudspeaker, opened by `opened()`."""
        speaker = LastingSpeaker(self, device, sample_rate)
        self._sides.append(speaker)
        return speaker

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Open the devices, look after them, close them.

        Raises:
            DeviceError: one cannot be opened at the beginning; later nothing is raised.
        """
        async with AsyncExitStack() as stack:
            for side in self._sides:
                stack.push_async_callback(side.close)
                await side.open()
            async with beside(self._look_after):
                yield

    async def _look_after(self) -> None:
        defaults = _Defaults()
        pause_s = FIRST_PAUSE_S
        while self._sides:
            with anyio.move_on_after(pause_s if self._lost() else CHECK_S):
                await self.trouble.wait()
            self.trouble = anyio.Event()
            for side in self._sides:
                await side.check()
            if self._lost():
                await self._find()
                pause_s = min(pause_s * 4 / 3, LONGEST_PAUSE_S)
            else:
                pause_s = self._interruption_pause_s = FIRST_PAUSE_S
                await self._tell_defaults(defaults)

    def _lost(self) -> list[_Lasting]:
        return [side for side in self._sides if not side.here]

    async def _find(self) -> None:
        """Open again what can be opened, after another look at the system's devices where that is needed."""
        for side in self._lost():
            await side.reopen()
        if self._lost() and self._may_interrupt():
            for side in self._sides:
                await side.close()
            with CancelScope(shield=True):
                await to_thread.run_sync(_refresh)
            for side in self._sides:
                await side.reopen()
        for side in self._lost():
            side.tell_waiting()

    def _may_interrupt(self) -> bool:
        """Tell whether those that are here may be closed for a moment, and more rarely so each time."""
        here = [side for side in self._sides if side.here]
        now = anyio.current_time()
        if not here:
            return True
        if now < self._uninterrupted_until or any(side.busy for side in here):
            return False
        self._uninterrupted_until = now + self._interruption_pause_s
        self._interruption_pause_s = min(self._interruption_pause_s * 2, LONGEST_INTERRUPTION_PAUSE_S)
        return True

    async def _tell_defaults(self, defaults: _Defaults) -> None:
        served = [side for side in self._sides if side.name in SERVED]
        for direction, name in await defaults.changed() if served else ():
            if any(side.direction == direction for side in served):
                self.note(f"The {NOUN[direction]} is now {name}.")


def _refresh() -> None:
    """Look for devices; where even that fails they are not found, and looked for again."""
    try:
        refresh_devices()
    except DeviceError:
        return


class _Lasting:
    """One side: the device that is wanted, the one that is open, and what they did altogether."""

    direction: ClassVar[Direction]
    counted: ClassVar[tuple[str, ...]]
    """What the devices count."""

    def __init__(self, owner: Devices, choice: Choice, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self.taps: list[Tap] = []
        """As of the device; at the rate of the first one, whatever comes after it."""
        self.name = ""
        """What the system calls the device that is open, or was last."""
        self._owner = owner
        self._choice = choice
        self._inner: Any = None
        self._dead: Any = None
        self._wanted: Device
        self._lost_at: float | None = None
        self._told = False
        self._counts: Counter[str] = Counter()
        self._tap_rate = 0
        self._clock = 0.0
        """Time of a block, by the clock of the taps, less the time at which it was told."""

    @property
    def tap_rate(self) -> int:
        """Hz, once it is open."""
        return self._tap_rate

    @property
    def here(self) -> bool:
        """Tell whether there is a device."""
        return self._inner is not None

    @property
    def busy(self) -> bool:
        """Tell whether closing it for a moment would be noticed."""
        return False

    @property
    def level(self) -> float:
        """The level of what was last captured or played in dB below full scale."""
        return float(self._inner.level) if self.here else -120.0

    def count(self, what: str) -> int:
        """Return how often something went wrong with any of the devices."""
        return self._counts[what] + (getattr(self._inner, what) if self.here else 0)

    async def open(self) -> None:
        """Open the device that is wanted.

        Raises:
            DeviceError: it cannot be opened.
        """
        inner = await self._opened(self._choice)
        self._wanted, self._tap_rate = inner.device, inner.tap_rate
        with CancelScope(shield=True):
            await self._take(inner)

    async def close(self) -> None:
        """Close the device, to be opened again or not."""
        if self.here:
            self._dead = self._lose()
        await self._bury()

    async def check(self) -> None:
        """Notice that the device has gone, and clear away what is left of it."""
        if self.here:
            try:
                await self._inner.ensure_alive()
            except DeviceError:
                self.mourn()
        await self._bury()

    def mourn(self) -> None:
        """Note that the device has gone."""
        if self.here:
            self._dead = self._lose()
            self._lost_at = anyio.current_time()
            self._owner.trouble.set()

    async def reopen(self) -> None:
        """Open the same device again, or another one where that is right; leave it lost where there is none."""
        for device in () if self.here else self._candidates():
            try:
                inner = await self._opened(device.index)
            except DeviceError:
                continue
            self._tell(device)
            with CancelScope(shield=True):
                await self._take(inner)
            return

    def tell_waiting(self) -> None:
        """Say once that there is no device."""
        if self._lost_at is None:
            self._lost_at = anyio.current_time()
        if not self._told:
            self._told = True
            which = f"a {NOUN[self.direction]}" if self._choice is None else f"the {NOUN[self.direction]} {self.name}"
            self._owner.note(f"Waiting for {which} …")

    def _candidates(self) -> Iterator[Device]:
        try:
            able = [device for device in list_devices() if device.channels(self.direction)]
        except DeviceError:
            return
        names = [self._wanted.name, self.name]
        yield from sorted(
            (device for device in able if device.name in names), key=lambda device: names.index(device.name)
        )
        if self._choice is None or self.name != self._wanted.name or self._forsaken():
            yield from (device for device in able if device.is_default(self.direction))

    async def _bury(self) -> None:
        dead, self._dead = self._dead, None
        if dead is not None:
            await dead.__aexit__(None, None, None)

    def _forsaken(self) -> bool:
        return self._lost_at is not None and anyio.current_time() - self._lost_at >= LOYALTY_S

    def _tell(self, found: Device) -> None:
        noun = NOUN[self.direction]
        if found.name not in {self.name, self._wanted.name}:
            self._owner.note(f"The {noun} {self.name} is gone; using {found.name}.")
        elif found.name != self.name or self._lost_at is not None:
            self._owner.note(f"The {noun} {found.name} is back.")

    async def _opened(self, choice: Choice) -> Any:
        inner = self._make(choice)
        await inner.__aenter__()
        return inner

    def _make(self, choice: Choice) -> Any:
        raise NotImplementedError

    async def _take(self, inner: Any) -> None:
        self._inner, self.name = inner, inner.name
        self._lost_at, self._told = None, False
        self._resampler = None if inner.tap_rate == self._tap_rate else Resampler(inner.tap_rate, self._tap_rate)
        inner.taps.append(self._pass_on)

    def _lose(self) -> Any:
        """Let go of the device without closing it, and return it."""
        inner, self._inner = self._inner, None
        for what in self.counted if inner is not None else ():
            self._counts[what] += getattr(inner, what)
        return inner

    def _pass_on(self, when: float, samples: Samples) -> None:
        """Run in the thread of the sound."""
        self._clock = when - time.monotonic()
        if self.taps and self._resampler is not None:
            samples = self._resampler.feed(samples)
        for tap in self.taps:
            tap(when, samples)


class LastingMicrophone(_Lasting):
    """A microphone that yields silence while there is none."""

    direction = "input"
    counted = ("dropped", "overflows")

    def __init__(self, owner: Devices, choice: Choice, sample_rate: int) -> None:
        super().__init__(owner, choice, sample_rate)
        self._reading = CancelScope()
        self._reader = anyio.Lock()

    @property
    def dropped(self) -> int:
        """Frames that were lost because nobody took them."""
        return self.count("dropped")

    @property
    def overflows(self) -> int:
        """How often a device itself lost sound."""
        return self.count("overflows")

    async def frames(self) -> AsyncGenerator[Samples, None]:
        """Yield frames of 20 ms, for ever."""
        silence = np.zeros(round(self.sample_rate * FRAME_S), np.float32)
        due = anyio.current_time()
        while True:
            while (inner := self._inner) is not None:
                async with aclosing(inner.frames()) as frames:
                    while (frame := await self._read(inner, frames)) is not None:
                        yield frame
                due = anyio.current_time()
            due += FRAME_S
            await anyio.sleep_until(due)
            if not self.here:
                self._pass_on_silence()
                yield silence

    async def _read(self, inner: SoundMicrophone, frames: AsyncGenerator[Samples, None]) -> Samples | None:
        """Return a frame, or None once the device is not ours any more."""
        async with self._reader:
            if inner is not self._inner:
                return None
            with CancelScope() as self._reading:
                try:
                    return await anext(frames)
                except DeviceError:
                    self.mourn()
        return None

    async def _bury(self) -> None:
        """Close what is left of the device when nobody reads from it any more."""
        if self._dead is None:
            return
        self._reading.cancel()
        with CancelScope(shield=True):
            async with self._reader:
                await super()._bury()

    def _pass_on_silence(self) -> None:
        """Let those who listen in know that time goes on."""
        silence = np.zeros(round(self._tap_rate * FRAME_S), np.float32)
        for tap in self.taps:
            tap(time.monotonic() + self._clock, silence)

    def _make(self, choice: Choice) -> SoundMicrophone:
        return SoundMicrophone(choice, sample_rate=self.sample_rate)


class _Piece(NamedTuple):
    item_id: str
    start: int
    """Samples of the item before this piece."""
    samples: Samples

    @property
    def end(self) -> int:
        """Samples of the item up to the end of this piece."""
        return self.start + len(self.samples)


class LastingSpeaker(_Lasting):
    """A loudspeaker that goes on, on the next device, from where the last one was heard.

    What has not been heard is kept. If no device comes within `PATIENCE_S` it is forgotten: what was heard stays as it
    was, and the items that lost some of their sound are not taken up again.
    """

    direction = "output"
    counted = ("underruns", "underflows")

    def __init__(self, owner: Devices, choice: Choice, sample_rate: int) -> None:
        super().__init__(owner, choice, sample_rate)
        self._turn = anyio.Lock()
        self._kept: deque[_Piece] = deque()
        self._item_id, self._length = "", 0
        self._hushes = 0
        self._paused = False
        self._skipped: str | None = None
        self._heard: tuple[str, int] | None = None
        self._offset: tuple[str, float] | None = None

    @property
    def underruns(self) -> int:
        """How often an item ran dry before its sound had all come."""
        return self.count("underruns")

    @property
    def underflows(self) -> int:
        """How often a device itself ran dry."""
        return self.count("underflows")

    @property
    def held_back_ms(self) -> float:
        """The latency that the prebuffer added to what is being heard, or was last."""
        return float(self._inner.held_back_ms) if self.here else 0.0

    @property
    def busy(self) -> bool:
        """Tell whether something is being said."""
        return not self.idle()

    async def play(self, item_id: str, samples: Samples) -> None:
        """Queue sound; it is kept while there is no device, for as long as an answer waits for one."""
        async with self._turn:
            if item_id != self._item_id:
                self._item_id, self._length = item_id, 0
            piece = _Piece(item_id, self._length, samples)
            self._length += len(samples)
            if self._has_given_up() or item_id == self._skipped:
                self._skip(item_id)
                return
            self._kept.append(piece)
            await self._give(piece)

    def finish(self, item_id: str) -> None:
        """Say that the item's sound is complete, so that nothing of it is held back any more."""
        if self.here:
            self._inner.finish(item_id)

    def hush(self) -> None:
        """Fall silent now and forget what is queued."""
        self._hushes += 1
        self._paused = False
        self._kept.clear()
        if self.here:
            self._inner.hush()

    def pause(self) -> None:
        """Fall silent and stay there, until `resume` or `hush`; a device that comes meanwhile waits, too."""
        self._paused = True
        if self.here:
            self._inner.pause()

    def resume(self) -> None:
        """Go on."""
        self._paused = False
        if self.here:
            self._inner.resume()

    def heard(self) -> tuple[str, int] | None:
        """Return the item that is being heard, or was last, and how many milliseconds of it left a device."""
        now = self._inner.heard() if self.here else None
        if now is not None:
            item_id, ms = now
            before = self._offset[1] if self._offset is not None and self._offset[0] == item_id else 0.0
            self._heard = (item_id, int(before + ms))
            self._forget_heard(*self._heard)
        return self._heard

    def idle(self) -> bool:
        """Tell whether everything queued has been heard, or never will be."""
        self._forget_late()
        if not self.here or not self._inner.alive:
            return not self._kept
        if not self._inner.idle():
            return False
        self.heard()
        self._kept.clear()
        return True

    def _has_given_up(self) -> bool:
        return self._lost_at is not None and anyio.current_time() - self._lost_at >= PATIENCE_S

    def _forget_late(self) -> None:
        """Forget what has waited for a loudspeaker too long."""
        if self._has_given_up():
            for piece in self._kept:
                self._skip(piece.item_id)
            self._kept.clear()

    def _skip(self, item_id: str) -> None:
        self._skipped = item_id
        if self._heard is None or self._heard[0] != item_id:
            self._heard = (item_id, 0)

    def _forget_heard(self, item_id: str, ms: int) -> None:
        while self._kept and self._is_past(self._kept[0], item_id, ms):
            self._kept.popleft()

    def _is_past(self, piece: _Piece, item_id: str, ms: int) -> bool:
        if piece.item_id == item_id:
            return piece.end * 1000 <= (ms - UNCERTAIN_MS) * self.sample_rate
        return any(later.item_id == item_id for later in self._kept)

    async def _give(self, piece: _Piece) -> None:
        if not self.here:
            return
        if self._offset is None:
            self._offset = (piece.item_id, piece.start * 1000 / self.sample_rate)
        try:
            await self._inner.play(piece.item_id, piece.samples)
        except DeviceError:
            self.mourn()

    async def _take(self, inner: SoundSpeaker) -> None:
        """Go on where the last device was heard."""
        async with self._turn:
            self._forget_late()
            self._trim()
            await super()._take(inner)
            self._offset = None
            if self._paused:
                inner.pause()
            hushes = self._hushes
            for piece in tuple(self._kept):
                if hushes == self._hushes:
                    await self._give(piece)

    def _trim(self) -> None:
        """Cut what has been heard off the beginning of what is kept."""
        item_id, ms = self._heard or ("", 0)
        heard = ms * self.sample_rate // 1000
        while self._kept and self._kept[0].item_id == item_id and self._kept[0].start < heard:
            piece = self._kept.popleft()
            if piece.end > heard:
                self._kept.appendleft(_Piece(item_id, heard, piece.samples[heard - piece.start :]))

    def _lose(self) -> Any:
        self.heard()
        return super()._lose()

    def _make(self, choice: Choice) -> SoundSpeaker:
        return SoundSpeaker(choice, sample_rate=self.sample_rate)


class _Defaults:
    """The default devices of a PulseAudio or PipeWire server, where there is one."""

    def __init__(self) -> None:
        self._known: dict[Direction, str] | None = None
        self._next = 0.0

    async def changed(self) -> list[tuple[Direction, str]]:
        """Return which ones are others than before, and what they are called; asks at most every `DEFAULT_S`."""
        now = anyio.current_time()
        if now < self._next:
            return []
        self._next = now + DEFAULT_S
        defaults = await self._ask()
        if defaults is None:
            if self._known is None:
                self._next = math.inf
            return []
        before, self._known = self._known or defaults, defaults
        return [(side, await _title(side, name)) for side, name in defaults.items() if name != before[side]]

    async def _ask(self) -> dict[Direction, str] | None:
        lines = dict(line.partition(": ")[::2] for line in (await _pactl("info")).splitlines())
        if "Default Sink" not in lines:
            return None
        return {"input": lines.get("Default Source", ""), "output": lines["Default Sink"]}


async def _title(direction: Direction, name: str) -> str:
    """Return what a person calls a device of the sound server."""
    listed = await _pactl("list", "sources" if direction == "input" else "sinks")
    _, found, rest = listed.partition(f"\tName: {name}\n")
    return rest.partition("\tDescription: ")[2].partition("\n")[0] if found else name


async def _pactl(*arguments: str) -> str:
    """Return what the sound server's tool prints, nothing where it fails or is missing."""
    command, environment = ["pactl", *arguments], os.environ | {"LC_ALL": "C"}
    with suppress(OSError), anyio.move_on_after(PACTL_S):
        ended = await anyio.run_process(command, env=environment, check=False, stderr=subprocess.DEVNULL)
        return ended.stdout.decode(errors="replace")
    return ""
