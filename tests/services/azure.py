"""Azure OpenAI as its guides describe it: the current version, OpenAI's own, and a dated one, which is the beta."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from tests.services.emulated import Emulated, complaint
from tests.services.old import OLD_KNOWN, in_beta, old_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from websockets.http11 import Request

DEPLOYMENT = "talker"


class Azure(Emulated):
    """`/openai/v1/realtime`."""

    path = "/openai/v1/realtime"
    key = "0123456789abcdef-of-the-test"
    token = "eyJ.token.of-the-test"

    def handshake(self, request: Request, query: dict[str, list[str]]) -> HTTPStatus | None:
        if request.path.partition("?")[0] != self.path:
            return HTTPStatus.NOT_FOUND
        let_in = request.headers.get("api-key") == self.key
        if not let_in and request.headers.get("Authorization") != f"Bearer {self.token}":
            return HTTPStatus.UNAUTHORIZED
        return self.deployed(query)

    def deployed(self, query: dict[str, list[str]]) -> HTTPStatus | None:
        """Return the refusal of a query; a version has no place in this one."""
        return None if query == {"model": [DEPLOYMENT]} else HTTPStatus.BAD_REQUEST

    def greet(self, request: Request) -> tuple[dict[str, Any], int] | None:
        """Let everybody in who has come so far."""

    def transcripts(self, text: str) -> Iterator[dict[str, Any]]:
        """Yield what was heard, which nothing comes of where the model is not deployed."""
        if self.transcriber == "whisper-1":
            yield from super().transcripts(text)
            return
        error = {"type": "invalid_request_error", "code": "DeploymentNotFound", "message": "No such deployment."}
        yield {"type": "conversation.item.input_audio_transcription.failed", "error": error}

    @property
    def transcriber(self) -> str:
        """The model that was asked for."""
        session = self.got("session.update")[-1]["session"]
        told = session.get("input_audio_transcription") or session.get("audio", {}).get("input", {}).get(
            "transcription"
        )
        return str((told or {}).get("model"))


class DatedAzure(Azure):
    """`/openai/realtime` with a version, in the shapes of the beta."""

    path = "/openai/realtime"
    version = "2025-04-01-preview"

    def deployed(self, query: dict[str, list[str]]) -> HTTPStatus | None:
        return None if query == {"api-version": [self.version], "deployment": [DEPLOYMENT]} else HTTPStatus.BAD_REQUEST

    def session(self) -> dict[str, Any]:
        return old_session()

    def check(self, session: dict[str, Any]) -> dict[str, Any] | None:
        if unknown := next((name for name in session if name not in OLD_KNOWN), None):
            return complaint("unknown_parameter", f"session.{unknown}", f"Unknown parameter: 'session.{unknown}'.")
        for name in ("input_audio_format", "output_audio_format"):
            if session.get(name) not in {"pcm16", "g711_ulaw", "g711_alaw"}:
                return complaint("invalid_value", f"session.{name}", "Invalid value.")
        return None

    def shape(self, event: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield from in_beta(event)
