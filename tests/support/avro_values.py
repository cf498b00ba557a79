"""Hypothesis strategies for the values of an Avro type."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, assert_never

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from schemas.avro.json_form import embedding, is_absent, is_members
from schemas.avro.types import Array, AvroType, Enum, Fixed, Map, Primitive, Record, Reference, Union

# UTF-8 encodes all characters except surrogates.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
_SIMPLE: dict[str, SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "long": st.integers(-(2**63), 2**63 - 1),
    "string": TEXT,
}
# Any JSON value as a Python object, with integers beyond 64 bits and decimals beyond a double.
_BIG = st.integers(-(10**60), 10**60)
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False).map(lambda number: number.normalize())
JSON: SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | _BIG | DECIMALS | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(TEXT, JSON, max_size=5)
_EMBEDDED: dict[str, SearchStrategy[Any]] = {
    "raw": JSON,
    "object": OBJECTS,
    "integer": _BIG,
    "decimal": _BIG | DECIMALS,
}


def json_values_of(node: AvroType) -> SearchStrategy[Any]:
    """Return a strategy for all JSON values of a type, including the additions of schemas/avro/json_form.py."""
    values: SearchStrategy[Any]
    match node:
        case Primitive():
            embedded = embedding(node)
            values = _SIMPLE[node.name] if embedded is None else _EMBEDDED[embedded]
        case Record():
            values = _objects_of(node)
        case Array():
            values = st.lists(json_values_of(node.items), max_size=3)
        case Map():
            values = st.dictionaries(TEXT, json_values_of(node.values), max_size=3)
        case Union():
            values = st.one_of([json_values_of(branch) for branch in node.branches])
        case Enum():
            values = st.sampled_from(node.symbols)
        case Reference():
            values = st.deferred(lambda: json_values_of(node.target))
        case Fixed():
            raise ValueError("JSON has no bytes")
        case _:
            assert_never(node)
    return values


def _objects_of(record: Record) -> SearchStrategy[dict[str, Any]]:
    """Return a strategy for objects; optional keys may be absent but not null, members are any further keys."""
    required = {}
    optional = {}
    names = {field.name for field in record.fields if not is_members(field)}
    members: SearchStrategy[dict[str, Any]] = st.just({})
    for field in record.fields:
        if is_members(field):
            assert isinstance(field.type, Map)
            inner = json_values_of(field.type.values)
            members = st.dictionaries(TEXT.filter(lambda key: key not in names), inner, max_size=3)
        elif is_absent(field):
            assert isinstance(field.type, Union)
            optional[field.name] = st.one_of([json_values_of(branch) for branch in field.type.others])
        else:
            required[field.name] = json_values_of(field.type)
    known = st.fixed_dictionaries(required, optional=optional)
    return st.tuples(known, members).map(lambda both: both[0] | both[1])


def exact(value: Any) -> str:
    """Return JSON as the module `json` writes it, with exact decimals: parse it with `parse_float=Decimal`."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k, ensure_ascii=False)}:{exact(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(exact, value)) + "]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=False)
