"""The examples, run as they are: with scripted engines behind them, and with real ones."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import wave
from contextlib import asynccontextmanager
from pathlib import Path
from unittest import mock

import anyio
import numpy as np
import pytest
import soundfile
from anyio import create_task_group, run_process
from tests import scripted_engines as scripted

from vivavoce.compose import default_session
from vivavoce.config import load
from vivavoce.server.app import serve
from vivavoce.server.engine import Engines
from vivavoce.server.hub import Hub
from vivavoce.speech.pcm import from_ulaw, to_ulaw
from vivavoce.testing import tone, tts_contract

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
TURN_S = 0.6


def engines(llm="llm"):
    """Return the environment in which the embedded engines are scripted."""
    names = {"vad": "vad", "stt": "stt", "llm": llm, "tts": "tts"}
    chosen = {f"VIVAVOCE_{kind.upper()}": f"scripted_engines:{name}" for kind, name in names.items()}
    return os.environ | chosen | {"PYTHONPATH": str(ROOT / "tests"), "PYTHONIOENCODING": "utf-8"}


def run(example, *arguments, env=None, given=""):
    """Run an example to its end and return what it printed."""
    return subprocess.run(
        [sys.executable, str(EXAMPLES / example), *arguments],
        input=given, env=env or engines(), capture_output=True, text=True, encoding="utf-8", timeout=120, check=False,
    )  # fmt: skip


@asynccontextmanager
async def served():
    """Serve scripted engines at a free port."""
    parts = Engines(vad=scripted.vad(), stt=scripted.stt(), llm=scripted.llm(), tts=scripted.tts())
    ready, urls = anyio.Event(), []

    def on_ready(url):
        urls.append(url)
        ready.set()

    async with create_task_group() as tasks:
        hub = Hub(parts, defaults=default_session(load(environ={}), parts))
        tasks.start_soon(lambda: serve(hub, port=0, on_ready=on_ready))
        with anyio.fail_after(10):
            await ready.wait()
        yield urls[0]
        tasks.cancel_scope.cancel()


@pytest.fixture
def question(tmp_path):
    """Return a recording that scripted engines take for a question."""
    path = tmp_path / "question.wav"
    soundfile.write(path, tone(220, TURN_S, 24_000), 24_000)
    return path


def loudness(path):
    with wave.open(str(path)) as sound:
        samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2") / 32768
    return float(np.abs(samples).max())


# Scripted -----------------------------------------------------------------------------------------------------------


def test_agent_with_tool_calls_it():
    ended = run("agent_with_tool.py", "--text", env=engines("shopkeeper"), given="How many apples are left?\n")
    assert ended.returncode == 0, ended.stderr
    assert "in_stock" in ended.stdout
    assert scripted.STOCK in ended.stdout


def test_events_follow_a_question():
    ended = run("events.py", "What", "time", "is", "it?", env=engines("timekeeper"))
    assert ended.stderr == ""
    lines = ended.stdout.splitlines()
    assert lines[:2] == ["user: What time is it?", "calls date_and_time {}"]
    assert lines[2].startswith("→ ")
    assert lines[3:] == ["assistant: Look at the clock."]


@pytest.mark.anyio
async def test_any_server_answers():
    async with served() as url:
        ended = await run_process([sys.executable, str(EXAMPLES / "any_server.py"), url, "What is it?"])
    assert ended.stdout.decode().strip() == scripted.ANSWER


def test_any_server_ends_in_one_sentence():
    ended = run("any_server.py", "ws://127.0.0.1:1/v1/realtime", "What is it?")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("Nothing answers at ws://127.0.0.1:1/v1/realtime")


def test_telephone_answers_a_call(tmp_path):
    call, answer = tmp_path / "call.ulaw", tmp_path / "answer.ulaw"
    call.write_bytes(to_ulaw(np.concatenate([tone(220, TURN_S, 8_000), np.zeros(8_000 * 2, np.float32)])))
    ended = run("telephone.py", str(call), str(answer))
    assert (ended.stdout, ended.stderr) == (f"user: {scripted.QUESTION}\nassistant: {scripted.ANSWER}\n", "")
    sound = from_ulaw(answer.read_bytes())
    assert len(sound) == round((TURN_S + 2) * 8_000)
    assert not sound[: round(TURN_S * 8_000)].any()
    assert np.abs(sound).max() > 0.1


def test_embedded_server_answers():
    ended = run("embedded_server.py")
    assert (ended.stdout.strip(), ended.stderr) == (scripted.ANSWER, "")


def test_voice_agent_answers_a_recording(question, tmp_path):
    answer = tmp_path / "answer.wav"
    ended = run("voice_agent.py", "--input", str(question), "--output", str(answer))
    assert ended.returncode == 0, ended.stderr
    assert f"user: {scripted.QUESTION}\nassistant: {scripted.ANSWER}\n" in ended.stdout
    assert loudness(answer) > 0.05


def test_voice_agent_runs_its_tools(question, tmp_path):
    files = ("--input", str(question), "--output", str(tmp_path / "answer.wav"))
    ended = run("voice_agent.py", *files, env=engines("clockmaker"))
    assert "tool: current_time {} → " in ended.stdout
    assert "assistant: Look at the clock." in ended.stdout


@pytest.mark.anyio
async def test_voice_agent_talks_to_a_server(question, tmp_path):
    files = ("--input", str(question), "--output", str(tmp_path / "answer.wav"))
    async with served() as url:
        ended = await run_process([sys.executable, str(EXAMPLES / "voice_agent.py"), "--url", url, *files])
    assert scripted.ANSWER in ended.stdout.decode()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--service", "openai"), "Set OPENAI_API_KEY"),
        (("--service", "yandex"), "Set YANDEX_CLOUD_API_KEY"),
        (("--url", "ws://127.0.0.1:1/v1/realtime"), "Nothing answers at ws://127.0.0.1:1/v1/realtime"),
        (("--input", "nowhere.wav"), "There is no sound file nowhere.wav"),
    ],
)
def test_voice_agent_ends_in_one_sentence(arguments, words, question, tmp_path):
    keyless = {name: value for name, value in engines().items() if not name.endswith("API_KEY")}
    files = ("--input", str(question), "--output", str(tmp_path / "answer.wav"))
    ended = run("voice_agent.py", *files, *arguments, env=keyless)
    assert ended.returncode == 1
    assert ended.stderr.startswith(words)
    assert "Traceback" not in ended.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT to send")
def test_voice_agent_ends_at_ctrl_c(tmp_path):
    long = tmp_path / "long.wav"
    soundfile.write(long, np.concatenate([tone(220, TURN_S, 24_000), np.zeros(24_000 * 60, np.float32)]), 24_000)
    command = [sys.executable, "-u", str(EXAMPLES / "voice_agent.py"), "--input", str(long)]
    files = ["--output", str(tmp_path / "answer.wav")]
    with subprocess.Popen(command + files, env=engines(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as talk:
        first = talk.stdout.readline() if talk.stdout else b""
        talk.send_signal(signal.SIGINT)
        _, errors = talk.communicate(timeout=20)
    assert first.startswith(b"user: ")
    assert (talk.returncode, errors) == (0, b"")


@pytest.mark.anyio
async def test_openai_client_types_and_speaks(question, tmp_path):
    answer = tmp_path / "answer.wav"
    async with served() as url:
        address = os.environ | {"VIVAVOCE_URL": url.replace("ws://", "http://").removesuffix("/realtime")}
        command = [sys.executable, str(EXAMPLES / "openai_client.py")]
        typed = await run_process(command, env=address)
        spoken = await run_process([*command, str(question), str(answer)], env=address)
    assert typed.stdout.decode().strip() == scripted.ANSWER
    assert spoken.stdout.decode().splitlines() == [f"You: {scripted.QUESTION}", f"Agent: {scripted.ANSWER}"]
    assert loudness(answer) > 0.05


def _beep():
    with mock.patch.object(sys, "path", [str(EXAMPLES), *sys.path]):
        return importlib.import_module("beep_backend").Beep()


test_beep_keeps_the_contract = tts_contract(_beep)


# Real engines -------------------------------------------------------------------------------------------------------


REAL = {"PYTHONIOENCODING": "utf-8", "VIVAVOCE_PROFILE": "fast"}


@pytest.mark.speech
def test_embedded_server_knows_the_capital():
    ended = run("embedded_server.py", env=os.environ | REAL)
    assert "Paris" in ended.stdout, ended.stderr


@pytest.mark.speech
def test_voice_agent_understands_the_bundled_question(tmp_path):
    recording = ROOT / "src" / "vivavoce" / "assets" / "question.flac"
    files = ("--input", str(recording), "--output", str(tmp_path / "answer.wav"))
    ended = run("voice_agent.py", *files, env=os.environ | REAL)
    heard, answer = ended.stdout.splitlines()[:2]
    assert "capital of france" in heard.lower()
    assert "Paris" in answer
    assert loudness(tmp_path / "answer.wav") > 0.05


@pytest.mark.speech
def test_agent_with_tool_finds_out_that_it_is_asked_for():
    ended = run("agent_with_tool.py", "--text", env=os.environ | REAL, given="How many apples are left?\n")
    assert "in_stock item=apples → 3" in ended.stdout.lower(), ended.stderr
