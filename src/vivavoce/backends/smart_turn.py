"""Smart Turn v3.2: whether a speaker has finished, judged from the sound of the last eight seconds, in 23 languages."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
from anyio import CapacityLimiter, to_thread

from vivavoce.ports import BackendError
from vivavoce.speech.mel import SAMPLE_RATE, log_mel

if TYPE_CHECKING:
    from vivavoce.ports import Samples

MODEL = "smart-turn-v3.2"
LENGTH = 8 * SAMPLE_RATE
"""Samples that the network hears: the last ones, after silence where there are fewer."""


class SmartTurn:
    """The end-of-turn port on one onnxruntime session; one judgement at a time."""

    sample_rate = SAMPLE_RATE

    def __init__(self) -> None:
        self._session: Any = None
        self._loading = threading.Lock()
        self._one = CapacityLimiter(1)

    @property
    def weights(self) -> tuple[str, ...]:
        """The models that it needs from the store."""
        return (MODEL,)

    async def finished(self, sound: Samples) -> float:
        """Return how likely the speaker has finished, in [0, 1].

        Raises:
            BackendError: the model cannot be had.
        """
        return await to_thread.run_sync(self._judge, sound, abandon_on_cancel=True, limiter=self._one)

    async def warm_up(self) -> None:
        """Load the network and run it once."""
        await self.finished(np.zeros(SAMPLE_RATE, np.float32))

    def _judge(self, sound: Samples) -> float:
        heard = sound[-LENGTH:]
        heard = np.pad(heard, (LENGTH - len(heard), 0))
        heard = (heard - heard.mean()) / np.sqrt(heard.var() + 1e-7)
        (probability,) = self._loaded().run(None, {"input_features": log_mel(heard)[np.newaxis]})
        return float(probability.squeeze())

    def _loaded(self) -> Any:
        from vivavoce.models import ModelError, fetch

        with self._loading:
            if self._session is None:
                import onnxruntime

                options = onnxruntime.SessionOptions()
                options.intra_op_num_threads = options.inter_op_num_threads = 1
                try:
                    network = next(fetch(MODEL).glob("*.onnx"))
                except ModelError as missing:
                    raise BackendError(missing.code, str(missing)) from missing
                self._session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
            return self._session
