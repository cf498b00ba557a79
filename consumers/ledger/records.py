"""Decodes the records of the three topics that the ledger reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from consumers.kafka.dead_letters import SourceRecord
from consumers.ledger.rows import Attempt, DeadLetterRow, OperationRow, Unwritten
from schemas.records.delivery import DeadLetterCodec, OutcomeCodec
from schemas.records.health import decode_operation
from schemas.records.topics import TopicNames

Take: TypeAlias = Callable[[SourceRecord, Unwritten], None]
"""Adds a record to what has to be written; UnreadableRecord if it cannot be decoded."""


def readers_of(names: TopicNames) -> Mapping[str, Take]:
    """Return what to do with a record, by topic."""
    decode_outcome = OutcomeCodec().decode_fields
    decode_letter = DeadLetterCodec().decode

    def outcome(message: SourceRecord, into: Unwritten) -> None:
        fields = decode_outcome(message.value())
        into.outcomes.append(recorded(message.partition(), message.offset(), message.timestamp()[1], fields))

    def letter(message: SourceRecord, into: Unwritten) -> None:
        found = decode_letter(message.value())
        into.dead_letters.append(
            DeadLetterRow(
                message.timestamp()[1],
                message.partition(),
                message.offset(),
                found.at_ms,
                found.reason,
                storable(found.detail),
                found.topic,
                found.partition,
                found.offset,
                found.job_id,
                _storable(found.subscription_id),
                _storable(found.event_id),
                found.attempts,
            )
        )

    def operation(message: SourceRecord, into: Unwritten) -> None:
        found = decode_operation(message.value())
        into.operations.append(
            OperationRow(
                message.timestamp()[1],
                message.partition(),
                message.offset(),
                found.at_ms,
                found.kind,
                _storable(found.subscription_id),
                _storable(found.customer_id),
                _storable(found.sender),
                found.since_ms,
                found.reason,
                found.status,
                found.error,
                found.topic,
                found.partition,
                found.from_offset,
                found.to_offset,
                _storable(found.actor),
                _storable(found.request_id),
                storable(",".join(found.changed)),
                _storable(found.key_id),
            )
        )

    return {names.outcomes: outcome, names.dead: letter, names.operations: operation}


def recorded(partition: int, offset: int, recorded_at_ms: int, fields: Sequence[Any]) -> Attempt:
    """Return the row of an outcome, given the fields in the order of the newest schema.

    Text loses its NUL characters, which PostgreSQL cannot store.
    """
    (
        job_id,
        run,
        subscription_id,
        customer_id,
        sender,
        event_type,
        event_id,
        attempt,
        state,
        reason,
        status,
        error,
        host,
        at_ms,
        duration_us,
        next_due_at_ms,
        response,
        _body_cut,
        job_partition,
        job_offset,
        _source_topic,
        _source_partition,
        _source_offset,
        appended_at_ms,
        response_not_kept,
    ) = fields
    if "\0" in f"{job_id}{subscription_id}{customer_id}{sender}{event_type}{event_id}{reason}{error}{host}":
        without = [storable(one) if isinstance(one, str) else one for one in fields]
        return recorded(partition, offset, recorded_at_ms, without)
    row = (
        recorded_at_ms,
        partition,
        offset,
        job_id,
        run,
        attempt,
        subscription_id,
        customer_id,
        sender,
        event_type,
        event_id,
        state,
        reason,
        status,
        error,
        host,
        at_ms,
        duration_us,
        next_due_at_ms,
        None if status is not None and 200 <= status < 300 else response,
        response_not_kept,
        job_partition,
        job_offset,
        appended_at_ms,
    )
    return Attempt._make(row)


def _storable(text: str | None) -> str | None:
    return None if text is None else storable(text)


def storable(text: str) -> str:
    """Return the text without NUL characters, which PostgreSQL cannot store."""
    return text.replace("\0", "\ufffd") if "\0" in text else text
