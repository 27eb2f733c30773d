"""Servers that people run themselves, with the oddities that are known of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.services.emulated import Emulated, complaint
from tests.services.old import in_beta, old_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from websockets.http11 import Request


class LocalAI(Emulated):
    """Current shapes with old aliases beside them; knows the models it has and no others; asks for no key."""

    echoes_ids = False

    def greet(self, request: Request) -> tuple[dict[str, Any], int] | None:
        """Let everybody in."""

    def session(self) -> dict[str, Any]:
        return super().session() | {"modalities": ["audio", "text"]}

    def check(self, session: dict[str, Any]) -> dict[str, Any] | None:
        if "model" in (session["audio"]["input"].get("transcription") or {}):
            return complaint("invalid_model", None, "This model cannot be loaded.")
        return None


class Speaches(LocalAI):
    """The beta's shapes only; a response cannot be cancelled and an item not be cut."""

    interrupts = False

    def session(self) -> dict[str, Any]:
        return old_session()

    def check(self, session: dict[str, Any]) -> dict[str, Any] | None:
        """Ignore what is not known, as pydantic's models do."""

    def shape(self, event: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield from in_beta(event)


class SpeechToSpeech(LocalAI):
    """The codes of errors stand where their types should; `created` for `added` and `done`."""

    def shape(self, event: dict[str, Any]) -> Iterator[dict[str, Any]]:
        match event["type"]:
            case "conversation.item.added":
                yield event | {"type": "conversation.item.created"}
            case "conversation.item.done":
                return
            case "error":
                error = event["error"]
                yield event | {"error": {"type": error["code"] or error["type"], "message": error["message"]}}
            case _:
                yield event


class Wordless(LocalAI):
    """Says as little as it can: no settings, no ids, no places, null where something is."""

    needless = ("item_id", "response_id", "event_id", "output_index", "content_index", "audio_start_ms", "audio_end_ms")

    def shape(self, event: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if event["type"] == "session.created":
            yield {"type": "session.created", "id": "1", "created": 0}
        elif event["type"] == "response.done":
            yield event | {"response": event["response"] | {"status_details": None, "usage": None, "output": None}}
        elif event["type"] != "session.updated" and not event["type"].startswith("conversation.item.added"):
            yield {name: value for name, value in event.items() if name not in self.needless} | {"note": None}


class Chatty(LocalAI):
    """Tells of everything, also what nobody has heard of, and of some things twice."""

    def shape(self, event: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield {"type": f"chatty.{event['type']}", "level": 3}
        yield event
        if event["type"] in {"session.updated", "conversation.item.added", "response.output_item.done"}:
            yield event


class Deaf(LocalAI):
    """Notices that somebody speaks, and goes on."""

    interrupts = False
