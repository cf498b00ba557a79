"""Roles killed, told to end, and left without their broker, in the middle of thousands of jobs: nothing is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from deploy.local.broker import Broker
from deploy.local.receiver import Receiver
from deploy.local.replies import Answer, always
from tests.support.pipeline import Pipeline, ends_of
from tests.support.roles import Role, RoleStarter
from tests.support.waiting import wait_until

SUBSCRIPTIONS = 20
EVENTS = 250
JOBS = SUBSCRIPTIONS * EVENTS
IN_FLIGHT = 64
UNCOMMITTED = 100
BOUNDS: dict[str, Any] = {"max_in_flight": IN_FLIGHT, "max_uncommitted": UNCOMMITTED}
KILLS = 3


def slow_enough_to_be_killed(receiver: Receiver) -> None:
    receiver.behave = always(Answer(200, delay=timedelta(milliseconds=20)))


def requests_of(receiver: Receiver) -> Counter[tuple[str, str | None]]:
    """Return how often each event came to each endpoint."""
    return Counter((request.path, request.event_id) for request in receiver.requests)


def urls_of(receiver: Receiver) -> list[str]:
    return [f"{receiver.url}{number}" for number in range(SUBSCRIPTIONS)]


def kill_in_the_middle(role: Role, start: Callable[[], Role], progress: Callable[[], int], total: int) -> Role:
    """Kill a role when a further share of the work is done, start it again, several times over."""
    for kill in range(1, KILLS + 1):
        wait_until(lambda share=kill: progress() >= total * share // (KILLS + 2), 60, "the next share is done")
        assert progress() < total
        role.kill()
        role = start()
    return role


@pytest.mark.decision("Z10")
def test_a_killed_delivery_process_loses_nothing(pipeline: Pipeline, receiver: Receiver) -> None:
    """Killed several times among 5,000 jobs, delivery sends all, and repeats at most what was open or uncommitted."""
    slow_enough_to_be_killed(receiver)
    pipeline.subscribe(*urls_of(receiver))
    pipeline.publish_some(EVENTS)
    pipeline.router()
    role = pipeline.deliver(**BOUNDS)
    kill_in_the_middle(role, lambda: pipeline.deliver(**BOUNDS), lambda: len(requests_of(receiver)), JOBS)
    outcomes = pipeline.wait_for_ends(JOBS)
    received = requests_of(receiver)
    assert len(received) == JOBS
    repeats = sum(received.values()) - JOBS
    assert repeats <= KILLS * (IN_FLIGHT + UNCOMMITTED)
    # Every job record came to exactly one end, whatever was repeated to the endpoint.
    assert set(ends_of(outcomes).values()) == {1}
    assert {outcome["state"] for outcome in outcomes} == {"delivered"}


def test_a_killed_router_loses_nothing(pipeline: Pipeline, receiver: Receiver) -> None:
    """Killed several times among 5,000 jobs, the router makes all, and repeats only what was uncommitted, by its id."""
    pipeline.subscribe(*urls_of(receiver))
    role = pipeline.router(**BOUNDS)
    deliver = pipeline.deliver()
    numbers = count()

    def routed() -> int:
        pipeline.publish_some(EVENTS // 25, start=next(numbers) * (EVENTS // 25))
        return pipeline.size(f"{pipeline.names.prefix}jobs.0s")

    for kill in range(1, KILLS + 1):
        wait_until(lambda share=kill: routed() >= JOBS * share // (KILLS + 2), 60, "the next share is routed")
        role.kill()
        role = pipeline.router(**BOUNDS)
    published = next(numbers) * (EVENTS // 25)
    jobs = published * SUBSCRIPTIONS
    pipeline.wait_for_ends(jobs)
    records = Counter(job.job_id for job in pipeline.jobs())
    assert len(records) == jobs
    assert sum(records.values()) - jobs <= KILLS * UNCOMMITTED
    wait_until(lambda: ends_of(pipeline.outcomes()) == records, 60, "every record has come to exactly one end")
    assert len(requests_of(receiver)) == jobs
    assert deliver.terminate() == 0


def test_told_to_end_nothing_is_lost_or_repeated(pipeline: Pipeline, receiver: Receiver) -> None:
    """Roles told to end under load end with exit code 0, and with their successors every job is sent exactly once."""
    slow_enough_to_be_killed(receiver)
    pipeline.subscribe(*urls_of(receiver))
    router, deliver = pipeline.router(), pipeline.deliver()
    for part in range(3):
        pipeline.publish_some(EVENTS // 3, start=part * (EVENTS // 3))
        wait_until(lambda seen=part: len(receiver.requests) > seen * JOBS // 4, 60, "requests are under way")
        assert router.terminate() == 0
        assert deliver.terminate() == 0
        router, deliver = pipeline.router(), pipeline.deliver()
    jobs = EVENTS // 3 * 3 * SUBSCRIPTIONS
    outcomes = pipeline.wait_for_ends(jobs)
    received = requests_of(receiver)
    assert len(received) == jobs
    assert set(received.values()) == {1}
    assert set(Counter(job.job_id for job in pipeline.jobs()).values()) == {1}
    assert set(ends_of(outcomes).values()) == {1}


def test_a_broker_that_goes_and_comes_back(own_broker: Broker, start_role: RoleStarter, receiver: Receiver) -> None:
    """A broker stopped under load and started again is waited for, with a log line and a metric; nothing is lost."""
    slow_enough_to_be_killed(receiver)
    pipeline = Pipeline(own_broker.bootstrap_servers, "away.", start_role)
    pipeline.subscribe(*urls_of(receiver))
    pipeline.publish_some(EVENTS)
    router, deliver = pipeline.router(), pipeline.deliver()
    receiver.wait_for(JOBS // 4)
    own_broker.stop()
    for role in (router, deliver):
        waits = lambda role=role: role.metric("signpost_waiting_for_broker") == 1  # noqa: E731  # a named condition
        wait_until(waits, 60, f"{role.name} says that it waits for the broker")
    own_broker.start()
    outcomes = pipeline.wait_for_ends(JOBS, 120)
    assert len(requests_of(receiver)) == JOBS
    assert set(ends_of(outcomes).values()) == {1}
    assert router.is_alive()
    assert deliver.is_alive()
    assert "waits" in deliver.log_text()
    assert router.terminate() == 0
    assert deliver.terminate() == 0
