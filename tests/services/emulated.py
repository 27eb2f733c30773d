"""A Realtime service over a real socket that behaves as OpenAI's is recorded to; the others are made from it.

It hears speech where the sound is loud, understands what its script says, and answers with a tone. What a client must
not do is refused as the service refuses it.
"""

from __future__ import annotations

import itertools
import json
from base64 import b64decode, b64encode
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import anyio
import numpy as np
from anyio import CancelScope, create_task_group
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from websockets.http11 import Request, Response

IN_RATE = 24_000
LOUD = 0.05
TONE_HZ = 440
DELTA_S = 0.1

KNOWN: dict[str, Any] = {
    "type": None,
    "model": None,
    "instructions": None,
    "output_modalities": None,
    "tools": [{"type": None, "name": None, "description": None, "parameters": None}],
    "tool_choice": None,
    "max_output_tokens": None,
    "audio": {
        "input": {
            "format": {"type": None, "rate": None},
            "transcription": {"model": None, "language": None, "prompt": None},
            "noise_reduction": None,
            "turn_detection": {
                "type": None,
                "threshold": None,
                "prefix_padding_ms": None,
                "silence_duration_ms": None,
                "idle_timeout_ms": None,
                "create_response": None,
                "interrupt_response": None,
            },
        },
        "output": {"format": {"type": None, "rate": None}, "voice": None, "speed": None},
    },
}
"""Settings that exist."""


@dataclass(frozen=True)
class Turn:
    """What the service understands, and what it does about it."""

    heard: str
    says: str = ""
    seconds: float = 0.6
    """Of the tone that it answers with."""
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()
    """Functions of the client that it calls first."""
    hosted: tuple[str, ...] = ()
    """Functions of its own that it runs first."""
    slow: bool = False
    """The answer is made no faster than it is spoken, so that it can be interrupted while it is."""


class Emulated:
    """OpenAI's service, as recorded; one object a test."""

    path = "/v1/realtime"
    key = "sk-secret-of-the-test"
    out_rate = 24_000
    echoes_ids = True
    interrupts = True
    late_deltas = 2
    """Deltas that come of a response after it is cancelled."""
    committed = True

    def __init__(self, *turns: Turn, greeting: Turn | None = None, limit_s: float | None = None) -> None:
        self._turns = [*turns]
        self.greeting = greeting
        self.limit_s = limit_s
        """Seconds that a session lasts."""
        self.requests: list[Request] = []
        self.received: list[dict[str, Any]] = []
        self.refused: list[dict[str, Any]] = []
        self.outcome: list[str] = []
        """How each response ended."""
        self.mistakes: list[BaseException] = []
        """What a client did that the script does not foresee."""

    @asynccontextmanager
    async def open(self, speed: float) -> AsyncIterator[str]:
        """Serve, in time that runs so much faster, and yield the root of the address."""

        async def handle(socket: ServerConnection) -> None:
            try:
                await Conversation(self, socket, speed).run()
            except* ConnectionClosed:
                pass
            except* (AssertionError, StopIteration, RuntimeError) as wrong:
                self.mistakes += wrong.exceptions

        async with serve(handle, "127.0.0.1", 0, process_request=self._let_in) as running:
            (port,) = (opened.getsockname()[1] for opened in running.sockets)
            yield f"127.0.0.1:{port}"

    async def _let_in(self, connection: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        refusal = self.handshake(request, parse_qs(urlsplit(request.path).query))
        return connection.respond(refusal, "") if refusal else None

    def got(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.received if event["type"] == kind]

    @property
    def next_turn(self) -> Turn:
        assert self._turns, "the script has ended"
        return self._turns[0]

    def take_turn(self) -> Turn:
        taken = self.next_turn
        del self._turns[0]
        return taken

    # What differs between services ------------------------------------------------------------------------------------

    def handshake(self, request: Request, query: dict[str, list[str]]) -> HTTPStatus | None:
        """Return the HTTP status of a refusal; OpenAI lets everybody in and complains afterwards."""
        return None if urlsplit(request.path).path == self.path else HTTPStatus.NOT_FOUND

    def greet(self, request: Request) -> tuple[dict[str, Any], int] | None:
        """Return the error and the close code for who should not have been let in."""
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            shown = request.headers.get("Authorization", "").removeprefix("Bearer ")
            message = f"Incorrect API key provided: {shown}."
            return {"type": "invalid_request_error", "code": "invalid_api_key", "message": message}, 3000
        if "OpenAI-Beta" in request.headers:
            return {"type": "invalid_request_error", "code": "beta_api_shape_disabled", "message": "Gone."}, 4000
        if "model" not in parse_qs(urlsplit(request.path).query):
            return {"type": "invalid_request_error", "code": "missing_model", "message": "Name a model."}, 4000
        return None

    def session(self) -> dict[str, Any]:
        """Return what a session begins with."""
        pcm = {"type": "audio/pcm", "rate": 24_000}
        detection = {
            "type": "server_vad",
            "silence_duration_ms": 200,
            "create_response": True,
            "interrupt_response": True,
        }
        return {
            "type": "realtime",
            "object": "realtime.session",
            "id": "sess_1",
            "model": "gpt-realtime",
            "output_modalities": ["audio"],
            "audio": {
                "input": {"format": pcm, "transcription": None, "turn_detection": detection},
                "output": {"format": pcm, "voice": "marin", "speed": 1.0},
            },
            "tools": [],
        }

    def check(self, session: dict[str, Any]) -> dict[str, Any] | None:
        """Return what is wrong with settings that are asked for."""
        if "type" not in session:
            return complaint(
                "missing_required_parameter", "session.type", "Missing required parameter: 'session.type'."
            )
        if unknown := next(_unknown(session, KNOWN, "session"), None):
            return complaint("unknown_parameter", unknown, f"Unknown parameter: '{unknown}'.")
        for side in ("input", "output"):
            sound = session.get("audio", {}).get(side, {}).get("format", {"type": "audio/pcm", "rate": 24_000})
            if sound.get("rate") != 24_000:
                where = f"session.audio.{side}.format.rate"
                return complaint("integer_below_min_value", where, f"Invalid '{where}': expected 24000.")
        return None

    def check_item(self, item: dict[str, Any]) -> dict[str, Any] | None:
        """Return what is wrong with an item that is put into the conversation."""

    def shape(self, event: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield an event of GA as this service tells it."""
        yield event

    def transcripts(self, text: str) -> Iterator[dict[str, Any]]:
        """Yield the events, without their item, that tell what was heard."""
        kind = "conversation.item.input_audio_transcription"
        for word in text.split():
            yield {"type": f"{kind}.delta", "content_index": 0, "delta": f"{word} "}
        usage = {"type": "duration", "seconds": 1}
        yield {"type": f"{kind}.completed", "content_index": 0, "transcript": text, "usage": usage}

    def run(self, name: str, settings: dict[str, Any]) -> list[dict[str, Any]]:
        """Run a function of the service itself and return the items that tell of it; OpenAI has none."""
        raise AssertionError(f"this service has no {name}")

    def transcript_is_early(self) -> bool:
        """Tell whether the transcript comes before the turn is in the conversation."""
        return False


def complaint(code: str | None, param: str | None, message: str) -> dict[str, Any]:
    return {"type": "invalid_request_error", "code": code, "param": param, "message": message}


def _unknown(given: Any, known: Any, path: str) -> Iterator[str]:
    if isinstance(known, list):
        for index, each in enumerate(given):
            yield from _unknown(each, known[0], f"{path}[{index}]")
    elif isinstance(known, dict) and isinstance(given, dict):
        for name, value in given.items():
            if name not in known:
                yield f"{path}.{name}"
            else:
                yield from _unknown(value, known[name], f"{path}.{name}")


class Conversation:
    """One session of a service."""

    def __init__(self, service: Emulated, socket: ServerConnection, speed: float) -> None:
        self._service = service
        self._socket = socket
        self._speed = speed
        self._numbers = itertools.count(1)
        self._settings = service.session()
        self._turn: Turn | None = None
        self._called: Turn | None = None
        """The turn whose calls have been made."""
        self._waiting: set[str] = set()
        """Calls whose output is missing."""
        self._follows: Turn | None = service.greeting
        """What the next `response.create` is answered with."""
        self._active: CancelScope | None = None
        self._heard_ms = 0.0
        self._silent_ms = 0.0
        self._speech: str | None = None
        """The item of a turn that is being spoken."""

    def new(self, kind: str) -> str:
        return f"{kind}_{next(self._numbers)}"

    async def run(self) -> None:
        if wrong := self._service.greet(self._socket.request):  # type: ignore[arg-type]
            error, code = wrong
            await self.refuse(error, None)
            await self._socket.close(code, error["message"])
            return
        async with create_task_group() as self._tasks:
            await self.tell("session.created", session=self._settings)
            if self._service.limit_s is not None:
                self._tasks.start_soon(self._expire, self._service.limit_s)
            async for message in self._socket:
                event = json.loads(message)
                self._service.received.append(event)
                await self.take(event)
            self._tasks.cancel_scope.cancel()

    async def _expire(self, limit_s: float) -> None:
        await anyio.sleep(limit_s / self._speed)
        await self.refuse(complaint("session_expired", None, "Your session hit the maximum duration."), None)
        await self._socket.close(1001, "session expired")

    async def tell(self, kind: str, **fields: Any) -> None:
        for event in self._service.shape({"type": kind, "event_id": self.new("event")} | fields):
            await self._socket.send(json.dumps(event))

    async def refuse(self, error: dict[str, Any], event_id: str | None) -> None:
        self._service.refused.append(error)
        await self.tell("error", error=error | {"event_id": event_id if self._service.echoes_ids else None})

    # The client -------------------------------------------------------------------------------------------------------

    async def take(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "session.update":
                await self._update(event)
            case "input_audio_buffer.append":
                await self._hear(np.frombuffer(b64decode(event["audio"]), "<i2") / 32768)
            case "conversation.item.create":
                await self._create(event)
            case "response.create":
                await self._answer(event)
            case "response.cancel" if self._active is None:
                error = complaint("response_cancel_not_active", None, "Cancellation failed: no active response found")
                await self.refuse(error, event.get("event_id"))
            case "response.cancel":
                self._active.cancel()  # type: ignore[union-attr]
            case "conversation.item.truncate":
                await self.tell(
                    "conversation.item.truncated", item_id=event["item_id"], content_index=0, audio_end_ms=0
                )
            case "input_audio_buffer.clear":
                await self.tell("input_audio_buffer.cleared")
            case kind:
                await self.refuse(
                    complaint("invalid_value", "type", f"Invalid value: '{kind}'."), event.get("event_id")
                )

    async def _update(self, event: dict[str, Any]) -> None:
        if error := self._service.check(event["session"]):
            await self.refuse(error, event.get("event_id"))
            return
        self._settings = _merged(self._settings, event["session"])
        await self.tell("session.updated", session=self._settings)

    async def _create(self, event: dict[str, Any]) -> None:
        item = event["item"]
        if error := self._service.check_item(item):
            await self.refuse(error, event.get("event_id"))
            return
        await self._place(item)
        if item["type"] == "function_call_output":
            assert item["call_id"] in self._waiting, "an output that nobody asked for"
            self._waiting.remove(item["call_id"])
            self._follows = self._turn
        elif item.get("role") == "user" and item["content"][0]["text"] == self._service.next_turn.heard:
            self._follows = self._turn = self._service.take_turn()

    async def _place(self, item: dict[str, Any]) -> None:
        await self.tell("conversation.item.added", item=item)
        await self.tell("conversation.item.done", item=item)

    async def _answer(self, event: dict[str, Any]) -> None:
        if self._active is not None:
            message = "Conversation already has an active response in progress."
            await self.refuse(
                complaint("conversation_already_has_active_response", None, message), event.get("event_id")
            )
            return
        assert not self._waiting, "an answer is asked for before the calls have returned"
        assert self._follows is not None, "an answer is asked for and nothing was said"
        await self._begin(self._follows)

    # Hearing ----------------------------------------------------------------------------------------------------------

    async def _hear(self, sound: np.ndarray) -> None:
        length_ms = len(sound) * 1000 / IN_RATE
        self._heard_ms += length_ms
        loud = bool(len(sound)) and float(np.abs(sound).max()) > LOUD
        self._silent_ms = 0.0 if loud else self._silent_ms + length_ms
        detection = _detection(self._settings)
        if detection is None:
            return
        if loud and self._speech is None:
            self._speech = self.new("item")
            await self.tell(
                "input_audio_buffer.speech_started", item_id=self._speech, audio_start_ms=self._heard_ms // 1
            )
            if self._active is not None and self._service.interrupts:
                self._active.cancel()
        elif self._speech is not None and self._silent_ms >= detection["silence_duration_ms"]:
            item_id, self._speech = self._speech, None
            self._tasks.start_soon(self._understand, item_id)

    async def _understand(self, item_id: str) -> None:
        self._turn = self._service.take_turn()
        await self.tell("input_audio_buffer.speech_stopped", item_id=item_id, audio_end_ms=self._heard_ms // 1)
        if self._service.committed:
            await self.tell("input_audio_buffer.committed", item_id=item_id, previous_item_id=None)
        early = self._service.transcript_is_early()
        if early:
            await self._transcribe(item_id, self._turn.heard)
        part = {"type": "input_audio", "transcript": None}
        await self._place({"id": item_id, "type": "message", "role": "user", "status": "completed", "content": [part]})
        while self._active is not None:  # noqa: ASYNC110 - nobody tells
            await anyio.sleep(0.001)
        await self._begin(self._turn)
        if not early:
            await self._transcribe(item_id, self._turn.heard)

    async def _transcribe(self, item_id: str, text: str) -> None:
        for event in self._service.transcripts(text):
            await self.tell(event["type"], item_id=item_id, **{k: v for k, v in event.items() if k != "type"})

    # Answering --------------------------------------------------------------------------------------------------------

    async def _begin(self, turn: Turn) -> None:
        self._active = CancelScope()
        self._follows = None
        response = self.new("resp")
        await self.tell("response.created", response={"id": response, "status": "in_progress", "output": []})
        self._tasks.start_soon(self._respond, turn, response)

    async def _respond(self, turn: Turn, response: str) -> None:
        assert self._active is not None
        items: list[dict[str, Any]] = []
        with self._active as scope:
            if turn.calls and turn is not self._called:
                self._called = turn
                items = [await self._call(response, index, *call) for index, call in enumerate(turn.calls)]
            else:
                items = [*await self._run_hosted(turn, response), await self._speak(turn, response)]
        status = "cancelled" if scope.cancelled_caught else "completed"
        if status == "cancelled":
            cut = {"id": f"item_of_{response}", "type": "message", "role": "assistant", "content": []}
            where = {"response_id": response, "output_index": 0}
            await self.tell("response.output_item.done", **where, item=cut | {"status": "incomplete"})
        self._active = None
        details = {"type": "cancelled", "reason": "turn_detected"} if status == "cancelled" else None
        self._service.outcome.append(status)
        await self.tell(
            "response.done",
            response={"id": response, "status": status, "status_details": details, "output": items, "usage": {}},
        )
        if status == "cancelled":
            for _ in range(self._service.late_deltas):
                await self._sound(response, f"item_of_{response}", 0.0)

    async def _call(self, response: str, index: int, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        call_id = self.new("call")
        self._waiting.add(call_id)
        item = {"id": self.new("item"), "type": "function_call", "call_id": call_id, "name": name}
        where = {"response_id": response, "output_index": index}
        await self.tell("response.output_item.added", **where, item=item | {"status": "in_progress", "arguments": ""})
        await self.tell("conversation.item.added", item=item | {"status": "in_progress", "arguments": ""})
        whole = item | {"status": "completed", "arguments": json.dumps(arguments)}
        part = {"item_id": item["id"], "call_id": call_id}
        await self.tell("response.function_call_arguments.delta", **where, **part, delta=whole["arguments"])
        await self.tell(
            "response.function_call_arguments.done", **where, **part, name=name, arguments=whole["arguments"]
        )
        await self.tell("conversation.item.done", item=whole)
        await self.tell("response.output_item.done", **where, item=whole)
        return whole

    async def _run_hosted(self, turn: Turn, response: str) -> list[dict[str, Any]]:
        """Run functions of the service itself, and return the items that tell of it."""
        items = [item for name in turn.hosted for item in self._service.run(name, self._settings)]
        for item in items:
            await self.tell("response.output_item.added", response_id=response, output_index=0, item=item)
            await self.tell("response.output_item.done", response_id=response, output_index=0, item=item)
        return items

    async def _speak(self, turn: Turn, response: str) -> dict[str, Any]:
        item: dict[str, Any] = {
            "id": f"item_of_{response}",
            "type": "message",
            "role": "assistant",
            "content": [],
        }
        where = {"response_id": response, "output_index": 0}
        part = where | {"item_id": item["id"], "content_index": 0}
        await self.tell("response.output_item.added", **where, item=item | {"status": "in_progress"})
        await self.tell("conversation.item.added", item=item | {"status": "in_progress"})
        await self.tell("response.content_part.added", **part, part={"type": "audio", "transcript": ""})
        spoken = "audio" in self._settings["output_modalities"]
        kind = "response.output_audio_transcript" if spoken else "response.output_text"
        deltas = round(turn.seconds / DELTA_S) if spoken else 1
        words = turn.says.split(" ")
        for at in range(deltas):
            start, end = len(words) * at // deltas, len(words) * (at + 1) // deltas
            if more := " ".join(words[start:end]):
                await self.tell(f"{kind}.delta", **part, delta=more + " " * (end < len(words)))
            if spoken:
                await self._sound(response, item["id"], at * DELTA_S)
            await anyio.sleep(DELTA_S / self._speed if turn.slow else 0)
        if spoken:
            await self.tell("response.output_audio.done", **part)
        content = (
            {"type": "output_audio", "transcript": turn.says} if spoken else {"type": "output_text", "text": turn.says}
        )
        await self.tell(f"{kind}.done", **part, **{"transcript" if spoken else "text": turn.says})
        whole = item | {"status": "completed", "content": [content]}
        await self.tell("conversation.item.done", item=whole)
        await self.tell("response.output_item.done", **where, item=whole)
        return whole

    async def _sound(self, response: str, item_id: str, start_s: float) -> None:
        rate = self._service.out_rate
        moments = start_s + np.arange(round(DELTA_S * rate)) / rate
        tone = (0.5 * np.sin(2 * np.pi * TONE_HZ * moments) * 32767).astype("<i2")
        delta = b64encode(tone.tobytes()).decode()
        ids = {"response_id": response, "item_id": item_id, "output_index": 0, "content_index": 0}
        await self.tell("response.output_audio.delta", **ids, delta=delta)


def _detection(settings: dict[str, Any]) -> dict[str, Any] | None:
    flat = settings.get("turn_detection")
    found: dict[str, Any] | None = settings["audio"]["input"]["turn_detection"] if "audio" in settings else flat
    return found


def _merged(old: Any, new: Any) -> Any:
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    return old | {name: _merged(old.get(name), value) for name, value in new.items()}
