"""Partitions that go to another process while the one that had them has not committed, or stands still."""

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
from deploy.dev.responses import Behaviour, Received, Reply, Response, always
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
    """Two delivery processes behind a proxy each, and customers whose jobs are in a partition that is known."""

    def __init__(self, pipeline: Pipeline, proxies: list[KafkaProxy], start_role: RoleStarter, url: str) -> None:
        self.pipeline = pipeline
        self.proxies = proxies
        self._behind = [Pipeline(proxy.bootstrap_servers, pipeline.names.prefix, start_role) for proxy in proxies]
        pipeline.write(*(Apply(draft_of(customer, url)) for customer in CUSTOMERS))
        pipeline.publish(small_event(number, customer) for number, customer in enumerate(CUSTOMERS))
        self.published = len(CUSTOMERS)
        pipeline.router()
        wait_until(lambda: pipeline.size(f"{pipeline.names.prefix}jobs.0s") == self.published, what="all are routed")
        places = zip(pipeline.jobs(), pipeline.job_places(), strict=True)
        partitions = {job.customer_id: partition for job, (_, partition, _) in places}
        self._by_partition = {partition: customer for customer, partition in partitions.items()}

    def start(self, instance: int, *, ready: bool = True) -> Role:
        """Start the process of an instance: the range assignor gives 0 and 1 to the first, 2 to the second."""
        return self._behind[instance].start("deliver", "--instance", str(instance), ready=ready)

    def publish(self, partition: int, count: int = 1) -> None:
        """Publish events whose jobs are in a partition."""
        self.pipeline.publish_some(count, self._by_partition[partition], start=self.published)
        self.published += count


def draft_of(customer: str, url: str) -> Draft:
    """Return a customer's subscription to all events."""
    events, secret = ("*",), Given(SECRET)
    return Draft(id=customer, sender="zenoo", customer_id=customer, url=url, event_types=events, secret=secret)


@pytest.fixture
def pair(pipeline: Pipeline, start_role: RoleStarter, receiver: Receiver) -> Iterator[Pair]:
    with KafkaProxy(pipeline.bootstrap_servers) as first, KafkaProxy(pipeline.bootstrap_servers) as second:
        yield Pair(pipeline, [first, second], start_role, receiver.url)


def arming(gate: Gate, answer: Reply) -> Behaviour:
    """Give an answer, and arm the gate with the first request."""
    waiting = [gate]

    def behave(_: Received) -> Reply:
        if waiting:
            waiting.pop().arm()
        return answer

    return behave


def joining_while_it_commits(pair: Pair, receiver: Receiver, gate: Gate) -> tuple[Role, Role]:
    """Have the second process join while the first one's transaction stands at the gate; return both."""
    first = pair.start(0)
    pair.pipeline.wait_for_ends(pair.published)
    receiver.clear()
    join = Gate(Api.JOIN_GROUP, "request")
    join.arm()
    pair.proxies[1].rule = join
    second = pair.start(1, ready=False)
    join.wait_reached(60)
    receiver.behave = arming(gate, Response(200))
    pair.proxies[0].rule = gate
    pair.publish(partition=2)
    gate.wait_reached()
    join.open()
    return first, second


def all_is_well(pair: Pair, *roles: Role) -> None:
    """Every job comes to exactly one end, the next ones too, and the processes end in order."""
    pair.publish(partition=0)
    pair.publish(partition=2)
    outcomes = pair.pipeline.wait_for_ends(pair.published)
    assert [role.terminate() for role in roles] == [0] * len(roles)
    assert set(ends_of(outcomes).values()) == {1}


def test_a_rebalance_while_a_transaction_ends(pair: Pair, receiver: Receiver) -> None:
    """The new owner of a partition waits for offsets that are pending, and does nothing of that over again."""
    gate = Gate(Api.END_TXN, "request")
    first, second = joining_while_it_commits(pair, receiver, gate)
    answers: list[Frame] = []

    def note(frame: Frame) -> bool:
        if frame == Frame(Api.OFFSET_FETCH, "answer"):
            answers.append(frame)
        return True

    pair.proxies[1].rule = note
    wait_until(lambda: len(answers) >= 3, what="the new owner asks again and again")
    assert "delivery.assigned" not in second.log_text()

    gate.open()
    wait_until(lambda: "delivery.assigned" in second.log_text(), what="the second one reads")
    all_is_well(pair, first, second)
    assert len(receiver.requests) == 3


def test_a_rebalance_before_offsets_are_sent(pair: Pair, receiver: Receiver) -> None:
    """Whoever lost a partition commits nothing for it: its outcome is dropped, the new owner sends the job again."""
    gate = Gate(Api.TXN_OFFSET_COMMIT, "request")
    first, second = joining_while_it_commits(pair, receiver, gate)
    receiver.wait_for(2)

    gate.open()
    all_is_well(pair, first, second)
    assert "transaction.failed" in first.log_text()
    assert len(receiver.requests) == 4


def test_a_process_that_stood_still(pair: Pair, receiver: Receiver) -> None:
    """Stopped past its session it commits nothing of what was open, and starts nothing but what it was just writing."""
    first, second = pair.start(0), pair.start(1)
    pair.pipeline.wait_for_ends(pair.published)
    gate = Gate(Api.END_TXN, "request", lambda: os.kill(first.pid, signal.SIGSTOP))
    receiver.behave = arming(gate, Response(200, delay=timedelta(milliseconds=300)))
    pair.proxies[0].rule = gate
    pair.publish(partition=0, count=EVENTS)
    gate.wait_reached()

    pair.pipeline.wait_for_ends(pair.published)
    sent = Counter((request.path, request.event_id) for request in receiver.requests)
    os.kill(first.pid, signal.SIGCONT)
    gate.open()
    wait_until(lambda: "delivery.stalled" in first.log_text(), what="the process knows that it stood still")
    first.wait_ready()

    # It had most of these jobs at hand, and free places for them. One may have been on its way to the socket.
    since = Counter((request.path, request.event_id) for request in receiver.requests) - sent
    assert since.total() <= 1, since
    receiver.behave = always(Response(200))
    all_is_well(pair, first, second)


def test_a_second_process_of_an_instance_ends_the_first(pair: Pair, receiver: Receiver) -> None:
    """Two processes with one instance cannot both work: the first says why and ends with 1, even if stalled."""
    zombie = pair.start(0)
    pair.pipeline.wait_for_ends(pair.published)
    join = Gate(Api.JOIN_GROUP, "request")
    join.arm()
    pair.proxies[0].rule = join
    older = pair.start(0, ready=False)
    join.wait_reached(60)
    # Longer than half the session timeout, shorter than the whole: then it would join anew, and end the other one.
    os.kill(zombie.pid, signal.SIGSTOP)
    stopped_s = time.monotonic()
    join.open()
    wait_until(lambda: time.monotonic() - stopped_s > STALL_MS / 1_000 + 1, what="it has stood still for long")
    os.kill(zombie.pid, signal.SIGCONT)
    assert zombie.wait() == 1

    newer = pair.start(0)
    assert older.wait() == 1
    for ended in (zombie, older):
        assert "same group.instance.id" in ended.log_text()
    all_is_well(pair, newer)
    assert len(receiver.requests) == pair.published
