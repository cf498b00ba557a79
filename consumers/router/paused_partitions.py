"""Partitions paused before a record that cannot be routed yet; all other partitions continue. Pure.

A partition is paused for an unreadable subscription, as the events of its customer have to wait, or for the schema of a
record that the registry does not return. No later record of the partition is routed before that one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from consumers.kafka.dead_letters import SourceRecord
from consumers.kafka.positions import PartitionKey
from consumers.router.routing import Blocked, Routing, Waiting

PauseReason: TypeAlias = Blocked | Waiting


class PausedPartitions:
    """Paused partitions, each with its record and reason; any thread may call `reason` and `registry_error`."""

    def __init__(self) -> None:
        self._paused: dict[PartitionKey, tuple[SourceRecord, PauseReason]] = {}

    def pause(self, key: PartitionKey, record: SourceRecord, why: PauseReason) -> None:
        """Pause a partition before a record."""
        self._paused[key] = (record, why)

    def resume(
        self, blocked: Callable[[str], str | None], route: Callable[[SourceRecord], Routing]
    ) -> list[tuple[PartitionKey, PauseReason]]:
        """Resume the partitions whose reason no longer holds, and return them with that reason."""
        resumed: list[tuple[PartitionKey, PauseReason]] = []
        for key, (record, why) in list(self._paused.items()):
            if isinstance(why, Blocked):
                if blocked(why.customer_id) is not None:
                    continue
            elif isinstance(now := route(record), Waiting):
                self._paused[key] = (record, now)
                continue
            del self._paused[key]
            resumed.append((key, why))
        return resumed

    def clear(self) -> None:
        """Forget all of them."""
        self._paused.clear()

    def reason(self) -> str | None:
        """Return the reason of one paused partition as a sentence, None if none is paused."""
        for _, why in list(self._paused.values()):
            if isinstance(why, Blocked):
                return f"stopped before an event of customer {why.customer_id!r}: {why.reason}"
        return self.registry_error

    @property
    def registry_error(self) -> str | None:
        """Why a schema is unknown; None if none is missing, or the registry has not responded yet."""
        errors = (why.error for _, why in list(self._paused.values()) if isinstance(why, Waiting))
        return next((error for error in errors if error is not None), None)
