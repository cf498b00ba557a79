"""The limit of subscriptions per customer, on a real broker."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from producers.subscriptions.changes import Apply, Command, Delete, Pause
from schemas.catalog.errors import SubscriptionError
from schemas.subscriptions.rules import Draft
from tests.support.subscriptions import AUTHOR, draft, present


def apply(number: int, customer: str = "acme") -> Apply:
    """Return the command that applies a subscription of a sender that allows ten."""
    drafted: Draft = replace(
        draft(f"{customer}-{number}", customer), sender="diligent", event_types=("flow_run_failed",)
    )
    return Apply(drafted)


@pytest.mark.decision("D13")
def test_eleventh_subscription_is_refused(make_writer):
    """A customer can have ten subscriptions of such a sender, paused ones included, and one more after a deletion."""
    writer = make_writer()
    writer.write([apply(number) for number in range(10)], AUTHOR)
    writer.write([Pause("acme-0")], AUTHOR)
    with pytest.raises(SubscriptionError, match=r"customer acme has 10 subscriptions of sender diligent.*at most 10"):
        writer.write([apply(10)], AUTHOR)
    writer.write([apply(0, "beta"), apply(3)], AUTHOR)
    writer.write([Delete("acme-4"), apply(11)], AUTHOR)
    assert len([id_ for id_ in present(make_writer()) if id_.startswith("acme")]) == 10


@pytest.mark.decision("D13")
def test_limit_holds_for_concurrent_writers(make_writer):
    """Of two concurrent writers that apply six subscriptions of one customer each, one is refused."""

    def write(commands: list[Command]) -> bool:
        try:
            make_writer().write(commands, AUTHOR)
        except SubscriptionError:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        written = list(pool.map(write, [[apply(n) for n in range(6)], [apply(n) for n in range(6, 12)]]))
    assert sorted(written) == [False, True]
    assert len(present(make_writer())) == 6
