"""The keyboard of a terminal: single keys while a live view runs, or typed lines."""

from __future__ import annotations

import atexit
import codecs
import os
import re
import signal
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio

from vivavoce.agent.editor import Paste

if sys.platform != "win32":  # which has no POSIX terminals, and here no single keys
    import termios

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator
    from types import FrameType
    from typing import Self

STDIN = 0
ESCAPE_S = 0.03
"""Time for the rest of an escape sequence to follow its first byte; after it the person pressed Esc."""

PASTE_LIMIT = 100_000
"""Characters of one paste; what comes after them is lost."""

_PASTE_BEGINS, _PASTE_ENDS = "\x1b[200~", "\x1b[201~"
_PASTE_ON, _PASTE_OFF = b"\x1b[?2004h", b"\x1b[?2004l"
_KEYS = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|[^\x1b])?|.", re.DOTALL)
_UNFINISHED = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|O)?\Z")
_NAMES = {"\r": "enter", "\n": "enter", "\x7f": "backspace", "\b": "backspace", "\x1b": "esc", "\t": "tab"}
_SEQUENCE = re.compile(r"\x1b(?:\[|O)(\d*)(?:;(\d+))?([A-Z~])")
_FINALS = {"A": "up", "B": "down", "C": "right", "D": "left", "H": "home", "F": "end"}
_NUMBERS = {"1": "home", "3": "delete", "4": "end", "7": "home", "8": "end"}
_MODIFIERS = {"3": "alt+", "5": "ctrl+"}
_ENDINGS = ("SIGTERM", "SIGHUP")
"""Signals that end the program as Ctrl+C does; SIGHUP says that the terminal was closed."""


class Keyboard:
    """A terminal whose keys come one at a time and unechoed while it is held.

    Whatever ends the program, the terminal gets its settings back: leaving the block does it, SIGTERM and the end of
    the terminal leave the block as Ctrl+C does, and an `atexit` hook catches the rest. Where there is no terminal
    nothing is held and no key comes.
    """

    def __init__(self, fd: int = STDIN) -> None:
        self.held = False
        """Whether keys come from here."""
        self._fd = fd
        self._found: list[Any] = []
        """The settings as they were before we touched them."""

    def __enter__(self) -> Self:
        self.take()
        if self.held:
            _exchange(signal.SIG_DFL, _interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        _exchange(_interrupt, signal.SIG_DFL)
        self.give_back()

    def take(self) -> None:
        """Let keys come one at a time; Ctrl+C and Ctrl+Z keep their meaning."""
        if sys.platform == "win32" or self.held or not os.isatty(self._fd):
            return
        self._found = self._found or termios.tcgetattr(self._fd)
        mode = [*self._found[:6], list(self._found[6])]
        mode[0] &= ~termios.ICRNL  # a pasted CR LF would be two lines
        mode[3] &= ~(termios.ECHO | termios.ICANON | termios.IEXTEN)
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        self.held = True
        atexit.register(self.give_back)
        termios.tcsetattr(self._fd, termios.TCSANOW, mode)
        self._ask_terminal(_PASTE_ON)

    def give_back(self) -> None:
        """Restore the terminal, unless the shell has it already; keys that nobody has read are forgotten."""
        if sys.platform == "win32" or not self.held:
            return
        self.held = False
        atexit.unregister(self.give_back)
        with suppress(OSError, termios.error):  # the terminal itself may be gone
            if os.tcgetpgrp(self._fd) == os.getpgrp():
                termios.tcflush(self._fd, termios.TCIFLUSH)
                termios.tcsetattr(self._fd, termios.TCSANOW, self._found)
                self._ask_terminal(_PASTE_OFF)

    def _ask_terminal(self, sequence: bytes) -> None:
        with suppress(OSError):  # standard input may be open for reading only
            os.write(self._fd, sequence)

    async def keys(self) -> AsyncGenerator[str, None]:
        """Yield what is pressed: a character, `Paste`, or a name as `enter`, `esc`, `left`, `ctrl+t`, `alt+b`."""
        if not self.held:
            return
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while data := await _read(self._fd):
            text = decoder.decode(data)
            while _UNFINISHED.search(text):
                more = ""
                with anyio.move_on_after(ESCAPE_S):
                    more = decoder.decode(await _read(self._fd))
                if not more:
                    break
                text += more
            while text.rfind(_PASTE_BEGINS) > text.rfind(_PASTE_ENDS):
                if not (data := await _read(self._fd)):
                    return
                text += decoder.decode(data)
            for key in _names(text):
                yield key


async def type_lines(ask: Callable[[], None] | None = None, fd: int = STDIN) -> AsyncGenerator[str, None]:
    """Yield the lines that are typed, or piped in, until they end (Ctrl+D).

    Args:
        ask: called before each line, to show a prompt.
        fd: where lines come from.
    """
    ask = ask or (lambda: None)
    pending = b""
    ask()
    while data := await _read(fd):
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace").strip()
            ask()
    if pending.strip():
        yield pending.decode(errors="replace").strip()


async def _read(fd: int) -> bytes:
    """Return the next bytes, or none at the end."""
    while True:
        try:
            await anyio.wait_readable(fd)
        except PermissionError:  # a regular file cannot be waited for and never blocks
            await anyio.lowlevel.checkpoint()
        try:
            return os.read(fd, 4096)
        except BlockingIOError:
            continue
        except OSError:  # the terminal has hung up
            return b""


def _names(text: str) -> Iterator[str]:
    """Name the keys; those that nothing here is done with are left out."""
    while text:
        typed, begun, rest = text.partition(_PASTE_BEGINS)
        for key in _KEYS.findall(typed):
            if name := _name(key):
                yield name
        pasted, _, text = rest.partition(_PASTE_ENDS)
        if begun and pasted:
            yield Paste(pasted[:PASTE_LIMIT].replace("\r\n", "\n").replace("\r", "\n"))


def _name(key: str) -> str:
    """Return the name of a key, empty for one without."""
    if name := _NAMES.get(key):
        return name
    if found := _SEQUENCE.fullmatch(key):
        number, modifier, final = found.groups()
        name = _NUMBERS.get(number, "") if final == "~" else _FINALS.get(final, "")
        return _MODIFIERS.get(modifier, "") + name if name else ""
    if key.startswith("\x1b"):
        rest = _NAMES.get(key[1:], key[1:])
        return f"alt+{rest}" if rest == "backspace" or (len(rest) == 1 and rest.isprintable()) else ""
    if key < " ":
        return f"ctrl+{chr(ord(key) + 0x60)}"
    return key


def _exchange(old: Any, new: Any) -> None:
    """Handle the signals that end the program in a new way where they are handled in the old one."""
    if not _in_main_thread():
        return
    for number in (getattr(signal, name) for name in _ENDINGS if hasattr(signal, name)):
        if signal.getsignal(number) is old:
            signal.signal(number, new)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    signal.raise_signal(signal.SIGINT)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
