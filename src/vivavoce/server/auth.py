"""Who may call: API keys, ephemeral keys, the origins of web pages, and where a request carries its key."""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from vivavoce.errors import VivavoceError
from vivavoce.realtime.values import ErrorDetail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from starlette.requests import HTTPConnection

    from vivavoce.realtime.values import AnySession

VARIABLE: Final = "VIVAVOCE_API_KEYS"
EPHEMERAL: Final = "ek_"
MAX_SECRETS: Final = 10_000
"""Ephemeral keys that are valid at one time."""

_SCHEMES: Final = ("bearer", "api-key")
_HEADERS: Final = ("x-api-key", "api-key")
_SUBPROTOCOL: Final = "openai-insecure-api-key."
_QUERY: Final = "api_key"
_QUERY_VALUE: Final = re.compile(rf"(?<![^?&])({_QUERY}=)[^&]*", re.IGNORECASE)


class KeysError(VivavoceError):
    """The keys cannot be read; the message names the remedy."""


class AuthError(Exception):
    """A caller is not let in."""

    def __init__(self, code: str | None, message: str) -> None:
        super().__init__(message)
        self.detail = ErrorDetail(type="invalid_request_error", code=code, message=message)


@dataclass(frozen=True)
class Caller:
    """Who calls, as far as limits and the log need to know."""

    address: str = ""
    key: str = ""
    """Tells API keys apart without being one; empty where none is asked for."""
    name: str = ""
    """What the owner of the server calls the key."""
    session: AnySession | None = None
    """What the caller's sessions begin with, where its ephemeral key says so."""
    ephemeral: bool = False


SOMEBODY: Final = Caller()


@dataclass(frozen=True)
class Secret:
    """An ephemeral key, of which only the hash is kept."""

    expires_at: int
    """Unix time, seconds."""
    session: AnySession
    owner: Caller


class SecretsError(Exception):
    """Too many ephemeral keys are valid."""


class Keys:
    """API keys, of which only the hashes are kept."""

    def __init__(self, keys: Mapping[str, str] | None = None) -> None:
        """Take the keys with their names, by key."""
        self._names = {_hashed(key): name for key, name in (keys or {}).items()}

    def __len__(self) -> int:
        return len(self._names)

    def find(self, key: str) -> tuple[str, str] | None:
        """Return what tells the key apart and its name, in a time that does not depend on how much of it is right."""
        hashed = _hashed(key)
        found = [(known.hex(), name) for known, name in self._names.items() if compare_digest(known, hashed)]
        return found[0] if found else None


class Secrets:
    """Ephemeral keys in memory; a restart forgets them."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._secrets: dict[bytes, Secret] = {}

    def mint(self, seconds: int, session: AnySession, owner: Caller) -> tuple[str, Secret]:
        """Return a new key and what is known of it.

        Raises:
            SecretsError: too many are valid.
        """
        if len(self._secrets) >= MAX_SECRETS:
            now = self._clock()
            self._secrets = {hashed: secret for hashed, secret in self._secrets.items() if secret.expires_at > now}
        if len(self._secrets) >= MAX_SECRETS:
            raise SecretsError
        value = EPHEMERAL + secrets.token_hex(20)
        secret = self._secrets[_hashed(value)] = Secret(int(self._clock()) + seconds, session, owner)
        return value, secret

    def find(self, value: str) -> Secret | None:
        """Return what is known of a key while it is valid."""
        secret = self._secrets.get(_hashed(value))
        return secret if secret and secret.expires_at > self._clock() else None


class Access:
    """Decides who is let in."""

    def __init__(
        self, keys: Keys | None = None, *, origins: Iterable[str] = (), secrets: Secrets | None = None
    ) -> None:
        """Take what the owner of the server allows.

        Args:
            keys: without any, everybody is let in.
            origins: of web pages beside the server's own, as in `https://example.org`; "*" for all.
            secrets: where ephemeral keys are kept.
        """
        self.secrets = secrets or Secrets()
        self._keys = keys or Keys()
        self._origins = frozenset(origin.rstrip("/") for origin in origins)

    @property
    def open(self) -> bool:
        """Tell whether nobody is asked for a key."""
        return not self._keys

    def admit(self, connection: HTTPConnection) -> Caller:
        """Return who calls.

        Raises:
            AuthError: a key is missing, wrong or expired.
        """
        address = connection.client.host if connection.client else ""
        key = presented(connection)
        if key and key.startswith(EPHEMERAL) and (secret := self.secrets.find(key)):
            return Caller(address, secret.owner.key, secret.owner.name, secret.session, ephemeral=True)
        if self.open:
            return Caller(address)
        if key is None:
            message = f"No API key was given; send one as 'Authorization: Bearer KEY', or as '?{_QUERY}=KEY'."
            raise AuthError(None, message)
        if not (found := self._keys.find(key)):
            raise AuthError("invalid_api_key", "The API key is wrong or has expired; ask the server's owner for one.")
        return Caller(address, *found)

    def welcomes(self, origin: str | None, host: str) -> bool:
        """Tell whether a web page may call; what is no web page has no origin.

        A server without keys trusts only pages of its address, not of a name: a name can be made to point here.

        Args:
            origin: header of that name (RFC 6454).
            host: header of that name.
        """
        if origin is None or "*" in self._origins or origin in self._origins:
            return True
        try:
            where = urlsplit(origin)
        except ValueError:
            return False
        return bool(host) and where.netloc == host.lower() and (not self.open or _is_address(where.hostname or ""))


def presented(connection: HTTPConnection) -> str | None:
    """Return the key that a request carries, or None."""
    scheme, _, value = connection.headers.get("authorization", "").strip().partition(" ")
    offered = connection.scope.get("subprotocols", ())
    places = (
        value.strip() if scheme.lower() in _SCHEMES else "",
        *(connection.headers.get(name, "").strip() for name in _HEADERS),
        connection.query_params.get(_QUERY, ""),
        *(name.removeprefix(_SUBPROTOCOL) for name in offered if name.startswith(_SUBPROTOCOL)),
    )
    return next(filter(None, places), None)


def redacted(query: str) -> str:
    """Return a query string without the key in it."""
    return _QUERY_VALUE.sub(r"\1…", query)


def load_keys(file: Path | None, environ: Mapping[str, str]) -> Keys:
    """Return the keys of a file and of `VIVAVOCE_API_KEYS`: `KEY` or `NAME:KEY`, one a line, or between commas.

    Raises:
        KeysError: the file cannot be read or holds no key.
    """
    keys = _parsed(environ.get(VARIABLE, "").replace(",", "\n"))
    if file is None:
        return Keys(keys)
    try:
        found = _parsed(file.read_text(encoding="utf-8"))
    except OSError as wrong:
        raise KeysError(f"Cannot read the API keys in '{file}': {wrong.strerror}.") from None
    except UnicodeDecodeError:
        raise KeysError(f"The API keys in '{file}' are not text in UTF-8.") from None
    if not found:
        raise KeysError(
            f"There is no API key in '{file}'; write one a line, such as the output of `openssl rand -hex 24`."
        )
    return Keys(found | keys)


def _parsed(text: str) -> dict[str, str]:
    keys: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, key = line.partition("#")[0].strip().partition(":")
        if key := (key if colon else name).strip():
            keys[key] = name.strip() if colon else f"key {len(keys) + 1}"
    return keys


def _hashed(key: str) -> bytes:
    return sha256(key.encode(errors="surrogatepass")).digest()


def _is_address(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
