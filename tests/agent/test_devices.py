"""Real streams of PortAudio into a PulseAudio daemon of the test's own."""

from __future__ import annotations

import importlib.abc
import os
import subprocess
import sys
import threading
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import anyio
import numpy as np
import pytest
from tests.system import pulse as pulse_audio

from vivavoce.agent import devices, playout
from vivavoce.agent.devices import SoundMicrophone, SoundSpeaker
from vivavoce.agent.mouth import Mouth
from vivavoce.ports import DeviceError
from vivavoce.realtime.client import Play, Played
from vivavoce.speech.pcm import to_pcm16

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.system.pulse import Pulse

    from vivavoce.ports import Samples

pytestmark = [pytest.mark.anyio, pytest.mark.devices]

RATE = 24_000
TONE_HZ = 440.0


@pytest.fixture(scope="module")
def pulse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pulse]:
    with pulse_audio.running(tmp_path_factory.mktemp("pulse")) as running:
        yield running


@pytest.fixture
def doomed(tmp_path: Path) -> Iterator[Pulse]:
    """A daemon that the test may take away."""
    with pulse_audio.running(tmp_path) as running:
        yield running


def tone(seconds: float, rate: int = RATE) -> Samples:
    time = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * TONE_HZ * time)).astype(np.float32)


class Recorder:
    """Listens at the far end of the cable while a block runs."""

    def __init__(self, microphone: SoundMicrophone) -> None:
        self.microphone = microphone
        self.frames: list[Samples] = []

    async def run(self) -> None:
        async with aclosing(self.microphone.frames()) as frames:
            async for frame in frames:
                self.frames.append(frame)

    def sound(self) -> Samples:
        """What was heard, from its first to its last audible sample."""
        everything = np.concatenate(self.frames)
        audible = np.flatnonzero(np.abs(everything) > 0.005)
        assert len(audible), "nothing was heard"
        return everything[audible[0] : audible[-1] + 1]


async def until_idle(speaker: SoundSpeaker, limit_s: float = 10) -> None:
    with anyio.fail_after(limit_s):
        while not speaker.idle():  # noqa: ASYNC110 - a device announces nothing
            await anyio.sleep(0.01)


async def play_and_record(rate: int, seconds: float) -> tuple[SoundSpeaker, Recorder]:
    async with (
        SoundMicrophone("cable end", sample_rate=RATE) as microphone,
        SoundSpeaker("cable", sample_rate=rate) as speaker,
        anyio.create_task_group() as tasks,
    ):
        recorder = Recorder(microphone)
        tasks.start_soon(recorder.run)
        await anyio.sleep(0.3)
        for chunk in np.array_split(tone(seconds, rate), 10):
            await speaker.play("item", chunk)
        assert not speaker.idle()
        await until_idle(speaker)
        await anyio.sleep(0.3)
        heard = speaker.heard()
        assert heard is not None
        assert heard[0] == "item"
        assert heard[1] == pytest.approx(seconds * 1000, abs=1)
        tasks.cancel_scope.cancel()
    return speaker, recorder


@pytest.mark.parametrize("rate", [24_000, 16_000, 400_000])
async def test_a_tone_arrives_whole_and_pure(pulse: Pulse, rate: int) -> None:
    """400 kHz is more than the device takes, so that it is resampled on the way."""
    speaker, recorder = await play_and_record(rate, 1.0)
    assert speaker.device_rate == (44_100 if rate == 400_000 else rate)
    sound = recorder.sound()
    if not speaker.underflows:  # the machine kept up
        assert len(sound) == pytest.approx(RATE, abs=RATE * 0.004)
        assert np.abs(np.diff(sound)).max() < 1.15 * 0.5 * 2 * np.pi * TONE_HZ / RATE, "a click"
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    assert np.argmax(spectrum) * RATE / len(sound) == pytest.approx(TONE_HZ, abs=2)
    assert speaker.underruns == 0
    assert recorder.microphone.dropped == 0
    assert {len(frame) for frame in recorder.frames} == {480}


async def test_a_device_that_knows_only_stereo(pulse: Pulse, monkeypatch: pytest.MonkeyPatch) -> None:
    """PulseAudio takes any number of channels, so the refusal of mono is put on; the streams are real."""
    portaudio = devices._portaudio()

    def refusing_mono(accept: Callable[..., None]) -> Callable[..., None]:
        def check(*, channels: int, **settings: Any) -> None:
            if channels == 1:
                raise portaudio.PortAudioError("Invalid number of channels", -9998)
            accept(channels=channels, **settings)

        return check

    for name in ("check_input_settings", "check_output_settings"):
        monkeypatch.setattr(portaudio, name, refusing_mono(getattr(portaudio, name)))
    speaker, recorder = await play_and_record(RATE, 0.5)
    assert speaker._stream.channels == recorder.microphone._stream.channels == 2
    assert np.abs(recorder.sound()).max() == pytest.approx(0.5, abs=0.02)


async def test_hush_silences_at_once_and_heard_tells_what_was_heard(pulse: Pulse) -> None:
    async with (
        SoundMicrophone("cable end", sample_rate=RATE) as microphone,
        SoundSpeaker("cable", sample_rate=RATE) as speaker,
        anyio.create_task_group() as tasks,
    ):
        recorder = Recorder(microphone)
        tasks.start_soon(recorder.run)
        await anyio.sleep(0.3)
        assert speaker.heard() is None
        await speaker.play("first", tone(20))
        await anyio.sleep(0.8)
        at_hush = speaker.heard()
        speaker.hush()
        await until_idle(speaker)
        after = speaker.heard()
        await anyio.sleep(0.3)
        tasks.cancel_scope.cancel()
    sound = recorder.sound()
    truth_ms = len(sound) * 1000 / RATE
    assert at_hush is not None
    assert after is not None
    assert at_hush[0] == after[0] == "first"
    assert after[1] == pytest.approx(truth_ms, abs=60)
    assert truth_ms - at_hush[1] < 100, "the latency of 60 ms, one period of it, the fade, and some patience"
    assert np.abs(np.diff(sound)).max() < 0.1, "a click"


async def test_what_is_played_after_a_hush_is_another_item(pulse: Pulse) -> None:
    async with SoundSpeaker("cable", sample_rate=RATE) as speaker:
        await speaker.play("first", tone(20))
        await anyio.sleep(0.3)
        speaker.hush()
        await speaker.play("second", tone(0.2))
        await until_idle(speaker)
        assert speaker.heard() == ("second", 200)
        assert speaker.underruns == 0


async def test_play_waits_while_the_queue_is_full(pulse: Pulse) -> None:
    async with SoundSpeaker("cable", sample_rate=RATE, queue_s=0.2) as speaker:
        await speaker.play("item", tone(0.5))
        with anyio.move_on_after(0.1) as scope:
            await speaker.play("item", tone(0.1))
        assert scope.cancelled_caught
        with anyio.fail_after(5):
            await speaker.play("item", tone(0.1))
        await until_idle(speaker)
        assert speaker.heard() == ("item", 600)


async def test_an_item_that_ran_dry_is_counted(pulse: Pulse) -> None:
    async with SoundSpeaker("cable", sample_rate=RATE) as speaker:
        await speaker.play("item", tone(0.1))
        await until_idle(speaker)
        await speaker.play("other", tone(0.1))
        await until_idle(speaker)
        assert speaker.underruns == 0
        await speaker.play("other", tone(0.1))
        assert speaker.underruns == 1


async def test_the_oldest_frames_are_dropped_when_nobody_takes_them(pulse: Pulse) -> None:
    async with SoundMicrophone("cable end", sample_rate=RATE, backlog_s=0.1) as microphone:
        await anyio.sleep(0.5)
        assert microphone.dropped == 0  # nobody has wanted any
        with anyio.fail_after(5):
            async with aclosing(microphone.frames()) as frames:
                assert len(await anext(frames)) == 480
                await anyio.sleep(0.5)
                assert microphone.dropped > 0


async def test_the_level_follows_the_sound(pulse: Pulse) -> None:
    async with SoundMicrophone("cable end") as microphone, SoundSpeaker("cable") as speaker:
        await anyio.sleep(0.3)
        assert microphone.level == speaker.level == -120
        await speaker.play("item", tone(2))
        await anyio.sleep(0.6)
        assert microphone.level == pytest.approx(-9, abs=1)
        assert speaker.level == pytest.approx(-9, abs=1)


async def test_taps_tell_every_sample_and_when_it_was_heard(pulse: Pulse) -> None:
    """The same tone begins at the same time at both ends of the cable, whatever the buffers between them hold."""
    told: dict[str, list[tuple[float, Samples]]] = {"heard": [], "played": []}
    async with SoundMicrophone("cable end") as microphone, SoundSpeaker("cable") as speaker:
        microphone.taps.append(lambda when, block: told["heard"].append((when, block)))
        speaker.taps.append(lambda when, block: told["played"].append((when, block)))
        await anyio.sleep(0.3)
        await speaker.play("item", tone(1.0))
        await until_idle(speaker)
        await anyio.sleep(0.3)
    starts = {end: onset(blocks, RATE) for end, blocks in told.items()}
    assert (microphone.tap_rate, speaker.tap_rate) == (RATE, RATE)
    assert starts["heard"] == pytest.approx(starts["played"], abs=0.03)
    played = np.concatenate([block for _, block in told["played"]])
    assert np.count_nonzero(played) == pytest.approx(RATE, rel=0.02)


def onset(blocks: list[tuple[float, Samples]], rate: int) -> float:
    """Return when the first audible sample was there."""
    return next(when + np.argmax(loud) / rate for when, block in blocks if (loud := np.abs(block) > 0.1).any())


async def test_an_answer_is_held_back_until_it_is_complete_or_has_waited(pulse: Pulse) -> None:
    async with SoundSpeaker("cable", sample_rate=RATE) as speaker:
        for item, complete in (("short", True), ("unknown", False)):
            await speaker.play(item, tone(0.03))
            if complete:
                speaker.finish(item)
            await until_idle(speaker)
            assert speaker.heard() == (item, 30)
            assert speaker.held_back_ms == (0 if complete else pytest.approx(40, abs=0.1))


async def test_the_agent_tells_that_an_answer_is_complete(pulse: Pulse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playout, "DELAY_S", 20.0)
    async with SoundSpeaker("cable", sample_rate=RATE) as speaker, anyio.create_task_group() as tasks:
        mouth = Mouth(speaker)
        tasks.start_soon(mouth.run)
        mouth.play(Play("short", to_pcm16(tone(0.03))))
        mouth.finish("short")
        with anyio.fail_after(5):
            while not mouth.idle:  # noqa: ASYNC110 - a device announces nothing
                await anyio.sleep(0.01)
        heard = mouth.heard(None)
        tasks.cancel_scope.cancel()
    mouth.close()
    assert heard == Played("short", 30, all_played=True)


@pytest.mark.parametrize("rate", [RATE, 400_000])
async def test_a_short_piece_is_not_cut_off_by_what_polls(pulse: Pulse, rate: int) -> None:
    """The resampler holds something back; asking what was heard must not tear it out while more is to come."""
    async with SoundSpeaker("cable", sample_rate=rate) as speaker:
        await speaker.play("item", tone(0.03, rate))
        assert speaker.heard() is None
        assert not speaker.idle()
        await speaker.play("item", tone(0.03, rate))
        speaker.finish("item")
        await until_idle(speaker)
        assert speaker.heard() == ("item", 60)


@pytest.mark.parametrize("how", ["unplug", "kill"])
async def test_a_device_that_vanishes_while_talking_is_reported(
    doomed: Pulse, how: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async def listen(microphone: SoundMicrophone) -> None:
        async with aclosing(microphone.frames()) as frames:
            async for _ in frames:
                pass

    async def talk(speaker: SoundSpeaker) -> None:
        while True:
            await speaker.play("item", tone(0.1))
            await anyio.sleep(0.1)

    async with SoundMicrophone("cable end") as microphone, SoundSpeaker("cable") as speaker:
        with anyio.move_on_after(0.5):
            await talk(speaker)
        await anyio.to_thread.run_sync(doomed.unplug if how == "unplug" else doomed.kill)
        with anyio.fail_after(3):
            with pytest.raises(DeviceError, match=r"The loudspeaker 'cable' is gone: connect it again"):
                await talk(speaker)
            with pytest.raises(DeviceError, match=r"The microphone 'cable end' is gone: connect it again"):
                await listen(microphone)
        assert speaker.idle()
    assert capfd.readouterr().err == ""


async def test_a_driver_that_never_returns_holds_nobody_up(pulse: Pulse, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stuck:
        def __init__(self) -> None:
            self.release, self.closed = threading.Event(), threading.Event()

        def close(self) -> None:
            self.release.wait(10)
            self.closed.set()

    monkeypatch.setattr(devices, "CLOSING_S", 0.05)
    monkeypatch.setattr(devices._portaudio(), "_initialized", 1)
    stuck = Stuck()
    try:
        await devices._close(stuck)
        assert not stuck.closed.is_set()
        assert not devices._portaudio()._initialized, "sounddevice would hang when the process exits"
        with pytest.raises(DeviceError, match="The sound system does not respond: end this program"):
            async with SoundSpeaker("cable"):
                pass
    finally:
        stuck.release.set()
    await anyio.to_thread.run_sync(stuck.closed.wait, 10)


def test_what_native_libraries_write_does_not_reach_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with devices.quiet_stderr:
        with devices.quiet_stderr:
            os.write(2, b"ALSA lib")
        os.write(2, b"PortAudio")
    os.write(2, b"ours")
    assert capfd.readouterr().err == "ours"


async def test_opening_and_closing_is_silent(pulse: Pulse, capfd: pytest.CaptureFixture[str]) -> None:
    async with SoundMicrophone("cable end") as microphone, SoundSpeaker("cable") as speaker:
        assert (microphone.name, speaker.name) == ("cable end", "cable")
        await speaker.play("item", tone(0.1))
        await until_idle(speaker)
    with pytest.raises(DeviceError):
        async with SoundSpeaker("nowhere"):
            pass
    assert capfd.readouterr().err == ""


def test_without_portaudio_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """sounddevice raises OSError where the library is missing; a module that is not there stands for that."""

    class Missing(importlib.abc.MetaPathFinder):
        def find_spec(self, name: str, path: Any, target: Any = None) -> None:
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    devices._portaudio.cache_clear()
    try:
        with pytest.raises(DeviceError, match=r"sudo apt-get install libportaudio2"):
            devices.list_devices()
        assert not devices.has_devices()
    finally:
        devices._portaudio.cache_clear()


async def test_devices_are_listed(pulse: Pulse) -> None:
    found = {device.name: device for device in devices.list_devices()}
    assert set(found) == {"cable", "cable end", "default"}
    assert found["default"].default_input
    assert found["default"].default_output
    assert found["cable"].host_api == "ALSA"
    assert found["cable"].outputs > 1
    assert devices.has_devices()
    assert devices.find_device(None, "output") == found["default"]
    assert devices.find_device(str(found["cable end"].index), "input") == found["cable end"]
    assert devices.find_device("END", "input") == found["cable end"]
    assert devices.find_device("Cable", "output") == found["cable"], "the exact name wins"


@pytest.mark.parametrize(
    ("choice", "complaint"),
    [
        ("gramophone", r"No loudspeaker is called 'gramophone': choose by number among 0 '.*, 2 '"),
        (17, r"No loudspeaker is called 17: choose by number"),
        ("abl", r"'abl' fits several loudspeakers: choose by number among \d 'cable', \d 'cable end'\."),
    ],
)
async def test_a_device_that_is_not_there_or_not_clear(pulse: Pulse, choice: str | int, complaint: str) -> None:
    with pytest.raises(DeviceError, match=complaint):
        async with SoundSpeaker(choice):
            pass
    with pytest.raises(DeviceError, match=complaint.replace("loudspeaker", "microphone")):
        async with SoundMicrophone(choice):
            pass


async def test_a_rate_that_no_device_takes_and_no_daemon(doomed: Pulse) -> None:
    doomed.kill()
    with pytest.raises(DeviceError, match=r"The loudspeaker 'cable' cannot be opened \(.*\): close the program"):
        async with SoundSpeaker("cable"):
            pass


def test_without_a_usable_configuration_of_alsa_the_remedy_is_named() -> None:
    """In a process of its own, which ALSA would abort."""
    code = "from vivavoce.agent import devices; devices.list_devices()"
    environment = os.environ | {"ALSA_CONFIG_PATH": "/nonexistent"}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].endswith("sudo apt-get install --reinstall libasound2-data")
    assert "ALSA lib" not in ended.stderr
