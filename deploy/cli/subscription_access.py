"""What the commands about subscriptions share: a writer, and validation against this installation's rules."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TypeGuard

from deploy.config.drain import longest_timeout
from deploy.config.egress import egress_policy_of
from deploy.config.sealing_key import sealer_of
from deploy.config.senders import senders_of
from deploy.config.subscription_file import SubscriptionFile
from producers.compacted.log import Unreadable
from producers.subscriptions.log import SubscriptionLog
from producers.subscriptions.writer import SubscriptionWriter
from schemas.catalog.errors import SubscriptionError
from schemas.input.suggestions import did_you_mean
from schemas.settings.settings import Settings
from schemas.subscriptions.rules import Bounds, Draft, Fault, faults
from schemas.subscriptions.subscription import Subscription


@contextmanager
def writer_of(settings: Settings) -> Iterator[SubscriptionWriter]:
    """Yield a writer of subscriptions."""
    kafka = settings.kafka_properties()
    # Listing, pausing and deleting need no key.
    sealer = sealer_of(settings) if settings.has_sealing_key else None
    writer = SubscriptionWriter(kafka, settings.names, senders_of(settings), sealer)
    try:
        with silent_client():
            yield writer
    finally:
        writer.close()


@contextmanager
def silent_client() -> Iterator[None]:
    """Log nothing of Kafka clients while a command writes.

    Another writer may take over a partition: a fatal error for the client, which logs it, but the writer retries. If it
    fails, the command reports an error.
    """
    client_log = logging.getLogger("signpost.kafka")
    level = client_log.level
    client_log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        client_log.setLevel(level)


def check_file(settings: Settings, file: SubscriptionFile) -> None:
    """Validate a file's drafts; SubscriptionError lists all problems with their lines."""
    if problems := file.all_problems(_faults(settings, file.attempts)):
        raise SubscriptionError(*problems)


def check_drafts(settings: Settings, drafts: Sequence[Draft]) -> None:
    """Validate drafts; SubscriptionError lists all problems."""
    if faults := _faults(settings, drafts):
        raise SubscriptionError(*map(str, faults))


def _faults(settings: Settings, drafts: Sequence[Draft]) -> list[Fault]:
    policy = egress_policy_of(settings)
    return faults(drafts, senders_of(settings), policy, Bounds(longest_timeout(settings), datetime.now(UTC)))


def readable(log: SubscriptionLog) -> list[Subscription]:
    """Return the readable subscriptions."""
    return [found for _, found in log.items() if is_subscription(found)]


def existing(log: SubscriptionLog, id_: str) -> Subscription:
    """Return one subscription; SubscriptionError if it does not exist or is unreadable."""
    partition, found = log.find(id_)
    if found is None:
        suggestion = did_you_mean(id_, [known for known, _ in log.items()])
        raise SubscriptionError(f"subscription {id_}: does not exist{suggestion}")
    if isinstance(found, Unreadable):
        raise SubscriptionError(
            f"subscription {id_}: its record on partition {partition} is unreadable: {found.reason}"
        )
    return found


def is_subscription(found: Subscription | Unreadable) -> TypeGuard[Subscription]:
    """Return whether a record is readable."""
    return isinstance(found, Subscription)
