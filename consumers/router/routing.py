"""Routing of one record of an event topic: jobs, a dead letter, or a reason to wait. Pure, except for its arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, TypeAlias

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME

from consumers.kafka.dead_letters import SourceRecord, dead_letter
from consumers.kafka.positions import PartitionKey
from consumers.router.jobs import JobMaker, KeyValue
from consumers.router.matching import Matches
from consumers.router.schemas import SchemaPending
from consumers.router.subscriptions import Subscribers
from schemas.catalog.errors import Unavailable, UnreadableRecord
from schemas.events.event import Event
from schemas.records.delivery import event_id
from schemas.senders.event_codec import EventDecoder
from schemas.senders.sender import Sender
from schemas.senders.writer_schemas import WriterSchemas

_US_PER_MS: Final = 1_000


@dataclass(slots=True)  # not frozen, which is slow to construct: there is one per event
class Routed:
    """The event is readable: `jobs` yields the `count` records to produce, none if no subscription matches.

    `age_ms` is the time since `created_at` of the event, by the clock of its producer: negative if that is in the
    future.
    """

    sender: str
    event_type: str
    jobs: Iterator[KeyValue]
    count: int
    withheld: int
    age_ms: int = 0


@dataclass(frozen=True, slots=True)
class UnreadableEvent:
    """The record cannot be read or rendered; `letter` is its dead letter."""

    count: ClassVar[int] = 1  # records to produce
    sender: str
    reason: str
    detail: str
    letter: KeyValue


@dataclass(frozen=True, slots=True)
class Blocked:
    """A subscription of the customer is unreadable: the event has to wait until it is readable."""

    customer_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """The schema of the record is not known yet: route it again later, and no other record of its partition before it.

    `error` is the error of the registry, None if it has not responded yet.
    """

    error: str | None


Decision: TypeAlias = Routed | UnreadableEvent
"""What becomes of a record; final."""
PauseReason: TypeAlias = Blocked | Waiting
"""Why a record has to wait. It is routed again later."""
Routing: TypeAlias = Decision | PauseReason


@dataclass(frozen=True, slots=True)
class SizeLimits:
    """Sizes in bytes: the largest source record, and the largest request body."""

    max_event: int
    max_body: int


class Router:
    """Routes one record at a time.

    `senders`: source topic to sender. `schemas`: the source of writer schemas, if there is a registry.
    `readable_since_ms` returns for a source topic since when its records can be read (Unix ms).
    """

    def __init__(
        self,
        senders: Mapping[str, Sender],
        subscribers: Subscribers,
        limits: SizeLimits,
        now_ms: Callable[[], int],
        schemas: WriterSchemas | None = None,
        *,
        readable_since_ms: Callable[[str], int] = lambda _topic: 0,
    ) -> None:
        self._sources = {topic: (sender, EventDecoder(sender, schemas)) for topic, sender in senders.items()}
        self._subscribers = subscribers
        self._limits = limits
        self._now_ms = now_ms
        self._readable_since_ms = readable_since_ms
        self._jobs = JobMaker()
        # The record that each partition waited at last: its offset, and when it was read first.
        self._held: dict[PartitionKey, tuple[int, int]] = {}

    def route(self, record: SourceRecord) -> Routing:
        """Route a record; no content of a record raises."""
        sender, decoder = self._sources[record.topic()]
        try:
            event = self._decode(record, decoder)
        except UnreadableRecord as error:
            return self._unreadable(record, sender, error.reason, error.detail)
        except Unavailable as error:
            return self._hold(record, Waiting(None if isinstance(error, SchemaPending) else str(error)))
        except Exception as error:  # a library may raise anything on hostile bytes, which must not stop the router
            return self._unreadable(record, sender, "invalid_value", f"{type(error).__name__}: {error}")
        reason = self._subscribers.blocked(event.customer_id)
        if reason is not None:
            return self._hold(record, Blocked(event.customer_id, reason))
        matches = self._subscribers.match(sender.name, event.customer_id, event.event_type)
        return self._make(record, sender, event, matches)

    def _hold(self, record: SourceRecord, reason: PauseReason) -> PauseReason:
        """Keep when a record that has to wait was read first."""
        key, offset = (record.topic(), record.partition()), record.offset()
        if self._held.get(key, (None, 0))[0] != offset:
            self._held[key] = (offset, self._now_ms())
        return reason

    def _decode(self, record: SourceRecord, decoder: EventDecoder) -> Event:
        value = record.value()
        if value is not None and len(value) > self._limits.max_event:
            detail = f"{len(value)} bytes, max_event is {self._limits.max_event}: the bytes are only at the source"
            raise UnreadableRecord("too_large", detail)
        return decoder.decode(value, lambda: event_id(record.topic(), record.partition(), record.offset()))

    def _make(self, record: SourceRecord, sender: Sender, event: Event, matches: Matches) -> Decision:
        now_ms = self._now_ms()
        jobs: Iterator[KeyValue] = iter(())
        try:
            if matches.subscriptions:
                body = sender.render(event)
                if len(body) > self._limits.max_body:
                    raise UnreadableRecord(
                        "too_large", f"the body has {len(body)} bytes, max_body is {self._limits.max_body}"
                    )
                jobs = self._jobs.make(
                    sender.name,
                    event,
                    body,
                    record,
                    matches.subscriptions,
                    appended_at_ms=self._readable_at_ms(record, now_ms),
                )
        except UnreadableRecord as error:
            return self._unreadable(record, sender, _RENDERED.get(error.reason, error.reason), error.detail)
        except Exception as error:  # as above
            return self._unreadable(record, sender, "invalid_value", f"{type(error).__name__}: {error}")
        age_ms = now_ms - event.created_at_us // _US_PER_MS
        return Routed(sender.name, event.event_type, jobs, len(matches.subscriptions), matches.withheld, age_ms)

    def _readable_at_ms(self, record: SourceRecord, now_ms: int) -> int:
        """Return when the router could first have read a record."""
        kind, appended_at_ms = record.timestamp()
        if kind != TIMESTAMP_LOG_APPEND_TIME:
            # The clock of a producer may be wrong, and a producer may set any timestamp.
            return self._first_read_ms(record, now_ms)
        return max(appended_at_ms, self._readable_since_ms(record.topic()))

    def _first_read_ms(self, record: SourceRecord, now_ms: int) -> int:
        held = self._held.get((record.topic(), record.partition()))
        return held[1] if held is not None and held[0] == record.offset() else now_ms

    def _unreadable(self, record: SourceRecord, sender: Sender, reason: str, detail: str) -> UnreadableEvent:
        letter = dead_letter(record, reason, detail, self._now_ms(), self._limits.max_event)
        return UnreadableEvent(sender.name, reason, detail, letter)


# The record itself is readable, but the body of its webhook is too large.
_RENDERED: Mapping[str, str] = {"too_large": "body_too_large"}
