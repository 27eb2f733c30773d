"""The documentation keeps its word: links lead somewhere, commands exist, and what it shows runs."""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from vivavoce.cli import cli

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)]*)?\)")
NAME = re.compile(r"`(vivavoce(?:\.\w+)+):(\w+)`")
OPTION = re.compile(r"(?<!-)--?[a-z][a-z-]*")

page = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


def blocks(path, *languages):
    """Return the file name and the text of the code blocks of a page."""
    found = FENCE.findall(path.read_text(encoding="utf-8"))
    return [(name, text) for language, name, text in found if language in languages]


def commands(path):
    """Return the command lines of vivavoce on a page, in blocks and in running text."""
    text = path.read_text(encoding="utf-8")
    lines = [line for _, block in blocks(path, "sh") for line in block.splitlines()]
    lines += re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
    for line in lines:
        words = line.split() if "'" in line or line.endswith("\\") else shlex.split(line, comments=True)
        while words and (re.fullmatch(r"[A-Z_]+=\S*", words[0]) or words[0] in ("uv", "run", "./run")):
            first = words.pop(0)
            if first == "./run" and words:
                words.insert(0, "vivavoce")
        if len(words) > 1 and words[0] == "vivavoce":
            yield words[1:]


@page
def test_links_lead_somewhere(page):
    for target, _ in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if "://" not in target:
            assert (page.parent / target).resolve().exists(), f"{page.name}: {target}"


@page
def test_commands_and_their_options_exist(page):
    for words in commands(page):
        command: click.Command = cli
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            assert words[0] in command.commands, f"{page.name}: vivavoce {' '.join(words)}"
            command = command.commands[words.pop(0)]
        context = click.Context(command)
        known = {name for option in command.get_params(context) for name in option.opts}
        for word in words:
            if OPTION.fullmatch(word):
                assert word in known, f"{page.name}: {command.name} {word}"


@page
def test_python_compiles(page):
    for name, text in blocks(page, "python"):
        compile(text, name or page.name, "exec")


@page
def test_names_exist(page):
    for module, name in NAME.findall(page.read_text(encoding="utf-8")):
        assert hasattr(importlib.import_module(module), name), f"{page.name}: {module}:{name}"


def test_the_seed_table_has_every_part_of_the_sample():
    table = (ROOT / "docs" / "seed.md").read_text(encoding="utf-8")
    parts = "YANDEX_CLOUD_API_KEY WS_URL IN_RATE VOICE float_to_pcm16 b64_encode log fake_weather AudioOut MicStreamer"
    for part in (*parts.split(), "uplink()", "downlink()", "main()"):
        assert f"`{part}`" in table


def test_every_decision_says_why_and_what_it_costs():
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(each.name[:4]) for each in decisions] == list(range(1, len(decisions) + 1))
    for each in decisions:
        text = each.read_text(encoding="utf-8")
        assert all(f"**{word}.**" in text for word in ("Decision", "Why", "Considered", "Costs")), each.name


def test_guides_stay_short():
    assert len((ROOT / "AGENTS.md").read_text(encoding="utf-8").splitlines()) <= 100
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


# The files of the guides, run as a reader would -----------------------------------------------------------------


@pytest.fixture
def desk(tmp_path):
    """Return a function that writes the files of a page into an empty folder."""

    def lay(guide):
        for name, text in blocks(ROOT / "docs" / guide, "python", "html"):
            if name:
                (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path

    return lay


def pytest_in(folder, *tests):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_the_tests_of_the_tutorial_pass(desk):
    ended = pytest_in(desk("tutorial.md"), "test_shop.py")
    assert "2 passed" in ended.stdout, ended.stdout + ended.stderr


def test_the_tests_of_the_testing_page_pass(desk):
    folder = desk("testing.md")
    shutil.copy(ROOT / "examples" / "careful_agent.py", folder)
    (folder / "conftest.py").write_text("anyio_backend = __import__('pytest').fixture(lambda: 'asyncio')\n")
    ended = pytest_in(folder, "test_agent.py", "test_careful_agent.py")
    assert "6 passed" in ended.stdout, ended.stdout + ended.stderr


def test_the_library_page_shows_the_examples_as_they_are():
    shown = blocks(ROOT / "docs" / "library.md", "python")
    assert [name for name, _ in shown] == ["events.py", "telephone.py", "careful_agent.py", "any_server.py"]
    for name, text in shown:
        assert text == (ROOT / "examples" / name).read_text(encoding="utf-8"), name
        assert len(text.splitlines()) <= 50, name


def test_the_backend_of_the_guide_keeps_its_contract(desk):
    folder = desk("add-a-backend.md")
    shutil.copy(ROOT / "examples" / "beep_backend.py", folder)
    ended = pytest_in(folder, "test_beep.py")
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_page_of_the_tutorial_sends_events_that_the_server_takes(desk):
    page = (desk("tutorial.md") / "shop.html").read_text(encoding="utf-8")
    sent = set(re.findall(r'type: "((?:session|conversation|response)\.[a-z_.]+)"', page))
    heard = set(re.findall(r'event\.type === "([a-z_.]+)"', page))
    from vivavoce.realtime import events

    tags = {each.__struct_config__.tag for each in vars(events).values() if hasattr(each, "__struct_config__")}
    assert sent == {"session.update", "conversation.item.create", "response.create"}
    assert heard == {"session.created", "response.output_text.delta", "response.output_item.done"}
    assert sent | heard <= tags
