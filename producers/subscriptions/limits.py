"""The sender's limit of subscriptions per customer. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from producers.subscriptions.changes import Current, Result
from schemas.catalog.errors import TooManySubscriptions
from schemas.senders.sender import Sender
from schemas.subscriptions.subscription import Subscription


def check_limits(present: Iterable[Current], results: Iterable[Result], senders: Mapping[str, Sender]) -> None:
    """Check the senders' limits for `present` after `results`; paused subscriptions count too.

    TooManySubscriptions names each customer whose new subscriptions exceed a limit. Without new ones nothing is
    refused: subscriptions above a lowered limit may still be changed and deleted.
    """
    results = list(results)
    created = {result.id: result.subscription for result in results if result.effect == "created"}
    if not created:
        return
    deleted = {result.id for result in results if result.effect == "deleted"}
    counts = Counter(
        (one.sender, one.customer_id)
        for one in present
        if isinstance(one, Subscription) and one.id not in deleted and one.id not in created
    )
    made = Counter((one.sender, one.customer_id) for one in created.values() if one is not None)
    problems = []
    for (name, customer), count in made.items():
        most = senders[name].max_subscriptions if name in senders else None
        if most is not None and counts[name, customer] + count > most:
            problems.append(
                f"customer {customer} has {counts[name, customer]} subscriptions of sender {name}, and {count} more "
                f"would be created; at most {most} are allowed: delete one first"
            )
    if problems:
        raise TooManySubscriptions(*problems)
