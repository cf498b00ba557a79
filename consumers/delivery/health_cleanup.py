"""Finds health records of subscriptions that were deleted. Pure.

A deleted subscription gets no jobs, so no job removes its health record. A subscription that this process has not read
yet looks deleted as well: another process, which had read more, may have written the health record. Therefore an id
counts as deleted when it is missing at two checks, seconds apart, while the table is fresh.
"""

from __future__ import annotations

from typing import Final

from consumers.delivery.endpoint import Endpoint
from consumers.delivery.results.health import HealthTracker
from consumers.subscriptions.table import SubscriptionTable

CHECK_EVERY_MS: Final = 5_000


class HealthCleanup:
    """Compares the tracked endpoints with the subscriptions table every five seconds."""

    def __init__(self, health: HealthTracker, table: SubscriptionTable[Endpoint]) -> None:
        self._health = health
        self._table = table
        self._missing_before: set[str] = set()
        self._next_check_ms = 0

    def turn(self, now_ms: int, monotonic_ms: int) -> set[str]:
        """Return the subscriptions whose health records can be deleted; empty between two checks."""
        if now_ms < self._next_check_ms or not self._table.is_fresh(monotonic_ms):
            return set()
        self._next_check_ms = now_ms + CHECK_EVERY_MS
        missing = {id_ for id_ in self._health.known if not self._table.has(id_)}
        deleted = missing & self._missing_before
        self._missing_before = missing
        return deleted
