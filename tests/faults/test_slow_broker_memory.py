"""Backpressure of a broker that accepts no records: memory of both roles is bounded, records wait in their topics."""

from __future__ import annotations

import random
import string
import threading
import time
from collections.abc import Callable, Iterator
from itertools import chain

import pytest

from consumers.delivery.partitions.committer import MAX_BYTES
from consumers.delivery.scheduler import MAX_BUFFERED_BYTES
from consumers.kafka.transactions import QUEUE_BYTES
from consumers.router.output import producer_config
from deploy.roles.delivery import consumer_config
from tests.support.memory import MIB, peak_resident_bytes, resident_bytes
from tests.support.pipeline import Pipeline, ends_of, small_event
from tests.support.players import Players
from tests.support.proxy import Api, Frame, KafkaProxy, slow
from tests.support.roles import Role
from tests.support.waiting import wait_until

KIB = 1024
HEALTHY = 3  # subscriptions
FAILING = 3
PARTITIONS = 3
_FETCHED = consumer_config({}, "", None)
# The consumer queue, and one decompressed response per partition; events of this test compress to a fifth.
READ_AHEAD = _FETCHED["queued.max.messages.kbytes"] * KIB + PARTITIONS * 5 * _FETCHED["fetch.message.max.bytes"]
# The producer queue counts twice, as batches in flight are compressed copies.
ROUTER = 2 * producer_config({}, 0)["queue.buffering.max.kbytes"] * KIB + 2 * READ_AHEAD
# Buffered records count twice, as read and as bodies. Outgoing records count three times: waiting, in a
# transaction, and in the producer queue.
DELIVERY = 2 * MAX_BUFFERED_BYTES + 3 * MAX_BYTES + 2 * READ_AHEAD


class Case:
    """Both roles behind a proxy that delays produce requests, and endpoints of which half fail."""

    def __init__(self, pipeline: Pipeline, proxy: KafkaProxy, players: Players) -> None:
        self._pipeline = pipeline
        self._players = players
        self._accepts = threading.Event()
        self._accepts.set()
        self._delayed = slow(0.02, Api.PRODUCE)
        proxy.rule = self._rule
        pipeline.subscribe(
            *(f"{players.url}healthy/{n}" for n in range(HEALTHY)),
            *(f"{players.url}failing/{n}" for n in range(FAILING)),
        )
        behind = Pipeline(proxy.bootstrap_servers, pipeline.names.prefix, pipeline._start_role)
        speedup = {"delay_speedup": 60, "log_level": "warning"}
        self.roles = [behind.start(role, "--instance", "0", ready=False, **speedup) for role in ("router", "deliver")]
        self._before = {role.name: resident_bytes(role.wait_ready().pid) for role in self.roles}

    def _rule(self, frame: Frame) -> bool:
        if frame.api != Api.PRODUCE or frame.direction != "request":
            return True
        self._accepts.wait()
        return self._delayed(frame)

    def grown(self, role: Role) -> int:
        """Return by how many bytes the peak memory of a role has grown."""
        return peak_resident_bytes(role.pid) - self._before[role.name]

    def run(self, sizes: list[int], blocked_s: float) -> None:
        """Publish events of these sizes; the broker accepts nothing for `blocked_s`, then some, then nothing."""
        router, deliver = self.roles
        jobs = len(sizes) * (HEALTHY + FAILING)
        self._players.behave("failing", "close")
        self._accepts.clear()
        self._pipeline.publish(large_event(number, size) for number, size in enumerate(sizes))
        wait_unchanged(lambda: router.metric("signpost_router_jobs_total"), blocked_s)
        self._accepts.set()
        wait_until(lambda: deliver.metric("signpost_delivery_attempts_total") > jobs / 10, what="some jobs are sent")
        self._accepts.clear()
        wait_unchanged(lambda: deliver.metric("signpost_delivery_attempts_total"), blocked_s)
        self._accepts.set()
        self._players.behave("failing", "ok")
        wait_until(lambda: self.delivered() == jobs, 600, f"{jobs} jobs are delivered")

    def delivered(self) -> int:
        """Return the number of jobs that endpoints responded to with 200."""
        seen = chain(self._players.seen("healthy").values(), self._players.seen("failing").values())
        return sum(one["answered"] for one in seen)

    def assert_delivered_once(self, jobs: int) -> None:
        """Assert that each job has one final outcome and that no role process ended."""
        assert set(ends_of(self._pipeline.wait_for_ends(jobs)).values()) == {1}
        for role in self.roles:
            assert role.is_alive()
            assert "BufferError" not in role.log_text()


def test_transaction_fits_into_the_producer_queue() -> None:
    """Outgoing records and one record per buffered job fit into the producer queue, so produce never finds it full."""
    assert QUEUE_BYTES > MAX_BYTES + MAX_BUFFERED_BYTES + 2 * READ_AHEAD


def large_event(number: int, size: int) -> dict[str, object]:
    """Return an event of about `size` bytes that compresses to a fifth."""
    event = small_event(number)
    words = random.Random(number)
    part = "".join(words.choices(string.ascii_letters + string.digits, k=size // 5))
    event["data"]["recommended_action"] = part * 5
    return event


def wait_unchanged(count: Callable[[], float], for_s: float) -> None:
    """Wait for `for_s`, and then until two consecutive calls of `count` return the same number."""
    ends_s = time.monotonic() + for_s
    last = [-1.0]

    def is_unchanged() -> bool:
        now = count()
        unchanged = now == last[0]
        last[0] = now
        return unchanged and time.monotonic() > ends_s

    wait_until(is_unchanged, for_s + 120, "the number does not change")


@pytest.fixture
def case(pipeline: Pipeline) -> Iterator[Case]:
    with KafkaProxy(pipeline.bootstrap_servers) as proxy, Players(net=7) as players:
        yield Case(pipeline, proxy, players)


def assert_bounded(case: Case) -> None:
    """Assert that the memory of neither role has grown by more than its bound."""
    router, deliver = case.roles
    print(f"router +{case.grown(router) / MIB:.0f} of {ROUTER / MIB:.0f} MiB", end=", ")
    print(f"delivery +{case.grown(deliver) / MIB:.0f} of {DELIVERY / MIB:.0f} MiB")
    assert case.grown(router) < ROUTER
    assert case.grown(deliver) < DELIVERY


def test_memory_is_bounded_while_produce_requests_wait(case: Case) -> None:
    """While produce requests wait, router and delivery stop growing; afterwards every job is delivered and recorded."""
    events = 400
    case.run([64 * KIB] * events, 1)
    case.assert_delivered_once(events * (HEALTHY + FAILING))
    assert_bounded(case)


@pytest.mark.long
def test_memory_is_bounded_while_the_broker_accepts_nothing_for_a_minute(case: Case) -> None:
    """The same with bodies of 64 KiB and of nearly `max_body`, and with two minutes without accepted records."""
    sizes = [64 * KIB, 250 * KIB] * 600
    case.run(sizes, 60)
    case.assert_delivered_once(len(sizes) * (HEALTHY + FAILING))
    assert_bounded(case)
