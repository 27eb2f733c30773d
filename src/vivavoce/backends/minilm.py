"""all-MiniLM-L6-v2 with int8 weights: sentence embeddings for English, one text at a time on one thread."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vivavoce import models
from vivavoce.ports import BackendError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from vivavoce.ports import Vectors

MODEL: Final = "minilm-l6-v2-int8"
_LONGEST: Final = 256
"""Tokens of a text that are embedded: what the model was trained on."""


class MiniLM:
    """Port `Embedder`; loads, and fetches where needed, at its first use."""

    name = MODEL
    dimension = 384
    weights = (MODEL,)

    def __init__(self) -> None:
        self._loading = threading.Lock()
        self._session: Any = None
        self._tokenizer: Any = None

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Vectors:  # noqa: ARG002 - port `Embedder`
        """Embed each text alone: int8 activations are scaled over a batch, so company would change the result."""
        try:
            self._load()
            return np.stack([self._one(text) for text in texts]) if texts else np.empty((0, self.dimension), np.float32)
        except models.ModelError as wrong:
            raise BackendError("model_unavailable", str(wrong)) from wrong

    def _one(self, text: str) -> Vectors:
        tokens = np.array([self._tokenizer.encode(text).ids], np.int64)
        feed = {
            "input_ids": tokens,
            "attention_mask": np.ones_like(tokens),
            "token_type_ids": np.zeros_like(tokens),
        }
        (states,) = self._session.run(None, feed)
        mean: Vectors = states[0].mean(axis=0)
        return (mean / np.linalg.norm(mean)).astype(np.float32)

    def _load(self) -> None:
        with self._loading:
            if self._session is not None:
                return
            folder = models.fetch(MODEL)
            self._tokenizer = self.tokenizer(folder / "tokenizer.json", _LONGEST)
            self._session = self.session(folder / "model.onnx")

    @staticmethod
    def session(path: Path) -> Any:
        """Load a model for one thread."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        return onnxruntime.InferenceSession(path, options)

    @staticmethod
    def tokenizer(path: Path, longest: int) -> Any:
        """Load a tokenizer that cuts texts off after so many tokens."""
        from tokenizers import Tokenizer

        loaded = Tokenizer.from_file(str(path))
        loaded.no_padding()
        loaded.enable_truncation(longest)
        return loaded
