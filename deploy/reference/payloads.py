"""JSON Schema (2020-12) of request bodies: the sender's envelope, and the payload of each event type.

The Avro record describes the payload, or a JSON Schema in the sender's folder if the payload is JSON text in Avro.
Objects stay open, because newer versions of a product may add keys.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, assert_never

from deploy.reference.examples import Example
from schemas.avro.json_form import Embedding, embedding, is_absent, is_members
from schemas.avro.json_text import JsonText
from schemas.avro.json_writer import compact
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
    walk,
)
from schemas.events.event import ANY
from schemas.events.event_type import EventType
from schemas.senders.json_schema import DIALECT
from schemas.senders.payload_schemas import Schema
from schemas.senders.rendering import TimeFormat
from schemas.senders.sender import Sender

UNDOCUMENTED: Final = "The fields of this payload are not documented. Examples of it are made up; do not rely on them."
MADE_UP: Final = "The values of the example are made up."
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')
_TIME: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}"
_TIME_PATTERNS: Final[Mapping[TimeFormat, str]] = {
    "seconds": _TIME + "Z$",
    "milliseconds": _TIME + r"\.[0-9]{3}Z$",
    "microseconds": _TIME + r"\.[0-9]{6}Z$",
    "microseconds_offset": _TIME + r"\.[0-9]{6}\+00:00$",
}
_PRIMITIVES: Final[Mapping[PrimitiveName, Schema]] = {
    "null": {"type": "null"},
    "boolean": {"type": "boolean"},
    "int": {"type": "integer", "format": "int32"},
    "long": {"type": "integer", "format": "int64"},
    "float": {"type": "number"},
    "double": {"type": "number"},
    "string": {"type": "string"},
    "bytes": {},  # event types have none
}
_EMBEDDED: Final[Mapping[Embedding, Schema]] = {
    "raw": {"description": "JSON of any kind"},
    "object": {"type": "object", "additionalProperties": True},
    "integer": {"type": "integer", "description": "an integer of any size"},
    "decimal": {"type": "number", "description": "a number of any size and precision"},
}


def note_of(event_type: EventType, payload: Schema | None, examples: Sequence[Example]) -> str | None:
    """Return what documents say of examples that the product does not document; None if it documents them."""
    if event_type.data_fields is None and payload is None:
        return UNDOCUMENTED
    return MADE_UP if any(example.made_up for example in examples) else None


def notes_of(
    sender: Sender, payloads: Mapping[str, Schema], examples: Mapping[str, Sequence[Example]]
) -> Mapping[str, str]:
    """Return the notes of all event types that have one, by their names."""
    found = {one.name: note_of(one, payloads.get(one.name), examples.get(one.name, ())) for one in sender.all_types}
    return {name: note for name, note in found.items() if note is not None}


def body_schema(
    sender: Sender, event_type: EventType, payload: Schema | None = None, examples: Sequence[Example] = ()
) -> Schema:
    """Return the schema of the bodies of an event type. `payload`: the schema of its payload in the sender's folder."""
    converter = _Converter(event_type.tree)
    data = converter.schema(event_type.data) if payload is None else _of_file(payload)
    definitions = converter.definitions if payload is None else payload.get("$defs", {})
    note = note_of(event_type, payload, examples)
    if note is not None:
        data = {**data, "description": " ".join(filter(None, (data.get("description"), note)))}
    head: Schema = {"$schema": DIALECT, "title": _title(event_type), "description": event_type.trigger}
    if sender.envelope_keys:
        body = _envelope(sender, event_type, data)
    else:
        body = {**data, "description": ". ".join(filter(None, (event_type.trigger, data.get("description"))))}
    tail: Schema = {"$defs": definitions} if definitions else {}
    if examples:
        tail["examples"] = [JsonText(example.body.decode()) for example in examples]
    return {**head, **body, **tail}


def _of_file(payload: Schema) -> Schema:
    """Return a schema as a part of another document."""
    return {key: value for key, value in payload.items() if key not in {"$schema", "$id", "$defs"}}


def _title(event_type: EventType) -> str:
    return "any event type" if event_type.name == ANY else event_type.name


def _envelope(sender: Sender, event_type: EventType, data: Schema) -> Schema:
    time = {"type": "string", "format": "date-time"}
    if sender.time_format is not None:
        time["pattern"] = _TIME_PATTERNS[sender.time_format]
    any_name = {"type": "string", "minLength": 1}
    of_field: Mapping[str, Schema] = {
        "event_id": {"type": "string", "description": "the event's id, the same in all deliveries of the event"},
        "event_type": any_name if event_type.name == ANY else {"const": event_type.name},
        "created_at": time,
        "customer_id": {"type": "string", "minLength": 1},
        "data": data,
    }
    properties = {key: dict(of_field[field]) for key, field in sender.envelope_keys.items()}
    return {"type": "object", "additionalProperties": True, "properties": properties, "required": list(properties)}


class _Converter:
    """Converts Avro types to JSON Schemas. Named types that are referenced again go to `definitions`."""

    def __init__(self, record: Record) -> None:
        self.definitions: dict[str, Schema] = {}
        used_again = {node.name for _, node in walk(record) if isinstance(node, Reference)}
        counts = Counter(map(short_name, used_again))
        self._labels = {name: short if counts[short := short_name(name)] == 1 else name for name in used_again}

    def schema(self, node: AvroType) -> Schema:
        match node:
            case Primitive():
                schema = _primitive(node)
            case Enum():
                schema = self._named(node, {"type": "string", "enum": list(node.symbols)})
            case Record():
                schema = self._named(node, self._record(node))
            case Array():
                schema = {"type": "array", "items": self.schema(node.items)}
            case Map():
                schema = {"type": "object", "additionalProperties": self.schema(node.values)}
            case Union():
                schema = self._union(node.branches)
            case Reference():
                schema = {"$ref": f"#/$defs/{self._labels[node.name]}"}
            case Fixed():
                schema = {}  # event types have none
            case _:
                assert_never(node)
        return schema

    def _union(self, branches: Sequence[AvroType]) -> Schema:
        made = [self.schema(branch) for branch in branches]
        others = [one for one in made if one != {"type": "null"}]
        if any("type" not in one and "$ref" not in one and "enum" not in one and "anyOf" not in one for one in others):
            return others[0]  # any JSON, also null
        if len(others) == len(made):
            return {"anyOf": made} if len(made) > 1 else made[0]
        if len(others) == 1 and isinstance(others[0].get("type"), str) and "enum" not in others[0]:
            return {**others[0], "type": [others[0]["type"], "null"]}
        return {"anyOf": [*others, {"type": "null"}]}

    def _named(self, node: Record | Enum, made: Schema) -> Schema:
        label = self._labels.get(node.name)
        if label is None:
            return made
        self.definitions[label] = made
        return {"$ref": f"#/$defs/{label}"}

    def _record(self, record: Record) -> Schema:
        properties: dict[str, Schema] = {}
        required: list[str] = []
        schema = Schema(type="object", additionalProperties=True)
        for field in record.fields:
            if is_members(field) and isinstance(field.type, Map):
                schema["additionalProperties"] = self.schema(field.type.values)
                continue
            absent = is_absent(field)
            others = field.type.others if absent and isinstance(field.type, Union) else None
            made = self.schema(field.type) if others is None else self._union(others)
            properties[field.name] = made if field.doc is None else {**made, "description": field.doc}
            if not absent:
                required.append(field.name)
        return {**schema, "properties": properties, "required": required}


def _primitive(node: Primitive) -> Schema:
    embedded = embedding(node)
    if embedded is not None:
        return dict(_EMBEDDED[embedded])
    uuid = {"format": "uuid"} if node.logical_type == "uuid" else {}
    return {**_PRIMITIVES[node.name], **uuid}


def as_text(document: Any) -> str:
    """Return a document as JSON for people, with numbers as written."""
    return indented(compact(document)) + "\n"


def depth_of(text: str) -> int:
    """Return how deep the objects and arrays of a JSON text are nested."""
    depth = deepest = 0
    for token in _TOKEN.findall(text):
        depth += (token in {"{", "["}) - (token in {"}", "]"})
        deepest = max(deepest, depth)
    return deepest


def indented(text: str) -> str:
    """Return JSON text with a line for each key and item. Only space between the tokens changes."""
    parts: list[str] = []
    depth = 0
    for token in _TOKEN.findall(text):
        if token in {"}", "]"}:
            depth -= 1
            is_empty = parts[-1] in {"{", "["}
            parts.append(token if is_empty else f"\n{'  ' * depth}{token}")
            continue
        if parts and (parts[-1] in {"{", "[", ","}):
            parts.append(f"\n{'  ' * depth}")
        parts.append(": " if token == ":" else token)
        depth += token in {"{", "["}
    return "".join(parts)
