"""Endpoint reports: admission control and health, joined and sorted."""

from __future__ import annotations

import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from consumers.delivery.admission import AdmittedTask
from consumers.delivery.classification import ResponseKind
from consumers.delivery.endpoint import Endpoint
from consumers.delivery.endpoint_report import EndpointReports, EndpointRow, rank, row_of
from consumers.delivery.results.health import HealthPolicy, HealthTracker
from consumers.inspect.endpoints import merged
from consumers.service.snapshots import Snapshots
from consumers.subscriptions.state import Entry
from deploy.cli.columns import table
from deploy.cli.endpoints import COLUMNS
from schemas.catalog.errors import Unavailable
from schemas.catalog.failures import FailureKind
from schemas.subscriptions.subscription import Subscription
from tests.support.admission import NOW, EndpointStub, TestedControl, admission_control
from tests.support.waiting import wait_until
from tests.unit.delivery.results.test_health import failure, job
from tests.unit.delivery.test_endpoint import endpoint
from tests.unit.schemas.test_record_versions import PLAIN

DAY = 86_400_000


class Process:
    """Admission control and health of a delivery process that owns partition 0."""

    def __init__(self) -> None:
        self.control: TestedControl = admission_control()
        self.health = HealthTracker(HealthPolicy(report_after_ms=DAY, disable_after_ms=5 * DAY))
        self.subscriptions: dict[str, Subscription] = {}
        self.number = 0

    def subscribe(self, *ids: str, **fields: object) -> None:
        for id_ in ids:
            self.subscriptions[id_] = replace(PLAIN, id=id_, secrets=(), **fields)

    def fails(self, id_: str, why: int | FailureKind, *, at_ms: int = NOW, activation: int = 1) -> None:
        self.health.failed(0, job(id_), activation, at_ms, failure(why))

    def get(self, id_: str) -> Entry[Endpoint] | None:
        found = self.subscriptions.get(id_)
        return None if found is None else Entry(endpoint(found), 0, 0)

    def rows(self, now_ms: int = NOW) -> list[EndpointRow]:
        reader = SimpleNamespace(partitions={("t.jobs.0s", self.number): SimpleNamespace(number=self.number)})
        reports = EndpointReports(cast("Any", self.control), self.health, cast("Any", self), cast("Any", reader), 1)
        return list(reports.make(now_ms).endpoints)


@pytest.fixture
def process() -> Process:
    process = Process()
    process.subscribe("a", "b", "c", activation=1)
    return process


def test_healthy_endpoints_are_not_reported(process: Process) -> None:
    """Endpoints that respond are not reported, even with requests in flight."""
    process.control.warm(EndpointStub("a"), EndpointStub("b"))
    assert process.control.offer(EndpointStub("a"), 1)["start"]
    assert process.rows() == []


def test_earliest_known_failure_is_reported(process: Process) -> None:
    """A row has the start of the failure from health, and the last response from admission control."""
    process.fails("a", 503, at_ms=NOW - DAY)
    failed = AdmittedTask()
    assert process.control.admit(EndpointStub("a"), failed, NOW)
    process.control.completed(failed, ResponseKind.TIMEOUT, 1_000, NOW, "timeout_answer")
    (row,) = process.rows()
    assert (row.failing_since_ms, row.last_status, row.last_error) == (NOW - DAY, None, "timeout_answer")
    assert (row.customer_id, row.sender, row.host) == (PLAIN.customer_id, "zenoo", "hooks.acme.example")


def test_worst_endpoints_come_first(process: Process) -> None:
    """Order: failing for longest, unresponsive, largest backlog, disabled."""
    for days in range(6, -1, -1):
        process.fails("a", 500, at_ms=NOW - days * DAY)
    process.fails("b", "refused", at_ms=NOW - 1_000)
    process.subscribe("hangs", "busy", activation=1)
    process.control.warm(EndpointStub("hangs"), EndpointStub("busy"))
    assert process.control.offer(EndpointStub("hangs"), 1)["start"]
    late = NOW + 40_000
    busy = process.control.offer(EndpointStub("busy", max_in_flight=1), 3, late)
    assert busy["wait"]
    rows = process.rows(late)
    assert [(row.subscription_id, row.limited_by or row.disabled) for row in rows] == [
        ("b", ""),
        ("hangs", "no_response"),
        ("busy", "in_flight_limit"),
        ("a", "failing"),
    ]


def test_inactive_subscriptions_are_not_reported(process: Process) -> None:
    """Reports leave out paused and deleted subscriptions, those of other processes, and health voided by `resume`."""
    for id_ in ("a", "b", "gone"):
        process.fails(id_, 500)
    process.fails("c", 410)
    process.subscribe("a", activation=1, paused=True)
    process.subscribe("c", activation=2)
    assert [row.subscription_id for row in process.rows()] == ["b"]
    process.number = 1
    assert process.rows() == []


def test_reports_of_two_processes_are_merged() -> None:
    """Of two rows of a subscription the worse one is shown. Unknown fields of a newer version are ignored."""
    mine = EndpointRow("a", "acme", "zenoo", "one.example", failing_since_ms=5)
    theirs = replace(mine, failing_since_ms=None, waiting=7)
    assert merged([theirs, mine]) == [mine]
    assert row_of({"subscription_id": "a", "host": "one.example", "new": 1}).host == "one.example"
    assert rank(mine) < rank(theirs)


def test_table_fits_a_terminal() -> None:
    """Lines with long ids and hosts fit the terminal, and reasons are not cut."""
    row = ("s" * 128, "h" * 253, "120 min", "timeout_connect", "100/100", "1,234,567", "in 60 s", "in_flight_limit")
    for width in (80, 100, 160):
        lines = table(COLUMNS, [row, ("a", "b", *row[2:])], width)
        assert all(len(line) <= width for line in lines)
        assert all(line.endswith("in_flight_limit") for line in lines[1:])


def test_loop_makes_snapshots_at_most_once_a_second() -> None:
    """A request gets the snapshot of the next turn. Another one within a second gets the same snapshot."""
    clock = [0.0]
    made: list[int] = []
    shown = Snapshots(lambda now_ms: made.append(now_ms) or len(made), lambda: clock[0])
    found: list[int] = []
    asking = threading.Thread(target=lambda: found.append(shown.ask()))
    shown.turn(1)
    assert made == []
    asking.start()
    wait_until(lambda: shown.wanted, what="a snapshot is requested")
    shown.turn(2)
    asking.join()
    assert (found, made) == ([1], [2])
    clock[0] = 0.9
    assert shown.ask() == 1


def test_snapshot_of_a_stalled_loop_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request for a snapshot fails if the loop does not turn."""
    monkeypatch.setattr("consumers.service.snapshots._TIMEOUT_S", 0.01)
    with pytest.raises(Unavailable, match="has not turned"):
        Snapshots(lambda now_ms: now_ms).ask()
