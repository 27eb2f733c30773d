"""What `devices`, `voices`, `models` and `doctor` show."""

from __future__ import annotations

import platform
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from vivavoce import compose, plugins
from vivavoce import models as store
from vivavoce.errors import VivavoceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rich.console import Console

    from vivavoce.config import Settings

Verdict: TypeAlias = Literal["good", "warning", "bad"]
MARKS = {"good": "[green]✓[/]", "warning": "[yellow]![/]", "bad": "[red]✗[/]"}
ROOM_FOR_DESCRIPTIONS = 120
"""Columns of a terminal from which a model's description fits beside its name."""
MEMORY_GIB = {"quality": 2.5, "fast": 1.5}
WEB_SEARCH_S = 4.0
"""Seconds that `doctor` waits for a search engine."""


def devices(*, as_json: bool = False) -> None:
    """List microphones and speakers, the defaults marked.

    Raises:
        DeviceError: PortAudio is missing.
    """
    from vivavoce.agent.devices import list_devices

    found = list_devices()
    if as_json:
        import msgspec

        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
        return
    if not found:
        _console().print("No microphone and no speaker. `vivavoce doctor` says what is missing.")
        return
    rows = (
        (
            str(device.index),
            device.name,
            f"{device.inputs or ''}" + (" default" if device.default_input else ""),
            f"{device.outputs or ''}" + (" default" if device.default_output else ""),
            f"{device.default_rate:g}",
        )
        for device in found
    )
    _table(("index", "name", "in", "out", "Hz"), rows)


def voices(settings: Settings) -> None:
    """List the voices of the speech engine, the one in use marked."""
    names = compose.build_engines(settings).tts.voices
    used = settings.voice if settings.voice in names else next(iter(names), None)
    _table(("voice", ""), ((name, "in use" if name == used else "") for name in names))


def models() -> None:
    """List the catalogue."""
    rows: list[tuple[str, ...]] = []
    for name, model in store.catalogue().items():
        size = sum(file.size for file in model.files)
        here = "here" if store.path(name) else "—"
        rows.append((name, model.kind, f"{size / 1e6:,.0f} MB", model.licence, here, model.description))
    columns: tuple[str, ...] = ("model", "for", "size", "licence", "", "what it is")
    if _console().width < ROOM_FOR_DESCRIPTIONS:
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    _table(columns, rows)
    _console().print(f"[dim]kept in {store.cache_root()}[/]", soft_wrap=True)


def pull(names: Iterable[str], settings: Settings, *, everything: bool = False) -> None:
    """Fetch models and say where they are.

    Raises:
        ModelError: a name is unknown or no source has it.
    """
    wanted = list(names) or compose.weights_of(compose.build_engines(settings))
    if everything:
        wanted = list(store.catalogue())
    with store.console_progress() as progress:
        store.pull(wanted, progress=progress)
    _console().print(f"Ready for use without a network: {', '.join(wanted)}.", soft_wrap=True)


def verify(names: Iterable[str]) -> None:
    """Hash models and say that they are what they should be.

    Raises:
        ModelError: one is damaged or missing.
    """
    for name in list(names) or store.installed():
        store.verify(name)
        _console().print(f"{MARKS['good']} {name}")


def remove(names: Iterable[str]) -> None:
    """Remove models from the cache.

    Raises:
        ModelError: a name is unknown.
    """
    for name in names:
        store.remove(name)
        _console().print(f"{name} is gone.")


# Doctor --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    verdict: Verdict
    what: str
    remedy: str = ""


def doctor(settings: Settings) -> bool:
    """Look at everything that `talk` needs, print it, and tell whether it can work."""
    findings = [finding for check in CHECKS for finding in check(settings)]
    console = _console()
    for finding in findings:
        console.print(f"{MARKS[finding.verdict]} {finding.what}", soft_wrap=True)
        if finding.remedy:
            console.print(f"    {finding.remedy}", style="dim", soft_wrap=True)
    bad = sum(finding.verdict == "bad" for finding in findings)
    mute = any(finding.what.startswith("No ") for finding in findings)
    console.print("\n" + (f"{bad} to mend." if bad else f"Ready: vivavoce talk{' --text' if mute else ''}"))
    return not bad


def _check_python(_: Settings) -> list[Finding]:
    return [Finding("good", f"Python {platform.python_version()} on {platform.system()} {platform.machine()}")]


def _check_sound(_: Settings) -> list[Finding]:
    from vivavoce.agent.devices import list_devices

    try:
        found = list_devices()
    except VivavoceError as wrong:
        return [Finding("bad", "No sound system", str(wrong))]
    findings = []
    sides: tuple[tuple[Literal["input", "output"], str], ...] = (("input", "microphone"), ("output", "speaker"))
    for direction, word in sides:
        able = [device for device in found if device.channels(direction)]
        default = next((device for device in able if device.is_default(direction)), able[0] if able else None)
        if default is None:
            remedy = "Connect one, or use `vivavoce talk --text` or `vivavoce talk --input FILE --output FILE`."
            findings.append(Finding("warning", f"No {word}", remedy))
        else:
            findings.append(Finding("good", f"{word.capitalize()}: {default.name}"))
    return findings


def _check_engines(settings: Settings) -> list[Finding]:
    try:
        engines = compose.build_engines(settings)
    except VivavoceError as wrong:
        return [Finding("bad", "An engine is missing", str(wrong))]
    parts = {"vad": engines.vad, "stt": engines.stt, "llm": engines.llm, "tts": engines.tts}
    names = ", ".join(f"{kind} {type(part).__name__}" for kind, part in parts.items())
    return [Finding("good", f"Engines: {names}"), *_check_models(compose.weights_of(engines))]


def _check_models(names: list[str]) -> list[Finding]:
    missing = [name for name in names if store.path(name) is None]
    if not missing:
        return [Finding("good", f"Models: {', '.join(names)}")]
    size = sum(file.size for name in missing for file in store.catalogue()[name].files)
    free = shutil.disk_usage(_existing(store.cache_root())).free
    if free < size * 1.2:
        remedy = f"Make room: {size / 1e9:.1f} GB are needed in {store.cache_root()}, or set VIVAVOCE_CACHE."
        return [Finding("bad", f"Models to fetch, and no room: {', '.join(missing)}", remedy)]
    remedy = f"`vivavoce models pull` ({size / 1e6:,.0f} MB); `talk` does it by itself."
    return [Finding("warning", f"Models to fetch: {', '.join(missing)}", remedy)]


def _check_memory(settings: Settings) -> list[Finding]:
    needed = MEMORY_GIB[settings.profile]
    try:
        import os

        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (ValueError, OSError, AttributeError):
        return []
    if total < needed:
        return [Finding("bad", f"{total:.1f} GiB of memory, {needed} needed", "Use `--profile fast` or `--llm-url`.")]
    return [Finding("good", f"{total:.0f} GiB of memory")]


def _check_plugins(_: Settings) -> list[Finding]:
    kinds: tuple[plugins.Kind, ...] = ("vad", "eot", "stt", "llm", "tts")
    return [Finding("good", "Installed: " + "; ".join(f"{kind} {', '.join(plugins.names(kind))}" for kind in kinds))]


def _check_web_search(settings: Settings) -> list[Finding]:
    """Ask the engine that is chosen, if any, for anything at all."""
    import anyio

    from vivavoce.ports import BackendError, Query
    from vivavoce.search import web

    try:
        search = web.chosen(settings, timeout_s=WEB_SEARCH_S)
        if search is None:
            return []
        anyio.run(search.search, Query(text="vivavoce", limit=1))
    except VivavoceError as wrong:
        verdict: Verdict = "warning" if isinstance(wrong, BackendError) else "bad"
        return [Finding(verdict, "The web cannot be searched", str(wrong))]
    return [Finding("good", f"Web search: {search.engine.site.title}")]


CHECKS: tuple[Callable[[Settings], list[Finding]], ...] = (
    _check_python,
    _check_sound,
    _check_plugins,
    _check_engines,
    _check_memory,
    _check_web_search,
)


def _existing(path: Any) -> Any:
    """Return the nearest folder that exists."""
    while not path.exists():
        path = path.parent
    return path


def _table(columns: Iterable[str], rows: Iterable[tuple[str, ...]]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    *narrow, last = columns
    for column in narrow:
        table.add_column(column, no_wrap=True)
    table.add_column(last, overflow="ellipsis", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    _console().print(table)


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False)
