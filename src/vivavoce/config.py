"""Settings: defaults < vivavoce.toml < VIVAVOCE_* < flags; one frozen struct."""

from __future__ import annotations

import difflib
import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from vivavoce.errors import VivavoceError

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "VIVAVOCE_"
FILE = "vivavoce.toml"
NOT_SETTINGS = frozenset(
    "cache models_from config log key llm_key stt_key tts_key api_keys geocoding_url forecast_url "  # noqa: SIM905
    "searxng_url data".split()
)
"""Environment variables of ours that other modules read."""
LISTS = frozenset({"allowed_origins", "ice_addresses", "mcp", "web_domains"})
"""Settings whose environment variable has commas between its values."""

INSTRUCTIONS = (
    "You are a friendly voice assistant. Answer in one or two short sentences of plain spoken English, "
    "without lists, markup or code. If you do not know something, say so."
)


class ConfigError(VivavoceError):
    """A setting is wrong; the message names the remedy."""


class McpServer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server of tools (Model Context Protocol): a program, or an address."""

    name: str = ""
    """What its tools are prefixed with where names collide; made from program or host where it is empty."""
    command: str | None = None
    """A program with its arguments."""
    url: str | None = None
    """An address, https:// or http://."""
    env: dict[str, str] = {}
    """Of the program, beside ours."""
    headers: dict[str, str] = {}
    """Of each request, such as Authorization."""
    tools: tuple[str, ...] | None = None
    """Names of those that may be called; None for all."""
    confirm: Literal["destructive", "always", "never"] = "destructive"
    """Which calls the person must agree to: those of tools that say that they destroy, all, or none."""

    def __post_init__(self) -> None:
        if bool(self.command) == bool(self.url):
            raise ValueError("a server of tools has either a command or a url")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be chosen."""

    service: Literal["local", "yandex", "openai", "azure"] = "local"
    """Whom the agent talks to."""
    url: str | None = None
    """A Realtime server, ws:// or wss://, instead of the service's own."""
    model: str | None = None
    """The service's model."""
    voice: str | None = None
    instructions: str = INSTRUCTIONS
    greeting: str = "Greet me in one short sentence and ask what you can do for me."
    """What the assistant is told to open a spoken conversation with; empty to let the person begin."""
    language: str | None = None
    """Of the person's speech, as in BCP 47."""
    input_device: str | None = None
    """Index or part of the name."""
    output_device: str | None = None
    """Index or part of the name."""
    aec: bool = True
    """Take what the speaker plays out of what the microphone hears."""
    record: str | None = None
    """Folder in which each conversation is recorded in a folder of its own."""

    mcp: tuple[McpServer | str, ...] = ()
    """Servers of tools: tables, or simply commands and addresses."""
    files: str | None = None
    """A folder whose files the assistant may search."""
    store: str | None = None
    """Name of a vector store that the assistant may search, as `vivavoce index add` has made it."""
    library: str | None = None
    """Where indexed files and vector stores are: a folder, or postgresql://…; None for the person's own."""
    web_search: Literal["searxng", "brave", "tavily", "yandex", "duckduckgo"] | None = None
    """Who searches the web; None for the one that the environment has a key or an address of, if any."""
    web_domains: tuple[str, ...] = ()
    """The only sites that are searched, with those below them; all where it is empty."""
    web_region: str | None = None
    """ISO 3166 code of the country whose pages come first, as in DE."""
    web_context: Literal["low", "medium", "high"] = "medium"
    """How many pages are told, and how much of each: up to 3 of 300 characters, 5 of 500, 10 of 1,000."""
    filler_s: Annotated[float, Meta(ge=0.0)] = 1.5
    """After so long a slow call is bridged with "One moment."; 0 for never."""

    profile: Literal["quality", "fast"] = "quality"
    """Which embedded language model: the better or the faster one."""
    vad: str = "silero"
    eot: str = "smart-turn"
    """Judges the end of a turn; "none" for silence and words alone."""
    stt: str = "moonshine"
    llm: str = "llama"
    tts: str = "hibari"
    embedder: str = "minilm"
    """Makes the vectors by which indexed files are found."""
    stt_url: str | None = None
    stt_model: str | None = None
    llm_url: str | None = None
    llm_model: str | None = None
    tts_url: str | None = None
    tts_model: str | None = None
    threshold: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.5
    """Probability of speech from which a frame counts as speech."""
    silence_ms: Annotated[int, Meta(ge=0, le=10_000)] = 400
    """Silence that ends a turn."""
    speculate: bool = True
    """Begin the answer at the first pause, while the silence lasts that ends the turn."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8080
    certfile: str | None = None
    keyfile: str | None = None
    api_keys_file: str | None = None
    """Who may use the server: one key a line; beside it, `VIVAVOCE_API_KEYS`."""
    allowed_origins: tuple[str, ...] = ()
    """Web pages, beside the server's own, that may call it, as in `https://example.org`."""
    ice_addresses: tuple[str, ...] = ()
    """Of this machine, at which sound over WebRTC may arrive; where it is empty, the one that a caller has asked at."""
    max_sessions: Annotated[int, Meta(ge=1)] = 100
    """At one time, as in the next two."""
    max_sessions_per_key: Annotated[int, Meta(ge=1)] | None = None
    max_sessions_per_address: Annotated[int, Meta(ge=1)] | None = None
    max_openings_per_s: Annotated[float, Meta(gt=0.0)] = 50.0
    """Sessions that one key, or one address, may open a second."""
    max_upload_mb: Annotated[int, Meta(ge=1)] = 128
    """MiB of a file that is sent to the server."""
    session_minutes: Annotated[float, Meta(gt=0.0)] = 60.0
    """After which a session expires."""


def mcp_servers(settings: Settings) -> tuple[McpServer, ...]:
    """Return the servers of tools that the settings name."""
    return tuple(server if isinstance(server, McpServer) else _mcp_server(server) for server in settings.mcp)


def _mcp_server(text: str) -> McpServer:
    is_address = text.startswith(("https://", "http://"))
    return McpServer(url=text) if is_address else McpServer(command=text)


def load(
    flags: Mapping[str, Any] | None = None, *, environ: Mapping[str, str] | None = None, file: Path | None = None
) -> Settings:
    """Return the settings in effect.

    Args:
        flags: what the command line says; None values are absent.
        environ: instead of the process's environment.
        file: instead of `VIVAVOCE_CONFIG` or vivavoce.toml in the working directory.

    Raises:
        ConfigError: a setting is unknown or has a bad value; the message says where and what to do.
    """
    environ = os.environ if environ is None else environ
    chosen: dict[str, Any] = {}
    for source, values in (
        _from_file(file, environ),
        ("the environment", _from_environment(environ)),
        ("the command line", {name: value for name, value in (flags or {}).items() if value is not None}),
    ):
        _check(values, source)
        chosen |= values
    return msgspec.convert(chosen, Settings, strict=False)


def _from_file(file: Path | None, environ: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    asked = file or environ.get(f"{PREFIX}CONFIG")
    path = Path(asked or FILE)
    try:
        return str(path), tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if asked:
            raise ConfigError(f"There is no settings file {path}; check VIVAVOCE_CONFIG.") from None
        return str(path), {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as wrong:
        raise ConfigError(f"{path} cannot be read as TOML: {wrong}.") from None


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    ours = {name.removeprefix(PREFIX).lower(): value for name, value in environ.items() if name.startswith(PREFIX)}
    chosen: dict[str, Any] = {name: value for name, value in ours.items() if name not in NOT_SETTINGS and value}
    return {name: value.split(",") if name in LISTS else value for name, value in chosen.items()}


def _check(values: Mapping[str, Any], source: str) -> None:
    for name, value in values.items():
        if name not in Settings.__struct_fields__:
            near = difflib.get_close_matches(name, Settings.__struct_fields__, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise ConfigError(f"{source} has an unknown setting {name!r}{hint}")
        try:
            msgspec.convert({name: value}, Settings, strict=False)
        except msgspec.ValidationError as wrong:
            raise ConfigError(f"{source} has a bad value for {name!r}: {str(wrong).partition(' - at')[0]}.") from None
