"""What has to be known before partitions are read: their committed positions, and the health of their endpoints.

The committed positions come first, which waits for pending transactions, then the health topic up to its high
watermark. So both hold what another process committed last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from consumers.kafka.compacted_partition import CompactedPartition, State
from consumers.kafka.positions import CommittedPositions, PartitionKey, PartitionOffsets
from schemas.catalog.errors import UnreadableRecord
from schemas.records.health import Health, decode_all

_log = structlog.get_logger("delivery")


@dataclass(frozen=True, slots=True)
class RecoveredState:
    """Positions of partitions of delay topics, and the health of endpoints by partition number and subscription."""

    positions: Mapping[PartitionKey, PartitionOffsets]
    health: Mapping[int, Mapping[str, Health]]


class PartitionRecovery:
    """Fetches it; `fetch` blocks, and raises KafkaException where the broker fails."""

    def __init__(self, positions: CommittedPositions, health: CompactedPartition) -> None:
        self._positions = positions
        self._health = health

    @property
    def topics(self) -> frozenset[str]:
        """The topics that existed when positions were fetched last."""
        return self._positions.topics

    def fetch(self, partitions: Sequence[PartitionKey]) -> RecoveredState:
        """Return what is on record of these partitions."""
        positions = self._positions.fetch(partitions)
        states = self._health.read(number for _topic, number in partitions)
        return RecoveredState(positions, {number: self._decode(number, state) for number, state in states.items()})

    def _decode(self, number: int, state: State) -> dict[str, Health]:
        def on_unreadable(key: str, error: UnreadableRecord) -> None:
            _log.error("record.rejected", topic=self._health.topic, id=key, partition=number, reason=error.reason)

        return decode_all(state, on_unreadable)
