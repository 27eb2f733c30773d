"""One run of the language model, in pieces fit to be spoken; it may begin before anybody knows that it is wanted."""

from __future__ import annotations

from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from anyio import CancelScope, current_time

from vivavoce.aio import Spool
from vivavoce.ports import BackendError, Piece, Searched, Text
from vivavoce.server import guard
from vivavoce.server.venture import Venture
from vivavoce.speech.sentences import Sentences, speakable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from vivavoce.ports import LanguageModel, Samples, TextToSpeech
    from vivavoce.realtime.conversation import Prompt
    from vivavoce.server.voice import Clock

Thought: TypeAlias = Piece | BackendError


class Reciter:
    """A language model that says what it was given (port `LanguageModel`)."""

    def __init__(self, text: str) -> None:
        self._text = text

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Piece, None]:  # noqa: ARG002
        """Yield the text."""
        yield Text(self._text)


class Manner(NamedTuple):
    """How an answer is wanted."""

    spoken: bool
    """Whether as speech, else as text."""
    voice: str = ""
    speed: float = 1.0


class Rehearsal:
    """The sound of one sentence, made before anybody knows that it is wanted."""

    def __init__(self, tts: TextToSpeech, text: str, manner: Manner) -> None:
        self.text = text
        self.manner = manner
        self.given = False
        """Whether its sound has been asked for: an answer may say the same sentence twice."""
        self.broken = False
        """Whether the voice failed in the middle."""
        self._tts = tts
        self._scope = CancelScope()
        self._venture = Venture()
        self._sound: Spool[Samples | BackendError] = Spool()

    async def run(self) -> None:
        """Speak until the end or until stopped."""
        with self._scope:
            try:
                await self._venture.run(self._speak)
            except BackendError as failed:
                self.broken = True
                self._sound.put(failed)
        self._sound.end()

    async def sound(self) -> AsyncGenerator[Samples, None]:
        """Yield what was spoken already and what follows.

        Raises:
            BackendError: the engine failed.
        """
        self.given = True
        self._venture.want()
        async with aclosing(self._sound.__aiter__()) as sound:
            async for samples in sound:
                if isinstance(samples, BackendError):
                    raise samples
                yield samples

    def stop(self) -> None:
        """Speak no further."""
        self._scope.cancel()

    async def _speak(self, leads: Callable[[], bool]) -> None:
        if sentence := speakable(self.text):
            speech = guard.speak(self._tts, sentence, voice=self.manner.voice, speed=self.manner.speed)
            async with aclosing(speech) as sound:
                async for samples in sound:
                    if not leads():
                        return
                    self._sound.put(samples)


class Thinking:
    """What the model makes of a prompt; nobody hears of it unless somebody asks for its thoughts."""

    def __init__(
        self,
        prompt: Prompt,
        manner: Manner,
        *,
        rehearse: Callable[[str, Manner], Rehearsal] | None = None,
    ) -> None:
        """Get ready.

        Args:
            prompt: what to continue.
            manner: how; speech is wanted in sentences, text as it comes.
            rehearse: begins to speak the first sentence where it comes before anybody asks for it; absent where
                somebody waits already.
        """
        self.prompt = prompt
        self.manner = manner
        self.rehearsal: Rehearsal | None = None
        self.broken = False
        """Whether the model failed in the middle, or at every attempt."""
        self._ahead = rehearse is not None
        self._rehearse = rehearse
        self._scope = CancelScope()
        self._thoughts: Spool[Thought] = Spool()
        self.began_at = current_time()
        self._begun = False
        self._venture = Venture()
        self._clock: Clock | None = None

    def answers(self, prompt: Prompt, manner: Manner) -> bool:
        """Tell whether this is what that prompt needs."""
        return not self.broken and self.prompt == prompt and self.manner == manner

    def stop(self) -> None:
        """Think no further."""
        self._scope.cancel()
        if self.rehearsal is not None:
            self.rehearsal.stop()

    async def run(self, llm: LanguageModel) -> None:
        """Think until the end or until stopped."""
        think = partial(self._think, llm)
        with self._scope:
            try:
                await (self._venture.run(think) if self._ahead else think(lambda: True))
            except BackendError as failed:
                self.broken = True
                self._thoughts.put(failed)
        self._thoughts.end()

    async def thoughts(self, clock: Clock) -> AsyncGenerator[Thought, None]:
        """Yield what was thought already and what follows, and note when the first token came."""
        self._clock, self._rehearse = clock, None
        self._venture.want()
        clock.begun(self.began_at)
        if self._begun:
            clock.mark("first_token")
        async with aclosing(self._thoughts.__aiter__()) as thoughts:
            async for thought in thoughts:
                yield thought

    async def _think(self, llm: LanguageModel, leads: Callable[[], bool]) -> None:
        sentences = Sentences()
        async with aclosing(guard.think(llm, self.prompt)) as pieces:
            async for piece in pieces:
                if not leads():
                    return
                if not isinstance(piece, Searched):
                    self._begin()
                if isinstance(piece, Text) and self.manner.spoken:
                    self._say(sentences.feed(piece.text))
                else:
                    self._say(sentences.flush())
                    self._thoughts.put(piece)
        self._say(sentences.flush())

    def _begin(self) -> None:
        self._begun = True
        if self._clock is not None:
            self._clock.mark("first_token")

    def _say(self, texts: list[str]) -> None:
        if texts and self.manner.spoken and self._rehearse is not None:
            self.rehearsal, self._rehearse = self._rehearse(texts[0], self.manner), None
        self._thoughts.put(*map(Text, texts))
