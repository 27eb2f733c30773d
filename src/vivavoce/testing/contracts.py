"""Contracts: what each port of `vivavoce.ports` promises, as a test.

    test_beep = tts_contract(Beep)

pytest runs them with the plug-in of anyio.
"""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import anyio
import msgspec
import numpy as np
from anyio.lowlevel import checkpoint

from vivavoce.ports import (
    BackendError,
    Call,
    Heard,
    LanguageModel,
    Piece,
    Samples,
    SpeechToText,
    Text,
    TextToSpeech,
    Usage,
)
from vivavoce.realtime.conversation import Prompt, PromptMessage
from vivavoce.testing.engines import tone

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from vivavoce.ports import Vad

T = TypeVar("T")

Contract: TypeAlias = "Callable[[], Awaitable[None]]"

_HELLO: Final = Prompt(
    instructions="Answer in one short sentence.", messages=(PromptMessage(role="user", text="Say hello."),)
)
_PAUSE: Final = np.zeros(0, np.float32)
_FAINT: Final = 0.01
_EVEN: Final = 0.5
_FULL_SCALE: Final = 1.01
_SECONDS: Final = (0.05, 60.0)
_RATES: Final = range(8_000, 192_001)


def llm_contract(make: Callable[[], LanguageModel], *, prompt: Prompt = _HELLO) -> Contract:
    """Return a test that a language model keeps the promises of its port.

    Args:
        make: the class, or a function that returns an instance.
        prompt: one that it answers.
    """

    async def contract() -> None:
        async with _made(make) as model:
            _check_answer(await _all(model.generate(prompt)))
            await _check_closing(lambda: model.generate(prompt))
            await _check_together(lambda: model.generate(prompt), _check_answer)
            await _check_mishap(model.generate(Prompt()))

    return _anyio(contract)


def stt_contract(make: Callable[[], SpeechToText], *, speech: Samples | None = None) -> Contract:
    """Return a test that a recogniser keeps the promises of its port.

    Args:
        make: the class, or a function that returns an instance.
        speech: an utterance at the rate of the recogniser; by default a tone, of which it may make anything.
    """

    async def contract() -> None:
        async with _made(make) as engine:
            _check_rate(engine.sample_rate)
            sound = tone(220, 1.0, engine.sample_rate) if speech is None else speech
            plain = await _hear(engine, _cut(sound))
            paused = await _hear(engine, [*_cut(sound), _PAUSE])
            _promise(paused == plain, "a pause before the end does not change what was heard")
            half = len(sound) // 2
            await _hear(engine, [*_cut(sound[:half]), _PAUSE, *_cut(sound[half:]), _PAUSE, _PAUSE])
            await _hear(engine, [sound], language="en", prompt="hello")
            for nothing in ([], [_PAUSE]):
                _promise(await _hear(engine, nothing) == "", "no sound holds no word")
            await _check_closing(lambda: engine.transcribe(_Feed([*_cut(sound), _PAUSE])))
            await _check_together(lambda: engine.transcribe(_Feed(_cut(sound))), _check_heard)

    return _anyio(contract)


def tts_contract(make: Callable[[], TextToSpeech], *, sentence: str = "Hello there, how are you today?") -> Contract:
    """Return a test that a voice keeps the promises of its port.

    Args:
        make: the class, or a function that returns an instance.
        sentence: one that it can speak.
    """

    async def contract() -> None:
        async with _made(make) as engine:
            _check_rate(engine.sample_rate)
            _promise(len(engine.voices) > 0, "there is a default voice")
            _promise(all(engine.voices) and _are(str, engine.voices), "voices are names")
            for voice in (None, engine.voices[-1], "no such voice"):
                _check_speech(await _all(engine.speak(sentence, voice=voice)), engine.sample_rate)
            quick, slow = [_joined(await _all(engine.speak(sentence, speed=speed))) for speed in (2.0, 0.5)]
            _promise(len(quick) <= len(slow), "a higher speed does not take longer")
            for nothing in ("", "  \n"):
                sound = _joined(await _all(engine.speak(nothing)))
                _promise(bool(np.all(np.abs(sound) < _FAINT)), "an empty sentence is silent")
            await _check_mishap(engine.speak("…!?"))
            await _check_closing(lambda: engine.speak(sentence))
            await _check_together(
                lambda: engine.speak(sentence), lambda chunks: _check_speech(chunks, engine.sample_rate)
            )

    return _anyio(contract)


def vad_contract(make: Callable[[], Vad], *, speech: Samples | None = None) -> Contract:
    """Return a test that a voice activity detector keeps the promises of its port.

    Args:
        make: the class, or a function that returns an instance.
        speech: some at the rate of the detector, which must find it.
    """

    async def contract() -> None:
        async with _made(make) as engine:
            _check_rate(engine.sample_rate)
            _promise(_are(int, [engine.frame]) and engine.frame > 0, "a frame is a number of samples")
            silence = np.zeros(engine.frame * 30, np.float32)
            sound = np.resize(tone(220, 1.0, engine.sample_rate), silence.shape)
            (quiet,), (loud,) = _score(engine, silence), _score(engine, sound)
            _promise(float(quiet.mean()) < _EVEN, "silence is not speech")
            together = _score(engine, silence, sound)
            _promise(np.allclose(together, [quiet, loud], atol=1e-3), "streams do not disturb each other")
            if speech is not None:
                _promise(float(_score(engine, speech).max()) > _EVEN, "speech is found")

    return _anyio(contract)


def _promise(kept: bool, words: str) -> None:  # noqa: FBT001
    if not kept:
        raise AssertionError(f"The port promises: {words}.")


def _are(kind: type, things: Sequence[object]) -> bool:
    return all(isinstance(thing, kind) for thing in things)


def _anyio(contract: Contract) -> Contract:
    import pytest

    return pytest.mark.anyio(contract)


@asynccontextmanager
async def _made(make: Callable[[], T]) -> AsyncGenerator[T, None]:
    """Make an engine, and close it where it can be closed."""
    engine = make()
    try:
        yield engine
    finally:
        close = getattr(engine, "aclose", None)
        if close is not None:
            await close()


async def _all(stream: AsyncGenerator[T, None]) -> list[T]:
    async with aclosing(stream):
        return [piece async for piece in stream]


async def _check_closing(start: Callable[[], AsyncGenerator[Any, None]]) -> None:
    """Leave streams before they begin, after their first piece and by cancellation; then use one to its end."""
    await start().aclose()
    async with aclosing(start()) as stream:
        await anext(stream)
    with anyio.CancelScope() as scope:
        async with aclosing(start()) as stream:
            async for _ in stream:
                scope.cancel()
    _promise(len(await _all(start())) > 0, "a stream that was left does not harm the next")


async def _check_together(start: Callable[[], AsyncGenerator[T, None]], check: Callable[[list[T]], object]) -> None:
    """Run two streams at once, as two sessions do."""

    async def run() -> None:
        check(await _all(start()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        tasks.start_soon(run)


async def _check_mishap(stream: AsyncGenerator[Any, None]) -> None:
    """Run a stream that may fail, if in the way that was agreed."""
    try:
        await _all(stream)
    except BackendError as error:
        _promise(bool(error.code and error.message), "an error has a code and says what to do")


def _check_answer(pieces: list[Piece]) -> None:
    _promise(all(isinstance(piece, Piece) for piece in pieces), "an answer is text, calls and usage")
    _promise(not any(isinstance(piece, Usage) for piece in pieces[:-1]), "the usage comes once, last")
    calls = [piece for piece in pieces if isinstance(piece, Call)]
    _promise(all(_is_call(call) for call in calls), "a call has a name and a JSON object")
    texts = [piece.text for piece in pieces if isinstance(piece, Text)]
    _promise(_are(str, texts), "text is a string")
    _promise(bool(calls or "".join(texts).strip()), "a prompt is answered")


def _is_call(call: Call) -> bool:
    try:
        return bool(call.name) and isinstance(msgspec.json.decode(call.arguments), dict)
    except msgspec.DecodeError:
        return False


class _Feed:
    """Sound that arrives chunk by chunk; it may be left anywhere."""

    def __init__(self, chunks: Sequence[Samples]) -> None:
        self._chunks = iter(chunks)
        self.ended = False

    def __aiter__(self) -> _Feed:
        return self

    async def __anext__(self) -> Samples:
        await checkpoint()
        try:
            return next(self._chunks)
        except StopIteration:
            self.ended = True
            raise StopAsyncIteration from None


def _cut(sound: Samples) -> list[Samples]:
    """Cut a sound into chunks of an odd size."""
    return [sound[start : start + 333] for start in range(0, len(sound), 333)]


async def _hear(engine: SpeechToText, chunks: Sequence[Samples], **hints: str) -> str:
    feed = _Feed(chunks)
    heard = []
    async with aclosing(engine.transcribe(feed, **hints)) as results:
        async for result in results:
            heard.append(result)
            _promise(feed.ended or not result.final, "a result is final after the sound has ended")
    return _check_heard(heard)


def _check_heard(heard: list[Heard]) -> str:
    """Return what was heard in the end."""
    _promise(_are(Heard, heard), "a recogniser yields Heard")
    _promise(_are(str, [result.text for result in heard]), "a transcript is a string")
    _promise([result.final for result in heard] == [False] * (len(heard) - 1) + [True], "one result is final, the last")
    return heard[-1].text


def _check_rate(sample_rate: object) -> None:
    _promise(isinstance(sample_rate, int) and sample_rate in _RATES, "the sample rate is in Hz")


def _joined(chunks: Sequence[Samples]) -> Samples:
    return np.concatenate([_PAUSE, *chunks])


def _check_speech(chunks: list[Samples], sample_rate: int) -> None:
    for chunk in chunks:
        _promise(_are(np.ndarray, [chunk]) and chunk.ndim == 1, "sound is mono")
        _promise(chunk.dtype == np.float32, "sound is float32")
        _promise(bool(np.isfinite(chunk).all()), "samples are numbers")
        _promise(bool((np.abs(chunk) <= _FULL_SCALE).all()), "samples are within [-1, 1]")
    sound = _joined(chunks)
    shortest, longest = _SECONDS
    _promise(shortest < len(sound) / sample_rate < longest, "a sentence takes a time that fits it")
    _promise(bool(np.abs(sound).max() > _FAINT), "a sentence is not silent")


def _score(engine: Vad, *streams: Samples) -> Samples:
    """Return the probabilities of some streams of one length, shape (streams, frames)."""
    states = [engine.state() for _ in streams]
    scores = []
    for start in range(0, len(streams[0]) - engine.frame + 1, engine.frame):
        frames = np.stack([stream[start : start + engine.frame] for stream in streams])
        score, states = engine.score(frames, states)
        _promise(score.shape == (len(streams),), "each stream has one probability")
        _promise(len(states) == len(streams), "each stream has its memory")
        _promise(bool(((score >= 0) & (score <= 1)).all()), "a probability is within [0, 1]")
        scores.append(score)
    return np.stack(scores, axis=1)
