"""The real `vivavoce` command in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = Path(sys.executable).with_name("vivavoce")
QUESTION = Path(__file__).parents[2] / "src" / "vivavoce" / "assets" / "question.flac"
"""A person says hello and asks for the capital of France."""
PATIENCE_S = 90.0
NO_SOUND = Path(__file__).with_name("no_sound.conf")
"""An ALSA configuration of a machine without a sound card."""
NOWHERE = "http://127.0.0.1:9"
"""An address at which nothing answers."""


@dataclass(frozen=True)
class Ended:
    """A process that has ended."""

    code: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """What `--print-json` wrote."""
        return [json.loads(line) for line in self.out.splitlines()]


def environment(**variables: str) -> dict[str, str]:
    """Return an environment without settings of ours, in which nothing is fetched and no sound device is found."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("VIVAVOCE_")}
    cache = {name: value for name, value in os.environ.items() if name == "VIVAVOCE_CACHE"}
    proxies = {"HTTPS_PROXY": NOWHERE, "HTTP_PROXY": NOWHERE, "NO_PROXY": "127.0.0.1"}
    return ours | cache | proxies | {"ALSA_CONFIG_PATH": str(NO_SOUND), "NO_COLOR": "1"} | variables


@contextmanager
def started(*arguments: str | Path, cwd: Path, typed: str | None = None, **variables: str) -> Iterator[Ending]:
    """Start `vivavoce` and make sure that it ends."""
    with subprocess.Popen(
        [COMMAND, *arguments],
        cwd=cwd,
        env=environment(**{"VIVAVOCE_DATA": str(cwd / "data")} | variables),
        stdin=subprocess.DEVNULL if typed is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Ending(process, typed)
        finally:
            process.kill()


class Ending:
    """A process that runs."""

    def __init__(self, process: subprocess.Popen[str], typed: str | None) -> None:
        self.process = process
        self._typed = typed

    def wait(self, seconds: float = PATIENCE_S) -> Ended:
        """Wait for its end.

        Raises:
            subprocess.TimeoutExpired: it hangs.
        """
        out, err = self.process.communicate(self._typed, timeout=seconds)
        return Ended(self.process.returncode, out, err)


def vivavoce(*arguments: str | Path, cwd: Path, typed: str | None = None, **variables: str) -> Ended:
    """Run `vivavoce` to its end."""
    with started(*arguments, cwd=cwd, typed=typed, **variables) as running:
        return running.wait()
