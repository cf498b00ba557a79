"""Reads the clocks of the brokers: the time at which each of them appends a record.

No response to a client has a broker's time. So this module writes a tombstone, under a key that no other record has, to
a topic on which no role depends. The broker sets its timestamp (LogAppendTime).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException, Message, Producer

from consumers.kafka.admin import CLIENT_ERRORS, failed
from deploy.doctor.checks.clock import ClockReading, compared
from deploy.doctor.checks.cluster import TopicView
from schemas.catalog.errors import Unavailable

_KEY: Final = b"signpost doctor"
_WRITTEN_S: Final = 5.0
_OWN: Final[dict[str, Any]] = {"acks": "1", "linger.ms": 0, "message.timeout.ms": int(_WRITTEN_S * 1_000)}


def read_broker_clocks(kafka: Mapping[str, str], topic: TopicView, clock: Callable[[], int]) -> list[ClockReading]:
    """Return a reading of each broker that leads a partition of the topic; `clock` is ours, in Unix ms.

    Unavailable if a broker does not append the record, or does not return its time.
    """
    producer = Producer({**kafka, **_OWN}, logger=logging.getLogger("signpost.kafka"))
    leaders = {partition.leader: partition.number for partition in topic.partitions if partition.leader >= 0}
    try:
        producer.list_topics(topic.name, timeout=_WRITTEN_S)  # a connection is there before the time is taken
        return [_reading(producer, topic.name, number, f"broker {id_}", clock) for id_, number in leaders.items()]
    except CLIENT_ERRORS as error:
        raise failed(error, f"the brokers' clocks cannot be read: {topic.name} is not written") from error


def _reading(producer: Producer, topic: str, partition: int, other: str, clock: Callable[[], int]) -> ClockReading:
    appended: list[tuple[int, int, int]] = []
    errors: list[KafkaError] = []

    def on_delivery(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            errors.append(error)
        else:
            appended.append((*message.timestamp(), clock()))

    before_ms = clock()
    producer.produce(topic, key=_KEY, partition=partition, on_delivery=on_delivery)
    producer.flush(2 * _WRITTEN_S)
    if errors:
        raise KafkaException(errors[0])
    if not appended:
        raise KafkaException(KafkaError(KafkaError._MSG_TIMED_OUT))
    kind, at_ms, after_ms = appended[0]
    if kind != TIMESTAMP_LOG_APPEND_TIME:
        raise Unavailable(f"{other} does not return the time at which it appended a record of {topic}")
    return compared(other, before_ms, at_ms, after_ms)


def read_registry_clock(date: str, before_ms: int, after_ms: int) -> list[ClockReading]:
    """Return a reading of the clock of the schema registry, from the header Date of a response; [] without one."""
    try:
        at_ms = int(parsedate_to_datetime(date).timestamp() * 1_000)
    except (ValueError, OverflowError, OSError):  # no date, or one that the computer cannot represent
        return []
    # The header has whole seconds.
    return [compared("the schema registry", before_ms, at_ms, after_ms, precision_ms=1_000)]
