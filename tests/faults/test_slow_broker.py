"""A slow broker slows delivery and router down and has no other effect."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from deploy.dev.broker import Broker
from deploy.dev.receiver import Receiver
from deploy.dev.responses import CannedResponse
from schemas.records.health import decode_operation
from tests.support.pipeline import Pipeline, ends_of
from tests.support.proxy import Api, KafkaProxy, at_once, late, pass_all, slow
from tests.support.roles import Role, RoleStarter
from tests.support.waiting import wait_until

pytestmark = pytest.mark.promise(1)

SUBSCRIPTIONS = 5
COMMITS = "signpost_delivery_transactions_total"
NO_COMMIT = "the broker has not committed for over 2 s"
# Log events of other effects: fencing, restarts, transactions with unknown result, lost partitions.
TROUBLE = (
    "role.restarting",
    "transaction.failed",
    "transaction.begin_failed",
    "transaction.hung",
    "transaction.init_failed",
    "partitions.lost",
    "partitions.revoked",
    "consumer.failed",
    "commit.failed",
    "kafka.disconnected",
)
Slowness = Callable[[KafkaProxy], None]


def high_latency(seconds: float, *apis: Api) -> Slowness:
    """Delay each response by `seconds`; responses overlap."""

    def set_(proxy: KafkaProxy) -> None:
        proxy.delay = late(seconds, *apis)

    return set_


def serial(seconds: float, *apis: Api) -> Slowness:
    """Handle requests one after the other, `seconds` each."""

    def set_(proxy: KafkaProxy) -> None:
        proxy.rule = slow(seconds, *apis)

    return set_


def low_bandwidth(bytes_per_s: int) -> Slowness:
    """Limit the bandwidth of each connection in each direction."""

    def set_(proxy: KafkaProxy) -> None:
        proxy.bytes_per_s = bytes_per_s

    return set_


class Behind:
    """Roles that use the broker through a proxy, and events for them."""

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
        """Number of jobs published so far."""
        return self._events * SUBSCRIPTIONS

    def deliver(self, events: int, deadline_s: float = 120.0) -> None:
        """Publish events and wait until all jobs are delivered and committed."""
        self._pipeline.publish_some(events, start=self._events)
        self._events += events
        self._pipeline.wait_for_ends(self.jobs, deadline_s)

    @contextmanager
    def slowed_by(self, slowness: Slowness) -> Iterator[None]:
        """Slow the broker down within the block."""
        slowness(self.proxy)
        yield
        self.proxy.rule = pass_all
        self.proxy.delay = at_once
        self.proxy.bytes_per_s = None

    def wait_ready(self) -> None:
        """Wait until all roles are ready."""
        for role in self.roles:
            role.wait_ready()

    def assert_no_other_effect(self) -> None:
        """Assert that each job was sent and recorded once, and that no role was fenced or lost partitions."""
        times = Counter((request.event_id, request.path) for request in self.receiver.requests)
        assert len(times) == self.jobs
        assert set(times.values()) == {1}
        assert set(ends_of(self._pipeline.outcomes()).values()) == {1}
        assert self._pipeline.read(self._pipeline.names.health) == []
        reports = [decode_operation(one.value()) for one in self._pipeline.read(self._pipeline.names.operations)]
        assert {one.kind for one in reports} <= {"subscription_created"}
        for role in self.roles:
            assert role.is_alive()
            assert trouble_in(role) == set()


def trouble_in(role: Role) -> set[str]:
    """Return the log events of a role that are in TROUBLE."""
    events = {json.loads(line)["event"] for line in role.log_text().splitlines() if line.startswith("{")}
    return events & set(TROUBLE)


@pytest.fixture
def behind(pipeline: Pipeline, receiver: Receiver) -> Iterator[Behind]:
    with KafkaProxy(pipeline.bootstrap_servers) as proxy:
        yield Behind(pipeline, proxy, receiver)


def test_slow_broker_has_no_other_effect(behind: Behind) -> None:
    """With every kind of slowness each job is delivered and recorded once; no role is fenced, no endpoint disabled."""
    behind.deliver(1)
    for slowness in (high_latency(0.3), serial(0.25), high_latency(0.6, Api.END_TXN), low_bandwidth(50_000)):
        with behind.slowed_by(slowness):
            behind.deliver(5)
    behind.deliver(20)
    behind.wait_ready()
    behind.assert_no_other_effect()


@pytest.mark.long
def test_responses_that_take_seconds_pause_delivery(behind: Behind) -> None:
    """With 3 s per response of the broker, delivery pauses during a commit, with a reason in /readyz, and continues."""
    deliver = behind.roles[1]
    began_s = time.monotonic()
    for slowness in (
        high_latency(1),
        serial(1, Api.PRODUCE),
        serial(0.5),
        high_latency(3, Api.PRODUCE),
        high_latency(3, Api.FETCH),
        low_bandwidth(10_000),
    ):
        with behind.slowed_by(slowness):
            behind.deliver(50, 300)
    with behind.slowed_by(high_latency(3)):
        sent = len(behind.receiver.requests)
        for _ in range(3):
            behind._pipeline.publish_some(20, start=behind._events)
            behind._events += 20
            wait_until(lambda: NO_COMMIT in deliver.get("/readyz")[1], what="/readyz has the reason")
            wait_until(lambda: deliver.get("/readyz")[0] == 200, what="it continues")
        behind.deliver(1, 300)
        assert len(behind.receiver.requests) > sent
    behind.deliver(50)
    behind.wait_ready()
    behind.assert_no_other_effect()
    lines = sum("delivery.paused" in line and NO_COMMIT in line for line in deliver.log_text().splitlines())
    assert 1 <= lines <= 1 + (time.monotonic() - began_s) / 60


@pytest.mark.long
def test_roles_start_with_responses_that_take_seconds(pipeline: Pipeline, receiver: Receiver) -> None:
    """With 2 s per response of the broker, roles start slowly and work."""
    with KafkaProxy(pipeline.bootstrap_servers) as proxy:
        high_latency(2)(proxy)
        behind = Pipeline(proxy.bootstrap_servers, pipeline.names.prefix, pipeline._start_role)
        pipeline.subscribe(receiver.url)
        pipeline.publish_some(20)
        roles = [behind.start(role, "--instance", "0", ready=False) for role in ("router", "deliver")]
        pipeline.wait_for_ends(20, 600)
        for role in roles:
            assert role.terminate(120) == 0
    assert Counter(request.event_id for request in receiver.requests).total() == 20


@pytest.mark.long
def test_transactions_that_time_out_are_written_again(
    broker: Broker, prefix: str, start_role: RoleStarter, receiver: Receiver
) -> None:
    """A transaction that times out is written again with a longer timeout, and delivery continues."""
    settings = {"partitions": 12, "delay_speedup": 30}
    here = Pipeline(broker.bootstrap_servers, prefix, start_role, **settings)
    receiver.behave = lambda received: CannedResponse(500 if received.attempt == 1 else 200)
    here.subscribe(*(f"{receiver.url}{number}" for number in range(40)))
    here.router()
    with KafkaProxy(broker.bootstrap_servers) as proxy:
        deliver = Pipeline(proxy.bootstrap_servers, prefix, start_role, **settings).deliver()
        serial(0.6, Api.PRODUCE)(proxy)  # a transaction has dozens of produce requests, one per partition
        here.publish_some(30)
        wait_until(lambda: "transaction.failed" in deliver.log_text(), what="a transaction times out")
        committed = deliver.metric(COMMITS, result="committed")
        wait_until(lambda: deliver.metric(COMMITS, result="committed") >= committed + 2, 300, "others are committed")
        proxy.rule = pass_all
        here.wait_for_ends(30 * 40)
        assert deliver.terminate() == 0
    assert set(Counter((request.event_id, request.path) for request in receiver.requests).values()) == {2}
