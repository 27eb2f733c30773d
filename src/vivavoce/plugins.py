"""Finds an engine by the name of its entry point, or by "module:Name", and makes one."""

from __future__ import annotations

import importlib
import re
import sys
from importlib.metadata import entry_points
from typing import Any, Literal, TypeAlias

from vivavoce.errors import VivavoceError

Kind: TypeAlias = Literal["vad", "eot", "stt", "llm", "tts", "embed"]


class PluginError(VivavoceError):
    """An engine or tool is not there; the message names the remedy."""


def names(kind: Kind) -> list[str]:
    """List the engines of one kind that are declared by installed packages."""
    return sorted({point.name for point in entry_points(group=f"vivavoce.{kind}")})


def load(kind: Kind, name: str) -> Any:
    """Return the class or factory that a name stands for.

    Raises:
        PluginError: nothing has that name, or an extra that it needs is not installed.
    """
    if ":" in name:
        return load_object(name)
    for point in entry_points(group=f"vivavoce.{kind}", name=name):
        try:
            return point.load()
        except ModuleNotFoundError as missing:
            raise _not_installed(name, missing) from missing
    raise PluginError(f"There is no {kind} engine {name!r}; there are: {', '.join(names(kind))}; or give module:Name.")


def make(kind: Kind, name: str, **options: Any) -> Any:
    """Return an instance of the engine that a name stands for, made with the options.

    Raises:
        PluginError: nothing has that name, an extra is missing, or an option is unknown to it.
    """
    factory = load(kind, name)
    try:
        return factory(**options)
    except ModuleNotFoundError as missing:
        raise _not_installed(name, missing) from missing
    except TypeError as wrong:
        if lacking := re.findall("'(url|model)'", str(wrong).partition(" required keyword-only ")[2]):
            needed = " and ".join(f"--{kind}-{option}" for option in lacking)
            raise PluginError(f"The {kind} engine {name!r} needs {needed}.") from wrong
        raise PluginError(f"The {kind} engine {name!r} does not take these options: {wrong}.") from wrong


def load_object(path: str) -> Any:
    """Import what "module:Name" names.

    Raises:
        PluginError: the module or the name is not there.
    """
    module_name, _, attribute = path.partition(":")
    if not module_name or not attribute:
        raise PluginError(f"{path!r} names nothing in a module; write it as module:name.")
    if "" not in sys.path:
        sys.path.append("")  # a command does not look in the working directory by itself
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except ModuleNotFoundError as missing:
        raise PluginError(f"There is no module {missing.name!r}; check the spelling of {path!r}.") from missing
    except AttributeError as missing:
        raise PluginError(f"The module {module_name!r} has no {attribute!r}.") from missing


def _not_installed(name: str, missing: ModuleNotFoundError) -> PluginError:
    return PluginError(f'{name!r} needs {missing.name!r}, which is not installed: pip install "vivavoce[local]"')
