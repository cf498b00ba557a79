"""JSON Schema (2020-12) of request bodies, from a sender's envelope and the Avro schema of each event type.

Objects stay open: a key that a schema does not name may come with any newer version of its product.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from deploy.documents.examples import Example
from schemas.event import ANY
from schemas.event_type import EventType
from schemas.json_form import embedding, is_members
from schemas.rendering import TimeFormat
from schemas.sender import Sender

Schema: TypeAlias = dict[str, Any]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_TIME: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}"
_TIME_PATTERNS: Final[Mapping[TimeFormat, str]] = {
    "seconds": _TIME + "Z$",
    "milliseconds": _TIME + r"\.[0-9]{3}Z$",
    "microseconds": _TIME + r"\.[0-9]{6}Z$",
    "microseconds_offset": _TIME + r"\.[0-9]{6}\+00:00$",
}
_PRIMITIVES: Final[Mapping[str, Schema]] = {
    "null": {"type": "null"},
    "boolean": {"type": "boolean"},
    "int": {"type": "integer", "format": "int32"},
    "long": {"type": "integer", "format": "int64"},
    "float": {"type": "number"},
    "double": {"type": "number"},
    "string": {"type": "string"},
}
_EMBEDDED: Final[Mapping[str, Schema]] = {
    "raw": {"description": "JSON of any kind"},
    "object": {"type": "object"},
    "integer": {"type": "integer", "description": "an integer of any size"},
    "decimal": {"type": "number", "description": "a number of any size and precision"},
}


def body_schema(sender: Sender, kind: EventType, example: Example | None = None) -> Schema:
    """Return the schema of the bodies of an event type."""
    converter = _Converter(kind.schema)
    data = converter.schema(kind.data_schema)
    head: Schema = {"$schema": DIALECT, "title": _title(kind), "description": kind.trigger}
    body = _envelope(sender, kind, data) if sender.envelope_keys else data
    tail: Schema = {"$defs": converter.definitions} if converter.definitions else {}
    if example is not None:
        tail["examples"] = [example.value]
    return {**head, **body, **tail}


def _title(kind: EventType) -> str:
    return "any event type" if kind.name == ANY else kind.name


def _envelope(sender: Sender, kind: EventType, data: Schema) -> Schema:
    time = {"type": "string", "format": "date-time"}
    if sender.time_format is not None:
        time["pattern"] = _TIME_PATTERNS[sender.time_format]
    event_type = {"type": "string", "minLength": 1} if kind.name == ANY else {"const": kind.name}
    of_field: Mapping[str, Schema] = {
        "event_id": {"type": "string", "description": "the event's id, the same each time that it comes"},
        "event_type": event_type,
        "created_at": time,
        "customer_id": {"type": "string", "minLength": 1},
        "data": data,
    }
    properties = {key: dict(of_field[field]) for key, field in sender.envelope_keys.items()}
    return {"type": "object", "properties": properties, "required": list(properties)}


class _Converter:
    """Makes a schema of JSON of each type of Avro; those with a name that is used again stand under `definitions`."""

    def __init__(self, record: Any) -> None:
        self.definitions: dict[str, Schema] = {}
        self._used_again = set(_references(record))

    def schema(self, node: Any) -> Schema:
        if isinstance(node, list):
            return self._union(node)
        if isinstance(node, str):
            name = node.rpartition(".")[2]
            return dict(_PRIMITIVES[name]) if name in _PRIMITIVES else {"$ref": f"#/$defs/{name}"}
        embedded = embedding(node)
        return dict(_EMBEDDED[embedded]) if embedded is not None else self._compound(node)

    def _compound(self, node: Any) -> Schema:
        match node["type"]:
            case "record" | "enum":
                return self._named(node)
            case "array":
                return {"type": "array", "items": self.schema(node["items"])}
            case "map":
                return {"type": "object", "additionalProperties": self.schema(node["values"])}
            case inner:
                logical = {"format": "uuid"} if node.get("logicalType") == "uuid" else {}
                return {**self.schema(inner), **logical}

    def _union(self, branches: list[Any]) -> Schema:
        made = [self.schema(branch) for branch in branches]
        others = [one for one in made if one != {"type": "null"}]
        if any("type" not in one and "$ref" not in one and "enum" not in one and "anyOf" not in one for one in others):
            return others[0]  # JSON of any kind, null among it
        if len(others) == len(made):
            return {"anyOf": made} if len(made) > 1 else made[0]
        if len(others) == 1 and isinstance(others[0].get("type"), str) and "enum" not in others[0]:
            return {**others[0], "type": [others[0]["type"], "null"]}
        return {"anyOf": [*others, {"type": "null"}]}

    def _named(self, node: Any) -> Schema:
        name = node["name"].rpartition(".")[2]
        made = self._record(node) if node["type"] == "record" else {"type": "string", "enum": list(node["symbols"])}
        if name not in self._used_again:
            return made
        self.definitions[name] = made
        return {"$ref": f"#/$defs/{name}"}

    def _record(self, node: Any) -> Schema:
        properties: dict[str, Schema] = {}
        required, schema = [], Schema(type="object")
        for field in node["fields"]:
            if is_members(field):
                schema["additionalProperties"] = self.schema(field["type"]["values"])
                continue
            absent = bool(field.get("absent"))
            made = self.schema([b for b in field["type"] if b != "null"] if absent else field["type"])
            properties[field["name"]] = {**made, "description": field["doc"]} if "doc" in field else made
            if not absent:
                required.append(field["name"])
        return {**schema, "properties": properties, "required": required}


def _references(node: Any) -> list[str]:
    """Return the names by which a schema refers to types that it has defined."""
    if isinstance(node, str):
        name = node.rpartition(".")[2]
        return [] if name in {*_PRIMITIVES, "record", "enum", "array", "map"} else [name]
    if isinstance(node, list):
        return [name for branch in node for name in _references(branch)]
    inner = [node[part] for part in ("type", "items", "values") if part in node]
    inner += [field["type"] for field in node.get("fields", ())]
    return [name for one in inner for name in _references(one)]


def as_text(document: Any) -> str:
    """Return a document as JSON for people."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
