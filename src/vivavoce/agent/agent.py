"""Talks to a person: microphone to server, server to speaker, calls to tools, everything to a view.

The client's half of the session decides; this edge moves sound and events. Everything that happens goes through one
door, `step`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol, assert_never

import anyio
from anyio import CancelScope, create_memory_object_stream, create_task_group

from vivavoce.ports import LinkClosed
from vivavoce.realtime.client import (
    Captured,
    ClientSession,
    Hush,
    Interrupted,
    Play,
    Played,
    Report,
    Returned,
    Run,
    Show,
    State,
    Typed,
    Warn,
)
from vivavoce.realtime.errors import ProtocolError
from vivavoce.realtime.events import AnyClientEvent, AnyServerEvent, ClientEvent, InputAudioBufferAppend, Unknown
from vivavoce.speech.pcm import from_pcm16, level_db, to_pcm16

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskGroup

    from vivavoce.agent.tools import Toolbox, ToolResult
    from vivavoce.ports import Link, Microphone, Speaker
    from vivavoce.realtime.client import AnyEffect, Input, Output
    from vivavoce.realtime.server import Ids

POLL_S = 0.02
"""How often the speaker is asked what was heard; it also brings resampled sound on its way."""
OUTBOX_FRAMES = 500
"""Events that may wait for a slow network, ten seconds of sound; the oldest sound is dropped then."""
ENDING_S = 1.0
"""Quiet after the end of a recording that ends the conversation."""
STUCK_S = 30.0
"""Time after the end of a recording in which the server must have answered."""


class View(Protocol):
    """What a person looks at."""

    def state(self, state: State) -> None:
        """Show what the conversation is doing."""

    def words(self, show: Show) -> None:
        """Show what was said; called again with more words of the same item."""

    def calling(self, run: Run) -> None:
        """Show that a tool runs."""

    def called(self, run: Run, result: ToolResult) -> None:
        """Show what a tool returned."""

    def report(self, report: Report) -> None:
        """Show where the time of a turn went."""

    def warn(self, warn: Warn) -> None:
        """Show that something is wrong."""

    def level(self, db: float) -> None:
        """Show how loud the microphone is, dB below full scale."""


class Agent:
    """One conversation between a person and a server."""

    def __init__(
        self,
        link: Link[AnyServerEvent | Unknown, AnyClientEvent],
        session: dict[str, Any],
        *,
        mint: Ids,
        view: View,
        tools: Toolbox,
        microphone: Microphone | None = None,
        speaker: Speaker | None = None,
        greeting: str | None = None,
        in_step: bool = False,
        watch: Callable[[Input | Output], None] | None = None,
    ) -> None:
        """Get ready.

        Args:
            link: to the server.
            session: the settings to ask for, as in `session.update`.
            mint: makes identifiers.
            view: what the person looks at.
            tools: what the model may call.
            microphone: frames at the session's input rate; None for a conversation in writing.
            speaker: takes sound at the session's output rate; None to read the answers only.
            greeting: what the model is told to open the conversation with; None to let the person begin.
            in_step: whether the microphone waits while the server works, so that only sound takes time.
            watch: sees everything that goes in and out of the session.
        """
        self.muted = False
        self.dropped = 0
        """Frames of sound that a stalled network made us forget."""
        self._client = ClientSession(session, mint=mint, greeting=greeting)
        self._link = link
        self._view = view
        self._tools = tools
        self._microphone = microphone
        self._speaker = speaker
        self._in_step = in_step
        self._watch = watch
        self._tasks: TaskGroup
        self._playing = CancelScope()
        self._queued = 0
        self._heard: Played | None = None
        self._outbox: deque[AnyClientEvent] = deque()
        self._posted = anyio.Event()
        self._to_play_in, self._to_play = create_memory_object_stream[Play](float("inf"))

    async def run(self) -> None:
        """Converse until the recording ends, the server goes or the caller cancels.

        Raises:
            LinkClosed: the server has gone; the message says why.
            DeviceError: the microphone or the speaker has gone.
        """
        try:
            async with create_task_group() as self._tasks:
                self._tasks.start_soon(self._send)
                self._tasks.start_soon(self._play)
                self._tasks.start_soon(self._follow_speaker)
                if self._microphone is not None:
                    self._tasks.start_soon(self._listen, self._microphone)
                await self._receive()
        except BaseExceptionGroup as group:
            raise _first(group) from None
        finally:
            self._to_play_in.close()
            self._to_play.close()
            with CancelScope(shield=True), anyio.move_on_after(2):
                await self._link.close()

    def step(self, happened: Input) -> None:
        """Tell the session what happened and do what it says."""
        if self._watch:
            self._watch(happened)
        for output in self._client.step(happened):
            if self._watch:
                self._watch(output)
            if isinstance(output, ClientEvent):
                self._post(output)
            else:
                self._do(output)
        self._view.state(self._client.state)

    def say(self, text: str) -> None:
        """Send what the person typed."""
        self._view.words(Show(role="user", item_id="typed", text=text, final=True))
        self.step(Typed(text))

    def interrupt(self) -> None:
        """Make the answer stop."""
        self._note_heard()
        self.step(Interrupted())

    @property
    def quiet(self) -> bool:
        """Tell whether nothing is being said, made or awaited."""
        return self._client.quiet

    def stop(self) -> None:
        """End the conversation."""
        self._tasks.cancel_scope.cancel()

    # Effects ---------------------------------------------------------------------------------------------------------

    def _do(self, effect: AnyEffect) -> None:
        match effect:
            case Play():
                self._queued += 1
                self._heard = None
                self._to_play_in.send_nowait(effect)
            case Hush():
                self._hush()
            case Run():
                self._view.calling(effect)
                self._tasks.start_soon(self._call, effect)
            case Show():
                self._view.words(effect)
            case Report():
                self._view.report(effect)
            case Warn():
                self._view.warn(effect)
            case _:
                assert_never(effect)

    def _hush(self) -> None:
        while self._queued and self._to_play.statistics().current_buffer_used:
            self._to_play.receive_nowait()
            self._queued -= 1
        self._playing.cancel()
        if self._speaker is not None:
            self._speaker.hush()

    async def _call(self, run: Run) -> None:
        result = await self._tools.run(run.name, run.arguments)
        self._view.called(run, result)
        self.step(Returned(run.call_id, result.output))

    # Sound -----------------------------------------------------------------------------------------------------------

    async def _listen(self, microphone: Microphone) -> None:
        async for frame in microphone.frames():
            self._view.level(level_db(frame))
            if not self.muted:
                self.step(Captured(to_pcm16(frame)))
            if self._in_step:
                await self._until_server_waits()
        await self._until_answered()
        self.stop()

    async def _until_server_waits(self) -> None:
        """Wait until the server has heard everything and has nothing to say that is not queued yet."""
        while self._outbox or self._must_answer():  # noqa: ASYNC110 - a speaker cannot be awaited
            await anyio.sleep(0 if self._outbox else POLL_S / 10)

    def _must_answer(self) -> bool:
        return self._client.state == "thinking" or (self._client.answering and self._all_played())

    async def _until_answered(self) -> None:
        """Wait until nothing has been said for a while."""
        quiet_since = anyio.current_time()
        with anyio.move_on_after(STUCK_S) as patience:
            while anyio.current_time() - quiet_since < ENDING_S:
                await anyio.sleep(POLL_S)
                if not self.quiet:
                    quiet_since = anyio.current_time()
                    if self._client.state != "hearing you":
                        patience.deadline = quiet_since + STUCK_S

    async def _play(self) -> None:
        async for piece in self._to_play:
            with CancelScope() as self._playing:
                if self._speaker is not None:
                    await self._speaker.play(piece.item_id, from_pcm16(piece.audio))
            self._queued -= 1

    async def _follow_speaker(self) -> None:
        while True:
            await anyio.sleep(POLL_S)
            self._note_heard()

    def _note_heard(self) -> None:
        """Tell the session how much of the answer has left the device."""
        if self._speaker is None:
            item = self._client.playing_item
            heard = (item, 0) if item else None
        else:
            heard = self._speaker.heard()
        if heard is None:
            return
        if (played := Played(*heard, all_played=self._all_played())) != self._heard:
            self._heard = played
            self.step(played)

    def _all_played(self) -> bool:
        return not self._queued and (self._speaker is None or self._speaker.idle())

    # The server ------------------------------------------------------------------------------------------------------

    async def _receive(self) -> None:
        while True:
            try:
                event = await self._link.receive()
            except ProtocolError as wrong:
                self._view.warn(Warn(wrong.code or "invalid_event", wrong.message))
                continue
            self._note_heard()
            self.step(event)

    async def _send(self) -> None:
        while True:
            while self._outbox:
                await self._link.send(self._outbox.popleft())
            self._posted = anyio.Event()
            await self._posted.wait()

    def _post(self, event: AnyClientEvent) -> None:
        """Queue an event; when the network stalls the oldest sound is dropped, never anything else."""
        if isinstance(event, InputAudioBufferAppend) and len(self._outbox) >= OUTBOX_FRAMES:
            self._outbox.remove(next(old for old in self._outbox if isinstance(old, InputAudioBufferAppend)))
            self.dropped += 1
        self._outbox.append(event)
        self._posted.set()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first failure that is not a consequence of another."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            return _first(error)
        if not isinstance(error, LinkClosed):
            return error
    return group.exceptions[0]
