"""Avro schemas as trees of typed nodes (Avro 1.12 specification). All code that reads a schema matches these nodes:

    match node:
        case avro_types.Primitive(): ...
        case avro_types.Record(): ...
        case _: assert_never(node)

A named type is a node where the schema defines it, and a `Reference` where the schema repeats its name. A walk that
does not follow references therefore ends, even for a recursive type. `properties` are the attributes that the
specification does not define, and `logicalType`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, assert_never, cast, get_args

PrimitiveName: TypeAlias = Literal["null", "boolean", "int", "long", "float", "double", "bytes", "string"]

_PRIMITIVES: Final = frozenset(get_args(PrimitiveName))
_DEFINED: Final = frozenset(
    ("type", "name", "namespace", "doc", "aliases", "default", "fields", "symbols", "size", "items", "values")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    properties: Mapping[str, Any] = field(default_factory=dict)

    @property
    def logical_type(self) -> str | None:
        """The logical type, which gives values their meaning."""
        return self.properties.get("logicalType")


@dataclass(frozen=True, slots=True)
class Primitive(_Node):
    """A type without parts."""

    name: PrimitiveName


@dataclass(frozen=True, slots=True)
class Array(_Node):
    """A list of items of one type."""

    items: AvroType


@dataclass(frozen=True, slots=True)
class Map(_Node):
    """Values of one type with string keys."""

    values: AvroType


@dataclass(frozen=True, slots=True)
class Union(_Node):
    """One of several types. `others` are the branches except null."""

    branches: tuple[AvroType, ...]
    others: tuple[AvroType, ...]

    @property
    def is_nullable(self) -> bool:
        """Whether null is one of the branches."""
        return len(self.others) < len(self.branches)


@dataclass(frozen=True, slots=True)
class Enum(_Node):
    """One of several symbols. `name` is the full name, as for all named types."""

    name: str
    symbols: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fixed(_Node):
    """A fixed number of bytes."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Field(_Node):
    """A field of a record. `default` contains one value, or none if the field has no default."""

    name: str
    type: AvroType
    default: tuple[Any, ...]
    aliases: tuple[str, ...]
    doc: str | None


@dataclass(frozen=True, slots=True)
class Record(_Node):
    """Fields in their order."""

    name: str
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Reference(_Node):
    """The name of a type that the schema defines elsewhere. `is_recursive`: that type contains the reference."""

    name: str
    is_recursive: bool
    definitions: Mapping[str, Named] = field(repr=False, compare=False)

    @property
    def target(self) -> Named:
        """The type with this name."""
        return self.definitions[self.name]


Named: TypeAlias = Enum | Fixed | Record
AvroType: TypeAlias = Primitive | Array | Map | Union | Enum | Fixed | Record | Reference


def parse_type(schema: Any) -> AvroType:
    """Return the tree of a schema (as `json.load` returns it); ValueError, KeyError or TypeError if it is invalid.

    `fastavro.parse_schema` checks a schema in detail.
    """
    return _Parser().parse(schema, "")


def is_primitive(name: str) -> bool:
    """Return whether a name is that of a primitive type."""
    return name in _PRIMITIVES


def is_null(node: AvroType) -> bool:
    """Return whether a type is null."""
    return isinstance(node, Primitive) and node.name == "null"


def full_name(schema: Mapping[str, Any], namespace: str = "") -> str:
    """Return the full name of a named type in a namespace."""
    name: str = schema["name"]
    own = schema.get("namespace", namespace)
    return name if "." in name or not own else f"{own}.{name}"


def short_name(name: str) -> str:
    """Return a full name without its namespace."""
    return name.rpartition(".")[2]


def walk(node: AvroType, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], AvroType]]:
    """Yield each type of a tree with the field names on its path, outer types first."""
    yield path, node
    match node:
        case Record():
            for inner in node.fields:
                yield from walk(inner.type, (*path, inner.name))
        case Array():
            yield from walk(node.items, path)
        case Map():
            yield from walk(node.values, path)
        case Union():
            for branch in node.branches:
                yield from walk(branch, path)
        case Primitive() | Enum() | Fixed() | Reference():
            pass
        case _:
            assert_never(node)


def has_floats(node: AvroType) -> bool:
    """Return whether a value can contain a float, which can be NaN or infinite."""
    return any(isinstance(inner, Primitive) and inner.name in {"float", "double"} for _, inner in walk(node))


def is_recursive(node: AvroType) -> bool:
    """Return whether a record of the tree can contain itself."""
    return any(isinstance(inner, Reference) and inner.is_recursive for _, inner in walk(node))


def has_empty_items(node: AvroType) -> bool:
    """Return whether an array can have items without bytes: ten bytes could then declare 2^62 items."""
    return any(isinstance(inner, Array) and _is_empty(inner.items, {}) for _, inner in walk(node))


def _is_empty(node: AvroType, known: dict[str, bool]) -> bool:
    match node:
        case Primitive():
            return node.name == "null"
        case Fixed():
            return node.size == 0
        case Record():
            known[node.name] = False  # for a record that always contains itself: its values never end
            known[node.name] = all(_is_empty(inner.type, known) for inner in node.fields)
            return known[node.name]
        case Reference():
            return known[node.name] if node.name in known else _is_empty(node.target, known)
        case Array() | Map() | Union() | Enum():
            return False  # the encoding of each begins with a number
        case _:
            assert_never(node)


def without_logical_types(schema: Any) -> Any:
    """Return a copy of a schema (as `json.load` returns it) without logical types."""
    if isinstance(schema, list):
        return [without_logical_types(item) for item in schema]
    if isinstance(schema, dict):
        return {key: without_logical_types(value) for key, value in schema.items() if key != "logicalType"}
    return schema


class _Parser:
    """Parses one schema. A type can be referenced by its full name from the start of its definition."""

    def __init__(self) -> None:
        self._definitions: dict[str, Named] = {}
        self._open: set[str] = set()

    def parse(self, schema: Any, namespace: str) -> AvroType:
        if isinstance(schema, list):
            branches = tuple(self.parse(branch, namespace) for branch in schema)
            return Union(branches, tuple(branch for branch in branches if not is_null(branch)))
        if isinstance(schema, str):
            return self._named(schema, namespace)
        if not isinstance(schema, dict):
            raise ValueError(schema)
        properties = _properties(schema)
        match schema["type"]:
            case "array":
                return Array(self.parse(schema["items"], namespace), properties=properties)
            case "map":
                return Map(self.parse(schema["values"], namespace), properties=properties)
            case "record" | "error" | "enum" | "fixed":
                return self._definition(schema, full_name(schema, namespace), properties)
            case primitive if primitive in _PRIMITIVES:
                return Primitive(cast(PrimitiveName, primitive), properties=properties)
            case unknown:
                raise ValueError(unknown)

    def _named(self, name: str, namespace: str) -> AvroType:
        if name in _PRIMITIVES:
            return Primitive(cast(PrimitiveName, name))
        name = f"{namespace}.{name}" if namespace and "." not in name else name
        if name not in self._definitions and name not in self._open:
            raise ValueError(name)
        return Reference(name, name in self._open, self._definitions)

    def _definition(self, schema: Mapping[str, Any], name: str, properties: Mapping[str, Any]) -> Named:
        definition: Named
        match schema["type"]:
            case "enum":
                definition = Enum(name, tuple(schema["symbols"]), properties=properties)
            case "fixed":
                definition = Fixed(name, schema["size"], properties=properties)
            case _:
                self._open.add(name)
                fields = tuple(self._field(inner, name.rpartition(".")[0]) for inner in schema.get("fields", ()))
                self._open.remove(name)
                definition = Record(name, fields, properties=properties)
        self._definitions[name] = definition
        return definition

    def _field(self, schema: Mapping[str, Any], namespace: str) -> Field:
        return Field(
            schema["name"],
            self.parse(schema["type"], namespace),
            (schema["default"],) if "default" in schema else (),
            tuple(schema.get("aliases", ())),
            schema.get("doc"),
            properties=_properties(schema),
        )


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: value for key, value in schema.items() if key not in _DEFINED}
