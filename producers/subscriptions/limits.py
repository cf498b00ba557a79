"""The sender's limit of subscriptions per customer. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from producers.subscriptions.changes import Result
from schemas.catalog.errors import TooManySubscriptions
from schemas.senders.sender import Sender
from schemas.subscriptions.subscription import Subscription

FindOfCustomer: TypeAlias = Callable[[str, str], Iterable[Subscription]]
"""(sender, customer id) to the present subscriptions of a customer."""


def check_limits(present: FindOfCustomer, results: Iterable[Result], senders: Mapping[str, Sender]) -> None:
    """Check the senders' limits for `present` after `results`; paused subscriptions count too.

    TooManySubscriptions names each customer whose new subscriptions exceed a limit. Without new ones nothing is
    refused: subscriptions above a lowered limit may still be changed and deleted.
    """
    results = list(results)
    created = {result.id: result.subscription for result in results if result.effect == "created"}
    gone = {result.id for result in results if result.effect == "deleted"}
    made = Counter((one.sender, one.customer_id) for one in created.values() if one is not None)
    problems = []
    for (name, customer), count in made.items():
        most = senders[name].max_subscriptions if name in senders else None
        if most is None:
            continue
        others = sum(one.id not in gone and one.id not in created for one in present(name, customer))
        if others + count > most:
            problems.append(
                f"customer {customer} has {others} subscriptions of sender {name}, and {count} more would be created; "
                f"at most {most} are allowed: delete one first"
            )
    if problems:
        raise TooManySubscriptions(*problems)
