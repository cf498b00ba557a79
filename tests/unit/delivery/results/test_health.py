"""Endpoint health: failing, reported, disabled, recovered."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from consumers.delivery.classification import Classified, classify
from consumers.delivery.health_cleanup import CHECK_EVERY_MS, HealthCleanup
from consumers.delivery.http.types import Response, TransportError
from consumers.delivery.results.health import HealthChange, HealthPolicy, HealthTracker
from schemas.catalog.failures import FailureKind
from schemas.records.delivery import Job
from schemas.records.health import decode_health, decode_operation, encode_health, encode_operation

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
START = 1_700_000_000_000
POLICY = HealthPolicy(report_after_ms=HOUR, disable_after_ms=5 * DAY)


def job(subscription_id: str = "sub_1") -> Job:
    return Job(
        job_id="j",
        subscription_id=subscription_id,
        subscription_partition=0,
        subscription_offset=0,
        activation=1,
        run=0,
        attempt=1,
        due_at_ms=0,
        first_offset=-1,
        sender="zenoo",
        event_type="case.created",
        event_id="evt_1",
        customer_id="acme",
        source_topic="t",
        source_partition=0,
        source_offset=0,
        appended_at_ms=0,
        body=b"{}",
    )


def failure(why: int | FailureKind) -> Classified:
    response = Response(why, None, b"", False) if isinstance(why, int) else TransportError(why, "")
    return classify(response, START)


class Endpoint:
    """One endpoint of partition 3, and its health tracker."""

    def __init__(self, policy: HealthPolicy = POLICY) -> None:
        self.book = HealthTracker(policy)
        self.written: list[HealthChange] = []

    def fails(self, at_ms: int, *, activation: int = 1, why: int | FailureKind = 500) -> HealthChange | None:
        return self._recorded(self.book.failed(3, job(), activation, START + at_ms, failure(why)))

    def succeeds(self, at_ms: int, *, activation: int = 1) -> HealthChange | None:
        return self._recorded(self.book.delivered(3, job(), activation, START + at_ms))

    def disabled(self, activation: int = 1) -> bool:
        return self.book.is_disabled("sub_1", activation)

    def restarted(self) -> None:
        """Load the written record, as another process would."""
        last = self.written[-1].health if self.written else None
        self.book = HealthTracker(POLICY)
        self.book.load(3, {"sub_1": decode_health(encode_health(last))} if last else {})

    def _recorded(self, change: HealthChange | None) -> HealthChange | None:
        if change is not None:
            self.written.append(change)
        return change


def operations_of(endpoint: Endpoint) -> list[str | None]:
    return [change.operation.kind if change.operation else None for change in endpoint.written]


def test_failure_shorter_than_a_minute_is_not_recorded() -> None:
    """An endpoint that recovers within a minute has no health record."""
    endpoint = Endpoint()
    assert endpoint.fails(0) is None
    assert endpoint.fails(MINUTE - 1) is None
    assert endpoint.succeeds(MINUTE - 1) is None
    assert endpoint.book.of("sub_1") is None


def test_lasting_failure_is_recorded_and_reported_once() -> None:
    """A failure is recorded after a minute and reported after an hour, each once."""
    endpoint = Endpoint()
    for at_ms in (0, MINUTE, 2 * MINUTE, HOUR, HOUR + 1, 2 * HOUR):
        endpoint.fails(at_ms, why="timeout_answer")
    assert operations_of(endpoint) == [None, "endpoint_failing"]
    first, last = endpoint.written
    assert first.health is not None
    assert first.health.failing_since_ms == START
    assert last.operation is not None
    assert last.operation.since_ms == START
    assert last.operation.error == "timeout_answer"
    assert not endpoint.disabled()


def test_recovery_is_reported() -> None:
    """A success deletes the record of a failure. It is reported if the failure was."""
    endpoint = Endpoint()
    for at_ms in (0, MINUTE, HOUR):
        endpoint.fails(at_ms)
    change = endpoint.succeeds(HOUR + 1)
    assert change is not None
    assert change.health is None
    assert operations_of(endpoint) == [None, "endpoint_failing", "endpoint_recovered"]
    assert endpoint.succeeds(HOUR + 2) is None


@pytest.mark.decision("Z6", "O34", "D22", "R9")
def test_five_days_of_failures_disable() -> None:
    """An endpoint that has failed for five days is disabled with its reason, not earlier."""
    endpoint = Endpoint()
    for day in range(5):
        endpoint.fails(day * DAY)
    endpoint.fails(5 * DAY - 1)
    assert not endpoint.disabled()
    endpoint.fails(5 * DAY)
    assert endpoint.disabled()
    health = endpoint.written[-1].health
    assert health is not None
    assert (health.reason, health.disabled_at_ms) == ("failing", START + 5 * DAY)
    assert operations_of(endpoint)[-1] == "endpoint_disabled"
    assert endpoint.fails(5 * DAY + 1) is None


def test_days_without_attempts_do_not_count_as_failing() -> None:
    """Failures with days without attempts between them do not disable: the endpoint may have been healthy meanwhile."""
    endpoint = Endpoint()
    for week in range(4):
        endpoint.fails(week * 7 * DAY)
        endpoint.fails(week * 7 * DAY + 2 * MINUTE)
    assert not endpoint.disabled()
    health = endpoint.written[-1].health
    assert health is not None
    assert health.failing_since_ms == START + 21 * DAY


def test_success_restarts_the_five_days() -> None:
    """Five days count from the first failure after the last success."""
    endpoint = Endpoint()
    endpoint.fails(0)
    endpoint.succeeds(4 * DAY)
    endpoint.fails(4 * DAY + 1)
    endpoint.fails(8 * DAY)
    assert not endpoint.disabled()


@pytest.mark.decision("Z6", "O34", "D22", "R9")
def test_gone_disables_at_once() -> None:
    """A 410 disables the subscription with the reason `gone`."""
    endpoint = Endpoint()
    change = endpoint.fails(0, why=410)
    assert endpoint.disabled()
    assert change is not None
    assert change.health is not None
    assert change.health.reason == "gone"
    assert operations_of(endpoint) == ["endpoint_disabled"]


def test_resume_enables_again() -> None:
    """A higher activation voids the record of a lower one, and a success under it deletes the record."""
    endpoint = Endpoint()
    endpoint.fails(0, why=410)
    assert not endpoint.disabled(activation=2)
    change = endpoint.succeeds(MINUTE, activation=2)
    assert change is not None
    assert change.health is None
    assert change.operation is None


@pytest.mark.parametrize("known_of_the_new", [True, False])
def test_late_response_from_before_a_resume_disables_nothing(known_of_the_new: bool) -> None:
    """A 410 to an attempt from before a resume neither disables the resumed subscription nor writes its record."""
    endpoint = Endpoint()
    if known_of_the_new:
        endpoint.fails(0, activation=2)
    change = endpoint.fails(1, activation=1, why=410)
    assert change is None or not known_of_the_new
    assert not endpoint.disabled(activation=2)
    endpoint.succeeds(2, activation=1)
    assert not endpoint.disabled(activation=2)


def test_five_days_continue_in_another_process() -> None:
    """The record is loaded: after a restart the start of the failure and the disabled state are known."""
    endpoint = Endpoint()
    endpoint.fails(0)
    for day in range(6):
        endpoint.fails(day * DAY + MINUTE)
        endpoint.restarted()
    assert endpoint.disabled()
    endpoint.restarted()
    assert endpoint.disabled()


def test_health_of_a_lost_partition_is_forgotten() -> None:
    """A process forgets the health of partitions that it lost."""
    endpoint = Endpoint()
    endpoint.fails(0, why=410)
    endpoint.book.drop([3])
    assert not endpoint.disabled()
    assert endpoint.book.disabled == 0


def test_health_record_of_a_deleted_subscription_is_deleted() -> None:
    """A tombstone is written for the health record of a deleted subscription."""
    endpoint = Endpoint()
    endpoint.fails(0, why=410)
    change = endpoint.book.deleted(3, "sub_1")
    assert change is not None
    assert change.health is None
    assert endpoint.book.deleted(3, "sub_1") is None


class Cleanup:
    """The health of two endpoints, and a table in which the test puts their subscriptions."""

    def __init__(self) -> None:
        book = HealthTracker(POLICY)
        failing = Endpoint()
        failing.fails(0, why=410)
        found = failing.book.of("sub_1")
        assert found is not None
        book.load(3, {"sub_1": found, "sub_2": found})
        self.exists, self.fresh = {"sub_2"}, True
        table = SimpleNamespace(has=lambda id_: id_ in self.exists, is_fresh=lambda _now: self.fresh)
        self.cleanup = HealthCleanup(book, cast("Any", table))

    def check(self, number: int) -> set[str]:
        return self.cleanup.turn(START + number * CHECK_EVERY_MS, 0)


def test_health_of_a_deleted_subscription_is_removed_after_two_checks() -> None:
    """Health is removed if the subscription is missing at two checks, five seconds apart. Other endpoints stay."""
    case = Cleanup()
    assert case.check(0) == set()
    assert case.cleanup.turn(START + CHECK_EVERY_MS - 1, 0) == set()
    assert case.check(1) == {"sub_1"}


def test_health_of_an_unread_subscription_is_kept() -> None:
    """Health stays if the subscription is read between two checks, or while the table is stale."""
    case = Cleanup()
    assert case.check(0) == set()
    case.exists.add("sub_1")
    assert case.check(1) == set()
    case.exists.clear()
    assert case.check(2) == set()
    case.fresh = False
    assert case.check(3) == set()


def test_disabling_can_be_switched_off() -> None:
    """If the settings say never, neither a 410 nor lasting failure disables."""
    endpoint = Endpoint(HealthPolicy(report_after_ms=HOUR, disable_after_ms=None, disable_when_gone=False))
    endpoint.fails(0, why=410)
    endpoint.fails(30 * DAY, why=410)
    assert not endpoint.disabled()


def test_health_records_survive_encoding() -> None:
    """Health records and operations are equal after encoding and decoding."""
    endpoint = Endpoint()
    change = endpoint.fails(0, why=410)
    assert change is not None
    assert change.health is not None
    assert change.operation is not None
    assert decode_health(encode_health(change.health)) == change.health
    assert decode_operation(encode_operation(change.operation)) == change.operation
