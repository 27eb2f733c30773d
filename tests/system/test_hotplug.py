"""`vivavoce talk` in a process of its own while its sound devices come and go under it."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.scenarios.command import started, vivavoce
from tests.scripted_engines import QUESTION, STORY
from tests.system import pulse as pulse_audio

from vivavoce.speech.pcm import from_pcm16, to_pcm16
from vivavoce.testing import tone

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.scenarios.command import Ending
    from tests.system.pulse import Pulse

pytestmark = pytest.mark.devices

RATE = 24_000
ENDING_S = 20.0
RAW = ("--raw", "--format=s16le", "--channels=1", "--latency-msec=10", f"--rate={RATE}")
ALSA = pulse_audio.ALSA_CONFIG + '\npcm.loudspeaker {{ type pulse server "unix:{socket}" device loudspeaker }}\n'
ENGINES = {"VIVAVOCE_" + kind.upper(): f"tests.scripted_engines:{kind}" for kind in ("vad", "stt", "tts")}
ENGINES |= {"VIVAVOCE_EOT": "none", "VIVAVOCE_LLM": "tests.scripted_engines:storyteller"}
DEVICES = ("--input-device", "cable end", "--output-device", "loudspeaker")


@pytest.fixture
def pulse(tmp_path: Path) -> Iterator[Pulse]:
    """A daemon with a virtual microphone, "cable end", and a virtual loudspeaker."""
    with pulse_audio.running(tmp_path, ALSA) as running:
        running.plug("loudspeaker", "Loudspeaker")
        yield running


class Talk:
    """What the process says, line by line."""

    def __init__(self, ending: Ending) -> None:
        assert ending.process.stdout is not None
        assert ending.process.stderr is not None
        self._lines, self._errors = ending.process.stdout, ending.process.stderr
        self.notes: list[str] = []

    def until(self, **fields: Any) -> None:
        """Read on to an event that has these fields."""
        for line in self._lines:
            event = json.loads(line)
            if event["type"] == "note":
                self.notes.append(event["text"])
            if fields.items() <= event.items():
                return
        raise AssertionError(f"the process has ended without {fields}: {self._errors.read()}")


def test_an_answer_and_the_conversation_go_on_when_the_devices_are_back(pulse: Pulse, tmp_path: Path) -> None:
    variables = ENGINES | pulse.environment | {"PYTHONPATH": "."}
    with started("talk", "--print-json", *DEVICES, cwd=pulse_audio.ROOT, **variables) as process:
        talk = Talk(process)
        talk.until(state="speaking")
        begun = time.monotonic()
        time.sleep(1)
        pulse.unplug()
        talk.until(type="note", text="Waiting for the loudspeaker loudspeaker …")
        for sink in ("cable", "loudspeaker"):
            pulse.plug(sink, sink, wait=False)
        with (tmp_path / "rest.raw").open("wb") as rest:
            recorder = subprocess.Popen(["parec", "--device=loudspeaker.monitor", *RAW], stdout=rest)
        talk.until(state="listening")
        assert time.monotonic() - begun > 6, "the answer was heard to its end"
        assert {"The loudspeaker loudspeaker is back.", "The microphone cable end is back."} <= set(talk.notes)
        subprocess.run(["pacat", "--device=cable", *RAW], input=to_pcm16(tone(330, 1, RATE)), check=True, timeout=20)
        talk.until(type="words", role="user", text=QUESTION, final=True)
        talk.until(state="speaking")
        process.process.send_signal(signal.SIGINT)
        ended = process.wait(ENDING_S)
        recorder.terminate()
        recorder.wait()
    assert (ended.code, ended.err) == (0, "")
    heard = from_pcm16((tmp_path / "rest.raw").read_bytes())
    assert np.count_nonzero(np.abs(heard) > 0.01) > 2.5 * RATE, "the rest of the answer"
    assert len(STORY.split()) * 0.06 > 6


def test_devices_are_listed_where_they_are_chosen(pulse: Pulse, tmp_path: Path) -> None:
    listed = vivavoce("talk", "--list-devices", cwd=tmp_path, **pulse.environment)
    assert (listed.code, listed.err) == (0, "")
    assert "loudspeaker" in listed.out
    assert listed.out == vivavoce("devices", cwd=tmp_path, **pulse.environment).out


def test_a_sound_system_without_a_configuration_is_one_sentence(tmp_path: Path) -> None:
    """ALSA itself would abort the process."""
    for command in (("devices",), ("talk", "--input-device", "cable end")):
        ended = vivavoce(*command, cwd=tmp_path, ALSA_CONFIG_PATH="/nonexistent")
        assert ended.code == 1
        (line,) = ended.err.splitlines()
        assert line.endswith("unset ALSA_CONFIG_PATH, or sudo apt-get install --reinstall libasound2-data")
