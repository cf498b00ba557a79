"""Decoder of Confluent's wire format with writer schemas from a schema registry.

A value is a zero byte, the schema id as four big-endian bytes, and the record. If the schema is a union of records, the
number of its branch comes before the record. The registry is a Protocol, because this package does no network I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeGuard, cast

import fastavro

from schemas.avro.codec import PREFIX_LENGTH, Read, read_all
from schemas.avro.resolution import resolver
from schemas.avro.types import (
    AvroType,
    Record,
    Reference,
    Union,
    has_empty_items,
    has_floats,
    parse_type,
    short_name,
    without_logical_types,
)
from schemas.catalog.errors import UnreadableRecord
from schemas.events.event_head import EventHead, head_of
from schemas.events.event_type import EventType, reader_of

if TYPE_CHECKING:
    from schemas.senders.sender import Sender

CONFLUENT_MAGIC: Final = b"\x00"
_PREFIX_LENGTH: Final = 5
# Bounded, because ids come from values: any writer of the topic could otherwise fill the memory.
_MAX_WRITERS: Final = 1_000
_MICROSECONDS: Final[Mapping[str | None, int]] = {None: 1, "timestamp-micros": 1, "timestamp-millis": 1_000}


def confluent_value(schema_id: int, value: bytes) -> bytes:
    """Convert a value from single-object encoding to Confluent's wire format: the same record after another prefix."""
    return CONFLUENT_MAGIC + schema_id.to_bytes(4, "big") + value[PREFIX_LENGTH:]


class WriterSchemas(Protocol):
    """A schema registry."""

    def get(self, schema_id: int) -> Any:
        """Return the Avro schema with this id, as `json.load` returns it, with all types defined in it.

        UnreadableRecord `unknown_schema`: the id does not exist, or is not that of an Avro schema. Unavailable: the
        registry does not respond, and the record has to wait.
        """


@dataclass(frozen=True, slots=True)
class Writer:
    """The schema of a record. `time_unit_us` is the unit of created_at in µs."""

    name: str
    record: Any
    read: Read
    has_floats: bool
    time_unit_us: int


class ConfluentDecoder:
    """Decodes values in Confluent's wire format and resolves them to the sender's event types."""

    def __init__(self, schemas: WriterSchemas, sender: Sender) -> None:
        self._schemas = schemas
        self._sender = sender
        self._resolvers = {event_type.prefix: resolver(event_type.tree) for event_type in sender.all_types}
        self._prefixes = {short_name(event_type.tree.name): event_type.prefix for event_type in sender.all_types}
        # A schema never changes, so one that is not an event schema is remembered as well.
        self._writers: dict[int, _Writers | UnreadableRecord] = {}

    def decode(self, value: bytes) -> tuple[dict[str, Any], EventType, bool]:
        """Return a record, its event type, and whether it can contain floats.

        Raises UnreadableRecord, and the errors of `WriterSchemas.get`.
        """
        record, writer = _read(self._writers_of(value), value)
        name = record.get("event_type")
        if not isinstance(name, str):
            raise UnreadableRecord("invalid_value", f"event_type is not a string in the schema {writer.name}")
        event_type = self._sender.type_of(name)
        if event_type is None:
            raise UnreadableRecord("unknown_event_type", f"{self._sender.name} has no event type {name[:128]!r}")
        if self._prefixes.get(writer.name, event_type.prefix) != event_type.prefix:
            raise UnreadableRecord(
                "event_type_mismatch", f"event_type is {name!r}, the schema is that of {writer.name}"
            )
        record = self._resolvers[event_type.prefix](record, "")
        record["created_at"] *= writer.time_unit_us
        return record, event_type, writer.has_floats

    def head(self, value: bytes) -> EventHead | None:
        """Return the names of the event in a value, without any check of the rest; None if it cannot be decoded.

        Raises the errors of `WriterSchemas.get`.
        """
        writers = self._writers_of(value)
        try:
            return head_of(_read(writers, value)[0])
        except UnreadableRecord:
            return None

    def _writers_of(self, value: bytes) -> _Writers:
        if len(value) < _PREFIX_LENGTH:
            raise UnreadableRecord("truncated", f"{len(value)} bytes are too few for an event")
        schema_id = int.from_bytes(value[1:_PREFIX_LENGTH], "big")
        known = self._writers.get(schema_id)
        if known is None:
            schema = self._schemas.get(schema_id)
            try:
                known = _parse(schema)
            except Exception as error:  # anything can be registered
                known = UnreadableRecord(
                    "unknown_schema", f"schema {schema_id} is not an event schema: {type(error).__name__}: {error}"
                )
            if len(self._writers) >= _MAX_WRITERS:
                self._writers.clear()
            self._writers[schema_id] = known
        if isinstance(known, UnreadableRecord):
            # A copy, because an exception that is raised again and again collects tracebacks.
            raise UnreadableRecord(known.reason, known.detail)
        return known


@dataclass(frozen=True, slots=True)
class _Writers:
    """The record of a schema, or those of a union. `branches` has None for a branch that is no event."""

    branches: tuple[Writer | None, ...]
    is_union: bool

    def select(self, value: bytes) -> tuple[Writer, int]:
        """Return the schema of the record in a value, and where the record starts."""
        if not self.is_union:
            writer, start = self.branches[0], _PREFIX_LENGTH
        else:
            stream = BytesIO(value)
            stream.seek(_PREFIX_LENGTH)
            try:
                index = cast("int", fastavro.schemaless_reader(stream, "long", None))
            except Exception as error:  # as in read_all
                raise UnreadableRecord("truncated", "the number of the branch of a union is missing") from error
            writer = self.branches[index] if 0 <= index < len(self.branches) else None
            start = stream.tell()
        if writer is None:
            raise UnreadableRecord("invalid_value", "the value is not of a branch with events")
        return writer, start


def _read(writers: _Writers, value: bytes) -> tuple[dict[str, Any], Writer]:
    writer, start = writers.select(value)
    return read_all(writer.record, value, start, read=writer.read), writer


def _parse(schema: Any) -> _Writers:
    """Return the records of a schema; ValueError, KeyError or an error of fastavro if it is not an event schema."""
    named: dict[str, Any] = {}
    parsed = fastavro.parse_schema(without_logical_types(schema), named)
    tree = parse_type(schema)
    if has_empty_items(tree):
        raise ValueError("an array has items without bytes")
    if isinstance(tree, Record):
        return _Writers((_writer(tree, parsed, tree),), is_union=False)
    if not isinstance(tree, Union):
        raise ValueError("it is neither a record nor a union of records")
    branches = [(_definition(branch), record) for branch, record in zip(tree.branches, parsed, strict=True)]
    writers = tuple(
        _writer(branch, named[record] if isinstance(record, str) else record, tree) if _is_event(branch) else None
        for branch, record in branches
    )
    if not any(writers):
        raise ValueError("no branch of the union is an event")
    return _Writers(writers, is_union=True)


def _definition(node: AvroType) -> AvroType:
    return node.target if isinstance(node, Reference) else node


def _is_event(node: AvroType) -> TypeGuard[Record]:
    return isinstance(node, Record) and any(field.name == "created_at" for field in node.fields)


def _writer(record: Record, parsed: Any, schema: AvroType) -> Writer:
    created_at = next((field.type for field in record.fields if field.name == "created_at"), None)
    if created_at is None:
        raise ValueError("it has no field created_at")
    time_unit_us = _MICROSECONDS[created_at.logical_type]
    # The whole schema decides how to read it: a branch of a union may use types of other branches.
    return Writer(short_name(record.name), parsed, reader_of(schema), has_floats(schema), time_unit_us)
