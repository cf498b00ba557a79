"""Event types of a sender: the Avro record of each, as `events/<event_type>.avsc` gives it.

The record is the whole value on the topic: an envelope, the same for all senders, and `data`, whose fields are the
type's own, or the text of a JSON object (`{"type": "string", "json": "object"}`). All of `data` has to have a form in
JSON, because it becomes part of a request body; schemas/json_form.py lists what a schema can say about it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import fastavro

from schemas.codec import BOUNDED, COMPILED, Read, single_object_prefix
from schemas.errors import SenderError
from schemas.json_form import JsonForm, embedding, json_form

_TIME: Final = {"type": "long", "logicalType": "timestamp-micros"}
_ENVELOPE: Final[dict[str, Any]] = {
    "event_id": ["null", "string"],
    "event_type": "string",
    "created_at": _TIME,
    "customer_id": "string",
}
_FIELDS: Final = (*_ENVELOPE, "data")
_FREE_FORM: Final = '{"type": "string", "json": "object"}'
_NO_JSON: Final = {"bytes", "fixed"}


@dataclass(frozen=True, slots=True, eq=False)
class EventType:
    """One event type of a sender.

    `schema` is the .avsc as it stands; `record` is parsed for fastavro without logical types, so that times stay
    integers (an object per time costs more than the rest of the record). `form` is None where the data are their own
    form in JSON. `read` reads a record. Types can share a schema.
    """

    name: str
    trigger: str
    schema: Any
    record: Any
    prefix: bytes
    read: Read
    has_floats: bool
    form: JsonForm | None

    @property
    def data_schema(self) -> Any:
        """The schema of `data`."""
        return self.schema["fields"][-1]["type"]

    @property
    def data_fields(self) -> tuple[str, ...] | None:
        """Names of the fields of `data`, in their order; None: it is an object of any form."""
        fields = self.data_schema.get("fields")
        return None if fields is None else tuple(field["name"] for field in fields)

    def named(self, name: str, trigger: str) -> EventType:
        """Return another event type of the same schema."""
        return replace(self, name=name, trigger=trigger)


def read_event_type(name: str, trigger: str, text: str, file: str) -> EventType:
    """Read an .avsc; SenderError names `file`, line and field of what is wrong with it."""
    try:
        schema = json.loads(text)
    except ValueError as error:
        line = getattr(error, "lineno", 1)
        raise SenderError(f"{file}:{line}: not JSON: {error}") from error
    record = without_logical_types(schema)
    try:
        parsed = fastavro.parse_schema(record)
    except Exception as error:  # SchemaParseException, UnknownType, KeyError, TypeError, …
        where = _line_of_text(file, text, str(error))
        raise SenderError(f"{where}: not an Avro schema: {type(error).__name__}: {error}") from error
    _check_envelope(schema, text, file)
    for path, kind, logical in walk(schema["fields"][-1]["type"], ("data",)):
        if kind in _NO_JSON or logical not in {None, "uuid"}:
            found = f"{kind} with logicalType {logical}" if logical else kind
            raise SenderError(
                f"{_place(file, text, path)}: {found} has no form in JSON; use a string or a number without logicalType"
            )
    if empty_items(schema):
        raise SenderError(f"{file}: an array has items that take no bytes: a few bytes could claim any number of them")
    try:
        form = json_form(schema["fields"][-1]["type"])
    except ValueError as error:
        raise SenderError(f"{_place(file, text, ('data',))}: {error}") from error
    prefix = single_object_prefix(schema)
    return EventType(name, trigger, schema, parsed, prefix, reader_of(schema), has_floats(schema), form)


def walk(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str, str | None]]:
    """Yield path, type and logical type of every type in a schema; named types are entered where they are defined."""
    if isinstance(node, str):
        yield path, node, None
    elif isinstance(node, list):
        for branch in node:
            yield from walk(branch, path)
    elif isinstance(node, dict):
        kind = node.get("type")
        if isinstance(kind, dict | list):
            yield from walk(kind, path)
            return
        yield path, str(kind), node.get("logicalType")
        for inner in ("items", "values"):
            if inner in node:
                yield from walk(node[inner], path)
        for field in node.get("fields", ()):
            yield from walk(field["type"], (*path, field["name"]))


def has_floats(schema: Any) -> bool:
    """Tell whether a value of this schema can hold a float, which can be NaN or infinite."""
    return any(kind in {"float", "double"} for _, kind, _ in walk(schema))


def reader_of(schema: Any) -> Read:
    """Return what reads values of this schema without ever ending the process."""
    return BOUNDED if _holds_itself(schema, frozenset()) else COMPILED


def _holds_itself(node: Any, around: frozenset[str]) -> bool:
    """Tell whether a record is named within itself; names without their namespaces, which errs to the safe side."""
    if isinstance(node, str):
        return node.rpartition(".")[2] in around
    if isinstance(node, list):
        return any(_holds_itself(branch, around) for branch in node)
    if "fields" in node:
        around |= {node["name"].rpartition(".")[2]}
        return any(_holds_itself(field["type"], around) for field in node["fields"])
    return any(_holds_itself(node[part], around) for part in ("type", "items", "values") if part in node)


def empty_items(schema: Any) -> bool:
    """Tell whether an array's items can take no bytes: ten bytes could then claim 2^62 of them."""
    return any(_is_empty(node["items"], schema, frozenset()) for node in _nodes(schema) if node.get("type") == "array")


def _is_empty(node: Any, schema: Any, around: frozenset[str]) -> bool:
    if isinstance(node, str) and node != "null":
        if node in around:  # it holds itself, and no value of it has an end
            return False
        named = [
            inner for inner in _nodes(schema) if inner.get("name", "").rpartition(".")[2] == node.rpartition(".")[2]
        ]
        return any(_is_empty(inner, schema, around | {node}) for inner in named if "fields" in inner)
    if isinstance(node, dict) and node.get("type") == "record":
        return all(_is_empty(field["type"], schema, around) for field in node["fields"])
    if isinstance(node, dict) and isinstance(node.get("type"), dict):
        return _is_empty(node["type"], schema, around)
    return node == "null" or (isinstance(node, dict) and (node.get("type") == "null" or node.get("size") == 0))


def _nodes(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of a schema: types and fields."""
    for inner in node if isinstance(node, list) else [node]:
        if isinstance(inner, dict):
            yield inner
            for part in ("type", "items", "values", "fields"):
                yield from _nodes(inner.get(part))


def without_logical_types(node: Any) -> Any:
    """Return a copy of a schema in which every type is the plain one beneath its logical type."""
    if isinstance(node, list):
        return [without_logical_types(item) for item in node]
    if isinstance(node, dict):
        return {key: without_logical_types(value) for key, value in node.items() if key != "logicalType"}
    return node


def _check_envelope(schema: Any, text: str, file: str) -> None:
    fields = schema.get("fields") if isinstance(schema, dict) and schema.get("type") == "record" else None
    if not isinstance(fields, list):
        raise SenderError(f"{file}:1: expected a record with the fields {', '.join(_FIELDS)}")
    names = [field["name"] for field in fields]
    for index, name in enumerate(names):
        if index >= len(_FIELDS) or name != _FIELDS[index]:
            raise SenderError(
                f"{_place(file, text, (name,))}: the fields of the record are {', '.join(_FIELDS)}, in this order"
            )
    if len(names) < len(_FIELDS):
        raise SenderError(f"{file}:1: {_FIELDS[len(names)]}: the field is missing")
    for field in fields[:-1]:
        if field["type"] != _ENVELOPE[field["name"]]:
            expected, found = json.dumps(_ENVELOPE[field["name"]]), json.dumps(field["type"])
            raise SenderError(f"{_place(file, text, (field['name'],))}: expected type {expected}, found {found}")
    data = fields[-1]["type"]
    if not (isinstance(data, dict) and data.get("type") == "record") and embedding(data) != "object":
        raise SenderError(
            f"{_place(file, text, ('data',))}: expected a record, or {_FREE_FORM}, found {json.dumps(data)[:80]}"
        )


def _line_of_text(file: str, text: str, unknown: str) -> str:
    """Return `file:line` of the first string that is what an error complains of, or the file alone."""
    position = text.find(json.dumps(unknown.rpartition(".")[2])) if unknown else -1
    return file if position < 0 else f"{file}:{text.count(chr(10), 0, position) + 1}"


def _place(file: str, text: str, path: tuple[str, ...]) -> str:
    """Return `file:line: field` of the field at `path`: each name is looked for behind the one before it."""
    position = 0
    for name in path:
        found = re.compile(rf'"name"\s*:\s*{re.escape(json.dumps(name))}').search(text, position)
        position = found.start() if found else position
    return f"{file}:{text.count(chr(10), 0, position) + 1}: {'.'.join(path)}"
