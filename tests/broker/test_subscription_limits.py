"""How many subscriptions a customer may have, on a real broker."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from producers.subscriptions.changes import Apply, Delete, Pause, Wish
from schemas.catalog.errors import SubscriptionError
from schemas.subscriptions.rules import Draft
from tests.support.subscriptions import draft, present


def wish(number: int, customer: str = "acme") -> Apply:
    """Return the wish for a subscription of a sender that allows ten."""
    drafted: Draft = replace(
        draft(f"{customer}-{number}", customer), sender="diligent", event_types=("flow_run_failed",)
    )
    return Apply(drafted)


@pytest.mark.decision("D13")
def test_the_eleventh_is_refused(make_writer):
    """A customer gets ten subscriptions of such a sender, paused ones among them, and another after one is deleted."""
    writer = make_writer()
    writer.write([wish(number) for number in range(10)])
    writer.write([Pause("acme-0")])
    with pytest.raises(SubscriptionError, match=r"customer acme has 10 subscriptions of sender diligent.*at most 10"):
        writer.write([wish(10)])
    writer.write([wish(0, "beta"), wish(3)])
    writer.write([Delete("acme-4"), wish(11)])
    assert len([id_ for id_ in present(make_writer()) if id_.startswith("acme")]) == 10


@pytest.mark.decision("D13")
def test_the_limit_holds_for_writers_at_once(make_writer):
    """Two writers that would make six each of the same customer at the same moment do not make twelve."""

    def write(wishes: list[Wish]) -> bool:
        try:
            make_writer().write(wishes)
        except SubscriptionError:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(write, [[wish(n) for n in range(6)], [wish(n) for n in range(6, 12)]]))
    assert sorted(done) == [False, True]
    assert len(present(make_writer())) == 6
