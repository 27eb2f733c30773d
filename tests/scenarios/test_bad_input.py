"""Whatever is wrong ends in one sentence that names the remedy and in exit code 1; never in a traceback or a hang."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from tests.scenarios.command import NOWHERE, QUESTION, Ended, vivavoce
from websockets.sync.server import serve

from vivavoce import models
from vivavoce.realtime.events import SessionCreated, SessionUpdated, encode
from vivavoce.realtime.values import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from websockets.http11 import Request, Response
    from websockets.sync.server import ServerConnection

TALK = ("talk", "--input", str(QUESTION), "--output", "answer.wav", "--fast")
FAST = ("--profile", "fast")


def assert_sentence(ended: Ended, *parts: str) -> None:
    """It failed, and the error is one sentence with these parts."""
    assert ended.code == 1
    (line,) = ended.err.splitlines()
    assert line.startswith("vivavoce: ")
    assert line.endswith((".", "?"))
    for part in parts:
        assert part in line


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--input", "text.wav"), ("text.wav is not a sound file", "ffmpeg")),
        (("--input", "empty.wav"), ("empty.wav",)),
        (("--input", "missing.wav"), ("no sound file missing.wav", "check the path")),
        (("--input", "."), ("no sound file", "check the path")),
        (("--output", "nowhere/answer.wav"), ("nowhere/answer.wav cannot be written", "choose another place")),
        (("--output", "."), ("cannot be written", "choose another place")),
        (("--url", "ws://127.0.0.1:9/v1/realtime"), ("Nothing answers at ws://127.0.0.1:9", "vivavoce serve")),
        (("--url", "nonsense"), ("'nonsense' is no address", "ws://")),
        (("--tool", "nowhere:tool"), ("no module 'nowhere'", "spelling")),
        (("--tool", "json:nothing"), ("'json' has no 'nothing'",)),
        (("--llm", "nothing"), ("no llm engine 'nothing'", "llama")),
        (("--llm-model", "nothing"), ("no model 'nothing'", "choose one of")),
        (("--stt-model", "nothing"), ("no model 'nothing'", "choose one of")),
        (("--llm-url", f"{NOWHERE}/v1", "--llm-model", "x"), (f"{NOWHERE}/v1 cannot be reached", "start the server")),
        (("--service", "openai"), ("Set OPENAI_API_KEY",)),
        (("--silence-ms", "99999"), ("bad value for 'silence_ms'",)),
    ],
)
def test_wrong_option(tmp_path: Path, arguments: tuple[str, ...], parts: tuple[str, ...]) -> None:
    (tmp_path / "text.wav").write_text("not sound")
    (tmp_path / "empty.wav").write_bytes(b"")
    assert_sentence(vivavoce(*TALK, *arguments, cwd=tmp_path, OPENAI_API_KEY=""), *parts)


@pytest.mark.parametrize(
    ("toml", "parts"),
    [
        ("silence_ms = 'long'", ("vivavoce.toml has a bad value for 'silence_ms'", "int")),
        ("silense_ms = 300", ("vivavoce.toml has an unknown setting 'silense_ms'", "did you mean 'silence_ms'")),
        ("silence_ms = ", ("vivavoce.toml cannot be read as TOML",)),
        ("profile = 'huge'", ("vivavoce.toml has a bad value for 'profile'",)),
    ],
)
def test_bad_settings(tmp_path: Path, toml: str, parts: tuple[str, ...]) -> None:
    (tmp_path / "vivavoce.toml").write_text(toml)
    assert_sentence(vivavoce(*TALK, cwd=tmp_path), *parts)


def test_unknown_setting_in_the_environment(tmp_path: Path) -> None:
    ended = vivavoce(*TALK, cwd=tmp_path, VIVAVOCE_PROFIL="fast")
    assert_sentence(ended, "the environment has an unknown setting 'profil'", "did you mean 'profile'")


@pytest.mark.parametrize("side", ["--input-device", "--output-device"])
def test_device_on_a_machine_without_any(tmp_path: Path, side: str) -> None:
    assert_sentence(vivavoce("talk", side, "nothing", cwd=tmp_path), "no microphone", "connect one")


# Models --------------------------------------------------------------------------------------------------------------


def test_no_source_for_a_model(tmp_path: Path) -> None:
    ended = vivavoce(*TALK, *FAST, cwd=tmp_path, VIVAVOCE_CACHE=str(tmp_path / "cache"))
    assert_sentence(ended, "moonshine-tiny-en could not be fetched", "VIVAVOCE_MODELS_FROM")


@pytest.mark.speech
def test_corrupt_model_is_not_used(tmp_path: Path) -> None:
    here = models.fetch("moonshine-tiny-en")
    copy = tmp_path / "cache" / "models" / here.name
    shutil.copytree(here, copy)
    with (copy / "encoder_model.ort").open("r+b") as encoder:
        encoder.seek(100_000)
        encoder.write(b"damage")
    ended = vivavoce(*TALK, *FAST, cwd=tmp_path, VIVAVOCE_CACHE=str(tmp_path / "cache"))
    assert_sentence(ended, "encoder_model.ort of moonshine-tiny-en could not be fetched")


# Servers -------------------------------------------------------------------------------------------------------------


@contextmanager
def peer(
    converse: Callable[[ServerConnection], None],
    refuse: Callable[[ServerConnection, Request], Response | None] | None = None,
) -> Iterator[str]:
    """Run a WebSocket server and yield its address."""
    with serve(converse, "127.0.0.1", 0, process_request=refuse) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}/v1/realtime"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(("status", "part"), [(401, "refused the key"), (404, "no such endpoint"), (429, "too many")])
def test_refused_connection(tmp_path: Path, status: int, part: str) -> None:
    with peer(lambda _: None, lambda connection, _: connection.respond(status, "no\n")) as url:
        ended = vivavoce(*TALK, "--url", url, cwd=tmp_path, VIVAVOCE_KEY="secret")
    assert_sentence(ended, part)
    assert "secret" not in ended.err


@pytest.mark.parametrize("code", [1011, 1012, 1000, None])
def test_server_that_closes_in_mid_conversation_and_lets_nobody_in_again(tmp_path: Path, code: int | None) -> None:
    visits: list[ServerConnection] = []

    def converse(connection: ServerConnection) -> None:
        visits.append(connection)
        connection.send(encode(SessionCreated(event_id="event_1", session=Session(model="x"))))
        if len(visits) > 1:
            connection.close(3000)
            return
        connection.recv()
        connection.send(encode(SessionUpdated(event_id="event_2", session=Session(model="x"))))
        for _ in range(20):
            connection.recv()
        if code is None:
            connection.socket.close()
        else:
            connection.close(code)

    with peer(converse) as url:
        ended = vivavoce(*TALK, "--url", url, cwd=tmp_path)
    note, *rest = ended.err.splitlines()
    assert "Connection lost; reconnecting" in note
    assert_sentence(Ended(ended.code, ended.out, "\n".join(rest)), "refused the key")


class LateFailure(BaseHTTPRequestHandler):
    """A language-model endpoint that lists its models and answers nothing."""

    def do_GET(self) -> None:
        self._answer(200, b'{"data": []}')

    def do_POST(self) -> None:
        self._answer(503, b'{"error": {"message": "no memory"}}')

    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.mark.speech
def test_language_model_that_fails_ends_the_response_only(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), LateFailure) as endpoint:
        threading.Thread(target=endpoint.serve_forever, kwargs={"poll_interval": 0.05}).start()
        try:
            llm = ("--llm-url", f"http://127.0.0.1:{endpoint.server_port}/v1", "--llm-model", "x")
            ended = vivavoce("talk", "--text", *llm, cwd=tmp_path, typed="Hello?\nAre you there?\n")
        finally:
            endpoint.shutdown()
    assert ended.code == 0
    warnings = [line for line in ended.err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 2
    assert all("no memory" in warning for warning in warnings), ended.err
    assert "Traceback" not in ended.err


# Disks ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """Room for a fifth of a second of sound."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("only root can mount a tiny disk here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.speech
def test_full_disk(tmp_path: Path, tiny_disk: Path) -> None:
    ended = vivavoce(*TALK, *FAST, "--output", str(tiny_disk / "answer.wav"), cwd=tmp_path)
    assert_sentence(ended, "answer.wav cannot be written (No space left on device)", "choose another place")
