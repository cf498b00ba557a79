"""Hypothesis strategies for the values that an Avro schema allows."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

# What UTF-8 can hold: all characters but halves of surrogate pairs.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
LONG = st.integers(-(2**63), 2**63 - 1)


def values_of(schema: Any, named: dict[str, Any] | None = None) -> SearchStrategy[Any]:
    """Return a strategy for all values of a schema of records, unions, strings, numbers and booleans."""
    named = {} if named is None else named
    match schema:
        case list():
            return st.one_of([values_of(branch, named) for branch in schema])
        case {"type": "record"}:
            named[schema["name"]] = schema
            return st.fixed_dictionaries({f["name"]: values_of(f["type"], named) for f in schema["fields"]})
        case {"type": inner}:
            return values_of(inner, named)
        case "string":
            return TEXT
        case "long":
            return LONG
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case _:
            return values_of(named[schema], named)
