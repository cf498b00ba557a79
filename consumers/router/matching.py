"""Which subscriptions take an event. Pure: an index that the table keeps up to date.

Found by (sender, customer) and then by event type, so that a match costs the same whether there are ten subscriptions
or a hundred thousand; what was found for an event type is kept until one of the customer's subscriptions changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from consumers.table_state import Entry
from schemas.subscription import Subscription


@dataclass(frozen=True, slots=True)
class Target:
    """What a job says of the subscription record that its event matched."""

    id: str
    partition: int
    offset: int
    activation: int
    paused: bool


class Matches(NamedTuple):
    """The subscriptions that get a job, and how many more there are that are paused."""

    targets: tuple[Target, ...]
    paused: int


NONE: Final = Matches((), 0)


class _Customer:
    """The subscriptions of one customer to one sender, by pattern: `case.created`, `case.` (of `case.*`), and `*`."""

    __slots__ = ("_by_pattern", "_found")

    def __init__(self) -> None:
        self._by_pattern: dict[str, dict[str, Target]] = {}
        self._found: dict[str, Matches] = {}

    def add(self, patterns: tuple[str, ...], target: Target) -> None:
        for pattern in patterns:
            self._by_pattern.setdefault(_stored(pattern), {})[target.id] = target
        self._found.clear()

    def remove(self, patterns: tuple[str, ...], subscription_id: str) -> None:
        for pattern in map(_stored, patterns):
            held = self._by_pattern.get(pattern)
            if held is not None and held.pop(subscription_id, None) is not None and not held:
                del self._by_pattern[pattern]
        self._found.clear()

    @property
    def empty(self) -> bool:
        return not self._by_pattern

    def match(self, event_type: str) -> Matches:
        found = self._found.get(event_type)
        if found is None:
            found = self._found[event_type] = self._search(event_type)
        return found

    def _search(self, event_type: str) -> Matches:
        taken: dict[str, Target] = {}
        for pattern in ("*", f"={event_type}", *_groups(event_type)):
            taken |= self._by_pattern.get(pattern, {})
        targets = sorted(taken.values(), key=lambda target: target.id)
        active = tuple(target for target in targets if not target.paused)
        return Matches(active, len(targets) - len(active)) if targets else NONE


class SubscriptionIndex:
    """All subscriptions, to be found by sender, customer and event type."""

    def __init__(self) -> None:
        self._customers: dict[tuple[str, str], _Customer] = {}
        self._places: dict[str, tuple[tuple[str, str], tuple[str, ...]]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def change(self, subscription_id: str, entry: Entry[Subscription] | None) -> None:
        """Take what counts for a subscription from now on; None: it is deleted."""
        self._remove(subscription_id)
        if entry is None:
            return
        subscription = entry.value
        place = (subscription.sender, subscription.customer_id)
        target = Target(subscription_id, entry.partition, entry.offset, subscription.activation, subscription.paused)
        self._customers.setdefault(place, _Customer()).add(subscription.event_types, target)
        self._places[subscription_id] = (place, subscription.event_types)

    def match(self, sender: str, customer_id: str, event_type: str) -> Matches:
        """Return the subscriptions that take this event."""
        customer = self._customers.get((sender, customer_id))
        return NONE if customer is None else customer.match(event_type)

    def _remove(self, subscription_id: str) -> None:
        held = self._places.pop(subscription_id, None)
        if held is None:
            return
        place, patterns = held
        customer = self._customers[place]
        customer.remove(patterns, subscription_id)
        if customer.empty:
            del self._customers[place]


def _stored(pattern: str) -> str:
    """Return the key of a pattern: the three kinds begin or end differently, so that none is taken for another."""
    if pattern == "*":
        return pattern
    return f"^{pattern[:-1]}" if pattern.endswith(".*") else f"={pattern}"


def _groups(event_type: str) -> list[str]:
    """Return the keys of all `….*` patterns that take an event type: one for each of its dots."""
    return [f"^{event_type[: index + 1]}" for index, character in enumerate(event_type) if character == "."]
