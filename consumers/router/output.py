"""The router's producer of job records and dead letters: idempotent, without transactions.

Only failures are reported, so acknowledged records cost nothing. An empty queue (`flush`) means that every record was
acknowledged or has failed. A failure is final: offsets after it must not be committed.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, Final

import structlog
from confluent_kafka import KafkaError, Message, Producer

from consumers.kafka.admin import CLIENT_ERRORS
from consumers.kafka.positions import PartitionKey
from consumers.router.jobs import KeyValue
from schemas.records.topics import FIRST, RECORD_OVERHEAD, TopicNames
from schemas.records.trace_context import RecordHeaders

_log = structlog.get_logger("router")
_kafka_log = logging.getLogger("signpost.kafka.producer")
# librdkafka warns at every start that this property is experimental. Without it, later records could follow one that
# has failed for good. With it the producer stops, and so does the role.
_kafka_log.addFilter(lambda record: "enable.gapless.guarantee is experimental" not in record.getMessage())
# The queue bounds the records that wait for the broker, and so most of the memory of a large event. The events between
# two commits (commits.MAX_BYTES) fit. A larger single event continues when there is room again.
_QUEUE_KIB: Final = 64 * 1024
# The most that one turn sends of an event, so that the loop can do its other work.
PART_BYTES: Final = 2 * 1024 * 1024
_FAILURES: Final[tuple[type[BaseException], ...]] = (*CLIENT_ERRORS, SystemError)


def producer_config(kafka: Mapping[str, str], max_event: int) -> dict[str, Any]:
    """Return librdkafka's properties; `max_event` (bytes) is the size of the largest source record."""
    return {
        "compression.type": "lz4",
        "linger.ms": 2,
        **kafka,
        "enable.idempotence": True,
        "enable.gapless.guarantee": True,
        "acks": "all",
        # No job is dropped: while no broker is reachable, records and offsets wait.
        "message.timeout.ms": 0,
        "delivery.report.only.error": True,
        "partitioner": "murmur2_random",
        "message.max.bytes": max_event + RECORD_OVERHEAD,
        "queue.buffering.max.messages": 1_000_000,
        "queue.buffering.max.kbytes": _QUEUE_KIB,
    }


@dataclass(slots=True)
class EventRecords:
    """The records of an event while they are sent; after them, `next_offset` of partition `key` may be committed."""

    key: PartitionKey
    next_offset: int
    topic: str
    records: Iterator[KeyValue]
    count: int = 0  # sent records
    size: int = 0  # of sent records, in bytes
    next: KeyValue | None = None  # made, but there was no room for it
    headers: RecordHeaders | None = None  # of all records: the context of a trace


class Output:
    """Sends records; `on_error` gets connection errors, `failure` is set after a permanent failure."""

    def __init__(self, config: Mapping[str, Any], names: TopicNames, on_error: Callable[[KafkaError], None]) -> None:
        own = {"on_delivery": self._on_delivery, "error_cb": on_error}
        self._producer = Producer({**config, **own}, logger=_kafka_log)
        self.jobs_topic = names.jobs(FIRST)
        self.dead_topic = names.dead
        self._operations_topic = names.operations
        self._operations: deque[tuple[bytes, bytes]] = deque()  # buffered while the queue is full
        self.failure: str | None = None
        self.is_full = False  # at the last attempt to send

    def send(self, event: EventRecords) -> bool:
        """Send records while there is room, up to PART_BYTES; return whether all have been sent."""
        produce: Callable[..., None] = self._producer.produce
        topic = event.topic
        if event.headers is not None:
            produce = partial(produce, headers=event.headers)
        stop_at = event.size + PART_BYTES
        self.is_full = False
        records = event.records if event.next is None else chain((event.next,), event.records)
        event.next = None
        for record in records:
            key, value = record
            try:
                produce(topic, value, key)
            except BufferError:
                event.next = record
                self.is_full = True
                return False
            event.count += 1
            event.size += len(value)
            if event.size >= stop_at:
                return False
        return True

    def send_operation(self, key: bytes, value: bytes) -> None:
        """Send a record to `operations`, now or with a later `wait`."""
        self._operations.append((key, value))
        self._send_operations()

    def wait(self, seconds: float) -> None:
        """Wait for delivery reports; returns early if there are any."""
        with self._catching_failure():
            self._producer.poll(seconds)
        if self._operations:
            self._send_operations()

    def _send_operations(self) -> None:
        with suppress(BufferError):
            while self._operations:
                key, value = self._operations[0]
                self._producer.produce(self._operations_topic, value, key)
                self._operations.popleft()

    def flush(self, seconds: float) -> bool:
        """Send without lingering and wait for the reports; return whether all arrived without a failure."""
        left = 1
        with self._catching_failure():
            left = self._producer.flush(seconds)
        return left == 0 and self.failure is None

    @contextmanager
    def _catching_failure(self) -> Iterator[None]:
        """Keep a fatal error, which the client raises instead of calling `error_cb`.

        The client continues to serve reports with that exception set, so the next callback may raise SystemError.
        """
        try:
            yield
        except _FAILURES as error:
            self.failure = self.failure or f"the producer has a fatal error: {error.__cause__ or error}"

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            return
        self.failure = self.failure or f"a record for {message.topic()} was rejected: {error.str()}"
        _log.error("record.produce_failed", topic=message.topic(), partition=message.partition(), error=error.str())
