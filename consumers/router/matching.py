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

_Place: TypeAlias = tuple[str, str]


class _Filter(dict[str, bool]):
    """Cache of event type to whether it matches; bounded, as some senders accept any event type."""

    __slots__ = ("_patterns",)

    def __init__(self, patterns: tuple[str, ...]) -> None:
        self._patterns = patterns

    def __missing__(self, event_type: str) -> bool:
        if len(self) >= _MAX_TYPES:
            self.clear()
        taken = any(matches(pattern, event_type) for pattern in self._patterns)
        self[event_type] = taken
        return taken


_filter_of = lru_cache(maxsize=4_096)(_Filter)


@dataclass(slots=True, eq=False)
class Target:
    """A subscription as the router keeps it; `head` is the encoded beginning of its jobs.

    `withheld`: it gets no jobs, because it is paused, or disabled for its activation.
    """

    id: str
    place: _Place
    takes: _Filter
    paused: bool
    activation: int
    withheld: bool
    head: bytes

    @classmethod
    def of(cls, subscription: Subscription, partition: int, offset: int) -> Target:
        """Return the target of the subscription record at `offset` of `partition`."""
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

    targets: tuple[Target, ...]
    withheld: int


NONE: Final = Matches((), 0)


class _Many:
    """The subscriptions of a customer with many of them, and the matches found since the last change."""

    __slots__ = ("found", "targets")

    def __init__(self, targets: Iterable[Target]) -> None:
        self.targets = {target.id: target for target in targets}
        self.found: dict[str, Matches] = {}

    def match(self, event_type: str) -> Matches:
        found = self.found.get(event_type)
        if found is None:
            ordered = sorted(self.targets.values(), key=_id_of)
            found = _search(ordered, event_type)
            self.found[event_type] = found
        return found


class SubscriptionIndex:
    """All subscriptions, indexed by sender and customer."""

    def __init__(self) -> None:
        # Few subscriptions are a tuple, in the order of their ids.
        self._customers: dict[_Place, tuple[Target, ...] | _Many] = {}
        self._targets: dict[str, Target] = {}
        self._disabled: dict[str, Health] = {}

    def change(self, subscription_id: str, entry: Entry[Target] | None) -> None:
        """Set the effective entry of a subscription; None if it is deleted."""
        held = self._targets.pop(subscription_id, None)
        if held is not None:
            self._remove(held)
        if entry is not None:
            self._targets[subscription_id] = entry.value
            self._withhold(entry.value)
            self._add(entry.value)

    def set_health(self, subscription_id: str, entry: Entry[Health] | None) -> None:
        """Set the health of an endpoint; None if it has no failure."""
        if entry is not None and entry.value.disabled_at_ms is not None:
            self._disabled[subscription_id] = entry.value
        elif self._disabled.pop(subscription_id, None) is None:
            return
        target = self._targets.get(subscription_id)
        if target is not None:
            self._remove(target)
            self._withhold(target)
            self._add(target)

    def _withhold(self, target: Target) -> None:
        health = self._disabled.get(target.id)
        target.withheld = target.paused or (health is not None and health.disables(target.activation))

    def match(self, sender: str, customer_id: str, event_type: str) -> Matches:
        """Return the subscriptions that match the event, in the order of their ids."""
        held = self._customers.get((sender, customer_id))
        if held is None:
            return NONE
        return held.match(event_type) if isinstance(held, _Many) else _search(held, event_type)

    def _add(self, target: Target) -> None:
        held = self._customers.get(target.place, ())
        if isinstance(held, _Many):
            held.targets[target.id] = target
            held.found.clear()
        elif len(held) < _SEARCHED:
            self._customers[target.place] = tuple(sorted((*held, target), key=_id_of))
        else:
            self._customers[target.place] = _Many((*held, target))

    def _remove(self, target: Target) -> None:
        held = self._customers[target.place]
        if isinstance(held, _Many):
            del held.targets[target.id]
            held.found.clear()
            left: Sized = held.targets
        else:
            left = self._customers[target.place] = tuple(other for other in held if other is not target)
        if not left:
            del self._customers[target.place]


def _search(targets: Iterable[Target], event_type: str) -> Matches:
    taken = [target for target in targets if target.takes[event_type]]
    active = tuple([target for target in taken if not target.withheld])
    return Matches(active, len(taken) - len(active))


def _id_of(target: Target) -> str:
    return target.id
