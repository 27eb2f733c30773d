from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from vivavoce import household
from vivavoce.cli import cli
from vivavoce.config import Settings


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(cli, words)


def test_every_command_explains_itself(run):
    for command in ("talk", "serve", "devices", "voices", "models", "doctor", "replay"):
        result = run(command, "--help")
        assert result.exit_code == 0
        assert "Options:" in result.output


def test_voices_are_those_of_the_engine(run):
    assert "heart" in run("voices").output
    assert "slt" in run("voices", "--tts", "flite").output


def test_models_are_listed_with_size_and_licence(run):
    output = run("models", "list").output
    assert "moonshine-tiny-en" in output
    assert "44 MB" in output
    assert "Apache-2.0" in output


def test_an_unknown_model_is_one_sentence_and_a_failure(run):
    for command in ("pull", "verify", "remove"):
        result = run("models", command, "nonsense")
        assert result.exit_code == 1
        assert "nonsense" in result.output
        assert "Traceback" not in result.output


def test_a_bad_setting_is_one_sentence_and_a_failure(run, monkeypatch):
    monkeypatch.setenv("VIVAVOCE_PORT", "many")
    result = run("doctor")
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert "'port'" in result.output


def test_a_doctor_finds_an_engine_that_is_missing(capsys):
    assert not household.doctor(Settings(stt="nonsense"))
    assert "There is no stt engine 'nonsense'" in capsys.readouterr().out


def test_a_doctor_finds_a_disk_without_room(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("VIVAVOCE_CACHE", str(tmp_path))
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    assert not household.doctor(Settings())
    assert "no room" in capsys.readouterr().out


@pytest.mark.parametrize("statement", ["import vivavoce", "import vivavoce.cli"])
def test_the_package_and_its_help_import_nothing_heavy(statement):
    heavy = "{'numpy', 'onnxruntime', 'xllamacpp', 'httpx', 'rich', 'starlette', 'uvicorn', 'websockets', 'msgspec'}"
    code = f"import sys; {statement}; sys.exit(', '.join({heavy} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True).stderr.strip() == ""
    )
