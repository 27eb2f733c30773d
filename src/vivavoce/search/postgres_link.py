"""Talks to a PostgreSQL server: connections that take the SQL of `Tables`, addresses, and what goes wrong."""

from __future__ import annotations

import socket
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from vivavoce.search.shapes import LibraryError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vivavoce.search.tables import Database

PATIENCE_S: Final = 30
"""How long one waits for another that writes, and for the server."""


class _Row:
    """A row of a result: columns by name or number."""

    __slots__ = ("_names", "_values")

    def __init__(self, names: dict[str, int], values: list[Any]) -> None:
        self._names = names
        self._values = values

    def __getitem__(self, key: str | int) -> Any:
        return self._values[self._names[key] if isinstance(key, str) else key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class _Result:
    """What a statement has brought."""

    def __init__(self, rows: list[_Row]) -> None:
        self._rows = iter(rows)

    def fetchone(self) -> Any:
        return next(self._rows, None)

    def fetchall(self) -> list[_Row]:
        return list(self._rows)

    def __iter__(self) -> Iterator[_Row]:
        return self._rows


class Connection:
    """A connection that takes the SQL of `Tables`."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        from pg8000.native import Connection

        self.broken = False
        # The driver leaves its own socket open where it fails at once.
        self._socket = _dial(arguments)
        try:
            self._connection = Connection(**arguments, sock=self._socket)
        except BaseException:
            self._socket.close()
            raise
        self._prepared: dict[str, Any] = {}

    def execute(self, sql: str, values: Any = ()) -> _Result:
        """Run a statement; what is run again is prepared once."""
        from pg8000.exceptions import DatabaseError

        named = values if isinstance(values, dict) else {f"p{number}": one for number, one in enumerate(values)}
        try:
            statement = self._statement(_named(sql)) if named else None
            rows = statement.run(**named) if statement is not None else self._connection.run(sql)
        except DatabaseError:
            raise
        except BaseException:
            self.broken = True
            raise
        ran = statement or self._connection
        names = {column["name"]: number for number, column in enumerate(ran.columns or ())}
        return _Result([_Row(names, row) for row in rows or ()])

    def roll_back(self) -> None:
        """Undo what was not committed."""
        if not self.broken:
            with suppress(*broken_errors()):
                self.execute("ROLLBACK")

    def close(self) -> None:
        """Hang up."""
        self.broken = True
        with suppress(*broken_errors()):
            self._connection.close()
        self._socket.close()

    def _statement(self, sql: str) -> Any:
        if sql not in self._prepared:
            self._prepared[sql] = self._connection.prepare(sql)
        return self._prepared[sql]


def run(db: Database, statements: str) -> None:
    """Run statements that are separated by semicolons."""
    for statement in statements.split(";"):
        db.execute(statement)


@lru_cache(512)
def _named(sql: str) -> str:
    """Give a name to each `?`."""
    parts = sql.split("?")
    return parts[0] + "".join(f":p{number}{part}" for number, part in enumerate(parts[1:]))


def arguments(url: str) -> dict[str, Any]:
    """Return what a driver needs to know of an address.

    Raises:
        LibraryError: `storage_failed`.
    """
    try:
        import pg8000  # noqa: F401
    except ModuleNotFoundError:
        raise LibraryError(
            "storage_failed", "A library on a PostgreSQL server needs: pip install 'vivavoce[postgres]'"
        ) from None
    parts = urlsplit(url)
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    unknown = options.keys() - {"host", "sslmode"}
    if unknown or not parts.path.strip("/"):
        wrong = f"has an unknown option {min(unknown)!r}" if unknown else "names no database"
        raise LibraryError("storage_failed", f"{shown(url)} {wrong}; write postgresql://user@host/database.")
    host = options.get("host", parts.hostname or "localhost")
    arguments: dict[str, Any] = {
        "user": unquote(parts.username or "postgres"),
        "password": unquote(parts.password) if parts.password else None,
        "database": unquote(parts.path.strip("/")),
        "port": parts.port or 5432,
        "application_name": "vivavoce",
        "host": host,
    }
    return arguments | {"ssl_context": _tls(options.get("sslmode", "disable" if host.startswith("/") else "prefer"))}


def _dial(arguments: dict[str, Any]) -> socket.socket:
    if not arguments["host"].startswith("/"):
        dialled = socket.create_connection((arguments["host"], arguments["port"]), PATIENCE_S)
        dialled.settimeout(None)
        dialled.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return dialled
    dialled = socket.socket(socket.AF_UNIX)
    try:
        dialled.connect(f"{arguments['host']}/.s.PGSQL.{arguments['port']}")
    except OSError:
        dialled.close()
        raise
    return dialled


def _tls(mode: str) -> Any:
    """Return how a connection is to be encrypted, as `sslmode` of the server's own clients says it."""
    import ssl

    match mode:
        case "disable":
            return False
        case "allow" | "prefer":
            return None
        case "verify-ca" | "verify-full":
            context = ssl.create_default_context()
            context.check_hostname = mode == "verify-full"
            return context
        case "require":
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return context
        case _:
            raise LibraryError("storage_failed", f"There is no sslmode {mode!r}; use disable, require or verify-full.")


def shown(url: str) -> str:
    """Return an address without its password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


# What goes wrong ------------------------------------------------------------------------------------------------------


class GoneError(LibraryError):
    """A table isn't there any more."""


def broken_errors() -> tuple[type[Exception], ...]:
    """Return what a connection may raise."""
    from pg8000.exceptions import Error

    return (Error, OSError)


def failure(place: str, told: Any) -> LibraryError:
    """Say in a sentence what the server says."""
    code, message = (told.get("C", ""), told.get("M", "")) if isinstance(told, dict) else ("", str(told))
    match code:
        case "53100":
            return LibraryError("storage_full", f"The disk of {place} is full; make room, and try again.")
        case "55P03" | "40001" | "40P01":
            return LibraryError("busy", f"Another process writes to {place} for too long; try again.")
        case "42P01":
            return GoneError("not_found", "The vector store is being deleted.", "vector_store_id")
        case "0A000" | "58P01" if "vector" in message:
            remedy = "install pgvector 0.8 or newer there"
        case "42501":
            remedy = "let an administrator run CREATE EXTENSION vector, and grant the right to make a schema"
        case _:
            remedy = "see the server's log"
    return LibraryError("storage_failed", f"{place} refuses: {message}; {remedy}.")


def said(wrong: Exception) -> str:
    """Say in a few words what an error says."""
    words = getattr(wrong, "strerror", None) or str(wrong)
    return words.splitlines()[0].rstrip(".").lower() if words else type(wrong).__name__
