"""A broker that answers slowly slows delivery and router, and nothing else happens."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from deploy.dev.broker import Broker
from deploy.dev.receiver import Receiver
from deploy.dev.responses import Response
from tests.support.pipeline import Pipeline, ends_of
from tests.support.proxy import Api, KafkaProxy, at_once, late, pass_all, slow
from tests.support.roles import Role, RoleStarter
from tests.support.waiting import wait_until

pytestmark = pytest.mark.promise(1)

SUBSCRIPTIONS = 5
COMMITS = "signpost_delivery_transactions_total"
NO_COMMIT = "the broker has not committed for over 2 s"
# What says that something else happened: a fence, a new beginning, an unknown end, partitions that went.
TROUBLE = (
    "role.restarting",
    "transaction.failed",
    "transaction.not_begun",
    "transaction.hung",
    "transaction.init_failed",
    "delivery.lost",
    "delivery.revoked",
    "delivery.reader",
    "router.lost",
    "router.not_committed",
    "kafka.disconnected",
)
Slowness = Callable[[KafkaProxy], None]


def far(seconds: float, *apis: Api) -> Slowness:
    """Have answers take so long."""

    def set_(proxy: KafkaProxy) -> None:
        proxy.delay = late(seconds, *apis)

    return set_


def busy(seconds: float, *apis: Api) -> Slowness:
    """Have requests worked off one after the other, each in so many seconds."""

    def set_(proxy: KafkaProxy) -> None:
        proxy.rule = slow(seconds, *apis)

    return set_


def thin(bytes_per_s: int) -> Slowness:
    """Have each connection carry so little, each way."""

    def set_(proxy: KafkaProxy) -> None:
        proxy.bytes_per_s = bytes_per_s

    return set_


class Behind:
    """Roles behind a proxy, and events for them."""

    def __init__(self, pipeline: Pipeline, proxy: KafkaProxy, receiver: Receiver) -> None:
        self.proxy = proxy
        self.receiver = receiver
        self._pipeline = pipeline
        self._events = 0
        behind = Pipeline(proxy.bootstrap_servers, pipeline.names.prefix, pipeline._start_role)
        pipeline.subscribe(*(f"{receiver.url}{number}" for number in range(SUBSCRIPTIONS)))
        self._began = 0
        self.roles = [behind.start(role, "--instance", "0", ready=False) for role in ("router", "deliver")]
        for role in self.roles:
            role.wait_ready()

    @property
    def jobs(self) -> int:
        """Number of jobs that were to be delivered so far."""
        return self._events * SUBSCRIPTIONS

    def delivers(self, events: int, deadline_s: float = 120.0) -> None:
        """Publish events, and wait until each job of them was delivered and committed."""
        self._pipeline.publish_some(events, start=self._events)
        self._events += events
        self._pipeline.wait_for_ends(self.jobs, deadline_s)

    @contextmanager
    def that_is(self, slowness: Slowness) -> Iterator[None]:
        """Have the broker slow for a while."""
        slowness(self.proxy)
        yield
        self.proxy.rule, self.proxy.delay, self.proxy.bytes_per_s = pass_all, at_once, None

    def is_as_before(self) -> None:
        """Wait until the roles say that all is well."""
        for role in self.roles:
            role.wait_ready()

    def nothing_else_happened(self) -> None:
        """Each job was delivered once and is on record once; no role was fenced, lost something, or reported."""
        times = Counter((request.event_id, request.path) for request in self.receiver.requests)
        assert len(times) == self.jobs
        assert set(times.values()) == {1}
        assert set(ends_of(self._pipeline.outcomes()).values()) == {1}
        assert self._pipeline.read(self._pipeline.names.health) == []
        assert self._pipeline.read(self._pipeline.names.operations) == []
        for role in self.roles:
            assert role.is_alive()
            assert troubles(role) == set()


def troubles(role: Role) -> set[str]:
    """Return what a role says has gone wrong."""
    events = {json.loads(line)["event"] for line in role.log_text().splitlines() if line.startswith("{")}
    return events & set(TROUBLE)


@pytest.fixture
def behind(pipeline: Pipeline, receiver: Receiver) -> Iterator[Behind]:
    with KafkaProxy(pipeline.bootstrap_servers) as proxy:
        yield Behind(pipeline, proxy, receiver)


def test_a_slow_broker_slows_and_nothing_else(behind: Behind) -> None:
    """Whatever is slow, all is delivered and recorded once, nobody is fenced or disabled, and it is over with it."""
    behind.delivers(1)
    for slowness in (far(0.3), busy(0.25), far(0.6, Api.END_TXN), thin(50_000)):
        with behind.that_is(slowness):
            behind.delivers(5)
    behind.delivers(20)
    behind.is_as_before()
    behind.nothing_else_happened()


@pytest.mark.long
def test_answers_that_take_seconds(behind: Behind) -> None:
    """With 3 s for each answer starting pauses while a commit is under way, which is said, and goes on after it."""
    deliver, began_s = behind.roles[1], time.monotonic()
    for slowness in (far(1), busy(1, Api.PRODUCE), busy(0.5), far(3, Api.PRODUCE), far(3, Api.FETCH), thin(10_000)):
        with behind.that_is(slowness):
            behind.delivers(50, 300)
    with behind.that_is(far(3)):
        sent = len(behind.receiver.requests)
        for _ in range(3):
            behind._pipeline.publish_some(20, start=behind._events)
            behind._events += 20
            wait_until(lambda: NO_COMMIT in deliver.get("/readyz")[1], 60, "it says why it waits")
            wait_until(lambda: deliver.get("/readyz")[0] == 200, 60, "it goes on")
        behind.delivers(1, 300)
        assert len(behind.receiver.requests) > sent
    behind.delivers(50)
    behind.is_as_before()
    behind.nothing_else_happened()
    lines = sum("delivery.paused" in line and NO_COMMIT in line for line in deliver.log_text().splitlines())
    assert 1 <= lines <= 1 + (time.monotonic() - began_s) / 60


@pytest.mark.long
def test_roles_start_though_answers_take_seconds(pipeline: Pipeline, receiver: Receiver) -> None:
    """With 2 s for each answer roles take their time to start, and work."""
    with KafkaProxy(pipeline.bootstrap_servers) as proxy:
        far(2)(proxy)
        behind = Pipeline(proxy.bootstrap_servers, pipeline.names.prefix, pipeline._start_role)
        pipeline.subscribe(receiver.url)
        pipeline.publish_some(20)
        roles = [behind.start(role, "--instance", "0", ready=False) for role in ("router", "deliver")]
        pipeline.wait_for_ends(20, 600)
        for role in roles:
            assert role.terminate(120) == 0
    assert Counter(request.event_id for request in receiver.requests).total() == 20


@pytest.mark.long
def test_transactions_that_take_longer_than_they_may(
    broker: Broker, prefix: str, start_role: RoleStarter, receiver: Receiver
) -> None:
    """What was not committed in time is written again with more time, and delivery goes on at what the broker takes."""
    settings = {"partitions": 12, "delay_speedup": 30}
    here = Pipeline(broker.bootstrap_servers, prefix, start_role, **settings)
    receiver.behave = lambda received: Response(500 if received.attempt == 1 else 200)
    here.subscribe(*(f"{receiver.url}{number}" for number in range(40)))
    here.router()
    with KafkaProxy(broker.bootstrap_servers) as proxy:
        deliver = Pipeline(proxy.bootstrap_servers, prefix, start_role, **settings).deliver()
        busy(0.6, Api.PRODUCE)(proxy)  # of dozens in a transaction, one for each partition
        here.publish_some(30)
        wait_until(lambda: "transaction.failed" in deliver.log_text(), 120, "one is not in time")
        committed = deliver.metric(COMMITS, result="committed")
        wait_until(lambda: deliver.metric(COMMITS, result="committed") >= committed + 2, 300, "others are")
        proxy.rule = pass_all
        here.wait_for_ends(30 * 40, 120)
        assert deliver.terminate() == 0
    assert set(Counter((request.event_id, request.path) for request in receiver.requests).values()) == {2}
