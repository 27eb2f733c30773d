"""Tools that come with the agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vivavoce.ports import Search, Tool


def built_in(*, files: str | None = None, web: Search | None = None) -> list[Tool]:
    """Return the tools of one conversation: those that need nothing, and those that are configured.

    Args:
        files: a folder whose text files may be searched.
        web: what searches the web.
    """
    from vivavoce.agent.toolbox.calculator import calculator
    from vivavoce.agent.toolbox.clock import date_and_time
    from vivavoce.agent.toolbox.file_search import Files, file_search
    from vivavoce.agent.toolbox.timers import Timers
    from vivavoce.agent.toolbox.weather import get_weather
    from vivavoce.agent.toolbox.web_search import web_search

    tools: list[Tool] = [get_weather, date_and_time, calculator, *Timers().tools()]
    if web is not None:
        tools.append(web_search(web))
    if files is not None:
        tools.append(file_search(Files(files)))
    return tools
