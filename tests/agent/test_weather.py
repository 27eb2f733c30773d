"""The weather tool against a server on the loopback that answers as Open-Meteo does."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from vivavoce.agent.toolbox import weather
from vivavoce.agent.toolbox.weather import Weather, get_weather
from vivavoce.agent.tools import Toolbox, ToolError

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.anyio

# Shaped as the service answers, field for field as asked for.
PLACES = {
    "berlin": {"id": 2950159, "name": "Berlin", "latitude": 52.52437, "longitude": 13.41053, "country": "Germany"},
    "москва": {"id": 524901, "name": "Москва", "latitude": 55.75222, "longitude": 37.61556, "country": "Россия"},
}
FORECAST = {
    "latitude": 52.52,
    "longitude": 13.419998,
    "timezone": "Europe/Berlin",
    "current_units": {"temperature_2m": "°C", "wind_speed_10m": "km/h"},
    "current": {
        "time": "2026-11-22T14:45",
        "interval": 900,
        "temperature_2m": -0.4,
        "apparent_temperature": -4.6,
        "weather_code": 71,
        "wind_speed_10m": 11.9,
    },
    "daily": {
        "time": ["2026-11-22"],
        "temperature_2m_min": [-3.2],
        "temperature_2m_max": [1.7],
        "precipitation_probability_max": [63],
    },
}


class Service:
    """What the server answers, and what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.forecast: Any = FORECAST
        self.status = 200

    def answer(self, path: str, query: dict[str, str]) -> Any:
        self.asked.append((path, query))
        if path == "/search":
            place = PLACES.get(query["name"].casefold())
            return {"results": [place], "generationtime_ms": 0.7} if place else {"generationtime_ms": 0.3}
        return self.forecast


@contextmanager
def serving(service: Service) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlsplit(self.path)
            query = {name: first for name, (first, *_) in parse_qs(address.query).items()}
            body = json.dumps(service.answer(address.path, query)).encode()
            self.send_response(service.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        service.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    made = Service()
    with serving(made):
        yield made


def client(service: Service) -> Weather:
    return Weather(f"{service.url}/search", f"{service.url}/forecast")


async def test_the_report_is_short_and_round(service: Service) -> None:
    assert await client(service).report(" Berlin ") == {
        "place": "Berlin, Germany",
        "now": {"sky": "light snow", "temperature_c": 0, "feels_like_c": -5, "wind_kmh": 12},
        "today": {"lowest_c": -3, "highest_c": 2, "rain_chance_percent": 63},
    }
    (search, place), (forecast, wanted) = service.asked
    assert (search, forecast) == ("/search", "/forecast")
    assert place == {"name": "Berlin", "count": "1", "language": "en"}
    assert (wanted["latitude"], wanted["longitude"]) == ("52.52437", "13.41053")


async def test_a_place_in_cyrillic(service: Service) -> None:
    assert (await client(service).report("Москва"))["place"] == "Москва, Россия"
    assert service.asked[0][1]["language"] == "ru"


async def test_it_remembers_for_ten_minutes(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    asked_again = client(service)
    first = await asked_again.report("Berlin")
    assert await asked_again.report("  BERLIN") == first
    assert len(service.asked) == 2
    monkeypatch.setattr(weather, "FRESH_S", 0.0)
    await asked_again.report("Berlin")
    assert len(service.asked) == 4


async def test_its_memory_is_bounded(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weather, "REMEMBERED", 1)
    forgetful = client(service)
    await forgetful.report("Berlin")
    await forgetful.report("Москва")
    await forgetful.report("Berlin")
    assert len(service.asked) == 6


@pytest.mark.parametrize(
    ("city", "complaint"), [("Atlantis", "No place called 'Atlantis' is known"), ("  ", "No place was named")]
)
async def test_a_place_that_nobody_knows(service: Service, city: str, complaint: str) -> None:
    with pytest.raises(ToolError, match=complaint):
        await client(service).report(city)


@pytest.mark.parametrize("forecast", [{}, [], {"current": None, "daily": {}}, {"current": {}, "daily": {}}])
async def test_an_answer_that_makes_no_sense_is_not_read_out(service: Service, forecast: Any) -> None:
    service.forecast = forecast
    with pytest.raises(ToolError, match=r"gave no usable answer\. Nothing is known about the weather"):
        await client(service).report("Berlin")


async def test_a_service_that_refuses(service: Service) -> None:
    service.status = 503
    with pytest.raises(ToolError, match=r"gave no usable answer"):
        await client(service).report("Berlin")


async def test_a_service_that_does_not_answer_in_time(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(service, "answer", lambda path, query: release.wait(10))
    monkeypatch.setattr(weather, "TIMEOUT_S", 0.05)
    try:
        with pytest.raises(ToolError, match=r"cannot be reached from this machine"):
            await client(service).report("Berlin")
    finally:
        release.set()


async def test_offline_the_model_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing listens on port 9 of the loopback."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("VIVAVOCE_GEOCODING_URL", "http://127.0.0.1:9/search")
    weather._weather.cache_clear()
    result = await Toolbox([get_weather]).run("get_weather", '{"city": "Berlin"}')
    weather._weather.cache_clear()
    assert not result.ok
    assert json.loads(result.output)["error"].startswith(
        "The weather service cannot be reached from this machine, which may be offline."
    )


def test_the_tool_shows_the_model_how_people_ask() -> None:
    assert get_weather.description == "Get the current weather and today's forecast for a city."
    assert get_weather.parameters["required"] == ["city"]
    assert len(get_weather.parameters["x-utterances"]) == 8
