"""Reads files in a process of its own, which a hostile one may exhaust, hang or crash: `python -m` runs its other end.

Each way goes a length of four bytes and MessagePack.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeAlias

import anyio
import msgspec
from anyio.streams.buffered import BufferedByteReceiveStream

from vivavoce.search.chunking import Document  # noqa: TC001 - a field's type
from vivavoce.search.shapes import Code, LibraryError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import Process

SECONDS: Final = 120.0
"""That a file may take to read."""
MEMORY: Final = 2 * 2**30
"""Bytes of address space that it may take, on Linux."""
TEXT: Final = 128 * 2**20
"""Bytes of text that may come of it."""


class Request(msgspec.Struct):
    """A file that is to be read."""

    path: str
    name: str


class Read(msgspec.Struct, tag="read"):
    """It was."""

    document: Document


class Refused(msgspec.Struct, tag="refused"):
    """It can't be."""

    code: Code
    message: str


Answer: TypeAlias = Read | Refused


class Reader:
    """The near end of the process, which is started when it is needed and again when it has died."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._process: Process | None = None
        self._answers: BufferedByteReceiveStream | None = None
        self._alone = anyio.Lock()

    async def read(self, path: Path, name: str) -> Document:
        """Return the text of a file.

        Raises:
            LibraryError: `unsupported_file`, `invalid_file`, `no_text`, `file_too_large`.
        """
        async with self._alone:
            answer = await self._ask(Request(str(path), name))
        match answer:
            case Read(document):
                return document
            case Refused(code, message):
                raise LibraryError(code, message)

    async def aclose(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            with anyio.CancelScope(shield=True):
                await process.aclose()

    async def _ask(self, request: Request) -> Answer:
        answer: Answer | None = None
        try:
            with anyio.move_on_after(self._seconds):
                process, answers = await self._running()
                await process.stdin.send(_framed(request))  # type: ignore[union-attr]
                length = int.from_bytes(await answers.receive_exactly(4), "big")
                answer = msgspec.msgpack.decode(await answers.receive_exactly(length), type=Answer)
                return answer
        except (anyio.IncompleteRead, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            return Refused("invalid_file", f"{request.name} makes its reader crash or takes too much memory.")
        finally:
            if answer is None:
                await self.aclose()
        return Refused("invalid_file", f"{request.name} takes longer than {self._seconds:.0f} seconds to read.")

    async def _running(self) -> tuple[Process, BufferedByteReceiveStream]:
        if self._process is None or self._answers is None or self._process.returncode is not None:
            command = [sys.executable, "-m", __name__]
            self._process = await anyio.open_process(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            self._answers = BufferedByteReceiveStream(self._process.stdout)  # type: ignore[arg-type]
        return self._process, self._answers


@asynccontextmanager
async def reader(seconds: float = SECONDS) -> AsyncIterator[Reader]:
    """Hold a reader whose process ends with the block."""
    reading = Reader(seconds)
    try:
        yield reading
    finally:
        await reading.aclose()


def _framed(message: Any) -> bytes:
    content = msgspec.msgpack.encode(message)
    return len(content).to_bytes(4, "big") + content


# The other end --------------------------------------------------------------------------------------------------------


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Read files until no more are asked for."""
    while length := requests.read(4):
        request = msgspec.msgpack.decode(requests.read(int.from_bytes(length, "big")), type=Request)
        answers.write(_framed(_answer(request)))
        answers.flush()


def _answer(request: Request) -> Answer:
    from vivavoce.search.extractors import extract

    _limit()
    try:
        document = extract(Path(request.path), request.name)
    except LibraryError as wrong:
        return Refused(wrong.code, wrong.message)
    except (MemoryError, RecursionError):
        return Refused("invalid_file", f"{request.name} takes too much memory to read.")
    except Exception as wrong:  # noqa: BLE001 - parsers raise whatever they like on what is broken
        why = " ".join(str(wrong).split())[:200] or type(wrong).__name__
        return Refused("invalid_file", f"{request.name} is damaged: {why.rstrip('.')}.")
    if len(document.text) > TEXT:
        return Refused("file_too_large", f"{request.name} has more than {TEXT >> 20} MB of text; split it.")
    return Read(document)


def _limit() -> None:
    """Bound the next file: memory, time, and no writing."""
    if sys.platform == "win32":
        return
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime + SECONDS) + 1
    for which, most in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        with suppress(ValueError, OSError):
            resource.setrlimit(which, (most, resource.getrlimit(which)[1]))


def main() -> None:
    """Serve on standard input and output, which parsers don't get to see."""
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    with suppress(KeyboardInterrupt, BrokenPipeError):
        serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
