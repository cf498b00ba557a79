"""Roles killed, told to end, and left without their broker, in the middle of thousands of jobs: nothing is lost."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from deploy.dev.broker import Broker
from deploy.dev.receiver import Receiver
from deploy.dev.responses import Response, always
from schemas.avro.codec import Record
from tests.support.pipeline import Pipeline, ends_of
from tests.support.roles import Role, RoleStarter
from tests.support.topics import end_offsets
from tests.support.waiting import wait_until

pytestmark = pytest.mark.promise(1, 2)

SUBSCRIPTIONS = 20
IN_FLIGHT = 64
UNCOMMITTED = 100
BOUNDS: dict[str, Any] = {"max_in_flight": IN_FLIGHT, "max_uncommitted": UNCOMMITTED}
SLOW = timedelta(seconds=3)

short_and_long = pytest.mark.parametrize(
    ("events", "kills"), [(250, 3), pytest.param(1_000, 20, marks=pytest.mark.long)]
)


def slow_enough_to_be_killed(receiver: Receiver) -> None:
    receiver.behave = always(Response(200, delay=timedelta(milliseconds=20)))


def subscribe(pipeline: Pipeline, receiver: Receiver) -> dict[str, str]:
    """Write the subscriptions; return their ids by the path that they are called at."""
    paths = [f"/{number}" for number in range(SUBSCRIPTIONS)]
    ids = pipeline.subscribe(*(f"{receiver.url}{path[1:]}" for path in paths))
    return dict(zip(paths, ids, strict=True))


def jobs_sent(receiver: Receiver, ids: dict[str, str], outcomes: Iterable[Record]) -> list[str]:
    """Return the job id of each request, in order of arrival."""
    job_ids = {(outcome["subscription_id"], outcome["event_id"]): outcome["job_id"] for outcome in outcomes}
    return [job_ids[ids[request.path], str(request.event_id)] for request in receiver.requests]


def repeats_by_kill(seen: Iterable[tuple[str, int]]) -> Counter[int]:
    """Return how many jobs each kill repeated, of (job id, number of kills before); without a kill none may be."""
    repeats: Counter[int] = Counter()
    last: dict[str, int] = {}
    for job_id, kills in seen:
        if job_id in last:
            assert last[job_id] < kills, f"job {job_id} was repeated without a kill"
            repeats[last[job_id] + 1] += 1
        last[job_id] = kills
    return repeats


def settled_end(pipeline: Pipeline, topic: str) -> dict[int, int]:
    """Return the end of a topic once what a killed process had sent has arrived."""
    before: list[dict[int, int]] = [{}]

    def unchanged() -> bool:
        before.append(end_offsets(pipeline.bootstrap_servers, topic))
        return before[-1] == before[-2]

    wait_until(unchanged, what="the topic does not grow")
    return before[-1]


@pytest.mark.decision("Z10")
@short_and_long
def test_a_killed_delivery_process_loses_nothing(
    pipeline: Pipeline, receiver: Receiver, events: int, kills: int
) -> None:
    """Killed several times among thousands of jobs, delivery sends all, and repeats what was open or uncommitted."""
    slow_enough_to_be_killed(receiver)
    ids, jobs = subscribe(pipeline, receiver), SUBSCRIPTIONS * events
    pipeline.publish_some(events)
    pipeline.router()
    role = pipeline.deliver(**BOUNDS)
    marks: list[int] = []  # how many requests there were at each kill
    for kill in range(1, kills + 1):
        share = jobs * kill // (kills + 2)
        wait_until(lambda share=share: len(receiver.requests) >= share, 60, "the next share is done")  # type: ignore[misc]
        assert len(receiver.requests) < jobs
        role.kill()
        wait_until(lambda: receiver.open_connections == 0, what="what the killed process had sent was taken")
        marks.append(len(receiver.requests))
        role = pipeline.deliver(**BOUNDS)
    outcomes = pipeline.wait_for_ends(jobs, 120)
    assert role.terminate() == 0
    sent = jobs_sent(receiver, ids, outcomes)
    assert len(set(sent)) == jobs
    repeats = repeats_by_kill((job_id, bisect_right(marks, at)) for at, job_id in enumerate(sent))
    assert max(repeats.values(), default=0) <= IN_FLIGHT + UNCOMMITTED, repeats
    assert repeats.total() == len(sent) - jobs
    # Every job record came to exactly one end, whatever was repeated to the endpoint.
    assert set(ends_of(outcomes).values()) == {1}
    assert {outcome["state"] for outcome in outcomes} == {"delivered"}


@short_and_long
def test_a_killed_router_loses_nothing(pipeline: Pipeline, receiver: Receiver, events: int, kills: int) -> None:
    """Killed several times among thousands of jobs, the router makes all, and repeats what was uncommitted."""
    subscribe(pipeline, receiver)
    jobs, part, topic = SUBSCRIPTIONS * events, 10, f"{pipeline.names.prefix}jobs.0s"
    role, deliver = pipeline.router(**BOUNDS), pipeline.deliver()
    numbers = count()
    marks: list[dict[int, int]] = []  # where the topic of jobs ended at each kill

    def routed() -> int:
        pipeline.publish_some(part, start=next(numbers) * part)
        return pipeline.size(topic)

    for kill in range(1, kills + 1):
        share = jobs * kill // (kills + 2)
        wait_until(lambda share=share: routed() >= share, 60, "the next share is routed")  # type: ignore[misc]
        role.kill()
        marks.append(settled_end(pipeline, topic))
        role = pipeline.router(**BOUNDS)
    jobs = next(numbers) * part * SUBSCRIPTIONS
    pipeline.wait_for_ends(jobs, 120)
    places = pipeline.job_places()
    records = Counter(job_id for job_id, _, _ in places)
    assert len(records) == jobs
    repeats = repeats_by_kill(
        (job_id, sum(mark[partition] <= offset for mark in marks)) for job_id, partition, offset in places
    )
    assert max(repeats.values(), default=0) <= UNCOMMITTED, repeats
    wait_until(lambda: ends_of(pipeline.outcomes()) == records, 60, "every record has come to exactly one end")
    requests = Counter((request.path, request.event_id) for request in receiver.requests)
    assert len(requests) == jobs
    assert requests.total() == records.total()
    assert deliver.terminate() == 0


@pytest.mark.parametrize("rounds", [3, pytest.param(10, marks=pytest.mark.long)])
def test_told_to_end_nothing_is_lost_or_repeated(pipeline: Pipeline, receiver: Receiver, rounds: int) -> None:
    """Roles told to end under load end with exit code 0, and with their successors every job is sent exactly once."""
    slow_enough_to_be_killed(receiver)
    ids, events = subscribe(pipeline, receiver), 80
    router, deliver = pipeline.router(), pipeline.deliver()
    for done in range(rounds):
        pipeline.publish_some(events, start=done * events)
        enough = (done * events + events // 4) * SUBSCRIPTIONS
        wait_until(lambda enough=enough: len(receiver.requests) > enough, 60, "requests are under way")  # type: ignore[misc]
        assert router.terminate() == 0
        assert deliver.terminate() == 0
        router, deliver = pipeline.router(), pipeline.deliver()
    jobs = rounds * events * SUBSCRIPTIONS
    outcomes = pipeline.wait_for_ends(jobs, 120)
    sent = Counter(jobs_sent(receiver, ids, outcomes))
    assert (len(sent), set(sent.values())) == (jobs, {1})
    assert set(Counter(job.job_id for job in pipeline.jobs()).values()) == {1}
    assert set(ends_of(outcomes).values()) == {1}


@pytest.mark.parametrize("another", [False, True], ids=["alone", "while another starts"])
def test_told_to_end_with_slow_requests_open(pipeline: Pipeline, receiver: Receiver, another: bool) -> None:
    """Without instances partitions move: one that drains keeps what it can, and all ends well, with nothing lost."""
    # Nothing is repeated but what is open where a partition is taken away, which a rebalance does not wait for: that of
    # a process that starts meanwhile; who leaves does so when its requests have ended.
    receiver.behave = always(Response(200, delay=SLOW))
    ids, events = subscribe(pipeline, receiver), 3
    pipeline.router()
    staying, leaving = pipeline.start("deliver"), pipeline.start("deliver")
    pipeline.publish_some(events)
    wait_until(lambda: leaving.metric("signpost_delivery_in_flight_requests") >= 12, what="12 are open where it ends")

    starting = [pipeline.start("deliver", ready=False)] if another else []
    assert leaving.terminate() == 0

    jobs = events * SUBSCRIPTIONS
    outcomes = pipeline.wait_for_ends(jobs)
    for role in (staying, *starting):
        assert role.wait_ready().terminate() == 0
    sent = Counter(jobs_sent(receiver, ids, outcomes))
    assert len(sent) == jobs
    # A request of 3 s does not outlast a rebalance: one that is open is sent again by the partition's new owner. There
    # are two of them beside a start, as one process joins and one leaves.
    assert set(sent.values()) <= ({1, 2, 3} if another else {1})
    assert set(ends_of(outcomes).values()) == {1}


@pytest.mark.parametrize("stops", [1, pytest.param(5, marks=pytest.mark.long)])
def test_a_broker_that_goes_and_comes_back(
    own_broker: Broker, start_role: RoleStarter, receiver: Receiver, stops: int
) -> None:
    """A broker stopped under load and started again is waited for, with a log line and a metric; nothing is lost."""
    slow_enough_to_be_killed(receiver)
    pipeline = Pipeline(own_broker.bootstrap_servers, "away.", start_role)
    ids, events = subscribe(pipeline, receiver), 250
    router, deliver = pipeline.router(), pipeline.deliver()
    for stop in range(stops):
        pipeline.publish_some(events, start=stop * events)
        receiver.wait_for((stop * events + events // 4) * SUBSCRIPTIONS, 60)
        own_broker.stop()
        for role in (router, deliver):
            says_that_it_waits(role)
        own_broker.start()
    jobs = stops * events * SUBSCRIPTIONS
    outcomes = pipeline.wait_for_ends(jobs, 180)
    assert len(set(jobs_sent(receiver, ids, outcomes))) == jobs
    assert set(ends_of(outcomes).values()) == {1}
    assert (router.is_alive(), deliver.is_alive()) == (True, True)
    assert "waits" in deliver.log_text()
    assert (router.terminate(), deliver.terminate()) == (0, 0)


def says_that_it_waits(role: Role) -> None:
    """Wait until the metric of a role says that no broker answers."""

    def waits() -> bool:
        if not role.is_alive():
            pytest.fail(f"{role.name} ended: {role.log_text()[-4_000:]}")
        return role.metric("signpost_waiting_for_broker") == 1

    wait_until(waits, 60, f"{role.name} says that it waits for the broker")
