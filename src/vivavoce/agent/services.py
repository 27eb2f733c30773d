"""The services that the agent knows: where they are, how one is let in, and what a session is asked for there.

Source for Yandex AI Studio: its Realtime API guide and reference client; for OpenAI: the Realtime API reference (GA).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from vivavoce.config import ConfigError, Settings
from vivavoce.realtime.values import public_schema

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

IN_RATE = 24_000
"""Hz, of the sound that the agent sends."""


@dataclass(frozen=True)
class Service:
    """A Realtime server, and what it needs to hear."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    out_rate: int = 24_000
    """Hz, of the sound that it sends."""
    session: Mapping[str, Any] = field(default_factory=dict)
    """Settings that this service needs, over ours."""


def find(settings: Settings, environ: Mapping[str, str] | None = None) -> Service:
    """Return the service that the settings choose.

    Raises:
        ConfigError: a key or an identifier is missing; the message names the variable.
    """
    environ = os.environ if environ is None else environ
    match settings.service:
        case "yandex":
            return _yandex(settings, environ)
        case "openai":
            return _openai(settings, environ)
        case "local":
            return _local(settings, environ)


def session_settings(
    settings: Settings, service: Service, tools: Sequence[Mapping[str, Any]], *, spoken: bool = True
) -> dict[str, Any]:
    """Return what a session is asked for, as in `session.update`.

    Args:
        settings: the person's.
        service: whom it is asked of.
        tools: definitions of the functions that the agent runs.
        spoken: whether the answer is wanted as speech.
    """
    transcription = {"model": "gpt-4o-mini-transcribe"} | ({"language": settings.language} if settings.language else {})
    detection = {
        "type": "server_vad",
        "threshold": settings.threshold,
        "silence_duration_ms": settings.silence_ms,
        "create_response": True,
        "interrupt_response": True,
    }
    output: dict[str, Any] = {"format": {"type": "audio/pcm", "rate": service.out_rate}}
    if settings.voice:
        output["voice"] = settings.voice
    ours = "vivavoce" in service.session
    session = {
        "type": "realtime",
        "instructions": settings.instructions,
        "output_modalities": ["audio"] if spoken else ["text"],
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": IN_RATE},
                "transcription": transcription,
                "turn_detection": detection,
            },
            "output": output,
        },
        "tools": [*(tools if ours else map(_public, tools)), *service.session.get("tools", ())],
    }
    return session | {name: value for name, value in service.session.items() if name != "tools"}


def _public(tool: Mapping[str, Any]) -> dict[str, Any]:
    return {**tool, "parameters": public_schema(tool["parameters"])}


def _local(settings: Settings, environ: Mapping[str, str]) -> Service:
    key = environ.get("VIVAVOCE_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    extensions = {"vivavoce": {"partials": True, "timings": True}}
    return Service(_with_model(settings.url or "", settings.model), headers, session=extensions)


def _openai(settings: Settings, environ: Mapping[str, str]) -> Service:
    key = _required(environ, "OPENAI_API_KEY", "create one in your account at OpenAI")
    url = _with_model(settings.url or "wss://api.openai.com/v1/realtime", settings.model or "gpt-realtime")
    return Service(url, {"Authorization": f"Bearer {key}"})


def _yandex(settings: Settings, environ: Mapping[str, str]) -> Service:
    key = _required(environ, "YANDEX_CLOUD_API_KEY", "create one for your service account in Yandex Cloud")
    folder = _required(environ, "YANDEX_CLOUD_FOLDER_ID", "it stands in the address of your folder's page")
    model = settings.model or "speech-realtime-260528"
    if not model.startswith("gpt://"):
        model = f"gpt://{folder}/{model}"
    url = _with_model(settings.url or "wss://ai.api.cloud.yandex.net/v1/realtime", model)
    scheme = "Bearer" if key.startswith("t1.") else "Api-Key"
    return Service(url, {"Authorization": f"{scheme} {key}"}, 44_100, {"tools": _yandex_tools(environ)})


def _yandex_tools(environ: Mapping[str, str]) -> list[dict[str, Any]]:
    """Declare the tools that the service runs itself: functions with reserved names, parameters as a string."""
    tools = [{"type": "function", "name": "web_search", "description": "Search the web", "parameters": "{}"}]
    if index := environ.get("VECTOR_STORE_ID"):
        tools.append({"type": "function", "name": "file_search", "description": index, "parameters": "{}"})
    return tools


def _required(environ: Mapping[str, str], name: str, hint: str) -> str:
    if value := environ.get(name, "").strip():
        return value
    raise ConfigError(f"Set {name} ({hint}), or talk to the embedded server with --service local.")


def _with_model(url: str, model: str | None) -> str:
    """Return the URL with `model` in its query, unless it names one already."""
    parts = urlsplit(url)
    query = parse_qsl(parts.query)
    if not model or any(name == "model" for name, _ in query):
        return url
    return urlunsplit(parts._replace(query=urlencode([*query, ("model", model)], safe=":/")))
