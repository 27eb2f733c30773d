"""All sessions of one process, and what they share: engines, defaults, limits."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import anyio
import msgspec
from anyio import CancelScope, create_task_group, move_on_after
from msgspec.structs import replace

from vivavoce.ports import Bounded, LinkClosed, Warm
from vivavoce.realtime.context import CONTEXT_TOKENS
from vivavoce.realtime.errors import ProtocolError
from vivavoce.realtime.events import AnyClientEvent, AnyServerEvent, Error, decode_client
from vivavoce.realtime.server import Ids, ServerSession
from vivavoce.realtime.values import (
    AnySession,
    Audio,
    AudioInput,
    ErrorDetail,
    ServerVad,
    Session,
    TranscriptionAudio,
    TranscriptionInput,
    TranscriptionSession,
    TurnEnd,
)
from vivavoce.server.ahead import Budget
from vivavoce.server.auth import SOMEBODY
from vivavoce.server.detector import Detector
from vivavoce.server.engine import Engine, Engines
from vivavoce.server.limits import Limits, Turnstile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vivavoce.ports import Link
    from vivavoce.server.auth import Caller
    from vivavoce.server.engine import Watch
    from vivavoce.server.limits import Refusal

State: TypeAlias = Literal["warming", "ready", "draining"]

DEFAULTS: Final = Session(model="vivavoce", audio=Audio(input=AudioInput(turn_detection=ServerVad())))
MAX_SESSIONS: Final = 64
LIFETIME_S: Final = 3600.0
NO_LIMITS: Final = Limits()
RESTART: Final = (1012, "The server restarts; connect again in a moment.")

_POLL_S: Final = 0.05
_FLUSH_S: Final = 2.0
"""Time for what is said already to reach clients when the server stops."""


class Hub:
    """Where sessions are opened, counted and closed."""

    def __init__(
        self,
        engines: Engines,
        *,
        defaults: Session = DEFAULTS,
        max_sessions: int = MAX_SESSIONS,
        lifetime_s: float = LIFETIME_S,
        lead_s: float = float("inf"),
        budget: Budget | None = None,
        limits: Limits = NO_LIMITS,
        models: Sequence[str] = (),
    ) -> None:
        """Begin cold: `warm_up` makes it ready.

        Args:
            engines: what hears, thinks and speaks for all sessions.
            defaults: the settings that a session begins with; `model` is used where a client names none.
            max_sessions: at one time.
            lifetime_s: seconds after which a session expires.
            lead_s: how far ahead of real time speech may be sent, seconds.
            budget: of what may be begun ahead for all sessions; the usual one if absent.
            limits: of one caller.
            models: names that the server goes by; a client may use any other.
        """
        self.state: State = "warming"
        self.engines = engines
        self.models = tuple(dict.fromkeys([defaults.model, *models]))
        self._turnstile = Turnstile(limits)
        self._defaults = defaults
        self._max_sessions = max_sessions
        self._lifetime_s = lifetime_s
        self.budget = budget or Budget()
        self._detector = Detector(engines.vad)
        self._lead_s = lead_s
        self._running: set[Engine] = set()
        self._ended = anyio.Event()

    @property
    def sessions(self) -> int:
        """Tell how many sessions are open."""
        return len(self._running)

    async def warm_up(self) -> None:
        """Load all engines side by side; sessions can be opened after that.

        Raises:
            Exception: what the first engine that failed raised.
        """
        failures: list[Exception] = []

        async def load(engine: Warm) -> None:
            try:
                await engine.warm_up()
            except Exception as wrong:  # noqa: BLE001 - a task group would bury it in a group
                failures.append(wrong)
                tasks.cancel_scope.cancel()

        async with create_task_group() as tasks:
            for engine in self.engines.parts():
                if isinstance(engine, Warm):
                    tasks.start_soon(load, engine)
        if failures:
            raise failures[0]
        if self.state == "warming":
            self.state = "ready"

    async def open(
        self,
        link: Link[AnyClientEvent, AnyServerEvent],
        model: str | None = None,
        *,
        intent: str | None = None,
        watch: Watch | None = None,
        caller: Caller = SOMEBODY,
    ) -> None:
        """Run one session until it ends; a client that cannot be served is told why.

        Args:
            link: to the client.
            model: what the client calls the model.
            intent: "transcription" for a session that only transcribes.
            watch: sees everything that goes in and out of the session.
            caller: whose limits count, and what the session begins with.
        """
        if refusal := self.refusal() or self._full() or self._turnstile.refusal(caller):
            await refuse(link, *refusal)
            return
        engine = self._engine(link, self._fresh(caller.session or self._begin(intent), model), watch)
        self._running.add(engine)
        self._turnstile.enter(caller)
        try:
            await engine.run()
        finally:
            self._turnstile.leave(caller)
            self._running.discard(engine)
            self._ended.set()
            self._ended = anyio.Event()

    async def drain(self, grace_s: float) -> None:
        """Open no more sessions and let the open ones finish the answer that they give, for so many seconds."""
        self.state = "draining"
        with move_on_after(grace_s):
            while self._running:
                for engine in [engine for engine in self._running if not engine.busy]:
                    engine.close(*RESTART)
                await anyio.sleep(_POLL_S)

    async def close(self) -> None:
        """End all sessions now; what they said already is still sent."""
        self.state = "draining"
        for engine in list(self._running):
            engine.close(*RESTART)
        with CancelScope(shield=True), move_on_after(_FLUSH_S):
            while self._running:
                await self._ended.wait()

    def prepare(self, patch: dict[str, Any]) -> AnySession:
        """Return what a session would have in effect after this update, without an id.

        Raises:
            ProtocolError: the update would be refused.
        """
        session = ServerSession(self._begin(patch.get("type")), mint=Ids(""))
        for told in session.step(decode_client(msgspec.json.encode({"type": "session.update", "session": patch}))):
            if isinstance(told, Error):
                wrong = told.error
                raise ProtocolError(wrong.code, wrong.message, param=wrong.param, kind=wrong.type)
        prepared, model = session.session, patch.get("model")
        named = isinstance(prepared, Session) and isinstance(model, str) and model
        return replace(prepared, model=model) if named else prepared

    def refusal(self) -> Refusal | None:
        """Return the close code and the error where nobody can be served now."""
        if self.state == "warming":
            message = "The server is still loading its models; try again in a moment."
            return 1013, ErrorDetail(type="server_error", code="server_warming_up", message=message)
        if self.state == "draining":
            message = "The server is about to stop; connect again in a moment."
            return 1012, ErrorDetail(type="server_error", code="server_draining", message=message)
        return None

    def _full(self) -> Refusal | None:
        if self.sessions < self._max_sessions:
            return None
        message = f"All {self._max_sessions} sessions of this server are in use; try again later."
        return 1008, ErrorDetail(type="rate_limit_error", code="session_limit_reached", message=message)

    def _begin(self, intent: object) -> AnySession:
        """Return what a session begins with; `intent` is what the client says that it is for."""
        return _transcribing(self._defaults) if intent == "transcription" else self._defaults

    def _fresh(self, session: AnySession, model: str | None) -> AnySession:
        session_id, expires_at = f"sess_{secrets.token_hex(12)}", int(time.time() + self._lifetime_s)
        if isinstance(session, Session):
            session = replace(session, model=model or session.model)
        return replace(session, id=session_id, expires_at=expires_at)

    def _engine(self, link: Link[AnyClientEvent, AnyServerEvent], session: AnySession, watch: Watch | None) -> Engine:
        llm = self.engines.llm
        state = ServerSession(
            session,
            mint=Ids(secrets.token_hex(8)),
            now=anyio.current_time(),
            lifetime=self._lifetime_s,
            context_tokens=llm.context_tokens if isinstance(llm, Bounded) else CONTEXT_TOKENS,
            voices=tuple(self.engines.tts.voices),
        )
        return Engine(
            state,
            self.engines,
            link,
            lead_s=self._lead_s,
            budget=self.budget,
            detector=self._detector,
            watch=watch,
        )


def _transcribing(session: Session) -> TranscriptionSession:
    """Return the settings of a session that hears as this one does and only transcribes."""
    heard, detection = session.audio.input, session.audio.input.turn_detection
    turns = detection and msgspec.convert(msgspec.to_builtins(detection), TurnEnd)
    audio = TranscriptionInput(format=heard.format, noise_reduction=heard.noise_reduction, turn_detection=turns)
    return TranscriptionSession(audio=TranscriptionAudio(input=audio))


async def refuse(link: Link[AnyClientEvent, AnyServerEvent], code: int, error: ErrorDetail) -> None:
    """Tell a client why it is not served, and close."""
    try:
        await link.send(Error(event_id=f"event_{secrets.token_hex(12)}", error=error))
    except LinkClosed:
        return
    await link.close(code, error.code or error.message)
