"""Yandex AI Studio as its guide, its samples and third parties have recorded it, both generations."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from tests.services.emulated import Emulated, complaint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from websockets.http11 import Request

FOLDER = "b1gfolder"
INDEX = "fvtindex"
NEVER = {
    "conversation.item.done",
    "input_audio_buffer.cleared",
    "response.output_audio_transcript.done",
    "response.function_call_arguments.delta",
}
"""Events of GA that it does not send."""


class Yandex(Emulated):
    """Since April 2026."""

    path = "/v1/realtime"
    key = "AQVN-secret-of-the-test"
    out_rate = 44_100
    committed = False
    echoes_ids = False
    authorizations = (f"Api-Key {key}", "Bearer t1.token.of-the-test")
    models = ("speech-realtime-260528", "speech-realtime-250923", "speech-realtime-deepseek-v4-flash")

    def __init__(self, *turns: Any, **options: Any) -> None:
        super().__init__(*turns, **options)
        self.ran: list[tuple[str, str]] = []
        """Functions that it ran itself, and on what."""

    def handshake(self, request: Request, query: dict[str, list[str]]) -> HTTPStatus | None:
        if urlsplit(request.path).path != self.path:
            return HTTPStatus.NOT_FOUND
        return None if request.headers.get("Authorization") in self.authorizations else HTTPStatus.UNAUTHORIZED

    def greet(self, request: Request) -> tuple[dict[str, Any], int] | None:
        [model] = parse_qs(urlsplit(request.path).query).get("model", [""])
        if model in {f"gpt://{FOLDER}/{name}{end}" for name in self.models for end in ("", "/latest")}:
            return None
        return complaint(None, None, "Invalid model URI"), 1008

    def session(self) -> dict[str, Any]:
        return super().session() | {"model": f"gpt://{FOLDER}/{self.models[0]}"}

    def check(self, session: dict[str, Any]) -> dict[str, Any] | None:
        """Take any rate, both modalities and no type; only tools are looked at."""
        for tool in session.get("tools", ()):
            if tool["name"] == "file_search" and not tool["description"].startswith("fvt"):
                return complaint(None, None, f"There is no index {tool['description']}")
        return None

    def shape(self, event: dict[str, Any]) -> Iterator[dict[str, Any]]:
        match event["type"]:
            case kind if kind in NEVER:
                return
            case "session.updated":
                echoed = _odd(event["session"])
                yield event | {"session": echoed}
                yield event | {"session": echoed}
            case "conversation.item.added":
                yield event | {"type": "conversation.item.created"}
            case "response.output_audio_transcript.delta":
                yield event | {"type": "response.output_text.delta"}
            case _:
                yield event

    def transcripts(self, text: str) -> Iterator[dict[str, Any]]:
        """Yield what was heard so far, again and again, each as if it were all, the last one twice."""
        words = text.split()
        for end in (*range(2, len(words) + 1, 2), len(words), len(words)):
            told = " ".join(words[:end])
            yield {"type": "conversation.item.input_audio_transcription.completed", "transcript": told}

    def transcript_is_early(self) -> bool:
        return True

    def check_item(self, item: dict[str, Any]) -> dict[str, Any] | None:
        if item.get("role") == "assistant":
            return complaint(None, None, "MessageContentItemOutputText is not supported yet")
        return None

    def run(self, name: str, settings: dict[str, Any]) -> list[dict[str, Any]]:
        [tool] = [tool for tool in settings["tools"] if tool["name"] == name]
        assert tool["type"] == "function"
        assert tool["parameters"] in ("{}", {}, None)
        self.ran.append((name, tool["description"]))
        return [{"id": f"{name}_1", "type": f"{name}_call", "status": "completed", "results": []}]


class OldYandex(Yandex):
    """Until April 2026."""

    path = "/v1/realtime/openai"
    authorizations = (f"api-key {Yandex.key}", f"Api-Key {Yandex.key}")

    def shape(self, event: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if event["type"] == "error":
            yield {"type": "error", "event_id": event["event_id"], "message": event["error"]["message"]}
        else:
            yield from super().shape(event)


def _odd(session: dict[str, Any]) -> dict[str, Any]:
    """Return settings as they are echoed: a rate of null, both modalities, what was asked for as it was."""
    output = session["audio"]["output"] | {"format": {"type": "audio/pcm", "rate": None}}
    return session | {
        "output_modalities": ["text", "audio"],
        "tool_choice": {"type": "auto"},
        "audio": session["audio"] | {"output": output},
    }
