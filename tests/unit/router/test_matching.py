"""Matching: the index finds the same subscriptions as a full scan, at constant cost."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from consumers.router.matching import RoutedSubscription, SubscriptionIndex
from consumers.subscriptions.state import Entry
from schemas.records.health import Health
from schemas.records.job_record import first_head
from schemas.subscriptions.subscription import Subscription, matches
from tests.support.installation import subscription

TYPES = ["case.created", "case.closed", "case", "case.", "a.b.c", "alert.created", ".", "x"]
PATTERNS = ["*", "case.*", "a.*", "a.b.*", ".*", "alert.*", "case.created.*", *TYPES]

DISABLED = Health(
    subscription_id="sub-0",
    customer_id="acme",
    sender="zenoo",
    activation=0,
    failing_since_ms=0,
    reported=True,
    disabled_at_ms=1,
    reason="gone",
    last_status=410,
    last_error=None,
    updated_at_ms=1,
)

ids = st.sampled_from([f"sub-{n}" for n in range(6)])
changes = st.lists(
    st.tuples(
        ids,
        st.none()
        | st.builds(
            subscription,
            st.just("replaced below"),
            customer_id=st.sampled_from(["acme", "globex"]),
            sender=st.sampled_from(["zenoo", "riskos"]),
            event_types=st.lists(st.sampled_from(PATTERNS), max_size=4, unique=True),
            paused=st.booleans(),
            activation=st.integers(0, 3),
        ),
    ),
    max_size=30,
)


def entry(one: Subscription, partition: int, offset: int) -> Entry[RoutedSubscription]:
    """Return the table entry of a subscription."""
    return Entry(RoutedSubscription.of(one, partition, offset), partition, offset)


def full_scan(table: dict[str, Subscription], sender: str, customer: str, event_type: str) -> tuple[list[str], int]:
    """Match by looking at every subscription."""
    found = {
        id_: one.paused
        for id_, one in table.items()
        if (one.sender, one.customer_id) == (sender, customer)
        and any(matches(pattern, event_type) for pattern in one.event_types)
    }
    return sorted(id_ for id_, paused in found.items() if not paused), sum(found.values())


@given(changes)
def test_index_finds_the_same_as_a_full_scan(
    made: list[tuple[str, Subscription | None]],
) -> None:
    """After each change, every event type matches the same subscriptions as in a full scan."""
    index, table = SubscriptionIndex(), dict[str, Subscription]()
    for offset, (id_, one) in enumerate(made):
        index.change(id_, None if one is None else entry(replace(one, id=id_), 1, offset))
        table.pop(id_, None)
        if one is not None:
            table[id_] = one
        for sender in ("zenoo", "riskos"):
            for customer in ("acme", "globex"):
                for event_type in TYPES:
                    found = index.match(sender, customer, event_type)
                    assert ([one.id for one in found.subscriptions], found.withheld) == full_scan(
                        table, sender, customer, event_type
                    )


def test_match_names_the_newest_record() -> None:
    """The match has partition, offset and activation of the subscription's newest record."""
    index = SubscriptionIndex()
    index.change("one", entry(subscription("one", activation=1), 2, 10))
    index.change("one", entry(subscription("one", activation=2), 2, 17))

    (one,) = index.match("zenoo", "acme", "case.created").subscriptions

    assert (one.id, one.head) == ("one", first_head("one", partition=2, offset=17, activation=2))


def calls(index: SubscriptionIndex) -> int:
    """Count the function calls of the first match of an event type."""
    counted = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal counted
        counted += event in {"call", "c_call"}

    sys.setprofile(count)
    try:
        index.match("zenoo", "acme", "case.created")
    finally:
        sys.setprofile(None)
    return counted


def test_subscription_without_event_types_costs_nothing() -> None:
    """A match does the same with a hundred such subscriptions of the customer as without; a later record counts."""
    index = SubscriptionIndex()
    index.change("mine", entry(subscription("mine"), 0, 0))
    calls(index)  # fills the cache of the filter
    alone = calls(index)
    for number in range(100):
        index.change(f"sub-{number}", entry(subscription(f"sub-{number}", event_types=()), 0, number + 1))
        index.set_health(f"sub-{number}", Entry(DISABLED, 0, 0))
    assert calls(index) == alone
    assert [one.id for one in index.match("zenoo", "acme", "x").subscriptions] == ["mine"]
    index.set_health("sub-7", None)
    index.change("sub-7", entry(subscription("sub-7"), 0, 200))
    assert [one.id for one in index.match("zenoo", "acme", "x").subscriptions] == ["mine", "sub-7"]
    index.change("sub-7", entry(subscription("sub-7", event_types=()), 0, 201))
    assert [one.id for one in index.match("zenoo", "acme", "x").subscriptions] == ["mine"]


def test_match_costs_the_same_with_100_000_subscriptions() -> None:
    """Subscriptions of other customers add no cost to a match."""

    def index_of(others: int) -> SubscriptionIndex:
        index = SubscriptionIndex()
        index.change("mine", entry(subscription("mine"), 0, 0))
        for number in range(others):
            other = subscription(f"sub-{number}", customer_id=f"customer-{number % 20_000}", event_types=["case.*"])
            index.change(other.id, entry(other, 0, number))
        return index

    assert calls(index_of(100_000)) == calls(index_of(10))
