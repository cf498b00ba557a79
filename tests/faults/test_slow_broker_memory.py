"""What a broker does not take waits in its topics, not in memory: produce back-pressure is bounded in both roles."""

from __future__ import annotations

import random
import string
import threading
import time
from collections.abc import Iterator
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
WELL, AWAY = 3, 3  # subscriptions
PARTITIONS, DELAY_TOPICS = 3, 13
_FETCHED = consumer_config({}, "", None)
# What is read ahead; and one answer's worth of each partition that has something, unpacked: here that is a fifth.
READ_AHEAD = _FETCHED["queued.max.messages.kbytes"] * KIB + PARTITIONS * 5 * _FETCHED["fetch.message.max.bytes"]
# The producer's queue twice, as what is under way is packed as well.
ROUTER = 2 * producer_config({}, 0)["queue.buffering.max.kbytes"] * KIB + 2 * READ_AHEAD
# Records at hand, as they were read and as bodies; rows that wait, rows in a transaction, and these in the producer.
DELIVERY = 2 * MAX_BUFFERED_BYTES + 3 * MAX_BYTES + 2 * READ_AHEAD


class Case:
    """Both roles behind a proxy that holds produce requests up, and endpoints of which half are away."""

    def __init__(self, pipeline: Pipeline, proxy: KafkaProxy, players: Players) -> None:
        self._pipeline = pipeline
        self._players = players
        self._takes = threading.Event()
        self._takes.set()
        self._slowly = slow(0.02, Api.PRODUCE)
        proxy.rule = self._rule
        pipeline.subscribe(
            *(f"{players.url}well/{n}" for n in range(WELL)), *(f"{players.url}away/{n}" for n in range(AWAY))
        )
        behind = Pipeline(proxy.bootstrap_servers, pipeline.names.prefix, pipeline._start_role)
        speedup = {"delay_speedup": 60, "log_level": "warning"}
        self.roles = [behind.start(role, "--instance", "0", ready=False, **speedup) for role in ("router", "deliver")]
        self._before = {role.name: resident_bytes(role.wait_ready().pid) for role in self.roles}

    def _rule(self, frame: Frame) -> bool:
        if frame.api != Api.PRODUCE or frame.direction != "request":
            return True
        self._takes.wait()
        return self._slowly(frame)

    def grown(self, role: Role) -> int:
        """Return by how many bytes a role has grown at most."""
        return peak_resident_bytes(role.pid) - self._before[role.name]

    def works(self, sizes: list[int], blocked_s: float) -> None:
        """Publish events of these sizes; the broker takes nothing for a while, slowly, and again nothing."""
        router, deliver = self.roles
        jobs = len(sizes) * (WELL + AWAY)
        self._players.tell("away", "close")
        self._takes.clear()
        self._pipeline.publish(large_event(number, size) for number, size in enumerate(sizes))
        stays(lambda: router.metric("signpost_router_jobs_total"), blocked_s)
        self._takes.set()
        wait_until(lambda: deliver.metric("signpost_delivery_attempts_total") > jobs / 10, 120, "some are sent")
        self._takes.clear()
        stays(lambda: deliver.metric("signpost_delivery_attempts_total"), blocked_s)
        self._takes.set()
        self._players.tell("away", "ok")
        wait_until(lambda: self.delivered() == jobs, 600, f"{jobs} are delivered")

    def delivered(self) -> int:
        """Number of jobs that endpoints have taken."""
        seen = chain(self._players.seen("well").values(), self._players.seen("away").values())
        return sum(one["answered"] for one in seen)

    def ended_once(self, jobs: int) -> None:
        """Each job is on record as delivered once, and no process of a role ended."""
        assert set(ends_of(self._pipeline.wait_for_ends(jobs, 120)).values()) == {1}
        for role in self.roles:
            assert role.is_alive()
            assert "BufferError" not in role.log_text()


def test_a_transaction_fits_into_the_producer_s_queue() -> None:
    """Rows that wait, and one for each job at hand, are less than the queue takes: produce never finds it full."""
    assert QUEUE_BYTES > MAX_BYTES + MAX_BUFFERED_BYTES + 2 * READ_AHEAD


def large_event(number: int, size: int) -> dict[str, object]:
    """Return an event of about so many bytes, which can be packed to a fifth."""
    event = small_event(number)
    words = random.Random(number)
    part = "".join(words.choices(string.ascii_letters + string.digits, k=size // 5))
    event["data"]["recommended_action"] = part * 5
    return event


def stays(count: object, for_s: float) -> None:
    """Wait until so much time has passed, and a number has not changed for as long as that takes at the end."""
    assert callable(count)
    ends_s = time.monotonic() + for_s
    last = [-1.0]

    def is_still() -> bool:
        now = count()
        still, last[0] = now == last[0], now
        return still and time.monotonic() > ends_s

    wait_until(is_still, for_s + 120, "nothing goes on")


@pytest.fixture
def case(pipeline: Pipeline) -> Iterator[Case]:
    with KafkaProxy(pipeline.bootstrap_servers) as proxy, Players(net=7) as players:
        yield Case(pipeline, proxy, players)


def bounded(case: Case) -> None:
    """Neither role has grown by more than its bounds say."""
    router, deliver = case.roles
    print(f"router +{case.grown(router) / MIB:.0f} of {ROUTER / MIB:.0f} MiB", end=", ")
    print(f"delivery +{case.grown(deliver) / MIB:.0f} of {DELIVERY / MIB:.0f} MiB")
    assert case.grown(router) < ROUTER
    assert case.grown(deliver) < DELIVERY


def test_what_a_broker_does_not_take_does_not_fill_the_memory(case: Case) -> None:
    """While produce requests wait router and delivery stop growing; afterwards all is delivered and recorded."""
    events = 400
    case.works([64 * KIB] * events, 1)
    case.ended_once(events * (WELL + AWAY))
    bounded(case)


@pytest.mark.long
def test_a_broker_that_takes_nothing_for_a_minute(case: Case) -> None:
    """So with bodies of 64 KiB and of nearly `max_body`, and with a minute in which nothing is taken, twice."""
    sizes = [64 * KIB, 250 * KIB] * 600
    case.works(sizes, 60)
    case.ended_once(len(sizes) * (WELL + AWAY))
    bounded(case)
