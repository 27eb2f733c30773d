"""The page's modules in Node, and what holds for all of its files."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from tests.npm import NODE

from vivavoce.server.console import assets

HERE = Path(__file__).parent
MOST = 60_000
"""Bytes of script that a conversation needs, as they are written but for comments."""
MOST_LATER = 9_500
"""… and that replay and the drawer of files need besides, which load them when they are opened."""
LATER = {"replay.js", "files.js"}
COMMENT = re.compile(rb"/\*\*.*?\*/|\s// [^\n]*", re.DOTALL)


@pytest.mark.skipif(NODE is None, reason="Node is missing; install nodejs")
def test_modules_in_node() -> None:
    files = sorted(map(str, (HERE / "node").glob("*.mjs")))
    done = subprocess.run([str(NODE), "--test", *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_script_is_small() -> None:
    sizes = {name: len(COMMENT.sub(b"", asset.content)) for name, asset in assets().items() if name.endswith(".js")}
    assert sum(size for name, size in sizes.items() if name not in LATER) < MOST
    assert sum(size for name, size in sizes.items() if name in LATER) < MOST_LATER


def test_nothing_is_inline_and_nothing_from_elsewhere() -> None:
    page = assets()["index.html"].content.decode()
    assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?![^>]*src=)|javascript:", page)
    for name, asset in assets().items():
        found = re.findall(
            r"(?:https?:)?//[\w.-]+\.\w+", re.sub(r"http://www\.w3\.org/2000/svg", "", asset.content.decode())
        )
        assert found == [], name
