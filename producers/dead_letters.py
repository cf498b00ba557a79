"""Retry of dead letters: jobs start a new run, unreadable records are published again unchanged.

A job is written to `jobs.0s` as its first attempt, with the same id and body, with the current record of its
subscription, and in the same trace. Its `run` distinguishes it from the run that ended. No transactions are used,
because an open transaction blocks the readers of the topic.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Protocol, TypeAlias

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.catalog.errors import NoResponse, Unavailable, UnreadableRecord
from schemas.records.delivery import UNKNOWN_OFFSET, DeadLetter, Job, JobCodec
from schemas.records.job_record import HEAD_FIELDS
from schemas.records.topics import FIRST, RECORD_OVERHEAD, TopicNames

ANY_PARTITION: Final = -1
_FIRST_ATTEMPT: Final = 1
_TIMEOUT_MS: Final = 30_000
_FULL_QUEUE_WAIT_S: Final = 0.1
_LOST_AFTER_S: Final = _TIMEOUT_MS / 1_000 + 10.0  # the client ends each message in time, unless it has lost it
# The fields from `sender` on, which the tail of a job record contains.
_SHARED: Final = tuple(field.name for field in fields(Job))[HEAD_FIELDS:]


Headers: TypeAlias = tuple[tuple[str, bytes | None], ...]
"""Headers of the original record, with the context of its trace if it had one."""


class RetryTarget(Protocol):
    """The current record of a subscription, as far as a job needs it; a reader in consumers implements it."""

    @property
    def partition(self) -> int: ...  # noqa: D102  # the names are those of the record
    @property
    def offset(self) -> int: ...  # noqa: D102  # as above
    @property
    def activation(self) -> int: ...  # noqa: D102  # as above
    @property
    def paused(self) -> bool: ...  # noqa: D102  # as above


@dataclass(frozen=True, slots=True)
class PlannedRetry:
    """A record to write: `id` is the id of the dead letter, `what` a sentence for people."""

    id: str
    topic: str
    partition: int
    key: bytes | None
    value: bytes
    headers: Headers
    what: str


@dataclass(frozen=True, slots=True)
class RefusedRetry:
    """A dead letter that cannot be retried, and the reason."""

    id: str
    why: str


Decision: TypeAlias = PlannedRetry | RefusedRetry


class RetryPlanner:
    """Decides how dead letters are retried. No I/O except in `target`.

    `target` returns the current record of a subscription id, None if it is deleted, or a sentence if it cannot be read.
    `topics` are the existing topics. `runs` has the highest known run of each job, by job id.
    """

    def __init__(
        self,
        names: TopicNames,
        target: Callable[[str], RetryTarget | str | None],
        topics: Iterable[str],
        runs: Mapping[str, int],
    ) -> None:
        self._names = names
        self._target = target
        self._topics = frozenset(topics)
        self._runs = runs
        self._codec = JobCodec()

    def decide(self, id_: str, letter: DeadLetter) -> Decision:
        """Return the record to write, or the reason why there is none."""
        if letter.value is None:
            return RefusedRetry(
                id_, f"the dead letter does not contain the original record, which was at {_place(letter)}"
            )
        if letter.job_id is None and not letter.topic.startswith(f"{self._names.prefix}jobs."):
            return self._source(id_, letter, letter.value)
        try:
            job = self._codec.decode(letter.value)
        except UnreadableRecord as error:
            return RefusedRetry(id_, f"the job in it is unreadable ({error})")
        target = self._target(job.subscription_id)
        match target:
            case None:
                why = "is deleted"
            case str():
                why = f"cannot be read: {target}"
            case _ if target.paused:
                why = "is paused; resume it first"
            case _:
                return self._job(id_, job, target, letter.headers)
        return RefusedRetry(id_, f"its subscription {job.subscription_id} {why}")

    def _job(self, id_: str, job: Job, target: RetryTarget, headers: Headers) -> PlannedRetry:
        run = max(job.run, self._runs.get(job.job_id, 0)) + 1
        value = self._codec.encode(
            self._codec.tail(**{name: getattr(job, name) for name in _SHARED}),
            job_id=job.job_id,
            subscription_id=job.subscription_id,
            subscription_partition=target.partition,
            subscription_offset=target.offset,
            activation=target.activation,
            run=run,
            attempt=_FIRST_ATTEMPT,
            due_at_ms=0,
            first_offset=UNKNOWN_OFFSET,
        )
        topic = self._names.jobs(FIRST)
        # The key selects the partition, which is the same for all jobs of a subscription.
        what = f"event {job.event_id} is sent to {job.subscription_id} again, as run {run} of job {job.job_id}"
        return PlannedRetry(id_, topic, ANY_PARTITION, job.subscription_id.encode(), value, headers, what)

    def _source(self, id_: str, letter: DeadLetter, value: bytes) -> Decision:
        if letter.topic not in self._topics:
            return RefusedRetry(id_, f"its source topic {letter.topic} no longer exists")
        what = f"the record is published to {letter.topic} again, unchanged"
        return PlannedRetry(id_, letter.topic, letter.partition, letter.key, value, letter.headers, what)


class RetryWriter:
    """Writes the decided records. `max_event` is the setting, in bytes."""

    def __init__(self, kafka: Mapping[str, str], max_event: int) -> None:
        own: dict[str, Any] = {
            "enable.idempotence": True,
            "acks": "all",
            "partitioner": "murmur2_random",
            "message.timeout.ms": _TIMEOUT_MS,
            "message.max.bytes": max_event + 2 * RECORD_OVERHEAD,
        }
        self._producer = Producer(
            {"compression.type": "lz4", **kafka, **own}, logger=logging.getLogger("signpost.kafka")
        )

    def write(self, records: Iterable[PlannedRetry], on_written: Callable[[PlannedRetry], None]) -> None:
        """Write records and report each acknowledged one; Unavailable if the broker did not acknowledge all."""
        failures: list[tuple[PlannedRetry, KafkaError]] = []

        def delivered(record: PlannedRetry) -> Callable[[KafkaError | None, Message], None]:
            return lambda error, _: failures.append((record, error)) if error is not None else on_written(record)

        for record in records:
            self._produce(record, delivered(record))
        lost = self._producer.flush(_LOST_AFTER_S)
        if failures:
            first, error = failures[0]
            raise Unavailable(f"{len(failures)} could not be written: {first.id} to {first.topic}: {error.str()}")
        if lost:
            raise _no_response(lost)

    def _produce(self, record: PlannedRetry, delivered: Callable[[KafkaError | None, Message], None]) -> None:
        lost_s = time.monotonic() + _LOST_AFTER_S
        while True:
            try:
                self._producer.produce(
                    record.topic,
                    record.value,
                    record.key,
                    record.partition,
                    headers=list(record.headers),
                    on_delivery=delivered,
                )
            except BufferError:  # the queue is full: wait for delivery reports
                if time.monotonic() > lost_s:
                    raise _no_response(len(self._producer)) from None
                self._producer.poll(_FULL_QUEUE_WAIT_S)
            except KafkaException as error:
                self._producer.flush(_LOST_AFTER_S)
                raise Unavailable(f"{record.id} to {record.topic}: {error.args[0].str()}") from error
            else:
                self._producer.poll(0)
                return


def _place(letter: DeadLetter) -> str:
    return f"{letter.topic}:{letter.partition}:{letter.offset}"


def _no_response(records: int) -> NoResponse:
    return NoResponse(f"no response of the brokers for {records} records, which may be written or not")
