"""Hibari: an English voice that needs a hundredth of a core, in process."""

from __future__ import annotations

import re
import textwrap
import threading
import unicodedata
from typing import TYPE_CHECKING, Any

from vivavoce.aio import in_thread
from vivavoce.speech.levels import amplify, trim
from vivavoce.speech.sentences import speakable, split

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vivavoce.ports import Samples

SAMPLE_RATE = 24_000
CHUNK = SAMPLE_RATE // 10
SEED = 0
"""Of the noise in the voice: the same words always sound the same."""
GAIN = 7.0
"""dB: the engine speaks at -27 dBFS, most voices at -20."""
LEAD = 0.04
PAUSES = {".": 0.3, "!": 0.3, "?": 0.35, "…": 0.4, ";": 0.2, ":": 0.2}
"""Seconds of silence after the mark that ends a piece."""
PAUSE = 0.12
SLOWEST, FASTEST = 0.5, 2.0
LONGEST = 400
"""Phonemes spoken at once: numbers are much longer spoken than written."""


class Hibari:
    """The text-to-speech port on hibari-tts; `voices` are those in the package or already downloaded by it.

    Only Latin script is spoken: a text that is mostly in another one makes no sound. Speed is kept between 0.5 and 2.
    """

    sample_rate = SAMPLE_RATE

    def __init__(self) -> None:
        self.voices = _voices()
        self._engines: dict[str, Any] = {}
        self._loading = threading.Lock()

    @in_thread
    def speak(self, sentence: str, *, voice: str | None = None, speed: float = 1.0) -> Iterator[Samples]:
        """Yield the sound of the text, a tenth of a second at a time."""
        engine = self._engine(voice if voice in self.voices else self.voices[0])
        speed = min(FASTEST, max(SLOWEST, speed))
        for piece in split(in_latin(speakable(sentence))):
            for phonemes in textwrap.wrap(engine.g2p(piece.strip()), LONGEST):
                sound = engine.from_phonemes(phonemes, speed, SEED)
                spoken = trim(amplify(sound, GAIN), SAMPLE_RATE, lead=LEAD, tail=_pause(phonemes))
                yield from (spoken[at : at + CHUNK] for at in range(0, len(spoken), CHUNK))

    async def warm_up(self) -> None:
        """Load the default voice with its pronunciation and say a word."""
        async for _ in self.speak("Ready."):
            pass

    def _engine(self, voice: str) -> Any:
        from hibari import Hibari as Engine

        with self._loading:
            if voice not in self._engines:
                engine = Engine(voice)
                # These load on first use, which is not safe in threads.
                _ = engine.g2p.oov
                self._engines[voice] = engine
            return self._engines[voice]


def in_latin(text: str) -> str:
    """Return the text without words in other scripts; "" if they are most of it."""
    foreign = sum(map(_is_foreign, text))
    if 2 * foreign > sum(map(str.isalpha, text)):
        return ""
    return re.sub(r"\w+", lambda word: "" if any(map(_is_foreign, word[0])) else word[0], text) if foreign else text


def _is_foreign(character: str) -> bool:
    return character.isalpha() and not unicodedata.name(character, "").startswith("LATIN")


def _pause(phonemes: str) -> float:
    return PAUSES.get(phonemes.rstrip(' "”)')[-1:], PAUSE)


def _voices() -> tuple[str, ...]:
    """List the voices whose files are here, the default first; nothing is downloaded."""
    from pathlib import Path

    from hibari.voices import DEFAULT, VOICES, cache_dir

    kept = [name for name, about in VOICES.items() if (Path(cache_dir()) / about["file"]).exists()]
    return (DEFAULT, *(name for name in kept if name != DEFAULT))
