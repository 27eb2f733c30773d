"""Talks with an agent: say a sentence to it, and look at what it heard, called and said, and when."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack, ExitStack, aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import anyio
import numpy as np
from anyio.from_thread import start_blocking_portal

from vivavoce import compose, plugins, run
from vivavoce.agent import services
from vivavoce.agent.conversation import Called, Confirmed, Event, Told
from vivavoce.agent.tools import Toolbox
from vivavoce.aio import beside
from vivavoce.config import load
from vivavoce.errors import VivavoceError
from vivavoce.realtime.client import Cite, Played, Run, Show
from vivavoce.server.engine import Engines
from vivavoce.speech.pcm import resample
from vivavoce.testing.engines import (
    ScriptedLanguageModel,
    ScriptedSpeechToText,
    ScriptedTextToSpeech,
    ScriptedVad,
)
from vivavoce.testing.pace import Pace
from vivavoce.testing.person import FRAME_S, RATE, Person
from vivavoce.testing.turn import Turn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractContextManager
    from os import PathLike
    from types import TracebackType
    from typing import Self

    from anyio.from_thread import BlockingPortal

    from vivavoce.agent.agent import Agent
    from vivavoce.ports import Samples, Tool
    from vivavoce.realtime.conversation import Prompt
    from vivavoce.testing.engines import Reply

Models: TypeAlias = Literal["scripted", "embedded"]
Until: TypeAlias = "float | str | type[Event] | None"
"""Seconds of an answer, words of it, or a kind of event, such as a call."""

WORD_S = 0.2
"""How long a person takes for a word, scripted."""
PATIENCE_S = 60.0
"""Real time in which the agent must have done what it does."""
UNHEARD_S = 3.0
"""Sound after the person's last in which an agent that heard them would have begun to answer."""


class TalkError(VivavoceError, AssertionError):
    """A talk came to nothing; the message says why."""


class AsyncTalk:
    """A talk with an agent, for tests that are async: `async with` begins and ends it."""

    def __init__(
        self,
        *,
        tools: Sequence[Tool | Callable[..., Any]] = (),
        replies: Sequence[Reply] | Callable[[Prompt], Reply] | None = None,
        models: Models = "scripted",
        realtime: bool = False,
        **settings: Any,
    ) -> None:
        """Get ready.

        Args:
            tools: of the agent under test.
            replies: what the language model answers, one after the other; a function of the prompt decides itself.
            models: whether ears and voices are scripted, or those that are embedded in vivavoce; these need
                `vivavoce[local]`, and answer themselves where there are no replies.
            realtime: whether time passes as it does; else only sound takes time, and engines and tools take none.
            **settings: fields of `Settings`, as those of the agent under test; nothing else is read.

        Raises:
            ConfigError: a setting is wrong.
            TalkError: there is nobody to answer.
        """
        if replies is None and models == "scripted":
            raise TalkError('Nobody answers: give the replies of the model, or models="embedded".')
        self.turns: list[Turn] = []
        self._settings = load({"greeting": ""} | settings, environ={}, file=Path(os.devnull))
        self._tools = Toolbox(tools)
        self._model = None if replies is None else ScriptedLanguageModel(replies)
        self._transcripts: list[str] = []
        self._scripted = models == "scripted"
        self._realtime = realtime
        self._pace = Pace()
        self._person = Person(self._pace)
        self.opening = Turn("", self._person)
        """What the agent does before the first turn, where its settings have a greeting."""
        self._due = 0.0
        self._over = False
        self._failure: Exception | None = None

    @property
    def prompts(self) -> list[Prompt]:
        """What a scripted language model was given, answer by answer."""
        return self._model.prompts if self._model else []

    @property
    def seconds(self) -> float:
        """How long the talk has lasted, in sound."""
        return self._person.now

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.callback(self._person.leave)
            library = await stack.enter_async_context(compose.open_folder(self._settings))
            opening = compose.open_hub(self._settings, engines=self._engines(), library=library)
            hub = await stack.enter_async_context(opening)
            await hub.warm_up()
            self.agent = stack.enter_context(self._agent())
            await stack.enter_async_context(beside(partial(hub.open, self._server, watch=self._pace.watch_server)))
            await stack.enter_async_context(beside(self._converse))
            await self._live_until(self.opening, lambda: self._silent)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._stack.__aexit__(kind, error, trace)

    # What the person does --------------------------------------------------------------------------------------------

    async def say(self, text: str, *, heard: str | None = None, until: Until = None) -> Turn:
        """Say a sentence, and listen to the answer.

        Args:
            text: spoken by an embedded voice, or as a tone where the ears are scripted.
            heard: what scripted ears make of it, if not the same.
            until: listen only for so many seconds of the answer, up to these words of it, or up to such an event:
                what is said next interrupts.

        Raises:
            TalkError: nothing came of it in a minute, or the conversation is over.
        """
        sound = await _spoken(text, scripted=self._scripted)
        return await self._speak(sound, text, text if heard is None else heard, until)

    async def play(
        self, recording: str | PathLike[str] | Samples, *, heard: str | None = None, until: Until = None
    ) -> Turn:
        """Let the agent hear a recording, and listen to the answer.

        Args:
            recording: a sound file, or samples at 24 kHz.
            heard: what scripted ears make of it.
            until: as in `say`.

        Raises:
            TalkError: as in `say`; or the ears are scripted, and not told what they hear.
        """
        if self._scripted and heard is None:
            raise TalkError('Scripted ears cannot listen: say what they hear with heard="…", or use models="embedded".')
        sound = recording if isinstance(recording, np.ndarray) else _recorded(Path(recording))
        return await self._speak(sound, heard or "", heard or "", until)

    async def type(self, text: str, *, until: Until = None) -> Turn:
        """Type a sentence, and listen to the answer; `until` as in `say`."""
        turn = self._begin(text)
        self.agent.say(text)
        return await self._listen(turn, until)

    async def listen(self, seconds: float | None = None) -> Turn:
        """Say nothing: for so many seconds, or until the agent has said something by itself.

        Raises:
            TalkError: it has nothing to say.
        """
        turn, answers = self._begin(""), self._pace.answers
        if seconds is not None:
            end = self._person.now + seconds
            return await self._live_until(turn, lambda: self._person.now >= end)
        await self._wait(turn, lambda: not self.agent.quiet or self._pace.answers > answers)
        return await self._live_until(turn, lambda: self._silent)

    async def _speak(self, sound: Samples, asked: str, heard: str, until: Until) -> Turn:
        self._transcripts.append(heard)
        self._pace.let_run()
        self._person.say(sound)
        return await self._listen(self._begin(asked), until)

    async def _listen(self, turn: Turn, until: Until) -> Turn:
        """Listen to the answer, as far as it is wanted; who was not heard gets none."""
        answers, patience = self._pace.answers, max(self._person.now, self._person.spoke_until) + UNHEARD_S

        def over() -> bool:
            answered = self._pace.answers > answers or self._person.now >= patience
            return (answered and self._silent) or _reached(turn, until)

        return await self._live_until(turn, over, lambda: _reached(turn, until))

    # Time ------------------------------------------------------------------------------------------------------------

    @property
    def _silent(self) -> bool:
        """Tell whether nobody says or does anything."""
        return not self._person.speaking and self._person.idle() and self.agent.quiet

    async def _live_until(
        self, turn: Turn, over: Callable[[], bool], early: Callable[[], bool] = lambda: False
    ) -> Turn:
        """Let time pass, frame by frame, until the turn is over; each begins when all of the one before is done."""
        while True:
            await self._wait(turn, lambda: self._realtime or self._pace.settled(self._person) or early())
            if over():
                return turn
            await self._live()

    async def _wait(self, turn: Turn, ready: Callable[[], bool]) -> None:
        """Wait, in real time, until something is done."""
        with anyio.move_on_after(PATIENCE_S) as patience:
            while not (self._over or ready()):
                await self._pace.news()
        if self._over or patience.cancelled_caught:
            why = self._failure or ("the conversation is over" if self._over else f"no end in {PATIENCE_S:g} s")
            raise TalkError(f"Nothing came of it ({why}):\n{turn!r}") from self._failure

    async def _live(self) -> None:
        """Let the time of a frame pass."""
        if self._realtime:
            self._due = max(self._due + FRAME_S, anyio.current_time())
            await anyio.sleep_until(self._due)
        await self._person.live()
        if heard := self._person.heard():
            self.agent.step(Played(*heard, all_played=self._person.idle()))

    # The agent -------------------------------------------------------------------------------------------------------

    def _engines(self) -> Engines:
        scripted = Engines(
            vad=ScriptedVad(),
            stt=ScriptedSpeechToText(self._transcripts),
            llm=self._model or ScriptedLanguageModel([]),
            tts=ScriptedTextToSpeech(word=WORD_S),
        )
        if self._scripted:
            return scripted
        engines = compose.build_engines(self._settings)
        return replace(engines, llm=self._model) if self._model else engines

    def _agent(self) -> AbstractContextManager[Agent]:
        link, self._server = self._pace.link()
        return run.assemble(
            Told(self._note),
            self._settings,
            run.TalkOptions(),
            services.find(self._settings, {}),
            self._tools,
            run.Sound(self._person, self._person),
            link,
            watchers=[self._pace.watch_agent],
        )

    async def _converse(self) -> None:
        try:
            await self.agent.run()
        except Exception as failure:  # noqa: BLE001 - told by what the person does next
            self._failure = failure
        self._over = True
        self._pace.changed()

    def _begin(self, asked: str) -> Turn:
        self.turns.append(Turn(asked, self._person))
        return self.turns[-1]

    def _note(self, event: Event | None) -> None:
        """Give what happens to the turn that it belongs to."""
        self._pace.changed()
        if event is None:
            return
        match event:
            case Show() | Cite():
                key = event.item_id
            case Run():
                key = event.call_id
            case Called():
                key = event.run.call_id
                self._pace.called(key)
            case Confirmed():
                key = event.run.call_id
                if event.yes:
                    self._pace.agreed(key)
            case _:
                key = ""
        turns = [self.opening, *self.turns]
        next((turn for turn in turns if turn.owns(key)), turns[-1]).note(event)


class Talk:
    """A talk with an agent, for plain tests: it begins by itself, and the fixture ends it; without one, `with` does.

    In an async test: `async with agent_test(...) as talk`, and `await` what an `AsyncTalk` does.
    """

    def __init__(
        self,
        *,
        tools: Sequence[Tool | Callable[..., Any]] = (),
        replies: Sequence[Reply] | Callable[[Prompt], Reply] | None = None,
        models: Models = "scripted",
        realtime: bool = False,
        **settings: Any,
    ) -> None:
        """Get ready; see `AsyncTalk`."""
        self._talk = AsyncTalk(tools=tools, replies=replies, models=models, realtime=realtime, **settings)
        self._portal: BlockingPortal | None = None
        self._stack = ExitStack()

    async def __aenter__(self) -> AsyncTalk:
        return await self._talk.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._talk.__aexit__(kind, error, trace)

    def say(self, text: str, *, heard: str | None = None, until: Until = None) -> Turn:
        """Say a sentence, and listen to the answer; see `AsyncTalk.say`."""
        return self._call(partial(self._talk.say, text, heard=heard, until=until))

    def play(self, recording: str | PathLike[str] | Samples, *, heard: str | None = None, until: Until = None) -> Turn:
        """Let the agent hear a recording, and listen to the answer; see `AsyncTalk.play`."""
        return self._call(partial(self._talk.play, recording, heard=heard, until=until))

    def type(self, text: str, *, until: Until = None) -> Turn:
        """Type a sentence, and listen to the answer."""
        return self._call(partial(self._talk.type, text, until=until))

    def listen(self, seconds: float | None = None) -> Turn:
        """Say nothing: for so many seconds, or until the agent has said something by itself."""
        return self._call(partial(self._talk.listen, seconds))

    @property
    def opening(self) -> Turn:
        """What the agent does before the first turn, where its settings have a greeting."""
        self._begin()
        return self._talk.opening

    @property
    def turns(self) -> list[Turn]:
        """What has been said so far."""
        return self._talk.turns

    @property
    def prompts(self) -> list[Prompt]:
        """What a scripted language model was given, answer by answer."""
        return self._talk.prompts

    @property
    def seconds(self) -> float:
        """How long the talk has lasted, in sound."""
        return self._talk.seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the talk."""
        self._portal = None
        self._stack.close()

    def _call(self, act: Callable[[], Awaitable[Turn]]) -> Turn:
        return self._begin().call(act)

    def _begin(self) -> BlockingPortal:
        if self._portal is None:
            with ExitStack() as stack:
                portal = stack.enter_context(start_blocking_portal())
                stack.enter_context(portal.wrap_async_context_manager(self._talk))
                self._portal, self._stack = portal, stack.pop_all()
        return self._portal


def _reached(turn: Turn, until: Until) -> bool:
    """Tell whether so much of the answer has been heard."""
    match until:
        case None:
            return False
        case str():
            return until.casefold() in turn.said.casefold()
        case int() | float():
            return len(turn.answer) >= until * RATE
        case _:
            return any(isinstance(event, until) for _, event in turn.events)


async def _spoken(text: str, *, scripted: bool) -> Samples:
    voice = ScriptedTextToSpeech(word=WORD_S) if scripted else plugins.make("tts", "hibari")
    async with aclosing(voice.speak(text)) as pieces:
        sound = np.concatenate([np.zeros(0, np.float32), *[piece async for piece in pieces]])
    return resample(sound, voice.sample_rate, RATE)


def _recorded(path: Path) -> Samples:
    import soundfile

    try:
        sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, soundfile.SoundFileError) as wrong:
        raise TalkError(f"{path} cannot be played: {wrong}") from wrong
    return resample(sound.mean(axis=1), rate, RATE)
