"""Tools of the agent: typed Python functions that the model may call."""

from __future__ import annotations

import functools
import inspect
import logging
import re
import time
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, get_type_hints, overload

import anyio
import msgspec
from anyio import to_thread
from msgspec import UNSET, UnsetType

from vivavoce import plugins
from vivavoce.realtime import values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from vivavoce.ports import Tool

P = ParamSpec("P")
R = TypeVar("R")

LONGEST = 8_000
"""Characters of a result that the model is told: more is slow to read and drowns the conversation."""

THREADS = 4
"""Calls of one blocking function that run at once, those included that were given up but never returned."""

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_log = logging.getLogger(__name__)


class ToolError(Exception):
    """A call came to nothing for a reason that the model should be told and that needs no trace in the log."""


class ToolResult(msgspec.Struct, frozen=True):
    """What came of a call."""

    output: str
    """What the model is told; a JSON object with the key `error` where the call failed."""
    ok: bool
    seconds: float


class FunctionTool(Generic[P, R]):
    """A typed function as a tool: the port `Tool`, with the function itself under `function`."""

    def __init__(
        self,
        function: Callable[P, R],
        *,
        name: str | None = None,
        description: str | None = None,
        timeout: float = 10.0,
        examples: Sequence[str] = (),
    ) -> None:
        self.function = function
        self.name: str = name or str(getattr(function, "__name__", ""))
        if not _NAME.fullmatch(self.name):
            raise TypeError(f"{self.name!r} cannot name a tool: use 1 to 64 letters, digits, - and _.")
        about, about_parameters = _documentation(function)
        self.description = about if description is None else description
        self.timeout = timeout
        self.examples = tuple(examples)
        self._arguments = _arguments_type(function, self.name)
        self.parameters = _schema(self._arguments, inspect.signature(function), about_parameters)
        if examples:
            self.parameters[values.UTTERANCES] = list(examples)
        self._threads = anyio.CapacityLimiter(THREADS)

    async def __call__(self, arguments: dict[str, Any]) -> str:
        """Convert the arguments, run the function, in a thread unless it is async, and return its result as text.

        Raises:
            ToolError: they do not fit the signature.
        """
        call: Callable[[], Any] = functools.partial(self.function, **self._convert(arguments))
        if inspect.iscoroutinefunction(self.function):
            return _as_text(await call())
        return _as_text(await to_thread.run_sync(call, abandon_on_cancel=True, limiter=self._threads))

    def _convert(self, arguments: dict[str, Any]) -> dict[str, Any]:
        try:
            fitting = msgspec.convert(arguments, self._arguments, strict=False)
        except msgspec.ValidationError as wrong:
            raise ToolError(f"Wrong arguments for {self.name}: {_plain(str(wrong))}") from wrong
        given = ((field, getattr(fitting, field)) for field in self._arguments.__struct_fields__)
        return {field: value for field, value in given if value is not UNSET}


@overload
def tool(function: Callable[P, R], /) -> FunctionTool[P, R]: ...


@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float = 10.0,
    examples: Sequence[str] = (),
) -> Callable[[Callable[P, R]], FunctionTool[P, R]]: ...


def tool(function: Callable[P, R] | None = None, /, **options: Any) -> Any:
    """Make a tool of a typed function, sync or async; its docstring tells the model what it does.

    Args:
        function: the function where the decorator is used without arguments.
        **options: name, what the model calls it; description, instead of the docstring's; timeout, in seconds;
            examples, sentences of a user that should lead to a call.

    Raises:
        TypeError: a parameter has no annotation, or one that JSON cannot express.
    """
    if function is None:
        return functools.partial(FunctionTool, **options)
    return FunctionTool(function, **options)


class Toolbox:
    """The tools of one agent, by name."""

    def __init__(self, tools: Iterable[Tool | Callable[..., Any]] = ()) -> None:
        self._tools: dict[str, Tool] = {}
        for each in tools:
            self.add(each)

    def __len__(self) -> int:
        return len(self._tools)

    def add(self, new: Tool | Callable[..., Any]) -> None:
        """Add a tool, or a typed function as one.

        Raises:
            TypeError: it is neither.
            ValueError: there is a tool of that name already.
        """
        fitting = as_tool(new)
        if fitting.name in self._tools:
            raise ValueError(f"There are two tools called {fitting.name!r}: rename one with @tool(name=...).")
        self._tools[fitting.name] = fitting

    def definitions(self) -> list[values.FunctionTool]:
        """Return the tools as the session describes them to the model."""
        return [
            values.FunctionTool(name=each.name, description=each.description, parameters=each.parameters)
            for each in self._tools.values()
        ]

    async def run(self, name: str, arguments_json: str) -> ToolResult:
        """Run one call; whatever goes wrong becomes a result that tells the model so."""
        start = time.perf_counter()
        try:
            output, ok = _clip(await self._call(name, arguments_json)), True
        except ToolError as wrong:
            output, ok = _error(str(wrong)), False
        except (Exception, SystemExit) as failed:  # noqa: BLE001 - a tool may do anything, and the talk goes on
            _log.exception("The tool %r failed", name)
            output, ok = _error(f"{name} failed: {type(failed).__name__}: {failed}"), False
        return ToolResult(output, ok, time.perf_counter() - start)

    async def _call(self, name: str, arguments_json: str) -> str:
        called = self._tools.get(name)
        if called is None:
            raise ToolError(f"There is no tool {name!r}; there are: {', '.join(self._tools) or 'none'}")
        try:
            arguments = msgspec.json.decode(arguments_json.strip() or "{}", type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeEncodeError) as wrong:
            raise ToolError(f"The arguments of {name} are not a JSON object: {_plain(str(wrong))}") from wrong
        with anyio.move_on_after(called.timeout):
            return await called(arguments)
        _log.warning("The tool %r was given up after %g s", name, called.timeout)
        raise ToolError(f"{name} did not answer within {called.timeout:g} seconds")


def as_tool(candidate: Any) -> Tool:
    """Return a tool as it is, and a typed function as one.

    Raises:
        TypeError: it is neither.
    """
    if all(hasattr(candidate, name) for name in ("name", "description", "parameters", "timeout")):
        return candidate  # type: ignore[no-any-return]
    if callable(candidate) and not isinstance(candidate, type):
        return FunctionTool(candidate)
    raise TypeError(f"{candidate!r} is no tool: write a typed function, or decorate one with @tool.")


def load_tools(path: str) -> list[Tool]:
    """Return what "module:name" names: a tool, a function, or a list of either.

    Raises:
        PluginError: it is not there, or cannot be a tool.
    """
    found = plugins.load_object(path)
    try:
        return [as_tool(each) for each in (found if isinstance(found, list | tuple) else [found])]
    except TypeError as wrong:
        raise plugins.PluginError(f"{path!r} cannot be used: {wrong}") from wrong


def _arguments_type(function: Callable[..., Any], tool_name: str) -> type[msgspec.Struct]:
    """Return a struct with a field for each parameter; UNSET leaves the default to the function."""
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError as unknown:
        raise TypeError(
            f"The tool {tool_name!r} has an annotation that cannot be resolved ({unknown}): import it at run time."
        ) from unknown
    fields: list[tuple[Any, ...]] = []
    for name, parameter in inspect.signature(function).parameters.items():
        annotation = _checked(tool_name, parameter, hints.get(name))
        required = parameter.default is parameter.empty
        fields.append((name, annotation) if required else (name, annotation | UnsetType, UNSET))
    return msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=True)


def _checked(tool_name: str, parameter: inspect.Parameter, annotation: Any) -> Any:
    which = f"The parameter {parameter.name!r} of the tool {tool_name!r}"
    if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        raise TypeError(f"{which} cannot be passed by name: use plain or keyword-only parameters.")
    if annotation is None:
        raise TypeError(f"{which} has no type: annotate it, as in `{parameter.name}: str`.")
    try:
        msgspec.json.schema(annotation)
    except TypeError as unsupported:
        raise TypeError(
            f"{which} has the type {annotation!r}, which JSON cannot express: use str, int, float, bool, list, dict, "
            "Literal, Enum, a dataclass or a msgspec.Struct."
        ) from unsupported
    return annotation


def _schema(arguments: type[msgspec.Struct], signature: inspect.Signature, about: dict[str, str]) -> dict[str, Any]:
    """Return the JSON schema of the arguments, with descriptions and defaults."""
    _, parts = msgspec.json.schema_components([arguments], ref_template="#/$defs/{name}")
    schema: dict[str, Any] = parts.pop(arguments.__name__)
    del schema["title"]
    for name, described in schema["properties"].items():
        if name in about:
            described["description"] = about[name]
        default = signature.parameters[name].default
        if default is not signature.empty and default is not None:
            described["default"] = msgspec.to_builtins(default, enc_hook=str)
    schema.setdefault("required", [])
    return schema | ({"$defs": parts} if parts else {})


def _documentation(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """Return what the docstring says about the function and about each parameter."""
    from docstring_parser import parse

    parsed = parse(inspect.getdoc(function) or "")
    about = "\n\n".join(filter(None, (parsed.short_description, parsed.long_description)))
    return about, {each.arg_name: each.description for each in parsed.params if each.description}


def _as_text(result: Any) -> str:
    return result if isinstance(result, str) else msgspec.json.encode(result, enc_hook=str).decode()


def _clip(text: str) -> str:
    """Cut what is too long, and replace what UTF-8 cannot carry."""
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}\n[cut here: {len(text) - LONGEST:,} of {len(text):,} characters left out]"
    return text.encode("utf-8", "replace").decode()


def _error(message: str) -> str:
    return msgspec.json.encode({"error": _clip(message)}).decode()


def _plain(complaint: str) -> str:
    """Name arguments as the model wrote them, without the path syntax of msgspec."""
    return complaint.replace("`$.", "`").replace(" - at ", ": at ")
