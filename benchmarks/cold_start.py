"""How long until one can begin: `uv run python benchmarks/cold_start.py`.

Wall times of processes of their own, medians of several, with the models in the cache and the files in memory: the
first run of each is not counted. `talk` is ready when it says that it listens.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable

COMMAND = str(Path(sys.executable).with_name("vivavoce"))
PACKAGES = ("vivavoce", "xllamacpp", "onnxruntime", "hibari-tts", "numpy")


def timed(*command: str) -> float:
    """Return the seconds that a process takes."""
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def until_ready(profile: str) -> float:
    """Return the seconds from the start of `talk` until it listens."""
    begun = time.perf_counter()
    command = [COMMAND, "talk", "--text", "--print-json", "--profile", profile]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdout is not None
        next(line for line in process.stdout if '"state":"listening"' in line)
        took = time.perf_counter() - begun
        process.terminate()
    return took


def row(table: Table, name: str, measure: Callable[[], float], times: int) -> None:
    measure()
    taken = [1000 * measure() for _ in range(times)]
    table.add_row(name, str(times), f"{statistics.median(taken):.0f}", f"{min(taken):.0f}", f"{max(taken):.0f}")


def main() -> None:
    console, load = Console(), os.getloadavg()[0]
    table = Table(title="From the start of the process, ms")
    for heading in ("", "n", "p50", "min", "max"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=not heading)
    row(table, "python -c pass", lambda: timed(sys.executable, "-c", "pass"), 9)
    row(table, "import vivavoce", lambda: timed(sys.executable, "-c", "import vivavoce"), 9)
    row(table, "vivavoce --help", lambda: timed(COMMAND, "--help"), 9)
    row(table, "talk until ready, fast", lambda: until_ready("fast"), 3)
    row(table, "talk until ready, quality", lambda: until_ready("quality"), 3)
    console.print(table)
    console.print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f} before, Python {platform.python_version()}, "
        f"{platform.system()}; " + ", ".join(f"{package} {version(package)}" for package in PACKAGES),
        soft_wrap=True,
    )


main()
