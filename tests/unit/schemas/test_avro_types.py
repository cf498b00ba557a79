"""The tree of Avro types: names and namespaces, recursive types, and types without bytes."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from deploy.demo.simulator import Simulator
from deploy.reference.payloads import body_schema
from producers.events.json_reader import EventReader
from producers.events.validation import problems
from schemas.avro.types import Record, Reference, has_empty_items, is_recursive, parse_type, walk
from schemas.events.event import Event
from schemas.senders.event_codec import EventDecoder, encode_event
from schemas.senders.sender import Sender, load_sender
from tests.contracts.test_any_value import folder_of


def record(name: str, *types: Any, **more: Any) -> dict[str, Any]:
    """Return a record whose fields are named a, b, c, … in their order."""
    fields = [{"name": "abcdefgh"[index], "type": each} for index, each in enumerate(types)]
    return {"type": "record", "name": name, "fields": fields, **more}


COLOUR = {"type": "enum", "name": "Colour", "symbols": ["red", "blue"]}
# One short name in two namespaces, with a reference to each.
NAMESPACES = record(
    "Outer", record("Size", "long", namespace="left"), record("right.Size", "string"), "left.Size", "right.Size"
)
# A recursive type, a reference to an enum, and text that holds JSON.
TREE = record(
    "Tree",
    record("Node", COLOUR, ["null", "Node"], {"type": "array", "items": "Node"}),
    ["null", "Colour"],
    {"type": "string", "json": "raw"},
    "Node",
)


def sender_of(path: Path, data: Any) -> Sender:
    return load_sender(folder_of(path / "own", data))


def body_of(sender: Sender, data: Any) -> Any:
    """Return the request body of an event with this data."""
    value = encode_event(sender, Event("evt_1", "all.kinds", 1, "acme", data))
    return json.loads(sender.render(EventDecoder(sender).decode(value, str)))


def references(schema: Any) -> list[tuple[str, bool]]:
    nodes = [node for _, node in walk(parse_type(schema))]
    return [(node.name, node.is_recursive) for node in nodes if isinstance(node, Reference)]


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (record("x.A", record("B", "int"), "B"), [("x.B", False)]),
        (record("A", record("B", "int", namespace="y"), "y.B", namespace="x"), [("y.B", False)]),
        (record("A", record("y.B", ["null", "B"], ["null", "x.A"]), namespace="x"), [("y.B", True), ("x.A", True)]),
        (record("A", record("B", ["null", "A"], namespace="")), [("A", True)]),
        (record("A", {**COLOUR, "namespace": "z"}, "z.Colour"), [("z.Colour", False)]),
    ],
)
def test_name_is_resolved_in_its_namespace(schema: Any, expected: list[tuple[str, bool]]) -> None:
    """A name without a dot is in the namespace of the enclosing record, and recursive references are marked."""
    assert references(schema) == expected
    assert is_recursive(parse_type(schema)) is any(recursive for _, recursive in expected)


def test_reference_targets_the_definition() -> None:
    """A reference targets the node that defines the type, inside that type as well."""
    tree = parse_type(TREE)
    assert isinstance(tree, Record)
    for path, node in walk(tree):
        if isinstance(node, Reference) and node.name == "Node":
            assert node.target is tree.fields[0].type, path


@pytest.mark.parametrize("schema", [7, "Nobody", {"type": "map"}, {"type": "text"}, {"type": ["null"]}, ["null", "B"]])
def test_invalid_schema_is_an_error(schema: Any) -> None:
    """An undefined type and a document of another form are errors."""
    with pytest.raises((ValueError, KeyError, TypeError)):
        parse_type(schema)


@pytest.mark.parametrize(
    ("items", "is_empty"),
    [
        ("null", True),
        ("int", False),
        (COLOUR, False),
        (["null"], False),
        ({"type": "fixed", "name": "F", "size": 0}, True),
        ({"type": "fixed", "name": "F", "size": 1}, False),
        (record("R", "null", record("S")), True),
        (record("R", "null", record("S"), "S"), True),
        (record("R", {"type": "fixed", "name": "F", "size": 0}, "F"), True),
        (record("R", "null", "boolean"), False),
        (record("R", "R"), False),
    ],
)
def test_items_without_bytes_are_detected(items: Any, is_empty: bool) -> None:
    """Array items that take no bytes are detected, named types included; endless types do not count."""
    assert has_empty_items(parse_type({"type": "array", "items": items})) is is_empty


def test_nested_empty_types_are_visited_once() -> None:
    """Each of 60 records that use the record before them twice is visited once."""
    items: Any = record("R0")
    for index in range(1, 60):
        items = record(f"R{index}", items, f"R{index - 1}")
    assert has_empty_items(parse_type({"type": "array", "items": items}))


def test_same_name_in_two_namespaces_is_two_types(tmp_path: Path) -> None:
    """Values are validated, encoded and documented by the type of their own namespace."""
    sender = sender_of(tmp_path, NAMESPACES)
    data = {"a": {"a": 1}, "b": {"a": "x"}, "c": {"a": 2}, "d": {"a": "y"}}
    event_type = sender.event_types["all.kinds"]
    assert list(problems(event_type.data, data, "data")) == []
    assert list(problems(event_type.data, data | {"c": {"a": "2"}}, "data")) == [
        'data.c.a: expected an integer of 64 bits, found "2"'
    ]
    assert body_of(sender, data) == data
    schema = body_schema(sender, event_type)
    assert {name: one["properties"]["a"]["type"] for name, one in schema["$defs"].items()} == {
        "left.Size": "integer",
        "right.Size": "string",
    }


def test_named_types_are_reusable_with_embedded_json(tmp_path: Path) -> None:
    """A schema with embedded JSON may refer to an enum and a record that it defines."""
    leaf = {"a": "blue", "b": None, "c": []}
    data = {"a": {"a": "red", "b": leaf, "c": [leaf]}, "b": "red", "c": [1.5, None], "d": leaf}
    assert body_of(sender_of(tmp_path, TREE), data) == data


def test_recursive_types_can_be_simulated(tmp_path: Path) -> None:
    """Simulated values of recursive types fit their schema and are finite."""
    sender = sender_of(tmp_path, TREE)
    reader = EventReader(sender, lambda: 0, lambda: "evt_1")
    for event in islice(Simulator(7, ("acme",), lambda: 0, sender).events(), 20):
        assert list(reader.data_problems(event.event_type, event.data)) == []
        assert body_of(sender, event.data) == event.data
