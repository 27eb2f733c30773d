"""Writes a small project: an agent with a tool, and a test of it."""

from __future__ import annotations

import re
from importlib import resources
from string import Template
from typing import TYPE_CHECKING

from vivavoce.errors import VivavoceError

if TYPE_CHECKING:
    from pathlib import Path

FILES = ("agent.py", "test_agent.py", "pyproject.toml", "README.md", ".gitignore")


class ScaffoldError(VivavoceError):
    """A project cannot be written there; the message names the remedy."""


def write(folder: Path) -> list[Path]:
    """Write the files of a project into a folder, which is made where there is none; nothing is overwritten.

    Raises:
        ScaffoldError: some of them are there already, or the folder cannot be written.
    """
    paths = [folder / name for name in FILES]
    if there := [path.name for path in paths if path.exists()]:
        raise ScaffoldError(f"{folder} has {', '.join(there)} already, so nothing was written; choose another folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in paths:
            with path.open("x", encoding="utf-8") as file:
                file.write(_text(path.name, _project_name(folder)))
    except OSError as refused:
        raise ScaffoldError(f"{folder} cannot be written ({refused.strerror}); choose another folder.") from refused
    return paths


def _text(name: str, project: str) -> str:
    template = resources.files("vivavoce") / "assets" / "project" / f"{name.removeprefix('.')}.txt"
    return Template(template.read_text(encoding="utf-8")).substitute(name=project)


def _project_name(folder: Path) -> str:
    """Return a name that packages may have, after the folder's."""
    return re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-") or "voice-agent"
