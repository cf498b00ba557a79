"""Partitions that are stopped before a record which may not be routed yet; all others go on. Pure.

One waits for a subscription that cannot be read (its customer's events may not pass), another for the schema of a
record, which the registry does not give. Nothing of the partition behind the record is routed before it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from consumers.router.routing import Blocked, Routing, Waiting
from consumers.runtime.dead_letters import SourceRecord
from consumers.runtime.positions import PartitionKey

Stop: TypeAlias = Blocked | Waiting


class Held:
    """What is stopped, and why; `reason` and `registry_away` may be asked by any thread."""

    def __init__(self) -> None:
        self._stopped: dict[PartitionKey, tuple[SourceRecord, Stop]] = {}

    def hold(self, key: PartitionKey, record: SourceRecord, why: Stop) -> None:
        """Stop a partition before a record."""
        self._stopped[key] = (record, why)

    def go_on(
        self, blocked: Callable[[str], str | None], route: Callable[[SourceRecord], Routing]
    ) -> list[tuple[PartitionKey, Stop]]:
        """Return the partitions that may be read on, with what had stopped them; they are no longer held."""
        free: list[tuple[PartitionKey, Stop]] = []
        for key, (record, why) in list(self._stopped.items()):
            if isinstance(why, Blocked):
                if blocked(why.customer_id) is not None:
                    continue
            elif isinstance(now := route(record), Waiting):
                self._stopped[key] = (record, now)
                continue
            del self._stopped[key]
            free.append((key, why))
        return free

    def clear(self) -> None:
        """Let go of all of them."""
        self._stopped.clear()

    def reason(self) -> str | None:
        """Return why one of them is stopped, for people."""
        for _, why in list(self._stopped.values()):
            if isinstance(why, Blocked):
                return f"stopped before an event of customer {why.customer_id!r}: {why.reason}"
        return self.registry_away

    @property
    def registry_away(self) -> str | None:
        """Why a schema is not known yet, None where the registry is only being asked."""
        waits = (why.trouble for _, why in list(self._stopped.values()) if isinstance(why, Waiting))
        return next((trouble for trouble in waits if trouble is not None), None)
