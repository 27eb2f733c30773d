"""The services that the agent knows: where they are, how one is let in, and what a session is asked for there.

Source for Yandex AI Studio: its Realtime API guide and reference client; for OpenAI: the Realtime API reference (GA);
for Azure: "Use the GPT Realtime API via WebSockets" and the guide from preview to GA of Microsoft Learn.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from vivavoce.config import ConfigError, Settings
from vivavoce.hosts import is_here, is_near, owner_of
from vivavoce.realtime.accent import Accent, YandexAccent
from vivavoce.realtime.hosted import FILES, WEB
from vivavoce.realtime.values import public_schema
from vivavoce.realtime.yandex import HOSTED, OUT_RATE
from vivavoce.search import web

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vivavoce.hosts import Owner

IN_RATE = 24_000
"""Hz, of the sound that the agent sends."""
OURS: Final = "VIVAVOCE_KEY"
"""The variable with the key of a server that somebody runs on their own."""
OPENAI_VOICES: Final = ("marin", "cedar", "alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse")
YANDEX_VOICES: Final = tuple(
    "marina alena filipp ermil jane omazh zahar dasha julia lera masha alexander kirill anton madi_ru saule_ru "  # noqa: SIM905
    "zamira_ru zhanar_ru yulduz_ru amira madi saule zhanar nigora zamira yulduz john lea naomi".split()
)


@dataclass(frozen=True)
class Service:
    """A Realtime server, and what it needs to hear."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    key_name: str = ""
    """Where the person has put the key."""
    out_rate: int = 24_000
    """Hz, of the sound that it sends."""
    session: Mapping[str, Any] = field(default_factory=dict)
    """Settings that this service needs, over ours."""
    hosted: tuple[str, ...] = ()
    """Names of functions that the service runs or keeps for itself: ours of these names are not offered to it."""
    transcriber: str | None = None
    """The model that writes down what the person says, where one must be named."""
    voices: tuple[str, ...] = ()
    """As far as known."""
    accent: type[Accent] = Accent
    """How it speaks the protocol."""


def find(settings: Settings, environ: Mapping[str, str] | None = None) -> Service:
    """Return the service that the settings choose; an address of a service that we know chooses that service.

    Raises:
        ConfigError: a key or an identifier is missing or broken; the message names the variable.
    """
    environ = os.environ if environ is None else environ
    chosen: str = settings.service
    if chosen == "local":
        chosen = owner_of(_host(settings.url)) or chosen
    match chosen:
        case "yandex":
            return _yandex(settings, environ)
        case "openai":
            return _openai(settings, environ)
        case "azure":
            return _azure(settings, environ)
        case _:
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
    detection = {
        "type": "server_vad",
        "threshold": settings.threshold,
        "silence_duration_ms": settings.silence_ms,
        "create_response": True,
        "interrupt_response": True,
    }
    transcription = {"model": service.transcriber, "language": settings.language}
    output: dict[str, Any] = {"format": {"type": "audio/pcm", "rate": service.out_rate}}
    if settings.voice:
        output["voice"] = settings.voice
    offered = [tool for tool in tools if tool["name"] not in service.hosted]
    session = {
        "type": "realtime",
        "instructions": settings.instructions,
        "output_modalities": ["audio"] if spoken else ["text"],
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": IN_RATE},
                "transcription": {name: value for name, value in transcription.items() if value},
                "turn_detection": detection,
            },
            "output": output,
        },
        "tools": [*(offered if "vivavoce" in service.session else map(_public, offered))],
    }
    return session | {**service.session, "tools": [*session["tools"], *service.session.get("tools", ())]}


def _public(tool: Mapping[str, Any]) -> dict[str, Any]:
    return {**tool, "parameters": public_schema(tool["parameters"])}


# Services ------------------------------------------------------------------------------------------------------------


def _local(settings: Settings, environ: Mapping[str, str]) -> Service:
    key = _checked(environ, OURS)
    extensions: dict[str, Any] = {"partials": True, "timings": True, "adaptive": True, "considerate": True}
    if search := _search(settings, environ):
        extensions |= {"search": search, "sources": True}
    url = _with(settings.url or "", model=settings.model)
    searched = tuple(name for kind, name in (("files", FILES), ("web", WEB)) if kind in search)
    return Service(url, _bearer(key), OURS, session={"vivavoce": extensions}, hosted=searched)


def _search(settings: Settings, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return what our server searches itself: a store, and where it is in this process, a folder and the web."""
    stores = [settings.store] if settings.store else []
    if settings.files and not settings.url:
        stores.append(folder_store(settings.files))
    search: dict[str, Any] = {"files": {"vector_store_ids": stores}} if stores else {}
    if not settings.url and web.chosen(settings, environ):
        search["web"] = {}
    return search


def folder_store(folder: str) -> str:
    """Return the name of the vector store that holds a folder."""
    return str(Path(folder).expanduser().absolute())


def _openai(settings: Settings, environ: Mapping[str, str]) -> Service:
    hint = "create one in your account at OpenAI"
    name, key = _key(settings.url, environ, "openai", {"OPENAI_API_KEY": hint})
    theirs = owner_of(_host(settings.url)) == "openai" or not settings.url
    headers = _bearer(key)
    if theirs and not key.startswith("ek_"):  # an ephemeral key belongs to a project already
        belongs = {"OpenAI-Organization": "OPENAI_ORG_ID", "OpenAI-Project": "OPENAI_PROJECT_ID"}
        headers |= {header: value for header, variable in belongs.items() if (value := _checked(environ, variable))}
    model = settings.model or ("gpt-realtime" if theirs else None)
    url = _with(settings.url or "wss://api.openai.com/v1/realtime", model=model)
    transcriber = settings.stt_model or ("gpt-live-transcribe" if theirs else None)
    return Service(url, headers, name, transcriber=transcriber, voices=OPENAI_VOICES if theirs else ())


def _azure(settings: Settings, environ: Mapping[str, str]) -> Service:
    hint = "it stands beside the endpoint of your resource in the Azure portal"
    entra = "an access token for https://ai.azure.com"
    name, key = _key(settings.url, environ, "azure", {"AZURE_OPENAI_API_KEY": hint, "AZURE_OPENAI_AD_TOKEN": entra})
    version = environ.get("OPENAI_API_VERSION", "").strip()
    url = settings.url or _azure_url(environ, version)
    deployment = settings.model or environ.get("AZURE_OPENAI_DEPLOYMENT", "").strip()
    query = dict(parse_qsl(urlsplit(url).query))
    if not deployment and not query.keys() & {"model", "deployment"}:
        raise ConfigError("Name your deployment of a realtime model: --model NAME, or set AZURE_OPENAI_DEPLOYMENT.")
    dated = "api-version" in query
    url = _with(url, deployment=deployment) if dated else _with(url, model=deployment)
    headers = _bearer(key) if name == "AZURE_OPENAI_AD_TOKEN" else {"api-key": key} if key else {}
    return Service(url, headers, name, transcriber=settings.stt_model or "whisper-1", voices=OPENAI_VOICES)


def _azure_url(environ: Mapping[str, str], version: str) -> str:
    hint = "such as https://NAME.openai.azure.com; it stands in the Azure portal"
    endpoint = urlsplit(_required(environ, {"AZURE_OPENAI_ENDPOINT": hint})[1])
    if not endpoint.hostname or endpoint.scheme not in {"https", "http", "wss", "ws"}:
        raise ConfigError(f"AZURE_OPENAI_ENDPOINT is no address; give one {hint}.")
    scheme = {"https": "wss", "http": "ws"}.get(endpoint.scheme, endpoint.scheme)
    base = re.sub(r"/openai(/v1)?$", "", endpoint.path.rstrip("/"))
    path = f"{base}/openai/realtime" if version else f"{base}/openai/v1/realtime"
    return urlunsplit((scheme, endpoint.netloc, path, urlencode({"api-version": version}) if version else "", ""))


def _yandex(settings: Settings, environ: Mapping[str, str]) -> Service:
    hint = "create one for your service account in Yandex Cloud"
    token = "from `yc iam create-token`"  # noqa: S105 - how one is had
    name, key = _key(settings.url, environ, "yandex", {"YANDEX_CLOUD_API_KEY": hint, "YANDEX_CLOUD_IAM_TOKEN": token})
    url = settings.url or "wss://ai.api.cloud.yandex.net/v1/realtime"
    uri = settings.model or dict(parse_qsl(urlsplit(url).query)).get("model") or "speech-realtime-260528"
    folder = urlsplit(uri).netloc if uri.startswith("gpt://") else _folder(environ)
    url = _with(url, model=uri if uri.startswith("gpt://") else f"gpt://{folder}/{uri}")
    bearer = key.startswith("t1.") or name == "YANDEX_CLOUD_IAM_TOKEN"
    old = _host(url).startswith("rest-assistant.")
    scheme = "Bearer" if bearer else "api-key" if old else "Api-Key"  # as the samples of each generation write it
    return Service(
        url,
        ({"Authorization": f"{scheme} {key}"} if key else {})
        | {"OpenAI-Project": folder, "x-data-logging-enabled": "false"},
        name,
        out_rate=OUT_RATE,
        session={"tools": _yandex_tools(environ)},
        hosted=HOSTED,
        voices=YANDEX_VOICES,
        accent=YandexAccent,
    )


def _folder(environ: Mapping[str, str]) -> str:
    name, folder = _required(environ, {"YANDEX_CLOUD_FOLDER_ID": "it stands in the address of your folder's page"})
    if not re.fullmatch(r"[\w-]+", folder):
        raise ConfigError(f"{name} is the id of a folder, letters and digits only; copy it from the folder's page.")
    return folder


def _yandex_tools(environ: Mapping[str, str]) -> list[dict[str, Any]]:
    """Declare the tools that the service runs itself: functions with reserved names, parameters as a string."""
    tools = [{"type": "function", "name": "web_search", "description": "Search the web", "parameters": "{}"}]
    if index := environ.get("VECTOR_STORE_ID", "").strip():
        tools.append({"type": "function", "name": "file_search", "description": index, "parameters": "{}"})
    return tools


# Keys and addresses --------------------------------------------------------------------------------------------------


def _key(url: str | None, environ: Mapping[str, str], maker: Owner, hints: Mapping[str, str]) -> tuple[str, str]:
    """Return the variable that has the key for a server, and the key; a server nearby may do without.

    Args:
        url: the person's, None for the maker's own.
        environ: variables.
        maker: who makes the keys in these variables; beside it only this machine is sent one.
        hints: where the key is had, by variable; the first that is set counts.
    """
    host = _host(url)
    own = maker == "azure" and host == _host(environ.get("AZURE_OPENAI_ENDPOINT"))
    if not url or own or owner_of(host) == maker:
        return _required(environ, hints)
    names = (OURS, *hints) if is_here(host) else (OURS,)
    for name in names:
        if key := _checked(environ, name):
            return name, key
    if is_near(host):
        return OURS, ""
    raise ConfigError(f"Set {OURS} to your key for {host}; {next(iter(hints))} is sent to its maker only.")


def _required(environ: Mapping[str, str], hints: Mapping[str, str]) -> tuple[str, str]:
    for name in hints:
        if value := _checked(environ, name):
            return name, value
    wanted = ", or ".join(f"{name} ({hint})" for name, hint in hints.items())
    raise ConfigError(f"Set {wanted}, or talk to the embedded server with --service local.")


def _checked(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name, "").strip()
    if not value.isascii() or any(character <= " " or character == "\x7f" for character in value):
        raise ConfigError(f"{name} has characters that do not belong there; copy it again.")
    return value


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def _host(url: str | None) -> str:
    try:
        return urlsplit(url or "").hostname or ""
    except ValueError:  # said better where it is opened
        return ""


def _with(url: str, **wanted: str | None) -> str:
    """Return the URL with these in its query, unless it has them already."""
    try:
        parts = urlsplit(url)
    except ValueError:  # said better where it is opened
        return url
    query = dict(parse_qsl(parts.query))
    more = {name: value for name, value in wanted.items() if value and name not in query}
    if not more:
        return url
    return urlunsplit(parts._replace(query=urlencode(query | more, safe=":/")))
