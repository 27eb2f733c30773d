"""The agent with a microphone and a speaker of sound files, or in writing, in a hurry; and what a person had of it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import numpy as np
import soundfile
from anyio import fail_after, move_on_after
from tests.scenarios.people import Onlooker

from vivavoce import compose
from vivavoce.agent import services
from vivavoce.agent.agent import Agent
from vivavoce.agent.files import AudioClock, WavMicrophone, WavSpeaker
from vivavoce.agent.tools import Toolbox
from vivavoce.aio import beside
from vivavoce.config import Settings
from vivavoce.errors import VivavoceError
from vivavoce.realtime.server import Ids
from vivavoce.run import waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from tests.services.emulated import Emulated

    from vivavoce.agent.services import Service
    from vivavoce.realtime.client import State

SPEED = 4.0
PATIENCE_S = 30.0


class QuickClock(AudioClock):
    """Real time, only faster."""

    def __init__(self) -> None:
        super().__init__(realtime=True)

    def now(self) -> float:
        return super().now() * SPEED

    async def until(self, moment: float) -> None:
        await anyio.sleep(max(moment - self.now(), 0.0) / SPEED)


class Watching(Onlooker):
    """A view that remembers how what the person said was shown, too."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[tuple[str, bool]] = []
        self.states: list[State] = []

    def words(self, show: Any) -> None:
        super().words(show)
        if show.role == "user":
            self.shown.append((show.text, show.final))

    def state(self, state: Any) -> None:
        if self.states[-1:] != [state]:
            self.states.append(state)

    def warn(self, warn: Any) -> None:
        self.warnings.append(warn)

    def level(self, db: float) -> None: ...


@dataclass
class Talked:
    """What a person saw and heard."""

    view: Watching
    service: Service
    sound: np.ndarray
    rate: int
    ended: VivavoceError | None

    @property
    def finals(self) -> list[str]:
        return [text.strip() for text, final in self.view.shown if final]

    @property
    def answers(self) -> list[str]:
        return [show.text for show in self.view.said("assistant")]

    @property
    def warned(self) -> list[str]:
        return [warn.message for warn in self.view.warnings]

    @property
    def tone_s(self) -> float:
        """Seconds in which something was heard."""
        frames = self.sound[: len(self.sound) // 100 * 100].reshape(-1, 100)
        return int((np.abs(frames).max(axis=1) > 0.1).sum()) * 100 / self.rate

    @property
    def pitch(self) -> float:
        """Of what was heard, Hz."""
        spectrum = np.abs(np.fft.rfft(self.sound))
        return float(np.argmax(spectrum) * self.rate / len(self.sound))


def recording(path: Path, *parts: float) -> Path:
    """Write a recording: silence, speech, silence and so on, in seconds."""
    rate, noise = 24_000, np.random.default_rng(1)
    pieces = [noise.uniform(-0.3, 0.3, round(s * rate)) * (at % 2) for at, s in enumerate(parts)]
    soundfile.write(path, np.concatenate(pieces).astype(np.float32), rate)
    return path


async def talk(
    server: Emulated,
    settings: Mapping[str, Any],
    environ: Mapping[str, str],
    tmp_path: Path,
    *,
    parts: Sequence[float] = (),
    typed: Sequence[str] = (),
    tools: Sequence[Callable[..., Any]] = (),
    greeting: str | None = None,
    lasting: bool = False,
) -> Talked:
    """Hold a whole conversation with a stand-in, by voice or in writing.

    Args:
        server: the stand-in.
        settings: of the agent; the address is put in.
        environ: variables; `{root}` in them is the stand-in's host and port.
        tmp_path: for the recordings.
        parts: of the recording that is spoken; none to write.
        typed: what is written, each when the last was answered.
        tools: what the model may call.
        greeting: what the model is told to open with.
        lasting: whether another session is opened when one has ended.
    """
    async with server.open(SPEED) as root:
        defaults: dict[str, Any] = {"url": f"ws://{root}{server.path}", "silence_ms": 200}
        chosen = Settings(**defaults | dict(settings))
        environ = {name: value.replace("{root}", root) for name, value in environ.items()}
        service = services.find(chosen, environ)
        view, box, clock = Watching(), Toolbox(tools), QuickClock()
        definitions = [msgspec.to_builtins(definition) for definition in box.definitions()]
        output, ended = tmp_path / "answers.wav", None
        async with compose.open_service(chosen, service, waiting) as opening, opening() as link:
            wanted = services.session_settings(chosen, service, definitions, spoken=bool(parts))
            about: dict[str, Any] = {"mint": Ids(secrets.token_hex(4)), "view": view, "tools": box}
            about["reopen"] = opening if lasting else None
            try:
                with fail_after(PATIENCE_S):
                    if parts:
                        spoken = recording(tmp_path / "speech.wav", *parts)
                        microphone = WavMicrophone(spoken, clock=clock, tail_silence_s=1.0)
                        speaker = WavSpeaker(output, clock=clock, sample_rate=service.out_rate)
                        async with microphone, speaker:
                            agent = Agent(
                                link, wanted, microphone=microphone, speaker=speaker, greeting=greeting, **about
                            )
                            await agent.run()
                    else:
                        await _write(Agent(link, wanted, greeting=greeting, **about), typed)
            except VivavoceError as error:
                ended = error
        assert server.mistakes == []
        sound, rate = soundfile.read(output) if parts else (np.zeros(1), service.out_rate)
        return Talked(view, service, sound, rate, ended)


async def _write(agent: Agent, typed: Sequence[str]) -> None:
    """Type each line when the last was answered, then stop."""

    async def lines() -> None:
        for line in typed:
            agent.say(line)
            await _until_quiet(agent)
        await _until_quiet(agent)
        agent.stop()

    async with beside(lines):
        await agent.run()


async def _until_quiet(agent: Agent) -> None:
    quiet = 0
    with move_on_after(PATIENCE_S / 2):
        while quiet < 5:
            await anyio.sleep(0.02)
            quiet = quiet + 1 if agent.quiet else 0
