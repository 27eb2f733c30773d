"""The keyboard on a pseudo-terminal, and lines from a pipe, a file and nothing."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import termios

import anyio
import pytest

from vivavoce.agent.editor import Paste
from vivavoce.agent.keys import Keyboard, type_lines

pytestmark = pytest.mark.anyio


@pytest.fixture
def terminal():
    """Both ends of a terminal: where a person types, and where we read."""
    person, ours = pty.openpty()
    yield person, ours
    os.close(person)
    os.close(ours)


async def pressed(keyboard, count=-1):
    keys = []
    async for key in keyboard.keys():
        keys.append(key)
        if len(keys) == count:
            break
    return keys


async def test_keys_come_one_at_a_time_with_their_names(terminal):
    person, ours = terminal
    with Keyboard(ours) as keyboard:
        os.write(person, "mé\x14\x7f\r\x1b[A\x1bOP\x1b[1;5Cq".encode())
        wanted = ["m", "é", "ctrl+t", "backspace", "enter", "up", "ctrl+right", "q"]
        assert await pressed(keyboard, len(wanted)) == wanted


@pytest.mark.parametrize(
    ("sequence", "name"),
    [
        ("\x1b[D", "left"), ("\x1bOC", "right"), ("\x1b[H", "home"), ("\x1bOF", "end"), ("\x1b[1~", "home"),
        ("\x1b[4~", "end"), ("\x1b[3~", "delete"), ("\x1b[1;5D", "ctrl+left"), ("\x1b[1;3C", "alt+right"),
        ("\x1b[3;5~", "ctrl+delete"), ("\x1bb", "alt+b"), ("\x1b\x7f", "alt+backspace"), ("\x01", "ctrl+a"),
    ],
)  # fmt: skip
async def test_keys_that_move_have_names(terminal, sequence, name):
    person, ours = terminal
    with Keyboard(ours) as keyboard:
        os.write(person, sequence.encode())
        assert await pressed(keyboard, 1) == [name]


async def test_what_has_no_meaning_is_no_key(terminal):
    person, ours = terminal
    with Keyboard(ours) as keyboard:
        os.write(person, b"\x1b[15~\x1b[Z\x1b[?1;2c\x1bOP\x1b[6~\x1b[1;2P.")
        assert await pressed(keyboard, 1) == ["."]


async def test_a_paste_is_one_key_whatever_is_in_it(terminal):
    person, ours = terminal
    with Keyboard(ours) as keyboard:
        os.write(person, b"a\x1b[200~q\x04\r\ntwo\rthree\x1b[A\x1b[201~b\x1b[200~\x1b[201~c")
        keys = await pressed(keyboard, 4)
    assert keys == ["a", "q\x04\ntwo\nthree\x1b[A", "b", "c"]
    assert [isinstance(key, Paste) for key in keys] == [False, True, False, False]


async def test_a_paste_may_come_in_pieces(terminal):
    person, ours = terminal
    with Keyboard(ours) as keyboard:
        async with anyio.create_task_group() as tasks:
            pieces = [b"\x1b[20", b"0~one zwei \xc3", b"\xbc three\x1b[20", b"1~x"]
            tasks.start_soon(_write_slowly, person, pieces)
            keys = await pressed(keyboard, 2)
    assert keys == ["one zwei ü three", "x"]


async def test_esc_alone_is_a_key(terminal):
    person, ours = terminal
    with Keyboard(ours) as keyboard:
        os.write(person, b"\x1b")
        assert await pressed(keyboard, 1) == ["esc"]


async def test_an_arrow_and_a_letter_may_come_in_pieces(terminal, monkeypatch):
    monkeypatch.setattr("vivavoce.agent.keys.ESCAPE_S", 10)
    person, ours = terminal
    with Keyboard(ours) as keyboard:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_write_slowly, person, [b"\x1b", b"[", b"A", b"\xc3", b"\xa9"])
            assert await pressed(keyboard, 2) == ["up", "é"]


async def _write_slowly(fd, pieces):
    for piece in pieces:
        os.write(fd, piece)
        await anyio.sleep(0.005)


async def test_no_terminal_gives_no_keys():
    reading, writing = os.pipe()
    os.write(writing, b"m")
    with Keyboard(reading) as keyboard:
        assert not keyboard.held
        assert await pressed(keyboard) == []
    os.close(reading)
    os.close(writing)


async def test_keys_end_when_the_terminal_hangs_up():
    person, ours = pty.openpty()
    with Keyboard(ours) as keyboard:
        os.close(person)
        with anyio.fail_after(5):
            assert await pressed(keyboard) == []
    os.close(ours)


CHILD = """
import sys, termios, anyio
from vivavoce.agent.editor import Paste
from vivavoce.agent.keys import Keyboard
async def main():
    with Keyboard() as keyboard:
        print("holding", keyboard.held, not termios.tcgetattr(0)[3] & termios.ECHO, flush=True)
        async for key in keyboard.keys():
            print("key", key, flush=True)
            if key == "x":
                raise RuntimeError("a failure")
            if key == "y":
                sys.exit(3)
            if key == "z":
                return
try:
    anyio.run(main)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def _read_until(fd, text):
    seen = b""
    while text not in seen:
        seen += os.read(fd, 1024)
    return seen


@pytest.mark.parametrize("end", ["x", "y", "z", "\x03", signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_terminal_gets_its_settings_back_however_it_ends(terminal, end):
    person, ours = terminal
    before = termios.tcgetattr(ours)
    child = subprocess.Popen(
        ["setsid", "--ctty", "--wait", sys.executable, "-c", f"import os; print(os.getpid(), flush=True)\n{CHILD}"],
        stdin=ours,
        stdout=ours,
        stderr=subprocess.DEVNULL,
    )
    seen = _read_until(person, b"holding True True")
    assert b"\x1b[?2004h" in seen
    if isinstance(end, str):
        os.write(person, end.encode())
    else:
        os.kill(int(seen.split()[0]), end)
    child.wait(20)
    assert termios.tcgetattr(ours) == before
    if end not in ("x", "y", "z"):
        _read_until(person, b"interrupted")
    else:
        _read_until(person, b"\x1b[?2004l")


async def lines_of(data):
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    try:
        return [line async for line in type_lines(fd=reading)]
    finally:
        os.close(reading)


async def test_lines_from_a_pipe():
    assert await lines_of("один\n\n two \nlast".encode()) == ["один", "", "two", "last"]


async def test_lines_from_a_file_and_from_nothing(tmp_path):
    path = tmp_path / "lines"
    path.write_text("one\ntwo\n")
    for name, wanted in [(str(path), ["one", "two"]), (os.devnull, [])]:
        fd = os.open(name, os.O_RDONLY)
        assert [line async for line in type_lines(fd=fd)] == wanted
        os.close(fd)


async def test_a_typed_line_is_edited_by_the_terminal_and_asked_for(terminal):
    person, ours = terminal
    asked = []
    os.write(person, b"hellp\x7fo\n\x04")
    assert [line async for line in type_lines(lambda: asked.append(1), fd=ours)] == ["hello"]
    assert len(asked) == 2


async def test_waiting_for_a_line_is_cancelled_at_once(terminal):
    _, ours = terminal
    with anyio.move_on_after(0.05) as scope:
        async for _ in type_lines(fd=ours):
            pass
    assert scope.cancelled_caught
