"""A real terminal in which a command runs: tmux types, looks, resizes and closes it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30.0

needs_tmux = pytest.mark.skipif(
    shutil.which("tmux") is None or not Path("/proc/self").exists(), reason="needs tmux on Linux"
)


class Screen:
    """A tmux session in which a command runs between two looks at the terminal's settings."""

    def __init__(
        self, folder: Path, *command: str | Path, size: tuple[int, int] = (80, 24), **environment: str
    ) -> None:
        self.folder = folder
        self._tmux = ["tmux", "-S", str(folder / "tmux"), "-f", "/dev/null"]
        width, height = size
        self._do("new-session", "-d", "-x", str(width), "-y", str(height), "sh")
        self._steps = folder / "steps"
        self._steps.touch()
        given = [f"{name}={value}" for name, value in {"STEPS": self._steps, **environment}.items()]
        talk = shlex.join(["env", *given, *map(str, command)])
        script = folder / "run.sh"
        script.write_text(f"clear; stty -a > before\n{talk}\necho status $?; stty -a > after; echo over\n")
        self.send("PS1='$ '; . ./run.sh", "Enter")

    def _do(self, *arguments: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}
        environment.pop("NO_COLOR", None)
        command = [*self._tmux, *arguments]
        return subprocess.run(
            command, env=environment, cwd=self.folder, check=True, capture_output=True, text=True
        ).stdout

    def send(self, *keys: str) -> None:
        self._do("send-keys", *keys)

    def paste(self, text: str) -> None:
        self._do("set-buffer", text)
        self._do("paste-buffer", "-p")

    def look(self, *options: str) -> str:
        return self._do("capture-pane", "-p", *options)

    def wait_for(self, *texts: str) -> str:
        return self._wait(lambda seen: all(text in seen for text in texts), f"{texts} never came")

    def wait_for_no(self, text: str) -> str:
        return self._wait(lambda seen: text not in seen, f"{text} never went")

    def wait_for_style(self, pattern: str) -> None:
        self._wait(lambda _: re.search(pattern, self.look("-e")) is not None, f"{pattern} never came")

    def _wait(self, good: Callable[[str], bool], complaint: str) -> str:
        deadline = time.monotonic() + PATIENCE_S
        while not good(seen := self.look()):
            assert time.monotonic() < deadline, f"{complaint}:\n{seen}"
            time.sleep(0.05)
        return seen

    def go_on(self, *texts: str) -> str:
        """Let the scripted conversation take its next step."""
        steps = self._steps.stat().st_size
        self.signal(signal.SIGUSR1)
        deadline = time.monotonic() + PATIENCE_S
        while self._steps.stat().st_size == steps:
            assert time.monotonic() < deadline, f"no step was taken:\n{self.look()}"
            time.sleep(0.01)
        return self.wait_for(*texts)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process, number)

    @property
    def process(self) -> int:
        shell = self._do("display-message", "-p", "#{pane_pid}").strip()
        return int(Path(f"/proc/{shell}/task/{shell}/children").read_text().split()[0])

    def resize(self, width: int, height: int) -> None:
        self._do("resize-window", "-x", str(width), "-y", str(height))

    def cursor_shown(self) -> bool:
        return self._do("display-message", "-p", "#{cursor_flag}").strip() == "1"

    def same_settings(self) -> bool:
        return (self.folder / "before").read_text() == (self.folder / "after").read_text()

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], check=False, capture_output=True)
