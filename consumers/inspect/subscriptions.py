"""The current state of subscriptions, and the earlier versions that their topic still holds."""

from __future__ import annotations

from dataclasses import dataclass

from consumers.inspect.scan import Scanner, time_of
from consumers.kafka.topic_reader import place_of
from consumers.subscriptions.state import TableState
from consumers.subscriptions.table import read_subscription
from schemas.catalog.errors import UnreadableRecord
from schemas.records.topics import TopicNames
from schemas.subscriptions.subscription import Subscription


@dataclass(frozen=True, slots=True)
class Version:
    """One record of a subscription; `content` is None for a tombstone, a sentence if it is unreadable."""

    id: str
    partition: int
    offset: int
    at_ms: int
    content: Subscription | str | None


@dataclass(frozen=True, slots=True)
class CurrentSubscription:
    """The effective record of a subscription now, in the form a new job refers to it."""

    partition: int
    offset: int
    activation: int
    paused: bool


class SubscriptionHistory:
    """All records of the topic, read once."""

    def __init__(self, scanner: Scanner, names: TopicNames) -> None:
        self._table = TableState(lambda _p, _o, key, value: read_subscription(key, value))
        self.versions: list[Version] = []
        for batch in scanner.read(scanner.ranges_of([names.subscriptions])):
            for message in batch:
                _, partition, offset = place_of(message)
                key = (message.key() or b"").decode("utf-8", "backslashreplace")
                value = message.value()
                self._table.apply(partition, offset, key, value)
                self.versions.append(Version(key, partition, offset, time_of(message), _content_of(key, value)))

    def current(self, id_: str) -> CurrentSubscription | str | None:
        """Return the effective record of an id: None if it is deleted, a sentence if it is unreadable."""
        entry = self._table.get(id_)
        if entry is not None:
            return CurrentSubscription(entry.partition, entry.offset, entry.value.activation, entry.value.paused)
        unusable = self._table.unusable().get(id_)
        return None if unusable is None else unusable.reason


def _content_of(key: str, value: bytes | None) -> Subscription | str | None:
    if value is None:
        return None
    try:
        return read_subscription(key, value)
    except UnreadableRecord as error:
        return str(error)
