"""All that has to be known before partitions are read: positions, and the state that is kept beside them.

In this order: the committed positions (which waits for pending ones), then the state up to its high watermark. What
another process committed last is then in both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from consumers.runtime.compacted_partition import CompactedPartition, State
from consumers.runtime.positions import CommittedPositions, PartitionKey, PartitionOffsets
from schemas.health import Health, decode_all

_log = structlog.get_logger("delivery")


@dataclass(frozen=True, slots=True)
class Known:
    """What the broker said: positions of partitions of tiers, and by partition number the health of endpoints."""

    positions: Mapping[PartitionKey, PartitionOffsets]
    health: Mapping[int, Mapping[str, Health]]


class Takeover:
    """Asks for it; `fetch` blocks, and raises KafkaException where the broker cannot say."""

    def __init__(self, positions: CommittedPositions, health: CompactedPartition) -> None:
        self._positions = positions
        self._health = health

    @property
    def topics(self) -> frozenset[str]:
        """The topics that were there when positions were asked for last."""
        return self._positions.topics

    def fetch(self, partitions: Sequence[PartitionKey]) -> Known:
        """Return what is known of these partitions."""
        positions = self._positions.fetch(partitions)
        states = self._health.read(number for _topic, number in partitions)
        return Known(positions, {number: _health_of(number, state) for number, state in states.items()})


def _health_of(number: int, state: State) -> dict[str, Health]:
    return decode_all(
        state, lambda key, error: _log.error("health.unreadable", id=key, partition=number, reason=error.reason)
    )
