"""Devices that come and go: two PulseAudio daemons stand for two sound cards."""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

import anyio
import numpy as np
import pytest
from tests.system import pulse as pulse_audio

from vivavoce.agent import hotplug
from vivavoce.agent.devices import SoundMicrophone
from vivavoce.agent.hotplug import Devices
from vivavoce.ports import DeviceError, Tapped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.system.pulse import Pulse

    from vivavoce.ports import Samples

pytestmark = [pytest.mark.anyio, pytest.mark.devices]

RATE = 24_000
TWO_CARDS = """
pcm.cable {{ type pulse server "unix:{socket}" device cable }}
pcm."cable end" {{ type pulse server "unix:{socket}" device cable.monitor }}
pcm.default {{ type pulse server "unix:SPARE" }}
pcm."spare end" {{ type pulse server "unix:SPARE" device cable.monitor }}
"""


@pytest.fixture(scope="module")
def spare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pulse]:
    """The sound card that stays; the default devices are on it."""
    with pulse_audio.running(tmp_path_factory.mktemp("spare")) as running:
        yield running


@pytest.fixture
def card(spare: Pulse, tmp_path: Path) -> Iterator[Pulse]:
    """The sound card that a test may take away and bring back."""
    with pulse_audio.running(tmp_path, TWO_CARDS.replace("SPARE", str(spare.socket))) as running:
        yield running


@pytest.fixture
def desktop(tmp_path: Path) -> Iterator[Pulse]:
    """A sound server with two devices, of which the person chooses one."""
    with pulse_audio.running(tmp_path) as running:
        running.plug("headset", "Headset")
        yield running


def tone(seconds: float) -> Samples:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


class Conversation:
    """A microphone that is always listened to, a loudspeaker, and what was told of them."""

    def __init__(self, microphone: str | None = "cable end", speaker: str | None = "cable") -> None:
        self.notes: list[str] = []
        devices = Devices(self.notes.append)
        self.microphone = devices.microphone(microphone, sample_rate=RATE)
        self.speaker = devices.speaker(speaker, sample_rate=RATE)
        self.devices = devices
        self.frames: list[Samples] = []

    @asynccontextmanager
    async def held(self) -> AsyncIterator[Conversation]:
        async with self.devices.opened(), anyio.create_task_group() as tasks:
            tasks.start_soon(self._listen)
            await anyio.sleep(0.3)
            yield self
            tasks.cancel_scope.cancel()

    async def _listen(self) -> None:
        async with aclosing(self.microphone.frames()) as frames:
            async for frame in frames:
                self.frames.append(frame)

    async def told(self, note: str, limit_s: float = 10) -> None:
        with anyio.fail_after(limit_s):
            while note not in self.notes:  # noqa: ASYNC110 - the list announces nothing
                await anyio.sleep(0.02)

    async def idle(self, limit_s: float = 10) -> None:
        with anyio.fail_after(limit_s):
            while not self.speaker.idle():
                self.speaker.heard()
                await anyio.sleep(0.02)

    def loudness(self) -> float:
        """Of the last tenth of a second."""
        return float(np.abs(np.concatenate(self.frames[-5:])).max())


async def kill(card: Pulse) -> None:
    await anyio.to_thread.run_sync(card.kill)


async def bring_back(card: Pulse) -> None:
    await anyio.to_thread.run_sync(card.start)


async def test_silence_stands_for_a_microphone_until_it_is_back(card: Pulse) -> None:
    async with Conversation().held() as talk:
        assert isinstance(talk.microphone, Tapped)
        await kill(card)
        await talk.told("Waiting for the microphone cable end …")
        await talk.told("Waiting for the loudspeaker cable …")
        before = len(talk.frames)
        await anyio.sleep(1)
        assert 40 <= len(talk.frames) - before <= 60, "about 50 frames of silence a second"
        await bring_back(card)
        await talk.told("The microphone cable end is back.")
        await talk.told("The loudspeaker cable is back.")
        await talk.speaker.play("item", tone(1))
        await anyio.sleep(0.6)
        assert talk.loudness() == pytest.approx(0.5, abs=0.05)
        await talk.idle()
        assert talk.speaker.heard() == ("item", 1000)
    # A sink that nobody hurries yet stalls for two seconds, so that it may go once more.
    assert len(set(talk.notes)) == 4
    assert len(talk.notes) <= 6
    assert {len(frame) for frame in talk.frames} == {480}


async def test_an_answer_goes_on_where_it_was_heard_last(
    card: Pulse, spare: Pulse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hotplug, "LOYALTY_S", 0.3)
    async with Conversation("spare end").held() as talk:
        for piece in np.array_split(tone(4), 40):
            await talk.speaker.play("item", piece)
        talk.speaker.finish("item")
        await anyio.sleep(1)
        await kill(card)
        await talk.told("The loudspeaker cable is gone; using default.")
        heard = talk.speaker.heard()
        assert heard is not None
        assert heard[0] == "item"
        assert 600 < heard[1] < 1400
        await talk.idle()
        await anyio.sleep(0.3)
        ended = talk.speaker.heard()
        assert ended is not None
        assert ended[1] == pytest.approx(4000, abs=1)
        audible = np.flatnonzero(np.abs(np.concatenate(talk.frames)) > 0.01)
        assert (audible[-1] - audible[0]) / RATE == pytest.approx(4 - heard[1] / 1000, abs=0.1)
        assert talk.speaker.name == "default"


async def test_a_conversation_goes_on_without_a_loudspeaker(card: Pulse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hotplug, "PATIENCE_S", 0.5)
    async with Conversation().held() as talk:
        await talk.speaker.play("lost", tone(5))
        await anyio.sleep(0.8)
        await kill(card)
        await talk.told("Waiting for the loudspeaker cable …")
        assert not talk.speaker.idle()
        await talk.idle(3)
        lost = talk.speaker.heard()
        assert lost is not None
        assert lost[0] == "lost"
        assert 300 < lost[1] < 1200
        await talk.speaker.play("unheard", tone(1))
        assert talk.speaker.idle()
        assert talk.speaker.heard() == ("unheard", 0)
        await bring_back(card)
        await talk.told("The loudspeaker cable is back.")
        await talk.speaker.play("unheard", tone(1))
        assert talk.speaker.idle(), "its beginning is lost"
        await talk.speaker.play("next", tone(0.3))
        assert not talk.speaker.idle()
        await talk.idle()
        assert talk.speaker.heard() == ("next", 300)


async def test_a_hush_without_a_loudspeaker_forgets_the_answer(card: Pulse) -> None:
    async with Conversation().held() as talk:
        await talk.speaker.play("item", tone(5))
        await anyio.sleep(0.5)
        await kill(card)
        await talk.told("Waiting for the loudspeaker cable …")
        talk.speaker.hush()
        assert talk.speaker.idle()


async def test_the_counts_and_the_rate_of_the_taps_outlast_a_device(card: Pulse) -> None:
    async with Conversation().held() as talk:
        talk.microphone._inner.dropped = 3
        talk.speaker._inner.underflows = 2
        assert (talk.microphone.dropped, talk.speaker.underflows) == (3, 2)
        talk.microphone._tap_rate = 48_000  # as if the first device had been opened at this rate
        told: list[tuple[float, Samples]] = []
        talk.microphone.taps.append(lambda when, samples: told.append((when, samples)))
        await kill(card)
        await talk.told("Waiting for the microphone cable end …")
        await bring_back(card)
        await talk.told("The microphone cable end is back.")
        assert talk.microphone.dropped >= 3
        assert talk.speaker.underflows >= 2
        begun = len(told)
        await anyio.sleep(1)
        assert sum(len(samples) for _, samples in told[begun:]) == pytest.approx(48_000, rel=0.15)
        steps = [later - earlier for (earlier, _), (later, _) in pairwise(told)]
        assert max(map(abs, steps)) < 2, "silence lies on the time line of the devices"


async def test_another_default_is_told_and_followed(desktop: Pulse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hotplug, "DEFAULT_S", 0.1)
    async with Conversation("cable end", None).held() as talk:
        await anyio.sleep(0.5)
        assert await anyio.to_thread.run_sync(desktop.playing) == {"cable"}
        await anyio.to_thread.run_sync(desktop.choose, "headset")
        await talk.told("The loudspeaker is now Headset.")
        await anyio.sleep(0.3)
        assert await anyio.to_thread.run_sync(desktop.playing) == {"headset"}
        assert talk.speaker.here
    assert talk.notes == ["The loudspeaker is now Headset."]


async def test_the_other_side_is_not_interrupted_while_it_speaks(card: Pulse) -> None:
    async with Conversation(None).held() as talk:
        await talk.speaker.play("item", tone(3))
        await anyio.sleep(0.2)
        await talk.microphone.close()
        assert not talk.devices._may_interrupt()
        talk.speaker.hush()
        await talk.idle()
        assert talk.devices._may_interrupt()
        assert not talk.devices._may_interrupt(), "not so soon again"


async def test_a_device_that_is_not_there_at_the_beginning_is_refused(card: Pulse) -> None:
    devices = Devices()
    devices.microphone("cable end")
    devices.speaker("gramophone")
    with pytest.raises(DeviceError, match="No loudspeaker is called 'gramophone'"):
        async with devices.opened():
            pass
    async with SoundMicrophone("cable end"):
        pass  # the one that could be opened was closed again
