"""Fetches the state of partitions before they are read: committed positions, and the health of their endpoints.

The positions are fetched first, which waits for pending transactions. Then the topic `health` is read up to its high
watermark. So both include the last commit of a previous owner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from consumers.kafka.compacted_partition import CompactedPartition, LatestValues
from consumers.kafka.positions import CommittedPositions, PartitionKey, PartitionOffsets
from schemas.catalog.errors import UnreadableRecord
from schemas.records.health import Health, decode_all

_log = structlog.get_logger("delivery")


@dataclass(frozen=True, slots=True)
class RecoveredState:
    """Positions of partitions, and the health of endpoints by partition number and subscription id."""

    positions: Mapping[PartitionKey, PartitionOffsets]
    health: Mapping[int, Mapping[str, Health]]


class PartitionRecovery:
    """Fetches the committed state of partitions."""

    def __init__(self, positions: CommittedPositions, health: CompactedPartition) -> None:
        self._positions = positions
        self._health = health

    @property
    def topics(self) -> frozenset[str]:
        """The topics that existed at the last `fetch`."""
        return self._positions.topics

    def fetch(self, partitions: Sequence[PartitionKey]) -> RecoveredState:
        """Return the committed state of these partitions. Blocks; KafkaException if the broker fails."""
        positions = self._positions.fetch(partitions)
        states = self._health.read(number for _topic, number in partitions)
        return RecoveredState(positions, {number: self._decode(number, state) for number, state in states.items()})

    def _decode(self, number: int, state: LatestValues) -> dict[str, Health]:
        def on_unreadable(key: str, error: UnreadableRecord) -> None:
            _log.error("record.rejected", topic=self._health.topic, id=key, partition=number, reason=error.reason)

        return decode_all(state, on_unreadable)
