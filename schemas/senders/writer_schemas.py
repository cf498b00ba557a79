"""Decoder of Confluent's wire format with writer schemas from a schema registry.

A value is a zero byte, the schema id as four big-endian bytes, and the record. The registry is a Protocol, because this
package does no network I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import fastavro

from schemas.avro.codec import PREFIX_LENGTH, Read, read_all
from schemas.avro.resolution import resolver
from schemas.avro.types import Record, has_empty_items, has_floats, parse_type, short_name, without_logical_types
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
        """Return the Avro schema with this id, as `json.load` returns it.

        UnreadableRecord `unknown_schema`: the id does not exist. Unavailable: the registry does not respond, and the
        record has to wait.
        """


@dataclass(frozen=True, slots=True)
class Writer:
    """One writer schema. `time_unit_us` is the unit of created_at in µs."""

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
        self._writers: dict[int, Writer] = {}

    def decode(self, value: bytes) -> tuple[dict[str, Any], EventType, bool]:
        """Return a record, its event type, and whether it can contain floats.

        Raises UnreadableRecord, and the errors of `WriterSchemas.get`.
        """
        if len(value) < _PREFIX_LENGTH:
            raise UnreadableRecord("truncated", f"{len(value)} bytes are too few for an event")
        writer = self._writer(int.from_bytes(value[1:_PREFIX_LENGTH], "big"))
        record = read_all(writer.record, value, _PREFIX_LENGTH, read=writer.read)
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
        """Return the names of the event in a value, without any check of the rest; None if it cannot be decoded."""
        writer = self._writer(int.from_bytes(value[1:_PREFIX_LENGTH], "big"))
        try:
            return head_of(read_all(writer.record, value, _PREFIX_LENGTH, read=writer.read))
        except UnreadableRecord:
            return None

    def _writer(self, schema_id: int) -> Writer:
        writer = self._writers.get(schema_id)
        if writer is None:
            writer = _writer_of(self._schemas.get(schema_id), schema_id)
            if len(self._writers) >= _MAX_WRITERS:
                self._writers.clear()
            self._writers[schema_id] = writer
        return writer


def _writer_of(schema: Any, schema_id: int) -> Writer:
    try:
        record = fastavro.parse_schema(without_logical_types(schema))
        tree = parse_type(schema)
        if not isinstance(tree, Record):
            raise ValueError("it is not a record")
        (created_at,) = (field.type for field in tree.fields if field.name == "created_at")
        time_unit_us = _MICROSECONDS[created_at.logical_type]
        if has_empty_items(tree):
            raise ValueError("an array has items without bytes")
    except Exception as error:  # anything can be registered
        raise UnreadableRecord(
            "unknown_schema", f"schema {schema_id} is not an event schema: {type(error).__name__}: {error}"
        ) from error
    return Writer(short_name(tree.name), record, reader_of(tree), has_floats(tree), time_unit_us)
