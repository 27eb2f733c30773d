"""How far a fetch has come, and how a console shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from rich.console import Console

Phase = Literal["fetching", "verifying", "done"]


class Progress(Struct, frozen=True):
    """One moment of a fetch."""

    model: str
    """The model's name."""
    file: str
    """The file's name."""
    done: int
    """Bytes that have come, those of an earlier try included."""
    total: int
    """Bytes that this source sends for the file; an archive is smaller or larger than what it holds."""
    source: str
    """Where the bytes come from, for a person."""
    phase: Phase
    """What is being done."""


OnProgress = Callable[[Progress], None]


def ignore(progress: Progress) -> None:
    """The callback of a caller who does not ask."""


@contextmanager
def console_progress(console: Console | None = None) -> Iterator[OnProgress]:
    """A callback for `fetch` that draws bars with speed and time left on a terminal, and plain lines elsewhere.

    Args:
        console: where to draw; standard error if absent.
    """
    from rich.console import Console

    console = console or Console(stderr=True)
    if console.is_terminal:
        with _bars(console) as callback:
            yield callback
    else:
        yield _lines(console)


@contextmanager
def _bars(console: Console) -> Iterator[OnProgress]:
    from rich import progress as rich
    from rich.table import Column

    tasks: dict[tuple[str, str, str], rich.TaskID] = {}
    title = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    columns = (
        rich.TextColumn("{task.description}", markup=False, table_column=title),
        rich.BarColumn(20),
        rich.DownloadColumn(table_column=Column(no_wrap=True)),
        rich.TransferSpeedColumn(),
        rich.TimeRemainingColumn(),
    )
    with rich.Progress(*columns, console=console, expand=True) as bars:

        def draw(moment: Progress) -> None:
            key = (moment.model, moment.file, moment.source)
            label = f"{moment.model} {moment.file} {_state(moment)}"
            if key not in tasks:
                tasks[key] = bars.add_task(label, total=moment.total, completed=moment.done)
            bars.update(tasks[key], description=label, total=moment.total, completed=moment.done)

        yield draw


def _lines(console: Console) -> OnProgress:
    last: dict[tuple[str, str, str], tuple[Phase, int]] = {}

    def write(moment: Progress) -> None:
        key = (moment.model, moment.file, moment.source)
        tenths = 10 * moment.done // moment.total
        if last.get(key) == (moment.phase, tenths):
            return
        last[key] = (moment.phase, tenths)
        amount = f"{moment.done / 1e6:.1f} of {moment.total / 1e6:.1f} MB"
        line = f"{moment.model} {moment.file}: {_state(moment)}, {amount}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    return write


def _state(moment: Progress) -> str:
    return f"from {moment.source}" if moment.phase == "fetching" else moment.phase
