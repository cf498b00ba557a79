"""Schema resolution by Avro's rules: from a record of any writer schema to a record of the sender's schema.

The sender's fields come first, in the sender's order, with their default if the writer lacks them. Additional fields of
the writer follow, so that receivers get the fields of a newer producer before the sender's schema has them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias, assert_never

from schemas.avro.json_form import embedding
from schemas.avro.json_writer import compact
from schemas.avro.types import Array, AvroType, Enum, Fixed, Map, Primitive, PrimitiveName, Record, Reference, Union
from schemas.catalog.errors import UnreadableRecord

Resolve: TypeAlias = Callable[[Any, str], Any]
"""Takes (value of the writer, path of its field); returns the value, or raises UnreadableRecord `invalid_value`."""

_ACCEPTED: Final[Mapping[PrimitiveName, tuple[type, ...]]] = {
    "null": (type(None),),
    "boolean": (bool,),
    "int": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "string": (str,),
    "bytes": (),  # event types do not contain bytes
}


def resolver(node: AvroType) -> Resolve:
    """Return a function that resolves values to the type."""
    return _resolver(node, {})


def _resolver(node: AvroType, named: dict[str, Resolve]) -> Resolve:
    match node:
        case Primitive():
            resolve = _primitive(node.name) if embedding(node) is None else _embedded
        case Record():
            resolve = _record(node, named)
        case Array():
            resolve = _array(_resolver(node.items, named))
        case Map():
            resolve = _map(_resolver(node.values, named))
        case Union():
            branches = [_resolver(branch, named) for branch in node.others or node.branches]
            resolve = _union(branches) if len(branches) > 1 else branches[0]
            resolve = _nullable(resolve) if node.is_nullable else resolve
        case Enum():
            resolve = _enum(node.symbols)
        case Fixed():
            resolve = _primitive("bytes")
        case Reference():
            resolve = named.get(node.name) or _resolver(node.target, named)
        case _:
            assert_never(node)
    return resolve


def _primitive(name: PrimitiveName) -> Resolve:
    accepted, takes_bool = _ACCEPTED[name], name == "boolean"

    def resolve(value: Any, path: str) -> Any:
        # bool is an int in Python, but not in Avro
        if not isinstance(value, accepted) or (isinstance(value, bool) and not takes_bool):
            raise _misfit(path, name, value)
        return value

    return resolve


def _embedded(value: Any, path: str) -> Any:
    if isinstance(value, str):
        return value
    if not isinstance(value, dict | list):
        raise _misfit(path, "string", value)
    try:
        return compact(value)  # the writer has fields where the sender's schema has JSON text
    except (TypeError, ValueError) as error:
        raise UnreadableRecord("invalid_value", f"{path}: {error}") from error


def _enum(symbols: tuple[str, ...]) -> Resolve:
    def resolve(value: Any, path: str) -> Any:
        if value not in symbols:
            raise _misfit(path, "enum", value)
        return value

    return resolve


def _array(item: Resolve) -> Resolve:
    def resolve(value: Any, path: str) -> Any:
        if not isinstance(value, list):
            raise _misfit(path, "array", value)
        return [item(inner, path) for inner in value]

    return resolve


def _map(item: Resolve) -> Resolve:
    def resolve(value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            raise _misfit(path, "map", value)
        return {key: item(inner, path) for key, inner in value.items()}

    return resolve


def _nullable(branch: Resolve) -> Resolve:
    return lambda value, path: None if value is None else branch(value, path)


def _union(branches: list[Resolve]) -> Resolve:
    def resolve(value: Any, path: str) -> Any:
        refusal: UnreadableRecord | None = None
        for branch in branches:
            try:
                return branch(value, path)
            except UnreadableRecord as error:
                refusal = error
        raise refusal or _misfit(path, "union", value)

    return resolve


def _record(record: Record, named: dict[str, Resolve]) -> Resolve:
    aliases = {alias: field.name for field in record.fields for alias in field.aliases}

    def resolve(value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            raise _misfit(path, "record", value)
        if aliases:
            value = _renamed(value, aliases)
        resolved = {}
        for name, of_field, default in fields:
            inner = f"{path}.{name}" if path else name
            if name in value:
                resolved[name] = of_field(value[name], inner)
            elif default:
                resolved[name] = default[0]
            else:
                raise UnreadableRecord("invalid_value", f"{inner}: the writer schema lacks it and it has no default")
        return resolved | {name: added for name, added in value.items() if name not in resolved}

    named[record.name] = resolve  # before its fields: a record may be recursive
    fields = [(field.name, _resolver(field.type, named), field.default) for field in record.fields]
    return resolve


def _renamed(value: dict[str, Any], aliases: Mapping[str, str]) -> dict[str, Any]:
    """Return a record with the sender's field names instead of the writer's aliases."""
    return {name if aliases.get(name, name) in value else aliases[name]: inner for name, inner in value.items()}


def _misfit(path: str, expected: str, value: Any) -> UnreadableRecord:
    return UnreadableRecord("invalid_value", f"{path}: expected {expected}, found {type(value).__name__}")
