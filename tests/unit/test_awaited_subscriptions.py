"""A job whose subscription record has not been read yet waits for it, as long as it may still come."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from consumers.delivery.dispatch import Dispatcher
from consumers.delivery.endpoint import Endpoint
from consumers.delivery.health import HealthBook, HealthPolicy
from consumers.delivery.judging import Observer
from consumers.delivery.lane import Lane
from consumers.delivery.outbox import Outbox
from consumers.delivery.pacing import Pacing, PacingLimits
from consumers.delivery.progress import Position, Progress
from consumers.delivery.recorder import Recorder
from consumers.delivery.sending import Sending
from consumers.delivery.tiers import Tiers
from consumers.delivery.work import Work
from consumers.table_state import Entry, Lookup, TableState
from schemas.delivery import JobCodec, OutcomeCodec
from schemas.durations import parse_duration
from schemas.topics import TopicNames
from tests.support.first_jobs import first_job
from tests.support.pacing import NOW, TIERS_MS
from tests.unit.test_endpoint import SIGNED, endpoint

pytestmark = pytest.mark.promise(1)

NAMES = TopicNames("test.")
TIERS = Tiers(NAMES, [parse_duration(delay) for delay in ("0s", "1s", "5s", "20s")], 1.0)
OFFSET = 7


class Table:
    """The table as far as it has been read; questions for its end are numbered, from 0."""

    def __init__(self) -> None:
        self.state: TableState[Endpoint] = TableState(lambda *_: endpoint(replace(SIGNED, activation=1)))
        self.asked, self.proven = 0, 0

    def lookup(self, id_: str, partition: int, offset: int) -> Lookup[Endpoint]:
        return self.state.lookup(id_, partition, offset)

    def get(self, id_: str) -> Entry[Endpoint] | None:
        return self.state.get(id_)

    def mark(self) -> int:
        return self.asked

    def passed_since(self, mark: int) -> bool:
        return self.proven > mark


class Delivery:
    """A dispatcher with one job, which matched the record at OFFSET."""

    def __init__(self) -> None:
        self.table = Table()
        self.started: list[object] = []
        self.ended: list[object] = []
        self.outbox = Outbox("one")
        transport = SimpleNamespace(resolving=0, start=self.started.append)
        self.dispatcher = Dispatcher(
            subscriptions=self.table,
            transport=cast("Any", transport),
            recorder=Recorder(NAMES, TIERS, self.outbox, 1_000_000),
            tiers=TIERS,
            pacing=Pacing[Work](PacingLimits(16, 128, 512, 600_000), TIERS_MS),
            sending=Sending(1.0),
            health=HealthBook(HealthPolicy(report_after_ms=1, disable_after_ms=None)),
            observer=cast("Observer", SimpleNamespace(ended=self.ended.append)),
            is_fresh=lambda: True,
            clock=lambda: NOW,
        )
        place = SimpleNamespace(id=SIGNED.id, partition=0, offset=OFFSET)
        event = {"sender": "zenoo", "event_type": "case.created", "event_id": "evt_1", "customer_id": "acme"}
        _, value = first_job(JobCodec(), place, "events", 0, **event, appended_at_ms=NOW, body=b"{}")
        start = Position(0, "")
        lane = Lane(TIERS.first, 0, start, Progress(start))
        lane.take(0)
        message = SimpleNamespace(offset=lambda: 0, value=lambda: value)
        self.dispatcher.take(lane, cast("Any", message), NOW)
        self.now_ms = NOW

    def look(self) -> None:
        """Have the job looked at, which it is every 20 ms."""
        self.now_ms += 20
        self.dispatcher.start(10, self.now_ms)


@pytest.fixture
def delivery() -> Delivery:
    """A job is at hand, and nothing of the table has been read."""
    return Delivery()


def test_it_is_sent_once_its_record_is_read(delivery: Delivery) -> None:
    """The router may be quicker to read `subscriptions` than delivery."""
    for _ in range(3):
        delivery.look()
    assert not delivery.started
    delivery.table.state.apply(0, OFFSET, SIGNED.id, b"")
    delivery.look()
    assert len(delivery.started) == 1


def test_an_end_that_was_asked_for_before_proves_nothing(delivery: Delivery) -> None:
    """The record may have been written after that question, and before the job."""
    delivery.table.asked = 1
    delivery.look()
    delivery.table.proven = 1
    delivery.look()
    assert not delivery.ended
    assert delivery.outbox.rows_pending == 0


def test_it_is_dead_once_all_has_been_read_that_there_is(delivery: Delivery) -> None:
    """A record of the past that is beyond the end of its topic never comes; the job can be retried when it is back."""
    delivery.look()
    delivery.table.proven = 1
    delivery.look()
    rows = delivery.outbox.seal().rows
    assert {row.topic for row in rows} == {NAMES.dead, NAMES.outcomes}
    (outcome,) = (OutcomeCodec().decode(row.value) for row in rows if row.topic == NAMES.outcomes)
    assert (outcome["state"], outcome["reason"]) == ("dead", "unknown_subscription")
    assert len(delivery.ended) == 1
    assert delivery.dispatcher.bytes == 0
    delivery.look()
    assert not delivery.started


def test_it_is_sent_by_what_its_subscription_says_elsewhere(delivery: Delivery) -> None:
    """A topic that was made anew holds the subscription at another offset."""
    delivery.look()
    delivery.table.state.apply(1, 0, SIGNED.id, b"")
    delivery.table.proven = 1
    delivery.look()
    delivery.look()
    assert len(delivery.started) == 1
