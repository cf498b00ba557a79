"""Several delivery processes: partitions move between them without loss."""

from __future__ import annotations

import time
from collections import Counter
from datetime import timedelta

import pytest

from consumers.kafka.group_member import SESSION_TIMEOUT_MS
from deploy.dev.receiver import Receiver
from deploy.dev.responses import CannedResponse, always
from tests.support.pipeline import Pipeline, ends_of
from tests.support.roles import Role
from tests.support.waiting import wait_until

pytestmark = pytest.mark.promise(1, 2)

SUBSCRIPTIONS = 20
EVENTS = 150
JOBS = SUBSCRIPTIONS * EVENTS
BOUND = 64 + 100


def requests_of(receiver: Receiver) -> Counter[tuple[str, str | None]]:
    """Return the number of requests of each event to each endpoint."""
    return Counter((request.path, request.event_id) for request in receiver.requests)


def assignments_of(role: Role) -> int:
    """Return how often partitions were assigned to a process."""
    return role.log_text().count("partitions.assigned")


def test_partitions_move_without_loss(pipeline: Pipeline, receiver: Receiver) -> None:
    """No job is lost when a process joins and another is killed, restarted (no partition moves), and killed again."""
    receiver.behave = always(CannedResponse(200, delay=timedelta(milliseconds=300)))
    pipeline.subscribe(*(f"{receiver.url}{number}" for number in range(SUBSCRIPTIONS)))
    pipeline.publish_some(EVENTS)
    pipeline.router()
    bounds = {"max_in_flight": 64, "max_uncommitted": 100}
    first = pipeline.deliver(0, **bounds)
    wait_until(lambda: len(receiver.requests) > JOBS // 8, what="the first process delivers")
    second = pipeline.deliver(1, **bounds)
    wait_until(lambda: second.metric("signpost_delivery_attempts_total") > 0, what="the second process delivers")

    before = assignments_of(second)
    killed_s = time.monotonic()
    first.kill()
    first = pipeline.deliver(0, **bounds)
    wait_until(lambda: first.metric("signpost_delivery_attempts_total") > 0, what="the first process delivers again")
    in_time = time.monotonic() - killed_s < SESSION_TIMEOUT_MS / 1_000
    assert (
        assignments_of(second) == before or not in_time
    )  # if a start takes longer than the session timeout, they move

    first.kill()
    pipeline.publish_some(EVENTS // 3, start=EVENTS)
    outcomes = pipeline.wait_for_ends((EVENTS + EVENTS // 3) * SUBSCRIPTIONS)
    received = requests_of(receiver)
    assert len(received) == (EVENTS + EVENTS // 3) * SUBSCRIPTIONS
    assert set(ends_of(outcomes).values()) == {1}
    # A rebalance commits completed jobs. It repeats jobs in flight; a kill also repeats uncommitted ones.
    assert sum(received.values()) - len(received) <= 3 * BOUND
    assert second.terminate() == 0
