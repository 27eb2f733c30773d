"""The HTTP side of an OpenAI-compatible endpoint: an address, a key, a connection pool, and errors in words."""

from __future__ import annotations

import os
from contextlib import aclosing
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypedDict, TypeVar, cast
from urllib.parse import SplitResult, urlsplit, urlunsplit

import anyio
import httpx
import msgspec

from vivavoce.hosts import owner_of
from vivavoce.ports import BackendError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

T = TypeVar("T")

OPENAI: Final = "https://api.openai.com/v1"
"""The address that is meant where none is given."""
_KEYS: Final = {"yandex": "YANDEX_CLOUD_API_KEY", "openai": "OPENAI_API_KEY"}
_ATTEMPTS: Final = 3
_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 5.0
_NEVER_ANSWERED = (httpx.ConnectError, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)


class Options(TypedDict, total=False):
    """What an endpoint takes besides its address and its model."""

    key: str | None
    """The key; by default it comes from the environment, and an empty one is not sent."""
    headers: Mapping[str, str] | None
    """Sent with every request, in place of ours where the names are the same."""
    connect_timeout: float
    """Seconds until a connection must stand."""
    first_timeout: float
    """Seconds until the first piece of an answer must be there."""
    chunk_timeout: float
    """Seconds between two pieces of an answer."""


class Endpoint:
    """One server, one model, one connection pool that lives in the event loop of its first request."""

    def __init__(
        self,
        url: str,
        *,
        model: str,
        key_variable: str,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        connect_timeout: float = 5.0,
        first_timeout: float = 60.0,
        chunk_timeout: float = 30.0,
    ) -> None:
        parts = _base(url)
        self._parts = parts
        self._model = model
        self._key_variable = key_variable
        self._key = _checked(find_key(parts.hostname or "", key_variable) if key is None else key, key_variable)
        self._headers = {**_identity(parts, self._key, model), **(headers or {})}
        secrets = (self._key, parts.password, *(headers or {}).values())
        self._secrets = [secret for secret in secrets if secret and len(secret) > 5]  # noqa: PLR2004
        self._first_timeout = first_timeout
        self._chunk_timeout = chunk_timeout
        read = max(first_timeout, chunk_timeout)
        self._timeout = httpx.Timeout(connect=connect_timeout, read=read, write=chunk_timeout, pool=connect_timeout)
        self._client: httpx.AsyncClient | None = None

    def __repr__(self) -> str:
        return f"Endpoint({self.name!r}, model={self._model!r})"

    @property
    def name(self) -> str:
        """The address as it may be shown: without credentials."""
        host = self._parts.netloc.rpartition("@")[2]
        return urlunsplit((self._parts.scheme, host, self._parts.path, "", ""))

    async def post(self, path: str, **content: Any) -> httpx.Response:
        """Return a successful response whose body is still to be read; its `aclose` ends the request.

        Args:
            path: below the address, such as `/chat/completions`.
            content: the body, as httpx takes it: `json`, or `data` and `files`.

        Raises:
            BackendError: nothing answers there, or it refuses.
        """
        return await self._request("POST", path, content)

    async def check(self) -> None:
        """Find out whether something answers at the address and accepts the key.

        Raises:
            BackendError: it does not; a server that does not list its models passes.
        """
        try:
            response = await self._request("GET", "/models", {})
        except BackendError as error:
            if error.code == "model_not_found":
                return
            raise
        await self.read(response)

    async def read(self, response: httpx.Response) -> Any:
        """Return the JSON that a response holds, and end it.

        Raises:
            BackendError: it holds something else, or breaks off.
        """
        async with aclosing(response), aclosing(self.chunks(response)) as chunks:
            body = b"".join([chunk async for chunk in chunks])
        try:
            return msgspec.json.decode(body)
        except msgspec.DecodeError as error:
            raise self.garbled(body.decode(errors="replace")) from error

    def chunks(self, response: httpx.Response) -> AsyncGenerator[bytes, None]:
        """Yield the body of a response as it arrives, each piece within its time."""
        return self.paced(cast("AsyncGenerator[bytes, None]", response.aiter_bytes()))

    async def paced(self, pieces: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """Yield the pieces of an answer, each within its time.

        Raises:
            BackendError: one is late, or the connection broke.
        """
        seconds = self._first_timeout
        async with aclosing(pieces):
            while True:
                try:
                    with anyio.fail_after(seconds):
                        piece = await anext(pieces)
                except StopAsyncIteration:
                    return
                except (TimeoutError, httpx.TimeoutException) as error:
                    raise self._late(seconds) from error
                except httpx.HTTPError as error:
                    raise self.cut() from error
                yield piece
                seconds = self._chunk_timeout

    async def aclose(self) -> None:
        """Close the connections; a later request opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def failed(self, message: str) -> BackendError:
        """Return the error for a server that reports one in the midst of its answer."""
        return self._error("endpoint_failed", f"failed while it answered ({message}); look at its log or try again.")

    def cut(self) -> BackendError:
        """Return the error for an answer that stops before its end."""
        return self._error("stream_cut", "broke off its answer; try again, and look at its log if that recurs.")

    def garbled(self, found: str) -> BackendError:
        """Return the error for an answer that is no such answer."""
        start = " ".join(found.split())[:120]
        return self._error(
            "bad_answer", f"answers with something else than the OpenAI API does ({start!r}); check the URL."
        )

    async def _request(self, method: str, path: str, content: Mapping[str, Any]) -> httpx.Response:
        attempt = 1
        while True:
            try:
                response = await self._send(method, path, content)
            except _NEVER_ANSWERED as error:
                if attempt == _ATTEMPTS:
                    raise self._unreachable(error) from error
                pause = _PAUSE * attempt
            except httpx.TimeoutException as error:
                raise self._late(self._first_timeout, error) from error
            except httpx.HTTPError as error:
                raise self._unreachable(error) from error
            else:
                if response.is_success:
                    return response
                refusal = await self._refusal(response)
                wanted = _pause_before_retry(response, attempt)
                if attempt == _ATTEMPTS or wanted is None:
                    raise refusal
                pause = wanted
            await anyio.sleep(pause)
            attempt += 1

    async def _send(self, method: str, path: str, content: Mapping[str, Any]) -> httpx.Response:
        if self._client is None:
            self._client = httpx.AsyncClient(headers=self._headers, timeout=self._timeout)
        url = urlunsplit(self._parts._replace(path=self._parts.path + path))
        request = self._client.build_request(method, url, **content)
        return await self._client.send(request, stream=True)

    async def _refusal(self, response: httpx.Response) -> BackendError:
        """Read a refused response to its end and say what it means."""
        async with aclosing(response):
            try:
                with anyio.fail_after(self._chunk_timeout):
                    body = await response.aread()
            except (TimeoutError, httpx.HTTPError):
                body = b""
        reason = message_of(body) or response.reason_phrase
        code, sentence = self._verdict(response.status_code, reason)
        return self._error(code, sentence)

    def _verdict(self, status: int, reason: str) -> tuple[str, str]:
        """Return the code and the sentence for a status, as the address would go on."""
        match status:
            case 401 | 403 if not self._key:
                verdict = "key_refused", f"wants a key; set {self._key_variable}."
            case 401:
                verdict = "key_refused", f"refuses the key; set {self._key_variable} to a valid one."
            case 403:
                verdict = "key_refused", f"does not let this key use {self._model!r} ({reason}); choose another."
            case 404:
                verdict = (
                    "model_not_found",
                    f"has no model {self._model!r} or no such path ({reason}); check the model's name and the URL.",
                )
            case 429:
                verdict = "rate_limit_exceeded", f"takes no more requests now ({reason}); wait, or raise the quota."
            case 503:
                verdict = "endpoint_failed", f"is busy or still loading ({reason}); wait a moment and try again."
            case _ if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                verdict = "endpoint_failed", f"failed with {status} ({reason}); look at its log or try again."
            case _:
                verdict = "request_refused", f"refuses the request with {status} ({reason}); change what it names."
        return verdict

    def _unreachable(self, error: Exception) -> BackendError:
        reason = str(error) or type(error).__name__
        return self._error("endpoint_unreachable", f"cannot be reached ({reason}); check the URL and start the server.")

    def _late(self, seconds: float, error: Exception | None = None) -> BackendError:
        if isinstance(error, httpx.ConnectTimeout):
            return self._unreachable(error)
        return self._error(
            "endpoint_timeout", f"was silent for {seconds:g} s; try again, a smaller model, or a longer time-out."
        )

    def _error(self, code: str, sentence: str) -> BackendError:
        text = f"{self.name} {sentence}"
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return BackendError(code, text)


def find_key(host: str, variable: str) -> str:
    """Return the key for a host from the environment, or nothing.

    Args:
        host: to which the key will be sent; only the maker of a key gets it without being named.
        variable: the one that is looked at first.
    """
    theirs = _KEYS.get(owner_of(host) or "", "")
    return os.environ.get(variable) or os.environ.get(theirs, "")


def message_of(body: bytes) -> str:
    """Return what a refusal says, in whichever of the usual shapes; 500 characters at most."""
    text = body.decode(errors="replace")
    try:
        said = msgspec.json.decode(body)
    except msgspec.DecodeError:
        said = text
    while isinstance(said, dict):
        said = next((said[name] for name in ("error", "message", "detail") if said.get(name)), text)
    return " ".join((said if isinstance(said, str) else text).split())[:500]


def _base(url: str) -> SplitResult:
    """Return the address without a trailing slash; a bare host gets `/v1`."""
    try:
        parts = urlsplit(url.strip())
        sound = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError as error:
        raise _invalid_url() from error
    if not sound:
        raise _invalid_url()
    return parts._replace(path=parts.path.rstrip("/") or "/v1", fragment="")


def _invalid_url() -> BackendError:
    return BackendError("invalid_url", "The URL of an endpoint looks like http://localhost:11434/v1; correct it.")


def _checked(key: str, variable: str) -> str:
    key = key.strip()
    if not (key.isascii() and key.isprintable()):
        raise BackendError("key_refused", f"The key holds characters that no key has; copy it to {variable} again.")
    return key


def _identity(parts: SplitResult, key: str, model: str) -> dict[str, str]:
    """Return the headers that say who asks; Yandex tells its keys from IAM tokens and wants the folder."""
    headers = {}
    if owner_of(parts.hostname or "") == "yandex":
        folder = urlsplit(model).netloc or os.environ.get("YANDEX_CLOUD_FOLDER_ID", "")
        headers = {"OpenAI-Project": folder} if folder else {}
        if key and not key.startswith("t1."):
            return headers | {"Authorization": f"Api-Key {key}"}
    return headers | ({"Authorization": f"Bearer {key}"} if key else {})


def _pause_before_retry(response: httpx.Response, attempt: int) -> float | None:
    """Return how long to wait before the same request, or None where asking again is of no use."""
    if response.status_code not in {429, 503}:
        return None
    try:
        wanted = float(response.headers["retry-after"])
    except (KeyError, ValueError):
        return _PAUSE * attempt
    return wanted if 0 <= wanted <= _LONGEST_PAUSE else None
