"""A request that waited for DNS or for a connection is sent only if it may still start."""

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


class WaitingRequest:
    """A scheduler, and one of its requests that waits for DNS."""

    def __init__(self) -> None:
        self.endpoint: Endpoint = ENDPOINT
        self.fresh = True
        self.now_ms = NOW
        self.start_takes_ms = 0  # duration of the next start
        self.may_start = True
        self.started: list[Request] = []
        self.decisions: list[str] = []
        self.health = HealthTracker(HealthPolicy(report_after_ms=1, disable_after_ms=None))
        admission = AdmissionControl(AdmissionLimits(16, 128, 512, 600_000), DELAYS_MS)
        self.scheduler = Scheduler(
            subscriptions=cast(
                "Any",
                SimpleNamespace(
                    lookup=lambda *_: Entry(self.endpoint, 0, 0),
                    is_fresh=lambda _now_ms: self.fresh,
                ),
            ),
            client=cast(
                "Any",
                SimpleNamespace(
                    start=self._start,
                    confirm=lambda _: self.decisions.append("confirmed"),
                    cancel=lambda _: self.decisions.append("cancelled"),
                ),
            ),
            outbox=Outbox("one"),
            recorder=Recorder(NAMES, DELAY_TOPICS, 1_000_000),
            handler=cast("Any", None),
            delay_topics=DELAY_TOPICS,
            admission=admission,
            health=self.health,
            metrics=cast("Any", None),
            clock=lambda: self.now_ms,
            monotonic_ms=lambda: self.now_ms,
        )
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
        self.now_ms += self.start_takes_ms
        return False

    def is_confirmed(self) -> bool:
        """Whether the scheduler confirms the request."""
        self.scheduler.confirm([self.request], may_start=self.may_start)
        return self.decisions[-1] == "confirmed"


@pytest.fixture
def waiting() -> WaitingRequest:
    """A request that may be sent."""
    return WaitingRequest()


def test_unchanged_request_is_confirmed(waiting: WaitingRequest) -> None:
    """A request is confirmed if nothing has changed while it waited."""
    assert waiting.is_confirmed()


@pytest.mark.parametrize("ownership", [Ownership.SUSPENDED, Ownership.LOST])
def test_request_of_a_revoked_partition_is_cancelled(waiting: WaitingRequest, ownership: Ownership) -> None:
    """The new owner of the partition sends the job; the former owner does not."""
    waiting.partition.ownership = ownership
    assert not waiting.is_confirmed()


def test_request_is_cancelled_while_the_loop_is_paused(waiting: WaitingRequest) -> None:
    """After a stall, or with too much uncommitted, requests that waited are not sent either."""
    waiting.may_start = False
    assert not waiting.is_confirmed()


def test_request_of_a_changed_or_stale_subscription_is_cancelled(waiting: WaitingRequest) -> None:
    """A request is cancelled if its subscription has changed, or if the table is stale."""
    waiting.fresh = False
    assert not waiting.is_confirmed()
    waiting.fresh = True
    waiting.endpoint = replace(ENDPOINT, paused=True)
    assert not waiting.is_confirmed()


def test_request_to_a_disabled_endpoint_is_cancelled(waiting: WaitingRequest) -> None:
    """A request is cancelled if a 410 has disabled its subscription meanwhile."""
    gone = Response(410, None, b"", False)
    waiting.health.failed(0, waiting.job, ENDPOINT.activation, NOW, classify(gone, NOW))
    assert not waiting.is_confirmed()


def test_request_with_a_permit_needs_no_other(waiting: WaitingRequest) -> None:
    """A request that waited for a connection has kept its permit, and needs no other one."""
    assert waiting.is_confirmed()
    assert waiting.is_confirmed()
    waiting.fresh = False
    assert not waiting.is_confirmed()


def test_stall_between_starts_ends_the_turn(waiting: WaitingRequest) -> None:
    """The checks before the first start are valid for a moment. After a stall the other jobs wait for the next turn."""
    waiting.job.activation = ENDPOINT.activation
    for offset in range(1, 4):
        waiting.scheduler._ready.append(DeliveryTask(waiting.job, waiting.partition, offset, b""))
    waiting.start_takes_ms = 30
    waiting.scheduler.start(100, NOW)
    assert len(waiting.started) == 1
    waiting.start_takes_ms = 0
    waiting.scheduler.start(100, waiting.now_ms)
    assert len(waiting.started) == 3
