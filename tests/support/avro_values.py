"""Hypothesis strategies for the values that an Avro schema allows."""

from __future__ import annotations

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
