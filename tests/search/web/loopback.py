"""A server on this machine that answers as search engines do, and as they should not."""

from __future__ import annotations

import json
import socket
import struct
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Reply(msgspec.Struct, kw_only=True):
    """How one request is answered."""

    body: Any = b""
    """Bytes, or something to encode as JSON."""
    status: int = 200
    headers: Mapping[str, str] = {}
    pieces: int = 1
    """How often the body is sent."""
    never: bool = False
    """Whether the answer is held back until the server ends."""
    reset: bool = False
    """Whether the connection is reset instead."""


class Asked(msgspec.Struct):
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    """By name in lower case."""
    body: Any = None


class Server(msgspec.Struct):
    url: str
    asked: list[Asked] = []


@contextmanager
def serving(*replies: Any) -> Iterator[Server]:
    """Give one answer after the other, the last for ever."""
    left = [reply if isinstance(reply, Reply) else Reply(body=reply) for reply in replies]
    over = threading.Event()
    lock = threading.Lock()
    server = Server("")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(None)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            is_json = self.headers["Content-Type"] == "application/json"
            self.answer(json.loads(body) if is_json else dict(parse_qsl(body.decode())))

        def answer(self, body: Any) -> None:
            address = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            with lock:
                server.asked.append(Asked(address.path, dict(parse_qsl(address.query)), headers, body))
                reply = left.pop(0) if len(left) > 1 else left[0]
            if reply.never:
                over.wait(30)
            if reply.reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                return
            with suppress(OSError):
                self.send(reply)

        def send(self, reply: Reply) -> None:
            body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in ({"Content-Length": str(len(body) * reply.pieces)} | dict(reply.headers)).items():
                self.send_header(name, value)
            self.end_headers()
            for _ in range(reply.pieces):
                self.wfile.write(body)

        def finish(self) -> None:
            with suppress(OSError, ValueError):
                super().finish()

        def log_message(self, format: str, *args: Any) -> None: ...  # noqa: A002

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None: ...

    with Quiet(("127.0.0.1", 0), Handler) as http:
        server.url = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            over.set()
            http.shutdown()
            thread.join()
