"""Which subscriptions take an event. Pure: an index that the table keeps up to date.

Keyed by (sender, customer), so that a match costs the same with ten subscriptions and with a hundred thousand.
With many of them each is touched rarely and never in the processor's caches: so a subscription is one small object
that holds what its jobs begin with, encoded once, and the filters that most share are one object.
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

# Of so many subscriptions of one customer each is looked at; of more, what was found is kept.
_FEW: Final = 16
_MOST_TYPES: Final = 4_096

_Place: TypeAlias = tuple[str, str]


class _Filter(dict[str, bool]):
    """Whether an event type is taken, for each that was asked for; a sender may take any, so only so many are kept."""

    __slots__ = ("_patterns",)

    def __init__(self, patterns: tuple[str, ...]) -> None:
        self._patterns = patterns

    def __missing__(self, event_type: str) -> bool:
        if len(self) >= _MOST_TYPES:
            self.clear()
        taken = self[event_type] = any(matches(pattern, event_type) for pattern in self._patterns)
        return taken


_filter_of = lru_cache(maxsize=4_096)(_Filter)


@dataclass(slots=True, eq=False)
class Target:
    """What the router keeps of a subscription: `head` is what a job says of the record that its event matched.

    `withheld`: it gets no jobs, as it is paused, or disabled for the activation that it has.
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
        """Return the target that the subscription record at `offset` of `partition` makes."""
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
    """The subscriptions that get a job, and how many more there are that are paused or disabled."""

    targets: tuple[Target, ...]
    withheld: int


NONE: Final = Matches((), 0)


class _Many:
    """The subscriptions of a customer that has more than a few, and what was found since the last change of one."""

    __slots__ = ("found", "targets")

    def __init__(self, targets: Iterable[Target]) -> None:
        self.targets = {target.id: target for target in targets}
        self.found: dict[str, Matches] = {}

    def match(self, event_type: str) -> Matches:
        found = self.found.get(event_type)
        if found is None:
            ordered = sorted(self.targets.values(), key=_id_of)
            found = self.found[event_type] = _search(ordered, event_type)
        return found


class SubscriptionIndex:
    """All subscriptions, to be found by sender, customer and event type."""

    def __init__(self) -> None:
        # A few are a tuple in the order of their ids.
        self._customers: dict[_Place, tuple[Target, ...] | _Many] = {}
        self._targets: dict[str, Target] = {}
        self._disabled: dict[str, Health] = {}

    def change(self, subscription_id: str, entry: Entry[Target] | None) -> None:
        """Take what counts for a subscription from now on; None: it is deleted."""
        held = self._targets.pop(subscription_id, None)
        if held is not None:
            self._remove(held)
        if entry is not None:
            self._targets[subscription_id] = entry.value
            self._withhold(entry.value)
            self._add(entry.value)

    def found(self, subscription_id: str, entry: Entry[Health] | None) -> None:
        """Take what delivery has found out about an endpoint; None: nothing is wrong."""
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
        """Return the subscriptions that take this event, in the order of their ids."""
        held = self._customers.get((sender, customer_id))
        if held is None:
            return NONE
        return held.match(event_type) if isinstance(held, _Many) else _search(held, event_type)

    def _add(self, target: Target) -> None:
        held = self._customers.get(target.place, ())
        if isinstance(held, _Many):
            held.targets[target.id] = target
            held.found.clear()
        elif len(held) < _FEW:
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
