"""Validation of a JSON value against an Avro schema. Each error has a path, the expected and the found value.

It is stricter than encoding: fastavro ignores unknown fields and accepts `true` as a number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, assert_never

from schemas.avro.json_check import any_text, integer_text, object_text
from schemas.avro.json_form import Embedding, embedding, is_absent, is_members
from schemas.avro.json_text import ExactFloat, JsonText
from schemas.avro.json_tokens import half_surrogate_problem
from schemas.avro.json_writer import NoJsonForm, compact, readable
from schemas.avro.types import (
    Array,
    AvroType,
    Enum,
    Fixed,
    Map,
    Primitive,
    PrimitiveName,
    Record,
    Reference,
    Union,
    short_name,
)
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
_NUMBERS: Final = {"integer", "decimal"}
# How often a record may be inside of a record of its type. The router can read about 200 levels.
_MAX_REPEATS: Final = 100
_EMBEDDED: Final[Mapping[Embedding, str]] = {
    "raw": "a JSON value",
    "object": "an object",
    "integer": "an integer",
    "decimal": "a number",
}


def problems(node: AvroType, value: Any, path: str) -> list[str]:
    """Return a sentence for each error in a value; `path` is the name of the value itself."""
    try:
        return list(_problems(node, value, path, 0))
    except RecursionError:
        return [f"{path}: nested too deeply"]


def text_problem(path: str, value: Any) -> Iterator[str]:
    """Yield a sentence if a value is not a string of one character or more."""
    if isinstance(value, str) and (problem := half_surrogate_problem(value)):
        yield f"{path}: {problem}"
    elif not (value and isinstance(value, str)):
        yield f"{path}: expected a string of one character or more, found {short(value)}"


def _problems(node: AvroType, value: Any, path: str, repeats: int) -> Iterator[str]:
    """Yield the errors in a value that is inside of `repeats` records of types that contain themselves."""
    match node:
        case Primitive() | Enum() | Fixed():
            yield from _plain_problems(node, value, path)
        case Union():
            yield from _union_problems(node, value, path, repeats)
        case Record():
            yield from _record_problems(node, value, path, repeats)
        case Array():
            yield from _array_problems(node, value, path, repeats)
        case Map():
            yield from _map_problems(node, value, path, repeats)
        case Reference():
            if repeats >= _MAX_REPEATS:
                yield f"{path}: {short_name(node.name)} is inside of itself {repeats} times, and no more are allowed"
            else:
                yield from _problems(node.target, value, path, repeats + node.is_recursive)
        case _:
            assert_never(node)


def _plain_problems(node: Primitive | Enum | Fixed, value: Any, path: str) -> Iterator[str]:
    kind = embedding(node)
    if kind is not None:
        yield from _embedded_problems(kind, value, path)
    elif not _fits(node, value):
        yield _misfit(path, _expected(node), value)
    elif isinstance(value, str) and (problem := half_surrogate_problem(value)):
        yield f"{path}: {problem}"


def _fits(node: Primitive | Enum | Fixed, value: Any) -> bool:
    match node:
        case Primitive():
            return _fits_primitive(node.name, value)
        case Enum():
            return value in node.symbols
        case Fixed():  # JSON has no bytes
            return False
        case _:
            assert_never(node)


def _embedded_problems(kind: Embedding, value: Any, path: str) -> Iterator[str]:
    """Yield the error in a value that becomes JSON text, which the router has to be able to read."""
    if not _fits_embedded(kind, value):
        yield _misfit(path, _EMBEDDED[kind], value)
        return
    if kind in _NUMBERS:
        return
    try:
        if kind == "object" and isinstance(value, str | JsonText):
            object_text(value if isinstance(value, str) else value.text)
        else:
            any_text(compact(value))
    except NoJsonForm as error:
        yield f"{path}{error.path}: {error.why}"
    except ValueError as error:
        yield f"{path}: {error}"


def _array_problems(array: Array, value: Any, path: str, repeats: int) -> Iterator[str]:
    if not isinstance(value, list):
        yield _misfit(path, _expected(array), value)
        return
    for index, item in enumerate(value):
        yield from _problems(array.items, item, f"{path}[{index}]", repeats)


def _union_problems(union: Union, value: Any, path: str, repeats: int) -> Iterator[str]:
    if value is None and union.is_nullable:
        return
    found = [list(_problems(branch, value, path, repeats)) for branch in union.others]
    if not all(found):
        return
    if len(found) == 1 and not found[0][0].startswith(f"{path}: expected {_expected(union.others[0])}, found "):
        yield from found[0]  # an error inside is more precise than one about the whole value
    else:
        yield _misfit(path, _expected(union), value)


def _record_problems(record: Record, value: Any, path: str, repeats: int) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield _misfit(path, "an object", value)
        return
    fields = {field.name: field for field in record.fields if not is_members(field)}
    members = next((field.type for field in record.fields if is_members(field)), None)
    if members is not None:
        others = {key: inner for key, inner in value.items() if key not in fields}
        yield from _problems(members, others, path, repeats)
    for key in value:
        if key not in fields and members is None:
            yield f"{path}.{short(key)[1:-1]}: the schema has no such field{did_you_mean(str(key), fields)}"
    for name, field in fields.items():
        if name in value and value[name] is None and is_absent(field):
            yield f"{path}.{name}: null is not allowed; omit the key"
        elif name in value:
            yield from _problems(field.type, value[name], f"{path}.{name}", repeats)
        elif not field.default:
            yield f"{path}.{name}: expected {_expected(field.type)}, found nothing"


def _map_problems(node: Map, value: Any, path: str, repeats: int) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield _misfit(path, "an object", value)
        return
    for key, item in value.items():
        inner = f"{path}.{short(key)[1:-1]}"
        if not isinstance(key, str):
            yield _misfit(path, "keys that are strings", key)
        elif problem := half_surrogate_problem(key):
            yield f"{inner}: {problem}"
        yield from _problems(node.values, item, inner, repeats)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean …?` with a similar known name, or all known names if none is similar."""
    known = list(known)
    return suggestions.did_you_mean(name, known) or f"; it has {', '.join(known)}"


def short(value: Any) -> str:
    """Return a value as one line of JSON with at most 60 characters, for messages."""
    text = readable(value)
    return text if len(text) <= 60 else f"{text[:56]} …{text[-1]}"


def _fits_primitive(name: PrimitiveName, value: Any) -> bool:
    match name:
        case "string":
            fits = isinstance(value, str)
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
    match kind:
        case "integer":
            fits = (isinstance(value, int) and not isinstance(value, bool)) or _is_long_integer(value)
        case "decimal":
            is_exact = isinstance(value, ExactFloat) or (isinstance(value, Decimal) and value.is_finite())
            fits = is_exact or _is_number(value) or _is_long_integer(value)
        case "object":  # or the text of an object
            text = value.text if isinstance(value, JsonText) else value
            fits = text.lstrip().startswith("{") if isinstance(text, str) else isinstance(value, Mapping)
        case "raw":
            fits = True
        case _:
            assert_never(kind)
    return fits


def _is_long_integer(value: Any) -> bool:
    """Return whether a value is an integer of so many digits that it stayed text."""
    try:
        return isinstance(value, JsonText) and bool(integer_text(value.text))
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
