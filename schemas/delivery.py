"""Jobs, outcomes and dead letters: what moves between router and delivery, and their records.

A job is encoded in two halves that are simply joined, as Avro has no framing: the head differs per subscription and
attempt, the tail is the same for all jobs of an event. The router encodes the tail once per event, and a retry keeps
the bytes of the tail as they are.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final, Literal, TypeAlias

import fastavro

from schemas.codec import PREFIX_LENGTH, RecordCodec
from schemas.errors import UnreadableRecord

# Namespace of job and event ids (a random uuid4, fixed for ever): f3b1f1e6-7c0e-4c0f-9d0c-0f2f6d1a54c7
_NAMESPACE: Final = bytes.fromhex("f3b1f1e67c0e4c0f9d0c0f2f6d1a54c7")
_HEAD_FIELDS: Final = 9
UNKNOWN_OFFSET: Final = -1

State: TypeAlias = Literal["delivered", "retry", "dead", "cancelled"]


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
        """Encode an outcome."""
        job = outcome.job
        return self._codec.encode(
            {
                "job_id": job.job_id,
                "run": job.run,
                "subscription_id": job.subscription_id,
                "customer_id": job.customer_id,
                "sender": job.sender,
                "event_type": job.event_type,
                "event_id": job.event_id,
                "attempt": job.attempt,
                "state": outcome.state,
                "reason": outcome.reason,
                "status": outcome.status,
                "error": outcome.error,
                "host": outcome.host,
                "at_ms": outcome.at_ms,
                "duration_us": outcome.duration_us,
                "next_due_at_ms": outcome.next_due_at_ms,
                "response": outcome.response,
                "body_cut": outcome.body_cut,
                "partition": outcome.partition,
                "first_offset": outcome.first_offset,
                "source_topic": job.source_topic,
                "source_partition": job.source_partition,
                "source_offset": job.source_offset,
                "appended_at_ms": job.appended_at_ms,
            }
        )


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
