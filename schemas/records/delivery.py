"""Jobs, outcomes and dead letters, and their records.

A job record is the concatenation of a head and a tail, because Avro has no framing. The head differs per subscription
and attempt. The tail is the same for all jobs of an event. The router encodes the tail once per event, and a retry
copies the bytes of the tail.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias, get_args

from schemas.avro.binary import FALSE, NULL, PRESENT, TRUE, common_long_bytes, common_text_bytes, long_bytes, text_bytes
from schemas.avro.codec import PREFIX_LENGTH, RecordCodec
from schemas.catalog.errors import UnreadableRecord
from schemas.records.job_record import UNKNOWN_OFFSET as UNKNOWN_OFFSET  # noqa: PLC0414  # mypy: exported from here as well
from schemas.records.job_record import job_fields, moved_record, source_bytes, type_bytes
from schemas.records.outcome_record import outcome_fields
from schemas.records.trace_context import TraceContext

# Namespace of job and event ids (a random uuid4 that never changes): f3b1f1e6-7c0e-4c0f-9d0c-0f2f6d1a54c7
_NAMESPACE: Final = bytes.fromhex("f3b1f1e67c0e4c0f9d0c0f2f6d1a54c7")
# RFC 9562: the two highest bits of this digit are 10.
_VARIANT: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}

State: TypeAlias = Literal["delivered", "retry", "dead", "cancelled"]
_STATES: Final[tuple[State, ...]] = get_args(State)


def uuid5(name: str) -> str:
    """Return the uuid5 (RFC 9562) of a name in Signpost's namespace. Cheaper than `uuid.uuid5`."""
    text = hashlib.sha1(_NAMESPACE + name.encode(), usedforsecurity=False).hexdigest()
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:32]}"


def job_id(topic: str, partition: int, offset: int, subscription_id: str) -> str:
    """Return the id of the job of one event for one subscription. Routing the event again gives the same id."""
    return uuid5(job_place(topic, partition, offset) + subscription_id)


def job_place(topic: str, partition: int, offset: int) -> str:
    """Return the common prefix of the uuid5 names of an event's jobs; the subscription id follows."""
    return f"{topic}:{partition}:{offset}:"


def event_id(topic: str, partition: int, offset: int) -> str:
    """Return the id of an event that has none. Reading the event again gives the same id."""
    return f"evt_{uuid5(f'{topic}:{partition}:{offset}')}"


@dataclass(slots=True)
class Job:
    """One event for one subscription; records/job.v1.avsc describes the fields."""

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


_JOB_FIELDS: Final = tuple(field.name for field in fields(Job))


class JobCodec:
    """Encodes and decodes jobs."""

    def __init__(self) -> None:
        self._codec = RecordCodec("job")

    def decode(self, value: bytes | None) -> Job:
        """Decode a job record; UnreadableRecord if it is invalid."""
        if value is not None and value[:PREFIX_LENGTH] == self._codec.prefix:
            try:
                job = Job(*job_fields(value))
            except (IndexError, ValueError):  # the general reader decides and reports what is wrong
                pass
            else:
                if job.attempt > 0:
                    return job
        job = Job(**self._codec.decode(value))
        if job.attempt < 1:
            raise UnreadableRecord("invalid_value", f"attempt: expected 1 or more, found {job.attempt}")
        return job

    def tail(
        self,
        *,
        sender: str,
        event_type: str,
        event_id: str,
        customer_id: str,
        source_topic: str,
        source_partition: int,
        source_offset: int,
        appended_at_ms: int,
        body: bytes,
    ) -> bytes:
        """Encode the part that all jobs of an event share: the fields from `sender` on."""
        return b"".join(
            (
                type_bytes(sender, event_type),
                text_bytes(event_id),
                text_bytes(customer_id),
                source_bytes(source_topic, source_partition),
                long_bytes(source_offset),
                common_long_bytes(appended_at_ms),
                long_bytes(len(body)),
                body,
            )
        )

    def encode(
        self,
        tail: bytes,
        *,
        job_id: str,
        subscription_id: str,
        subscription_partition: int,
        subscription_offset: int,
        activation: int,
        run: int,
        attempt: int,
        due_at_ms: int,
        first_offset: int,
    ) -> bytes:
        """Encode a job: the fields up to `first_offset`, followed by the tail of its event."""
        longs = (subscription_partition, subscription_offset, activation, run, attempt, due_at_ms, first_offset)
        return self.join(job_id, text_bytes(subscription_id) + b"".join(map(long_bytes, longs)), tail)

    def join(self, job_id: str, head: bytes, tail: bytes) -> bytes:
        """Encode a job from `head`, the fields from `subscription_id` to `first_offset`, and the tail of its event."""
        return b"".join((self._codec.prefix, text_bytes(job_id), head, tail))

    def moved(self, job: Job, value: bytes, *, attempt: int, due_at_ms: int, first_offset: int) -> bytes:
        """Encode the job of record `value` for its next delay topic, with another attempt number and due time."""
        if value[:PREFIX_LENGTH] == self._codec.prefix:
            with suppress(IndexError, ValueError):
                return moved_record(value, job.run, attempt, due_at_ms, first_offset)
        # The record has an older version, or strings that only the general reader accepts.
        values = {name: getattr(job, name) for name in _JOB_FIELDS}
        values |= {"attempt": attempt, "due_at_ms": due_at_ms, "first_offset": first_offset}
        return self._codec.encode(values)


@dataclass(slots=True)
class Outcome:
    """The result of one attempt; records/outcome.v2.avsc describes the fields."""

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
    response_not_kept: int = 0
    # The span of the attempt, in the headers of the record and not in its value.
    trace: TraceContext | None = None

    @property
    def trace_id(self) -> str | None:
        """The id of the trace with this attempt, in hexadecimal; None if there is no recorded trace."""
        trace = self.trace
        return trace.trace_id if trace is not None and trace.is_sampled else None


class OutcomeCodec:
    """Encodes outcomes, and decodes them to plain records.

    Most responses are kept completely: their outcomes have version 1, which lacks only `response_not_kept`.
    """

    def __init__(self) -> None:
        self._codec = RecordCodec("outcome")
        (self._version_1,) = self._codec.older_prefixes
        self.decode = self._codec.decode

    def decode_fields(self, value: bytes | None) -> tuple[Any, ...]:
        """Decode an outcome to its fields in the order of the newest schema; UnreadableRecord if it is invalid.

        Faster than `decode`.
        """
        if value is not None:
            prefix = value[:PREFIX_LENGTH]
            if prefix in (self._version_1, self._codec.prefix):
                with suppress(IndexError, ValueError):  # the general reader decides and reports what is wrong
                    return outcome_fields(value, is_first_version=prefix == self._version_1)
        return tuple(self._codec.decode(value).values())

    def encode(self, outcome: Outcome) -> bytes:
        """Encode an outcome in the field order of its schema, whose last field is only in version 2."""
        job, next_due_at_ms, response = outcome.job, outcome.next_due_at_ms, outcome.response
        not_kept = outcome.response_not_kept
        return b"".join(
            (
                self._codec.prefix if not_kept else self._version_1,
                text_bytes(job.job_id),
                _job_part(job.run, job.subscription_id, job.customer_id, job.sender, job.event_type),
                text_bytes(job.event_id),
                _result_part(job.attempt, outcome.state, outcome.reason, outcome.status, outcome.error),
                common_text_bytes(outcome.host),
                common_long_bytes(outcome.at_ms),
                long_bytes(outcome.duration_us),
                NULL if next_due_at_ms is None else PRESENT + long_bytes(next_due_at_ms),
                long_bytes(len(response)),
                response,
                TRUE if outcome.body_cut else FALSE,
                long_bytes(outcome.partition),
                long_bytes(outcome.first_offset),
                source_bytes(job.source_topic, job.source_partition),
                long_bytes(job.source_offset),
                common_long_bytes(job.appended_at_ms),
                long_bytes(not_kept) if not_kept else b"",
            )
        )


# Cached, because many outcomes share these parts.
@lru_cache(maxsize=4_096)
def _job_part(run: int, subscription_id: str, customer_id: str, sender: str, event_type: str) -> bytes:
    return long_bytes(run) + b"".join(map(text_bytes, (subscription_id, customer_id, sender, event_type)))


@lru_cache(maxsize=1_024)
def _result_part(attempt: int, state: State, reason: str, status: int | None, error: str | None) -> bytes:
    return b"".join(
        (
            long_bytes(attempt),
            long_bytes(_STATES.index(state)),
            text_bytes(reason),
            NULL if status is None else PRESENT + long_bytes(status),
            NULL if error is None else PRESENT + text_bytes(error),
        )
    )


@dataclass(slots=True, kw_only=True)
class DeadLetter:
    """A job out of attempts, or an unreadable record; records/dead_letter.v1.avsc describes the fields."""

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


_LETTER_FIELDS: Final = tuple(field.name for field in fields(DeadLetter))


class DeadLetterCodec:
    """Encodes and decodes dead letters."""

    def __init__(self) -> None:
        self._codec = RecordCodec("dead_letter")

    def encode(self, letter: DeadLetter) -> bytes:
        """Encode a dead letter."""
        record = {name: getattr(letter, name) for name in _LETTER_FIELDS}
        record["headers"] = [{"name": name, "value": value} for name, value in letter.headers]
        return self._codec.encode(record)

    def decode(self, value: bytes | None) -> DeadLetter:
        """Decode a dead letter; UnreadableRecord if it is invalid."""
        record = self._codec.decode(value)
        record["headers"] = tuple((header["name"], header["value"]) for header in record["headers"])
        return DeadLetter(**record)
