"""What the embedded language model is told, in ChatML, and how its tool arguments are checked; no I/O."""

from __future__ import annotations

import itertools
import re
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from vivavoce.realtime.conversation import Prompt, PromptMessage, PromptTool

END: Final = "<|im_end|>"
START: Final = "<|im_start|>"

SPOKEN: Final = (
    "Your words are spoken aloud. Answer at once, in one to three short sentences of plain, friendly speech, as a "
    "person would say them. Never use lists, numbering, code, symbols or markdown."
)
"""Put before the caller's instructions: the models of the catalogue are trained to write documents."""

UNSPEAKABLE: Final = [
    [token, False]
    for token in (
        *("\n", " \n", ".\n", ":\n", "!\n", "?\n", "\n\n", " \n\n", ".\n\n", ":\n\n", "!\n\n", "?\n\n", "\n\n\n"),
        *("*", " *", "**", " **", "#", " #", "##", "###", "```", "<tool_call>"),
    )
]
"""Tokens that begin lists, headings, code and calls; without them the answer is one paragraph."""

_FROM_DATA: Final = 'Here is what the tool returned, as data:\n"{}"\nTell me the answer in one short spoken sentence.'
"""Said by the user, and after the data: so the models neither refuse nor obey what the data says."""
_FILL: Final = (
    "Fill in the arguments of a function call as JSON, one object for each call that the user asks for now. "
    "Use only what the user said; null where the user did not say it."
)
_JUDGE: Final = (
    "Does the user ask for this function? Answer yes or no. Small talk and questions that everyone can answer are no."
)

_TABLE: Final = "book_table: Book a table in a restaurant. Arguments: restaurant (string), people (integer)"
_SONG: Final = "play_song: Play a song. Arguments: title (string), loud (boolean)"
_TRAIN: Final = "find_train: Find trains to a city. Arguments: city (string)"

_FILLED: Final = (
    (f"{_TABLE}\nUser: book a table for four at Luigi's please", '[{"restaurant": "Luigi\'s", "people": 4}]'),
    (f"{_TABLE}\nUser: can you get us a table", '[{"restaurant": null, "people": null}]'),
    (f"{_SONG}\nUser: play yesterday but softly", '[{"title": "Yesterday", "loud": false}]'),
    (f"{_TRAIN}\nUser: when does the next one leave", '[{"city": null}]'),
    (f"{_TRAIN}\nUser: uh whats the next train to los angeles today", '[{"city": "Los Angeles"}]'),
    (f"{_TRAIN}\nUser: trains to boston and to salt lake city", '[{"city": "Boston"}, {"city": "Salt Lake City"}]'),
    (
        f"{_TRAIN}\nUser: is there a train to boston\nAgent: Yes, it leaves at nine.\nUser: and to denver",
        '[{"city": "Denver"}]',
    ),
)
_JUDGED: Final = (
    ("Play a song.", "let me hear some mozart", "yes"),
    ("Play a song.", "who composed the magic flute", "no"),
    ("Book a table in a restaurant.", "how is a good restaurant run", "no"),
    ("Book a table in a restaurant.", "could we sit at luigi's tonight for dinner the four of us", "yes"),
    ("Find trains to a city.", "I like trains very much", "no"),
    ("Find trains to a city.", "when can i go to los angeles by rail", "yes"),
    ("Find trains to a city.", "how far is boston", "no"),
)

_REMEMBERED: Final = 4
"""Messages that the filling of arguments looks back on."""
_LONGEST_LINE: Final = 600
"""Characters of one of them."""
_LIKENESS: Final = 0.75
"""Similarity from which a recogniser's spelling counts as the word."""
_QUERIES: Final = frozenset(["query", "question", "search", "q"])
"""Names of arguments that the user's own words are good for."""
_LONGEST_VALUE: Final = 120
_LARGEST_NUMBER: Final = 1_000_000
_NUMBER: Final = re.compile(
    r"\d|\b(zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|twenty|thirty|forty|fifty|"
    r"sixty|seventy|eighty|ninety|hundred|thousand|half|quarter|couple|dozen|"
    r"an? (second|minute|hour|day|week|month|year))\b",
    re.IGNORECASE,
)


def talk(prompt: Prompt, *, hint: str = "", opening: str = "") -> str:
    """Return the conversation up to where the model speaks.

    Args:
        prompt: the conversation.
        hint: a last word to the model.
        opening: how the model has begun to speak.
    """
    # What is the same for everybody comes first: it is read once.
    system = f"{SPOKEN}\n\n{prompt.instructions}".strip()
    hints = [_said("system", hint)] if hint else []
    return "".join([_said("system", system), *_history(prompt.messages), *hints, f"{START}assistant\n{opening}"])


def ahead(prompt: Prompt) -> str:
    """Return the conversation up to where the user speaks, or goes on speaking."""
    so_far = talk(prompt).removesuffix(f"{START}assistant\n")
    if prompt.messages and prompt.messages[-1].role == "user":
        return so_far.removesuffix(f"{END}\n")
    return f"{so_far}{START}user\n"


def fill(tool: PromptTool, messages: Sequence[PromptMessage]) -> str:
    """Return the question for the arguments of a tool."""
    question = f"{_signature(tool)}\n{_dialogue(messages)}"
    return _few_shot(_FILL, _FILLED, question)


def judge(tool: PromptTool, utterance: str) -> str:
    """Return the question whether the user asks for a tool."""
    examples = [(f"Function: {does}\nUser: {said}", answer) for does, said, answer in _JUDGED]
    return _few_shot(_JUDGE, examples, f"Function: {tool.description or tool.name}\nUser: {utterance}")


def question(tool: PromptTool, name: str) -> tuple[str, str]:
    """Return the hint that makes the model ask for an argument, and how the question begins."""
    spoken = name.replace("_", " ")
    number = _properties(tool).get(name, {}).get("type") in {"integer", "number"}
    hint = f"The user wants this: {tool.description or tool.name} Ask the user for the {spoken}, in one short question."
    return hint, f"How many {spoken}" if number and spoken.endswith("s") else f"Which {spoken}"


def filled_schema(tool: PromptTool, most: int) -> dict[str, Any]:
    """Return the schema of an array of arguments, in which whatever the user did not say is null."""
    properties = {name: _nullable(schema) for name, schema in _properties(tool).items()}
    one = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return {"type": "array", "items": one, "minItems": 1, "maxItems": most}


def grounded(tool: PromptTool, arguments: Mapping[str, Any], said: str) -> dict[str, Any]:
    """Keep the arguments that stand on what the user said."""
    schemas = _properties(tool)
    return {name: value for name, value in arguments.items() if _stands(value, schemas.get(name, {}), said)}


def searched(tool: PromptTool, arguments: Mapping[str, Any], words: str) -> dict[str, Any]:
    """Let a search without a query take the words that asked for it."""
    return {**arguments, **{name: words for name in missing(tool, arguments) if name in _QUERIES}}


def missing(tool: PromptTool, arguments: Mapping[str, Any]) -> list[str]:
    """List the required arguments that are not there."""
    return [name for name in tool.parameters.get("required", ()) if name not in arguments]


def shorter(prompt: Prompt) -> Prompt:
    """Forget the oldest third of the conversation, or where it is one message, half of the longest text.

    A third at once, so that a long conversation is not moved at each of its turns.
    """
    messages = prompt.messages
    if len(messages) > 1:
        first = (len(messages) + 2) // 3
        while first < len(messages) - 1 and messages[first].role != "user":
            first += 1
        return msgspec.structs.replace(prompt, messages=messages[first:])
    text = messages[0].text if messages else ""
    if len(prompt.instructions) > len(text):
        return msgspec.structs.replace(prompt, instructions=prompt.instructions[: len(prompt.instructions) // 2])
    return msgspec.structs.replace(prompt, messages=tuple(_halved(message) for message in messages))


def _halved(message: PromptMessage) -> PromptMessage:
    return msgspec.structs.replace(message, text=message.text[len(message.text) // 2 :])


def _history(messages: Iterable[PromptMessage]) -> Iterator[str]:
    """Yield what was said; a call is not told, or the models would speak in calls from then on."""
    for role, group in itertools.groupby(messages, key=lambda message: message.role):
        texts = [message.text for message in group if message.text]
        if role == "tool":
            yield _said("user", _FROM_DATA.format("\n".join(texts)))
        else:
            yield from (_said(role, text) for text in texts)


def _said(role: str, text: str) -> str:
    return f"{START}{role}\n{_quoted(text)}{END}\n"


def _quoted(text: str) -> str:
    """Break what would be read as the end of a message."""
    return re.sub(r"<\|(\w+)\|>", r"< |\1| >", text)


def _few_shot(system: str, examples: Iterable[tuple[str, str]], question: str) -> str:
    shots = "".join(_said("user", asked) + _said("assistant", answer) for asked, answer in examples)
    return f"{_said('system', system)}{shots}{_said('user', question)}{START}assistant\n"


def _signature(tool: PromptTool) -> str:
    arguments = ", ".join(_parameter(name, schema) for name, schema in _properties(tool).items())
    return f"{tool.name}: {tool.description} Arguments: {arguments}"


def _parameter(name: str, schema: Mapping[str, Any]) -> str:
    # An example in a description would be taken for what the user said.
    described = re.split(r"[,;(]?\s*(?:e\.g\.|for example|such as|like)", schema.get("description", ""))[0]
    return f"{name} ({': '.join(filter(None, [str(schema.get('type', 'any')), described]))})"


def _dialogue(messages: Sequence[PromptMessage]) -> str:
    names = {"user": "User", "assistant": "Agent"}
    lines = [
        f"{names[message.role]}: {message.text[-_LONGEST_LINE:]}"
        for message in messages
        if message.role in names and message.text
    ]
    return "\n".join(lines[-_REMEMBERED:])


def _properties(tool: PromptTool) -> dict[str, dict[str, Any]]:
    properties: dict[str, dict[str, Any]] = tool.parameters.get("properties", {})
    return properties


def _nullable(schema: Mapping[str, Any]) -> dict[str, Any]:
    bounded = {key: value for key, value in schema.items() if key != "description"}
    if bounded.get("type") == "string" and "enum" not in bounded:
        bounded.setdefault("maxLength", _LONGEST_VALUE)
    if bounded.get("type") in {"integer", "number"}:
        bounded.setdefault("maximum", _LARGEST_NUMBER)
    return {"anyOf": [bounded, {"type": "null"}]}


def _stands(value: Any, schema: Mapping[str, Any], said: str) -> bool:
    if value is None:
        return False
    if "enum" in schema or isinstance(value, bool):
        return True
    if isinstance(value, int | float):
        return _NUMBER.search(said) is not None
    return not isinstance(value, str) or _mentioned(value, said)


def _mentioned(value: str, said: str) -> bool:
    """Tell whether the user spoke at least half the words of a value, as a recogniser may spell them."""
    heard = _words(said)
    words = _words(value)
    spoken = [any(SequenceMatcher(None, word, other).ratio() >= _LIKENESS for other in heard) for word in words]
    return bool(words) and 2 * sum(spoken) >= len(words)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
