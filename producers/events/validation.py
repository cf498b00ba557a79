"""Validation of a JSON value against an Avro schema. Each error has a path, the expected and the found value.

It is stricter than encoding: fastavro ignores unknown fields and accepts `true` as a number.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, assert_never

from schemas.avro.json_form import Embedding, embedding, is_absent, is_members
from schemas.avro.json_text import ExactFloat, JsonText, compact, object_text
from schemas.avro.types import Array, AvroType, Enum, Fixed, Map, Primitive, PrimitiveName, Record, Reference, Union
from schemas.input import suggestions

_INTEGERS: Final = {"int": 2**31, "long": 2**63}
_EXPECTED: Final[Mapping[PrimitiveName, str]] = {
    "null": "null",
    "boolean": "true or false",
    "int": "an integer of 32 bits",
    "long": "an integer of 64 bits",
    "float": "a number",
    "double": "a number",
    "string": "a string",
    "bytes": "bytes, which JSON does not have",
}
_EMBEDDED: Final[Mapping[Embedding, str]] = {
    "raw": "a JSON value",
    "object": "an object",
    "integer": "an integer",
    "decimal": "a number",
}


def problems(node: AvroType, value: Any, path: str) -> Iterator[str]:
    """Yield a sentence for each error in a value; `path` is the name of the value itself."""
    match node:
        case Primitive() | Enum() | Fixed():
            if not _fits(node, value):
                yield _misfit(path, _expected(node), value)
        case Union():
            yield from _union_problems(node, value, path)
        case Record():
            yield from _record_problems(node, value, path)
        case Array():
            yield from _array_problems(node, value, path)
        case Map():
            yield from _map_problems(node, value, path)
        case Reference():
            yield from problems(node.target, value, path)
        case _:
            assert_never(node)


def _fits(node: Primitive | Enum | Fixed, value: Any) -> bool:
    match node:
        case Primitive():
            embedded = embedding(node)
            return _fits_primitive(node.name, value) if embedded is None else _fits_embedded(embedded, value)
        case Enum():
            return value in node.symbols
        case Fixed():  # JSON has no bytes
            return False
        case _:
            assert_never(node)


def _array_problems(array: Array, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield _misfit(path, _expected(array), value)
        return
    for index, item in enumerate(value):
        yield from problems(array.items, item, f"{path}[{index}]")


def _union_problems(union: Union, value: Any, path: str) -> Iterator[str]:
    if value is None and union.is_nullable:
        return
    found = [list(problems(branch, value, path)) for branch in union.others]
    if not all(found):
        return
    if len(found) == 1 and isinstance(value, dict | list) and not _is_plain(union.others[0]):
        yield from found[0]  # an error inside is more precise than one about the whole value
    else:
        yield _misfit(path, _expected(union), value)


def _record_problems(record: Record, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield _misfit(path, "an object", value)
        return
    fields = {field.name: field for field in record.fields if not is_members(field)}
    members = next((field.type for field in record.fields if is_members(field)), None)
    if members is not None:
        others = {key: inner for key, inner in value.items() if key not in fields}
        yield from problems(members, others, path)
    for key in value:
        if key not in fields and members is None:
            yield f"{path}.{short(key)[1:-1]}: the schema has no such field{did_you_mean(key, fields)}"
    for name, field in fields.items():
        if name in value and value[name] is None and is_absent(field):
            yield f"{path}.{name}: null is not allowed; omit the key"
        elif name in value:
            yield from problems(field.type, value[name], f"{path}.{name}")
        elif not field.default:
            yield f"{path}.{name}: expected {_expected(field.type)}, found nothing"


def _map_problems(node: Map, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield _misfit(path, "an object", value)
        return
    for key, item in value.items():
        if not is_text(key):
            yield _misfit(path, "keys that are strings", key)
        yield from problems(node.values, item, f"{path}.{short(key)[1:-1]}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean …?` with a similar known name, or all known names if none is similar."""
    known = list(known)
    return suggestions.did_you_mean(name, known) or f"; it has {', '.join(known)}"


def short(value: Any) -> str:
    """Return a value as one line of JSON with at most 60 characters, for messages."""
    try:
        text = json.dumps(value, ensure_ascii=False)
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(value)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]} …{text[-1]}"


def is_text(value: Any) -> bool:
    """Return whether a value is a string that UTF-8 can encode. JSON can escape half of a surrogate pair."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_plain(node: AvroType) -> bool:
    return isinstance(node, Primitive) and embedding(node) is None


def _fits_primitive(name: PrimitiveName, value: Any) -> bool:
    match name:
        case "string":
            fits = is_text(value)
        case "boolean":
            fits = isinstance(value, bool)
        case "null":
            fits = value is None
        case "int" | "long":
            limit = _INTEGERS[name]
            fits = isinstance(value, int) and not isinstance(value, bool) and -limit <= value < limit
        case "float" | "double":
            fits = _is_number(value)
        case "bytes":
            fits = False
        case _:
            assert_never(name)
    return fits


def _fits_embedded(kind: Embedding, value: Any) -> bool:
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "decimal":
        return _is_number(value) or isinstance(value, ExactFloat | Decimal)
    if kind == "object" and isinstance(value, str):  # the text of an object
        return _is_object_text(value)
    try:
        return bool(compact(value)) and (kind == "raw" or isinstance(value, Mapping | JsonText))
    except (TypeError, ValueError):  # half of a surrogate pair, NaN, a key that is not a string, an unknown Python type
        return False


def _is_object_text(text: str) -> bool:
    try:
        return bool(object_text(text)) and is_text(text)
    except ValueError:
        return False


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer beyond the largest double
        return False


def _expected(node: AvroType) -> str:
    match node:
        case Primitive():
            embedded = embedding(node)
            expected = _EXPECTED[node.name] if embedded is None else _EMBEDDED[embedded]
        case Record() | Map():
            expected = "an object"
        case Array():
            expected = "an array"
        case Enum():
            expected = f"one of {', '.join(node.symbols)}"
        case Fixed():
            expected = _EXPECTED["bytes"]
        case Union():
            expected = " or ".join([*map(_expected, node.others), *(["null"] if node.is_nullable else [])])
        case Reference():
            expected = _expected(node.target)
        case _:
            assert_never(node)
    return expected


def _misfit(path: str, expected: str, value: Any) -> str:
    return f"{path}: expected {expected}, found {short(value)}"
