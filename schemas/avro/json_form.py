"""Conversion between values of an Avro schema and JSON. Most values need no conversion.

Properties that Avro ignores control the conversion:

    {"type": "string", "json": "object"}     the string is the text of a JSON object, embedded unchanged
    {"type": "string", "json": "raw"}        the same for any JSON value
    {"type": "string", "json": "integer"}    the digits of an integer of any size, written as a number
    {"type": "string", "json": "decimal"}    a number of any size and precision, written as a number
    {"name": …, "type": ["null", …], "absent": true}                            null: the key is omitted
    {"name": …, "type": {"type": "map", "values": …}, "json": "members"}        further keys of the enclosing object
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, assert_never, cast, get_args

from schemas.avro.json_check import any_text, decimal_text, integer_text, object_text
from schemas.avro.json_text import ExactFloat, JsonText
from schemas.avro.json_writer import compact
from schemas.avro.types import Array, AvroType, Enum, Field, Fixed, Map, Primitive, Record, Reference, Union, walk

Convert: TypeAlias = Callable[[Any], Any]
Embedding: TypeAlias = Literal["raw", "object", "integer", "decimal"]

_EMBEDDINGS: Final = get_args(Embedding)
_MEMBERS: Final = "members"
_MARKS: Final = {"json", "absent"}


@dataclass(frozen=True, slots=True)
class JsonForm:
    """`out` converts a decoded value to its JSON form, `into` converts back; ValueError if a value has no such form."""

    out: Convert
    into: Convert


def json_form(node: AvroType) -> JsonForm | None:
    """Return the JSON form of a type; None if values need no conversion; ValueError if a property is misplaced."""
    if not _is_marked(node):
        return None
    return JsonForm(*_Compiler().compile(node))


def embedding(node: AvroType) -> Embedding | None:
    """Return the kind of JSON text that a type contains; None if it is not JSON text."""
    if isinstance(node, Primitive) and node.name == "string" and (found := node.properties.get("json")) in _EMBEDDINGS:
        return cast(Embedding, found)
    return None


def is_members(field: Field) -> bool:
    """Return whether a field contains further keys of its record."""
    return bool(field.properties.get("json") == _MEMBERS)


def is_absent(field: Field) -> bool:
    """Return whether JSON omits the key of the field if its value is null."""
    return bool(field.properties.get("absent"))


def _is_marked(node: AvroType) -> bool:
    return any(
        not _MARKS.isdisjoint(part.properties)
        for _, inner in walk(node)
        for part in (inner, *(inner.fields if isinstance(inner, Record) else ()))
    )


class _Compiler:
    """Builds the two functions of each type; those of named types only once."""

    def __init__(self) -> None:
        self._named: dict[str, tuple[Convert, Convert]] = {}

    def compile(self, node: AvroType) -> tuple[Convert, Convert]:
        embedded = embedding(node)
        if embedded is None and "json" in node.properties:
            raise ValueError(f'"json": {node.properties["json"]!r} is for a string, one of {", ".join(_OUT)}')
        match node:
            case Primitive():
                functions = (_same, _same) if embedded is None else (_OUT[embedded], _INTO[embedded])
            case Enum() | Fixed():
                functions = _same, _same
            case Record():
                functions = self._record(node)
            case Array():
                functions = _array(*self.compile(node.items))
            case Map():
                functions = _map(*self.compile(node.values))
            case Union():
                functions = self._union(node)
            case Reference():
                functions = self._named.get(node.name) or self.compile(node.target)
            case _:
                assert_never(node)
        return functions

    def _union(self, union: Union) -> tuple[Convert, Convert]:
        others = union.others
        if not any(map(_is_marked, others)) and all(isinstance(branch, Primitive) for branch in others):
            return _same, _same
        if len(others) != 1:
            raise ValueError("a type with json, absent or members can be in a union only with null")
        out, into = self.compile(others[0])
        return (
            lambda value: None if value is None else out(value),
            lambda value: None if value is None else into(value),
        )

    def _record(self, record: Record) -> tuple[Convert, Convert]:
        def out(value: Any) -> Any:
            return functions[0](value)

        def into(value: Any) -> Any:
            return functions[1](value)

        # A record may be recursive: references to it get these two functions until its own are built.
        self._named[record.name] = out, into
        fields = [_Field.of(field, *self.compile(field.type)) for field in record.fields]
        functions = self._named[record.name] = _record_out(fields), _record_into(fields)
        return functions


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    out: Convert
    into: Convert
    absent: bool
    members: bool
    default: tuple[Any, ...]

    @classmethod
    def of(cls, field: Field, out: Convert, into: Convert) -> _Field:
        members, absent = is_members(field), is_absent(field)
        if "json" in field.properties and not members:
            raise ValueError(f'{field.name}: "json" of a field is "members"; that of a string belongs in its type')
        if members and not isinstance(field.type, Map):
            raise ValueError(f"{field.name}: members are a map")
        if absent and not (isinstance(field.type, Union) and field.type.is_nullable):
            raise ValueError(f"{field.name}: what can be absent is in a union with null")
        return cls(field.name, out, into, absent, members, field.default)


def _record_out(fields: list[_Field]) -> Convert:
    plain = [(field.name, field.out, field.absent) for field in fields if not field.members]
    members = [(field.name, field.out) for field in fields if field.members]
    known = {field.name for field in fields}

    def out(record: dict[str, Any]) -> dict[str, Any]:
        result = {}
        for name, convert, absent in plain:
            value = record[name]
            if value is not None:
                result[name] = convert(value)
            elif not absent:
                result[name] = None
        for name, convert in members:
            for key, value in convert(record[name]).items():
                if key in result:
                    raise ValueError(f"{name}: the key {key} occurs twice")
                result[key] = value
        if len(record) > len(known):  # a newer writer's fields follow the known ones
            result |= {name: value for name, value in record.items() if name not in known}
        return result

    return out


def _record_into(fields: list[_Field]) -> Convert:
    plain = [field for field in fields if not field.members]
    members = [field for field in fields if field.members]
    names = {field.name for field in plain}

    def into(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise ValueError(f"expected an object, found {type(value).__name__}")
        record = {}
        for field in plain:
            if field.name in value:
                record[field.name] = field.into(value[field.name])
            elif field.default:
                record[field.name] = field.default[0]
        for field in members:
            record[field.name] = field.into({key: inner for key, inner in value.items() if key not in names})
        return record

    return into


def _array(out: Convert, into: Convert) -> tuple[Convert, Convert]:
    return lambda items: [out(item) for item in items], lambda items: [into(item) for item in items]


def _map(out: Convert, into: Convert) -> tuple[Convert, Convert]:
    return (
        lambda value: {key: out(item) for key, item in value.items()},
        lambda value: {key: into(item) for key, item in value.items()},
    )


def _same(value: Any) -> Any:
    return value


def _text_of(value: Any) -> str:
    # A program may have created the JsonText from any text.
    return any_text(value.text).text if isinstance(value, JsonText) else compact(value)


def _object_of(value: Any) -> str:
    # An object is never a string in JSON, so a string is the object's text.
    if isinstance(value, str):
        return object_text(value).text
    if isinstance(value, JsonText):
        return object_text(value.text).text
    if not isinstance(value, Mapping):
        raise ValueError(f"expected an object, found {type(value).__name__}")
    return compact(value)


def _number_of(value: Any) -> str:
    if isinstance(value, ExactFloat | JsonText):
        return value.text
    return value if isinstance(value, str) else compact(value)


_OUT: Final[Mapping[Embedding, Convert]] = {
    "raw": any_text,
    "object": object_text,
    "integer": integer_text,
    "decimal": decimal_text,
}
_INTO: Final[Mapping[Embedding, Convert]] = {
    "raw": _text_of,
    "object": _object_of,
    "integer": lambda value: integer_text(_number_of(value)).text,
    "decimal": lambda value: decimal_text(_number_of(value)).text,
}
