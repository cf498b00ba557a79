"""Job records and dead letters on their way to the broker: an idempotent producer without a transaction.

Successful reports cost nothing here: only failures are called back, and an empty queue (`flush`) says that all that
was sent has been acknowledged or has failed. A failure is final: offsets behind it must not be committed.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import structlog
from confluent_kafka import KafkaError, Message, Producer

from consumers.kafka.admin import CLIENT_ERRORS
from consumers.kafka.positions import PartitionKey
from consumers.router.jobs import KeyValue
from schemas.records.topics import FIRST, RECORD_OVERHEAD, TopicNames

_log = structlog.get_logger("router")
_kafka_log = logging.getLogger("signpost.kafka.producer")
# librdkafka warns of it at every start, as it calls it experimental. Without it a record that fails for good could let
# later ones pass; with it the producer ends, and so does the role.
_kafka_log.addFilter(lambda record: "enable.gapless.guarantee is experimental" not in record.getMessage())
# What waits for the broker, and with it most of what an event of any size takes of memory. The events between two
# commits (commits.MAX_BYTES) fit; one that alone is larger goes on when there is room again.
_QUEUE_KIB: Final = 64 * 1024
# So much of an event is sent before its loop looks at everything else again.
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
        # A job is never given up: a broker that is away is waited for, and the offsets with it.
        "message.timeout.ms": 0,
        "delivery.report.only.error": True,
        "partitioner": "murmur2_random",
        "message.max.bytes": max_event + RECORD_OVERHEAD,
        "queue.buffering.max.messages": 1_000_000,
        "queue.buffering.max.kbytes": _QUEUE_KIB,
    }


@dataclass(slots=True)
class Sending:
    """The records that an event became, on their way: `next_offset` in partition `key` may be committed behind them."""

    key: PartitionKey
    next_offset: int
    topic: str
    records: Iterator[KeyValue]
    count: int = 0  # of those sent
    size: int = 0  # of those sent, in bytes
    next: KeyValue | None = None  # made already, and still to be sent


class Output:
    """Sends records; `on_error` gets errors of the connection, `trouble` is set when something failed for good."""

    def __init__(self, config: Mapping[str, Any], names: TopicNames, on_error: Callable[[KafkaError], None]) -> None:
        own = {"on_delivery": self._on_delivery, "error_cb": on_error}
        self._producer = Producer({**config, **own}, logger=_kafka_log)
        self.jobs_topic = names.jobs(FIRST)
        self.dead_topic = names.dead
        self._operations_topic = names.operations
        self._operations: deque[tuple[bytes, bytes]] = deque()  # buffered while the queue is full
        self.trouble: str | None = None
        self.is_full = False  # when something was to be sent last

    def send(self, sending: Sending) -> bool:
        """Send on, as long as there is room and the turn is not too long; whether all has been sent."""
        produce, topic, records = self._producer.produce, sending.topic, sending.records
        enough = sending.size + PART_BYTES
        self.is_full = False
        record = sending.next or next(records, None)
        while record is not None:
            if sending.size >= enough:
                break
            key, value = record
            try:
                produce(topic, value, key)
            except BufferError:
                self.is_full = True
                break
            sending.count += 1
            sending.size += len(value)
            record = next(records, None)
        sending.next = record
        return record is None

    def send_operation(self, key: bytes, value: bytes) -> None:
        """Send a record to `operations`, now or with a later `wait`."""
        self._operations.append((key, value))
        self._send_operations()

    def wait(self, seconds: float) -> None:
        """Take reports; returns early where there are some."""
        with self._failing():
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
        """Send without lingering and wait for the reports; whether all have been there, and none was a failure."""
        left = 1
        with self._failing():
            left = self._producer.flush(seconds)
        return left == 0 and self.trouble is None

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Keep a fatal error, which the client raises in place of its `error_cb`.

        It goes on to serve reports with that exception set; whichever callback comes next then ends in SystemError.
        """
        try:
            yield
        except _FAILURES as error:
            self.trouble = self.trouble or f"the producer failed for good: {error.__cause__ or error}"

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            return
        self.trouble = self.trouble or f"a record for {message.topic()} was refused: {error.str()}"
        _log.error("router.record_rejected", topic=message.topic(), partition=message.partition(), error=error.str())
