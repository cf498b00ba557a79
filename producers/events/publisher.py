"""EventPublisher: publishes events to a topic, for platform teams.

    with EventPublisher(kafka, sender=load_senders()["zenoo"], topic="signpost.zenoo.events") as publisher:
        publisher.publish({"event_type": "case.created", "customer_id": "acme", "data": {…}})

Values have Avro single-object encoding, or with a schema registry Confluent's wire format. The sender determines the
keys. A key goes to the same partition as with Java producers.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from producers.events.json_reader import EventReader
from producers.events.validation import short, text_problem
from schemas.avro.json_tokens import half_surrogate_problem
from schemas.catalog.errors import EventError, NoResponse, Unavailable, UnreadableRecord
from schemas.events.event import Event
from schemas.input.durations import milliseconds
from schemas.input.suggestions import did_you_mean
from schemas.records.topics import MAX_BODY, MAX_EVENT, RECORD_OVERHEAD
from schemas.senders.event_codec import EventDecoder, encode_event
from schemas.senders.sender import Sender
from schemas.senders.writer_schemas import confluent_value

if TYPE_CHECKING:  # importing httpx is slow, and few publishers use a registry
    from producers.events.schema_ids import SchemaIds

_FULL_QUEUE_WAIT_S: Final = 0.1
_LOST_AFTER_S: Final = 10.0  # the client ends each message in time, unless it has lost it


def wall_clock_us() -> int:
    """Return the time in µs since 1970."""
    return time.time_ns() // 1_000


def random_event_id() -> str:
    """Return `evt_` and 128 random bits; without a dot, which signature schemes use as a separator."""
    return f"evt_{secrets.token_hex(16)}"


class Prepared(NamedTuple):
    """A validated and encoded event."""

    event: Event
    key: bytes
    value: bytes


class EventPublisher:
    """Publishes events of one sender to one topic. Leaving the context waits until the broker has acknowledged all.

    `kafka`: librdkafka properties, including bootstrap.servers. `max_event` and `max_body`: the router's settings of
    these names, in bytes. `timeout`: the maximum time until the broker acknowledges an event. `now_us` and `new_id`
    supply a missing created_at and event_id. With `schema_ids`, values have Confluent's wire format.
    """

    def __init__(
        self,
        kafka: Mapping[str, str],
        *,
        sender: Sender,
        topic: str,
        max_event: int = MAX_EVENT,
        max_body: int = MAX_BODY,
        timeout: timedelta = timedelta(seconds=30),
        now_us: Callable[[], int] = wall_clock_us,
        new_id: Callable[[], str] = random_event_id,
        schema_ids: SchemaIds | None = None,
    ) -> None:
        self._sender = sender
        self.topic = topic
        self._max_event = max_event
        self._max_body = max_body
        self._decoder = EventDecoder(sender)
        self._timeout = timeout
        self._new_id = new_id
        self._schema_ids = schema_ids
        self._reader = EventReader(sender, now_us, new_id)
        self._servers = kafka.get("bootstrap.servers", "")
        self._failures: list[KafkaError] = []
        self.published = 0
        own: dict[str, Any] = {
            "enable.idempotence": True,
            "acks": "all",
            "partitioner": "murmur2_random",
            "message.timeout.ms": milliseconds(timeout),
            "message.max.bytes": max_event + RECORD_OVERHEAD,
        }
        self._producer = Producer(
            {"compression.type": "lz4", **kafka, **own}, logger=logging.getLogger("signpost.kafka")
        )

    def __enter__(self) -> Self:
        self._check_topic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.flush()
        else:  # send the queued events, but keep the original error
            self._producer.flush(self._timeout.total_seconds())

    def publish(
        self, event: Event | Mapping[str, Any], key: str | None = None, headers: Mapping[str, str] | None = None
    ) -> Event:
        """Validate and queue an event; return it as published, with its id and time.

        A mapping is an event in JSON form (`created_at`: ISO 8601). `headers` are those of the Kafka record, such as
        `traceparent`. EventError: the event is invalid. Unavailable: the broker did not acknowledge an earlier event.
        """
        prepared = self.prepare(event, key)
        self.publish_prepared(prepared, headers)
        return prepared.event

    def prepare(self, event: Event | Mapping[str, Any], key: str | None = None, origin: str = "") -> Prepared:
        """Validate and encode an event without publishing it, so that a caller can check a whole batch first.

        Errors begin with `origin`, such as the name of a file.
        """
        try:
            return self._prepared(event, key)
        except RecursionError:
            sentences = "event: data: nested too deeply"
        except EventError as error:
            sentences = str(error)
        raise EventError("\n".join(f"{origin}: {line}" if origin else line for line in sentences.split("\n")))

    def _prepared(self, event: Event | Mapping[str, Any], key: str | None) -> Prepared:
        event = self._checked(event) if isinstance(event, Event) else self._reader.event(event)
        value = encode_event(self._sender, event)
        self._check_for_router(event, value)
        key = key if key is not None else self._sender.key_of(event)
        if problem := half_surrogate_problem(key):
            raise EventError(f"event {event.event_id}: key: {problem}")
        return Prepared(event, key.encode(), self._in_wire_format(event, value))

    def _check_for_router(self, event: Event, value: bytes) -> None:
        """Refuse an event that the router cannot read or that has too large a body: it would be a dead letter."""
        where = f"event {event.event_id}"
        if len(value) > self._max_event:
            raise EventError(
                f"{where}: the record has {len(value):,} bytes; at most {self._max_event:,} are allowed (max_event): "
                "publish less data, or a link to it"
            )
        try:
            body = self._sender.body(self._decoder.decode(value, str))
        except UnreadableRecord as error:
            raise EventError(f"{where}: {error.detail}") from error
        except (TypeError, ValueError, OverflowError) as error:
            raise EventError(f"{where}: data has no JSON form: {error}") from error
        for limit, name in ((self._sender.max_body, f"{self._sender.name}'s max_bytes"), (self._max_body, "max_body")):
            if len(body) > limit:
                raise EventError(
                    f"{where}: data: the request body would have {len(body):,} bytes; at most {limit:,} are allowed "
                    f"({name}): publish less data, or a link to it"
                )

    def publish_prepared(self, prepared: Prepared, headers: Mapping[str, str] | None = None) -> None:
        """Queue a prepared event; Unavailable if the broker did not acknowledge an earlier event."""
        self._producer.poll(0)
        self._raise_failures()
        lost_s = time.monotonic() + self._timeout.total_seconds() + _LOST_AFTER_S
        pairs: list[tuple[str, str | bytes | None]] = list((headers or {}).items())
        while True:
            try:
                self._producer.produce(
                    self.topic, prepared.value, prepared.key, headers=pairs, on_delivery=self._delivered
                )
            except BufferError:  # the queue is full: wait for delivery reports
                if time.monotonic() > lost_s:
                    raise self._no_response(len(self._producer)) from None
                self._producer.poll(_FULL_QUEUE_WAIT_S)
            except KafkaException as error:
                raise Unavailable(f"topic {self.topic}: {error.args[0].str()}") from error
            else:
                return

    def flush(self) -> None:
        """Wait until the broker has acknowledged all events; Unavailable if it did not acknowledge one."""
        # Every message ends within message.timeout.ms, so the call ends before its own timeout.
        lost = self._producer.flush(self._timeout.total_seconds() + _LOST_AFTER_S)
        self._raise_failures()
        if lost:
            raise self._no_response(lost)

    def _no_response(self, events: int) -> NoResponse:
        return NoResponse(
            f"topic {self.topic}: no response from {self._servers} for {events} events, which may be published or not; "
            f"{self.published} were published"
        )

    def _in_wire_format(self, event: Event, value: bytes) -> bytes:
        if self._schema_ids is None:
            return value
        event_type = self._sender.type_of(event.event_type)
        assert event_type is not None  # it was encoded
        return confluent_value(self._schema_ids.id_of(self.topic, event_type.schema), value)

    def _checked(self, event: Event) -> Event:
        if not event.event_id:
            event = replace(event, event_id=self._new_id())
        problems = [*text_problem("event_id", event.event_id), *text_problem("customer_id", event.customer_id)]
        if self._sender.type_of(event.event_type) is not None:  # encode_event refuses the others
            problems += self._reader.data_problems(event.event_type, event.data)
        if problems:
            where = f"event {short(event.event_id)[1:-1]}"
            raise EventError("\n".join(f"{where}: {problem}" for problem in problems))
        return event

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self.published += 1
        else:
            self._failures.append(error)

    def _raise_failures(self) -> None:
        if self._failures:
            failures = self._failures
            self._failures = []
            raise Unavailable(
                f"topic {self.topic}: {len(failures)} events were not published: {failures[0].str()}; "
                f"{self.published} were published"
            )

    def _check_topic(self) -> None:
        """Fail at once if the topic or broker is missing, instead of after the timeout."""
        try:
            topics = self._producer.list_topics(timeout=min(10.0, self._timeout.total_seconds())).topics
        except KafkaException as error:
            raise Unavailable(f"no broker responds at {self._servers}: {error.args[0].str()}") from error
        if self.topic not in topics:
            raise Unavailable(
                f"topic {self.topic} does not exist at {self._servers}: `signpost topics apply` creates own topics"
                f"{did_you_mean(self.topic, topics)}"
            )
