"""Partitions move to another process while their former owner has not committed, or stalls."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

import pytest

from consumers.delivery.loop import STALL_MS
from deploy.dev.receiver import Receiver
from deploy.dev.responses import Behaviour, CannedResponse, Received, Reply, always
from producers.subscriptions.changes import Apply
from schemas.subscriptions.rules import Draft, Given
from tests.support.pipeline import SECRET, Pipeline, ends_of, small_event
from tests.support.proxy import Api, Frame, Gate, KafkaProxy
from tests.support.roles import Role, RoleStarter
from tests.support.waiting import wait_until

pytestmark = pytest.mark.promise(1, 2)

CUSTOMERS = [f"customer-{number}" for number in range(8)]
EVENTS = 100


class Pair:
    """Two delivery processes, each behind a proxy, and customers whose jobs are in known partitions."""

    def __init__(self, pipeline: Pipeline, proxies: list[KafkaProxy], start_role: RoleStarter, url: str) -> None:
        self.pipeline = pipeline
        self.proxies = proxies
        self._behind = [Pipeline(proxy.bootstrap_servers, pipeline.names.prefix, start_role) for proxy in proxies]
        pipeline.write(*(Apply(draft_of(customer, url)) for customer in CUSTOMERS))
        pipeline.publish(small_event(number, customer) for number, customer in enumerate(CUSTOMERS))
        self.published = len(CUSTOMERS)
        pipeline.router()
        wait_until(
            lambda: pipeline.size(f"{pipeline.names.prefix}jobs.0s") == self.published, what="all events are routed"
        )
        places = zip(pipeline.jobs(), pipeline.job_places(), strict=True)
        partitions = {job.customer_id: partition for job, (_, partition, _) in places}
        self._by_partition = {partition: customer for customer, partition in partitions.items()}

    def start(self, instance: int, *, ready: bool = True) -> Role:
        """Start a process; the range assignor assigns partitions 0 and 1 to instance 0, and 2 to instance 1."""
        return self._behind[instance].start("deliver", "--instance", str(instance), ready=ready)

    def publish(self, partition: int, count: int = 1) -> None:
        """Publish events whose jobs are in a partition."""
        self.pipeline.publish_some(count, self._by_partition[partition], start=self.published)
        self.published += count


def draft_of(customer: str, url: str) -> Draft:
    """Return a customer's subscription to all events."""
    return Draft(id=customer, sender="zenoo", customer_id=customer, url=url, event_types=("*",), secret=Given(SECRET))


@pytest.fixture
def pair(pipeline: Pipeline, start_role: RoleStarter, receiver: Receiver) -> Iterator[Pair]:
    with KafkaProxy(pipeline.bootstrap_servers) as first, KafkaProxy(pipeline.bootstrap_servers) as second:
        yield Pair(pipeline, [first, second], start_role, receiver.url)


def arming(gate: Gate, reply: Reply) -> Behaviour:
    """Send this reply, and arm the gate at the first request."""
    waiting = [gate]

    def behave(_: Received) -> Reply:
        if waiting:
            waiting.pop().arm()
        return reply

    return behave


def join_during_commit(pair: Pair, receiver: Receiver, gate: Gate) -> tuple[Role, Role]:
    """Let the second process join while a transaction of the first one is held at the gate; return both."""
    first = pair.start(0)
    pair.pipeline.wait_for_ends(pair.published)
    receiver.clear()
    join = Gate(Api.JOIN_GROUP, "request")
    join.arm()
    pair.proxies[1].rule = join
    second = pair.start(1, ready=False)
    join.wait_reached(60)
    receiver.behave = arming(gate, CannedResponse(200))
    pair.proxies[0].rule = gate
    pair.publish(partition=2)
    gate.wait_reached()
    join.open()
    return first, second


def assert_all_delivered(pair: Pair, *roles: Role) -> None:
    """Assert that every job, new ones included, has one final outcome, and that the processes stop with exit code 0."""
    pair.publish(partition=0)
    pair.publish(partition=2)
    outcomes = pair.pipeline.wait_for_ends(pair.published)
    assert [role.terminate() for role in roles] == [0] * len(roles)
    assert set(ends_of(outcomes).values()) == {1}


def test_new_owner_waits_for_pending_offsets(pair: Pair, receiver: Receiver) -> None:
    """The new owner of a partition waits while offsets are pending, and repeats no job."""
    gate = Gate(Api.END_TXN, "request")
    first, second = join_during_commit(pair, receiver, gate)
    responses: list[Frame] = []

    def collect(frame: Frame) -> bool:
        if frame == Frame(Api.OFFSET_FETCH, "response"):
            responses.append(frame)
        return True

    pair.proxies[1].rule = collect
    wait_until(lambda: len(responses) >= 3, what="the new owner repeats its query")
    assert "partitions.assigned" not in second.log_text()

    gate.open()
    wait_until(lambda: "partitions.assigned" in second.log_text(), what="the second process reads")
    assert_all_delivered(pair, first, second)
    assert len(receiver.requests) == 3


def test_former_owner_commits_nothing(pair: Pair, receiver: Receiver) -> None:
    """A process that lost a partition commits nothing for it: its outcome is dropped; the new owner repeats the job."""
    gate = Gate(Api.TXN_OFFSET_COMMIT, "request")
    first, second = join_during_commit(pair, receiver, gate)
    receiver.wait_for(2)

    gate.open()
    assert_all_delivered(pair, first, second)
    assert "transaction.failed" in first.log_text()
    assert len(receiver.requests) == 4


def test_stalled_process_starts_no_request(pair: Pair, receiver: Receiver) -> None:
    """A process stalled past its session timeout commits nothing, and starts no request but one already being sent."""
    first, second = pair.start(0), pair.start(1)
    pair.pipeline.wait_for_ends(pair.published)
    gate = Gate(Api.END_TXN, "request", lambda: os.kill(first.pid, signal.SIGSTOP))
    receiver.behave = arming(gate, CannedResponse(200, delay=timedelta(milliseconds=300)))
    pair.proxies[0].rule = gate
    pair.publish(partition=0, count=EVENTS)
    gate.wait_reached()

    pair.pipeline.wait_for_ends(pair.published)
    sent = Counter((request.path, request.event_id) for request in receiver.requests)
    os.kill(first.pid, signal.SIGCONT)
    gate.open()
    # The loop notices the stall at its next turn, or its consumer has reported the lost partitions before.
    noticed = ("delivery.stalled", "partitions.lost")
    wait_until(lambda: any(event in first.log_text() for event in noticed), what="the process notices the stall")
    first.wait_ready()

    # It had most of these jobs buffered, and free permits. One request may have been between decision and socket.
    since = Counter((request.path, request.event_id) for request in receiver.requests) - sent
    assert since.total() <= 1, since
    receiver.behave = always(CannedResponse(200))
    assert_all_delivered(pair, first, second)


def test_second_process_of_an_instance_ends_the_first(pair: Pair, receiver: Receiver) -> None:
    """If two processes have the same instance id, the first exits with 1 and the reason, even after a stall."""
    zombie = pair.start(0)
    pair.pipeline.wait_for_ends(pair.published)
    join = Gate(Api.JOIN_GROUP, "request")
    join.arm()
    pair.proxies[0].rule = join
    older = pair.start(0, ready=False)
    join.wait_reached(60)
    # Longer than half the session timeout, shorter than the whole: after that it would rejoin and fence the other.
    os.kill(zombie.pid, signal.SIGSTOP)
    stopped_s = time.monotonic()
    join.open()
    wait_until(lambda: time.monotonic() - stopped_s > STALL_MS / 1_000 + 1, what="the stall has lasted long enough")
    os.kill(zombie.pid, signal.SIGCONT)
    assert zombie.wait() == 1

    newer = pair.start(0)
    assert older.wait() == 1
    for ended in (zombie, older):
        assert "same group.instance.id" in ended.log_text()
    assert_all_delivered(pair, newer)
    assert len(receiver.requests) == pair.published
