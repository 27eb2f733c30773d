"""Any value of a type of the protocol, within its limits."""

from __future__ import annotations

from functools import cache
from typing import Any

from hypothesis import strategies as st
from msgspec import inspect

TEXT = st.text(max_size=8)
JSON = st.none() | st.booleans() | st.integers(-9, 9) | TEXT | st.dictionaries(TEXT, TEXT, max_size=2)


@cache
def any_of(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a struct or of a union."""
    return _of(inspect.type_info(kind))


def _of(info: inspect.Type) -> st.SearchStrategy[Any]:
    match info:
        case inspect.StructType():
            return _struct(info)
        case inspect.UnionType(types=types):
            return st.one_of([_of(one) for one in types])
        case inspect.Metadata(type=inner):
            return _of(inner)
        case inspect.LiteralType(values=values):
            return st.sampled_from(list(values))
        case inspect.IntType(ge=low, le=high):
            return st.integers(-(2**31) if low is None else low, 2**31 if high is None else high)
        case inspect.FloatType(ge=low, le=high):
            return st.floats(low, high, allow_nan=False, allow_infinity=False, width=32 if low is None else 64)
        case inspect.VarTupleType(item_type=item):
            return st.lists(_of(item), max_size=2).map(tuple)
        case inspect.ListType(item_type=item):
            return st.lists(_of(item), max_size=2)
        case inspect.DictType(key_type=key, value_type=value):
            return st.dictionaries(_of(key), _of(value), max_size=2)
        case _:
            return SIMPLE[type(info)]


def _struct(info: inspect.StructType) -> st.SearchStrategy[Any]:
    fields = {field.name: _of(field.type) for field in info.fields}
    required = {field.name: fields.pop(field.name) for field in info.fields if field.required}
    return st.fixed_dictionaries(required, optional=fields).map(lambda given: info.cls(**given))


SIMPLE: dict[type, st.SearchStrategy[Any]] = {
    inspect.StrType: TEXT,
    inspect.BoolType: st.booleans(),
    inspect.NoneType: st.none(),
    inspect.BytesType: st.binary(max_size=8),
    inspect.AnyType: JSON,
}
