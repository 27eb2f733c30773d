"""The gate that chooses tools, with the real embeddings."""

from __future__ import annotations

import pytest

from vivavoce.backends.gate import Gatekeeper
from vivavoce.backends.minilm import MODEL, MiniLM
from vivavoce.models import ModelError, fetch
from vivavoce.realtime.conversation import PromptTool
from vivavoce.realtime.values import UTTERANCES

WEATHER = PromptTool(name="get_weather", description="Get the current weather and today's forecast for a place.")
LOOKUP = PromptTool(name="lookup", description="Answers questions from the company's documents.")
LIGHTS = PromptTool(name="lampControl", description="Controls the smart lamps.")


@pytest.fixture(scope="module")
def keeper() -> Gatekeeper:
    try:
        fetch(MODEL)
    except ModelError as error:
        pytest.skip(str(error))
    return Gatekeeper(MiniLM())


@pytest.mark.parametrize(
    ("words", "tool"),
    [
        ("what is the weather in Paris", "get_weather"),
        ("whats the whether like in paris today", "get_weather"),
        ("Do I need an umbrella in Bergen?", "get_weather"),
        ("what does the handbook say about holidays", "lookup"),
        ("could you switch the light in the hall on", "lampControl"),
        ("tell me a joke", None),
        ("How are you?", None),
        ("what is the capital of France", None),
        ("who wrote Hamlet", None),
        ("why does it snow", None),
    ],
)
def test_descriptions_alone_choose(keeper, words, tool):
    verdict = keeper.gate([WEATHER, LOOKUP, LIGHTS])(words)
    assert (verdict.tool if verdict.log_odds > 0 else None) == tool


def test_examples_teach_what_a_description_does_not_say(keeper):
    words = "is the big machine still running"
    dull = PromptTool(name="query", description="Query the status endpoint.")
    taught = PromptTool(
        name="query",
        description="Query the status endpoint.",
        parameters={UTTERANCES: ["is the machine running", "did the press stop", "how is the large machine doing"]},
    )
    assert keeper.gate([dull])(words).log_odds < keeper.gate([taught])(words).log_odds
    assert keeper.gate([taught])(words).log_odds > 0


def test_a_set_of_tools_is_trained_once(keeper):
    assert keeper.gate([WEATHER, LOOKUP]) is keeper.gate([WEATHER, LOOKUP])
    assert keeper.gate([WEATHER, LOOKUP]) is not keeper.gate([WEATHER])


def test_survives_what_is_no_utterance(keeper):
    nameless = PromptTool(name="x", parameters={UTTERANCES: "not a list"})
    for words in ("", "?!", "word " * 1000):
        assert keeper.gate([nameless])(words).log_odds < 10
