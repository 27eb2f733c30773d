"""Functions become tools, and whatever a model or a tool does becomes a result."""

from __future__ import annotations

import dataclasses
import enum
import json
import logging
import sys
import threading
import types
from typing import TYPE_CHECKING, Annotated, Any, Literal

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.agent.tools import FunctionTool, Toolbox, ToolError, load_tools, tool
from vivavoce.plugins import PluginError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vivavoce.ports import Tool

pytestmark = pytest.mark.anyio


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Place:
    street: str
    number: int = 1


class Order(msgspec.Struct):
    dish: str
    spicy: bool = False


def plain(city: str, days: int = 3) -> str:
    """Forecast the weather.

    With a second paragraph.

    Args:
        city: Where.
        days: How far ahead.
    """
    return f"{city} {days}"


def sphinx(city: str) -> str:
    """Forecast.

    :param city: Where.
    """
    return city


def numpydoc(city: str) -> str:
    """Forecast.

    Parameters
    ----------
    city : str
        Where.
    """
    return city


def choices(size: Literal["small", "large"], colour: Colour, name: str | None = None) -> None: ...
def nested(place: Place, orders: list[Order], *, tags: list[str] = ["a"]) -> None: ...  # noqa: B006
def bounded(percent: Annotated[int, msgspec.Meta(ge=0, le=100, description="How much.")]) -> None: ...
def anything(extra: Any = 1) -> None: ...
def nothing() -> None: ...


@pytest.mark.parametrize(
    ("function", "properties", "required"),
    [
        (
            plain,
            {
                "city": {"type": "string", "description": "Where."},
                "days": {"type": "integer", "description": "How far ahead.", "default": 3},
            },
            ["city"],
        ),
        (sphinx, {"city": {"type": "string", "description": "Where."}}, ["city"]),
        (numpydoc, {"city": {"type": "string", "description": "Where."}}, ["city"]),
        (
            choices,
            {
                "size": {"enum": ["large", "small"]},
                "colour": {"$ref": "#/$defs/Colour"},
                "name": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            },
            ["size", "colour"],
        ),
        (
            nested,
            {
                "place": {"$ref": "#/$defs/Place"},
                "orders": {"type": "array", "items": {"$ref": "#/$defs/Order"}},
                "tags": {"type": "array", "items": {"type": "string"}, "default": ["a"]},
            },
            ["place", "orders"],
        ),
        (
            bounded,
            {"percent": {"type": "integer", "minimum": 0, "maximum": 100, "description": "How much."}},
            ["percent"],
        ),
        (anything, {"extra": {"default": 1}}, []),
        (nothing, {}, []),
    ],
)
def test_the_schema_of_a_signature(function: Any, properties: dict[str, Any], required: list[str]) -> None:
    schema = dict(tool(function).parameters)
    definitions = schema.pop("$defs", {})
    assert schema == {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
    for reference in set(json.dumps(properties).split("#/$defs/")[1:]):
        assert reference.split('"')[0] in definitions


def test_the_description_and_the_options() -> None:
    assert tool(plain).description == "Forecast the weather.\n\nWith a second paragraph."
    made = tool(name="say", description="Speak.", timeout=2, examples=["Say hello"])(plain)
    assert (made.name, made.description, made.timeout) == ("say", "Speak.", 2)
    assert made.parameters["x-utterances"] == ["Say hello"]
    assert made.function("Rome", 1) == "Rome 1"
    port: Tool = made
    assert port.name == "say"


def untyped(city): ...
def variadic(*cities: str) -> None: ...
def keywords(**cities: str) -> None: ...
def positional(city: str, /) -> None: ...
def strange(when: threading.Thread) -> None: ...
def unresolved(when: Unheard) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (untyped, "'city' of the tool 'untyped' has no type: annotate it"),
        (variadic, "'cities' of the tool 'variadic' cannot be passed by name"),
        (keywords, "'cities' of the tool 'keywords' cannot be passed by name"),
        (positional, "'city' of the tool 'positional' cannot be passed by name"),
        (strange, r"'when' of the tool 'strange' has the type <class 'threading.Thread'>, which JSON cannot"),
        (unresolved, "'unresolved' has an annotation that cannot be resolved .*'Unheard'"),
        (lambda: None, "'<lambda>' cannot name a tool"),
    ],
)
def test_a_signature_that_cannot_be_a_tool(function: Callable[..., Any], complaint: str) -> None:
    with pytest.raises(TypeError, match=complaint):
        tool(function)


@given(
    st.fixed_dictionaries(
        {"text": st.text(), "count": st.integers(-(2**63), 2**63 - 1), "ratio": st.floats(allow_nan=False)},
        optional={"flag": st.booleans(), "words": st.lists(st.text()), "maybe": st.none() | st.text()},
    )
)
def test_arguments_make_the_round_trip(arguments: dict[str, Any]) -> None:
    seen: dict[str, Any] = {}

    def record(
        text: str,
        count: int,
        ratio: float,
        flag: bool = False,
        words: list[str] = [],  # noqa: B006
        maybe: str | None = "x",
    ) -> None:
        seen.update(text=text, count=count, ratio=ratio, flag=flag, words=words, maybe=maybe)

    # JSON has no infinity: the encoder writes null, which no float is.
    encoded = msgspec.json.encode(arguments).decode()
    result = anyio.run(Toolbox([record]).run, "record", encoded)
    if abs(arguments["ratio"]) == float("inf"):
        assert not result.ok
    else:
        assert result.ok, result.output
        assert seen == {"flag": False, "words": [], "maybe": "x"} | arguments


async def test_arguments_arrive_as_the_types_of_the_signature() -> None:
    seen: list[Any] = []

    def record(place: Place, colour: Colour, count: int) -> None:
        seen.extend((place, colour, count))

    result = await Toolbox([record]).run("record", '{"place": {"street": "Elm"}, "colour": "red", "count": "7"}')
    assert result.ok
    assert result.output == "null"
    assert seen == [Place("Elm", 1), Colour.RED, 7]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ('{"days": 1}', "Wrong arguments for plain: Object missing required field `city`"),
        ('{"city": "x", "days": "many"}', "Expected `int`, got `str`: at `days`"),
        ('{"city": "x", "weeks": 1}', "unknown field `weeks`"),
        ("[1]", "The arguments of plain are not a JSON object: Expected `object`, got `array`"),
        ('{"city', "The arguments of plain are not a JSON object: Input data was truncated"),
        ('{"city": "\ud800"}', "not a JSON object"),
    ],
)
async def test_wrong_arguments_are_explained_to_the_model(arguments: str, complaint: str) -> None:
    result = await Toolbox([plain]).run("plain", arguments)
    assert not result.ok
    assert complaint in json.loads(result.output)["error"]


@pytest.mark.parametrize("arguments", ["", "{}", "  "])
async def test_no_arguments_may_be_left_out(arguments: str) -> None:
    assert (await Toolbox([nothing]).run("nothing", arguments)).ok


async def test_an_unknown_tool_is_answered_with_those_there_are() -> None:
    result = await Toolbox([plain, nothing]).run("plane", "{}")
    assert json.loads(result.output) == {"error": "There is no tool 'plane'; there are: plain, nothing"}
    assert not result.ok


async def test_an_async_tool_that_takes_too_long_is_cancelled() -> None:
    cancelled = anyio.Event()

    @tool(timeout=0.05)
    async def slow() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    result = await Toolbox([slow]).run("slow", "{}")
    assert json.loads(result.output) == {"error": "slow did not answer within 0.05 seconds"}
    assert cancelled.is_set()
    assert result.seconds >= 0.05


async def test_a_blocking_tool_that_takes_too_long_is_left_behind() -> None:
    release, left = threading.Event(), threading.Event()

    @tool(timeout=0.05)
    def slow() -> None:
        release.wait(10)
        left.set()

    result = await Toolbox([slow]).run("slow", "{}")
    assert json.loads(result.output) == {"error": "slow did not answer within 0.05 seconds"}
    assert not left.is_set()
    release.set()
    await anyio.to_thread.run_sync(left.wait, 10)


async def test_a_blocking_tool_does_not_hold_up_the_event_loop() -> None:
    """The tool waits for what only the event loop can do: it would never end if it ran there."""
    release = threading.Event()

    def wait() -> bool:
        return release.wait(10)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_set_soon, release)
        result = await Toolbox([wait]).run("wait", "{}")
    assert result.output == "true"


async def _set_soon(event: threading.Event) -> None:
    await anyio.sleep(0.01)
    event.set()


async def test_cancellation_passes_through() -> None:
    async def forever() -> None:
        await anyio.sleep_forever()

    with anyio.move_on_after(0.02) as scope:
        await Toolbox([forever]).run("forever", "{}")
        pytest.fail("the cancellation was swallowed")
    assert scope.cancelled_caught


def fails() -> None:
    raise ValueError("no such star")


async def fails_later() -> None:
    raise KeyError("star")


def leaves() -> None:
    sys.exit("bye")


def its_own_timeout() -> None:
    raise TimeoutError("upstream")


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (fails, "fails failed: ValueError: no such star"),
        (fails_later, "fails_later failed: KeyError: 'star'"),
        (leaves, "leaves failed: SystemExit: bye"),
        (its_own_timeout, "its_own_timeout failed: TimeoutError: upstream"),
    ],
)
async def test_a_tool_that_fails_is_logged_once(
    function: Callable[..., Any], complaint: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "vivavoce"):
        result = await Toolbox([function]).run(function.__name__, "{}")
    assert not result.ok
    assert json.loads(result.output) == {"error": complaint}
    assert len(caplog.records) == 1


async def test_a_tool_may_say_what_is_wrong(caplog: pytest.LogCaptureFixture) -> None:
    def closed() -> None:
        raise ToolError("We are closed")

    result = await Toolbox([closed]).run("closed", "{}")
    assert (result.output, result.ok) == ('{"error":"We are closed"}', False)
    assert not caplog.records


@pytest.mark.parametrize(
    ("value", "output"),
    [
        ("as it is", "as it is"),
        ({"a": [1, None]}, '{"a":[1,null]}'),
        (Order("soup"), '{"dish":"soup","spicy":false}'),
        (Colour.RED, '"red"'),
        (3 + 4j, '"(3+4j)"'),
        ("lone \ud800 surrogate", "lone ? surrogate"),
    ],
)
async def test_results_become_text(value: Any, output: str) -> None:
    @tool
    def give() -> Any:
        return value

    assert (await Toolbox([give]).run("give", "{}")).output == output


async def test_a_long_result_is_cut_with_a_notice() -> None:
    @tool
    def long() -> str:
        return "x" * 20_000

    output = (await Toolbox([long]).run("long", "{}")).output
    assert output == "x" * 8000 + "\n[cut here: 12,000 of 20,000 characters left out]"


def test_a_toolbox_describes_its_tools_for_the_wire() -> None:
    box = Toolbox([tool(plain), nothing])
    encoded = msgspec.to_builtins(box.definitions())
    assert [each["name"] for each in encoded] == ["plain", "nothing"]
    assert encoded[0]["type"] == "function"
    assert encoded[0]["parameters"]["required"] == ["city"]
    assert len(box) == 2


def test_two_tools_of_one_name() -> None:
    with pytest.raises(ValueError, match="two tools called 'plain'"):
        Toolbox([plain, plain])


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    made = types.ModuleType("some_tools")
    made.function, made.tool, made.both = plain, tool(name="other")(plain), [plain, tool(nothing)]  # type: ignore[attr-defined]
    made.number, made.kind = 7, Place  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "some_tools", made)
    return made


@pytest.mark.parametrize(
    ("path", "names"), [("function", ["plain"]), ("tool", ["other"]), ("both", ["plain", "nothing"])]
)
def test_tools_are_loaded_by_path(module: types.ModuleType, path: str, names: list[str]) -> None:
    assert [each.name for each in load_tools(f"some_tools:{path}")] == names


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("some_tools:number", "cannot be used: 7 is no tool: write a typed function"),
        ("some_tools:kind", "is no tool"),
        ("some_tools:missing", "has no 'missing'"),
        ("no_tools:x", "no module 'no_tools'"),
    ],
)
def test_what_is_no_tool_cannot_be_loaded(module: types.ModuleType, path: str, complaint: str) -> None:
    with pytest.raises(PluginError, match=complaint):
        load_tools(path)


async def test_a_method_is_a_tool() -> None:
    class House:
        def __init__(self) -> None:
            self.lit: list[str] = []

        def light(self, room: str) -> str:
            """Switch a light on."""
            self.lit.append(room)
            return "done"

    house = House()
    light = FunctionTool(house.light)
    assert await light({"room": "hall"}) == "done"
    assert house.lit == ["hall"]
    assert list(light.parameters["properties"]) == ["room"]
