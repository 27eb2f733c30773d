# ruff: noqa: D102, D103, INP001
"""Writes the detector's network anew for many streams at once: `uv run --with onnx scripts/fast_silero.py`.

Silero VAD v6.2 as it is published runs its convolutions stream by stream, and asks at each run what shapes it has. The
same weights in the same order as matrix products over all streams: a third of the time, the same probabilities
(`tests/backends/test_silero.py` compares them). Reads tests/data/silero_vad_16k_op15.onnx, writes the package's asset.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
PUBLISHED = ROOT / "tests" / "data" / "silero_vad_16k_op15.onnx"
WRITTEN = ROOT / "src" / "vivavoce" / "assets" / "silero_vad_16k_fast.onnx"
WINDOW, HOP, STEPS = 256, 128, 4
"""Of the short-time Fourier transform: samples, samples, and how many of them a frame has."""
SAMPLES = 576
"""A frame with its context."""
PADDING = 64
"""Samples that the end of a frame is mirrored by."""
BINS, UNITS = 129, 128


class Graph:
    """Nodes in the order in which they are asked for."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: NDArray[Any]) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, kind: str, *inputs: str, to: str = "", **attributes: Any) -> str:
        name = to or f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def part(self, of: str, start: int, end: int, axis: int, step: int = 1) -> str:
        bounds = [self.constant(np.array([value], np.int64)) for value in (start, end, axis, step)]
        return self.add("Slice", of, *bounds)

    def shaped(self, of: str, *shape: int) -> str:
        return self.add("Reshape", of, self.constant(np.array(shape, np.int64)))

    def product(self, of: str, weights: NDArray[np.float32], bias: NDArray[np.float32]) -> str:
        return self.add("Add", self.add("MatMul", of, self.constant(weights)), self.constant(bias))


def convolution(weights: dict[str, NDArray[np.float32]], layer: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the taps of a layer, shape (3, in, out), and its bias."""
    name = f"model.encoder.{layer}.reparam_conv"
    return weights[f"{name}.weight"].transpose(2, 1, 0), weights[f"{name}.bias"]


def build(weights: dict[str, NDArray[np.float32]]) -> onnx.ModelProto:
    graph = Graph()
    add, part, shaped = graph.add, graph.part, graph.shaped

    mirrored = part("input", SAMPLES - 2, SAMPLES - 2 - PADDING, 1, -1)
    hops = shaped(add("Concat", "input", mirrored, axis=1), -1, STEPS + 1, HOP)
    windows = add("Concat", part(hops, 0, STEPS, 1), part(hops, 1, STEPS + 1, 1), axis=2)
    basis = graph.constant(weights["model.stft.forward_basis_buffer"].reshape(2 * BINS, WINDOW).T)
    waves = add("MatMul", windows, basis)
    squared = add("Mul", waves, waves)
    power = add("Add", part(squared, 0, BINS, 2), part(squared, BINS, 2 * BINS, 2))
    heard = add("Sqrt", power)

    # The first layer sees each step with its neighbours, the second every other one; at the edges there are zeros.
    taps, bias = convolution(weights, 0)
    edges = add("Pad", heard, graph.constant(np.array([0, 1, 0, 0, 1, 0], np.int64)))
    near = add("Concat", *(part(edges, tap, tap + STEPS, 1) for tap in range(3)), axis=2)
    heard = add("Relu", graph.product(near, taps.reshape(-1, UNITS), bias))
    taps, bias = convolution(weights, 1)
    flat = shaped(heard, -1, STEPS * UNITS)
    first = graph.product(part(flat, 0, 2 * UNITS, 1), taps[1:].reshape(2 * UNITS, -1), bias)
    second = graph.product(part(flat, UNITS, STEPS * UNITS, 1), taps.reshape(3 * UNITS, -1), bias)
    heard = add("Relu", add("Concat", first, second, axis=1))
    # From here on there is one step: taps that would see beyond it have no work.
    taps, bias = convolution(weights, 2)
    heard = add("Relu", graph.product(heard, taps[1:].reshape(UNITS, -1), bias))
    taps, bias = convolution(weights, 3)
    heard = add("Relu", graph.product(heard, taps[1], bias))

    hidden, cell = (shaped(part("state", index, index + 1, 0), -1, UNITS) for index in range(2))
    both = np.concatenate([weights[f"model.decoder.rnn.weight_{side}"] for side in ("ih", "hh")], axis=1).T
    biases = weights["model.decoder.rnn.bias_ih"] + weights["model.decoder.rnn.bias_hh"]
    gates = graph.product(add("Concat", heard, hidden, axis=1), both, biases)
    let_in, forget = (add("Sigmoid", part(gates, index * UNITS, (index + 1) * UNITS, 1)) for index in range(2))
    new = add("Tanh", part(gates, 2 * UNITS, 3 * UNITS, 1))
    let_out = add("Sigmoid", part(gates, 3 * UNITS, 4 * UNITS, 1))
    cell = add("Add", add("Mul", forget, cell), add("Mul", let_in, new))
    hidden = add("Mul", let_out, add("Tanh", cell))
    add("Concat", *(shaped(memory, 1, -1, UNITS) for memory in (hidden, cell)), to="stateN", axis=0)
    decoder = "model.decoder.decoder.2"
    score = graph.product(
        add("Relu", hidden), weights[f"{decoder}.weight"].reshape(1, UNITS).T, weights[f"{decoder}.bias"]
    )
    add("Sigmoid", score, to="output")

    def told(name: str, *shape: str | int) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    whole = helper.make_graph(
        graph.nodes,
        "silero_vad_v6_16k",
        [told("input", "batch", SAMPLES), told("state", 2, "batch", UNITS)],
        [told("output", "batch", 1), told("stateN", 2, "batch", UNITS)],
        graph.constants,
    )
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def main() -> None:
    published = onnx.load(PUBLISHED)
    build_from = {each.name: numpy_helper.to_array(each) for each in published.graph.initializer}
    onnx.save(build(build_from), WRITTEN)


main()
