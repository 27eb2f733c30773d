"""The model store: what can be had, what is here, and how the rest is fetched and proven.

Weights are data of their own: a model's files are pinned by SHA-256, tried from several sources in order, and kept
in a cache (`VIVAVOCE_CACHE`, else the user's cache directory). No source is trusted, nothing that comes is run.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from vivavoce.models.progress import OnProgress, Progress, console_progress
from vivavoce.models.schema import Archive, Courier, File, Hub, Model, load
from vivavoce.models.store import ModelError, Store

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "Archive",
    "Courier",
    "File",
    "Hub",
    "Model",
    "ModelError",
    "OnProgress",
    "Progress",
    "Store",
    "cache_root",
    "catalogue",
    "console_progress",
    "fetch",
    "installed",
    "load",
    "path",
    "pull",
    "remove",
    "verify",
]


def cache_root() -> Path:
    """The directory that holds `models/` and `partial/`."""
    if root := os.environ.get("VIVAVOCE_CACHE"):
        return Path(root).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("vivavoce")


@cache
def catalogue() -> dict[str, Model]:
    """Every model this version knows, by name."""
    return load()


def path(name: str) -> Path | None:
    """The directory of a complete and verified model, else None; uses no network."""
    return _store().path(name)


def fetch(name: str, *, progress: OnProgress | None = None, offline: bool = False) -> Path:
    """The directory of a model, whose missing files are fetched; raises ModelError if it cannot be had."""
    return _store().fetch(name, progress=progress, offline=offline)


def pull(names: Iterable[str], *, progress: OnProgress | None = None) -> list[Path]:
    """Fetch several models, one after the other."""
    return _store().pull(names, progress=progress)


def installed() -> list[str]:
    """The names of the models that are complete and verified."""
    return _store().installed()


def verify(name: str) -> Path:
    """Hash every file of a model again; raises ModelError if one is not what it should be."""
    return _store().verify(name)


def remove(name: str) -> None:
    """Delete a model from the cache."""
    _store().remove(name)


def _store() -> Store:
    return Store(catalogue(), cache_root())
