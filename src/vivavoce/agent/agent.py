"""Talks to a person: microphone to server, server to speaker, calls to tools, everything to a view.

The client's half of the session decides; this edge moves sound and events. Everything that happens goes through one
door, `step`.
"""

from __future__ import annotations

import os
import time
from collections import deque
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

import anyio
from anyio import CancelScope, create_task_group

from vivavoce.agent.ears import Ears
from vivavoce.agent.hands import USUAL, Hands, Manner
from vivavoce.agent.laps import Laps
from vivavoce.agent.lasting import Line
from vivavoce.agent.masking import Mask
from vivavoce.agent.minutes import Minutes
from vivavoce.agent.mouth import Mouth
from vivavoce.agent.transcript import TYPED
from vivavoce.agent.view import SoundCounts
from vivavoce.ports import LinkClosed
from vivavoce.realtime.client import (
    Captured,
    Changed,
    Cite,
    ClientSession,
    Duck,
    Hush,
    Interrupted,
    Lost,
    Play,
    Played,
    Renew,
    Report,
    Run,
    Show,
    Stop,
    Tick,
    TurnBegun,
    TurnTaken,
    Typed,
    Unanswered,
    Unduck,
    Warn,
)
from vivavoce.realtime.events import (
    AnyClientEvent,
    AnyServerEvent,
    ClientEvent,
    InputAudioBufferAppend,
    InputAudioBufferCommitted,
    OutputAudioDone,
    ResponseDone,
    SessionCreated,
    SessionUpdated,
    SpeechStarted,
    Unknown,
)
from vivavoce.realtime.values import Extensions, Session

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anyio.abc import TaskGroup

    from vivavoce.agent.lasting import Opening
    from vivavoce.agent.tools import Toolbox
    from vivavoce.agent.view import View
    from vivavoce.ports import Link, Microphone, Speaker
    from vivavoce.realtime.client import AnyEffect, Input, Output
    from vivavoce.realtime.server import Ids

POLL_S = 0.02
"""How often the speaker is asked what was heard; it also brings resampled sound on its way."""
OUTBOX_FRAMES = 500
"""Events that may wait for a slow network, ten seconds of sound; the oldest sound is dropped then."""
ENDING_S = 1.0
"""Quiet after the end of a recording that ends the conversation."""
SETTINGS_S = 2.0
"""Time for a server to say that the settings hold; some never do."""
STUCK_S = 30.0
"""Time after the end of a recording in which the server must have answered."""


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
        manner: Manner = USUAL,
        voices: Sequence[str] = (),
        watchers: Sequence[Callable[[Input | Output], None]] = (),
        reopen: Opening | None = None,
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
            manner: how to behave around calls.
            voices: what `change_voice` may take, as far as known.
            watchers: see everything that goes in and out of the session.
            reopen: opens another link when one has gone; without it the conversation ends then.
        """
        self.voices = voices
        self.voice: str | None = session.get("audio", {}).get("output", {}).get("voice")
        """The one that was asked for; None for the server's choice."""
        self._laps = _laps(session)
        self._detection = session.get("audio", {}).get("input", {}).get("turn_detection")
        self._client = ClientSession(
            session,
            mint=mint,
            greeting=greeting,
            unix=time.time() - anyio.current_time(),
        )
        self._line = Line(link, reopen, watcher=view, hear=self._take, lost=self._lose)
        self._view = view
        self._hands = Hands(tools, view, self.step, manner)
        self._ears = None if microphone is None else Ears(microphone, view.level, self._in_turn)
        self._mouth = Mouth(speaker)
        self._devices = (microphone, speaker)
        self._in_step = in_step
        self._minutes = Minutes(Mask.of_environment(os.environ))
        self._began, self._start = datetime.now().astimezone(), time.monotonic()
        self._watchers = (*watchers, self._take_minutes)
        self._tasks: TaskGroup
        self._heard: Played | None = None
        self._counts = SoundCounts()
        self._dropped = 0
        self._outbox: deque[AnyClientEvent] = deque()
        self._posted = anyio.Event()
        self._alarm = CancelScope()

    async def run(self) -> None:
        """Converse until the recording ends, the server goes for good or the caller cancels.

        Raises:
            LinkClosed: the server has gone and cannot be reached again; the message says why.
            DeviceError: the microphone or the speaker has gone.
        """
        try:
            async with create_task_group() as self._tasks:
                self._hands.begin(self._tasks)
                self._tasks.start_soon(self._send)
                self._tasks.start_soon(self._mouth.run)
                self._tasks.start_soon(self._follow_devices)
                self._tasks.start_soon(self._wake)
                if self._ears is not None:
                    self._tasks.start_soon(self._listen, self._ears)
                await self._line.run()
        except BaseExceptionGroup as group:
            raise _first(group) from None
        finally:
            self._mouth.close()

    def step(self, happened: Input) -> None:
        """Tell the session what happened and do what it says."""
        self._tell_watchers(happened)
        for output in self._client.step(happened, anyio.current_time()):
            self._tell_watchers(output)
            if isinstance(output, ClientEvent):
                self._post(output)
            else:
                self._do(output)
        match happened:
            case OutputAudioDone(item_id=item_id):
                self._mouth.finish(item_id)
            case ResponseDone() | Lost():
                self._mouth.finish()
            case _:
                pass
        self._line.follow(ready=self._client.ready)
        if (due := self._due()) != self._alarm.deadline:
            self._alarm.deadline = due
        self._view.state(self._client.state)

    @property
    def quiet(self) -> bool:
        """Tell whether nothing is being said, made or awaited."""
        return self._client.quiet

    # The person ------------------------------------------------------------------------------------------------------

    @property
    def muted(self) -> bool:
        """Whether the server hears nothing of the microphone."""
        return self._ears is not None and self._ears.muted

    @muted.setter
    def muted(self, muted: bool) -> None:
        if self._ears is not None:
            self._ears.muted = muted

    @property
    def push_to_talk(self) -> bool:
        """Whether the server hears the microphone only from `press` to `release`, and answers then."""
        return self._ears is not None and self._ears.push_to_talk

    @push_to_talk.setter
    def push_to_talk(self, wanted: bool) -> None:
        if self._ears is None or wanted == self._ears.push_to_talk:
            return
        self.release()
        self._ears.push_to_talk = wanted
        self.step(Changed({"audio": {"input": {"turn_detection": None if wanted else self._detection}}}))

    def press(self) -> None:
        """Begin a turn of push-to-talk."""
        if self._ears is not None and self._ears.push_to_talk and not self._ears.held:
            self._note_heard()
            self._mouth.hush()
            self.step(TurnBegun())
            self._ears.held = True

    def release(self) -> None:
        """End the turn that `press` began."""
        if self._ears is not None and self._ears.held:
            self._ears.held = False
            self.step(TurnTaken())

    def say(self, text: str) -> None:
        """Send what the person typed."""
        text = text.encode("utf-8", "replace").decode()
        typed = Show(role="user", item_id=TYPED, text=text, final=True)
        self._view.words(typed)
        self._note_heard()
        self.step(Typed(text))
        self._hands.heard(typed)

    def interrupt(self) -> None:
        """Make the answer stop."""
        self._note_heard()
        self.step(Interrupted())
        if self._mouth.replaying:
            self._mouth.hush()

    def replay(self) -> bool:
        """Play the last answer again, and tell whether there is one to be played now."""
        return self._client.quiet and self._mouth.replay()

    def change_voice(self, name: str) -> None:
        """Let the next answers be spoken by another voice; a server that cannot says so."""
        self.voice = name
        self.step(Changed({"audio": {"output": {"voice": name}}}))

    def confirm(self, *, yes: bool) -> None:
        """Answer the call that waits for the person's consent, if one does."""
        self._hands.confirm(yes=yes)

    def save(self) -> Path:
        """Write what was said so far as Markdown into a new file in the working directory, and return its path.

        Raises:
            SaveError: it cannot be written; the message names the remedy.
        """
        return self._minutes.save(Path(), self._began).absolute()

    def stop(self) -> None:
        """End the conversation."""
        self._tasks.cancel_scope.cancel()

    # Effects ---------------------------------------------------------------------------------------------------------

    def _do(self, effect: AnyEffect) -> None:
        match effect:
            case Play():
                self._heard = None
                self._mouth.play(effect)
            case Hush():
                self._mouth.hush()
            case Duck():
                self._mouth.pause()
            case Unduck():
                self._mouth.resume()
            case Run():
                self._hands.run(effect)
            case Stop():
                self._hands.stop(effect)
            case Show():
                self._view.words(effect)
                self._hands.heard(effect)
            case Cite():
                self._view.citing(effect)
            case Report():
                self._view.report(effect)
            case Warn():
                self._view.warn(effect)
            case Renew():
                self._outbox.clear()
                self._line.renew()
            case _:
                assert_never(effect)

    def _tell_watchers(self, what: Input | Output) -> None:
        if report := self._laps.watch(anyio.current_time(), what):
            self._view.report(report)
        for watch in self._watchers:
            watch(what)

    def _take_minutes(self, what: Input | Output) -> None:
        self._minutes.note(time.monotonic() - self._start, what)

    # Sound -----------------------------------------------------------------------------------------------------------

    async def _listen(self, ears: Ears) -> None:
        if self._in_step:
            await self._until_server_waits()
        async with aclosing(ears.frames()) as frames:
            async for audio in frames:
                if audio is not None:
                    self.step(Captured(audio))
                if self._in_step:
                    self._note_heard()
                    await self._until_server_waits()
        await self._until_answered()
        self.stop()

    def _in_turn(self) -> bool:
        return self._client.state == "hearing you"

    async def _until_server_waits(self) -> None:
        """Wait until the server has heard everything and has nothing to say that is not queued yet."""
        while self._outbox or self._must_answer():  # noqa: ASYNC110 - a speaker cannot be awaited
            await anyio.sleep(0 if self._outbox else POLL_S / 10)

    def _must_answer(self) -> bool:
        client = self._client
        return not client.ready or client.state == "thinking" or (client.answering and self._mouth.idle)

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

    async def _follow_devices(self) -> None:
        while True:
            await anyio.sleep(POLL_S)
            self._note_heard()
            self._note_counts()

    def _note_heard(self) -> None:
        """Tell the session how much of the answer has left the device."""
        played = self._mouth.heard(self._client.playing_item)
        if played is not None and played != self._heard:
            self._heard = played
            self.step(played)

    def _note_counts(self) -> None:
        microphone, speaker = self._devices
        counts = SoundCounts(
            underruns=getattr(speaker, "underruns", 0),
            dropped=self._dropped + getattr(microphone, "dropped", 0),
            overflows=getattr(microphone, "overflows", 0),
        )
        if counts != self._counts:
            self._counts = counts
            self._view.sound(counts)

    # The server ------------------------------------------------------------------------------------------------------

    def _take(self, event: AnyServerEvent | Unknown) -> None:
        self._note_heard()
        self._look_at(event)
        self.step(event)

    def _lose(self) -> None:
        self._note_heard()
        self._outbox.clear()
        self.step(Lost())

    async def _wake(self) -> None:
        while True:
            with CancelScope(deadline=self._due()) as self._alarm:
                await anyio.sleep_forever()
            self.step(Tick())

    def _due(self) -> float:
        deadline = self._client.deadline()
        return float("inf") if deadline is None else deadline

    def _look_at(self, event: AnyServerEvent | Unknown) -> None:
        """Take from an event what is no business of the session."""
        match event:
            case SpeechStarted() | InputAudioBufferCommitted():
                self._hands.begun(event.item_id)
                if self._mouth.replaying:
                    self._mouth.hush()
            case SessionCreated():
                self._tasks.start_soon(self._wait_for_settings)
            case SessionUpdated(session=Session(vivavoce=Extensions(voices=voices))) if voices:
                self.voices = voices
            case _:
                pass

    async def _wait_for_settings(self) -> None:
        await anyio.sleep(SETTINGS_S)
        self.step(Unanswered())

    async def _send(self) -> None:
        while True:
            while self._outbox:
                await self._line.send(self._outbox.popleft())
            self._posted = anyio.Event()
            await self._posted.wait()

    def _post(self, event: AnyClientEvent) -> None:
        """Queue an event; when the network stalls the oldest sound is dropped, never anything else."""
        if isinstance(event, InputAudioBufferAppend) and len(self._outbox) >= OUTBOX_FRAMES:
            oldest = next((at for at, old in enumerate(self._outbox) if isinstance(old, InputAudioBufferAppend)), None)
            if oldest is not None:
                del self._outbox[oldest]
                self._dropped += 1
        self._outbox.append(event)
        self._posted.set()


def _laps(session: dict[str, Any]) -> Laps:
    hears = session.get("audio", {}).get("input", {})
    detection, rate = hears.get("turn_detection") or {}, hears.get("format", {}).get("rate", 24_000)
    return Laps(silence_ms=detection.get("silence_duration_ms", 0), bytes_per_ms=rate * 2 / 1000)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first failure that is not a consequence of another."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            return _first(error)
        if not isinstance(error, LinkClosed):
            return error
    return group.exceptions[0]
