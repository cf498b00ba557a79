"""Encoding and decoding of the values of event topics.

A value has Avro single-object encoding, whose fingerprint of the writer schema determines the event type. With a schema
registry, a value may also have Confluent's wire format: a zero byte, the big-endian id of the writer schema, and the
record.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from io import BytesIO
from typing import Any, NoReturn

import fastavro

from schemas.avro.codec import MAGIC, PREFIX_LENGTH, read_all
from schemas.catalog.errors import EventError, UnreadableRecord
from schemas.events.event import ANY, MAX_TIME_US, MIN_TIME_US, Event
from schemas.events.event_head import EventHead, read_head
from schemas.events.event_type import EventType
from schemas.senders.sender import Sender
from schemas.senders.writer_schemas import CONFLUENT_MAGIC, ConfluentDecoder, WriterSchemas


class EventDecoder:
    """Decodes the values of a sender's event topic; `schemas` is the registry, if there is one."""

    def __init__(self, sender: Sender, schemas: WriterSchemas | None = None) -> None:
        self._sender = sender
        self._confluent = None if schemas is None else ConfluentDecoder(schemas, sender)
        self._by_prefix = {event_type.prefix: event_type for event_type in sender.all_types}

    def decode(self, value: bytes | None, fallback_id: Callable[[], str]) -> Event:
        """Decode one value; an event without an id gets `fallback_id()`.

        UnreadableRecord: the value is invalid. Unavailable: the required schema registry does not respond.
        """
        if not value:
            raise UnreadableRecord("empty", "an event record has no value")
        event_type = self._by_prefix.get(value[:PREFIX_LENGTH])
        if event_type is None:
            if self._confluent is None or value[:1] != CONFLUENT_MAGIC:
                self._refuse(value)
            record, event_type, has_floats = self._confluent.decode(value)
            return self._event(record, event_type, has_floats, fallback_id)
        record = read_all(event_type.record, value, PREFIX_LENGTH, read=event_type.read)
        name = record["event_type"]
        if name != event_type.name or name == ANY:
            event_type = self._sharing(name, event_type)
        return self._event(record, event_type, event_type.has_floats, fallback_id)

    def head(self, value: bytes | None) -> EventHead | None:
        """Return the names of the event in a value, valid or not; None if its bytes do not contain them.

        Raises the errors of `WriterSchemas.get`.
        """
        if value and value[:PREFIX_LENGTH] in self._by_prefix:
            return read_head(value, PREFIX_LENGTH)
        if value and self._confluent is not None and value[:1] == CONFLUENT_MAGIC:
            return self._confluent.head(value)
        return None

    def _event(
        self, record: dict[str, Any], event_type: EventType, has_floats: bool, fallback_id: Callable[[], str]
    ) -> Event:
        created_at_us = record["created_at"]
        if not MIN_TIME_US <= created_at_us <= MAX_TIME_US:
            raise UnreadableRecord("invalid_value", f"created_at is outside the years 1 to 9999: {created_at_us} µs")
        if not record["customer_id"]:
            raise UnreadableRecord("no_customer", "customer_id is empty")
        if has_floats and not _all_finite(record["data"]):
            raise UnreadableRecord("invalid_value", "data contains NaN or infinity, which JSON does not have")
        event_id = record["event_id"] or fallback_id()
        data = record["data"]
        if event_type.form is not None:
            try:
                data = event_type.form.out(data)
            except ValueError as error:
                raise UnreadableRecord("invalid_value", f"data: {error}") from error
        return Event(event_id, record["event_type"], created_at_us, record["customer_id"], data)

    def _refuse(self, value: bytes) -> NoReturn:
        if value[:1] == CONFLUENT_MAGIC:
            raise UnreadableRecord(
                "unknown_format", "the value names a schema by its id in a registry; set schema_registry_url"
            )
        if value[:2] != MAGIC:
            raise UnreadableRecord("unknown_format", f"an event begins with c301, this value with {value[:2].hex()}")
        if len(value) < PREFIX_LENGTH:
            raise UnreadableRecord("truncated", f"{len(value)} bytes are too few for an event")
        raise UnreadableRecord(
            "unknown_schema", f"no event type of {self._sender.name} has the fingerprint {value[2:PREFIX_LENGTH].hex()}"
        )

    def _sharing(self, name: str, event_type: EventType) -> EventType:
        """Return the event type with this name, which has to share the schema of `event_type`."""
        other = self._sender.type_of(name)
        if other is not None and other.prefix == event_type.prefix:
            return other
        if other is None:
            raise UnreadableRecord("unknown_event_type", f"{self._sender.name} has no event type {name[:128]!r}")
        raise UnreadableRecord(
            "event_type_mismatch", f"event_type is {name!r}, the schema is that of {event_type.name!r}"
        )


def encode_event(sender: Sender, event: Event) -> bytes:
    """Encode an event in single-object encoding; EventError if its type is unknown or its data do not fit the schema.

    Nullable fields may be omitted. producers/events/validation.py reports errors field by field.
    """
    event_type = sender.type_of(event.event_type)
    if event_type is None:
        raise EventError(f"{sender.name} has no event type {event.event_type!r}")
    stream = BytesIO()
    stream.write(event_type.prefix)
    try:
        record = {
            "event_id": event.event_id or None,
            "event_type": event.event_type,
            "created_at": event.created_at_us,
            "customer_id": event.customer_id,
            "data": event.data if event_type.form is None else event_type.form.into(event.data),
        }
        fastavro.schemaless_writer(stream, event_type.record, record)
    except Exception as error:  # ValueError, TypeError, KeyError, OverflowError, UnicodeEncodeError, …
        raise EventError(
            f"event {event.event_id or 'without id'} does not fit {event_type.name}: {type(error).__name__}: {error}"
        ) from error
    return stream.getvalue()


def _all_finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(_all_finite(inner) for inner in value.values())
    if isinstance(value, list):
        return all(_all_finite(inner) for inner in value)
    return True
