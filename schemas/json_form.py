"""How a value of an Avro schema is written in JSON, and back. Most schemas say nothing, and the value is its JSON form.

A schema can say more, by properties that Avro passes over:

    {"type": "string", "json": "object"}     the string is the text of a JSON object, which is embedded as it stands
    {"type": "string", "json": "raw"}        so for JSON of any kind
    {"type": "string", "json": "integer"}    the digits of an integer of any size, which becomes a number
    {"type": "string", "json": "decimal"}    a number of any size and precision
    {"name": …, "type": ["null", …], "absent": true}                            null: the key is left out
    {"name": …, "type": {"type": "map", "values": …}, "json": "members"}        further keys of the object around it
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from schemas.json_text import ExactFloat, JsonText, any_text, compact, decimal_text, integer_text, object_text

Convert: TypeAlias = Callable[[Any], Any]

OUT: Final[Mapping[str, Callable[[str], JsonText]]] = {
    "raw": any_text,
    "object": object_text,
    "integer": integer_text,
    "decimal": decimal_text,
}
MEMBERS: Final = "members"


@dataclass(frozen=True, slots=True)
class JsonForm:
    """`out` turns a decoded value into its JSON form, `into` is the way back; ValueError where there is none."""

    out: Convert
    into: Convert


def json_form(schema: Any) -> JsonForm | None:
    """Return the form of a schema, None where a value is its own; ValueError: its properties cannot be used so."""
    if not _is_marked(schema):
        return None
    compiler = _Compiler()
    return JsonForm(*compiler.compile(schema))


def embedding(node: Any) -> str | None:
    """Return what kind of JSON text a type is, if it is one."""
    if isinstance(node, dict) and node.get("type") == "string" and node.get("json") in OUT:
        return str(node["json"])
    return None


def is_members(field: Mapping[str, Any]) -> bool:
    """Tell whether a field holds further keys of its record."""
    return field.get("json") == MEMBERS


def _is_marked(node: Any) -> bool:
    if isinstance(node, list):
        return any(map(_is_marked, node))
    if not isinstance(node, dict):
        return False
    return "json" in node or "absent" in node or any(_is_marked(node.get(part)) for part in _PARTS)


_PARTS: Final = ("type", "items", "values", "fields")


class _Compiler:
    """Makes the two functions of each type once, by name where it has one."""

    def __init__(self) -> None:
        self._named: dict[str, tuple[Convert, Convert]] = {}

    def compile(self, node: Any) -> tuple[Convert, Convert]:
        if isinstance(node, list):
            return self._union(node)
        if isinstance(node, str):
            return self._reference(node.rpartition(".")[2])
        embedded = embedding(node)
        if embedded is not None:
            return OUT[embedded], _INTO[embedded]
        if "json" in node:
            raise ValueError(f'"json": {node["json"]!r} is for a string, one of {", ".join(OUT)}')
        return self._compound(node)

    def _compound(self, node: dict[str, Any]) -> tuple[Convert, Convert]:
        match node["type"]:
            case "record":
                return self._record(node)
            case "array":
                return _array(*self.compile(node["items"]))
            case "map":
                return _map(*self.compile(node["values"]))
            case dict() | list() as kind:
                return self.compile(kind)
            case _:
                return _same, _same

    def _reference(self, name: str) -> tuple[Convert, Convert]:
        if name in _PRIMITIVES:
            return _same, _same
        named = self._named  # a record may hold itself: it is looked up when a value comes by

        def out(value: Any) -> Any:
            return named[name][0](value)

        def into(value: Any) -> Any:
            return named[name][1](value)

        return out, into

    def _union(self, branches: list[Any]) -> tuple[Convert, Convert]:
        others = [branch for branch in branches if branch != "null"]
        if not any(map(_is_marked, others)) and all(isinstance(b, str) and b in _PRIMITIVES for b in others):
            return _same, _same
        if len(others) != 1:
            raise ValueError("a type with json, absent or members may stand in a union with null alone")
        out, into = self.compile(others[0])
        return (
            lambda value: None if value is None else out(value),
            lambda value: None if value is None else into(value),
        )

    def _record(self, node: Any) -> tuple[Convert, Convert]:
        fields = [_Field.of(field, *self.compile(field["type"])) for field in node["fields"]]
        functions = _record_out(fields), _record_into(fields)
        self._named[node["name"].rpartition(".")[2]] = functions
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
    def of(cls, field: Mapping[str, Any], out: Convert, into: Convert) -> _Field:
        kind, members = field["type"], is_members(field)
        if "json" in field and not members:
            raise ValueError(f'{field["name"]}: "json" of a field is "members"; that of a string stands in its type')
        if members and not (isinstance(kind, dict) and kind.get("type") == "map"):
            raise ValueError(f"{field['name']}: members are a map")
        absent = bool(field.get("absent", False))
        if absent and not (isinstance(kind, list) and "null" in kind):
            raise ValueError(f"{field['name']}: what can be absent is in a union with null")
        default = (field["default"],) if "default" in field else ()
        return cls(field["name"], out, into, absent, members, default)


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
                    raise ValueError(f"{name}: {key} is there twice")
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
    # Whoever made a JsonText may have put anything into it.
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


_PRIMITIVES: Final = {"null", "boolean", "int", "long", "float", "double", "string", "bytes"}
_INTO: Final[Mapping[str, Convert]] = {
    "raw": _text_of,
    "object": _object_of,
    "integer": lambda value: integer_text(_number_of(value)).text,
    "decimal": lambda value: decimal_text(_number_of(value)).text,
}
