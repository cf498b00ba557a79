"""From an event and the subscriptions that take it to job records. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

from consumers.router.matching import Target
from schemas.events.event import Event
from schemas.records.delivery import JobCodec, job_place, uuid5

KeyValue: TypeAlias = tuple[str | bytes | None, bytes]
"""Key and value of a record to produce."""


class Origin(NamedTuple):
    """Where an event was read, and when the broker had it (Unix ms)."""

    topic: str
    partition: int
    offset: int
    appended_at_ms: int


class JobMaker:
    """Makes the job records of an event: what they share is encoded once."""

    def __init__(self) -> None:
        self._codec = JobCodec()

    def make(
        self, sender: str, event: Event, body: bytes, origin: Origin, targets: Sequence[Target]
    ) -> Iterator[KeyValue]:
        """Return a record per target, keyed by subscription: every delay topic has it on the same partition number.

        Each is made when it is its turn: with a large body and many subscriptions they are more than fits in memory.
        What the event may make fail has been done before the first.
        """
        topic, partition, offset, appended_at_ms = origin
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
        return self._each(tail, job_place(topic, partition, offset), targets)

    def _each(self, tail: bytes, place: str, targets: Sequence[Target]) -> Iterator[KeyValue]:
        join = self._codec.join
        for target in targets:
            yield target.id, join(uuid5(place + target.id), target.head, tail)
