"""The embedded language model: llama.cpp with a small instruct model, and a gate that chooses its tools.

The gate decides in milliseconds which tool is asked for, the model settles what the gate finds doubtful and fills in
the arguments; where a required one was not said, it asks.
"""

from __future__ import annotations

import re
import threading
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from anyio import CancelScope, create_task_group, to_thread

from vivavoce import plugins
from vivavoce.backends import llama_prompts as prompts
from vivavoce.backends.gate import Gatekeeper
from vivavoce.backends.llama_runtime import FILL, JUDGE, TALK, ContextExceeded, Runtime
from vivavoce.ports import BackendError, Call, Leaning, Text, Usage
from vivavoce.realtime.conversation import Prompt, PromptMessage, PromptTool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from pathlib import Path

    from vivavoce.backends.gate import Gate, Verdict

DEFAULT_MODEL: Final = "qwen2.5-coder-1.5b"
GATE_MODEL: Final = "minilm-l6-v2-int8"

_POOR_JUDGES: Final = frozenset(["qwen2.5-coder-0.5b"])
"""Models that decide doubtful cases worse than the gate does."""
_DOUBT: Final = 1.0
"""Log odds on either side of zero between which a case is doubtful."""
_SURE: Final = 2.0
"""Log odds that make a part of an utterance a request of its own."""
_MOST_CALLS: Final = 4
_LONGEST_ANSWER: Final = 300
"""Tokens, where the session sets no limit."""
_LONGEST_ARGUMENTS: Final = 160
_LONGEST_REPLY: Final = 6
"""Words in an answer to a question of ours."""
_UNHEARD_OF: Final = -12.0
"""Log probability of a word that is not among the likeliest."""
_SIDE_BY_SIDE: Final = 2
"""Threads in which texts are compared: somebody waits for it."""
_GREETING: Final = Prompt(messages=(PromptMessage(role="user", text="hello"),))
_NO_TOOL: Final = PromptTool(name="none")

_SEVERAL: Final = re.compile(r",|\b(and|or|both|also|versus|compared)\b", re.IGNORECASE)
_FOLLOWS: Final = re.compile(r"^\W*(and|or|also|then|what about|how about)\b(?P<rest>.*)", re.IGNORECASE)
_CLAUSE: Final = re.compile(
    r"\b(who|what|how|why|when|where|which|is|are|was|do|does|did|can|could|will|tell|thanks?)\b", re.IGNORECASE
)
"""Words of a sentence that stands for itself."""
_JOINT: Final = re.compile(r",?\s+and\s+|[,;]\s+", re.IGNORECASE)


class Request(NamedTuple):
    """A tool that the user asks for."""

    tool: PromptTool
    words: str
    """Those that ask for it."""
    follows: bool = False
    """Whether they are understood only together with what was said before."""


class Llama:
    """The language model port on a model of the catalogue that speaks ChatML."""

    def __init__(
        self,
        *,
        model: str = DEFAULT_MODEL,
        threads: int | None = None,
        context: int = 4096,
        temperature: float = 0.3,
    ) -> None:
        self._name = model
        self._threads = threads
        self._context = context
        self._temperature = temperature
        self._loading = threading.Lock()
        self._engines: _Engines | None = None
        self._ahead: dict[int, str] = {}
        """What was read ahead last in each slot."""
        self._priming: set[CancelScope] = set()

    @property
    def weights(self) -> tuple[str, ...]:
        """The models that it needs from the store."""
        return (self._name, GATE_MODEL)

    @property
    def context_tokens(self) -> int:
        """Tokens of the longest prompt that leaves room for an answer."""
        return self._context - _LONGEST_ANSWER

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Text | Call | Usage, None]:
        """Yield the answer, or the calls of the tools that the user asks for, and what it took.

        Raises:
            BackendError: the model cannot be had, or fails.
        """
        for reading in self._priming:
            reading.cancel()
        answer = _Answer(await to_thread.run_sync(self._loaded, abandon_on_cancel=True), prompt, self._temperature)
        async with aclosing(answer.pieces()) as pieces:
            async for piece in pieces:
                yield piece

    async def warm_up(self) -> None:
        """Fetch and load the models, and let them read what every conversation and question about tools begins with."""
        engines = await to_thread.run_sync(self._loaded, abandon_on_cancel=True)
        for slot, text in ((TALK, prompts.talk(_GREETING)), *engines.questions()):
            await engines.runtime.learn(text, slot=slot)
            self._ahead[slot] = text
        # The first schema takes half a second more than the others.
        await engines.runtime.read(self._ahead[FILL], slot=FILL, json_schema={"type": "array"})

    async def prime(self, prompt: Prompt) -> None:
        """Read the conversation so far, learn its tools, and read what their arguments are asked with."""
        engines = await to_thread.run_sync(self._loaded, abandon_on_cancel=True)
        beginnings = [(TALK, prompts.ahead(prompt))]
        if prompt.tools:
            await to_thread.run_sync(engines.gates.gate, prompt.tools)
            beginnings += engines.questions()
        for slot, text in beginnings:
            if text == self._ahead.get(slot):
                continue
            with CancelScope() as giving_way:
                self._priming.add(giving_way)
                try:
                    await engines.runtime.read(text, slot=slot)
                finally:
                    self._priming.discard(giving_way)
            if giving_way.cancelled_caught:
                return
            self._ahead[slot] = text

    async def leaning(self, prompt: Prompt) -> Leaning | None:
        """Return which tool the gate thinks that the last message asks for, alone or with what it follows."""
        if not prompt.tools or not prompt.messages or prompt.messages[-1].role != "user":
            return None
        engines = await to_thread.run_sync(self._loaded, abandon_on_cancel=True)
        gate = await to_thread.run_sync(engines.gates.gate, prompt.tools)
        return Leaning(*(await _Answer(engines, prompt, self._temperature).verdict(gate, prompt.messages[-1].text))[0])

    async def nearness(self, question: str, texts: Sequence[str]) -> list[float]:
        """Return how alike each text is to a question in meaning, in the eyes of the gate's embedder."""
        engines = await to_thread.run_sync(self._loaded, abandon_on_cancel=True)
        values = [0.0] * len(texts)

        async def compare(some: slice) -> None:
            values[some] = await to_thread.run_sync(engines.gates.nearness, question, texts[some])

        async with create_task_group() as tasks:
            for first in range(_SIDE_BY_SIDE):
                tasks.start_soon(compare, slice(first, None, _SIDE_BY_SIDE))
        return values

    async def aclose(self) -> None:
        """Free the memory when what runs has stopped; the next use loads again."""
        engines, self._engines = self._engines, None
        if engines is not None:
            with CancelScope(shield=True):
                await to_thread.run_sync(engines.runtime.close)

    def _loaded(self) -> _Engines:
        with self._loading:
            if self._engines is None:
                runtime = Runtime(_gguf(_fetched(self._name)), threads=self._threads, context=self._context)
                gates = Gatekeeper(plugins.make("embed", "minilm"))
                self._engines = _Engines(runtime, gates, judges=self._name not in _POOR_JUDGES)
            return self._engines


class _Engines(NamedTuple):
    runtime: Runtime
    gates: Gatekeeper
    judges: bool
    """Whether the model's opinion on doubtful cases is worth its time."""

    def questions(self) -> list[tuple[int, str]]:
        """Return the slots that serve tools, and what every question in them begins with."""
        filling = FILL, prompts.fill(_NO_TOOL, ())
        return [filling, (JUDGE, prompts.judge(_NO_TOOL, ""))] if self.judges else [filling]


class _Answer:
    """One generation: calls, or speech."""

    def __init__(self, engines: _Engines, prompt: Prompt, temperature: float) -> None:
        self._engines = engines
        self._prompt = prompt
        self._temperature = temperature
        self._spent = Usage()

    async def pieces(self) -> AsyncGenerator[Text | Call | Usage, None]:
        """Yield calls or text, and the usage at the end."""
        called, question = False, ("", "")
        for request in await self._requests():
            arguments, lacking = await self._arguments(request)
            if lacking:
                question = prompts.question(request.tool, lacking[0])
            for filled in arguments:
                called = True
                yield Call(request.tool.name, msgspec.json.encode(filled).decode())
        if not called:
            async with aclosing(self._talk(*question)) as texts:
                async for text in texts:
                    yield Text(text)
        yield self._spent

    async def _requests(self) -> list[Request]:
        """Find out what the user asks for now; nothing where a tool has just answered."""
        prompt = self._prompt
        if (
            not prompt.tools
            or prompt.tool_choice == "none"
            or not prompt.messages
            or prompt.messages[-1].role != "user"
        ):
            return []
        words = prompt.messages[-1].text
        named = [tool for tool in prompt.tools if tool.name == prompt.tool_choice]
        if named:
            return [Request(named[0], words)]
        gate = await to_thread.run_sync(self._engines.gates.gate, prompt.tools)
        return await to_thread.run_sync(self._parts, gate, words) or await self._whole(gate, words)

    def _parts(self, gate: Gate, words: str) -> list[Request]:
        """Split an utterance that plainly asks for different tools."""
        parts = [part for part in _JOINT.split(words) if part.strip()] if self._prompt.parallel_tool_calls else []
        asked = [(verdict.tool, part) for part in parts if (verdict := gate(part)).log_odds > _SURE]
        different = len({tool for tool, _ in asked}) == len(asked) > 1
        return [Request(self._tool(name), part) for name, part in asked] if different else []

    async def _whole(self, gate: Gate, words: str) -> list[Request]:
        """Judge an utterance as one request, alone or together with what it follows."""
        verdict, follows = await self.verdict(gate, words)
        request = Request(self._tool(verdict.tool), words, follows)
        if self._prompt.tool_choice == "required" or await self._settled(verdict, request):
            return [request]
        return []

    async def verdict(self, gate: Gate, words: str) -> tuple[Verdict, bool]:
        """Let the gate judge an utterance, and tell whether it is understood only with what was said before."""
        verdict = await to_thread.run_sync(gate, words)
        before = _context(self._prompt.messages) if verdict.log_odds < _DOUBT else ""
        if before:
            verdict = await to_thread.run_sync(gate, f"{before} {words}")
        return verdict, bool(before)

    async def _settled(self, verdict: Verdict, request: Request) -> bool:
        """Tell whether a tool is asked for; where the gate is in doubt, the model's own odds are added."""
        if abs(verdict.log_odds) >= _DOUBT or request.follows or not self._engines.judges:
            return verdict.log_odds > 0
        return verdict.log_odds + await self._opinion(request) > 0

    async def _opinion(self, request: Request) -> float:
        """Return the log odds that the model gives to the tool being asked for."""
        question = prompts.judge(request.tool, request.words)
        odds: dict[str, float] = {}
        async with aclosing(self._chunks(question, slot=JUDGE, temperature=0.0, max_tokens=1, n_probs=20)) as chunks:
            async for choice in chunks:
                if choice.get("logprobs"):
                    top = choice["logprobs"]["content"][0]["top_logprobs"]
                    odds = {entry["token"].strip(): entry["logprob"] for entry in reversed(top)}
        return odds.get("yes", _UNHEARD_OF) - odds.get("no", _UNHEARD_OF)

    async def _arguments(self, request: Request) -> tuple[list[dict[str, Any]], list[str]]:
        """Let the model fill in the arguments of each call; return the complete ones, else what they lack."""
        tool = request.tool
        said = request.words if request.follows else self._said()
        complete: list[dict[str, Any]] = []
        lacking: list[str] = []
        for filled in await self._filled(request):
            arguments = prompts.grounded(tool, filled, said)
            if not request.follows:
                arguments = prompts.searched(tool, arguments, request.words)
            lacking += prompts.missing(tool, arguments)
            if not prompts.missing(tool, arguments) and arguments not in complete:
                complete.append(arguments)
        return complete, [] if complete or request.follows else lacking

    async def _filled(self, request: Request) -> list[dict[str, Any]]:
        if not request.tool.parameters.get("properties"):
            return [{}]
        several = self._prompt.parallel_tool_calls and _SEVERAL.search(request.words)
        schema = prompts.filled_schema(request.tool, _MOST_CALLS if several else 1)
        messages = (*self._prompt.messages[:-1], PromptMessage(role="user", text=request.words))
        question = prompts.fill(request.tool, messages)
        options = {"temperature": 0.0, "max_tokens": _LONGEST_ARGUMENTS, "json_schema": schema}
        async with aclosing(self._chunks(question, slot=FILL, **options)) as chunks:
            text = "".join([choice.get("text", "") async for choice in chunks])
        try:
            return msgspec.json.decode(text, type=list[dict[str, Any]])
        except msgspec.DecodeError:
            return [{}]

    async def _talk(self, hint: str, opening: str) -> AsyncGenerator[str, None]:
        """Speak; a conversation that is too long is shortened until it fits."""
        if opening:
            yield opening
        prompt = self._prompt
        options = {
            "temperature": self._temperature,
            "top_p": 0.9,
            "max_tokens": prompt.max_output_tokens or _LONGEST_ANSWER,
            "logit_bias": prompts.UNSPEAKABLE,
        }
        while True:
            text = prompts.talk(prompt, hint=hint, opening=opening)
            try:
                async with aclosing(self._chunks(text, slot=TALK, **options)) as chunks:
                    async for choice in chunks:
                        if said := choice.get("text"):
                            yield said
            except ContextExceeded:
                longer, prompt = prompt, prompts.shorter(prompt)
                if prompt == longer:
                    raise
            else:
                return

    async def _chunks(self, text: str, *, slot: int, **options: Any) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the choice of each piece of a completion, and add up what it takes."""
        async with aclosing(self._engines.runtime.complete(text, slot=slot, **options)) as chunks:
            async for chunk in chunks:
                choice = chunk["choices"][0] if chunk.get("choices") else {}
                if usage := chunk.get("usage"):
                    self._spent = _sum(self._spent, usage, truncated=choice.get("finish_reason") == "length")
                yield choice

    def _said(self) -> str:
        return " ".join(message.text for message in self._prompt.messages if message.role == "user")

    def _tool(self, name: str) -> PromptTool:
        return next(tool for tool in self._prompt.tools if tool.name == name)


def _context(messages: Sequence[PromptMessage]) -> str:
    """Return what the user said before, where the last words follow on it or answer a question of ours."""
    users = [message.text for message in messages if message.role == "user"]
    if len(users) < 2:  # noqa: PLR2004
        return ""
    said = next((message.text for message in reversed(messages) if message.role == "assistant" and message.text), "")
    answers = said.rstrip().endswith("?") and len(users[-1].split()) <= _LONGEST_REPLY
    follows = _FOLLOWS.match(users[-1])
    return users[-2] if answers or (follows and not _CLAUSE.search(follows["rest"])) else ""


def _sum(spent: Usage, usage: dict[str, Any], *, truncated: bool) -> Usage:
    return Usage(
        input_tokens=spent.input_tokens + usage.get("prompt_tokens", 0),
        output_tokens=spent.output_tokens + usage.get("completion_tokens", 0),
        cached_tokens=spent.cached_tokens + usage.get("prompt_tokens_details", {}).get("cached_tokens", 0),
        truncated=truncated,
    )


def _fetched(model: str) -> Path:
    from vivavoce.models import ModelError, fetch

    try:
        return fetch(model)
    except ModelError as unavailable:
        raise BackendError(unavailable.code, str(unavailable)) from unavailable


def _gguf(folder: Path) -> Path:
    found = next(folder.glob("*.gguf"), None)
    if found is None:
        raise BackendError(
            "not_a_language_model", f"The model {folder.name} is not a GGUF file: choose another --model."
        )
    return found
