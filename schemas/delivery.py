"""Jobs, outcomes and dead letters: what moves between router and delivery, and their records.

A job is encoded in two halves that are simply joined, as Avro has no framing: the head differs per subscription and
attempt, the tail is the same for all jobs of an event. The router encodes the tail once per event, and a retry keeps
the bytes of the tail as they are.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import Any, Final, Literal, TypeAlias, get_args

import fastavro

from schemas.avro_binary import (
    FALSE,
    NULL,
    PRESENT,
    TRUE,
    common_long_bytes,
    common_text_bytes,
    long_bytes,
    read_longs,
    read_texts,
    text_bytes,
)
from schemas.codec import PREFIX_LENGTH, RecordCodec
from schemas.errors import UnreadableRecord

# Namespace of job and event ids (a random uuid4, fixed for ever): f3b1f1e6-7c0e-4c0f-9d0c-0f2f6d1a54c7
_NAMESPACE: Final = bytes.fromhex("f3b1f1e67c0e4c0f9d0c0f2f6d1a54c7")
_HEAD_FIELDS: Final = 9
UNKNOWN_OFFSET: Final = -1

State: TypeAlias = Literal["delivered", "retry", "dead", "cancelled"]
_STATES: Final = get_args(State)


def uuid5(name: str) -> str:
    """Return the uuid5 (RFC 9562) of a name in Signpost's namespace; a third of the cost of `uuid.uuid5`."""
    digest = bytearray(hashlib.sha1(_NAMESPACE + name.encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def job_id(topic: str, partition: int, offset: int, subscription_id: str) -> str:
    """Return the id of the job of one event for one subscription: the same each time the event is routed."""
    return uuid5(f"{topic}:{partition}:{offset}:{subscription_id}")


def event_id(topic: str, partition: int, offset: int) -> str:
    """Return the id of an event that came without one: the same each time it is read."""
    return f"evt_{uuid5(f'{topic}:{partition}:{offset}')}"


@dataclass(slots=True)
class Job:
    """One event for one subscription; the fields are described in records/job.v1.avsc."""

    job_id: str
    subscription_id: str
    subscription_partition: int
    subscription_offset: int
    activation: int
    run: int
    attempt: int
    due_at_ms: int
    first_offset: int
    sender: str
    event_type: str
    event_id: str
    customer_id: str
    source_topic: str
    source_partition: int
    source_offset: int
    appended_at_ms: int
    body: bytes


class JobCodec:
    """Encodes and decodes jobs."""

    def __init__(self) -> None:
        self._codec = RecordCodec("job")
        fields = self._codec.schema["fields"]
        self._head: Any = fastavro.parse_schema({"type": "record", "name": "JobHead", "fields": fields[:_HEAD_FIELDS]})
        self._tail: Any = fastavro.parse_schema({"type": "record", "name": "JobTail", "fields": fields[_HEAD_FIELDS:]})

    def decode(self, value: bytes | None) -> Job:
        """Decode a job record; UnreadableRecord if it is none."""
        if value is not None and value[:PREFIX_LENGTH] == self._codec.prefix:
            try:
                return _decode_job(value)
            except (IndexError, ValueError):  # the general reader says what is wrong with it
                pass
        return Job(**self._codec.decode(value))

    def tail(self, **fields: Any) -> bytes:
        """Encode what all jobs of an event share: the fields from `sender` on."""
        stream = BytesIO()
        fastavro.schemaless_writer(stream, self._tail, fields)
        return stream.getvalue()

    def encode(self, tail: bytes, **fields: Any) -> bytes:
        """Encode a job: the fields up to `first_offset` before the tail of its event."""
        stream = BytesIO()
        stream.write(self._codec.prefix)
        fastavro.schemaless_writer(stream, self._head, fields)
        stream.write(tail)
        return stream.getvalue()

    def moved(self, job: Job, value: bytes, *, attempt: int, due_at_ms: int, first_offset: int) -> bytes:
        """Encode the job of record `value` for its next tier: another attempt number and time, the rest as it is."""
        return self.encode(
            self._tail_of(job, value),
            job_id=job.job_id,
            subscription_id=job.subscription_id,
            subscription_partition=job.subscription_partition,
            subscription_offset=job.subscription_offset,
            activation=job.activation,
            run=job.run,
            attempt=attempt,
            due_at_ms=due_at_ms,
            first_offset=first_offset,
        )

    def _tail_of(self, job: Job, value: bytes) -> bytes:
        if value[:PREFIX_LENGTH] != self._codec.prefix:  # an older version: its tail may lack fields
            return self.tail(**{field["name"]: getattr(job, field["name"]) for field in self._tail["fields"]})
        stream = BytesIO(value)
        stream.seek(PREFIX_LENGTH)
        try:
            fastavro.schemaless_reader(stream, self._head, None)
        except Exception as error:  # cannot be: the whole record was decoded before
            raise UnreadableRecord("invalid_value", str(error)) from error
        return value[stream.tell() :]


def _decode_job(value: bytes) -> Job:
    """Decode a job of the newest version, field by field as job.v1.avsc has them."""
    (id_, subscription_id), position = read_texts(value, PREFIX_LENGTH, 2)
    head, position = read_longs(value, position, _HEAD_FIELDS - 2)
    subscription_partition, subscription_offset, activation, run, attempt, due_at_ms, first_offset = head
    (sender, event_type, event_id_, customer_id, source_topic), position = read_texts(value, position, 5)
    (source_partition, source_offset, appended_at_ms, size), position = read_longs(value, position, 4)
    if size < 0 or position + size != len(value):
        raise ValueError("the body does not end with the record")
    return Job(
        id_,
        subscription_id,
        subscription_partition,
        subscription_offset,
        activation,
        run,
        attempt,
        due_at_ms,
        first_offset,
        sender,
        event_type,
        event_id_,
        customer_id,
        source_topic,
        source_partition,
        source_offset,
        appended_at_ms,
        value[position:],
    )


@dataclass(slots=True)
class Outcome:
    """One attempt and what came of it; the fields are described in records/outcome.v1.avsc."""

    job: Job
    state: State
    reason: str
    status: int | None
    error: str | None
    host: str
    at_ms: int
    duration_us: int
    next_due_at_ms: int | None
    response: bytes
    body_cut: bool
    partition: int
    first_offset: int


class OutcomeCodec:
    """Encodes outcomes; they are decoded as plain records."""

    def __init__(self) -> None:
        self._codec = RecordCodec("outcome")
        self.decode = self._codec.decode

    def encode(self, outcome: Outcome) -> bytes:
        """Encode an outcome, field by field as outcome.v1.avsc has them."""
        job, next_due_at_ms, response = outcome.job, outcome.next_due_at_ms, outcome.response
        return b"".join(
            (
                self._codec.prefix,
                text_bytes(job.job_id),
                _whose(job.run, job.subscription_id, job.customer_id, job.sender, job.event_type),
                text_bytes(job.event_id),
                _what(job.attempt, outcome.state, outcome.reason, outcome.status, outcome.error),
                common_text_bytes(outcome.host),
                common_long_bytes(outcome.at_ms),
                long_bytes(outcome.duration_us),
                NULL if next_due_at_ms is None else PRESENT + long_bytes(next_due_at_ms),
                long_bytes(len(response)),
                response,
                TRUE if outcome.body_cut else FALSE,
                long_bytes(outcome.partition),
                long_bytes(outcome.first_offset),
                _source(job.source_topic, job.source_partition),
                long_bytes(job.source_offset),
                common_long_bytes(job.appended_at_ms),
            )
        )


# What outcomes have in common is encoded once.
@lru_cache(maxsize=4_096)
def _whose(run: int, subscription_id: str, customer_id: str, sender: str, event_type: str) -> bytes:
    return long_bytes(run) + b"".join(map(text_bytes, (subscription_id, customer_id, sender, event_type)))


@lru_cache(maxsize=1_024)
def _what(attempt: int, state: State, reason: str, status: int | None, error: str | None) -> bytes:
    return b"".join(
        (
            long_bytes(attempt),
            long_bytes(_STATES.index(state)),
            text_bytes(reason),
            NULL if status is None else PRESENT + long_bytes(status),
            NULL if error is None else PRESENT + text_bytes(error),
        )
    )


@lru_cache(maxsize=256)
def _source(topic: str, partition: int) -> bytes:
    return text_bytes(topic) + long_bytes(partition)


@dataclass(slots=True, kw_only=True)
class DeadLetter:
    """A job out of attempts, or a record that nobody could read; see records/dead_letter.v1.avsc."""

    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    at_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    job_id: str | None = None
    subscription_id: str | None = None
    event_id: str | None = None
    attempts: int = 0


class DeadLetterCodec:
    """Encodes and decodes dead letters."""

    def __init__(self) -> None:
        self._codec = RecordCodec("dead_letter")

    def encode(self, letter: DeadLetter) -> bytes:
        """Encode a dead letter."""
        record = {name: getattr(letter, name) for name in DeadLetter.__slots__}
        record["headers"] = [{"name": name, "value": value} for name, value in letter.headers]
        return self._codec.encode(record)

    def decode(self, value: bytes | None) -> DeadLetter:
        """Decode a dead letter; UnreadableRecord if it is none."""
        record = self._codec.decode(value)
        record["headers"] = tuple((header["name"], header["value"]) for header in record["headers"])
        return DeadLetter(**record)
