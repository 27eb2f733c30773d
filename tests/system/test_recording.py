"""A recording through real sound devices: both sides stand where they were heard."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import anyio
import numpy as np
import pytest
import soundfile
from tests.system import pulse as pulse_audio

from vivavoce.agent.devices import SoundMicrophone, SoundSpeaker
from vivavoce.agent.recorder import SOUND, Recorder
from vivavoce.agent.replay import Replay
from vivavoce.agent.seams import RATE
from vivavoce.agent.sessionlog import SessionLog
from vivavoce.realtime.client import Captured
from vivavoce.speech.pcm import to_pcm16

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.system.pulse import Pulse

    from vivavoce.ports import Samples

pytestmark = [pytest.mark.anyio, pytest.mark.devices]

ALIGNED_S = 0.03
APART_S = (0.5, 1.7, 2.9)
"""When clicks are played."""


@pytest.fixture(scope="module")
def pulse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pulse]:
    with pulse_audio.running(tmp_path_factory.mktemp("pulse")) as running:
        yield running


def bursts() -> Samples:
    """Return short bursts of noise: they are found exactly by what they sound like."""
    sound = np.zeros(round(3.5 * RATE), np.float32)
    random = np.random.default_rng(1)
    for start in APART_S:
        at = round(start * RATE)
        sound[at : at + 2400] = random.uniform(-0.5, 0.5, 2400)
    return sound


def starts(track: Any) -> list[float]:
    """Return when the bursts begin, seconds."""
    loud = np.flatnonzero(np.abs(track.astype(float)) > 1000)
    first = loud[np.insert(np.diff(loud) > RATE / 2, 0, True)]
    return [float(at) / RATE for at in first]


async def test_both_sides_are_aligned(pulse: Pulse, tmp_path: Path) -> None:
    """The microphone hears the loudspeaker at once, by a cable; a moment of being muted moves nothing."""
    async with SoundMicrophone("cable end") as microphone, SoundSpeaker("cable") as speaker:
        recorder = Recorder(tmp_path, {}, microphone=microphone, speaker=speaker)
        with recorder:
            await _hold(recorder, microphone, speaker)
    sound, rate = soundfile.read(recorder.folder / SOUND, dtype="int16")
    assert rate == RATE
    left, right = starts(sound[:, 0]), starts(sound[:, 1])
    assert np.diff(right) == pytest.approx(np.diff(APART_S), abs=0.01)
    assert len(left) == 2
    assert left == pytest.approx([right[0], right[2]], abs=ALIGNED_S)


async def _hold(recorder: Recorder, microphone: SoundMicrophone, speaker: SoundSpeaker) -> None:
    """Play the bursts and send what is heard, but for the second one."""

    async def listen() -> None:
        async with aclosing(microphone.frames()) as frames:
            async for frame in frames:
                heard = speaker.heard()
                if heard is None or not 1300 < heard[1] < 2500:
                    recorder.watch(Captured(to_pcm16(frame)))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listen)
        await anyio.sleep(0.5)
        await speaker.play("item", bursts())
        while not speaker.idle():  # noqa: ASYNC110 - a speaker cannot be awaited
            await anyio.sleep(0.05)
        await anyio.sleep(0.5)
        tasks.cancel_scope.cancel()


async def test_recorded_sound_is_played_beside_the_log(pulse: Pulse, tmp_path: Path) -> None:
    sound = bursts()
    soundfile.write(tmp_path / SOUND, np.stack([sound, np.zeros_like(sound)], axis=1), RATE, "PCM_16")
    lines = ['{"log": 1}', *(f'{{"t": 0, "at": {at}, "in": {{"type": "Typed", "text": "{at}"}}}}' for at in APART_S)]
    (tmp_path / "session.jsonl").write_text("\n".join([*lines, '{"t": 0, "end": "."}', ""]))
    shown: list[float] = []

    class View:
        def __getattr__(self, name: str) -> Any:
            return lambda *_: shown.append(anyio.current_time()) if name == "words" else None

    heard: list[tuple[float, Samples]] = []
    async with SoundMicrophone("cable end") as microphone, anyio.create_task_group() as tasks:

        async def listen() -> None:
            async with aclosing(microphone.frames()) as frames:
                async for frame in frames:
                    heard.append((anyio.current_time(), frame))  # noqa: PERF401 - it never ends

        tasks.start_soon(listen)
        await Replay(SessionLog(tmp_path), View(), sound=tmp_path / SOUND).run()
        await anyio.sleep(0.5)
        tasks.cancel_scope.cancel()
    came = [when for when, frame in heard if np.abs(frame).max() > 0.2]
    first = [when for at, when in enumerate(came) if not at or when - came[at - 1] > 0.5]
    assert len(first) >= 2
    assert first[:2] == pytest.approx(shown[:2], abs=0.5)
