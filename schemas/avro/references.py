"""Schemas that name types of other schemas, as one schema that defines every type it names.

A schema registry keeps such a schema and a list of references. A type is defined where it is named first; later uses
stay names, as a type may be defined only once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from schemas.avro.types import full_name, is_primitive

_NAMED: Final = ("record", "error", "enum", "fixed")


def with_definitions(schema: Any, referenced: Iterable[Any]) -> Any:
    """Return a schema that defines the types of the `referenced` schemas where it uses them.

    Schemas are as `json.load` returns them. An unknown name stays as it is. KeyError, TypeError or AttributeError if
    a schema is invalid.
    """
    definitions: dict[str, Mapping[str, Any]] = {}
    for other in referenced:
        _collect(other, "", definitions)
    return _Inliner(definitions).schema(schema, "")


def _collect(schema: Any, namespace: str, definitions: dict[str, Mapping[str, Any]]) -> None:
    """Add the named types of a schema, nested ones as well."""
    if isinstance(schema, list):
        for branch in schema:
            _collect(branch, namespace, definitions)
    if not isinstance(schema, dict):
        return
    if schema["type"] in _NAMED:
        name = full_name(schema, namespace)
        namespace = name.rpartition(".")[0]
        # The namespace of the place where a type is inlined must not apply to it.
        definitions.setdefault(name, {**schema, "namespace": namespace})
        for field in schema.get("fields", ()):
            _collect(field["type"], namespace, definitions)
    for inner in ("items", "values"):
        if inner in schema:
            _collect(schema[inner], namespace, definitions)


class _Inliner:
    """Copies one schema, and defines types of `definitions` where it names them first."""

    def __init__(self, definitions: Mapping[str, Mapping[str, Any]]) -> None:
        self._definitions = definitions
        self._defined: set[str] = set()

    def schema(self, schema: Any, namespace: str) -> Any:
        if isinstance(schema, list):
            return [self.schema(branch, namespace) for branch in schema]
        if isinstance(schema, str):
            return self._name(schema, namespace)
        if not isinstance(schema, dict):
            return schema
        if schema["type"] in _NAMED:
            return self._definition(schema, full_name(schema, namespace))
        return {
            key: self.schema(value, namespace) if key in ("items", "values") else value for key, value in schema.items()
        }

    def _name(self, name: str, namespace: str) -> Any:
        if is_primitive(name):
            return name
        qualified = f"{namespace}.{name}" if namespace and "." not in name else name
        for full in (qualified, name):
            if full in self._defined:
                return full
            if full in self._definitions:
                return self._definition(self._definitions[full], full)
        return name

    def _definition(self, schema: Mapping[str, Any], name: str) -> Any:
        if name in self._defined:
            return name  # the type was named before the place where its schema defines it
        self._defined.add(name)
        namespace = name.rpartition(".")[0]
        copy = dict(schema)
        if "fields" in copy:
            copy["fields"] = [{**field, "type": self.schema(field["type"], namespace)} for field in copy["fields"]]
        return copy
