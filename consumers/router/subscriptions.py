"""Subscriptions of the router: the index for matching, and the customers whose events have to wait.

An unreadable record without a good one before it may be a subscription that matches an event. So the events of its
customer wait. If not even the customer is readable, the events of all customers whose subscriptions belong on that
partition wait.
"""

from __future__ import annotations

from collections.abc import Mapping

from consumers.router.matching import Matches, RoutedSubscription, SubscriptionIndex
from consumers.router.tables import Tables
from consumers.subscriptions.state import Entry, Unusable
from consumers.subscriptions.table import read_subscription
from schemas.avro.codec import RecordCodec
from schemas.catalog.errors import UnreadableRecord
from schemas.records.health import Health
from schemas.records.partitioner import partition_of


class Subscribers:
    """The subscriptions that events are matched with.

    The table gets `interpret` and `change` as callbacks, and `follow` gets the table.
    """

    def __init__(self) -> None:
        self._codec = RecordCodec("subscription")
        self._index = SubscriptionIndex()
        self._customers_of: dict[tuple[int, int], str] = {}
        self._unusable: Mapping[str, Unusable] = {}
        self._blocked_customers: dict[str, str] = {}
        self._blocked_partitions: dict[int, str] = {}
        self._partitions = 0

    def interpret(self, partition: int, offset: int, key: str, value: bytes) -> RoutedSubscription:
        """Decode a record into what routing needs, which is small and has no secrets."""
        try:
            return RoutedSubscription.of(read_subscription(key, value), partition, offset)
        except UnreadableRecord:
            customer = self._customer_of(value)
            if customer is not None:
                self._customers_of[partition, offset] = customer
            raise

    def change(self, subscription_id: str, entry: Entry[RoutedSubscription] | None) -> None:
        """Set the effective entry of a subscription; None if it is deleted."""
        self._index.change(subscription_id, entry)

    def on_health(self, subscription_id: str, entry: Entry[Health] | None) -> None:
        """Set the health of an endpoint; None if it has no failure."""
        self._index.set_health(subscription_id, entry)

    def follow(self, table: Tables) -> None:
        """Update the blocked customers from the unusable records of the table."""
        unusable = table.unusable()
        if unusable == self._unusable:
            return
        self._unusable = unusable
        self._partitions = table.partition_count
        self._blocked_customers.clear()
        self._blocked_partitions.clear()
        for subscription_id, record in unusable.items():
            reason = (
                f"subscription {subscription_id!r} is unreadable (partition {record.partition}, offset {record.offset}"
                f"): {record.reason}; write it again or delete it"
            )
            customer = self._customers_of.get((record.partition, record.offset))
            if customer is None:
                self._blocked_partitions[record.partition] = reason
            else:
                self._blocked_customers[customer] = reason

    def match(self, sender: str, customer_id: str, event_type: str) -> Matches:
        """Return the subscriptions that match an event."""
        return self._index.match(sender, customer_id, event_type)

    def blocked(self, customer_id: str) -> str | None:
        """Return why events of a customer have to wait, or None."""
        if not self._unusable:
            return None
        reason = self._blocked_customers.get(customer_id)
        if reason is None and self._blocked_partitions:
            reason = self._blocked_partitions.get(partition_of(customer_id, self._partitions))
        return reason

    @property
    def unusable(self) -> int:
        """Number of unreadable subscriptions."""
        return len(self._unusable)

    def _customer_of(self, value: bytes) -> str | None:
        try:
            customer = self._codec.decode(value)["customer_id"]
        except UnreadableRecord:
            return None
        return str(customer) or None
