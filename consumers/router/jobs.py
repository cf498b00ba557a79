"""Job records of an event, one per matching subscription. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from consumers.kafka.dead_letters import SourceRecord
from consumers.router.matching import RoutedSubscription
from schemas.events.event import Event
from schemas.records.delivery import JobCodec, job_place, uuid5

KeyValue: TypeAlias = tuple[str | bytes | None, bytes]
"""Key and value of a record to produce."""


class JobMaker:
    """Makes the job records of an event; their common part is encoded once."""

    def __init__(self) -> None:
        self._codec = JobCodec()

    def make(
        self,
        sender: str,
        event: Event,
        body: bytes,
        source: SourceRecord,
        subscriptions: Sequence[RoutedSubscription],
        *,
        appended_at_ms: int,
    ) -> Iterator[KeyValue]:
        """Return a record per subscription, keyed by its id, which gives it the same partition in every delay topic.

        `source` is the record of the event, and `appended_at_ms` the field of job.v1.avsc (Unix ms).

        The records are made one by one: with a large body and many subscriptions they would not fit in memory. Steps
        that the event can make fail run before the first record.
        """
        topic, partition, offset = source.topic(), source.partition(), source.offset()
        tail = self._codec.tail(
            sender=sender,
            event_type=event.event_type,
            event_id=event.event_id,
            customer_id=event.customer_id,
            source_topic=topic,
            source_partition=partition,
            source_offset=offset,
            appended_at_ms=appended_at_ms,
            body=body,
        )
        return self._each(tail, job_place(topic, partition, offset), subscriptions)

    def _each(self, tail: bytes, place: str, subscriptions: Sequence[RoutedSubscription]) -> Iterator[KeyValue]:
        join = self._codec.join
        for subscription in subscriptions:
            yield subscription.id, join(uuid5(place + subscription.id), subscription.head, tail)
