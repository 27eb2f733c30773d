"""Real public documentation for `retrieval.py`, fetched by name from package registries into a cache folder.

| folder    | what                                    | from                          | licence                        |
|-----------|-----------------------------------------|-------------------------------|--------------------------------|
| faq       | Debian FAQ, HTML                        | Debian `debian-faq`           | its own: may be copied freely  |
| reference | Debian Reference, PDF                   | Debian `debian-reference-en`  | GPL-2+                         |
| devref    | Debian Developer's Reference, EPUB      | Debian `developers-reference` | GPL-2+                         |
| handbook  | Debian Administrator's Handbook, HTML   | Debian `debian-handbook`      | CC-BY-SA-3.0 or GPL-2+         |
| git       | Git's guides and manual pages, HTML     | Debian `git-doc`              | GPL-2                          |
| howto     | Git's how-tos, text                     | Debian `git-doc`              | GPL-2                          |
| postgres  | chapters of PostgreSQL's manual, HTML   | Debian `postgresql-doc-15`    | PostgreSQL                     |
| starlette | Starlette's documentation, Markdown     | PyPI sdist `starlette`        | BSD-3-Clause                   |
"""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

STARLETTE: Final = "0.46.2"
_DONE: Final = ".complete"
_GIT: Final = (
    "faq tutorial tutorial-2 everyday workflows ignore hooks attributes credentials submodules glossary revisions "
    "-add -archive -bisect -blame -branch -bundle -cherry-pick -clean -clone -describe -fetch -gc -grep -init -merge "
    "-mv -notes -pull -push -rebase -reflog -remote -rerere -reset -restore -revert -rm -shortlog -sparse-checkout "
    "-stash -status -submodule -switch -tag -worktree"
)
_POSTGRES: Final = (
    "tutorial-* backup* continuous-archiving ddl-* indexes-* mvcc* explicit-locking transaction-iso auth-* "
    "client-authentication-problems routine-* runtime-config-autovacuum runtime-config-connection "
    "runtime-config-resource runtime-config-wal datatype-* high-availability hot-standby warm-standby* populate* "
    "performance-tips using-explain role-* user-manag database-roles textsearch-intro upgrading server-* "
    "wal-* storage-toast storage-hot creating-cluster postgres-user kernel-resources"
)


class Source(NamedTuple):
    """Files of a Debian package."""

    package: str
    root: str
    patterns: tuple[str, ...]


SOURCES: Final = {
    "faq": Source("debian-faq", "usr/share/doc/debian/FAQ", ("*.en.html",)),
    "reference": Source("debian-reference-en", "usr/share/debian-reference", ("debian-reference.en.pdf",)),
    "devref": Source("developers-reference", "usr/share/developers-reference", ("developers-reference.epub",)),
    "handbook": Source("debian-handbook", "usr/share/doc/debian-handbook/html/en-US", ("*.html",)),
    "git": Source("git-doc", "usr/share/doc/git/html", tuple(f"git{name}.html" for name in _GIT.split())),
    "howto": Source("git-doc", "usr/share/doc/git/html/howto", ("*.txt",)),
    "postgres": Source(
        "postgresql-doc-15",
        "usr/share/doc/postgresql-doc-15/html",
        tuple(f"{name}.html" for name in _POSTGRES.split()),
    ),
}


def fetch(cache: Path) -> Path:
    """Return the folder with the documentation, fetched where it isn't there yet."""
    docs = cache / "docs"
    if (docs / _DONE).exists():
        return docs
    shutil.rmtree(docs, ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        for package in dict.fromkeys(source.package for source in SOURCES.values()):
            _unpack(package, Path(scratch))
        for folder, source in SOURCES.items():
            (docs / folder).mkdir(parents=True)
            root = Path(scratch, source.package, source.root)
            for path in {one for pattern in source.patterns for one in root.glob(pattern) if one.is_file()}:
                shutil.copyfile(path, docs / folder / path.name)
        _starlette(docs / "starlette", Path(scratch))
    (docs / _DONE).touch()
    return docs


def _unpack(package: str, scratch: Path) -> None:
    command = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package]
    subprocess.run(command, cwd=scratch, check=True)
    (archive,) = scratch.glob(f"{package}_*.deb")
    subprocess.run(["dpkg-deb", "-x", archive, scratch / package], check=True)


def _starlette(into: Path, scratch: Path) -> None:
    from pypi_simple import PyPISimple

    into.mkdir()
    with PyPISimple() as index:
        page = index.get_project_page("starlette")
        (package,) = (one for one in page.packages if one.version == STARLETTE and one.package_type == "sdist")
        index.download_package(package, scratch / package.filename)
    with tarfile.open(scratch / package.filename) as archive:
        for member in archive:
            path = Path(member.name)
            if path.suffix == ".md" and path.parent.name == "docs" and path.name != "release-notes.md":
                content = archive.extractfile(member)
                assert content is not None
                (into / path.name).write_bytes(content.read())
