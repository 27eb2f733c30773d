"""Moonshine: English speech recognition on one thread, straight on onnxruntime."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
from anyio import CapacityLimiter, to_thread

from vivavoce.backends.batched import in_batches
from vivavoce.ports import BackendError
from vivavoce.speech.levels import voiced

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Callable, Sequence
    from pathlib import Path

    from vivavoce.ports import Heard, Samples

SAMPLE_RATE = 16_000
WINDOW = 25.0
"""Seconds of sound decoded at once: the model loses its way in much more."""
SHORTEST = SAMPLE_RATE // 2
"""Samples to which shorter sound is padded: the encoder needs a few frames."""
TOKENS_A_SECOND = 6.5
"""Of speech, at most; a decoder that says more is inventing."""
TOKENS_MORE = 6
START, END = 1, 2
SPACE = "▁"
LONGEST_LOOP = 12
"""Tokens in a phrase whose repetition is recognised."""

PHANTOMS = frozenset(["", "you", "thank you", "thanks", "thanks for watching", "bye", "so", "okay", "the", "i"])
"""What the model says of sound in which nobody speaks."""
VOICED = 0.12
"""Seconds of sound that stand out where somebody really says one of these."""


class Moonshine:
    """The speech-to-text port on Moonshine's encoder and cached decoder; English only, `prompt` is not used.

    Decodings run in worker threads, one core's worth below what the machine has, first come, first served.
    """

    sample_rate = SAMPLE_RATE

    def __init__(self, model: str = "moonshine-tiny-en", *, partials: float = 1.0, workers: int | None = None) -> None:
        self._name = model
        self._partials = partials
        self._workers = CapacityLimiter(workers or max(1, (os.cpu_count() or 1) - 1))
        self._model: _Model | None = None
        self._loading = threading.Lock()

    @property
    def weights(self) -> tuple[str, ...]:
        """The models that it needs from the store."""
        return (self._name,)

    def transcribe(
        self, audio: AsyncIterable[Samples], *, language: str | None = None, prompt: str | None = None
    ) -> AsyncGenerator[Heard, None]:
        """Yield partial results, one at each pause, and the final one.

        Raises:
            BackendError: the language is not English, or the model cannot be had.
        """
        del prompt
        if language and language.lower().partition("-")[0] not in {"en", "english"}:
            raise BackendError(
                "unsupported_language", f"Moonshine hears English only, not {language!r}: choose another --stt engine."
            )
        return in_batches(audio, self._decode, sample_rate=SAMPLE_RATE, partials=self._partials, window=WINDOW)

    async def warm_up(self) -> None:
        """Fetch and load the model and decode a second of silence."""
        await self._decode(np.zeros(SAMPLE_RATE, np.float32))

    async def compare(self, sound: Samples, phrases: Sequence[str]) -> float:
        """Return by how much the likeliest of the phrases is likelier than the transcript (port `Comparing`)."""
        return await to_thread.run_sync(self._compare, sound, phrases, abandon_on_cancel=True, limiter=self._workers)

    def _compare(self, sound: Samples, phrases: Sequence[str]) -> float:
        return self._loaded().compare(sound, phrases)

    async def _decode(self, sound: Samples) -> str:
        """Decode in a worker thread, which stops at its next token if nobody waits for it any more."""
        abandoned = threading.Event()
        try:
            return await to_thread.run_sync(
                self._read, sound, abandoned.is_set, abandon_on_cancel=True, limiter=self._workers
            )
        finally:
            abandoned.set()

    def _read(self, sound: Samples, abandoned: Callable[[], bool]) -> str:
        text = self._loaded().read(sound, abandoned)
        phantom = text.strip(" .!?,").lower() in PHANTOMS and voiced(sound, SAMPLE_RATE) < VOICED
        return "" if phantom else text

    def _loaded(self) -> _Model:
        from vivavoce.models import ModelError, fetch

        with self._loading:
            if self._model is None:
                try:
                    self._model = _Model(fetch(self._name))
                except ModelError as missing:
                    raise BackendError(missing.code, str(missing)) from missing
            return self._model


class _Model:
    """The networks and the vocabulary; safe to use from many threads."""

    def __init__(self, folder: Path) -> None:
        self._encoder = _session(folder / "encoder_model.ort")
        self._decoder = _session(folder / "decoder_model_merged.ort")
        self._vocabulary = read_vocabulary((folder / "tokenizer.bin").read_bytes())
        # The last of several that are written alike: the first ones stand for single bytes.
        self._numbers = {token: number for number, token in enumerate(self._vocabulary)}
        self._empty = {
            entry.name: np.zeros((1, entry.shape[1], 0, entry.shape[3]), np.float32)
            for entry in self._decoder.get_inputs()
            if entry.name.startswith("past_key_values")
        }

    def read(self, sound: Samples, abandoned: Callable[[], bool]) -> str:
        """Return the text of one window of sound, shape (n,)."""
        limit = int(TOKENS_A_SECOND * len(sound) / SAMPLE_RATE) + TOKENS_MORE
        sound = np.pad(sound, (0, max(0, SHORTEST - len(sound)))).astype(np.float32)[np.newaxis]
        spoken = b"".join(self._vocabulary[token] for token in self._greedy(sound, limit, abandoned))
        return spoken.decode(errors="ignore").replace(SPACE, " ").strip()

    def compare(self, sound: Samples, phrases: Sequence[str]) -> float:
        """Return the log likelihood of the likeliest phrase less that of the likeliest tokens."""
        limit = int(TOKENS_A_SECOND * len(sound) / SAMPLE_RATE) + TOKENS_MORE
        sound = np.pad(sound, (0, max(0, SHORTEST - len(sound)))).astype(np.float32)[np.newaxis]
        said = self._greedy(sound, limit, lambda: False)
        likelihood = self._likelihoods(sound, [said, *(self._tokens(phrase) for phrase in phrases)])
        return max(likelihood[1:]) - likelihood[0]

    def _likelihoods(self, sound: Samples, texts: Sequence[list[int]]) -> list[float]:
        """Return the log likelihood of each sequence of tokens."""
        mask = np.ones(sound.shape, np.int64)
        (encoding,) = self._encoder.run(None, {"input_values": sound, "attention_mask": mask})
        longest = max(map(len, texts))
        step = {
            "encoder_attention_mask": np.repeat(mask, len(texts), 0),
            "encoder_hidden_states": np.repeat(encoding, len(texts), 0),
            "input_ids": np.array([[START, *text, *[END] * (longest - len(text))] for text in texts]),
            "use_cache_branch": np.array([False]),
        }
        past = {name: np.repeat(empty, len(texts), 0) for name, empty in self._empty.items()}
        logits = self._decoder.run(None, step | past)[0].astype(np.float64)
        top = logits.max(axis=-1, keepdims=True)
        logs = logits - top - np.log(np.exp(logits - top).sum(axis=-1, keepdims=True))
        return [
            float(sum(logs[row, at, token] for at, token in enumerate([*text, END]))) for row, text in enumerate(texts)
        ]

    def _tokens(self, text: str) -> list[int]:
        """Return a text as the longest tokens that there are."""
        rest, found = SPACE + text.replace(" ", SPACE), []
        while rest:
            size = next(size for size in range(len(rest), 0, -1) if rest[:size].encode() in self._numbers)
            found.append(self._numbers[rest[:size].encode()])
            rest = rest[size:]
        return found

    def _greedy(self, sound: Samples, limit: int, abandoned: Callable[[], bool]) -> list[int]:
        """Return the likeliest token after each token, up to the end, the limit or a loop.

        The merged decoder takes the attention mask of the sound, not of the encoding. Its first step, without cache,
        gives the keys and values of the encoding, which later steps only pass along.
        """
        mask = np.ones(sound.shape, np.int64)
        (encoding,) = self._encoder.run(None, {"input_values": sound, "attention_mask": mask})
        constant = {"encoder_attention_mask": mask, "encoder_hidden_states": encoding}
        past = dict(self._empty)
        tokens = [START]
        while len(tokens) <= limit and not abandoned():
            cached = len(tokens) > 1
            step = {"input_ids": np.array([tokens[-1:]]), "use_cache_branch": np.array([cached])}
            logits, *present = self._decoder.run(None, constant | step | past)
            past.update(
                (name, value) for name, value in zip(past, present, strict=True) if not cached or ".decoder." in name
            )
            tokens.append(int(logits[0, -1].argmax()))
            if tokens[-1] == END:
                return tokens[1:-1]
            if loop := looping(tokens):
                return tokens[1:-loop]
        return tokens[1:]


def read_vocabulary(packed: bytes) -> list[bytes]:
    """Read Moonshine's tokenizer.bin: each token's length, then its bytes.

    A length of 128 or more takes two bytes: the low seven bits with the eighth set, then the rest.
    """
    tokens, at = [], 0
    while at < len(packed):
        size, at = packed[at], at + 1
        if size >= 0x80:  # noqa: PLR2004 - the eighth bit
            size, at = size - 0x80 + packed[at] * 0x80, at + 1
        tokens.append(packed[at : at + size])
        at += size
    return tokens


def looping(tokens: list[int]) -> int:
    """Return how many tokens at the end only repeat a phrase before them: four times, or a single token eight times."""
    for size in range(1, LONGEST_LOOP + 1):
        times = max(4, 8 // size)
        tail = tokens[-size * times :]
        if len(tail) == size * times and tail == tail[:size] * times:
            return size * (times - 1)
    return 0


def _session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
