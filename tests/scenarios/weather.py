"""A weather service on the loopback that answers as Open-Meteo does."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

TEMPERATURE = 17
PARIS = {"name": "Paris", "latitude": 48.85341, "longitude": 2.3488, "country": "France"}
FORECAST = {
    "current": {"temperature_2m": 17.2, "apparent_temperature": 17.4, "weather_code": 0, "wind_speed_10m": 9.8},
    "daily": {"temperature_2m_min": [11.1], "temperature_2m_max": [19.3], "precipitation_probability_max": [5]},
}


@contextmanager
def weather_service() -> Iterator[tuple[dict[str, str], list[str]]]:
    """Serve, and yield the environment that leads to it and the names of the places that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlsplit(self.path)
            answer: dict[str, Any] = FORECAST
            if address.path == "/search":
                asked.append(parse_qs(address.query)["name"][0])
                answer = {"results": [PARIS]} if asked[-1].casefold() == "paris" else {}
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None: ...  # noqa: A002

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield {"VIVAVOCE_GEOCODING_URL": f"{url}/search", "VIVAVOCE_FORECAST_URL": f"{url}/forecast"}, asked
        finally:
            server.shutdown()
            thread.join()
