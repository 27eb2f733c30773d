"""The real command over real files, with the real embedding model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from tests.search.conftest import make_pdf

from vivavoce.models import path as model_path

pytestmark = [
    pytest.mark.speech,
    pytest.mark.skipif(model_path("minilm-l6-v2-int8") is None, reason="vivavoce models pull minilm-l6-v2-int8"),
]

COMMAND = [sys.executable, "-c", "from vivavoce.cli import main; main()", "index"]


@pytest.fixture
def run(tmp_path):
    environment = os.environ | {"VIVAVOCE_DATA": str(tmp_path / "data"), "COLUMNS": "200"}

    def run_it(*words, start=False):
        if start:
            return subprocess.Popen(
                [*COMMAND, *words], cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE
            )
        done = subprocess.run(
            [*COMMAND, *words], cwd=tmp_path, env=environment, text=True, capture_output=True, check=False
        )
        assert "Traceback" not in done.stderr
        return done

    return run_it


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "docs"
    (folder / ".git").mkdir(parents=True)
    (folder / ".git" / "config").write_text("hidden")
    (folder / "leave.md").write_text("# Leave\n\nEveryone has thirty days of vacation a year.\n")
    (folder / "travel.pdf").write_bytes(make_pdf(["Trains are booked by the travel desk.", "Flights need approval."]))
    (folder / "scan.pdf").write_bytes(make_pdf([None]))
    (folder / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0")
    return folder


def test_a_folder_is_indexed_searched_and_kept_up(run, docs):
    added = run("add", "docs")
    assert "default: 2 added, 1 skipped; 2 files, 2 chunks." in added.stdout
    assert "scan.pdf: The PDF has 1 page and no text: it is a scan." in added.stdout
    assert "1 file without text passed over." in added.stdout
    found = run("search", "how much vacation do I get?").stdout
    assert found.splitlines()[0].endswith("leave.md, Leave")
    (docs / "leave.md").write_text("# Leave\n\nEveryone has forty days of vacation a year.\n")
    (docs / "travel.pdf").unlink()
    (docs / "new.txt").write_text("The office closes at ten.")
    assert "1 added, 1 changed, 1 removed, 1 skipped" in run("add", "docs").stdout
    assert "2 unchanged, 1 skipped" in run("add", "docs").stdout
    (best, *_) = json.loads(run("search", "vacation", "--json", "-n", "1").stdout)
    assert "forty days" in best["text"]
    listed = run("list").stdout
    assert "leave.md  1 chunk" in listed
    assert "failed: The PDF has 1 page and no text" in listed
    assert "Everyone has forty days" in run("show", "docs/leave.md").stdout
    assert run("remove", "docs/new.txt").stdout == "Forgot 1 file.\n"
    assert run("remove", "--all").stdout == "Forgot 2 files.\n"
    assert (docs / "leave.md").exists()


def test_stores_and_patterns(run, docs):
    assert "notes: 1 added" in run("add", "--store", "notes", "docs/**/*.md").stdout
    assert "thirty days" in run("search", "vacation", "--store", "notes").stdout
    assert run("search", "vacation").stderr == "vivavoce: There is no store 'default'; there are: notes.\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["search", "x"], "vivavoce: Nothing is indexed yet: vivavoce index add PATH\n"),
        (["add", "nowhere"], "vivavoce: There is no nowhere; check the spelling.\n"),
        (["--library", "/dev/null/x", "list"], "vivavoce: /dev/null/x can't be used: Not a directory.\n"),
    ],
)
def test_what_goes_wrong_is_one_sentence(run, words, said):
    done = run(*words)
    assert (done.returncode, done.stderr) == (1, said)


def test_nothing_gives_help(run):
    done = run()
    assert done.returncode == 0
    assert "watch" in done.stdout


def test_a_watched_folder_is_kept_up(run, docs):
    with run("watch", "docs", start=True) as watching:
        lines = iter(watching.stdout.readline, "")
        try:
            next(line for line in lines if "Watching" in line)
            (docs / "late.md").write_text("The canteen serves soup on Mondays.")
            next(line for line in lines if "1 added" in line)
            (docs / "late.md").unlink()
            next(line for line in lines if "1 removed" in line)
            watching.send_signal(signal.SIGINT)
            assert watching.wait(20) == 0
        finally:
            watching.kill()
