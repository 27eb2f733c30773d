"""`vivavoce talk` at a terminal, with a microphone and a loudspeaker: what a person sees and what their keys do."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
import soundfile
from tests.agent.screen import Screen, needs_tmux
from tests.scenarios.command import COMMAND, PATIENCE_S, QUESTION
from tests.scenarios.speech import RATE
from tests.system.test_talk import pulse, url  # noqa: F401 - fixtures

from vivavoce.speech.pcm import to_pcm16

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.system.pulse import Pulse

pytestmark = [pytest.mark.speech, pytest.mark.devices, needs_tmux]

SOUND = ("--raw", "--format=s16le", "--channels=1", "--latency-msec=10")
TALK = ("--input-device", "cable end", "--output-device", "loudspeaker", "--greeting", "", "--record", "recording")


@pytest.fixture
def screen(url: str, pulse: Pulse, tmp_path: Path) -> Iterator[Screen]:  # noqa: F811
    listener = subprocess.Popen(
        ["parec", "--device=loudspeaker.monitor", *SOUND, f"--rate={RATE}"], stdout=subprocess.DEVNULL
    )
    screen = Screen(tmp_path, COMMAND, "talk", "--url", url, *TALK, size=(100, 30), **pulse.environment)
    try:
        screen.wait_for("listening", "● REC", "cable end → loudspeaker", "127.0.0.1")
        yield screen
    finally:
        screen.close()
        listener.terminate()
        listener.wait()


def ask() -> None:
    """Speak the question into the microphone."""
    question, rate = soundfile.read(QUESTION, dtype="float32")
    play = ["pacat", "--device=cable", *SOUND, f"--rate={rate}"]
    subprocess.run(play, input=to_pcm16(question), check=True, timeout=PATIENCE_S)


def test_a_conversation_is_seen_and_steered(screen: Screen, tmp_path: Path) -> None:
    ask()
    screen.wait_for("you    ", "capital of France")
    screen.wait_for("speaking")
    screen.wait_for("Paris", "listening", "waited ", "median ")
    screen.send("m")
    screen.wait_for("muted")
    screen.send("m", "r")
    screen.wait_for("The last answer again")
    screen.send("v")
    screen.wait_for("There is no other voice to choose.")
    screen.send("p")
    screen.wait_for("push-to-talk · space begins")
    screen.send("Space")
    screen.wait_for("push-to-talk held · space ends")
    ask()
    screen.send("Space")
    screen.wait_for("push-to-talk · ", "speaking")
    screen.wait_for("push-to-talk · space begins")
    screen.send("p", "C-t")
    screen.send("-l", "Say one word about Rome.")
    screen.send("Enter", "Escape")
    screen.wait_for("you    Say one word about Rome.")
    screen.wait_for("listening", "q quit")
    screen.send("w")
    screen.wait_for("The conversation is in ")
    (minutes,) = tmp_path.glob("*.md")
    assert "Rome" in minutes.read_text()
    screen.send("q")
    seen = screen.wait_for("status 0", "over")
    assert "Traceback" not in seen
    assert screen.same_settings()
    assert screen.cursor_shown()


def test_a_closed_terminal_leaves_a_whole_recording(screen: Screen, tmp_path: Path) -> None:
    ask()
    screen.wait_for("capital of France")
    process = screen.process
    screen.close()
    subprocess.run(["tail", "--pid", str(process), "-f", "/dev/null"], check=True, timeout=PATIENCE_S)
    (wav,) = (tmp_path / "recording").rglob("*.wav")
    sound, _ = soundfile.read(wav)
    assert len(sound) > RATE
