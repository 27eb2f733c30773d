"""The weather, by Open-Meteo's public API, which takes no key."""

from __future__ import annotations

import functools
import os
import time
from typing import Any

import anyio

from vivavoce.agent.tools import ToolError, tool

GEOCODING_URL = "https://geocoding-api.open-meteo.com/v1/search"
FORECAST_URL = "https://api.open-meteo.com/v1/forecast"

TIMEOUT_S = 5.0
"""For both requests together: a listener waits."""

FRESH_S = 600.0
"""The service itself computes no new values more often than every 15 minutes."""

REMEMBERED = 64
"""Places."""

_SKY = {
    0: "clear sky",
    1: "mainly clear",
    2: "partly cloudy",
    3: "overcast",
    45: "fog",
    48: "freezing fog",
    51: "light drizzle",
    53: "drizzle",
    55: "heavy drizzle",
    56: "light freezing drizzle",
    57: "freezing drizzle",
    61: "light rain",
    63: "rain",
    65: "heavy rain",
    66: "light freezing rain",
    67: "freezing rain",
    71: "light snow",
    73: "snow",
    75: "heavy snow",
    77: "snow grains",
    80: "light showers",
    81: "showers",
    82: "violent showers",
    85: "light snow showers",
    86: "heavy snow showers",
    95: "thunderstorm",
    96: "thunderstorm with hail",
    99: "thunderstorm with heavy hail",
}
"""Open-Meteo's selection of the WMO's weather codes (table 4677)."""

_WANTED = {
    "current": "temperature_2m,apparent_temperature,weather_code,wind_speed_10m",
    "daily": "temperature_2m_min,temperature_2m_max,precipitation_probability_max",
    "forecast_days": "1",
    "timezone": "auto",
}


class Weather:
    """The weather service, with a short memory.

    Args:
        geocoding_url: where places are found; `VIVAVOCE_GEOCODING_URL` where it is not given.
        forecast_url: where the weather is found; `VIVAVOCE_FORECAST_URL` where it is not given.
    """

    def __init__(self, geocoding_url: str | None = None, forecast_url: str | None = None) -> None:
        self._geocoding_url = geocoding_url or os.environ.get("VIVAVOCE_GEOCODING_URL", GEOCODING_URL)
        self._forecast_url = forecast_url or os.environ.get("VIVAVOCE_FORECAST_URL", FORECAST_URL)
        self._memory: dict[str, tuple[float, dict[str, Any]]] = {}

    async def report(self, city: str) -> dict[str, Any]:
        """Return the weather of a place, in few words and round numbers, to be read aloud.

        Raises:
            ToolError: no such place is known, or the service cannot be reached or understood.
        """
        import httpx

        key = " ".join(city.split()).casefold()
        if not key:
            raise ToolError("No place was named: ask the user which city is meant.")
        known = self._memory.get(key)
        if known is not None and time.monotonic() - known[0] < FRESH_S:
            return known[1]
        try:
            with anyio.fail_after(TIMEOUT_S):
                report = await self._fetch(city)
        except (TimeoutError, httpx.TransportError) as offline:
            raise ToolError(
                "The weather service cannot be reached from this machine, which may be offline. "
                "Nothing is known about the weather."
            ) from offline
        except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError) as odd:
            raise ToolError("The weather service gave no usable answer. Nothing is known about the weather.") from odd
        self._remember(key, report)
        return report

    def _remember(self, key: str, report: dict[str, Any]) -> None:
        self._memory.pop(key, None)
        self._memory[key] = time.monotonic(), report
        if len(self._memory) > REMEMBERED:
            del self._memory[next(iter(self._memory))]

    async def _fetch(self, city: str) -> dict[str, Any]:
        import httpx

        async with httpx.AsyncClient(timeout=TIMEOUT_S) as http:
            wanted = {"name": city.strip(), "count": "1", "language": _language(city)}
            found = await _get(http, self._geocoding_url, wanted)
            if not found.get("results"):
                raise ToolError(f"No place called {city.strip()!r} is known: ask the user for the nearest city.")
            place = found["results"][0]
            where = {"latitude": str(place["latitude"]), "longitude": str(place["longitude"])}
            return _spoken(place, await _get(http, self._forecast_url, where | _WANTED))


async def _get(http: Any, url: str, query: dict[str, str]) -> dict[str, Any]:
    answer = await http.get(url, params=query)
    answer.raise_for_status()
    decoded = answer.json()
    if not isinstance(decoded, dict):
        raise TypeError("not an object")
    return decoded


def _language(city: str) -> str:
    """Return the language in which a place is named; only Cyrillic needs telling apart."""
    return "ru" if any("\u0400" <= letter <= "\u04ff" for letter in city) else "en"


def _spoken(place: dict[str, Any], forecast: dict[str, Any]) -> dict[str, Any]:
    now, today = forecast["current"], forecast["daily"]
    rain = today["precipitation_probability_max"][0]
    return {
        "place": ", ".join(filter(None, (place["name"], place.get("country")))),
        "now": {
            "sky": _SKY.get(now["weather_code"], "unknown sky"),
            "temperature_c": round(now["temperature_2m"]),
            "feels_like_c": round(now["apparent_temperature"]),
            "wind_kmh": round(now["wind_speed_10m"]),
        },
        "today": {
            "lowest_c": round(today["temperature_2m_min"][0]),
            "highest_c": round(today["temperature_2m_max"][0]),
            "rain_chance_percent": None if rain is None else round(rain),
        },
    }


@functools.cache
def _weather() -> Weather:
    return Weather()


@tool(
    examples=(
        "What's the weather like in Berlin?",
        "Is it raining in London right now?",
        "How cold is it in Oslo today?",
        "Do I need an umbrella in Paris?",
        "Will it rain in Tokyo?",
        "What's the temperature in New York?",
        "How windy is it in Chicago?",
        "Какая погода в Москве?",
    ),
)
async def get_weather(city: str) -> dict[str, Any]:
    """Get the current weather and today's forecast for a city.

    Args:
        city: The name of the city, such as Berlin or Москва.
    """
    return await _weather().report(city)
