"""Typed Python functions as tools: their schema, their arguments, and what they return."""

from __future__ import annotations

import functools
import inspect
import re
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, get_type_hints, overload

import anyio
import msgspec
from anyio import to_thread
from msgspec import UNSET, UnsetType

from vivavoce.realtime import values

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

P = ParamSpec("P")
R = TypeVar("R")

THREADS = 4
"""Calls of one blocking function that run at once, those included that were given up but never returned."""

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class ToolError(Exception):
    """A call came to nothing for a reason that the model should be told and that needs no trace in the log."""


class Found(msgspec.Struct, frozen=True):
    """A result with the sources that an answer from it should name."""

    output: Any
    """What the function would return else."""
    sources: tuple[values.Source, ...] = ()


class FunctionTool(Generic[P, R]):
    """A typed function as a tool: the port `Tool`, with the function itself under `function`.

    An async generator function runs long: the call returns the first thing that it yields, and each later one is
    told to the model when it comes.
    """

    def __init__(
        self,
        function: Callable[P, R],
        *,
        name: str | None = None,
        description: str | None = None,
        timeout: float = 10.0,
        examples: Sequence[str] = (),
        cancel_on_interrupt: bool = False,
        long_running: bool = False,
        filler: str | None = None,
        confirm: bool | str = False,
    ) -> None:
        self.function = function
        self.name: str = name or str(getattr(function, "__name__", ""))
        if not _NAME.fullmatch(self.name):
            raise TypeError(f"{self.name!r} cannot name a tool: use 1 to 64 letters, digits, - and _.")
        about, about_parameters = _documentation(function)
        self.description = about if description is None else description
        self.timeout = timeout
        self.examples = tuple(examples)
        self.cancel_on_interrupt = cancel_on_interrupt
        self.long_running = long_running
        self.filler = filler
        self.confirm = confirm
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
        async with aclosing(self.outcomes(arguments)) as outcomes:
            return str((await anext(outcomes)).output)

    async def outcomes(self, arguments: dict[str, Any]) -> AsyncGenerator[Found, None]:
        """Run the function and yield what it returns, or each thing that it yields, as text.

        Raises:
            ToolError: the arguments do not fit the signature.
        """
        call: Callable[[], Any] = functools.partial(self.function, **self._convert(arguments))
        if inspect.isasyncgenfunction(self.function):
            async with aclosing(call()) as pieces:
                async for piece in pieces:
                    yield _found(piece)
        elif inspect.iscoroutinefunction(self.function):
            yield _found(await call())
        else:
            yield _found(await to_thread.run_sync(call, abandon_on_cancel=True, limiter=self._threads))

    def _convert(self, arguments: dict[str, Any]) -> dict[str, Any]:
        try:
            fitting = msgspec.convert(arguments, self._arguments, strict=False)
        except msgspec.ValidationError as wrong:
            raise ToolError(f"Wrong arguments for {self.name}: {plain(str(wrong))}") from wrong
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
    cancel_on_interrupt: bool = False,
    long_running: bool = False,
    filler: str | None = None,
    confirm: bool | str = False,
) -> Callable[[Callable[P, R]], FunctionTool[P, R]]: ...


def tool(function: Callable[P, R] | None = None, /, **options: Any) -> Any:
    """Make a tool of a typed function, sync or async; its docstring tells the model what it does.

    Args:
        function: the function where the decorator is used without arguments.
        **options: name, what the model calls it; description, instead of the docstring's; timeout, in seconds;
            examples, sentences of a user that should lead to a call; and how it is run, as in `Conduct`.

    Raises:
        TypeError: a parameter has no annotation, or one that JSON cannot express.
    """
    if function is None:
        return functools.partial(FunctionTool, **options)
    return FunctionTool(function, **options)


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


def _found(result: Any) -> Found:
    found = result if isinstance(result, Found) else Found(result)
    return Found(_as_text(found.output), found.sources)


def _as_text(result: Any) -> str:
    return result if isinstance(result, str) else msgspec.json.encode(result, enc_hook=str).decode()


def plain(complaint: str) -> str:
    """Name arguments as the model wrote them, without the path syntax of msgspec."""
    return complaint.replace("`$.", "`").replace(" - at ", ": at ")
