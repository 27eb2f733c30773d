"""The web, searched by an engine of one's choice behind the port `Search`."""

from vivavoce.search.web.choice import chosen
from vivavoce.search.web.websearch import Engine, WebSearch

__all__ = ["Engine", "WebSearch", "chosen"]
