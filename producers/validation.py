"""Checks a JSON value against an Avro schema, and says of each misfit where it is, what was expected and what is there.

Stricter than writing it: fastavro passes over fields that the schema does not know and takes `true` for a number.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from schemas import near
from schemas.avro_names import named_types
from schemas.json_form import embedding, is_members
from schemas.json_text import ExactFloat, JsonText, compact, object_text

_INTEGERS: Final = {"int": 2**31, "long": 2**63}
_COMPOUND: Final = {"array", "map", "record", "enum"}
_NAMES: Final = {
    "null": "null",
    "boolean": "true or false",
    "int": "an integer of 32 bits",
    "long": "an integer of 64 bits",
    "float": "a number",
    "double": "a number",
    "string": "a string",
    "array": "an array",
    "map": "an object",
    "record": "an object",
}
_EMBEDDED: Final = {
    "raw": "a value that JSON has",
    "object": "an object",
    "integer": "an integer",
    "decimal": "a number",
}


class Validator:
    """Checks values against one schema."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self._named = named_types(schema)

    def problems(self, value: Any, path: str) -> Iterator[str]:
        """Yield a sentence for each misfit; `path` is the name of the value itself."""
        return self._check(self._schema, value, path)

    def _resolve(self, node: Any) -> Any:
        """Return the definition of a type that is given by name, and the inner type of {"type": {…}}."""
        while True:
            if isinstance(node, str) and node not in _NAMES:
                node = self._named[node.rpartition(".")[2]]
            elif embedding(node) is not None:
                return node
            elif isinstance(node, dict) and not (isinstance(node["type"], str) and node["type"] in _COMPOUND):
                node = node["type"]
            else:
                return node

    def _check(self, node: Any, value: Any, path: str) -> Iterator[str]:
        node = self._resolve(node)
        if isinstance(node, list):
            yield from self._check_union(node, value, path)
        elif isinstance(node, str):
            if not _fits(node, value):
                yield _misfit(path, _NAMES[node], value)
        elif (kind := embedding(node)) is not None:
            if not _fits_embedded(kind, value):
                yield _misfit(path, _EMBEDDED[kind], value)
        elif node["type"] == "record":
            yield from self._check_record(node, value, path)
        elif node["type"] == "enum":
            if value not in node["symbols"]:
                yield _misfit(path, f"one of {', '.join(node['symbols'])}", value)
        elif node["type"] == "array":
            if not isinstance(value, list):
                yield _misfit(path, "an array", value)
                return
            for index, item in enumerate(value):
                yield from self._check(node["items"], item, f"{path}[{index}]")
        else:
            yield from self._check_map(node, value, path)

    def _check_union(self, branches: list[Any], value: Any, path: str) -> Iterator[str]:
        others = [self._resolve(branch) for branch in branches if branch != "null"]
        if value is None and len(others) < len(branches):
            return
        found = [list(self._check(branch, value, path)) for branch in others]
        if not all(found):
            return
        if len(others) == 1 and isinstance(value, dict | list) and isinstance(others[0], dict):
            yield from found[0]  # what is wrong inside says more than that the whole does not fit
        else:
            yield _misfit(
                path, " or ".join(_name(branch) for branch in (*others, *(b for b in branches if b == "null"))), value
            )

    def _check_record(self, node: Any, value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, Mapping):
            yield _misfit(path, "an object", value)
            return
        fields = {field["name"]: field for field in node["fields"] if not is_members(field)}
        members = next((field["type"] for field in node["fields"] if is_members(field)), None)
        if members is not None:
            others = {key: inner for key, inner in value.items() if key not in fields}
            yield from self._check_map(members, others, path)
        for key in value:
            if key not in fields and members is None:
                yield f"{path}.{short(key)[1:-1]}: the schema has no such field{did_you_mean(key, fields)}"
        for name, field in fields.items():
            if name in value and value[name] is None and field.get("absent"):
                yield f"{path}.{name}: null is not sent here; leave the key out"
            elif name in value:
                yield from self._check(field["type"], value[name], f"{path}.{name}")
            elif "default" not in field:
                yield f"{path}.{name}: expected {_name(self._resolve(field['type']))}, found nothing"

    def _check_map(self, node: Any, value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, Mapping):
            yield _misfit(path, "an object", value)
            return
        for key, item in value.items():
            if not _fits("string", key):
                yield _misfit(path, "keys that are text", key)
            yield from self._check(node["values"], item, f"{path}.{short(key)[1:-1]}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean …?` with the nearest known name, or what is known where nothing is near."""
    known = list(known)
    return near.did_you_mean(name, known) or f"; it has {', '.join(known)}"


def short(value: Any) -> str:
    """Return a value as JSON in one line of at most 60 characters, for a message."""
    try:
        text = json.dumps(value, ensure_ascii=False)
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(value)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]} …{text[-1]}"


def is_text(value: Any) -> bool:
    """Tell whether a value is a string that UTF-8 can hold: JSON can escape half of a surrogate pair."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _fits(kind: str, value: Any) -> bool:
    match kind:
        case "string":
            return is_text(value)
        case "boolean":
            return isinstance(value, bool)
        case "null":
            return value is None
        case "int" | "long":
            limit = _INTEGERS[kind]
            return isinstance(value, int) and not isinstance(value, bool) and -limit <= value < limit
        case _:
            return isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value)


def _fits_embedded(kind: str, value: Any) -> bool:
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "decimal":
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value)
        return is_number or isinstance(value, ExactFloat | Decimal)
    if kind == "object" and isinstance(value, str):  # its text
        return _is_object_text(value)
    try:
        return bool(compact(value)) and (kind == "raw" or isinstance(value, Mapping | JsonText))
    except (TypeError, ValueError):  # half of a surrogate pair, NaN, a key that is no text, an object of a program
        return False


def _is_object_text(text: str) -> bool:
    try:
        return bool(object_text(text)) and is_text(text)
    except ValueError:
        return False


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the largest double
        return False


def _name(node: Any) -> str:
    if isinstance(node, list):
        return " or ".join(_name(branch) for branch in sorted(node, key=lambda branch: branch == "null"))
    if isinstance(node, str):
        return _NAMES.get(node, node)
    if (kind := embedding(node)) is not None:
        return _EMBEDDED[kind]
    return f"one of {', '.join(node['symbols'])}" if node["type"] == "enum" else _NAMES[node["type"]]


def _misfit(path: str, expected: str, value: Any) -> str:
    return f"{path}: expected {expected}, found {short(value)}"
