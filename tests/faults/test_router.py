"""The router is killed, stopped, or loses its broker in the middle of its work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from deploy.dev.broker import Broker
from schemas.catalog.errors import Unavailable
from schemas.records.topics import FIRST
from tests.support.installation import Installation, event, subscription
from tests.support.roles import Role
from tests.support.topics import end_offsets
from tests.support.waiting import wait_until

pytestmark = pytest.mark.promise(1, 2)

MAX_UNCOMMITTED = 100
SUBSCRIPTIONS = ("one", "two")


class Run:
    """Events for two subscriptions, and router processes that end before all events are routed."""

    def __init__(self, here: Installation, start_role: Callable[..., Role], events: int) -> None:
        self.here = here
        self._start_role = start_role
        self._events = 0
        self.expected: set[tuple[str, str]] = set()
        here.make_topics()
        here.subscribe(*(subscription(id_) for id_ in SUBSCRIPTIONS))
        self._publish(events)

    def router(self) -> Role:
        """Start a router with an instance id, so that it gets the partitions of its predecessor at once."""
        return self._start_role(["router", "--instance", "0"], self.here.env)

    def made(self) -> int:
        """Return the number of job records."""
        return sum(end_offsets(self.here.bootstrap_servers, self.here.names.jobs(FIRST)).values())

    def wait_for_more(self, jobs: int) -> None:
        """Wait for `jobs` more job records; then publish more events until some are not routed."""
        wanted = self.made() + jobs
        wait_until(lambda: self.made() >= wanted, what=f"{wanted} jobs")
        while self.made() >= len(self.expected):
            self._publish(jobs)

    def _publish(self, events: int) -> None:
        more = [f"evt_{n}" for n in range(self._events, self._events + events)]
        self._events += events
        self.expected |= {(id_, to) for id_ in more for to in SUBSCRIPTIONS}
        self.here.publish(map(event, more))

    def jobs(self) -> Counter[tuple[str, str]]:
        """Return how often each job was made; a repeated job has the same id."""
        jobs = self.here.jobs()
        ids = {(job.event_id, job.subscription_id): job.job_id for job in jobs}
        assert all(ids[job.event_id, job.subscription_id] == job.job_id for job in jobs)
        return Counter((job.event_id, job.subscription_id) for job in jobs)


def installation(broker: Broker, prefix: str) -> Installation:
    return Installation(broker.bootstrap_servers, prefix, max_uncommitted=MAX_UNCOMMITTED)


@pytest.mark.parametrize(("events", "kills"), [(5_000, 3), pytest.param(50_000, 20, marks=pytest.mark.long)])
def test_killed_router_repeats_at_most_max_uncommitted(
    broker: Broker, prefix: str, start_role: Callable[..., Role], events: int, kills: int
) -> None:
    """After SIGKILL every job is made, and each kill repeats at most `max_uncommitted` jobs."""
    run = Run(installation(broker, prefix), start_role, events)
    for _ in range(kills):
        router = run.router()
        run.wait_for_more(events // (2 * kills))
        router.kill()
    last = run.router().wait_ready()
    run.here.wait_routed(60)
    assert last.terminate() == 0

    jobs = run.jobs()

    assert jobs.keys() == run.expected
    assert jobs.total() - len(jobs) <= kills * MAX_UNCOMMITTED


@pytest.mark.parametrize(("events", "ends"), [(5_000, 3), pytest.param(50_000, 20, marks=pytest.mark.long)])
def test_stopped_router_loses_and_repeats_nothing(
    broker: Broker, prefix: str, start_role: Callable[..., Role], events: int, ends: int
) -> None:
    """SIGTERM under load: the router commits the jobs that it made and exits with 0; its successor makes the others."""
    run = Run(installation(broker, prefix), start_role, events)
    for _ in range(ends):
        router = run.router()
        run.wait_for_more(events // (2 * ends))
        assert router.terminate() == 0
    last = run.router().wait_ready()
    run.here.wait_routed(60)
    assert last.terminate() == 0

    assert run.jobs() == Counter(run.expected)


def test_router_waits_for_a_stopped_broker(own_broker: Broker, prefix: str) -> None:
    """While the broker is stopped, a metric and /readyz report it; afterwards every event gets its jobs."""
    here = Installation(own_broker.bootstrap_servers, prefix).make_topics()
    here.subscribe(*(subscription(id_) for id_ in SUBSCRIPTIONS))
    here.publish(event(f"a-{n}") for n in range(8_000))
    with here.router() as router:
        wait_until(
            lambda: router.metric("signpost_router_jobs_total", sender="zenoo", event_type="case.created") > 1_000,
            what="it routes",
        )
        own_broker.stop()
        router.wait_not_ready("no broker responds")
        wait_until(lambda: router.metric("signpost_waiting_for_broker") == 1, what="the metric agrees")
        own_broker.start()
        here.publish(event(f"b-{n}") for n in range(1_000))
        here.wait_routed(60)
        router.wait_ready()
        wait_until(lambda: router.metric("signpost_waiting_for_broker") == 0, what="the metric agrees")

    jobs = Counter((job.event_id, job.subscription_id) for job in here.jobs())
    assert jobs.keys() == {
        (f"{part}-{n}", id_)
        for part, count in (("a", 8_000), ("b", 1_000))
        for n in range(count)
        for id_ in SUBSCRIPTIONS
    }
    assert jobs.total() - len(jobs) <= here.settings.max_uncommitted


def test_router_stops_in_time_without_a_broker(own_broker: Broker, prefix: str) -> None:
    """Without a broker a stop ends at `drain_timeout`; the next router makes the uncommitted jobs again, same ids."""
    here = Installation(own_broker.bootstrap_servers, prefix, drain_timeout=2).make_topics()
    here.subscribe(subscription("one"))
    here.publish(event(f"evt_{n}") for n in range(15_000))
    with here.router(instance=0) as router:
        wait_until(
            lambda: router.metric("signpost_router_jobs_total", sender="zenoo", event_type="case.created") > 1_000,
            what="it routes",
        )
        own_broker.kill()  # SIGKILL: during an orderly shutdown the router could route everything
        router.wait_not_ready("no broker responds")
        router.stop()
        assert router.drained is False  # exit code 1
    own_broker.start()
    with here.router(instance=0):
        here.wait_routed(60)

    assert {job.event_id for job in here.jobs()} == {f"evt_{n}" for n in range(15_000)}


def test_second_router_of_an_instance_ends_the_first(broker: Broker, prefix: str) -> None:
    """If two routers have the same instance id, the first ends with the reason, and the second continues."""
    here = installation(broker, prefix).make_topics()
    here.subscribe(subscription("one"))
    here.publish(event(f"a-{n}") for n in range(50))
    with here.router(instance=3) as first:
        here.wait_routed()
        with here.router(instance=3) as second:
            error = first.wait_ended()
            here.publish(event(f"b-{n}") for n in range(50))
            here.wait_routed()
            second.wait_ready()

    assert isinstance(error, Unavailable)
    assert "another process has taken this instance id" in str(error)
    assert Counter(job.event_id for job in here.jobs()) == Counter(f"{p}-{n}" for p in "ab" for n in range(50))
