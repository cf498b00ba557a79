"""The topic `sources`, read whole and written: both block, and belong into a helper thread of a role.

It holds a record or so for each source and hour, until it is compacted: reading it takes some milliseconds.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from consumers.runtime.adaptive_timeout import MAX_S, AdaptiveTimeout
from schemas.errors import UnreadableRecord
from schemas.source import SourcePositions, decode_source, encode_source
from schemas.topics import TopicNames

_WRITTEN_S: Final = MAX_S
_log = structlog.get_logger("sources")
_kafka_log = logging.getLogger("signpost.kafka")

PositionsBySource = dict[str, SourcePositions | None]
"""By topic; None where there is a note that cannot be read: the source was started, and that is all that is known."""


class SourcesTopic:
    """Reads and writes notes; `kafka` are the properties of the connection."""

    def __init__(self, kafka: Mapping[str, str], names: TopicNames) -> None:
        self._kafka = kafka
        self._topic = names.sources
        self._timeout = AdaptiveTimeout()

    def read(self) -> PositionsBySource:
        """Return all notes; KafkaException where the broker does not say."""
        own = {
            "group.id": self._topic,  # has to be there; nothing is committed
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 50,
        }
        consumer = Consumer({**self._kafka, **own}, logger=_kafka_log)
        try:
            with self._timeout.measured():
                return self._read(consumer)
        finally:
            consumer.close()

    def write(self, notes: Iterable[SourcePositions]) -> None:
        """Write notes and wait until the broker has them; KafkaException where it has not."""
        failed: list[KafkaError] = []

        def reported(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                failed.append(error)

        own = {
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "message.timeout.ms": int(_WRITTEN_S * 1_000),
            "linger.ms": 0,
        }
        producer = Producer({**self._kafka, **own}, logger=_kafka_log)
        for note in notes:
            producer.produce(self._topic, encode_source(note), note.topic, on_delivery=reported)
        if producer.flush(2 * _WRITTEN_S) and not failed:
            failed.append(KafkaError(KafkaError._MSG_TIMED_OUT))
        if failed:
            raise KafkaException(failed[0])

    def _read(self, consumer: Consumer) -> PositionsBySource:
        found = consumer.list_topics(self._topic, timeout=self._timeout.seconds).topics[self._topic]
        if found.error is not None:
            raise KafkaException(found.error)
        open_ = set(found.partitions)
        consumer.assign([TopicPartition(self._topic, number, 0) for number in open_])
        notes: PositionsBySource = {}
        while open_:
            message = consumer.poll(self._timeout.seconds)
            if message is None:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
            error = message.error()
            if error is None:
                _take(notes, message)
            elif error.code() == KafkaError._PARTITION_EOF:
                open_.discard(message.partition())
            elif not error.retriable():
                raise KafkaException(error)
        return notes


def _take(notes: PositionsBySource, message: Message) -> None:
    topic = (message.key() or b"").decode(errors="replace")
    value = message.value()
    if value is None:
        notes.pop(topic, None)
        return
    try:
        notes[topic] = decode_source(value)
    except UnreadableRecord as error:
        notes[topic] = None
        _log.warning("source_positions.rejected", topic=topic, offset=message.offset(), error=str(error))
