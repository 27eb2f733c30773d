"""Engines as sessions and requests may rely on them: whatever one does wrong is a `BackendError`."""

from __future__ import annotations

import logging
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

import anyio
import numpy as np

from vivavoce.ports import BackendError, Heard, Piece

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Iterator, Sequence

    from vivavoce.ports import Comparing, EndOfTurn, LanguageModel, Samples, SpeechToText, TextToSpeech
    from vivavoce.realtime.conversation import Prompt

T = TypeVar("T")

HEARING_S: Final = 30.0
"""Time for a transcript after the end of the speech, beyond the length of the speech itself."""
JUDGING_S: Final = 1.5
"""Time to judge a pause: a turn waits no longer."""
COMPARING_S: Final = 1.4
"""Time to tell what else may have been said: speech over an answer is decided about sooner."""
THINKING_S: Final = 60.0
"""Time for the next piece of an answer, the first included."""
SPEAKING_S: Final = 30.0
"""Time for the next piece of sound, the first included."""

_EOT: Final = "end-of-turn engine"
_STT: Final = "speech-to-text engine"
_LLM: Final = "language model"
_TTS: Final = "text-to-speech engine"

log = logging.getLogger("vivavoce.server")


async def hear(
    stt: SpeechToText, audio: AsyncIterable[Samples], *, language: str | None = None, prompt: str | None = None
) -> AsyncGenerator[Heard, None]:
    """Yield what a recogniser hears; the last result is final. It is for the caller to limit its time.

    Raises:
        BackendError: it failed, broke, or ended without a final result.
    """
    final = False
    results = stt.transcribe(audio, language=language, prompt=prompt)
    async with aclosing(_guarded(results, Heard, _STT)) as guarded:
        async for heard in guarded:
            final = heard.final
            yield heard
    if not final:
        raise BackendError("backend_cut", f"The {_STT} ended without a result; say it again.")


async def compare(stt: Comparing, sound: Samples, phrases: Sequence[str]) -> float:
    """Return by how much one of the phrases is likelier than the transcript.

    Raises:
        BackendError: the engine failed, broke, or took longer than anybody waits for it.
    """
    with _answering(_STT, COMPARING_S):
        return await stt.compare(sound, phrases)


async def judge(eot: EndOfTurn, sound: Samples) -> float:
    """Return how likely a speaker has finished.

    Raises:
        BackendError: the engine failed, broke, or took longer than anybody waits for it.
    """
    with _answering(_EOT, JUDGING_S):
        probability = await eot.finished(sound)
    if not 0.0 <= probability <= 1.0:
        raise _garbage(_EOT)
    return probability


async def think(llm: LanguageModel, prompt: Prompt) -> AsyncGenerator[Piece, None]:
    """Yield the pieces of an answer.

    Raises:
        BackendError: the model failed, broke, or took too long for a piece.
    """
    async with aclosing(_guarded(llm.generate(prompt), Piece, _LLM, THINKING_S)) as guarded:
        async for piece in guarded:
            yield piece


async def speak(tts: TextToSpeech, sentence: str, *, voice: str, speed: float) -> AsyncGenerator[Samples, None]:
    """Yield the sound of a sentence, silence where it is not made of numbers; an unknown voice is the default one.

    Raises:
        BackendError: the engine failed, broke, or took too long for a piece.
    """
    sound = tts.speak(sentence, voice=voice if voice in tts.voices else None, speed=speed)
    async with aclosing(_guarded(sound, np.ndarray, _TTS, SPEAKING_S)) as guarded:
        async for samples in guarded:
            if samples.ndim != 1 or samples.dtype != np.float32:
                raise _garbage(_TTS)
            # To look is five times as cheap as to repair.
            finite = bool(np.isfinite(samples).all())
            yield samples if finite else np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0)


def late(who: str = _STT) -> BackendError:
    """Return the error of an engine that does not answer."""
    return BackendError("backend_timeout", f"The {who} did not answer in time; try again.")


async def _guarded(
    stream: AsyncGenerator[T, None], kind: object, who: str, limit_s: float = float("inf")
) -> AsyncGenerator[T, None]:
    async with aclosing(stream):
        while True:
            try:
                with _answering(who, limit_s):
                    piece = await anext(stream)
            except StopAsyncIteration:
                return
            if not isinstance(piece, kind):  # type: ignore[arg-type]
                raise _garbage(who)
            yield piece


@contextmanager
def _answering(who: str, limit_s: float) -> Iterator[None]:
    """Make a `BackendError` of whatever an engine does wrong in the block, taking too long included."""
    try:
        with anyio.fail_after(limit_s):
            yield
    except (BackendError, StopAsyncIteration):
        raise
    except TimeoutError:
        raise late(who) from None
    except Exception as wrong:
        log.exception("the %s broke", who)
        raise BackendError("backend_failed", f"The {who} broke; the server's log says how.") from wrong


def _garbage(who: str) -> BackendError:
    return BackendError("backend_garbage", f"The {who} yielded something that its port does not know; repair it.")
