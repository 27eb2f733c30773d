"""Which dialect a connection speaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from vivavoce.realtime.beta import Beta
from vivavoce.realtime.dialect import Dialect, are_both, modalities
from vivavoce.realtime.yandex import Yandex

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from vivavoce.realtime.events import AnyServerEvent

_BETA_HEADER: Final = "realtime=v1"
_BETA_SUBPROTOCOL: Final = "openai-beta.realtime-v1"


def recognise(model: str | None, *, authorization: str = "", beta: str = "", offered: Collection[str] = ()) -> Dialect:
    """Return the dialect of a connection, by what is known when it opens.

    Args:
        model: what the client calls the model.
        authorization: the header of that name.
        beta: the header `OpenAI-Beta`.
        offered: sub-protocols.
    """
    if (model or "").startswith("gpt://") or authorization.lower().startswith("api-key "):
        return Yandex()
    if _BETA_HEADER in beta.replace(" ", "") or _BETA_SUBPROTOCOL in offered:
        return Beta()
    return Undecided()


class Undecided(Dialect):
    """GA, until the client asks for settings in a way that only one service has."""

    def __init__(self) -> None:
        self._decided: Dialect = Dialect()

    def read(self, event: dict[str, Any]) -> dict[str, Any]:
        """Return a client event as GA has it."""
        match event:
            case {"type": "session.update", "session": dict(session)} if _only_yandex(session):
                if not isinstance(self._decided, Yandex):
                    self._decided = Yandex()
            case _:
                pass
        return self._decided.read(event)

    def write(self, event: AnyServerEvent) -> Iterable[str]:
        """Return the messages that tell a client of an event."""
        return self._decided.write(event)


def _only_yandex(session: dict[str, Any]) -> bool:
    return "type" not in session and "output_modalities" in session and are_both(modalities(session))
