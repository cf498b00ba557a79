"""A request that waited, for the name of its host or for a connection, is sent only if it might be started now."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from consumers.delivery.admission import AdmissionControl, AdmissionLimits
from consumers.delivery.classification import classify
from consumers.delivery.delay_topics import DelayTopics
from consumers.delivery.endpoint import Endpoint
from consumers.delivery.http.types import Request, Response
from consumers.delivery.partitions.outbox import Outbox
from consumers.delivery.partitions.partition_state import Ownership, PartitionState
from consumers.delivery.partitions.progress import Position, Progress
from consumers.delivery.results.health import HealthPolicy, HealthTracker
from consumers.delivery.results.recorder import Recorder
from consumers.delivery.scheduler import Scheduler
from consumers.delivery.task import DeliveryTask
from consumers.subscriptions.state import Entry
from schemas.input.durations import parse_duration
from schemas.records.topics import TopicNames
from tests.support.admission import DELAYS_MS, NOW
from tests.unit.delivery.results.test_health import job
from tests.unit.delivery.test_endpoint import SIGNED, endpoint

pytestmark = pytest.mark.promise(7)

NAMES = TopicNames("test.")
DELAY_TOPICS = DelayTopics(NAMES, [parse_duration(delay) for delay in ("0s", "1s", "5s", "20s")], 1.0)
ENDPOINT = endpoint(SIGNED)


def request_of(task: DeliveryTask, *_: object) -> Request:
    return Request(cast("Any", None), [], b"", 1_000, task)


class Waiting:
    """A dispatcher, and one request of it that waits for the name of its host."""

    def __init__(self) -> None:
        self.endpoint: Endpoint = ENDPOINT
        self.fresh = True
        self.now_ms = NOW
        self.stands_ms = 0  # within the next start
        self.started: list[Request] = []
        self.decisions: list[str] = []
        self.health = HealthTracker(HealthPolicy(report_after_ms=1, disable_after_ms=None))
        admission = AdmissionControl(AdmissionLimits(16, 128, 512, 600_000), DELAYS_MS)
        self.scheduler = Scheduler(
            subscriptions=cast("Any", SimpleNamespace(lookup=lambda *_: Entry(self.endpoint, 0, 0))),
            client=cast(
                "Any",
                SimpleNamespace(
                    start=self._start,
                    confirm=lambda _: self.decisions.append("confirmed"),
                    withdraw=lambda _: self.decisions.append("withdrawn"),
                ),
            ),
            outbox=Outbox("one"),
            recorder=Recorder(NAMES, DELAY_TOPICS, 1_000_000),
            handler=cast("Any", None),
            delay_topics=DELAY_TOPICS,
            admission=admission,
            health=self.health,
            metrics=cast("Any", None),
            is_fresh=lambda: self.fresh,
            clock=lambda: self.now_ms,
        )
        self.scheduler.may_start = True
        start = Position(0, "")
        self.partition = PartitionState(DELAY_TOPICS.first, 0, start, Progress(start))
        self.job = job(SIGNED.id)
        task = DeliveryTask(self.job, self.partition, 0, b"")
        task.endpoint = self.endpoint
        assert admission.admit(self.endpoint, task, NOW)
        admission.suspend(task)
        self.request = request_of(task)

    def _start(self, request: Request) -> bool:
        self.started.append(request)
        self.now_ms += self.stands_ms
        return False

    def goes_on(self) -> bool:
        """Whether the request is sent now that the name is known."""
        self.scheduler.confirm([self.request])
        return self.decisions[-1] == "confirmed"


@pytest.fixture
def waiting() -> Waiting:
    """A request that nothing stands in the way of."""
    return Waiting()


def test_it_is_sent_if_nothing_has_changed(waiting: Waiting) -> None:
    """A name that is found lets the request continue."""
    assert waiting.goes_on()


@pytest.mark.parametrize("ownership", [Ownership.SUSPENDED, Ownership.LOST])
def test_it_is_not_sent_for_a_partition_that_was_revoked(waiting: Waiting, ownership: Ownership) -> None:
    """The partition's new owner sends the job: the old one starts no request for it any more."""
    waiting.partition.ownership = ownership
    assert not waiting.goes_on()


def test_it_is_not_sent_while_the_loop_starts_nothing(waiting: Waiting) -> None:
    """After a stall, or with too much uncommitted, no request starts by way of DNS either."""
    waiting.scheduler.may_start = False
    assert not waiting.goes_on()


def test_it_is_not_sent_on_stale_or_changed_subscriptions(waiting: Waiting) -> None:
    """While the subscription has changed, or the table is stale, the request is withdrawn."""
    waiting.fresh = False
    assert not waiting.goes_on()
    waiting.fresh = True
    waiting.endpoint = replace(ENDPOINT, paused=True)
    assert not waiting.goes_on()


def test_it_is_not_sent_to_an_endpoint_that_was_disabled(waiting: Waiting) -> None:
    """A 410 that came meanwhile counts for it, too."""
    gone = Response(410, None, b"", False)
    waiting.health.failed(0, waiting.job, ENDPOINT.activation, NOW, classify(gone, NOW))
    assert not waiting.goes_on()


def test_a_request_with_a_permit_needs_no_other(waiting: Waiting) -> None:
    """A request that waited for a connection has kept its permit, and is sent if nothing else has changed."""
    assert waiting.goes_on()
    assert waiting.goes_on()
    waiting.fresh = False
    assert not waiting.goes_on()


def test_a_stall_among_starts_ends_them(waiting: Waiting) -> None:
    """What was checked before the first start holds for a moment: the other jobs are considered in the next turn."""
    waiting.job.activation = ENDPOINT.activation
    for offset in range(1, 4):
        waiting.scheduler._ready.append(DeliveryTask(waiting.job, waiting.partition, offset, b""))
    waiting.stands_ms = 30
    waiting.scheduler.start(100, NOW)
    assert len(waiting.started) == 1
    waiting.stands_ms = 0
    waiting.scheduler.start(100, waiting.now_ms)
    assert len(waiting.started) == 3
