"""The scheduler in any order of records, responses, deletions, rebalances and time."""

from __future__ import annotations

from dataclasses import asdict, replace
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from consumers.delivery.admission import AdmissionControl, AdmissionLimits
from consumers.delivery.delay_topics import DelayTopics
from consumers.delivery.endpoint import Endpoint
from consumers.delivery.http.types import (
    CANCELLED,
    RESOLVER_QUEUE_FULL,
    CompletedRequest,
    Request,
    Response,
    ResponseOrError,
    TransportError,
)
from consumers.delivery.partitions.outbox import Outbox
from consumers.delivery.partitions.partition_state import Ownership, PartitionState
from consumers.delivery.partitions.progress import Position, Progress
from consumers.delivery.partitions.reader import ReadRecord, Recovered
from consumers.delivery.results.handler import ResultHandler
from consumers.delivery.results.health import HealthPolicy, HealthTracker
from consumers.delivery.results.recorder import Recorder
from consumers.delivery.scheduler import Scheduler
from consumers.service.metrics import DeliveryMetrics
from consumers.subscriptions.state import DELETED, NOT_YET, Entry, Unusable
from schemas.avro.codec import RecordCodec
from schemas.input.durations import parse_duration
from schemas.records.delivery import Job
from schemas.records.topics import TopicNames
from tests.support.admission import DELAYS_MS, NOW
from tests.unit.delivery.results.test_health import job
from tests.unit.delivery.test_endpoint import SIGNED, endpoint

pytestmark = pytest.mark.promise(1)

NAMES = TopicNames("test.")
JOBS = RecordCodec("job")
ENDPOINT = endpoint(SIGNED)
DELAYS = ("0s", "1s", "5s", "20s", "60s", "5m", "30m", "2h", "24h")
DELAY_TOPICS = DelayTopics(NAMES, [parse_duration(delay) for delay in DELAYS], 1.0)
RESPONSES: tuple[ResponseOrError, ...] = (
    *[Response(200, None, b"", False)] * 12,
    Response(500, None, b"", False),
    Response(503, "7", b"", False),
    Response(410, None, b"", False),
    TransportError("timeout_answer", ""),
    TransportError("local", ""),
    CANCELLED,
    RESOLVER_QUEUE_FULL,
)


class Record:
    """A record as the consumer returns it."""

    def __init__(self, topic: str, offset: int, value: bytes) -> None:
        self._fields = (topic, offset, value)

    def topic(self) -> str:
        return self._fields[0]

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._fields[1]

    def key(self) -> bytes:
        return b"key"

    def value(self) -> bytes:
        return self._fields[2]

    def headers(self) -> None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return 1, NOW


class SchedulerModel:
    """A scheduler whose client, table and partitions do anything that they may do."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.now_ms = NOW
        self.endpoints = {
            id_: replace(ENDPOINT, subscription_id=id_, max_in_flight=limit, rate_limit=rate, host=id_[:4])
            for id_, limit, rate in (("one_1", 2, None), ("one_2", None, 3.0), ("two_1", None, None))
        }
        self.found: dict[str, Any] = {}
        self.waiting: list[Request] = []  # for DNS
        self.sent: list[Request] = []
        self.completed: list[CompletedRequest] = []
        self.sizes: dict[tuple[PartitionState, int], int] = {}  # of unfinished records
        self.outbox = Outbox("one")
        self.health = HealthTracker(HealthPolicy(report_after_ms=1_000, disable_after_ms=100_000))
        table = SimpleNamespace(
            lookup=lambda id_, *_: self.found.get(id_) or Entry(self.endpoints[id_], 0, 0),
            get=lambda id_: None if rng.random() < 0.5 else Entry(self.endpoints[id_], 0, 0),
            is_fresh=lambda _now_ms: rng.random() < 0.9,
            barrier=lambda: 0,
            passed=lambda _barrier: rng.random() < 0.5,
        )
        recorder = Recorder(NAMES, DELAY_TOPICS, 1_000_000)
        metrics = DeliveryMetrics({}, 512)
        self.admission = AdmissionControl(AdmissionLimits(4, 8, 16, 600_000), DELAYS_MS)
        self.scheduler = Scheduler(
            subscriptions=cast("Any", table),
            client=cast("Any", self),
            outbox=self.outbox,
            recorder=recorder,
            handler=ResultHandler(
                names=NAMES,
                subscriptions=cast("Any", table),
                recorder=recorder,
                health=self.health,
                metrics=metrics,
                outcome_log=cast("Any", SimpleNamespace(write=lambda *_: None)),
                longest_delay_ms=DELAY_TOPICS.waits_ms[-1],
            ),
            delay_topics=DELAY_TOPICS,
            admission=self.admission,
            health=self.health,
            metrics=metrics,
            clock=lambda: self.now_ms,
            monotonic_ms=lambda: self.now_ms,
        )
        self.partitions = [self._partition(), self._partition()]

    def _partition(self) -> PartitionState:
        start = Position(0, "")
        return PartitionState(self.rng.choice(DELAY_TOPICS.all[:3]), 0, start, Progress(start))

    # What the scheduler uses of the client.

    def start(self, request: Request) -> bool:
        waits = self.rng.random() < 0.3
        (self.waiting if waits else self.sent).append(request)
        return waits

    def confirm(self, request: Request) -> None:
        self.sent.append(request)

    def cancel(self, request: Request) -> None:
        self.completed.append(CompletedRequest(request, CANCELLED, 0.0, 0))

    def cancel_matching(self, predicate: Any) -> list[Request]:
        cancelled = [request for request in (*self.sent, *self.waiting) if predicate(request)]
        self.sent = [request for request in self.sent if request not in cancelled]
        self.waiting = [request for request in self.waiting if request not in cancelled]
        return cancelled

    def step(self) -> None:
        """Run one event."""
        rng = self.rng
        often = (self._read, self._start, self._respond, self._confirm) * 3
        rng.choice((*often, self._pass_time, self._change_subscription, self._defer, self._rebalance))()
        self.check()

    def _read(self) -> None:
        records = []
        for _ in range(self.rng.randint(1, 12)):
            partition = self.rng.choice(self.partitions)
            offset = partition.progress.next_offset
            value = b"?" if self.rng.random() < 0.03 else self._job()
            assert partition.take(offset)
            if value != b"?":
                self.sizes[partition, offset] = len(value)
            records.append(ReadRecord(partition, cast("Any", Record(partition.topic, offset, value))))
        self.scheduler.add(records, self.now_ms)

    def _job(self) -> bytes:
        due_ms = self.now_ms + self.rng.choice([0, 0, 0, -5, 20, 900, 3_000, 400_000])
        one: Job = replace(
            job(self.rng.choice(list(self.endpoints))),
            due_at_ms=due_ms,
            attempt=self.rng.randint(1, 30),
            activation=self.rng.choice([SIGNED.activation] * 9 + [SIGNED.activation - 1]),
            body=b"x" * self.rng.randint(0, 99),
        )
        return JOBS.encode(asdict(one))

    def _start(self) -> None:
        self.scheduler.start(self.rng.randint(1, 20), self.now_ms)

    def _respond(self) -> None:
        completed, self.completed = self.completed, []
        for request in self.rng.sample(self.sent, min(len(self.sent), self.rng.randint(0, 5))):
            self.sent.remove(request)
            completed.append(CompletedRequest(request, self.rng.choice(RESPONSES), 0.0, self.rng.randint(1, 2_000_000)))
        for request in self.rng.sample(self.waiting, min(len(self.waiting), self.rng.randint(0, 1))):
            self.waiting.remove(request)
            completed.append(CompletedRequest(request, TransportError("dns_timeout", ""), 0.0, 1_000))
        self.scheduler.on_responses(completed, self.now_ms)

    def _confirm(self) -> None:
        count = self.rng.randint(0, len(self.waiting))
        requests, self.waiting = self.waiting[:count], self.waiting[count:]
        if self.sent and self.rng.random() < 0.5:  # one waited for its connection
            requests.append(self.sent.pop())
        self.scheduler.confirm(requests, may_start=self.rng.random() < 0.9)

    def _pass_time(self) -> None:
        self.now_ms += self.rng.choice([1, 20, 300, 5_000, 70_000])
        if self.rng.random() < 0.1:
            self.scheduler.on_stall(self.now_ms)

    def _change_subscription(self) -> None:
        id_ = self.rng.choice(list(self.endpoints))
        former: Endpoint = self.endpoints[id_]
        self.endpoints[id_] = replace(
            former,
            paused=self.rng.random() < 0.1,
            host=self.rng.choice(["one_", "two_"]),
            activation=SIGNED.activation + (self.rng.random() < 0.1),
            target="not allowed" if self.rng.random() < 0.1 else ENDPOINT.target,
        )
        self.found[id_] = self.rng.choice([*[None] * 9, DELETED, NOT_YET, Unusable("?", 0, 0)])

    def _defer(self) -> None:
        self.scheduler.defer_stuck(self.now_ms)

    def _rebalance(self) -> None:
        """Lose a partition, or get all back."""
        lost = self.rng.choice([*self.partitions, None])
        for partition in self.partitions:
            partition.ownership = Ownership.SUSPENDED
        if self.rng.random() < 0.3 and self.waiting:
            self._confirm()
        for partition in self.partitions:
            partition.ownership = Ownership.LOST if partition is lost else Ownership.OURS
        self.outbox.prune()
        self.scheduler.on_recovered(Recovered(frozenset(), {0: {}}, ()), self.now_ms)
        self.partitions = [one if one is not lost else self._partition() for one in self.partitions]

    def check(self) -> None:
        """Memory, permits and requests in flight are those of the unfinished records."""
        ended = [completed.request for completed in self.completed]
        unfinished = [size for (partition, offset), size in self.sizes.items() if _is_unfinished(partition, offset)]
        lost = [request.context.value for request in ended if request.context.partition.is_lost]
        assert self.scheduler.bytes == sum(unfinished) + sum(map(len, lost))
        tasks = [request.context for request in (*self.sent, *ended)]
        assert self.admission.bulkhead.in_flight == sum(task.permit is not None for task in tasks)
        tasks += [request.context for request in self.waiting]
        states = {id(task.endpoint_state): task.endpoint_state for task in tasks}
        assert sum(state.in_flight for state in states.values()) == len(tasks)


def _is_unfinished(partition: PartitionState, offset: int) -> bool:
    progress = partition.progress
    assert progress._finished <= set(progress._order), "a record was finished twice"
    return not partition.is_lost and offset in progress._order and offset not in progress._finished


@pytest.mark.parametrize("seed", range(10))
def test_every_record_is_finished_once(seed: int) -> None:
    """Whatever happens, a record that was read is finished once or kept, and counts as memory until then."""
    model = SchedulerModel(Random(seed))
    for _ in range(400):
        model.step()
