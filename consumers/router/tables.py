"""The tables that the router follows: subscriptions, and the health of their endpoints."""

from __future__ import annotations

from typing import Any

from consumers.subscriptions.state import Unusable
from consumers.subscriptions.table import SubscriptionTable
from schemas.records.health import Health, decode_health


def interpret_health(_partition: int, _offset: int, _key: str, value: bytes) -> Health:
    """Read a record of the topic `health`."""
    return decode_health(value)


class Tables:
    """Both tables as one: they are read completely before the first event, then followed.

    Health only saves jobs that delivery would cancel. So `is_fresh` does not consider its table.
    """

    def __init__(self, subscriptions: SubscriptionTable[Any], health: SubscriptionTable[Health]) -> None:
        self._subscriptions = subscriptions
        self._health = health

    @property
    def current(self) -> bool:
        """Whether both tables have read all records that existed when the role started."""
        return self._subscriptions.current and self._health.current

    @property
    def partition_count(self) -> int:
        """Number of partitions of `subscriptions`; 0 until the broker has responded."""
        return self._subscriptions.partition_count

    def __len__(self) -> int:
        return len(self._subscriptions)

    def poll(self, now_ms: int) -> None:
        """Read records that have arrived; `now_ms` is monotonic."""
        self._subscriptions.poll(now_ms)
        self._health.poll(now_ms)

    def is_fresh(self, now_ms: int) -> bool:
        """Whether the table of subscriptions may be used now."""
        return self._subscriptions.is_fresh(now_ms)

    def receives(self, now_ms: int) -> bool:
        """Whether records of the table of subscriptions arrive."""
        return self._subscriptions.receives(now_ms)

    def staleness_ms(self, now_ms: int) -> int:
        """Return for how long it is unknown whether the table of subscriptions is complete."""
        return self._subscriptions.staleness_ms(now_ms)

    def unusable(self) -> dict[str, Unusable]:
        """Return the subscriptions that have only an unusable record."""
        return self._subscriptions.unusable()

    def close(self) -> None:
        """Close both consumers."""
        self._subscriptions.close()
        self._health.close()
