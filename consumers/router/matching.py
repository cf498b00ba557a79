"""Index of subscriptions, which finds those that match an event. Pure; the table keeps it up to date.

The key is (sender, customer), so that a match costs the same with ten subscriptions and with a hundred thousand. With
many subscriptions each one is used rarely and is not in the processor's caches. So each is one small object with the
encoded beginning of its jobs, and subscriptions with equal filters share one filter object.
"""

from __future__ import annotations

from collections.abc import Iterable, Sized
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from consumers.subscriptions.state import Entry
from schemas.records.health import Health
from schemas.records.job_record import first_head
from schemas.subscriptions.subscription import Subscription, matches

# Up to this many subscriptions of a customer are searched at each match; with more, the results are cached.
_SEARCHED: Final = 16
_MAX_TYPES: Final = 4_096

_CustomerKey: TypeAlias = tuple[str, str]


class _Filter(dict[str, bool]):
    """Cache of event type to whether it matches; bounded, as some senders accept any event type."""

    __slots__ = ("patterns",)

    def __init__(self, patterns: tuple[str, ...]) -> None:
        self.patterns = patterns

    def __missing__(self, event_type: str) -> bool:
        if len(self) >= _MAX_TYPES:
            self.clear()
        taken = any(matches(pattern, event_type) for pattern in self.patterns)
        self[event_type] = taken
        return taken


_filter_of = lru_cache(maxsize=4_096)(_Filter)


@dataclass(slots=True, eq=False)
class RoutedSubscription:
    """A subscription as the router keeps it; `head` is the encoded beginning of its jobs.

    `withheld`: it gets no jobs, because it is paused, or disabled for its activation.
    """

    id: str
    customer_key: _CustomerKey
    takes: _Filter
    paused: bool
    activation: int
    withheld: bool
    head: bytes

    @classmethod
    def of(cls, subscription: Subscription, partition: int, offset: int) -> RoutedSubscription:
        """Return the subscription whose record is at `offset` of `partition`."""
        return cls(
            subscription.id,
            (subscription.sender, subscription.customer_id),
            _filter_of(subscription.event_types),
            subscription.paused,
            subscription.activation,
            subscription.paused,
            first_head(subscription.id, partition, offset, subscription.activation),
        )


class Matches(NamedTuple):
    """The subscriptions that get a job, and the number of matches that are paused or disabled."""

    subscriptions: tuple[RoutedSubscription, ...]
    withheld: int


NONE: Final = Matches((), 0)


class _Many:
    """The subscriptions of a customer with many of them, and the matches found since the last change."""

    __slots__ = ("found", "subscriptions")

    def __init__(self, subscriptions: Iterable[RoutedSubscription]) -> None:
        self.subscriptions = {subscription.id: subscription for subscription in subscriptions}
        self.found: dict[str, Matches] = {}

    def match(self, event_type: str) -> Matches:
        found = self.found.get(event_type)
        if found is None:
            ordered = sorted(self.subscriptions.values(), key=_id_of)
            found = _search(ordered, event_type)
            self.found[event_type] = found
        return found


class SubscriptionIndex:
    """All subscriptions, indexed by sender and customer."""

    def __init__(self) -> None:
        # Few subscriptions are a tuple, in the order of their ids.
        self._customers: dict[_CustomerKey, tuple[RoutedSubscription, ...] | _Many] = {}
        self._subscriptions: dict[str, RoutedSubscription] = {}
        self._disabled: dict[str, Health] = {}

    def change(self, subscription_id: str, entry: Entry[RoutedSubscription] | None) -> None:
        """Set the effective entry of a subscription; None if it is deleted.

        A subscription without event types matches nothing, so the index leaves it out.
        """
        indexed = self._subscriptions.pop(subscription_id, None)
        if indexed is not None:
            self._remove(indexed)
        if entry is not None and entry.value.takes.patterns:
            self._subscriptions[subscription_id] = entry.value
            self._withhold(entry.value)
            self._add(entry.value)

    def set_health(self, subscription_id: str, entry: Entry[Health] | None) -> None:
        """Set the health of an endpoint; None if it has no failure."""
        if entry is not None and entry.value.disabled_at_ms is not None:
            self._disabled[subscription_id] = entry.value
        elif self._disabled.pop(subscription_id, None) is None:
            return
        subscription = self._subscriptions.get(subscription_id)
        if subscription is not None:
            self._remove(subscription)
            self._withhold(subscription)
            self._add(subscription)

    def _withhold(self, subscription: RoutedSubscription) -> None:
        health = self._disabled.get(subscription.id)
        subscription.withheld = subscription.paused or (health is not None and health.disables(subscription.activation))

    def match(self, sender: str, customer_id: str, event_type: str) -> Matches:
        """Return the subscriptions that match the event, in the order of their ids."""
        indexed = self._customers.get((sender, customer_id))
        if indexed is None:
            return NONE
        return indexed.match(event_type) if isinstance(indexed, _Many) else _search(indexed, event_type)

    def _add(self, subscription: RoutedSubscription) -> None:
        indexed = self._customers.get(subscription.customer_key, ())
        if isinstance(indexed, _Many):
            indexed.subscriptions[subscription.id] = subscription
            indexed.found.clear()
        elif len(indexed) < _SEARCHED:
            self._customers[subscription.customer_key] = tuple(sorted((*indexed, subscription), key=_id_of))
        else:
            self._customers[subscription.customer_key] = _Many((*indexed, subscription))

    def _remove(self, subscription: RoutedSubscription) -> None:
        indexed = self._customers[subscription.customer_key]
        if isinstance(indexed, _Many):
            del indexed.subscriptions[subscription.id]
            indexed.found.clear()
            left: Sized = indexed.subscriptions
        else:
            left = self._customers[subscription.customer_key] = tuple(one for one in indexed if one is not subscription)
        if not left:
            del self._customers[subscription.customer_key]


def _search(subscriptions: Iterable[RoutedSubscription], event_type: str) -> Matches:
    taken = [subscription for subscription in subscriptions if subscription.takes[event_type]]
    active = tuple([subscription for subscription in taken if not subscription.withheld])
    return Matches(active, len(taken) - len(active))


def _id_of(subscription: RoutedSubscription) -> str:
    return subscription.id
