"""Sound files as devices, on a clock that is never waited for."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import anyio
import numpy as np
import pytest
import soundfile
import trio.testing

from vivavoce.agent.files import AudioClock, WavMicrophone, WavSpeaker
from vivavoce.ports import DeviceError, Tapped

if TYPE_CHECKING:
    from pathlib import Path

    from vivavoce.ports import Microphone, Samples, Speaker

pytestmark = pytest.mark.anyio

RATE = 24_000
TONE_HZ = 440.0


@pytest.fixture
def anyio_backend() -> Any:
    """A clock that jumps to the next deadline whenever everyone waits."""
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


def tone(seconds: float, rate: int = RATE) -> Samples:
    time = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * TONE_HZ * time)).astype(np.float32)


async def listen(path: Path, *, realtime: bool = False, **options: Any) -> list[tuple[float, Samples]]:
    async with WavMicrophone(path, clock=AudioClock(realtime=realtime), **options) as microphone:
        port: Microphone = microphone
        start = anyio.current_time()
        return [(anyio.current_time() - start, frame) async for frame in port.frames()]


@pytest.mark.parametrize(
    ("name", "rate", "channels", "subtype"),
    [
        ("a.wav", 24_000, 1, "PCM_16"),
        ("a.wav", 16_000, 1, "FLOAT"),
        ("a.wav", 48_000, 1, "PCM_24"),
        ("a.wav", 11_025, 1, "PCM_U8"),
        ("a.wav", 8_000, 1, "ULAW"),
        ("a.wav", 44_100, 2, "PCM_16"),
        ("a.wav", 48_000, 6, "DOUBLE"),
        ("a.flac", 44_100, 2, "PCM_24"),
        ("a.aiff", 22_050, 1, "PCM_16"),
        ("a.ogg", 48_000, 1, "VORBIS"),
    ],
)
async def test_every_format_sounds_the_same(tmp_path: Path, name: str, rate: int, channels: int, subtype: str) -> None:
    sound = tone(1.01, rate)
    soundfile.write(tmp_path / name, np.tile(sound[:, np.newaxis], channels), rate, subtype)
    frames = [frame for _, frame in await listen(tmp_path / name, tail_silence_s=0.1)]
    assert {(frame.shape, frame.dtype.name) for frame in frames} == {((480,), "float32")}
    assert len(frames) == 51 + 5
    heard = np.concatenate(frames)
    error = heard[480:23_520] - tone(1.01)[480:23_520]
    assert np.sqrt(np.mean(error**2)) < 0.02
    assert not np.concatenate(frames[-5:]).any()


async def test_what_is_no_number_is_silence_and_what_is_too_loud_is_cut(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([np.nan, np.inf, -np.inf, 7, 0.5], np.float32), RATE, "FLOAT")
    ((_, frame),) = await listen(tmp_path / "a.wav", tail_silence_s=0)
    assert frame[:6].tolist() == [0, 1, -1, 1, 0.5, 0]


async def test_frames_are_due_on_a_clock_that_does_not_drift(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(10), RATE)
    times = [time for time, _ in await listen(tmp_path / "a.wav", realtime=True, tail_silence_s=1)]
    assert times == pytest.approx([0.02 * number for number in range(1, 551)])


async def test_a_consumer_that_stalls_catches_up(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(1), RATE)
    times = []
    async with WavMicrophone(tmp_path / "a.wav", clock=AudioClock(realtime=True), tail_silence_s=0) as microphone:
        start = anyio.current_time()
        async for _ in microphone.frames():
            times.append(anyio.current_time() - start)
            await anyio.sleep(0.2 if len(times) == 10 else 0.001)
    assert len(times) == 50
    assert times[-1] == pytest.approx(1.0)
    assert times[11] == pytest.approx(0.401)


async def test_fast_mode_takes_no_time(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(10), RATE)
    assert {time for time, _ in await listen(tmp_path / "a.wav")} == {0.0}


def broken(path: Path, kind: str) -> Path:
    target = path / f"{kind}.wav"
    if kind == "text":
        target.write_text("hello")
    elif kind == "nothing":
        target.touch()
    elif kind == "soundless":
        soundfile.write(target, np.zeros(0, np.float32), RATE)
    elif kind == "folder":
        target.mkdir()
    elif kind == "bare":
        target = path / "bare.raw"
        target.write_bytes(b"\0" * 100)
    return target


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        ("missing", r"There is no sound file .*missing\.wav: check the path\."),
        ("folder", r"There is no sound file .*folder\.wav: check the path\."),
        ("text", r"text\.wav is not a sound file that can be read: convert it, for instance with `ffmpeg"),
        ("nothing", r"is not a sound file that can be read: convert it"),
        ("bare", r"is not a sound file that can be read: convert it"),
        ("soundless", r"soundless\.wav holds no sound: record it again\."),
    ],
)
async def test_a_file_that_cannot_be_heard(tmp_path: Path, kind: str, complaint: str) -> None:
    with pytest.raises(DeviceError, match=complaint):
        await listen(broken(tmp_path, kind))


async def test_a_file_that_is_damaged_midway(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, RATE * 4)
    soundfile.write(tmp_path / "a.flac", noise, RATE)
    data = bytearray((tmp_path / "a.flac").read_bytes())
    data[len(data) // 2 :] = b"\xff" * (len(data) - len(data) // 2)
    (tmp_path / "a.flac").write_bytes(data)
    with pytest.raises(DeviceError, match=r"a\.flac is damaged \(.*\): record or convert it again"):
        await listen(tmp_path / "a.flac")


def recorded(path: Path) -> Samples:
    sound, rate = soundfile.read(path, dtype="float32")
    assert rate == RATE
    return np.asarray(sound, np.float32)


async def test_a_pause_is_silence_after_which_the_item_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    async with WavSpeaker(path, clock=AudioClock(realtime=True)) as speaker:
        await speaker.play("a", tone(1))
        await anyio.sleep(0.25)
        speaker.pause()
        await anyio.sleep(0.5)
        assert (speaker.heard(), speaker.idle(), speaker.underruns) == (("a", 250), False, 0)
        speaker.resume()
        await anyio.sleep(0.5)
        assert speaker.heard() == ("a", 750)
        speaker.pause()
        speaker.hush()
        await speaker.play("b", tone(1))
        await anyio.sleep(0.25)
        assert speaker.heard() == ("b", 250)
    sound = recorded(path)
    assert not sound[RATE // 4 : RATE * 3 // 4].any()
    assert np.abs(sound[RATE * 3 // 4 : RATE]).max() > 0.1


async def test_the_recording_follows_the_clock(tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    async with WavSpeaker(path, clock=AudioClock(realtime=True)) as speaker:
        port: Speaker = speaker
        assert port.heard() is None
        assert port.idle()
        await anyio.sleep(1)
        await port.play("a", tone(0.5))
        await port.play("a", tone(0.5))
        assert port.heard() is None
        await anyio.sleep(0.25)
        assert port.heard() == ("a", 250)
        assert not port.idle()
        await anyio.sleep(0.5)
        assert port.heard() == ("a", 750)
        await anyio.sleep(0.5)
        assert port.heard() == ("a", 1000)
        assert port.idle()
        await port.play("b", tone(3))
        await anyio.sleep(0.1)
        port.hush()
        assert port.heard() == ("b", 100)
        assert port.idle()
        await anyio.sleep(0.4)
    sound = recorded(path)
    expected = np.zeros(round(2.75 * RATE), np.float32)
    expected[RATE : RATE + RATE // 2] = expected[RATE + RATE // 2 : 2 * RATE] = tone(0.5)
    expected[round(2.25 * RATE) : round(2.35 * RATE)] = tone(0.1)
    assert len(sound) == len(expected)
    assert np.abs(sound - expected).max() <= 1 / 32768


async def test_in_fast_mode_the_time_is_the_microphones(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", tone(2), RATE)
    clock = AudioClock(realtime=False)
    async with (
        WavMicrophone(tmp_path / "in.wav", clock=clock, tail_silence_s=0) as microphone,
        WavSpeaker(tmp_path / "out.wav", clock=clock) as speaker,
    ):
        async with aclosing(microphone.frames()) as frames:
            for _ in range(25):
                await anext(frames)
            await speaker.play("a", tone(1))
            for _ in range(25):
                await anext(frames)
            assert speaker.heard() == ("a", 500)
            speaker.hush()
            async for _ in frames:
                pass
        assert speaker.heard() == ("a", 500)
        assert speaker.idle()
        await speaker.play("b", tone(7))
        assert speaker.heard() == ("b", 7000)
        assert speaker.idle()
    sound = recorded(tmp_path / "out.wav")
    assert not sound[: RATE // 2].any()
    assert np.abs(sound[RATE // 2 : RATE] - tone(0.5)).max() <= 1 / 32768
    assert not sound[RATE : 2 * RATE].any()
    assert np.abs(sound[2 * RATE :] - tone(7)).max() <= 1 / 32768


async def test_a_recording_is_readable_while_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    async with WavSpeaker(path, clock=AudioClock(realtime=True)) as speaker:
        assert len(recorded(path)) == 0
        await speaker.play("a", tone(5))
        for _ in range(100):
            await anyio.sleep(0.04)
            speaker.idle()
        assert 2.9 * RATE < len(recorded(path)) <= 4 * RATE
        assert np.abs(recorded(path)[: 2 * RATE] - tone(2)).max() <= 1 / 32768


async def test_loud_sound_is_cut_not_wrapped(tmp_path: Path) -> None:
    clock = AudioClock(realtime=False)
    clock.end()
    async with WavSpeaker(tmp_path / "out.wav", clock=clock) as speaker:
        await speaker.play("a", np.array([2, -2, 0.999999], np.float32))
    assert recorded(tmp_path / "out.wav").tolist() == pytest.approx([32767 / 32768, -1, 32767 / 32768])


async def test_the_level_follows_the_sound(tmp_path: Path) -> None:
    async with WavSpeaker(tmp_path / "out.wav", clock=AudioClock(realtime=True)) as speaker:
        assert speaker.level == -120
        await speaker.play("a", tone(1))
        await anyio.sleep(0.5)
        assert speaker.level == pytest.approx(-9, abs=0.5)
        await anyio.sleep(1)
        assert speaker.level == -120


async def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"cannot be written \(No such file or directory\): choose another"):
        async with WavSpeaker(tmp_path / "no" / "out.wav", clock=AudioClock(realtime=True)):
            pass


async def test_a_full_disk_is_reported() -> None:
    """/dev/full accepts the opening and refuses every write."""
    with pytest.raises(DeviceError, match=r"/dev/full cannot be written \(No space left on device\): choose another"):
        async with WavSpeaker("/dev/full", clock=AudioClock(realtime=True)):
            await anyio.sleep(5)


async def test_taps_tell_both_ends_on_one_time_line(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(1), RATE)
    clock = AudioClock(realtime=False)
    told: dict[str, list[tuple[float, Samples]]] = {"heard": [], "played": []}
    microphone = WavMicrophone(tmp_path / "a.wav", clock=clock, tail_silence_s=1)
    async with microphone, WavSpeaker(tmp_path / "b.wav", clock=clock) as speaker:
        assert isinstance(microphone, Tapped)
        assert isinstance(speaker, Tapped)
        microphone.taps.append(lambda when, samples: told["heard"].append((when, samples)))
        speaker.taps.append(lambda when, samples: told["played"].append((when, samples)))
        number = 0
        async with aclosing(microphone.frames()) as frames:
            async for frame in frames:
                number += 1
                when, heard = told["heard"][-1]
                assert when == pytest.approx((number - 1) * 0.02)
                assert heard is frame
                if number == 50:
                    await speaker.play("item", tone(0.5))
    assert (microphone.tap_rate, speaker.tap_rate) == (RATE, RATE)
    ends = np.cumsum([len(samples) for _, samples in told["played"]])
    assert [when for when, _ in told["played"]] == pytest.approx([0, *(ends[:-1] / RATE)])
    written, _ = soundfile.read(tmp_path / "b.wav", dtype="float32")
    assert np.concatenate([samples for _, samples in told["played"]]) == pytest.approx(written, abs=1e-4)
    assert np.flatnonzero(written)[0] == pytest.approx(RATE, abs=1)


async def test_an_item_that_ran_dry_is_counted(tmp_path: Path) -> None:
    clock = AudioClock(realtime=True)
    async with WavSpeaker(tmp_path / "a.wav", clock=clock) as speaker:
        for item, pause_s, underruns in (("a", 0.05, 0), ("a", 0.5, 0), ("b", 0.5, 0), ("b", 0, 1), ("b", 0, 1)):
            await speaker.play(item, tone(0.1))
            assert speaker.underruns == underruns
            await anyio.sleep(pause_s)
        speaker.hush()
        await anyio.sleep(1)
        await speaker.play("b", tone(0.1))
        assert (speaker.underruns, speaker.underflows) == (1, 0)
