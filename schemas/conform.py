"""Brings a record of another writer schema into the shape of the sender's own, by Avro's rules of resolution.

Known fields come first, in the sender's order, with their default where the writer lacks them; fields that the writer
adds follow, so that a newer producer reaches receivers before Signpost knows its fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from schemas.avro_names import named_types
from schemas.errors import UnreadableRecord
from schemas.json_form import embedding
from schemas.json_text import compact

_ACCEPTED: Final[Mapping[str, tuple[type, ...]]] = {
    "null": (type(None),),
    "boolean": (bool,),
    "int": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "string": (str,),
}


class Shape:
    """The shape of one schema; `conform` is called per value."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self._named = named_types(schema)

    def conform(self, value: Any) -> Any:
        """Return the value in this shape; UnreadableRecord `invalid_value` where it cannot be."""
        return self._conform(self._schema, value, "")

    def _conform(self, node: Any, value: Any, path: str) -> Any:
        if isinstance(node, str):
            if node in _ACCEPTED:
                return _plain(node, value, path)
            node = self._named[node.rpartition(".")[2]]
        if isinstance(value, dict | list) and embedding(node) is not None:
            return _text(value, path)  # the writer has fields where ours has their text
        if isinstance(node, list):
            return self._conform_union(node, value, path)
        kind = node["type"]
        if kind == "record":
            return self._conform_record(node, value, path)
        if kind in {"array", "map", "enum"}:
            return self._conform_other(node, value, path)
        return self._conform(kind, value, path)

    def _conform_other(self, node: Any, value: Any, path: str) -> Any:
        match node["type"]:
            case "array" if isinstance(value, list):
                return [self._conform(node["items"], item, path) for item in value]
            case "map" if isinstance(value, dict):
                return {key: self._conform(node["values"], item, path) for key, item in value.items()}
            case "enum" if value in node["symbols"]:
                return value
            case kind:
                raise _misfit(path, kind, value)

    def _conform_union(self, branches: list[Any], value: Any, path: str) -> Any:
        refusal: UnreadableRecord | None = None
        for branch in branches:
            try:
                return self._conform(branch, value, path)
            except UnreadableRecord as error:
                refusal = error  # that of the last branch, which is the type where the union is "nullable"
        raise refusal or _misfit(path, "union", value)

    def _conform_record(self, node: Any, value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _misfit(path, "record", value)
        shaped = {}
        for field in node["fields"]:
            name = field["name"]
            inner = f"{path}.{name}" if path else name
            if name in value:
                shaped[name] = self._conform(field["type"], value[name], inner)
            elif "default" in field:
                shaped[name] = field["default"]
            else:
                raise UnreadableRecord("invalid_value", f"{inner}: the writer schema lacks it and it has no default")
        return shaped | {name: added for name, added in value.items() if name not in shaped}


def _text(value: Any, path: str) -> str:
    try:
        return compact(value)
    except (TypeError, ValueError) as error:
        raise UnreadableRecord("invalid_value", f"{path}: {error}") from error


def _plain(kind: str, value: Any, path: str) -> Any:
    # bool is an int for Python, and is none for Avro
    if not isinstance(value, _ACCEPTED[kind]) or (isinstance(value, bool) and kind != "boolean"):
        raise _misfit(path, kind, value)
    return value


def _misfit(path: str, expected: str, value: Any) -> UnreadableRecord:
    return UnreadableRecord("invalid_value", f"{path}: expected {expected}, found {type(value).__name__}")
