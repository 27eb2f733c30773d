"""What `vivavoce init` writes is a project whose agent runs and whose tests pass, without a network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from vivavoce.cli import cli
from vivavoce.scaffold import FILES, ScaffoldError, write

SCRIPTED = {f"VIVAVOCE_{kind.upper()}": f"scripted_engines:{name}" for kind, name in
            {"vad": "vad", "stt": "stt", "llm": "shopkeeper", "tts": "tts"}.items()}  # fmt: skip


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "My fruit-shop"
    write(folder)
    return folder


def python(folder, *arguments, env=None, given=""):
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=os.environ | (env or {}), input=given,
        capture_output=True, text=True, encoding="utf-8", timeout=120, check=False,
    )  # fmt: skip


def test_its_tests_pass(project):
    ended = python(project, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert "3 passed" in ended.stdout, ended.stdout + ended.stderr


def test_its_tests_fail_where_the_agent_is_wrong(project):
    agent = project / "agent.py"
    agent.write_text(agent.read_text(encoding="utf-8").replace('"apple": 3', '"apple": 2'), encoding="utf-8")
    ended = python(project, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert "1 failed, 2 passed" in ended.stdout
    assert "in_stock(item='Apples') → 2" in ended.stdout


def test_its_agent_runs(project):
    env = SCRIPTED | {"PYTHONPATH": str(Path(__file__).parent), "PYTHONIOENCODING": "utf-8"}
    ended = python(project, "agent.py", "--text", env=env, given="How many apples are left?\n")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "Three apples are left." in ended.stdout


def test_its_agent_ends_in_one_sentence(project):
    ended = python(project, "agent.py", "--text", env={"VIVAVOCE_URL": "ws://127.0.0.1:1/v1/realtime"})
    assert ended.returncode == 1
    assert ended.stderr.startswith("Nothing answers at ws://127.0.0.1:1/v1/realtime")
    assert "Traceback" not in ended.stderr


def test_it_is_typed(project):
    ended = python(project, "-m", "mypy", "--strict", "--cache-dir", os.devnull, "agent.py", "test_agent.py")
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_its_project_file_is_named_after_the_folder(project):
    import tomllib

    told = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    assert told["project"]["name"] == "my-fruit-shop"
    assert (project / "README.md").read_text(encoding="utf-8").startswith("# my-fruit-shop\n")


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_overwritten(tmp_path, name):
    (tmp_path / name).write_text("mine", encoding="utf-8")
    with pytest.raises(ScaffoldError, match=f"{name} already"):
        write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text(encoding="utf-8") == "mine"


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "shop").write_text("", encoding="utf-8")
    with pytest.raises(ScaffoldError, match="cannot be written"):
        write(tmp_path / "shop")


def test_the_command_tells_what_comes_next(tmp_path):
    told = CliRunner().invoke(cli, ["init", str(tmp_path / "a shop")])
    assert told.exit_code == 0
    assert told.output.count("a shop") == len(FILES) + 2
    assert f"  python '{tmp_path}/a shop/agent.py' --text\n  python -m pytest '{tmp_path}/a shop'\n" in told.output


def test_the_command_refuses_in_one_sentence(tmp_path):
    runner = CliRunner()
    runner.invoke(cli, ["init", str(tmp_path)])
    refused = runner.invoke(cli, ["init", str(tmp_path)])
    assert refused.exit_code == 1
    assert "choose another folder" in refused.output
