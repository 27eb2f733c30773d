"""One run of the language model, in pieces fit to be spoken; it may begin before anybody knows that it is wanted."""

from __future__ import annotations

from collections import deque
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeAlias

import anyio
from anyio import CancelScope

from vivavoce.ports import BackendError, Call, Text, Usage
from vivavoce.server import guard
from vivavoce.speech.sentences import Sentences

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from vivavoce.ports import LanguageModel
    from vivavoce.realtime.conversation import Prompt
    from vivavoce.server.voice import Clock

Thought: TypeAlias = Text | Call | Usage | BackendError


class Reciter:
    """A language model that says what it was given (port `LanguageModel`)."""

    def __init__(self, text: str) -> None:
        self._text = text

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Text | Call | Usage, None]:  # noqa: ARG002
        """Yield the text."""
        yield Text(self._text)


class Thinking:
    """What the model makes of a prompt; nobody hears of it unless somebody asks for its thoughts."""

    def __init__(self, prompt: Prompt, *, spoken: bool) -> None:
        """Get ready.

        Args:
            prompt: what to continue.
            spoken: whether text is wanted in sentences, else as it comes.
        """
        self.prompt = prompt
        self.spoken = spoken
        self._scope = CancelScope()
        self._thoughts: deque[Thought] = deque()
        self._more = anyio.Event()
        self._begun = self._ended = False
        self._clock: Clock | None = None

    def answers(self, prompt: Prompt, *, spoken: bool) -> bool:
        """Tell whether this is what that prompt needs."""
        return self.prompt == prompt and self.spoken == spoken

    def stop(self) -> None:
        """Think no further."""
        self._scope.cancel()

    async def run(self, llm: LanguageModel) -> None:
        """Think until the end or until stopped."""
        with self._scope:
            try:
                await self._think(llm)
            except BackendError as failed:
                self._put(failed)
        self._ended = True
        self._more.set()

    async def thoughts(self, clock: Clock) -> AsyncGenerator[Thought, None]:
        """Yield what was thought already and what follows, and note when the first token came."""
        self._clock = clock
        if self._begun:
            clock.mark("first_token")
        while True:
            while self._thoughts:
                yield self._thoughts.popleft()
            if self._ended:
                return
            self._more = anyio.Event()
            await self._more.wait()

    async def _think(self, llm: LanguageModel) -> None:
        sentences = Sentences()
        async with aclosing(guard.think(llm, self.prompt)) as pieces:
            async for piece in pieces:
                self._begin()
                if isinstance(piece, Text) and self.spoken:
                    self._put(*map(Text, sentences.feed(piece.text)))
                else:
                    self._put(*map(Text, sentences.flush()), piece)
        self._put(*map(Text, sentences.flush()))

    def _begin(self) -> None:
        self._begun = True
        if self._clock is not None:
            self._clock.mark("first_token")

    def _put(self, *thoughts: Thought) -> None:
        self._thoughts.extend(thoughts)
        self._more.set()
