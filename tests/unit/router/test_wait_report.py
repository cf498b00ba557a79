"""What the router waits for is logged once when it begins and once when it ends."""

from __future__ import annotations

from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from consumers.kafka.dead_letters import SourceRecord
from consumers.router.paused_partitions import PAUSE_KINDS, PausedPartitions
from consumers.router.routing import Blocked, PauseReason, Routed, Waiting
from consumers.router.wait_report import LOG_AFTER_S, WaitReport
from consumers.service.metrics import RouterMetrics
from schemas.catalog.reasons import PAUSED
from tests.unit.router.test_paused_partitions import Record

PAUSED_METRIC = "signpost_router_paused_partitions"


class Reported:
    """A report with its partitions and metrics; `turn` returns the new log lines."""

    def __init__(self) -> None:
        self.paused = PausedPartitions()
        self.metrics = RouterMetrics({})
        self._report = WaitReport(self.paused, self.metrics)

    def pause(self, partition: int, why: PauseReason) -> None:
        record = cast("SourceRecord", Record(partition, 7, frozenset(), dead=False))
        self.paused.pause(("events", partition), record, why)

    def turn(self, now_s: float, reason: str | None = None) -> list[Any]:
        with capture_logs() as lines:
            self._report.turn(reason, now_s)
        return [line["event"] for line in lines]

    def metric(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


@pytest.fixture
def reported() -> Reported:
    return Reported()


def test_kinds_of_pauses_are_described() -> None:
    """The closed list of reasons has each kind, and the gauge begins with 0 for each."""
    assert set(PAUSE_KINDS) == set(PAUSED)
    assert [Reported().metric(PAUSED_METRIC, reason=kind) for kind in PAUSE_KINDS] == [0, 0]


def test_wait_of_the_process_is_logged_once(reported: Reported) -> None:
    """A wait is logged when it lasts, and its end is logged; a short one is not logged."""
    assert reported.turn(0.0, "stale") == []
    assert reported.turn(1.0) == []
    assert reported.turn(2.0, "stale") == []
    assert reported.turn(2.0 + LOG_AFTER_S, "stale") == ["router.paused"]
    assert reported.turn(20.0, "stale") == []
    assert reported.turn(21.0) == ["router.resumed"]
    assert reported.turn(22.0) == []


def test_wait_that_comes_and_goes_is_logged_once_a_minute(reported: Reported) -> None:
    """A slow broker does not fill the log."""
    lines = []
    for second in range(120):
        lines += reported.turn(float(second), None if second % 10 == 9 else "stale")
    assert lines == ["router.paused", "router.resumed"] * 2


def test_partitions_that_wait_for_the_registry_are_logged_once(reported: Reported) -> None:
    """The registry is logged once, each partition once, and the gauges count them."""
    reported.pause(0, Waiting(None))
    assert reported.turn(0.0) == []
    assert reported.metric(PAUSED_METRIC, reason="schema_registry") == 0
    reported.pause(0, Waiting("503"))
    assert reported.turn(1.0) == ["registry.disconnected", "partition.paused"]
    reported.pause(0, Waiting("401"))  # another error of the same wait
    reported.pause(1, Waiting("401"))
    assert reported.turn(2.0) == ["partition.paused"]
    assert reported.metric(PAUSED_METRIC, reason="schema_registry") == 2
    assert reported.metric("signpost_router_waiting_for_registry") == 1
    reason = reported.paused.reason()
    assert reason == "stopped before offset 7 of events, partition 0: 401 (partitions that wait: 2)"

    reported.paused.resume(lambda _customer: None, lambda _record: Routed("s", "t", iter(()), 0, 0))
    assert reported.turn(3.0) == ["registry.connected", "partition.resumed", "partition.resumed"]
    assert reported.metric(PAUSED_METRIC, reason="schema_registry") == 0
    assert reported.metric("signpost_router_waiting_for_registry") == 0


def test_other_reason_for_the_same_record_is_another_pause(reported: Reported) -> None:
    """A record that waits for its schema and then for a subscription is logged for both."""
    reported.pause(0, Waiting("503"))
    reported.turn(0.0)
    reported.pause(0, Blocked("acme", "unreadable"))
    assert reported.turn(1.0) == ["registry.connected", "partition.resumed", "partition.paused"]
    assert reported.metric(PAUSED_METRIC, reason="unreadable_subscription") == 1
    assert reported.paused.reason() == (
        "stopped before offset 7 of events, partition 0: a subscription of customer 'acme' cannot be used: unreadable"
    )


def test_revoked_partitions_wait_no_longer(reported: Reported) -> None:
    """After a revocation the gauges are 0: another process reports the wait."""
    reported.pause(0, Waiting("503"))
    reported.turn(0.0)
    reported.paused.clear()
    assert reported.turn(1.0) == ["registry.connected", "partition.resumed"]
    assert reported.metric(PAUSED_METRIC, reason="schema_registry") == 0
    assert reported.metric("signpost_router_waiting_for_registry") == 0
    assert reported.paused.reason() is None
