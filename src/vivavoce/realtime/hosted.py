"""What the server searches for the model, as a session declares it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vivavoce.realtime.conversation import HostedTool
from vivavoce.realtime.errors import ProtocolError
from vivavoce.realtime.values import Extensions, FunctionTool

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vivavoce.realtime.values import AnyTool, FileSearch, WebSearch

FILES: Final = "file_search"
WEB: Final = "web_search"
MOST_STORES: Final = 8
EXAMPLES: Final = {
    FILES: (
        "What do my notes say about the trip?",
        "Search my files for the phone number of the plumber.",
        "Look in my documents for the recipe.",
        "Find the passage about invoices in my notes.",
        "What did I write down about the meeting?",
        "Does the handbook say anything about sick leave?",
        "Посмотри в моих заметках, что там про отпуск.",
    ),
    WEB: (
        "Search the web for the opening hours of the Louvre.",
        "What's in the news today?",
        "Look up who won the match yesterday.",
        "Find out online what a ticket costs.",
        "Google the latest version of Python.",
        "Find a recipe for borscht on the internet.",
        "Найди в интернете новости.",
    ),
}
"""What people say who want something looked up."""


def hosted_tools(extensions: Extensions, tools: Iterable[AnyTool]) -> tuple[HostedTool, ...]:
    """Return what is searched: what our option names, else functions with reserved names, else nothing.

    A function of the client's own keeps its name; ours is then left out.

    Args:
        extensions: of the session.
        tools: that are declared.
    """
    functions = {tool.name: tool for tool in tools if isinstance(tool, FunctionTool)}
    wanted: dict[str, HostedTool] = {}
    if extensions.search and extensions.search.files:
        wanted[FILES] = _files(extensions.search.files)
    if extensions.search and extensions.search.web:
        wanted[WEB] = _web(extensions.search.web)
    wanted = {name: tool for name, tool in wanted.items() if name not in functions or name in extensions.hosted}
    for name in functions.keys() & set(extensions.hosted) - wanted.keys():
        if reserved := _reserved(functions[name]):
            wanted[name] = reserved
    return tuple(wanted[name] for name in sorted(wanted))


def check_searches(extensions: Extensions, path: str) -> None:
    """Refuse searches that cannot be meant.

    Raises:
        ProtocolError: likewise.
    """
    files = extensions.search.files if extensions.search else None
    if files is not None and not 0 < len(files.vector_store_ids) <= MOST_STORES:
        message = f"Name 1 to {MOST_STORES} vector stores to search, or leave the search of files out."
        raise ProtocolError("invalid_value", message, param=f"{path}.search.files.vector_store_ids")


def _files(asked: FileSearch) -> HostedTool:
    return HostedTool(name=FILES, stores=asked.vector_store_ids, limit=asked.max_num_results, filters=asked.filters)


def _web(asked: WebSearch) -> HostedTool:
    return HostedTool(name=WEB, domains=asked.allowed_domains, region=asked.region, context_size=asked.context_size)


def _reserved(tool: FunctionTool) -> HostedTool | None:
    """Return the search that a function with a reserved name stands for; the description names the one index."""
    match tool.name:
        case "web_search":
            return HostedTool(name=WEB)
        case "file_search":
            index = tool.description.strip() if isinstance(tool.description, str) else ""
            return HostedTool(name=FILES, stores=(index,) if index else ())
        case _:
            return None
