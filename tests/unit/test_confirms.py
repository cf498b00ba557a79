"""What waited is sent only if it might be started now: for the name of its host, for a connection, for its turn."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from consumers.delivery.answer import Request
from consumers.delivery.dispatch import Dispatcher
from consumers.delivery.endpoint import Endpoint
from consumers.delivery.health import HealthBook, HealthPolicy
from consumers.delivery.lane import Lane, Ownership
from consumers.delivery.outbox import Outbox
from consumers.delivery.pacing import Pacing, PacingLimits
from consumers.delivery.progress import Position, Progress
from consumers.delivery.recorder import Recorder
from consumers.delivery.tiers import Tiers
from consumers.delivery.work import Work
from consumers.table_state import Entry
from schemas.delivery import Job
from schemas.durations import parse_duration
from schemas.topics import TopicNames
from tests.support.pacing import NOW, TIERS_MS
from tests.unit.test_endpoint import SIGNED, endpoint

pytestmark = pytest.mark.promise(7)

NAMES = TopicNames("test.")
TIERS = Tiers(NAMES, [parse_duration(delay) for delay in ("0s", "1s", "5s", "20s")], 1.0)
ENDPOINT = endpoint(SIGNED)


def request_of(work: Work, *_: object) -> Request:
    return Request(cast("Any", None), [], b"", 1_000, work)


class Waiting:
    """A dispatcher, and one request of it that waits for the name of its host."""

    def __init__(self) -> None:
        self.endpoint: Endpoint = ENDPOINT
        self.fresh = True
        self.now_ms = NOW
        self.stands_ms = 0  # within the next start
        self.started: list[Request] = []
        self.health = HealthBook(HealthPolicy(report_after_ms=1, disable_after_ms=None))
        pacing: Pacing[Work] = Pacing(PacingLimits(16, 128, 512, 600_000), TIERS_MS)
        self.dispatcher = Dispatcher(
            subscriptions=cast("Any", SimpleNamespace(lookup=lambda *_: Entry(self.endpoint, 0, 0))),
            transport=cast("Any", SimpleNamespace(start=self._start)),
            recorder=Recorder(NAMES, TIERS, Outbox("one"), 1_000_000),
            tiers=TIERS,
            pacing=pacing,
            sending=cast("Any", SimpleNamespace(request=request_of)),
            health=self.health,
            observer=cast("Any", None),
            is_fresh=lambda: self.fresh,
            clock=lambda: self.now_ms,
        )
        self.dispatcher.may_start = True
        start = Position(0, "")
        self.lane = Lane(TIERS.first, 0, start, Progress(start))
        self.job = cast("Job", SimpleNamespace(subscription_id=SIGNED.id, customer_id="c", sender="zenoo"))
        self.job.subscription_partition = self.job.subscription_offset = 0
        work = Work(self.job, self.lane, 0, b"", self.endpoint)
        assert pacing.admit(self.endpoint, work, NOW)
        pacing.suspend(work)
        self.request = request_of(work)

    def _start(self, request: Request) -> bool:
        self.started.append(request)
        self.now_ms += self.stands_ms
        return False

    def goes_on(self) -> bool:
        """Whether the request is sent now that the name is known."""
        return self.dispatcher.confirms(self.request)


@pytest.fixture
def waiting() -> Waiting:
    """A request that nothing stands in the way of."""
    return Waiting()


def test_it_is_sent_where_nothing_has_changed(waiting: Waiting) -> None:
    """A name that is found lets the request go."""
    assert waiting.goes_on()


@pytest.mark.parametrize("ownership", [Ownership.SUSPENDED, Ownership.LOST])
def test_it_is_not_sent_for_a_partition_that_was_revoked(waiting: Waiting, ownership: Ownership) -> None:
    """The partition's new owner sends the job: the old one starts no request for it any more."""
    waiting.lane.ownership = ownership
    assert not waiting.goes_on()


def test_it_is_not_sent_while_the_loop_starts_nothing(waiting: Waiting) -> None:
    """In doubt after a standstill, or with too much uncommitted, nothing starts by way of DNS either."""
    waiting.dispatcher.may_start = False
    assert not waiting.goes_on()


def test_it_is_not_sent_on_old_news(waiting: Waiting) -> None:
    """A subscription that changed, or of which news is awaited, is looked at anew."""
    waiting.fresh = False
    assert not waiting.goes_on()
    waiting.fresh = True
    waiting.endpoint = replace(ENDPOINT, paused=True)
    assert not waiting.goes_on()


def test_it_is_not_sent_to_an_endpoint_that_was_disabled(waiting: Waiting) -> None:
    """A 410 that came meanwhile holds for it, too."""
    waiting.health.failed(0, waiting.job, ENDPOINT.activation, NOW, 410)
    assert not waiting.goes_on()


def test_who_has_its_place_needs_no_other(waiting: Waiting) -> None:
    """What waited for a connection has had its place all the time, and is sent where nothing else has changed."""
    assert waiting.goes_on()
    assert waiting.goes_on()
    waiting.fresh = False
    assert not waiting.goes_on()


def test_a_standstill_among_starts_ends_them(waiting: Waiting) -> None:
    """What was asked before the first of them holds for a moment: the others are looked at in the next turn."""
    job = waiting.job
    job.due_at_ms = 0
    job.activation = ENDPOINT.activation
    for offset in range(1, 4):
        waiting.dispatcher._ready.append(Work(job, waiting.lane, offset, b""))
    waiting.stands_ms = 30
    waiting.dispatcher.start(100, NOW)
    assert len(waiting.started) == 1
    waiting.stands_ms = 0
    waiting.dispatcher.start(100, waiting.now_ms)
    assert len(waiting.started) == 3
