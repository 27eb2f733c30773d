"""Scripted engines: deterministic, without a model, true to the contracts of their ports."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import anyio
import msgspec
import numpy as np
from anyio.lowlevel import checkpoint

from vivavoce.ports import BackendError, Call, Heard, Samples, Text, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Callable, Sequence

    from vivavoce.ports import Passage, Query, VadState
    from vivavoce.realtime.conversation import Prompt

T = TypeVar("T")

Reply: TypeAlias = "str | Call | Sequence[Text | Call]"
"""What a scripted language model answers: text, a call, or its very pieces."""

_TONE_HZ: Final = {"low": 220.0, "high": 440.0}
_LOUDNESS: Final = 0.2
_CHUNK: Final = 480


class ScriptedLanguageModel:
    """Answers with the given replies one after the other, the last one again and again, word by word."""

    def __init__(self, replies: Sequence[Reply] | Callable[[Prompt], Reply], *, delay: float = 0.0) -> None:
        """Take the replies.

        Args:
            replies: in their order, or a function of the prompt.
            delay: seconds before each piece.
        """
        self.prompts: list[Prompt] = []
        self._replies = replies
        self._delay = delay

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Text | Call | Usage, None]:
        """Yield the next reply; a word counts as a token."""
        self.prompts.append(prompt)
        pieces = _pieces(self._reply(prompt))
        for piece in pieces:
            await anyio.sleep(self._delay)
            yield piece
        words = sum(len(message.text.split()) for message in prompt.messages) + len(prompt.instructions.split())
        yield Usage(input_tokens=words, output_tokens=len(pieces))

    def _reply(self, prompt: Prompt) -> Reply:
        if callable(self._replies):
            return self._replies(prompt)
        return _nth(self._replies, len(self.prompts) - 1)


class ScriptedSearch:
    """Finds the same passages whatever is looked for, or fails with the given error."""

    def __init__(self, found: Sequence[Passage] | BackendError, *, delay: float = 0.0) -> None:
        """Take what is found.

        Args:
            found: passages, the best first, or the error.
            delay: seconds before it.
        """
        self.queries: list[Query] = []
        self._found = found
        self._delay = delay

    async def search(self, query: Query) -> Sequence[Passage]:
        """Return the passages, as many as are wanted."""
        self.queries.append(query)
        await anyio.sleep(self._delay)
        if isinstance(self._found, BackendError):
            raise self._found
        return self._found[: query.limit]


class ScriptedSpeechToText:
    """Hears the given transcripts one after the other, the last one again and again."""

    sample_rate = 16_000

    def __init__(self, transcripts: Sequence[str], *, delay: float = 0.0) -> None:
        """Take the transcripts.

        Args:
            transcripts: in their order; an utterance without sound is empty and takes none.
            delay: seconds before each result.
        """
        self.heard: list[Samples] = []
        """The sound of each utterance."""
        self._transcripts = transcripts
        self._delay = delay

    async def transcribe(
        self,
        audio: AsyncIterable[Samples],
        *,
        language: str | None = None,  # noqa: ARG002
        prompt: str | None = None,  # noqa: ARG002
    ) -> AsyncGenerator[Heard, None]:
        """Yield the transcript at each pause, and at the end as final."""
        chunks: list[Samples] = []
        index = len(self.heard)
        async for chunk in audio:
            if chunk.size:
                chunks.append(chunk)
            elif chunks:
                await anyio.sleep(self._delay)
                yield Heard(_nth(self._transcripts, index))
        if chunks:
            self.heard.append(np.concatenate(chunks))
        await anyio.sleep(self._delay)
        yield Heard(_nth(self._transcripts, index) if chunks else "", final=True)


class ScriptedTextToSpeech:
    """Speaks each word as a tone of 60 ms."""

    sample_rate = 24_000
    voices: Sequence[str] = tuple(_TONE_HZ)

    def __init__(self, *, word: float = 0.06, delay: float = 0.0) -> None:
        """Take the pace.

        Args:
            word: seconds a word.
            delay: seconds before each sentence.
        """
        self.spoken: list[str] = []
        self._word = word
        self._delay = delay

    async def speak(
        self, sentence: str, *, voice: str | None = None, speed: float = 1.0
    ) -> AsyncGenerator[Samples, None]:
        """Yield the tone in chunks of 20 ms."""
        self.spoken.append(sentence)
        await anyio.sleep(self._delay)
        seconds = len(sentence.split()) * self._word / speed
        sound = tone(_TONE_HZ.get(voice or "", _TONE_HZ["low"]), seconds, self.sample_rate)
        for start in range(0, len(sound), _CHUNK):
            await checkpoint()
            yield sound[start : start + _CHUNK]


class ScriptedVad:
    """Takes what is louder than a level for speech."""

    sample_rate = 16_000
    frame = 512

    def __init__(self, *, level: float = 0.01) -> None:
        """Take the root mean square that is as likely speech as not."""
        self._level = level

    def state(self) -> VadState:
        """Return nothing to remember: each frame is judged by itself."""
        return np.zeros(1, np.float32)

    def score(self, frames: Samples, states: Sequence[VadState]) -> tuple[Samples, list[VadState]]:
        """Score each frame by its loudness."""
        loudness = np.sqrt(np.mean(np.square(frames), axis=1))
        return (loudness / (loudness + self._level)).astype(np.float32), list(states)


def call(name: str, /, **arguments: Any) -> Call:
    """Return the reply of a model that calls a tool."""
    return Call(name, msgspec.json.encode(arguments).decode())


def tone(hertz: float, seconds: float, sample_rate: int) -> Samples:
    """Return a tone of modest loudness."""
    times = np.arange(round(seconds * sample_rate)) / sample_rate
    return (_LOUDNESS * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


def _pieces(reply: Reply) -> Sequence[Text | Call]:
    if isinstance(reply, Call):
        return [reply]
    if not isinstance(reply, str):
        return reply
    return [Text(word) for word in re.findall(r"\S+\s*|\s+", reply)]


def _nth(script: Sequence[T], index: int) -> T:
    if not script:
        raise BackendError("script_empty", "The script holds nothing to say; give at least one line.")
    return script[min(index, len(script) - 1)]
