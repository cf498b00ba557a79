"""Hypothesis strategies for the values that an Avro schema allows."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

# What UTF-8 can hold: all characters but halves of surrogate pairs.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
_SIMPLE: dict[str, SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "long": st.integers(-(2**63), 2**63 - 1),
    "string": TEXT,
}
# Any JSON, with integers and decimals beyond 64 bits and beyond a double; as a program has it.
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


def json_values_of(schema: Any) -> SearchStrategy[Any]:
    """Return a strategy for all JSON values that a schema allows, with what schemas/json_form.py adds to Avro."""
    if isinstance(schema, list):
        return st.one_of([json_values_of(branch) for branch in schema])
    kind = schema if isinstance(schema, str) else schema["type"]
    if kind == "string" and isinstance(schema, dict) and "json" in schema:
        return _EMBEDDED[schema["json"]]
    if kind == "record":
        return _objects_of(schema)
    if kind == "array":
        return st.lists(json_values_of(schema["items"]), max_size=3)
    if kind == "map":
        return st.dictionaries(TEXT, json_values_of(schema["values"]), max_size=3)
    return _SIMPLE[kind] if isinstance(kind, str) else json_values_of(kind)


def _objects_of(record: Any) -> SearchStrategy[dict[str, Any]]:
    """An absent key is absent, not null; members are any further keys."""
    required, optional = {}, {}
    names = {field["name"] for field in record["fields"] if field.get("json") != "members"}
    members: SearchStrategy[dict[str, Any]] = st.just({})
    for field in record["fields"]:
        if field.get("json") == "members":
            inner = json_values_of(field["type"]["values"])
            members = st.dictionaries(TEXT.filter(lambda key: key not in names), inner, max_size=3)
        elif field.get("absent"):
            optional[field["name"]] = json_values_of([branch for branch in field["type"] if branch != "null"])
        else:
            required[field["name"]] = json_values_of(field["type"])
    known = st.fixed_dictionaries(required, optional=optional)
    return st.tuples(known, members).map(lambda both: both[0] | both[1])


def exact(value: Any) -> str:
    """Return JSON as Python's own library writes it, decimals as they are: compare it with `parse_float=Decimal`."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k, ensure_ascii=False)}:{exact(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(exact, value)) + "]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=False)


def values_of(schema: Any, named: dict[str, Any] | None = None) -> SearchStrategy[Any]:
    """Return a strategy for all values of a schema of records, unions, strings, numbers and booleans."""
    named = {} if named is None else named
    if isinstance(schema, list):
        return st.one_of([values_of(branch, named) for branch in schema])
    if isinstance(schema, str):
        return _SIMPLE[schema] if schema in _SIMPLE else values_of(named[schema], named)
    if schema["type"] != "record":
        return values_of(schema["type"], named)
    named[schema["name"]] = schema
    return st.fixed_dictionaries({field["name"]: values_of(field["type"], named) for field in schema["fields"]})
