"""Runs one session: the pure half decides, this edge hears, thinks and speaks.

One task group a session, one cancel scope a response. Everything that happens goes through one door, `step`.
"""

from __future__ import annotations

import logging
import math
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, assert_never

import anyio
from anyio import CancelScope, create_task_group

from vivavoce.ports import BackendError, Call, Comparing, LinkClosed, Samples, Searched, Text, Usage
from vivavoce.realtime import facts
from vivavoce.realtime.errors import ProtocolError
from vivavoce.realtime.events import (
    AnyClientEvent,
    AnyServerEvent,
    InputAudioBufferAppend,
    ServerEvent,
    SessionUpdate,
)
from vivavoce.realtime.hosted import FILES
from vivavoce.realtime.values import Extensions, Session
from vivavoce.server import guard
from vivavoce.server.ahead import Ahead, Budget, settled
from vivavoce.server.detector import Detector
from vivavoce.server.ears import Ears, Utterance
from vivavoce.server.mcp import RemoteServers
from vivavoce.server.outbox import UNPACED_S, Outbox, OutboxFullError
from vivavoce.server.overhearing import Overhearing
from vivavoce.server.recognition import Recognition
from vivavoce.server.searching import Searching
from vivavoce.server.thinking import Manner
from vivavoce.server.voice import Clock, Voice
from vivavoce.speech.overlap import SIGNS
from vivavoce.speech.wording import finished

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine

    from vivavoce.ports import EndOfTurn, LanguageModel, Link, SpeechToText, TextToSpeech, Vad
    from vivavoce.realtime.conversation import HostedTool
    from vivavoce.realtime.server import Input, Output, ServerSession
    from vivavoce.speech.turns import Edge

    Watch: TypeAlias = Callable[[Input | Output], None]


log = logging.getLogger("vivavoce.server")

BEFORE_MS = 300
"""Sound before the onset that belongs to something short: the detector is late for a hum."""


@dataclass(frozen=True)
class Engines:
    """What hears, thinks and speaks for all sessions."""

    vad: Vad
    stt: SpeechToText
    llm: LanguageModel
    tts: TextToSpeech
    eot: EndOfTurn | None = None
    """Where there is none, words and silence end a turn."""

    def parts(self) -> list[object]:
        """Return each engine once: one object may do more than one work."""
        parts = (self.vad, self.stt, self.llm, self.tts, self.eot)
        return list({id(part): part for part in parts if part is not None}.values())


class Engine:
    """One session at work."""

    def __init__(
        self,
        session: ServerSession,
        engines: Engines,
        link: Link[AnyClientEvent, AnyServerEvent],
        *,
        lead_s: float = float("inf"),
        budget: Budget | None = None,
        detector: Detector | None = None,
        watch: Watch | None = None,
    ) -> None:
        """Get ready.

        Args:
            session: the pure half.
            engines: shared by all sessions.
            link: to the client.
            lead_s: how far ahead of real time speech may be sent, seconds; a barge-in wastes at most that.
            budget: of what may be begun ahead, shared by all sessions; one of its own if absent.
            detector: of speech, shared by all sessions; one of its own if absent.
            watch: sees everything that goes in and out of the session.
        """
        self.session = session
        self._engines = engines
        self._link = link
        self._lead_s = lead_s
        self._watch = watch
        self._ears = Ears(detector or Detector(engines.vad), session.session.audio.input.format)
        self._utterances: dict[str, Utterance] = {}
        self._overhearing: Overhearing | None = None
        self._hearing: dict[str, Recognition] = {}
        self._answering: dict[str, CancelScope] = {}
        self._decided: tuple[str | None, Clock] = (None, Clock(0.0))
        self._ahead = Ahead(engines.llm, engines.tts, budget or Budget(), self._begin)
        self._alarm = CancelScope()
        self._remotes = RemoteServers(self.step)
        self._ending: facts.Close | None = None
        self._outbox = Outbox()
        self._follow_settings()

    # One door --------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve the session until the client goes or the session ends; never raises for what a client does."""
        try:
            async with create_task_group() as self._tasks:
                self._tasks.start_soon(self._write)
                self._tasks.start_soon(self._wake)
                self._obey(self.session.start())
                await self._read()
                self._tasks.cancel_scope.cancel()
        except Exception:
            log.exception("session %s failed", self.session.session.id)
            self._ending = facts.Close(1011, "internal error")
        finally:
            self._ahead.drop()
            self._outbox.close()
            ending = self._ending or facts.Close(1000, "")
            with CancelScope(shield=True), anyio.move_on_after(5):
                await self._link.close(ending.code, ending.reason)

    def step(self, happened: Input) -> list[Output]:
        """Tell the session what happened, do what it says and return that."""
        if self._watch:
            self._watch(happened)
        sound = isinstance(happened, InputAudioBufferAppend)  # comes fifty times a second, and moves no deadline
        outputs = self.session.step(happened, 0.0 if sound else anyio.current_time())
        self._obey(outputs)
        if not sound and (due := self._due()) != self._alarm.deadline:  # to set one costs a timer
            self._alarm.deadline = due
        return outputs

    def close(self, code: int, reason: str) -> None:
        """End the session after what is already in the outbox."""
        self._ending = self._ending or facts.Close(code, reason)
        self._outbox.close()

    @property
    def busy(self) -> bool:
        """Tell whether a turn is open, being transcribed or being answered."""
        return bool(self._answering or self._hearing) or self._ears.speaking

    def _obey(self, outputs: list[Output]) -> None:
        for output in outputs:
            if self._watch:
                self._watch(output)
            if isinstance(output, ServerEvent):
                self._say(output)
            else:
                self._do(output)

    def _say(self, event: AnyServerEvent) -> None:
        try:
            self._outbox.put(event)
        except OutboxFullError:
            self._ending = facts.Close(1008, "The client reads too slowly; open a new session.")
            self._tasks.cancel_scope.cancel()

    def _do(self, command: facts.AnyCommand) -> None:
        match command:
            case facts.Listen():
                self._listen(command)
            case facts.Transcribe():
                self._transcribe(command)
            case facts.Forget():
                self._forget(command)
            case facts.Generate():
                scope = self._answering[command.response_id] = CancelScope()
                self._tasks.start_soon(self._answer, command, scope)
            case facts.Cancel():
                self._stop(command)
            case facts.ListTools():
                self._tasks.start_soon(self._remotes.list_tools, command, self._tasks)
            case facts.CallTool():
                self._tasks.start_soon(self._remotes.call_tool, command, self._tasks)
            case facts.Close():
                self.close(command.code, command.reason)
            case _:
                assert_never(command)

    def _stop(self, command: facts.Cancel) -> None:
        if scope := self._answering.get(command.response_id):
            scope.cancel()

    # The client ------------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            try:
                event = await self._link.receive()
            except ProtocolError as wrong:
                self._obey(self.session.refuse(wrong))
                continue
            except LinkClosed:
                return
            outputs = self.step(event)
            match event:
                case InputAudioBufferAppend() if not outputs:  # the only answer to sound is that it is refused
                    await self._hear(event.audio)
                case SessionUpdate():
                    self._follow_settings()
                    self._read_ahead()
                    self._check_searches(event)
                case _:
                    pass

    def _begin(self, work: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> None:
        self._tasks.start_soon(work, *arguments)

    async def _write(self) -> None:
        while event := await self._outbox.get():
            try:
                await self._link.send(event)
            except LinkClosed:
                break
        self._tasks.cancel_scope.cancel()

    async def _wake(self) -> None:
        while True:
            with CancelScope(deadline=self._due()) as self._alarm:
                await anyio.sleep_forever()
            self.step(facts.Tick())

    def _due(self) -> float:
        deadline = self.session.deadline()
        return float("inf") if deadline is None else deadline

    def _follow_settings(self) -> None:
        heard = self.session.session.audio.input
        extensions = self.session.session.vivavoce
        adaptive = isinstance(extensions, Extensions) and extensions.adaptive
        self._ears.settle(heard.format, heard.turn_detection, adaptive=adaptive)
        if isinstance(self.session.session, Session):
            spoken = self.session.session.audio.output.format
            self._outbox.paced = round(min(self._lead_s, UNPACED_S) * spoken.bytes_per_second * 4 / 3)

    def _check_searches(self, update: SessionUpdate) -> None:
        """Make ready what a session wants searched; what cannot be is told, and the session lives."""
        asked, llm = update.session.get("vivavoce"), self._engines.llm
        if isinstance(asked, dict) and asked.get("search") and isinstance(llm, Searching):
            for tool in self.session.searches:
                self._begin(self._check_search, llm, tool)

    async def _check_search(self, llm: Searching, tool: HostedTool) -> None:
        if trouble := await llm.check(tool):
            param = f"session.vivavoce.search.{'files' if tool.name == FILES else 'web'}"
            self._obey(self.session.refuse(ProtocolError("invalid_value", trouble, param=param)))

    # Hearing ---------------------------------------------------------------------------------------------------------

    async def _hear(self, audio: bytes) -> None:
        """Look for turns, unless the client says what a turn is and none is open; others go on during a flood."""
        listening = self.session.session.audio.input.turn_detection is not None or self._ears.speaking
        if not listening:
            self._ears.skip(audio)
            return
        for number, frame in enumerate(self._ears.frames(audio)):
            edges = await self._ears.hear(frame, late=number > 0)
            for utterance in self._utterances.values():
                utterance.feed(frame)
            for edge in edges:
                self._turn(edge)
            self._overhear()

    def _turn(self, edge: Edge) -> None:
        utterance = self._utterances.get(self.session.speaking or "")
        match edge.kind:
            case "started":
                self._ahead.begin_turn()
                self.step(facts.Started(round(edge.ms)))
            case "paused" if utterance:
                utterance.pause()
                self._judge_pause()
                if self._overhearing:
                    self._overhearing.pause()
                self.step(facts.Paused(round(edge.ms)))
            case "resumed" if utterance:
                utterance.resume()
                self._ahead.drop()
            case "stopped":
                self._overhear(ended=True)
                self._decided = self.session.speaking, Clock(anyio.current_time(), edge.silence_ms)
                self.step(facts.Stopped(round(edge.ms)))
            case _:
                pass

    def _overhear(self, *, ended: bool = False) -> None:
        """Make up our mind about what is said over the answer."""
        overhearing = self._overhearing
        if overhearing is None:
            return
        if not ended and (utterance := self._utterances.get(overhearing.item_id)):
            overhearing.follow(self._ears, utterance)
        if verdict := overhearing.judge(self._ears, ended=ended):
            self.step(facts.Overheard(overhearing.item_id, verdict))
        if not self.session.overlapping:
            self._overhearing = None

    def _judge_pause(self) -> None:
        """Ask whether the speaker has finished, where more than silence counts; the turn does not wait for it."""
        pause, eot = self._ears.pause, self._engines.eot
        if pause is not None and eot is not None:
            self._tasks.start_soon(self._judge, eot, pause, self._ears.turn(eot.sample_rate))

    async def _judge(self, eot: EndOfTurn, pause: int, sound: Samples) -> None:
        try:
            self._ears.weigh(pause, sound=await guard.judge(eot, sound))
        except BackendError as failed:
            log.warning("the end of a turn was not judged: %s", failed)

    def _listen(self, command: facts.Listen) -> None:
        utterance = self._ears.utterance(command.start_ms, self._engines.stt.sample_rate)
        self._utterances[command.item_id] = utterance
        self._overhearing = Overhearing(command.item_id) if self.session.overlapping else None
        self._start_recognising(command.item_id, utterance.chunks())

    def _transcribe(self, command: facts.Transcribe) -> None:
        if utterance := self._utterances.pop(command.item_id, None):
            utterance.end()
            self._ears.remember_level()
            self._ears.reset()
        else:
            self._start_recognising(command.item_id)
        if recognition := self._hearing.get(command.item_id):
            recognition.want(command)

    def _forget(self, command: facts.Forget) -> None:
        self._utterances.pop(command.item_id, None)
        self._overhearing = None
        if recognition := self._hearing.get(command.item_id):
            recognition.stop()
        self._ahead.drop()
        self._ears.reset()

    def _start_recognising(self, item_id: str, audio: AsyncGenerator[Samples, None] | None = None) -> None:
        recognition = self._hearing[item_id] = Recognition(self._engines.stt.sample_rate, audio)
        self._tasks.start_soon(self._recognise, item_id, recognition)

    async def _recognise(self, item_id: str, recognition: Recognition) -> None:
        failed = await recognition.run(partial(self._hear_out, item_id))
        self._hearing.pop(item_id, None)
        if failed:
            self.step(facts.Unheard(item_id, failed.code, failed.message))

    async def _hear_out(self, item_id: str, audio: AsyncIterable[Samples], leads: Callable[[], bool]) -> None:
        wanted = self.session.session.audio.input.transcription
        language = wanted.language if wanted and isinstance(wanted.language, str) else None
        prompt = wanted.prompt if wanted and isinstance(wanted.prompt, str) else None
        async with aclosing(guard.hear(self._engines.stt, audio, language=language, prompt=prompt)) as results:
            async for heard in results:
                if heard.final and not leads():
                    return
                if heard.final and item_id == self._decided[0]:
                    self._decided[1].mark("transcription")
                self.step(facts.Heard(item_id, heard.text, heard.final))
                self._look_ahead(item_id, heard.text)

    def _look_ahead(self, item_id: str, words: str) -> None:
        """Use what the user seems to have said in a turn that is open."""
        if self._overhearing and self._overhearing.item_id == item_id:
            self._overhearing.hear(words)
            self._doubt(self._overhearing)
            self._overhear()
            return
        utterance = self._utterances.get(item_id)
        if utterance is None or not words:
            return
        if utterance.paused:
            self._ears.weigh(self._ears.pause, words=finished(words))
            self._think_ahead(words)
        elif known := settled(words):
            self._read_ahead(known)

    def _doubt(self, overhearing: Overhearing) -> None:
        """Ask whether what was understood of something short may have been the sign of a listener."""
        stt = self._engines.stt
        if isinstance(stt, Comparing) and (pause := overhearing.doubt()):
            sound = self._ears.turn(stt.sample_rate, before_ms=BEFORE_MS)
            self._tasks.start_soon(self._compare, stt, overhearing, pause, sound)

    async def _compare(self, stt: Comparing, overhearing: Overhearing, pause: int, sound: Samples) -> None:
        alike = -math.inf
        try:
            alike = await guard.compare(stt, sound, SIGNS)
        except BackendError as failed:
            log.warning("speech over an answer was not compared: %s", failed)
        overhearing.compare(pause, alike)
        if overhearing is self._overhearing:
            self._overhear()

    # Answering -------------------------------------------------------------------------------------------------------

    async def _answer(self, generate: facts.Generate, scope: CancelScope) -> None:
        item_id, clock = self._decided
        if generate.item_id is None or item_id != generate.item_id:
            clock = Clock(anyio.current_time())
        voice = Voice(self._engines.tts, generate, self.step, clock, self._lead_s)
        with scope:
            try:
                finished = await self._converse(generate, voice, clock)
            except BackendError as failed:
                finished = facts.Finished(response_id=generate.response_id, error=(failed.code, failed.message))
            self.step(facts.Timed(clock.timings(generate.response_id)))
            self.step(finished)
        del self._answering[generate.response_id]
        self._read_ahead()

    def _read_ahead(self, words: str = "") -> None:
        """Let the model read on, with what the user seems to have said so far."""
        if isinstance(self.session.session, Session) and not self._answering:
            self._ahead.read(self.session.outlook(words))

    def _think_ahead(self, words: str) -> None:
        """Begin the answer to what the user seems to have said, while the silence lasts that ends the turn."""
        session = self.session.session
        if not isinstance(session, Session) or self._answering:
            return
        detection, output = session.audio.input.turn_detection, session.audio.output
        if detection is not None and detection.create_response:
            manner = Manner(spoken="audio" in session.output_modalities, voice=output.voice, speed=output.speed)
            self._ahead.think(self.session.outlook(words), manner)

    async def _converse(self, generate: facts.Generate, voice: Voice, clock: Clock) -> facts.Finished:
        """Think and speak at the same time: one sentence is spoken while the next is made."""
        thinking = self._ahead.take(generate)
        usage = Usage()
        try:
            async with aclosing(thinking.thoughts(clock)) as thoughts:
                async for thought in thoughts:
                    match thought:
                        case Text(text=text):
                            await voice.say(text, thinking.rehearsal)
                        case Call(name=name, arguments=arguments, call_id=call_id):
                            self.step(facts.Called(generate.response_id, name, arguments, call_id))
                        case Searched(tool=tool, query=query, sources=sources):
                            self.step(facts.Searched(generate.response_id, tool, query, sources))
                        case Usage():
                            usage = thought
                        case BackendError():
                            raise thought
                        case _:
                            assert_never(thought)
        finally:
            thinking.stop()
        await voice.fall_silent()
        return facts.Finished(
            response_id=generate.response_id,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cached_tokens=usage.cached_tokens,
            truncated=usage.truncated,
        )
