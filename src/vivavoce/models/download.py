"""A download that goes on where it was cut, and the proof of what came."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import httpx

CHUNK = 256 * 1024
RETRIES = 3
PAUSE = 1.0
"""Seconds before the first retry; doubled for each further one."""

HTTP_OK, HTTP_PARTIAL, HTTP_RANGE_REFUSED = 200, 206, 416
TRANSIENT = {408, 425, 429, 500, 502, 503, 504}


class SourceError(Exception):
    """Why one source cannot give a file; the next one is tried."""


class _Cut(Exception):  # noqa: N818 - it is met with a retry
    """The answer was no use this time."""


@dataclass
class Download:
    """One URL on its way into one file, which keeps what has come."""

    client: httpx.Client
    url: str
    target: Path
    size: int
    report: Callable[[int], None]
    etag: str | None = None

    def run(self) -> None:
        """Bring the target to its size.

        Raises:
            SourceError: the server refuses, sends too much, or drops the connection `RETRIES` times with no gain.
        """
        failures = furthest = 0
        while (cause := self._attempt()) is not None:
            here = length(self.target)
            failures = 0 if here > furthest else failures + 1
            furthest = max(here, furthest)
            if failures >= RETRIES:
                raise SourceError(f"{cause} after {here} of {self.size} bytes")
            time.sleep(PAUSE * 2**failures)

    def _attempt(self) -> str | None:
        """One request; says what went wrong if the file is not whole after it."""
        import httpx

        have = length(self.target)
        if have > self.size:
            self.target.unlink()
            have = 0
        self.report(have)
        try:
            if have < self.size:
                self._receive(have)
        except httpx.TransportError as error:
            return str(error) or type(error).__name__
        except _Cut as cut:
            return str(cut)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise SourceError(str(error)) from error
        return None if length(self.target) == self.size else "the connection ended"

    def _receive(self, have: int) -> None:
        with self.client.stream("GET", self.url, headers=self._headers(have)) as response:
            start = self._start(response, have)
            etag = response.headers.get("ETag", "")
            self.etag = etag if etag.startswith('"') else None
            with self.target.open("ab") as sink:
                sink.truncate(start)
                for chunk in response.iter_raw():  # with a chunk size, httpx drops what it has when it is cut
                    start += len(chunk)
                    if start > self.size:
                        raise SourceError(f"it sends more than the {self.size} bytes expected")
                    sink.write(chunk)
                    self.report(start)

    def _headers(self, have: int) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if self.etag:
                headers["If-Range"] = self.etag
        return headers

    def _start(self, response: httpx.Response, have: int) -> int:
        """The offset in the file of the body's first byte."""
        status = response.status_code
        if status == HTTP_OK:
            return 0
        if status == HTTP_PARTIAL and response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            return have
        if status in {HTTP_PARTIAL, HTTP_RANGE_REFUSED}:
            self.target.unlink(missing_ok=True)
            raise _Cut("it serves another range than the one asked for")
        if status in TRANSIENT:
            raise _Cut(f"it answers HTTP {status}")
        raise SourceError(f"it answers HTTP {status}")


def length(path: Path) -> int:
    """The size of a file in bytes, 0 if there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def settle(path: Path, sha256: str, fill: Callable[[], None]) -> None:
    """Let `fill` bring a file to its end, and prove it; remains of an earlier try get one fresh start.

    Raises:
        SourceError: the bytes are not the pinned ones; they are deleted.
    """
    resumed = path.exists()
    fill()
    if digest(path) == sha256:
        return
    path.unlink()
    if resumed:
        settle(path, sha256, fill)
    else:
        raise SourceError("its bytes do not match the pinned SHA-256 and were deleted")


def copy(source: IO[bytes], sink: IO[bytes], size: int, report: Callable[[int], None] | None = None) -> None:
    """Copy exactly `size` bytes.

    Raises:
        SourceError: the source holds fewer or more.
    """
    done = 0
    while chunk := source.read(min(CHUNK, size - done + 1)):
        done += len(chunk)
        if done > size:
            break
        sink.write(chunk)
        if report:
            report(done)
    if done != size:
        raise SourceError(f"it does not hold the {size} bytes expected")
