"""What the commands about subscriptions share: a writer, and the rules with what the installation allows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeGuard

from schemas.errors import SubscriptionError
from schemas.near import did_you_mean

if TYPE_CHECKING:  # confluent_kafka and pydantic: `signpost --help` does without
    from deploy.subscription_file import SubscriptionFile
    from producers.subscription_changes import Unreadable
    from producers.subscription_log import SubscriptionLog
    from producers.subscriptions import SubscriptionWriter
    from schemas.rules import Draft, Fault
    from schemas.settings import Settings
    from schemas.subscription import Subscription

# What a process that ends needs beside the last answer: to write it down and to leave.
_TO_END: Final = timedelta(seconds=5)


@contextmanager
def writer_of(settings: Settings) -> Iterator[SubscriptionWriter]:
    """Hand out a writer of subscriptions."""
    import logging  # noqa: PLC0415  # clients load in 0.3 s that `--help` need not wait

    from deploy.sealing_key import sealer_of  # noqa: PLC0415
    from deploy.senders import senders_of  # noqa: PLC0415
    from producers.subscriptions import SubscriptionWriter  # noqa: PLC0415

    kafka = settings.kafka_properties()
    # Without a key there is still much that can be done: to list, to pause, to delete.
    has_key = settings.sealing_key is not None or settings.sealing_key_file is not None
    sealer = sealer_of(settings) if has_key else None
    writer = SubscriptionWriter(kafka, settings.names, senders_of(settings), sealer)
    # Another writer that takes the partition is nothing to tell, although to the client it is fatal: the work is done
    # again. What cannot be done is an error of the command.
    client_log = logging.getLogger("signpost.kafka")
    level = client_log.level
    client_log.setLevel(logging.CRITICAL + 1)
    try:
        yield writer
    finally:
        client_log.setLevel(level)
        writer.close()


def check_file(settings: Settings, file: SubscriptionFile) -> None:
    """Hold a file's drafts against the rules; SubscriptionError has all that is wrong with it, line by line."""
    if problems := file.all_problems(_faults(settings, file.attempts)):
        raise SubscriptionError(*problems)


def check_drafts(settings: Settings, drafts: Sequence[Draft]) -> None:
    """Hold drafts against the rules; SubscriptionError has all that is wrong."""
    if faults := _faults(settings, drafts):
        raise SubscriptionError(*map(str, faults))


def _faults(settings: Settings, drafts: Sequence[Draft]) -> list[Fault]:
    from deploy.senders import senders_of  # noqa: PLC0415  # see above
    from schemas.egress import EgressPolicy  # noqa: PLC0415
    from schemas.rules import Bounds, faults  # noqa: PLC0415

    policy = EgressPolicy(settings.allow_http, settings.allow_cidrs, frozenset(settings.allow_ports))
    longest = max(settings.drain_timeout - _TO_END, timedelta(seconds=1))
    return faults(drafts, senders_of(settings), policy, Bounds(longest, datetime.now(UTC)))


def readable(log: SubscriptionLog) -> list[Subscription]:
    """Return the subscriptions that can be read."""
    return [found for _, found in log.items() if is_subscription(found)]


def existing(log: SubscriptionLog, id_: str) -> Subscription:
    """Return one subscription; SubscriptionError where it is not there, or cannot be read."""
    from producers.subscription_changes import Unreadable  # noqa: PLC0415  # see above

    partition, found = log.find(id_)
    if found is None:
        near = did_you_mean(id_, [known for known, _ in log.items()])
        raise SubscriptionError(f"subscription {id_}: does not exist{near}")
    if isinstance(found, Unreadable):
        raise SubscriptionError(
            f"subscription {id_}: its record on partition {partition} is unreadable: {found.reason}"
        )
    return found


def is_subscription(found: Subscription | Unreadable) -> TypeGuard[Subscription]:
    """Tell whether a record could be read."""
    from schemas.subscription import Subscription  # noqa: PLC0415  # see above

    return isinstance(found, Subscription)
