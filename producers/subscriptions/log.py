"""Reader of the topic `subscriptions` for its writer, with an index by customer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from producers.compacted.log import CompactedLog, Unreadable
from schemas.catalog.errors import UnreadableRecord
from schemas.subscriptions.subscription import Subscription, decode_subscription


class SubscriptionLog(CompactedLog[Subscription]):
    """All subscriptions up to the read positions. Another thread may call `find` and `of_customer`."""

    def __init__(
        self,
        kafka: Mapping[str, str],
        topic: str,
        *,
        monotonic: Callable[[], float],
        sleep: Callable[[float], None],
        timeout_s: float,
        fetch_wait_ms: int = 10,
    ) -> None:
        super().__init__(
            kafka,
            topic,
            _read,
            monotonic=monotonic,
            sleep=sleep,
            timeout_s=timeout_s,
            fetch_wait_ms=fetch_wait_ms,
        )
        self._by_customer: dict[tuple[str, str], dict[str, Subscription]] = {}

    def of_customer(self, sender: str, customer_id: str) -> Sequence[Subscription]:
        """Return the readable subscriptions of a customer, in any order."""
        found = self._by_customer.get((sender, customer_id))
        return () if found is None else tuple(found.values())  # a copy: another thread may change the original

    def _set(self, partition: int, id_: str, record: Subscription | Unreadable | None) -> None:
        before = self.find(id_)[1]
        super()._set(partition, id_, record)
        after = self.find(id_)[1]
        # First in, then out: a subscription that only changes is in the index all the time.
        if isinstance(after, Subscription):
            self._by_customer.setdefault(_owner(after), {})[id_] = after
        if isinstance(before, Subscription) and _owner_of(after) != _owner(before):
            others = self._by_customer[_owner(before)]
            del others[id_]
            if not others:
                del self._by_customer[_owner(before)]


def _owner_of(record: Subscription | Unreadable | None) -> tuple[str, str] | None:
    return _owner(record) if isinstance(record, Subscription) else None


def _owner(subscription: Subscription) -> tuple[str, str]:
    return subscription.sender, subscription.customer_id


def _read(id_: str, value: bytes) -> Subscription:
    subscription = decode_subscription(value)
    if subscription.id != id_:
        raise UnreadableRecord("invalid_value", "the record's key is not the id in its value")
    return subscription
