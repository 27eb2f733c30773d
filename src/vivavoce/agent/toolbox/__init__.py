"""Tools that come with the agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vivavoce.ports import Tool


def built_in(
    *, files: str | None = None, web_search: str | None = None, environ: Mapping[str, str] | None = None
) -> list[Tool]:
    """Return the tools of one conversation: those that need nothing, and those that are configured.

    Args:
        files: a folder whose text files may be searched.
        web_search: the engine to search the web with; None for the one that the environment has a key or address of.
        environ: instead of the process's environment.

    Raises:
        ValueError: the engine lacks its key or address; the message names the variable.
    """
    from vivavoce.agent.toolbox import web_search as web
    from vivavoce.agent.toolbox.calculator import calculator
    from vivavoce.agent.toolbox.clock import date_and_time
    from vivavoce.agent.toolbox.file_search import Files, file_search
    from vivavoce.agent.toolbox.timers import Timers
    from vivavoce.agent.toolbox.weather import get_weather

    tools: list[Tool] = [get_weather, date_and_time, calculator, *Timers().tools()]
    if (engine := web.chosen(web_search, environ)) is not None:
        tools.append(web.web_search(engine))
    if files is not None:
        tools.append(file_search(Files(files)))
    return tools
