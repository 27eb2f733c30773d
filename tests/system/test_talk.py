"""`vivavoce talk` and `vivavoce serve` as a person runs them: real processes, real models, real speech."""

from __future__ import annotations

import random
import signal
import subprocess
from typing import TYPE_CHECKING

import anyio
import pytest
import soundfile
from tests.scenarios.command import PATIENCE_S, QUESTION, started, vivavoce
from tests.scenarios.speech import RATE, loud, read, spoken
from tests.scenarios.weather import TEMPERATURE, weather_service
from tests.system import pulse as pulse_audio

from vivavoce.speech.pcm import from_pcm16, to_pcm16

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.scenarios.command import Ending
    from tests.system.pulse import Pulse

pytestmark = [pytest.mark.speech, pytest.mark.anyio]

RANDOM = random.Random(2026)
ENDING_S = 20.0
"""In which an interrupted process must have ended: a hang, not slowness, fails."""
SPEAKER = '\npcm.loudspeaker {{ type pulse server "unix:{socket}" device loudspeaker }}\n'


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of our own, in a process of its own."""
    folder = tmp_path_factory.mktemp("serve")
    with started("serve", "--profile", "fast", "--port", "0", cwd=folder) as server:
        yield ready(server)
        server.process.send_signal(signal.SIGTERM)
        ended = server.wait(ENDING_S)
    assert (ended.code, ended.out) == (0, "")
    assert "Traceback" not in ended.err


def ready(server: Ending) -> str:
    """Wait until the server has said where it is ready, and return that."""
    assert server.process.stderr is not None
    for line in server.process.stderr:
        if line.startswith("Ready: "):
            return line.split()[1]
    raise AssertionError("the server has ended")


async def heard_in(path: Path) -> str:
    sound, rate = soundfile.read(path, dtype="float32")
    assert rate == RATE
    return await read(sound)


async def test_recording_is_answered_as_fast_as_it_can(tmp_path: Path) -> None:
    ended = vivavoce("talk", "--profile", "fast", "--fast", "--input", QUESTION, "--output", "answer.wav", cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    lines = dict(line.split(": ", 1) for line in ended.out.splitlines())
    assert "capital of France" in lines["you"]
    assert "Paris" in lines["agent"]
    assert "waited" in lines["time"]
    assert "Paris" in await heard_in(tmp_path / "answer.wav")


async def test_recording_is_answered_in_real_time(url: str, tmp_path: Path) -> None:
    ended = vivavoce("talk", "--url", url, "--print-json", "--input", QUESTION, "--output", "answer.wav", cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    said = {event["role"]: event["text"] for event in ended.events if event["type"] == "words" and event["final"]}
    assert "capital of France" in said["user"]
    assert "Paris" in said["assistant"]
    assert [event["state"] for event in ended.events if event["type"] == "state"][-1] == "listening"
    assert all(event["total_ms"] > event["waiting_ms"] > 0 for event in ended.events if event["type"] == "timings")
    answer, _ = soundfile.read(tmp_path / "answer.wav", dtype="float32")
    asked_s = soundfile.info(QUESTION).duration
    assert not loud(answer[: round((asked_s - 0.5) * RATE)])
    assert "Paris" in await heard_in(tmp_path / "answer.wav")


def test_typed_lines_are_answered_one_after_the_other(url: str, tmp_path: Path) -> None:
    typed = "What is the capital of France?\nWhat is the capital of Italy?\n"
    ended = vivavoce("talk", "--url", url, "--text", cwd=tmp_path, typed=typed)
    assert (ended.code, ended.err) == (0, "")
    answers = [line for line in ended.out.splitlines() if line.startswith("agent: ")]
    assert len(answers) == 2
    assert "Paris" in answers[0]
    assert "Rome" in answers[1]


def test_nothing_typed_ends_at_once(url: str, tmp_path: Path) -> None:
    ended = vivavoce("talk", "--url", url, "--text", cwd=tmp_path, typed="")
    assert (ended.code, ended.err, ended.out) == (0, "", "")


async def test_weather_is_asked_by_voice(url: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "question.wav", await spoken("What is the weather in Paris?"), RATE)
    arguments = ("--url", url, "--print-json", "--fast", "--input", "question.wav", "--output", "answer.wav")
    with weather_service() as (addresses, asked):
        ended = vivavoce("talk", *arguments, cwd=tmp_path, **addresses)
    assert (ended.code, ended.err) == (0, "")
    (result,) = [event for event in ended.events if event["type"] == "tool.result"]
    assert (result["name"], result["ok"], asked) == ("get_weather", True, ["Paris"])
    heard = await heard_in(tmp_path / "answer.wav")
    assert str(TEMPERATURE) in heard or "eventeen" in heard


async def test_machine_without_sound_card_answers_the_bundled_question(url: str, tmp_path: Path) -> None:
    ended = vivavoce("talk", "--url", url, cwd=tmp_path)
    assert ended.code == 0
    assert "no sound card" in ended.err
    assert "vivavoce talk --text" in ended.err
    assert "Paris" in await heard_in(tmp_path / "vivavoce-answer.wav")


@pytest.mark.parametrize("moment", [0.6, *(round(RANDOM.uniform(0.6, 6.0), 2) for _ in range(3))])
def test_interrupt_ends_embedded_conversation(tmp_path: Path, moment: float) -> None:
    _assert_interruptible(tmp_path, moment, "--profile", "fast")


@pytest.mark.parametrize("moment", [round(RANDOM.uniform(0.6, 6.0), 2) for _ in range(3)])
def test_interrupt_ends_remote_conversation(url: str, tmp_path: Path, moment: float) -> None:
    _assert_interruptible(tmp_path, moment, "--url", url)


def _assert_interruptible(folder: Path, moment: float, *arguments: str) -> None:
    with started("talk", *arguments, "--input", QUESTION, "--output", "answer.wav", cwd=folder) as running:
        try:
            running.process.wait(moment)
        except subprocess.TimeoutExpired:
            running.process.send_signal(signal.SIGINT)
        ended = running.wait(ENDING_S)
    assert (ended.code, ended.err.strip()) == (0, "")


# Through sound devices -----------------------------------------------------------------------------------------------


@pytest.fixture
def pulse(tmp_path: Path) -> Iterator[Pulse]:
    """A daemon with a virtual microphone, "cable end", and a virtual loudspeaker."""
    with pulse_audio.running(tmp_path) as pulse:
        with (tmp_path / "asound.conf").open("a") as alsa:
            alsa.write(SPEAKER.format(socket=pulse.socket))
        load = ["pactl", "load-module", "module-null-sink", "sink_name=loudspeaker", f"rate={RATE}"]
        subprocess.run(load, check=True, stdout=subprocess.DEVNULL)
        yield pulse


@pytest.mark.devices
def test_conversation_through_sound_devices(url: str, pulse: Pulse, tmp_path: Path) -> None:
    sound = ("--raw", "--format=s16le", "--channels=1", "--latency-msec=10")
    devices = ("--input-device", "cable end", "--output-device", "loudspeaker", "--greeting", "")
    with (tmp_path / "heard.raw").open("wb") as heard:
        recorder = subprocess.Popen(["parec", "--device=loudspeaker.monitor", *sound, f"--rate={RATE}"], stdout=heard)
        with started("talk", "--url", url, "--print-json", *devices, cwd=tmp_path, **pulse.environment) as talk:
            assert talk.process.stdout is not None
            lines = iter(talk.process.stdout)
            assert next(line for line in lines if '"state":"listening"' in line)
            question, rate = soundfile.read(QUESTION, dtype="float32")
            play = ["pacat", "--device=cable", *sound, f"--rate={rate}"]
            subprocess.run(play, input=to_pcm16(question), check=True, timeout=PATIENCE_S)
            assert next(line for line in lines if '"state":"speaking"' in line)
            assert next(line for line in lines if '"state":"listening"' in line)
            talk.process.send_signal(signal.SIGINT)
            ended = talk.wait(ENDING_S)
        recorder.terminate()
        recorder.wait()
    assert (ended.code, ended.err) == (0, "")
    assert "Paris" in anyio.run(read, from_pcm16((tmp_path / "heard.raw").read_bytes()))


@pytest.mark.devices
@pytest.mark.parametrize("side", ["--input-device", "--output-device"])
def test_unknown_device_is_refused(pulse: Pulse, tmp_path: Path, side: str) -> None:
    ended = vivavoce("talk", side, "nothing", cwd=tmp_path, **pulse.environment)
    assert ended.code == 1
    (line,) = ended.err.splitlines()
    assert "'nothing'" in line
