"""The check of JSON Schemas that people write for documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from schemas.senders.json_schema import DIALECT, schema_problems

SHIPPED = sorted((Path(__file__).parents[3] / "schemas" / "senders").glob("*/payloads/*.json"))
EVERYTHING: dict[str, Any] = {
    "$schema": DIALECT,
    "$id": "https://example.com/order",
    "title": "An order",
    "type": "object",
    "required": ["id", "lines"],
    "minProperties": 1,
    "properties": {
        "id": {"type": "string", "format": "uuid", "pattern": "^[0-9a-f-]+$", "minLength": 36, "x-mask": True},
        "total": {"type": ["number", "null"], "minimum": 0, "exclusiveMaximum": 1e9, "multipleOf": 0.01},
        "state": {"enum": ["PAID", None], "default": None, "deprecated": False},
        "kind": {"const": {"a": 1}},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}, "minItems": 1, "uniqueItems": True},
        "pair": {"prefixItems": [{"type": "string"}, True], "items": False},
        "either": {"anyOf": [{"type": "integer"}, {"type": "string"}], "not": {"const": 0}},
    },
    "patternProperties": {"^x_": {}},
    "additionalProperties": {"description": "anything"},
    "$defs": {"line": {"type": "object", "properties": {"parts": {"items": {"$ref": "#/$defs/line"}}}}},
    "examples": [{}],
}


@pytest.mark.parametrize("schema", [EVERYTHING, *(json.loads(file.read_text(encoding="utf-8")) for file in SHIPPED)])
def test_valid_schema_has_no_problem(schema: dict[str, Any]) -> None:
    """Keywords of all kinds, references, nested schemas and keys that begin with x- are accepted."""
    assert list(schema_problems(schema)) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, f"$schema: expected {DIALECT}"),
        ({"type": "objekt"}, "type: expected one or more of array, boolean"),
        ({"type": "objekt"}, "found 'objekt'; did you mean object?"),
        ({"type": []}, "type: expected one or more of"),
        ({"type": ["string", "string"]}, "type: a type occurs twice"),
        ({"type": [{"a": 1}]}, "type: expected one or more of"),
        ({"properties": []}, "properties: expected schemas by name, found []"),
        ({"properties": {"a": {"items": [{}]}}}, "properties.a.items: expected a schema, found [{}]"),
        ({"properties": {"a": None}}, "properties.a: expected a schema, found None"),
        ({"properties": {"a": {"nullable": True}}}, "properties.a.nullable: unknown keyword"),
        ({"requird": ["a"]}, "requird: unknown keyword; did you mean required?"),
        ({"required": True}, "required: expected a list of different names, found True"),
        ({"required": ["a", "a"]}, "required: expected a list of different names"),
        ({"anyOf": []}, "anyOf: expected a list of schemas, found []"),
        ({"anyOf": [{"type": "x"}]}, "anyOf[0].type: expected one or more of"),
        ({"items": {"$ref": "#/$defs/lines"}}, "items.$ref: $defs has no lines; did you mean line?"),
        ({"items": {"$ref": "other.json"}}, "items.$ref: expected #/$defs/…, a schema in this file"),
        ({"items": {"$ref": 1}}, "items.$ref: expected #/$defs/…"),
        ({"items": {"$id": "x"}}, "items.$id: unknown keyword"),
        ({"minLength": -1}, "minLength: expected a whole number, found -1"),
        ({"minLength": True}, "minLength: expected a whole number, found True"),
        ({"multipleOf": 0}, "multipleOf: expected a number above 0"),
        ({"minimum": "1"}, "minimum: expected a number, found '1'"),
        ({"title": 1}, "title: expected text, found 1"),
        ({"uniqueItems": 1}, "uniqueItems: expected true or false, found 1"),
        ({"examples": {}}, "examples: expected a list, found {}"),
        ({"$defs": 1, "properties": {}}, "$defs: expected schemas by name, found 1"),
    ],
)
def test_error_has_its_path_and_what_is_expected(change: dict[str, Any], problem: str) -> None:
    """Each error names the place in the schema, what is expected there, and what was found."""
    assert problem in "\n".join(schema_problems(EVERYTHING | change))
