"""Unreadable records: each becomes a dead letter with reason, bytes and source, and none stops the router."""

from __future__ import annotations

import random
from io import BytesIO
from typing import Any, cast

import fastavro
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumers.router.jobs import KeyValue
from consumers.router.matching import RoutedSubscription, SubscriptionIndex
from consumers.router.routing import Routed, Router, SizeLimits, UnreadableEvent
from consumers.router.subscriptions import Subscribers
from consumers.subscriptions.state import Entry
from deploy.dev.broker import Broker
from schemas.catalog.errors import UNREADABLE_REASONS
from schemas.records.delivery import DeadLetter, DeadLetterCodec
from schemas.records.topics import MAX_EVENT
from schemas.senders.event_codec import encode_event
from tests.support.installation import ZENOO, Installation, event, subscription
from tests.support.topics import create_topic

pytestmark = pytest.mark.promise(1)

GOOD = encode_event(ZENOO, event("evt_good"))
CREATED, CLOSED = ZENOO.event_types["case.created"], ZENOO.event_types["case.closed"]


def encoded(prefix: bytes, **changes: Any) -> bytes:
    """Encode a case.created event with values that `encode_event` would refuse."""
    one = event("evt_bad")
    record = {
        "event_id": one.event_id,
        "event_type": one.event_type,
        "created_at": one.created_at_us,
        "customer_id": one.customer_id,
        "data": one.data,
    } | changes
    stream = BytesIO()
    stream.write(prefix)
    fastavro.schemaless_writer(stream, CREATED.record, record)
    return stream.getvalue()


UNREADABLE: dict[str, bytes | None] = {
    "empty": None,
    "unknown_format": b'{"event_type": "case.created"}',
    "unknown_schema": b"\xc3\x01" + b"\x00" * 8 + GOOD[10:],
    "truncated": GOOD[:-3],
    "trailing_bytes": GOOD + b"\x00",
    "invalid_value": GOOD[:10] + b"\x07" + GOOD[11:],  # the union of event_id has no branch of this number
    "unknown_event_type": encoded(CREATED.prefix, event_type="case.exploded"),
    "event_type_mismatch": encoded(CREATED.prefix, event_type="case.closed"),
    "no_customer": encoded(CREATED.prefix, customer_id=""),
    "too_large": b"\xc3\x01" + b"x" * 2_000_000,
}


def test_each_reason_has_a_sample() -> None:
    """The samples cover the closed list of ten reasons."""
    assert UNREADABLE.keys() == UNREADABLE_REASONS
    assert len(UNREADABLE) == 10


def test_unreadable_record_is_dead_with_its_bytes_and_source_and_stops_nothing(broker: Broker, prefix: str) -> None:
    """Ten kinds between good events on one partition give ten dead letters, and a job for every good event."""
    sources = [{"topic": f"{prefix}crm", "sender": "zenoo"}]
    here = Installation(broker.bootstrap_servers, prefix, sources=sources).make_topics()
    create_topic(broker.bootstrap_servers, f"{prefix}crm", 1, max_message_bytes="4000000")
    here.events_topic = f"{prefix}crm"
    here.subscribe(subscription("one"))
    offsets: dict[int, str] = {}
    for number, (reason, value) in enumerate(UNREADABLE.items()):
        here.produce(here.events_topic, GOOD, b"good", partition=0)
        here.produce(
            here.events_topic, value, reason.encode(), partition=0, headers=[("trace", b"\xff\x00"), ("none", None)]
        )
        offsets[2 * number + 1] = reason
    here.produce(here.events_topic, GOOD, b"good", partition=0)
    with here.router() as router:
        here.wait_routed()
        router.wait_ready()
        counted = {reason: router.metric("signpost_unreadable_records_total", reason=reason) for reason in UNREADABLE}

    letters = {letter.offset: letter for letter in here.dead()}

    assert {offset: letter.reason for offset, letter in letters.items()} == offsets
    assert counted == dict.fromkeys(UNREADABLE, 1)
    assert len(here.jobs()) == len(UNREADABLE) + 1
    for offset, reason in offsets.items():
        letter = letters[offset]
        assert (letter.topic, letter.partition) == (here.events_topic, 0)
        assert letter.detail
        if reason == "too_large":  # too large for the dead letter topic: it stays at its source
            assert (letter.key, letter.value, letter.headers) == (None, None, ())
        else:
            assert (letter.key, letter.value) == (reason.encode(), UNREADABLE[reason] or None)
            assert letter.headers == (("trace", b"\xff\x00"), ("none", None))


def test_largest_allowed_record_fits_into_a_dead_letter(broker: Broker, prefix: str) -> None:
    """The dead letter of an incompressible record of nearly `max_event` contains the whole record."""
    here = Installation(broker.bootstrap_servers, prefix, max_event=64 * 1024).make_topics()
    value = random.Random(7).randbytes(64 * 1024 - 100)
    here.produce(here.events_topic, value, b"key", partition=0)
    with here.router():
        here.wait_routed()

    (letter,) = here.dead()

    assert letter.value == value


class Record:
    """A consumed record."""

    def __init__(self, value: bytes | None, headers: list[tuple[str, bytes | None]] | None = None) -> None:
        self._value = value
        self._headers = headers

    def topic(self) -> str:
        return "events"

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return 7

    def key(self) -> bytes | None:
        return b"key"

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return self._headers

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_000


class UsableSubscribers:
    """Subscriptions without an unusable one."""

    def __init__(self) -> None:
        index = SubscriptionIndex()
        index.change("one", Entry(RoutedSubscription.of(subscription("one"), 0, 0), 0, 0))
        self.match = index.match

    def blocked(self, customer_id: str) -> str | None:
        return None


def read(letter: KeyValue) -> DeadLetter:
    return DeadLetterCodec().decode(letter[1])


@given(st.binary(max_size=400) | st.builds(lambda cut, tail: GOOD[:cut] + tail, st.integers(0, len(GOOD)), st.binary()))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_no_bytes_raise(value: bytes) -> None:
    """Any bytes become jobs, or one dead letter with a reason of the closed list and the bytes."""
    router = Router(
        {"events": ZENOO}, cast("Subscribers", UsableSubscribers()), SizeLimits(MAX_EVENT, 1_000_000), lambda: 5
    )

    match router.route(Record(value)):
        case Routed(jobs=jobs, count=count):
            assert len(list(jobs)) == count <= 1
        case UnreadableEvent(reason=reason, letter=letter):
            assert reason in UNREADABLE_REASONS
            assert (read(letter).value or b"") == value
        case other:
            pytest.fail(f"{other} is neither")


class FailingDecoder:
    """A decoder that raises an unexpected error."""

    def decode(self, value: object, fallback_id: object) -> None:
        raise RecursionError("deep")


def test_unexpected_error_does_not_stop_the_router() -> None:
    """An unexpected error while decoding becomes a dead letter that names the error."""
    router = Router(
        {"events": ZENOO}, cast("Subscribers", UsableSubscribers()), SizeLimits(MAX_EVENT, 1_000_000), lambda: 5
    )
    router._sources = {"events": (ZENOO, FailingDecoder())}  # type: ignore[dict-item]  # not a decoder, on purpose

    routed = router.route(Record(GOOD))

    assert isinstance(routed, UnreadableEvent)
    assert (routed.reason, read(routed.letter).detail) == ("invalid_value", "RecursionError: deep")
