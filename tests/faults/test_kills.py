"""Roles are killed, stopped, or lose their broker in the middle of thousands of jobs: no job is lost."""

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
from deploy.dev.responses import CannedResponse, always
from schemas.avro.codec import DecodedRecord
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


def respond_slowly(receiver: Receiver) -> None:
    """Respond slowly enough that a kill meets requests in flight."""
    receiver.behave = always(CannedResponse(200, delay=timedelta(milliseconds=20)))


def subscribe(pipeline: Pipeline, receiver: Receiver) -> dict[str, str]:
    """Write the subscriptions; return their ids by the path of their URL."""
    paths = [f"/{number}" for number in range(SUBSCRIPTIONS)]
    ids = pipeline.subscribe(*(f"{receiver.url}{path[1:]}" for path in paths))
    return dict(zip(paths, ids, strict=True))


def jobs_sent(receiver: Receiver, ids: dict[str, str], outcomes: Iterable[DecodedRecord]) -> list[str]:
    """Return the job id of each request, in order of arrival."""
    job_ids = {(outcome["subscription_id"], outcome["event_id"]): outcome["job_id"] for outcome in outcomes}
    return [job_ids[ids[request.path], str(request.event_id)] for request in receiver.requests]


def repeats_by_kill(seen: Iterable[tuple[str, int]]) -> Counter[int]:
    """Return how many jobs each kill repeated; `seen` has job ids with the number of kills before.

    No job may be repeated without a kill.
    """
    repeats: Counter[int] = Counter()
    last: dict[str, int] = {}
    for job_id, kills in seen:
        if job_id in last:
            assert last[job_id] < kills, f"job {job_id} was repeated without a kill"
            repeats[last[job_id] + 1] += 1
        last[job_id] = kills
    return repeats


def settled_end(pipeline: Pipeline, topic: str) -> dict[int, int]:
    """Return the end offsets of a topic when the requests of a killed process have arrived."""
    before: list[dict[int, int]] = [{}]

    def unchanged() -> bool:
        before.append(end_offsets(pipeline.bootstrap_servers, topic))
        return before[-1] == before[-2]

    wait_until(unchanged, what="the topic does not grow")
    return before[-1]


@pytest.mark.decision("Z10")
@short_and_long
def test_killed_delivery_process_loses_no_job(pipeline: Pipeline, receiver: Receiver, events: int, kills: int) -> None:
    """Killed several times, delivery sends every job, and repeats only jobs that were in flight or uncommitted."""
    respond_slowly(receiver)
    ids = subscribe(pipeline, receiver)
    jobs = SUBSCRIPTIONS * events
    pipeline.publish_some(events)
    pipeline.router()
    role = pipeline.deliver(**BOUNDS)
    requests_at_kill: list[int] = []
    for kill in range(1, kills + 1):
        share = jobs * kill // (kills + 2)
        wait_until(lambda share=share: len(receiver.requests) >= share, what="the next share is done")  # type: ignore[misc]  # a default has no type
        assert len(receiver.requests) < jobs
        role.kill()
        wait_until(lambda: receiver.open_connections == 0, what="the requests of the killed process are received")
        requests_at_kill.append(len(receiver.requests))
        role = pipeline.deliver(**BOUNDS)
    outcomes = pipeline.wait_for_ends(jobs)
    assert role.terminate() == 0
    sent = jobs_sent(receiver, ids, outcomes)
    assert len(set(sent)) == jobs
    repeats = repeats_by_kill((job_id, bisect_right(requests_at_kill, at)) for at, job_id in enumerate(sent))
    assert max(repeats.values(), default=0) <= IN_FLIGHT + UNCOMMITTED, repeats
    assert repeats.total() == len(sent) - jobs
    # Every job has exactly one final outcome, even if its request was repeated.
    assert set(ends_of(outcomes).values()) == {1}
    assert {outcome["state"] for outcome in outcomes} == {"delivered"}


@short_and_long
def test_killed_router_loses_no_event(pipeline: Pipeline, receiver: Receiver, events: int, kills: int) -> None:
    """Killed several times, the router makes every job, and repeats only uncommitted ones."""
    subscribe(pipeline, receiver)
    jobs = SUBSCRIPTIONS * events
    part = 10
    topic = f"{pipeline.names.prefix}jobs.0s"
    role = pipeline.router(**BOUNDS)
    deliver = pipeline.deliver()
    numbers = count()
    ends_at_kill: list[dict[int, int]] = []  # end offsets of jobs.0s

    def routed() -> int:
        pipeline.publish_some(part, start=next(numbers) * part)
        return pipeline.size(topic)

    for kill in range(1, kills + 1):
        share = jobs * kill // (kills + 2)
        wait_until(lambda share=share: routed() >= share, what="the next share is routed")  # type: ignore[misc]  # a default has no type
        role.kill()
        ends_at_kill.append(settled_end(pipeline, topic))
        role = pipeline.router(**BOUNDS)
    jobs = next(numbers) * part * SUBSCRIPTIONS
    pipeline.wait_for_ends(jobs)
    places = pipeline.job_places()
    records = Counter(job_id for job_id, _, _ in places)
    assert len(records) == jobs
    repeats = repeats_by_kill(
        (job_id, sum(ends[partition] <= offset for ends in ends_at_kill)) for job_id, partition, offset in places
    )
    assert max(repeats.values(), default=0) <= UNCOMMITTED, repeats
    wait_until(lambda: ends_of(pipeline.outcomes()) == records, what="every record has exactly one final outcome")
    requests = Counter((request.path, request.event_id) for request in receiver.requests)
    assert len(requests) == jobs
    assert requests.total() == records.total()
    assert deliver.terminate() == 0


@pytest.mark.parametrize("rounds", [3, pytest.param(10, marks=pytest.mark.long)])
def test_stopped_roles_lose_and_repeat_no_job(pipeline: Pipeline, receiver: Receiver, rounds: int) -> None:
    """SIGTERM under load: roles end with exit code 0, and they and their successors send every job exactly once."""
    respond_slowly(receiver)
    ids = subscribe(pipeline, receiver)
    events = 80
    router = pipeline.router()
    deliver = pipeline.deliver()
    for done in range(rounds):
        pipeline.publish_some(events, start=done * events)
        enough = (done * events + events // 4) * SUBSCRIPTIONS
        wait_until(lambda enough=enough: len(receiver.requests) > enough, what="requests are in flight")  # type: ignore[misc]  # a default has no type
        assert router.terminate() == 0
        assert deliver.terminate() == 0
        router, deliver = pipeline.router(), pipeline.deliver()
    jobs = rounds * events * SUBSCRIPTIONS
    outcomes = pipeline.wait_for_ends(jobs)
    sent = Counter(jobs_sent(receiver, ids, outcomes))
    assert (len(sent), set(sent.values())) == (jobs, {1})
    assert set(Counter(job.job_id for job in pipeline.jobs()).values()) == {1}
    assert set(ends_of(outcomes).values()) == {1}


@pytest.mark.parametrize("another", [False, True], ids=["alone", "while another starts"])
def test_stop_with_slow_requests_in_flight_loses_no_job(pipeline: Pipeline, receiver: Receiver, another: bool) -> None:
    """Without instance ids partitions move at SIGTERM: the process drains first, and every job is delivered."""
    # The process leaves the group when its requests have ended, so nothing is repeated. If another process starts
    # meanwhile, its rebalance does not wait for open requests: those of revoked partitions are repeated.
    receiver.behave = always(CannedResponse(200, delay=SLOW))
    ids = subscribe(pipeline, receiver)
    events = 3
    pipeline.router()
    staying, leaving = pipeline.start("deliver"), pipeline.start("deliver")
    pipeline.publish_some(events)
    wait_until(
        lambda: leaving.metric("signpost_delivery_in_flight_requests") >= 12,
        what="12 requests are in flight in the process that ends",
    )

    starting = [pipeline.start("deliver", ready=False)] if another else []
    assert leaving.terminate() == 0

    jobs = events * SUBSCRIPTIONS
    outcomes = pipeline.wait_for_ends(jobs)
    for role in (staying, *starting):
        assert role.wait_ready().terminate() == 0
    sent = Counter(jobs_sent(receiver, ids, outcomes))
    assert len(sent) == jobs
    # A rebalance does not wait for a request of 3 s: the partition's new owner sends it again. With a start there are
    # two rebalances, as one process joins and one leaves.
    assert set(sent.values()) <= ({1, 2, 3} if another else {1})
    assert set(ends_of(outcomes).values()) == {1}


@pytest.mark.parametrize("stops", [1, pytest.param(5, marks=pytest.mark.long)])
def test_roles_wait_for_a_stopped_broker(
    own_broker: Broker, start_role: RoleStarter, receiver: Receiver, stops: int
) -> None:
    """Roles wait for a broker that stops under load, with a log line and a metric; no job is lost."""
    respond_slowly(receiver)
    pipeline = Pipeline(own_broker.bootstrap_servers, "away.", start_role)
    ids = subscribe(pipeline, receiver)
    events = 250
    router = pipeline.router()
    deliver = pipeline.deliver()
    for stop in range(stops):
        pipeline.publish_some(events, start=stop * events)
        receiver.wait_for((stop * events + events // 4) * SUBSCRIPTIONS)
        own_broker.stop()
        for role in (router, deliver):
            wait_until_it_reports_no_broker(role)
        own_broker.start()
    jobs = stops * events * SUBSCRIPTIONS
    outcomes = pipeline.wait_for_ends(jobs)
    assert len(set(jobs_sent(receiver, ids, outcomes))) == jobs
    assert set(ends_of(outcomes).values()) == {1}
    assert (router.is_alive(), deliver.is_alive()) == (True, True)
    assert "delivery.paused" in deliver.log_text()
    assert (router.terminate(), deliver.terminate()) == (0, 0)


def wait_until_it_reports_no_broker(role: Role) -> None:
    """Wait until `signpost_waiting_for_broker` of a role is 1."""

    def waits() -> bool:
        if not role.is_alive():
            pytest.fail(f"{role.name} ended: {role.log_text()[-4_000:]}")
        return role.metric("signpost_waiting_for_broker") == 1

    wait_until(waits, what=f"{role.name} reports that it waits for the broker")
