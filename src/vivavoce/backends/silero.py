"""Silero VAD v6.2: voice activity detection by a small recurrent network, for many streams in one run."""

from __future__ import annotations

from functools import cached_property
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
from anyio import to_thread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vivavoce.ports import Samples, VadState

WEIGHTS = "silero_vad_16k_fast.onnx"
"""The published network as `scripts/fast_silero.py` rewrites it."""
CONTEXT = 64
"""Samples of the frame before that the network sees again."""
UNITS = 128
"""Of each of the two parts of the recurrent memory."""
MEMORY = 2 * UNITS
GATE = 1e-3
"""RMS (-60 dBFS) below which a frame is silent."""
SETTLING = 8
"""Silent frames that still run, so that the memory forgets the speech before them; later ones cost nothing."""


class Silero:
    """The VAD port on one onnxruntime session.

    A stream's memory is one array of shape (321,): the recurrent memory (2, 128), the last 64 samples heard, and how
    many silent frames came last.
    """

    sample_rate = 16_000
    frame = 512

    def state(self) -> VadState:
        """Return the memory of a stream that has heard nothing."""
        return np.concatenate([np.zeros(MEMORY + CONTEXT), [SETTLING]]).astype(np.float32)

    def score(self, frames: Samples, states: Sequence[VadState]) -> tuple[Samples, list[VadState]]:
        """Score one frame of each stream.

        Args:
            frames: shape (streams, 512).
            states: the memory of each stream.

        Returns:
            Probabilities of speech, shape (streams,), and the new memories.
        """
        memories = np.stack(states)
        silent = np.sqrt(np.mean(np.square(frames), axis=1)) < GATE
        memories[:, -1] = np.where(silent, memories[:, -1] + 1, 0)
        scores = np.zeros(len(frames), np.float32)
        live = np.flatnonzero(memories[:, -1] <= SETTLING)
        if live.size:
            heard = np.concatenate([memories[live, MEMORY:-1], frames[live]], axis=1)
            scores[live], memories[live, :MEMORY] = self._run(heard, memories[live, :MEMORY])
        memories[:, MEMORY:-1] = frames[:, -CONTEXT:]
        return scores, list(memories)

    async def warm_up(self) -> None:
        """Load the network and run it once."""
        await to_thread.run_sync(
            self._run, np.zeros((1, CONTEXT + self.frame), np.float32), np.zeros((1, MEMORY), np.float32)
        )

    def _run(self, heard: Samples, memory: Samples) -> tuple[Samples, Samples]:
        """Run the network on (n, 64 + 512) samples and (n, 256) memory."""
        inputs = {
            "input": heard,
            "state": np.ascontiguousarray(memory.reshape(-1, 2, UNITS).transpose(1, 0, 2)),
        }
        scores, after = self._session.run(None, inputs)
        return scores[:, 0], after.transpose(1, 0, 2).reshape(-1, MEMORY)

    @cached_property
    def _session(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        weights = resources.files("vivavoce").joinpath("assets", WEIGHTS).read_bytes()
        return onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
