"""The lines at the foot of a terminal that are drawn again and again, while what is printed scrolls away above them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO, cast

from rich.console import RenderHook
from rich.control import Control
from rich.file_proxy import FileProxy
from rich.segment import ControlType, Segment
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console as Terminal
    from rich.console import ConsoleOptions, ConsoleRenderable, RenderResult

_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"
"""Let the terminal show all that is between them at once."""
_ERASE = "\r\x1b[K\x1b7\x1b[B\x1b[J\x1b8"
"""The line first: what is erased from the very top of the screen, tmux keeps as scrolled away."""
_CLIP, _WRAP = "\x1b[?7l", "\x1b[?7h"


class Block(RenderHook):
    """A block of lines below everything else that is printed.

    The cursor rests at its first line, and its lines are clipped, not wrapped: whatever a terminal does to them when
    its width changes, and however late it tells, the block begins where the cursor is and reaches to the end of the
    screen. Rich's own live display counts lines back from the last one, and leaves copies behind. A frame that looks
    like the last one is not drawn.
    """

    def __init__(self, terminal: Terminal) -> None:
        self.shown = False
        self._terminal = terminal
        self._lines: Sequence[Text] = ()
        self._gone = False
        """The terminal was closed."""
        self._stderr: TextIO | None = None

    def show(self) -> None:
        """Take the foot of the terminal; what is no terminal has none."""
        if not self._terminal.is_terminal:
            return
        self.shown = True
        self._terminal.push_render_hook(self)
        self._print(Control.show_cursor(show=False))
        if sys.stderr.isatty():
            self._stderr, sys.stderr = sys.stderr, cast("TextIO", FileProxy(self._terminal, sys.stderr))

    def hide(self) -> None:
        """Take the lines away and leave the terminal as it was found."""
        if not self.shown:
            return
        self.shown = False
        if self._stderr is not None:
            sys.stderr, self._stderr = self._stderr, None
        self._lines = ()
        self._print(Control.show_cursor(show=True))
        self._terminal.pop_render_hook()

    def draw(self, lines: Sequence[Text]) -> None:
        """Show these lines, none wider than the terminal and fewer than its height."""
        if self.shown and list(lines) != list(self._lines):
            self._lines = lines
            self._print(Control())

    def tell(self, told: Sequence[Text], lines: Sequence[Text]) -> None:
        """Print lines for good and show the block below them, in one write."""
        self._lines = lines
        self._print(*told)

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Put the block below what is printed; called by Rich."""
        block = Text("\n", end="", no_wrap=True, overflow="crop").join(self._lines)
        up = len(self._lines) - 1
        back = f"\r\x1b[{up}A" if up > 0 else "\r"
        return [_Sequence(_BEGIN + _ERASE), *renderables, _Sequence(_CLIP), block, _Sequence(_WRAP + back + _END)]

    def _print(self, *lines: ConsoleRenderable) -> None:
        if self._gone:
            return
        try:
            self._terminal.print(*lines, sep="\n")
        except OSError:
            self._gone = True


class _Sequence:
    """What the terminal does and does not show."""

    def __init__(self, sequence: str) -> None:
        self._sequence = sequence

    def __rich_console__(self, _: Terminal, __: ConsoleOptions) -> RenderResult:
        yield Segment(self._sequence, None, [(ControlType.CARRIAGE_RETURN,)])
