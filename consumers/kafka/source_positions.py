"""The compacted topic `sources`: read whole, and written. Both block, and belong into a helper thread of a role.

It holds about one record for each source and hour, until it is compacted: reading it takes some milliseconds.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
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
"""By topic; None where the record cannot be read: the source was started, and nothing else is known."""


class SourcesTopic:
    """Reads and writes the topic `sources`; `kafka` are the properties of the connection."""

    def __init__(self, kafka: Mapping[str, str], admin: AdminClient, names: TopicNames) -> None:
        self._kafka = kafka
        self._topic = names.sources
        self._partitions = CompactedPartition(kafka, admin, names.sources)

    def read(self) -> PositionsBySource:
        """Return what is recorded of all sources; Unavailable if the topic does not exist or brokers do not respond."""
        states = self._partitions.read_all().values()
        return {topic: _decode(topic, value) for state in states for topic, value in state.items()}

    def write(self, sources: Iterable[SourcePositions]) -> None:
        """Write records and wait until the broker has them; KafkaException if it does not take one."""
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


def _decode(topic: str, value: bytes) -> SourcePositions | None:
    try:
        return decode_source(value)
    except UnreadableRecord as error:
        _log.warning("source_positions.rejected", topic=topic, error=str(error))
        return None
