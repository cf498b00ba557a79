"""Schemas that name types of other schemas become one schema."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import fastavro
import pytest

from schemas.avro.references import with_definitions
from schemas.avro.types import parse_type


def record(name: str, *types: Any, namespace: str | None = None) -> dict[str, Any]:
    """Return a record with fields a, b, … of these types."""
    own = {} if namespace is None else {"namespace": namespace}
    fields = [{"name": "abcdef"[number], "type": kind} for number, kind in enumerate(types)]
    return {"type": "record", "name": name, **own, "fields": fields}


COLOUR = {"type": "enum", "name": "Colour", "symbols": ["RED", "BLUE"]}
HASH = {"type": "fixed", "name": "common.Hash", "size": 2}


@pytest.mark.parametrize(
    ("schema", "referenced", "value"),
    [
        (record("A", "common.B", namespace="x"), [record("B", "int", namespace="common")], {"a": {"a": 1}}),
        # The name of a type in its own namespace.
        (record("A", "B", namespace="x"), [record("B", "int", namespace="x")], {"a": {"a": 1}}),
        # No namespace at all.
        (record("A", "B", "B"), [record("B", "int")], {"a": {"a": 1}, "b": {"a": 2}}),
        # A type in a namespace uses one without, and what follows is still in the namespace.
        (
            record("x.A", "y.B", "C"),
            [record("y.B", "int"), record("x.C", "D"), record("x.D")],
            {"a": {"a": 1}, "b": {"a": {}}},
        ),
        # In arrays, maps and unions, at the second use as well.
        (
            record("A", {"type": "array", "items": "B"}, {"type": "map", "values": "B"}, ["null", "B"]),
            [record("B", "Colour"), COLOUR],
            {"a": [{"a": "RED"}], "b": {"k": {"a": "BLUE"}}, "c": {"a": "RED"}},
        ),
        # A type that is nested in another one is used before that.
        (record("A", "Colour", "B"), [record("B", COLOUR, "Colour")], {"a": "RED", "b": {"a": "BLUE", "b": "RED"}}),
        (record("A", "common.Hash", ["null", "common.Hash"]), [HASH], {"a": b"ab", "b": b"cd"}),
        # A referenced union.
        (record("A", "B", "C"), [["null", record("B"), record("C", "B")]], {"a": {}, "b": {"a": {}}}),
        # Recursive types.
        (record("A", "B"), [record("B", ["null", "B"])], {"a": {"a": {"a": None}}}),
        (record("A", "B"), [record("B", ["null", "C"]), record("C", "B")], {"a": {"a": {"a": {"a": None}}}}),
    ],
)
def test_values_are_read_with_the_types_of_other_schemas(
    schema: Any, referenced: list[Any], value: dict[str, Any]
) -> None:
    """Types are defined once, at their first use, with their own namespace."""
    whole = with_definitions(schema, referenced)
    parse_type(whole)
    stream = BytesIO()
    fastavro.schemaless_writer(stream, whole, value)
    stream.seek(0)
    assert fastavro.schemaless_reader(stream, whole, None) == value


def test_unknown_name_stays_an_error() -> None:
    """A name that no schema defines stays, and the schema is invalid."""
    whole = with_definitions(record("A", "Missing"), [record("B")])
    with pytest.raises(ValueError, match="Missing"):
        parse_type(whole)


def test_schemas_of_the_registry_are_not_changed() -> None:
    """The same referenced schema is used for several schemas."""
    other = record("B", COLOUR)
    first = with_definitions(record("A", "B"), [other])
    assert first == with_definitions(record("A", "B"), [other])
    assert other == record("B", COLOUR)
