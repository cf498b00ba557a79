"""Reader and writer of the compacted topic `sources`. Calls block, so they belong in a helper thread of a role.

Until compaction the topic holds about one record per source and hour. Reading it takes some milliseconds.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final, TypeAlias

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient

from consumers.kafka.adaptive_timeout import MAX_S
from consumers.kafka.compacted_partition import CompactedPartition
from schemas.catalog.errors import UnreadableRecord
from schemas.records.source import SourcePositions, decode_source, encode_source
from schemas.records.topics import TopicNames

_WRITTEN_S: Final = MAX_S
_log = structlog.get_logger("sources")
_kafka_log = logging.getLogger("signpost.kafka")

PositionsBySource: TypeAlias = dict[str, SourcePositions | None]
"""By topic; None if the record is unreadable: the source was started, and nothing else is known."""


class SourcesTopic:
    """Reads and writes the topic `sources`; `kafka` are the properties of the connection."""

    def __init__(self, kafka: Mapping[str, str], admin: AdminClient, names: TopicNames) -> None:
        self._kafka = kafka
        self._topic = names.sources
        self._partitions = CompactedPartition(kafka, admin, names.sources)

    def read(self) -> PositionsBySource:
        """Return what is recorded of all sources; Unavailable if the topic does not exist or brokers do not respond."""
        states = self._partitions.read_all().values()
        return {topic: self._decode(topic, value) for state in states for topic, value in state.items()}

    def record_set(self, topics: Iterable[str], now_ms: int) -> None:
        """Record that positions of these sources were set at `now_ms` (Unix ms). Sources without a record get none."""
        known = self.read()
        found = [source for topic in topics if (source := known.get(topic)) is not None]
        self.write([replace(source, set_at_ms=now_ms) for source in found])

    def write(self, sources: Iterable[SourcePositions]) -> None:
        """Write records and wait until the broker acknowledges them; KafkaException if it rejects one."""
        failed: list[KafkaError] = []

        def on_delivery(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                failed.append(error)

        own = {
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "message.timeout.ms": int(_WRITTEN_S * 1_000),
            "linger.ms": 0,
        }
        producer = Producer({**self._kafka, **own}, logger=_kafka_log)
        for source in sources:
            producer.produce(self._topic, encode_source(source), source.topic, on_delivery=on_delivery)
        if producer.flush(2 * _WRITTEN_S) and not failed:
            failed.append(KafkaError(KafkaError._MSG_TIMED_OUT))
        if failed:
            raise KafkaException(failed[0])

    def _decode(self, source: str, value: bytes) -> SourcePositions | None:
        try:
            return decode_source(value)
        except UnreadableRecord as error:
            _log.warning("record.rejected", topic=self._topic, id=source, reason=str(error))
            return None
