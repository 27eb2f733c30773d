"""What the agent says by itself, without a language model, in the person's language."""

from __future__ import annotations

from typing import Final, NamedTuple


class Phrases(NamedTuple):
    """The agent's own words in one language."""

    wait: str
    """Where a call takes long."""
    may_i: str
    """Asks whether a call with consequences may be run; `{call}` is what the call does."""


_PHRASES: Final = {
    "en": Phrases("One moment.", "May I do this: {call}?"),
    "ru": Phrases("Одну секунду.", "Выполнить: {call}?"),
    "de": Phrases("Einen Moment.", "Soll ich das tun: {call}?"),
    "fr": Phrases("Un instant.", "Est-ce que je peux faire ceci : {call} ?"),
    "es": Phrases("Un momento.", "¿Puedo hacer esto: {call}?"),
}


def phrases(language: str | None) -> Phrases:
    """Return the words of a language, as in BCP 47; English where it is unknown."""
    return _PHRASES.get((language or "en").partition("-")[0].lower(), _PHRASES["en"])
