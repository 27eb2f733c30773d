"""One request to a search engine: bounded in time and size, kept to its host, and told in words where it fails.

What an engine says about an error is left out of the message: it may repeat the key.
"""

from __future__ import annotations

import functools
import zlib
from contextlib import aclosing
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from vivavoce.ports import BackendError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping, Sequence

    import httpx

T = TypeVar("T")

TIMEOUT_S: Final = 8.0
"""For a whole search: a listener waits."""
CONNECT_S: Final = 3.0
LARGEST: Final = 2_000_000
"""Bytes of an answer, packed and unpacked."""
REDIRECTS: Final = 3


class Site(msgspec.Struct, frozen=True):
    """A search engine, as errors tell of it."""

    title: str
    access: str
    """What to do where it lets nobody in."""

    def refused(self, status: int) -> BackendError:
        """Return the error for an answer that is none."""
        match status:
            case 401 | 403:
                return BackendError(
                    "search_refused", f"{self.title} refuses the search (HTTP {status}): {self.access}."
                )
            case 429 | 432 | 433:
                return self.busy(f"HTTP {status}")
            case _ if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
                return BackendError(
                    "search_refused",
                    f"{self.title} sends the search elsewhere (HTTP {status}), where it is not followed: "
                    "correct the engine's address.",
                )
            case _ if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                return self.failed(f"HTTP {status}")
            case _:
                return BackendError(
                    "search_refused", f"{self.title} refuses the search (HTTP {status}): look for something else."
                )

    def busy(self, reason: str) -> BackendError:
        """Return the error for a quota that is used up, by the second or by the month."""
        return BackendError(
            "rate_limit_exceeded",
            f"{self.title} takes no more searches now ({reason}): wait a while, or raise the quota.",
        )

    def failed(self, reason: str) -> BackendError:
        """Return the error for an engine that fails by itself."""
        return BackendError("search_failed", f"{self.title} failed ({reason}): try again later.")

    def unreachable(self) -> BackendError:
        """Return the error for an engine that no connection leads to."""
        return BackendError(
            "search_unreachable",
            f"The web cannot be searched with {self.title} from this machine now, which may be offline. "
            "Nothing was found out.",
        )

    def late(self, seconds: float = TIMEOUT_S) -> BackendError:
        """Return the error for an engine that takes too long."""
        return BackendError(
            "search_timeout", f"{self.title} did not answer within {seconds:g} seconds. Nothing was found out."
        )

    def garbled(self) -> BackendError:
        """Return the error for something else than an answer."""
        return BackendError("bad_answer", f"{self.title} gave no usable answer. Nothing was found out.")

    def decoded(self, body: bytes, kind: type[T]) -> T:
        """Return the JSON of an answer.

        Raises:
            BackendError: it is something else.
        """
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise self.garbled() from None

    def rows(self, raws: Sequence[msgspec.Raw], kind: type[T]) -> list[T]:
        """Return the results that are as they should be.

        Raises:
            BackendError: there are results, and none of them is.
        """
        rows = list(_fitting(raws, kind))
        if raws and not rows:
            raise self.garbled()
        return rows


def _fitting(raws: Sequence[msgspec.Raw], kind: type[T]) -> Iterator[T]:
    for raw in raws:
        try:
            yield msgspec.json.decode(raw, type=kind)
        except (msgspec.MsgspecError, RecursionError):
            continue


async def fetch(
    site: Site,
    url: str,
    *,
    params: Mapping[str, str] | None = None,
    json: Any = None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """Return the body of a successful answer; a connection that is reset is tried once more.

    Args:
        site: who is asked.
        url: where.
        params: the query string.
        json: the body; it makes the request a POST.
        headers: beside the usual ones.

    Raises:
        BackendError: there is none.
    """
    import httpx

    async def exchange() -> bytes:
        timeout = httpx.Timeout(TIMEOUT_S, connect=CONNECT_S)
        async with httpx.AsyncClient(verify=_trust(), timeout=timeout) as http:
            ours = {"Accept-Encoding": "gzip", "Accept": "application/json", "User-Agent": "vivavoce"}
            method = "GET" if json is None else "POST"
            request = http.build_request(method, url, params=params, json=json, headers=ours | dict(headers or {}))
            return await _answer(site, http, request)

    try:
        try:
            return await exchange()
        except (httpx.ReadError, httpx.WriteError):
            return await exchange()
    except httpx.ConnectTimeout:
        raise site.unreachable() from None
    except httpx.TimeoutException:
        raise site.late() from None
    except (httpx.HTTPError, httpx.InvalidURL):
        raise site.unreachable() from None


@functools.cache
def _trust() -> ssl.SSLContext:
    """Return the certificates that are trusted; to read them takes longer than a search may wait each time."""
    import httpx

    return httpx.create_ssl_context()


async def _answer(site: Site, http: httpx.AsyncClient, request: httpx.Request) -> bytes:
    for _ in range(REDIRECTS + 1):
        response = await http.send(request, stream=True)
        async with aclosing(response):
            following = response.next_request
            if following is not None and stays(str(request.url), str(following.url)):
                request = following
                continue
            if not response.is_success:
                raise site.refused(response.status_code)
            return await _body(site, response)
    raise site.failed("it redirects without end")


def stays(before: str, after: str) -> bool:
    """Tell whether a redirect keeps to the same server, at most from plain to encrypted."""
    import httpx

    old, new = httpx.URL(before), httpx.URL(after)
    same = (old.scheme, old.port) == (new.scheme, new.port)
    safer = (old.scheme, new.scheme, old.port, new.port) == ("http", "https", None, None)
    return old.host == new.host and (same or safer)


async def _body(site: Site, response: httpx.Response) -> bytes:
    packed = bytearray()
    async for piece in response.aiter_raw():
        packed += piece
        if len(packed) > LARGEST:
            raise site.failed(f"its answer is longer than {LARGEST // 1_000_000} MB")
    if response.headers.get("Content-Encoding", "identity").lower() != "gzip":
        return bytes(packed)
    try:
        body = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(bytes(packed), LARGEST + 1)
    except zlib.error:
        raise site.garbled() from None
    if len(body) > LARGEST:
        raise site.failed(f"its answer is longer than {LARGEST // 1_000_000} MB")
    return body
