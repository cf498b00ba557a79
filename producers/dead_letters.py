"""Dead letters given another chance: jobs as a new run, records that nobody could read as they were.

A job goes to `jobs.0s` as its first attempt, under the same id and with the same bytes, and with what its subscription
says now: `run` tells it from the run that ended. Never in a transaction, which would hold up its readers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Protocol, TypeAlias

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.catalog.errors import Unavailable, UnreadableRecord
from schemas.records.delivery import UNKNOWN_OFFSET, DeadLetter, Job, JobCodec
from schemas.records.topics import FIRST, RECORD_OVERHEAD, TopicNames

ANY_PARTITION: Final = -1
_FIRST_ATTEMPT: Final = 1
_TIMEOUT_MS: Final = 30_000
_FULL_QUEUE_WAIT_S: Final = 0.1
_SHARED: Final = tuple(field.name for field in fields(Job))[
    9:
]  # from `sender` on, as schemas/records/delivery.py has it


class RetryTarget(Protocol):
    """What a job needs of the current record of its subscription; a reader of subscriptions in consumers has it."""

    @property
    def partition(self) -> int: ...  # noqa: D102  # the names say it
    @property
    def offset(self) -> int: ...  # noqa: D102
    @property
    def activation(self) -> int: ...  # noqa: D102
    @property
    def paused(self) -> bool: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Again:
    """A record to write: `id` is that of the dead letter, `what` a sentence for people."""

    id: str
    topic: str
    partition: int
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes | None], ...]
    what: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A dead letter that cannot have another chance, and why."""

    id: str
    why: str


Decision: TypeAlias = Again | Refused


class Retry:
    """Decides what a dead letter becomes. Pure, but for its arguments.

    `target` returns what counts for a subscription id now, None if it is deleted, or a sentence if it cannot be read;
    `topics` are those that are there; `runs` holds the highest run of a job that is known, by job id.
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
        """Return what to write, or why nothing can be written."""
        if letter.value is None:
            return Refused(id_, f"its bytes were not kept; the record was at {_place(letter)}")
        if letter.job_id is None and not letter.topic.startswith(f"{self._names.prefix}jobs."):
            return self._source(id_, letter, letter.value)
        try:
            job = self._codec.decode(letter.value)
        except UnreadableRecord as error:
            return Refused(id_, f"nobody can read the job in it ({error})")
        target = self._target(job.subscription_id)
        match target:
            case None:
                why = "is deleted"
            case str():
                why = f"cannot be read: {target}"
            case _ if target.paused:
                why = "is paused; resume it first"
            case _:
                return self._job(id_, job, target)
        return Refused(id_, f"its subscription {job.subscription_id} {why}")

    def _job(self, id_: str, job: Job, target: RetryTarget) -> Again:
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
        # By its key a record of jobs goes to the partition where all of its subscription's are.
        what = f"event {job.event_id} goes to {job.subscription_id} again, as run {run} of job {job.job_id}"
        return Again(id_, topic, ANY_PARTITION, job.subscription_id.encode(), value, (), what)

    def _source(self, id_: str, letter: DeadLetter, value: bytes) -> Decision:
        if letter.topic not in self._topics:
            return Refused(id_, f"the topic {letter.topic}, where it was read, is no longer there")
        what = f"the record is published to {letter.topic} again, as it was"
        return Again(id_, letter.topic, letter.partition, letter.key, value, letter.headers, what)


class RetryWriter:
    """Writes what was decided. `max_event`: bytes, as in the settings."""

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

    def write(self, records: Iterable[Again], on_written: Callable[[Again], None]) -> None:
        """Write records, and report each that the broker has; Unavailable if it did not take some."""
        failures: list[tuple[Again, KafkaError]] = []

        def delivered(record: Again) -> Callable[[KafkaError | None, Message], None]:
            return lambda error, _: failures.append((record, error)) if error is not None else on_written(record)

        for record in records:
            self._produce(record, delivered(record))
        self._producer.flush()  # each message ends within message.timeout.ms
        if failures:
            (first, error), count = failures[0], len(failures)
            raise Unavailable(f"{count} could not be written: {first.id} to {first.topic}: {error.str()}")

    def _produce(self, record: Again, delivered: Callable[[KafkaError | None, Message], None]) -> None:
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
            except BufferError:  # the queue is full: wait for reports
                self._producer.poll(_FULL_QUEUE_WAIT_S)
            except KafkaException as error:
                self._producer.flush()
                raise Unavailable(f"{record.id} to {record.topic}: {error.args[0].str()}") from error
            else:
                self._producer.poll(0)
                return


def _place(letter: DeadLetter) -> str:
    return f"{letter.topic}:{letter.partition}:{letter.offset}"
