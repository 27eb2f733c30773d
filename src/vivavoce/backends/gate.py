"""Tells in milliseconds which declared tool an utterance asks for: a classifier over sentence embeddings.

It is trained for each set of tools on their names, descriptions and example utterances (`x-utterances` among the
parameters) and on a fixed bank of what people say to voice agents.
"""

from __future__ import annotations

import re
import threading
from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import msgspec
import numpy as np

from vivavoce.realtime.values import UTTERANCES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vivavoce.ports import Embedder, Vectors
    from vivavoce.realtime.conversation import PromptTool

_ALIKE: Final = 0.5
"""Cosine from which a section of the bank exemplifies a declared tool."""
_TOO_NEAR: Final = 0.6
"""Cosine from which a line of the bank is too near a declared tool to be an example of talk."""
_SHRINKAGE: Final = 0.1
"""Weight of the penalty on the square of the weights, divided by the number of examples."""
_STEPS: Final = 150
_RATE: Final = 4.0
_MOMENTUM: Final = 0.9
_KEPT: Final = 64
"""Sets of tools whose gates are remembered."""


Embed: TypeAlias = "Callable[[Sequence[str]], Vectors]"


class Verdict(NamedTuple):
    """What the gate makes of an utterance."""

    tool: str
    """The likeliest tool."""
    log_odds: float
    """Natural logarithm of how much likelier that tool is than talk; negative where talk is."""


class Section(NamedTuple):
    """Utterances of one kind."""

    heading: str
    vectors: Vectors
    about: Vectors
    """The direction of the heading and its utterances, shape (384,)."""


class Gate:
    """Softmax regression whose first class is talk and whose others are the tools."""

    def __init__(self, names: Sequence[str], weights: Vectors, embed: Embed) -> None:
        self._names = names
        self._weights = weights
        self._embed = embed

    def __call__(self, utterance: str) -> Verdict:
        """Judge an utterance."""
        logits = _with_bias(self._embed([utterance]))[0] @ self._weights
        best = int(logits[1:].argmax())
        return Verdict(self._names[best], float(logits[best + 1] - logits[0]))


class Gatekeeper:
    """Trains gates and remembers them; safe to use from many threads."""

    def __init__(self, embedder: Embedder) -> None:
        embed = self._embed = partial(_embed_plain, embedder)
        self._bank = read_bank(embed)
        self._gates: dict[bytes, Gate] = {}
        self._training = threading.Lock()

    def gate(self, tools: Sequence[PromptTool]) -> Gate:
        """Return the gate of a set of tools, at least one."""
        key = msgspec.json.encode(tools)
        with self._training:
            if key not in self._gates:
                self._gates[key] = train(tools, self._bank, self._embed)
                if len(self._gates) > _KEPT:
                    del self._gates[next(iter(self._gates))]
            return self._gates[key]

    def nearness(self, question: str, texts: Sequence[str]) -> list[float]:
        """Return the cosine of each text with a question."""
        asked, *told = self._embed([question, *texts])
        return [float(vector @ asked) for vector in told]


def read_bank(embed: Embed) -> list[Section]:
    """Read and embed the bank; its first section is talk."""
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in (files(__package__) / "utterances.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            lines = sections.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            lines.append(line)
    return [_section(heading, embed([heading])[0], embed(lines)) for heading, lines in sections.items()]


def train(tools: Sequence[PromptTool], bank: Sequence[Section], embed: Embed) -> Gate:
    """Fit the classifier of a set of tools."""
    described = [embed(_descriptions(tool)) for tool in tools]
    classes = [
        [bank[0].vectors],
        *([vectors, *_examples(tool, embed)] for tool, vectors in zip(tools, described, strict=True)),
    ]
    subjects = np.stack([_unit(vectors[:2].mean(axis=0)) for vectors in described])
    everything = np.concatenate([vectors for kind in classes[1:] for vectors in kind])
    for section in bank[1:]:
        likeness = subjects @ section.about
        if likeness.max() > _ALIKE:
            classes[int(likeness.argmax()) + 1].append(section.vectors)
        else:
            near = (section.vectors @ everything.T).max(axis=1)
            classes[0].append(section.vectors[near < _TOO_NEAR])
    weights = _fit([np.concatenate(kind) for kind in classes])
    return Gate([tool.name for tool in tools], weights, embed)


def _fit(classes: Sequence[Vectors]) -> Vectors:
    """Return the weights, shape (385, classes), that maximise the penalised likelihood; classes weigh the same."""
    examples = _with_bias(np.concatenate(classes))
    wanted = np.repeat(np.eye(len(classes), dtype=np.float32), [len(kind) for kind in classes], axis=0)
    share = wanted @ np.array([1 / len(kind) / len(classes) for kind in classes], np.float32)
    weights = np.zeros((examples.shape[1], len(classes)), np.float32)
    velocity = np.zeros_like(weights)
    for _ in range(_STEPS):
        slope: Vectors = examples.T @ ((_softmax(examples @ weights) - wanted) * share[:, np.newaxis])
        slope[:-1] += _SHRINKAGE / len(examples) * weights[:-1]
        velocity *= _MOMENTUM
        velocity -= _RATE * slope
        weights += velocity
    return weights


def _descriptions(tool: PromptTool) -> list[str]:
    """Say in several ways what a tool does; the first two name its subject."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])|[_\-.]+", " ", tool.name).lower()
    does = tool.description.rstrip(". ") or name
    return [name, does, f"can you {does}", f"please {does}", f"I want to {name}"]


def _examples(tool: PromptTool, embed: Embed) -> list[Vectors]:
    examples: Any = tool.parameters.get(UTTERANCES)
    texts = [text for text in examples if isinstance(text, str)] if isinstance(examples, list) else []
    return [embed(texts)] if texts else []


def _section(heading: str, heading_vector: Vectors, vectors: Vectors) -> Section:
    return Section(heading, vectors, _unit(heading_vector + vectors.mean(axis=0)))


def _embed_plain(embedder: Embedder, texts: Sequence[str]) -> Vectors:
    return embedder.embed([_plain(text) for text in texts])


def _plain(text: str) -> str:
    """Take away what recognisers differ in: capitals and punctuation."""
    return re.sub(r"[^\w' ]", "", text.lower()).strip()


def _unit(vector: Vectors) -> Vectors:
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def _with_bias(vectors: Vectors) -> Vectors:
    return np.hstack([vectors, np.ones((len(vectors), 1), np.float32)])


def _softmax(logits: Vectors) -> Vectors:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)
