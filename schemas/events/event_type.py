"""Event types of a sender. `events/<event_type>.avsc` defines the Avro record of each.

The record is the whole value on the topic: an envelope that all senders share, and `data`. `data` is a record with the
fields of the event type, or the text of a JSON object (`{"type": "string", "json": "object"}`). It becomes part of a
request body, so each of its types needs a JSON form; schemas/avro/json_form.py lists the properties that control it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any, Final

import fastavro

from schemas.avro.codec import BOUNDED, COMPILED, Read, single_object_prefix
from schemas.avro.json_form import JsonForm, embedding, json_form
from schemas.avro.types import (
    AvroType,
    Fixed,
    Primitive,
    Record,
    has_empty_items,
    has_floats,
    is_recursive,
    parse_type,
    walk,
    without_logical_types,
)
from schemas.catalog.errors import SenderError

_TIME: Final = {"type": "long", "logicalType": "timestamp-micros"}
ENVELOPE: Final[dict[str, Any]] = {
    "event_id": ["null", "string"],
    "event_type": "string",
    "created_at": _TIME,
    "customer_id": "string",
}
_FIELDS: Final = (*ENVELOPE, "data")
_FREE_FORM: Final = '{"type": "string", "json": "object"}'


@dataclass(frozen=True, slots=True, eq=False)
class EventType:
    """One event type of a sender.

    `schema` is the parsed .avsc, `tree` its types. `record` is the schema for fastavro without logical types, so that
    times stay integers: one datetime object costs more than the rest of the record. `form` is None if the data need no
    conversion to JSON. `read` decodes a record. Several event types can share a schema.
    """

    name: str
    trigger: str
    schema: Any
    tree: Record
    record: Any
    prefix: bytes
    read: Read
    has_floats: bool
    form: JsonForm | None

    @property
    def data(self) -> AvroType:
        """The type of `data`: a record, or the text of a JSON object."""
        return self.tree.fields[-1].type

    @property
    def data_fields(self) -> tuple[str, ...] | None:
        """Names of the fields of `data`, in their order; None if `data` is an object of any form."""
        return tuple(field.name for field in self.data.fields) if isinstance(self.data, Record) else None

    def named(self, name: str, trigger: str) -> EventType:
        """Return another event type with the same schema."""
        return replace(self, name=name, trigger=trigger)


def read_event_type(name: str, trigger: str, text: str, file: str) -> EventType:
    """Read an .avsc; SenderError names `file`, line and field of an error."""
    try:
        schema = json.loads(text)
    except ValueError as error:
        line = getattr(error, "lineno", 1)
        raise SenderError(f"{file}:{line}: not JSON: {error}") from error
    record = without_logical_types(schema)
    try:
        parsed = fastavro.parse_schema(record)
        tree = parse_type(schema)
    except Exception as error:  # SchemaParseException, UnknownType, KeyError, TypeError, …
        where = _line_of_text(file, text, str(error))
        raise SenderError(f"{where}: not an Avro schema: {type(error).__name__}: {error}") from error
    if not isinstance(tree, Record):
        raise SenderError(f"{file}:1: expected a record with the fields {', '.join(_FIELDS)}")
    _check_envelope(tree, schema, text, file)
    data = tree.fields[-1].type
    for path, node in walk(data, ("data",)):
        if (found := _without_json(node)) is not None:
            raise SenderError(
                f"{_place(file, text, path)}: {found} has no JSON form; use a string or a number without logicalType"
            )
    if has_empty_items(tree):
        raise SenderError(f"{file}: an array has items without bytes: a few bytes could declare any number of items")
    try:
        form = json_form(data)
    except ValueError as error:
        raise SenderError(f"{_place(file, text, ('data',))}: {error}") from error
    prefix = single_object_prefix(schema)
    return EventType(name, trigger, schema, tree, parsed, prefix, reader_of(tree), has_floats(tree), form)


def reader_of(node: AvroType) -> Read:
    """Return a reader of the type that no value can crash."""
    return BOUNDED if is_recursive(node) else COMPILED


def _without_json(node: AvroType) -> str | None:
    """Return the name of a type that has no JSON form; None if it has one."""
    if node.logical_type not in (None, "uuid"):
        return f"{_plain_name(node)} with logicalType {node.logical_type}"
    is_bytes = isinstance(node, Fixed) or (isinstance(node, Primitive) and node.name == "bytes")
    return _plain_name(node) if is_bytes else None


def _plain_name(node: AvroType) -> str:
    return node.name if isinstance(node, Primitive) else type(node).__name__.lower()


def _check_envelope(record: Record, schema: Any, text: str, file: str) -> None:
    names = [field.name for field in record.fields]
    for index, name in enumerate(names):
        if index >= len(_FIELDS) or name != _FIELDS[index]:
            raise SenderError(
                f"{_place(file, text, (name,))}: the fields of the record are {', '.join(_FIELDS)}, in this order"
            )
    if len(names) < len(_FIELDS):
        raise SenderError(f"{file}:1: {_FIELDS[len(names)]}: the field is missing")
    for (name, expected), field in zip(ENVELOPE.items(), schema["fields"], strict=False):
        if field["type"] != expected:
            types = f"expected type {json.dumps(expected)}, found {json.dumps(field['type'])}"
            raise SenderError(f"{_place(file, text, (name,))}: {types}")
    data = record.fields[-1].type
    if not isinstance(data, Record) and embedding(data) != "object":
        found = json.dumps(schema["fields"][-1]["type"])[:80]
        raise SenderError(f"{_place(file, text, ('data',))}: expected a record, or {_FREE_FORM}, found {found}")


def _line_of_text(file: str, text: str, unknown: str) -> str:
    """Return `file:line` of the first string that equals the unknown name of an error, or the file alone."""
    position = text.find(json.dumps(unknown.rpartition(".")[2])) if unknown else -1
    return file if position < 0 else f"{file}:{text.count(chr(10), 0, position) + 1}"


def _place(file: str, text: str, path: tuple[str, ...]) -> str:
    """Return `file:line: field` of the field at `path`. Each name is searched after the previous one."""
    position = 0
    for name in path:
        found = re.compile(rf'"name"\s*:\s*{re.escape(json.dumps(name))}').search(text, position)
        position = found.start() if found else position
    return f"{file}:{text.count(chr(10), 0, position) + 1}: {'.'.join(path)}"
