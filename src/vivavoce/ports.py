"""The ports: what an engine, a device or a tool must offer to be plugged in.

A port that works on speech or language transforms streams and has one such method, an async generator, so that
closing it cancels the work. Audio inside the house is always mono float32 in [-1, 1] with its rate stated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

import msgspec
import numpy as np
from numpy.typing import NDArray

from vivavoce.errors import VivavoceError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Callable, Sequence

    from vivavoce.realtime.conversation import Prompt
    from vivavoce.realtime.values import Source

Samples: TypeAlias = NDArray[np.float32]
"""Mono sound, shape (n,), float32, nominally within [-1, 1]."""

Vectors: TypeAlias = NDArray[np.float32]
"""One vector a row, shape (n, dimension)."""

VadState: TypeAlias = NDArray[np.float32]
"""What a voice activity detector remembers of one stream; opaque to everyone else."""


InT_co = TypeVar("InT_co", covariant=True)
OutT_contra = TypeVar("OutT_contra", contravariant=True)


class LinkClosed(VivavoceError):  # noqa: N818 - the end of a link is not always an error
    """The other side has gone, or was never there; the message is fit for a person."""

    def __init__(self, message: str, code: int = 1000, *, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.code = code
        """WebSocket close code (RFC 6455 section 7.4)."""
        self.retry_after = retry_after
        """Seconds to wait before another try, as far as the other side says so."""


class Link(Protocol[InT_co, OutT_contra]):
    """A connection between both halves of a session; it carries events, whatever is below it carries JSON."""

    async def receive(self) -> InT_co:
        """Return the next event.

        Raises:
            ProtocolError: what came is not an event; the link stays open.
            LinkClosed: nothing will come any more.
        """
        ...

    async def send(self, event: OutT_contra) -> None:
        """Send an event; waits while the other side is slow.

        Raises:
            LinkClosed: it cannot be sent any more.
        """
        ...

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """End the connection."""
        ...


class BackendError(VivavoceError):
    """An engine failed; the response that it served fails with this code, and the session lives."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Heard(msgspec.Struct, frozen=True):
    """What a recogniser makes of the utterance so far."""

    text: str
    """The whole utterance, replacing earlier partials."""
    final: bool = False
    """True once, last."""


class Text(msgspec.Struct, frozen=True):
    """A piece of the answer, to be appended to the pieces before it."""

    text: str


class Call(msgspec.Struct, frozen=True):
    """The model calls a tool."""

    name: str
    arguments: str
    """A JSON object."""
    call_id: str | None = None
    """The model's own identifier; the session mints one where there is none."""


class Searched(msgspec.Struct, frozen=True):
    """Something is searched for the answer, or has been."""

    tool: str
    query: str
    sources: tuple[Source, ...] | None = None
    """What was found, None while it is looked for."""


class Usage(msgspec.Struct, frozen=True):
    """Tokens that one generation took."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    """Of the input tokens, those found in the prompt cache."""
    truncated: bool = False
    """Whether the answer ended at the token limit."""


Piece: TypeAlias = Text | Call | Searched | Usage
"""What an answer is made of."""


class Vad(Protocol):
    """Says how likely each frame is to hold speech, for many streams at once."""

    sample_rate: int
    """Hz."""
    frame: int
    """Samples a frame."""

    def state(self) -> VadState:
        """Return the memory of a stream that has heard nothing."""
        ...

    def score(self, frames: Samples, states: Sequence[VadState]) -> tuple[Samples, list[VadState]]:
        """Score one frame of each stream.

        Args:
            frames: shape (streams, frame).
            states: the memory of each stream.

        Returns:
            Probabilities of speech, shape (streams,), and the new memories.
        """
        ...


class EndOfTurn(Protocol):
    """Judges whether a speaker who pauses has finished."""

    sample_rate: int
    """Hz, of the sound that it takes."""

    async def finished(self, sound: Samples) -> float:
        """Return how likely the speaker has finished, in [0, 1], given the turn up to the pause.

        Raises:
            BackendError: the engine failed.
        """
        ...


class SpeechToText(Protocol):
    """Turns the sound of one utterance into text."""

    sample_rate: int
    """Hz, of the sound that it wants."""

    def transcribe(
        self, audio: AsyncIterable[Samples], *, language: str | None = None, prompt: str | None = None
    ) -> AsyncGenerator[Heard, None]:
        """Yield partial results when there are any and one final result after the stream has ended.

        An empty chunk says that the speaker paused: a good moment to work ahead. No audio follows it unless the
        speaker went on, so that a result computed at the pause is final when the stream ends there.

        Raises:
            BackendError: the engine failed.
        """
        ...


@runtime_checkable
class Comparing(Protocol):
    """A recogniser that tells whether something else may have been said."""

    async def compare(self, sound: Samples, phrases: Sequence[str]) -> float:
        """Return by how much the likeliest of the phrases is likelier than the transcript, as a log likelihood ratio.

        Args:
            sound: a short utterance.
            phrases: written as the recogniser writes.

        Raises:
            BackendError: the engine failed.
        """
        ...


class LanguageModel(Protocol):
    """Continues a conversation with text and tool calls."""

    def generate(self, prompt: Prompt) -> AsyncGenerator[Piece, None]:
        """Yield the answer piece by piece, and what it took at the end; closing the generator stops the work.

        Raises:
            BackendError: the engine failed.
        """
        ...


class TextToSpeech(Protocol):
    """Speaks one sentence."""

    sample_rate: int
    """Hz, of the sound that it makes."""

    @property
    def voices(self) -> Sequence[str]:
        """Return the names that `voice` may have; the first is the default."""
        ...

    def speak(self, sentence: str, *, voice: str | None = None, speed: float = 1.0) -> AsyncGenerator[Samples, None]:
        """Yield the sound of the sentence in chunks; closing the generator stops the work.

        An unknown voice is spoken by the default one.

        Raises:
            BackendError: the engine failed.
        """
        ...


@runtime_checkable
class Weighted(Protocol):
    """An engine that needs models from the store."""

    @property
    def weights(self) -> Sequence[str]:
        """Return their names in the catalogue."""
        ...


@runtime_checkable
class Closing(Protocol):
    """An engine that holds something open."""

    async def aclose(self) -> None:
        """Let go of it."""
        ...


@runtime_checkable
class Bounded(Protocol):
    """A language model that knows how long a prompt may be."""

    @property
    def context_tokens(self) -> int:
        """Return the tokens of the longest prompt that leaves room for an answer."""
        ...


@runtime_checkable
class Primed(Protocol):
    """A language model that answers sooner when it knows the prompt's beginning."""

    async def prime(self, prompt: Prompt) -> None:
        """Read a prompt ahead of its last message; gives way at once to a real generation."""
        ...


class Leaning(msgspec.Struct, frozen=True):
    """Which of the declared tools an utterance asks for, as far as a classifier can tell."""

    tool: str
    """The likeliest one."""
    log_odds: float
    """Natural logarithm of how much likelier it is than talk; negative where talk is."""


@runtime_checkable
class Guided(Protocol):
    """A language model too small to know when to search, or to keep to what was found: it is led."""

    async def leaning(self, prompt: Prompt) -> Leaning | None:
        """Return which tool the last message asks for, None where there is nothing to choose.

        Raises:
            BackendError: the engine failed.
        """
        ...

    async def nearness(self, question: str, texts: Sequence[str]) -> Sequence[float]:
        """Return how alike each text is to a question in meaning: cosines, in [-1, 1].

        Raises:
            BackendError: the engine failed.
        """
        ...


@runtime_checkable
class Warm(Protocol):
    """An engine that wants to load before its first use."""

    async def warm_up(self) -> None:
        """Load everything and answer one small request, so that the first caller does not wait."""
        ...


class Embedder(Protocol):
    """Turns texts into vectors whose cosine tells how alike their meanings are."""

    name: str
    """Of the model: vectors of different models cannot be compared."""
    dimension: int
    """Components of a vector."""

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Vectors:
        """Return a unit vector for each text, shape (texts, dimension); blocks, and is safe to use from many threads.

        Args:
            texts: what is embedded; more than the model takes is cut off.
            query: whether they are questions, else passages: some models treat them differently.

        Raises:
            BackendError: the engine failed.
        """
        ...


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked for, and where."""

    text: str
    limit: int = 5
    """Passages at most."""
    stores: tuple[str, ...] = ()
    """Ids of the vector stores that are searched."""
    filters: Any = None
    """Comparisons of attributes, as in OpenAI's vector store search."""
    domains: tuple[str, ...] = ()
    """Of the web: only these sites and those below them; all where it is empty."""
    region: str | None = None
    """Of the web: ISO 3166 country that the person is in."""
    context_size: Literal["low", "medium", "high"] | None = None
    """Of the web: how many pages are told, and how much of each; None for what the search is set to."""


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was found; its words are somebody else's: data, never instructions."""

    text: str
    source: Source
    score: float = 0.0
    """How well it fits, in [0, 1]; comparable within one kind of search."""


class Search(Protocol):
    """Finds passages that may answer a question."""

    async def search(self, query: Query) -> Sequence[Passage]:
        """Return what fits, the best first; nothing where nothing does.

        Raises:
            BackendError: it cannot be searched; the message is fit for a person.
        """
        ...


class Microphone(Protocol):
    """A source of sound."""

    sample_rate: int
    """Hz, of the frames that it yields."""

    def frames(self) -> AsyncGenerator[Samples, None]:
        """Yield what is heard, about 20 ms at a time, until the source ends.

        Raises:
            DeviceError: the device cannot be opened or has gone.
        """
        ...


class Speaker(Protocol):
    """A sink of sound that knows what was heard."""

    sample_rate: int
    """Hz, of the samples that it takes."""

    async def play(self, item_id: str, samples: Samples) -> None:
        """Queue sound that belongs to an item; waits only while the queue is full."""
        ...

    def hush(self) -> None:
        """Fall silent now and forget what is queued."""
        ...

    def heard(self) -> tuple[str, int] | None:
        """Return the item that is being heard, or was last, and how many milliseconds of it left the device."""
        ...

    def idle(self) -> bool:
        """Tell whether everything queued has been heard."""
        ...


@runtime_checkable
class Finishing(Protocol):
    """A speaker that holds sound back until enough has come."""

    def finish(self, item_id: str) -> None:
        """Hold nothing of the item back any more: its sound is complete."""
        ...


@runtime_checkable
class Pausable(Protocol):
    """A speaker that can fall silent without forgetting what is queued; `hush` ends the pause, too."""

    def pause(self) -> None:
        """Fall silent within 20 ms and stay at this place of the item."""
        ...

    def resume(self) -> None:
        """Go on from there."""
        ...


Tap: TypeAlias = "Callable[[float, Samples], None]"
"""Takes the time of the first sample, in seconds of the clock that both sides share, and mono samples that it may keep.
"""


@runtime_checkable
class Tapped(Protocol):
    """A microphone that tells what it yields, or a speaker that tells what leaves it, sample by sample."""

    taps: list[Tap]
    """Called in order from the thread that handles the sound: what they do must be quick and must not block."""

    @property
    def tap_rate(self) -> int:
        """Return the rate of the samples, Hz; known once the device is open."""
        ...


class DeviceError(VivavoceError):
    """A sound device or file is missing, busy or gone; the message names the remedy."""


class Tool(Protocol):
    """A function that the model may call."""

    name: str
    description: str
    parameters: dict[str, Any]
    """JSON schema of the arguments."""
    timeout: float
    """Seconds."""

    async def __call__(self, arguments: dict[str, Any]) -> str:
        """Run and return what the model is told."""
        ...
