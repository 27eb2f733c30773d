"""How often the embedded language model calls the right tool, with the right arguments, or rightly none.

    uv run benchmarks/tools.py [--model NAME …] [--built-in]

With --built-in: the gate alone, on the tools that the agent brings; what the weather tool alone scores beside it.

The utterances in `utterances.tsv` are spoken style, as a recogniser writes them; none is in the gate's bank. The bank
and they have one author: strangers' words will do worse.
"""

from __future__ import annotations

import argparse
import csv
import re
import time
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import msgspec
from anyio import to_thread
from rich.console import Console
from rich.table import Table

from vivavoce.agent import toolbox
from vivavoce.backends.llama import Llama
from vivavoce.ports import Call
from vivavoce.realtime.conversation import Prompt, PromptMessage, PromptTool
from vivavoce.realtime.values import UTTERANCES

MODELS = ("qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b")


class Utterance(NamedTuple):
    tool: str
    wanted: list[dict[str, str]]
    """Arguments of each call; empty where the agent must ask or they are not judged."""
    asks: bool
    text: str


class Score(NamedTuple):
    chosen: int
    """The right tool, or rightly none."""
    filled: int
    """Of the calls whose arguments are judged, those with the right ones (or a question where they were not said)."""
    judged: int
    seconds: list[float]
    """To the decision or the first word."""


def _tool(name: str, description: str, examples: list[str], **properties: dict[str, str]) -> PromptTool:
    schema: dict[str, Any] = {"type": "object", "properties": properties, "required": list(properties)}
    return PromptTool(name=name, description=description, parameters={**schema, UTTERANCES: examples})


TOOLS = (
    _tool(
        "get_weather",
        "Get the current weather and today's forecast for a place.",
        ["what is the weather in Lyon", "will it rain in Bergen today", "how warm is it in Quito"],
        city={"type": "string", "description": "City or place name, e.g. Paris"},
    ),
    _tool(
        "search_documents",
        "Search the company's documents and handbook for passages that answer a question.",
        ["what does the handbook say about training", "how much leave do we have", "find our rules on gifts"],
        query={"type": "string", "description": "What to look for"},
    ),
    _tool(
        "set_timer",
        "Set a timer that rings after a number of minutes.",
        ["set a timer for seven minutes", "one minute timer", "ring in an hour"],
        minutes={"type": "integer", "description": "Minutes until it rings"},
    ),
    _tool(
        "switch_light",
        "Turn the light in a room on or off.",
        ["turn on the lamp in the study", "lights off in the cellar", "make it bright in the nursery"],
        room={"type": "string", "description": "Name of the room"},
        on={"type": "boolean", "description": "true for on, false for off"},
    ),
    _tool("get_time", "Get the current date and time.", ["what time is it now", "what day is it", "tell me the date"]),
)


def utterances(name: str = "utterances.tsv") -> list[Utterance]:
    path = Path(__file__).with_name(name)
    with path.open(encoding="utf-8", newline="") as lines:
        rows = csv.reader((line for line in lines if not line.startswith("#")), delimiter="\t", quoting=csv.QUOTE_NONE)
        return [Utterance(tool, _wanted(wanted), wanted == "?", text) for tool, wanted, text in rows]


def _wanted(text: str) -> list[dict[str, str]]:
    if text in {"", "?"}:
        return []
    return [dict(pair.split("=") for pair in call.split(";")) for call in text.split("+")]


def without_examples(tool: PromptTool) -> PromptTool:
    return msgspec.structs.replace(tool, parameters={k: v for k, v in tool.parameters.items() if k != UTTERANCES})


async def answer(model: Llama, text: str, tools: tuple[PromptTool, ...]) -> tuple[list[Call], float]:
    """Return the calls, and the seconds until the first piece; speech is cut off at its first word."""
    prompt = Prompt(messages=(PromptMessage(role="user", text=text),), tools=tools)
    calls: list[Call] = []
    started, took = time.perf_counter(), 0.0
    async with aclosing(model.generate(prompt)) as pieces:
        async for piece in pieces:
            took = took or time.perf_counter() - started
            if not isinstance(piece, Call):
                break
            calls.append(piece)
    return calls, took


async def score(model: Llama, said: list[Utterance], tools: tuple[PromptTool, ...]) -> Score:
    names = {tool.name for tool in tools}
    chosen = filled = judged = 0
    seconds = []
    for utterance in said:
        calls, took = await answer(model, utterance.text, tools)
        seconds.append(took)
        expected = utterance.tool if utterance.tool in names and not utterance.asks else None
        right = {call.name for call in calls} == ({expected} if expected else set())
        chosen += right
        if utterance.tool in names and (utterance.wanted or utterance.asks):
            judged += 1
            filled += right and _same(calls, utterance.wanted)
        if not right:
            print(f"  {len(tools)} tools: {utterance.text!r}: wanted {expected}, got {[c.name for c in calls]}")
    return Score(chosen, filled, judged, seconds)


def _same(calls: list[Call], wanted: list[dict[str, str]]) -> bool:
    got = [{name: str(value).lower() for name, value in msgspec.json.decode(call.arguments).items()} for call in calls]
    return got == [{name: value.lower() for name, value in call.items()} for call in wanted]


async def gate_alone(model: Llama, said: list[Utterance], tools: tuple[PromptTool, ...]) -> int:
    """Count how often the gate, asked for no second opinion, is right; where the agent must ask, it must choose."""
    engines = await to_thread.run_sync(model._loaded)  # noqa: SLF001  # the gate is not part of the port
    gate = engines.gates.gate(tools)
    names = {tool.name for tool in tools}
    verdicts = [gate(utterance.text) for utterance in said]
    return sum(
        (verdict.tool if verdict.log_odds > 0 else None) == (utterance.tool if utterance.tool in names else None)
        for verdict, utterance in zip(verdicts, said, strict=True)
    )


async def built_in_tools() -> None:
    """Count how often the gate chooses rightly among the agent's own tools."""
    tools = tuple(
        PromptTool(name=each.name, description=each.description, parameters=each.parameters)
        for each in toolbox.built_in()
    )
    ours = {"get_time": "date_and_time"}
    general = [each._replace(tool=ours.get(each.tool, each.tool)) for each in utterances()]
    special = [each._replace(wanted=[], asks=False) for each in utterances("utterances_built_in.tsv")]
    sums = re.compile(r"two plus two")
    general = [each._replace(tool="calculator") if sums.search(each.text) else each for each in general]
    model = Llama(model=MODELS[0])
    await model.warm_up()
    for name, chosen, said in (
        ("weather alone, all", tools[:1], general),
        ("built in, all", tools, general),
        ("built in, own utterances", tools, special),
    ):
        print(f"{name}: {await gate_alone(model, said, chosen)} of {len(said)}")
    gate = (await to_thread.run_sync(model._loaded)).gates.gate(tools)  # noqa: SLF001
    names = {tool.name for tool in tools}
    for each in (*general, *special):
        verdict, wanted = gate(each.text), each.tool if each.tool in names else None
        if (verdict.tool if verdict.log_odds > 0 else None) != wanted:
            print(f"  {each.text!r}: wanted {wanted}, got {verdict.tool} ({verdict.log_odds:+.1f})")
    await model.aclose()


async def main(models: list[str]) -> None:
    said = utterances()
    table = Table(title=f"{len(said)} utterances")
    for heading in (
        "model",
        "tools",
        "examples",
        "gate alone",
        "right tool or none",
        "right arguments",
        "first, p50 s",
    ):
        table.add_column(heading)
    for name in models:
        model = Llama(model=name)
        await model.warm_up()
        for count in (1, 3, 5):
            for examples in (False, True):
                tools = tuple(tool if examples else without_examples(tool) for tool in TOOLS[:count])
                alone = await gate_alone(model, said, tools)
                result = await score(model, said, tools)
                middle = sorted(result.seconds)[len(said) // 2]
                cells = (str(alone), str(result.chosen), f"{result.filled}/{result.judged}", f"{middle:.2f}")
                table.add_row(name, str(count), "yes" if examples else "no", *cells)
        await model.aclose()
    Console(width=120).print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="append", help="a language model of the catalogue; repeatable")
    parser.add_argument("--built-in", action="store_true", help="the gate alone, on the agent's own tools")
    arguments = parser.parse_args()
    if arguments.built_in:
        anyio.run(built_in_tools)
    else:
        anyio.run(main, arguments.model or list(MODELS))
