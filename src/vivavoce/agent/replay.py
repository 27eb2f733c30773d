"""Shows a session log again, with its timing; or runs it again, which makes a test of a bug report."""

from __future__ import annotations

import math
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import numpy as np
from anyio import create_task_group, lowlevel

from vivavoce.agent import sessionlog
from vivavoce.agent.masking import Mask
from vivavoce.agent.minutes import result_of
from vivavoce.agent.recorder import SOUND
from vivavoce.agent.seams import RATE
from vivavoce.agent.sessionlog import LogError, SessionLog, read_effect
from vivavoce.agent.transcript import TYPED
from vivavoce.realtime.client import Captured, Cite, ClientSession, Report, Returned, Run, Show, Tick, Typed, Warn
from vivavoce.realtime.server import Ids

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from vivavoce.agent.sessionlog import Step
    from vivavoce.agent.view import View
    from vivavoce.ports import Samples
    from vivavoce.realtime.client import AnyEffect, Input, Output

_FIRST_ID = re.compile(r"event_(\w*?)[0-9a-f]{6}")

AHEAD_S = 1.0
"""How much sound is read ahead of its time."""


class Difference(msgspec.Struct, frozen=True):
    """An input that leads to something else now."""

    line: int
    """Of the input in the log."""
    recorded: list[dict[str, Any]]
    now: list[dict[str, Any]]


def fold(path: Path) -> list[Difference]:
    """Give a new session the inputs of a log and return where it does something else than the log says.

    Its identifiers are the log's. Inputs that cannot be understood any more lead to nothing.

    Raises:
        LogError: there is no log to be read.
    """
    log, mask = SessionLog(path), Mask()
    session = _session(log)
    differences = []
    for step in log.steps():
        now = [sessionlog.written(output, mask) for output in _step(session, step)]
        if now != step.outputs:
            differences.append(Difference(step.number, step.outputs, now))
    return differences


def _session(log: SessionLog) -> ClientSession:
    """Return a session that begins as the log's did."""
    settings, greeting, unix = (log.head.get(name) for name in ("session", "greeting", "unix"))
    return ClientSession(
        settings if isinstance(settings, dict) else {},
        mint=_mint(log),
        greeting=greeting or None,
        unix=unix if isinstance(unix, float) else 0.0,
    )


def _mint(log: SessionLog) -> Ids:
    """Return what minted the log's identifiers: its seed stands in the first one."""
    for step in log.steps():
        for output in step.outputs:
            if found := _FIRST_ID.fullmatch(str(output.get("event_id"))):
                return Ids(found[1])
    return Ids("replayed")


def _step(session: ClientSession, step: Step) -> list[Output]:
    happened, now = step.input, step.line.t
    if happened is None:
        return []
    if isinstance(happened, Tick):  # it came because its time had come, whatever was lost in rounding
        now = max(now, session.deadline() or now)
    return session.step(happened, now)


class Replay:
    """One showing of a log. It is steered like a conversation, but only its end can be chosen."""

    muted = False
    push_to_talk = False
    voices: Sequence[str] = ()
    voice: str | None = None
    quiet = True

    def __init__(self, log: SessionLog, view: View, *, speed: float = 1.0, sound: Path | None = None) -> None:
        """Get ready.

        Args:
            log: what to show.
            view: what the person looks at.
            speed: how much faster than it was; infinite for at once.
            sound: played beside it, through the default loudspeaker; it then sets the time.
        """
        self._log = log
        self._view = view
        self._speed = speed
        self._sound = sound
        self._session = _session(log)
        self._runs: dict[str, tuple[float, Run]] = {}
        self._scope = anyio.CancelScope()

    async def run(self) -> None:
        """Show it from its beginning to its end, then say what is missing.

        Raises:
            DeviceError: there is no loudspeaker for the sound.
        """
        with self._scope:
            if self._sound is None:
                await self._show_all()
                return
            async with _playing(self._sound):
                await self._show_all()

    async def _show_all(self) -> None:
        began = anyio.current_time()
        for step in self._log.steps():
            due = step.line.t if self._sound is None else step.line.at
            if math.isinf(self._speed):
                await lowlevel.checkpoint()
            elif due is not None:
                await anyio.sleep_until(began + due / self._speed)
            self.show(step)
        for trouble in self._log.troubles:
            self._view.note(trouble)

    def show(self, step: Step) -> None:
        """Show one step as the agent did."""
        happened = step.input
        if happened is None:
            self._log.skipped += 1
        else:
            self._happened(step, happened)
        for output in step.outputs:
            if (effect := read_effect(output)) is not None:
                self._do(step, effect)
            elif "." not in str(output.get("type")):  # neither an effect that we know nor an event that was sent
                self._log.skipped += 1
        self._view.state(self._session.state)

    def _happened(self, step: Step, happened: Input) -> None:
        match happened:
            case Captured() if step.line.db is not None:
                self._view.level(step.line.db)
            case Typed():
                self._view.words(Show(role="user", item_id=TYPED, text=happened.text, final=True))
            case Returned() if known := self._runs.pop(happened.call_id, None):
                began, run = known
                self._view.called(run, result_of(happened, step.line.t - began))
            case _:
                pass
        _step(self._session, step)

    def _do(self, step: Step, effect: AnyEffect) -> None:
        match effect:
            case Show():
                self._view.words(effect)
            case Run():
                self._runs[effect.call_id] = (step.line.t, effect)
                self._view.calling(effect)
            case Cite():
                self._view.citing(effect)
            case Report():
                self._view.report(effect)
            case Warn():
                self._view.warn(effect)
            case _:
                pass

    # The keys --------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End the showing."""
        self._scope.cancel()

    def save(self) -> Path:
        """Return where the log is: it is all that was kept."""
        return self._log.path

    def replay(self) -> bool:
        """Tell that there is no answer to be played again."""
        return False

    def _nothing(self, *_: object, **__: object) -> None:
        """Do nothing: what is over cannot be changed."""

    say = change_voice = confirm = press = release = interrupt = _nothing


@asynccontextmanager
async def _playing(path: Path) -> AsyncIterator[None]:
    """Play a sound file through the default loudspeaker from the beginning of the block on, to its end at most."""
    from vivavoce.agent.devices import SoundSpeaker

    async def play() -> None:
        began = anyio.current_time()
        for start, piece in enumerate(_pieces(path)):
            await anyio.sleep_until(began + start - AHEAD_S)
            await speaker.play("recording", piece)

    async with SoundSpeaker(sample_rate=RATE) as speaker, create_task_group() as tasks:
        tasks.start_soon(play)
        yield
        tasks.cancel_scope.cancel()


def _pieces(path: Path) -> Iterator[Samples]:
    """Yield the sound second by second, both sides in one."""
    import soundfile

    for piece in soundfile.blocks(path, blocksize=RATE, dtype="float32", always_2d=True):
        yield np.clip(piece.sum(axis=1), -1.0, 1.0)


async def replay(path: Path, *, speed: float = 1.0, sound: bool = False, print_json: bool = False) -> None:
    """Show a log in the view that suits whoever reads standard output.

    Args:
        path: the log, or the folder of the recording.
        speed: how much faster than it was; infinite for at once.
        sound: play the recorded sound beside it, at its own speed.
        print_json: a program reads.

    Raises:
        LogError: there is no log, or no sound beside it.
        DeviceError: there is no loudspeaker.
    """
    from vivavoce.agent.console import console_for
    from vivavoce.agent.steering import attend

    log = SessionLog(path)
    wav = log.path.with_name(SOUND)
    if sound and not wav.is_file():
        raise LogError(f"There is no {wav}: replay the log without --sound.")
    name = log.path.absolute().parent.name
    with console_for(name if log.head.get("sound") else "", title="replay", print_json=print_json) as console:
        await attend(Replay(log, console, speed=speed, sound=wav if sound else None), console)
