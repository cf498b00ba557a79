"""Decides which delivery task starts now, and leads each task from its record to the records of its result.

    record ─► ready ─► start ─► HTTP client ─► classify ─► result handler ─► outbox
                │        └─► waits for its endpoint (admission control), is deferred, moved or cancelled
                └─► later (due soon, or its subscription record is not read yet)

The scheduler does not talk to Kafka: the loop reads and commits.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, assert_never

import structlog
from confluent_kafka import Message

from consumers.delivery.admission import AdmissionControl, AdmittedTask
from consumers.delivery.classification import Classified, classify
from consumers.delivery.delay_topics import DelayTopic, DelayTopics, rounding_ms
from consumers.delivery.endpoint import Endpoint
from consumers.delivery.http.client import HttpClient
from consumers.delivery.http.types import (
    CANCELLED,
    RESOLVER_QUEUE_FULL,
    CompletedRequest,
    Request,
    ResponseOrError,
    TransportError,
)
from consumers.delivery.job_trace import JobTraces
from consumers.delivery.partitions.outbox import Outbox
from consumers.delivery.partitions.partition_state import Ownership, PartitionState
from consumers.delivery.partitions.progress import ROOMY_UNFINISHED
from consumers.delivery.partitions.reader import ReadRecord, Recovered
from consumers.delivery.request_builder import build_request
from consumers.delivery.results.handler import CancelReason, ResultHandler
from consumers.delivery.results.health import HealthTracker
from consumers.delivery.results.recorder import Recorder
from consumers.delivery.task import DeliveryTask
from consumers.kafka.outgoing_record import OutgoingRecord
from consumers.service.metrics import DeliveryMetrics
from consumers.subscriptions.state import Deleted, Entry, NotYet, Unusable
from consumers.subscriptions.table import SubscriptionTable
from schemas.catalog.errors import UnreadableRecord
from schemas.records.delivery import Job, JobCodec

_log = structlog.get_logger("delivery")
# A job whose subscription record is not read yet is considered again after this time.
_LOOK_AGAIN_MS: Final = 20
# Before the first start of a turn the loop has checked that the table is fresh and the partitions are ours. That check
# holds for this long.
_STARTS_MS: Final = 25
# Bytes of records in memory. Each record is there twice: as it was read, and as a body.
MAX_BUFFERED_BYTES: Final = 32 * 1024 * 1024


class Scheduler:
    """The delivery tasks of a process. `clock` is Unix time, `monotonic_ms` the clock of the table's staleness.

    Without `traces` no header of a record is read.
    """

    def __init__(
        self,
        *,
        subscriptions: SubscriptionTable[Endpoint],
        client: HttpClient,
        outbox: Outbox,
        recorder: Recorder,
        handler: ResultHandler,
        delay_topics: DelayTopics,
        admission: AdmissionControl,
        health: HealthTracker,
        metrics: DeliveryMetrics,
        clock: Callable[[], int],
        monotonic_ms: Callable[[], int],
        traces: JobTraces | None = None,
    ) -> None:
        self._subscriptions = subscriptions
        self._client = client
        self._outbox = outbox
        self._recorder = recorder
        self._handler = handler
        self._delay_topics = delay_topics
        self._admission = admission
        self._health = health
        self._metrics = metrics
        self._clock = clock
        self._monotonic_ms = monotonic_ms
        self._traces = traces
        self._decode = JobCodec().decode
        self._ready: deque[DeliveryTask] = deque()
        self._later: list[tuple[int, int, DeliveryTask]] = []
        self._number = 0
        self.bytes = 0  # of the records of all unfinished tasks
        self.moves = 0  # jobs written to another delay topic without an attempt, since the start

    @property
    def buffered(self) -> int:
        """Number of jobs that will start within 0.1 s. Jobs of endpoints at their limit do not count."""
        return len(self._ready) + self._admission.backpressure

    @property
    def soon(self) -> int:
        """Number of jobs that will start within a second."""
        return len(self._ready) + self._admission.soon

    def has_startable(self, now_ms: int) -> bool:
        """Whether `start` has anything to do."""
        due_ms = self.next_due_ms
        return bool(self._ready or self._admission.has_startable) or (due_ms is not None and due_ms <= now_ms)

    @property
    def next_due_ms(self) -> int | None:
        """When the next job in memory is due: by its own time, or by the rate limit of its endpoint."""
        rate_limited_ms = self._admission.next_start_ms
        if self._later and (rate_limited_ms is None or self._later[0][0] < rate_limited_ms):
            return self._later[0][0]
        return rate_limited_ms

    def add(self, records: Iterable[ReadRecord], now_ms: int) -> None:
        """Make tasks of the records that were read. Unreadable records become dead letters."""
        traces = self._traces
        for partition, message in records:
            offset, value = message.offset(), message.value()
            assert offset is not None
            try:
                job = self._decode(value)
            except UnreadableRecord as error:
                self._on_unreadable(partition, message, offset, error, now_ms)
                continue
            assert isinstance(value, bytes)
            self.bytes += len(value)
            task = DeliveryTask(job, partition, offset, value)
            if traces is not None:
                task.trace = traces.of(message)
            if partition.delay_topic.wait_ms and (number := self._delay_topics.number_of(partition.delay_topic)):
                self._admission.on_deferred_record(job.subscription_id, number - 1)
            if job.due_at_ms > now_ms:
                self._wait_until_due(task, job.due_at_ms - now_ms)
            else:
                self._ready.append(task)

    def start(self, room: int, now_ms: int) -> None:
        """Start up to `room` requests, alternately a task that waited for its endpoint and a task just read."""
        while self._later and self._later[0][0] <= now_ms:
            self._ready.append(heapq.heappop(self._later)[2])
        ready, admission = self._ready, self._admission
        admission.advance(now_ms)
        while room > 0 and self._clock() - now_ms <= _STARTS_MS:
            task = admission.next_waiting(now_ms)
            if task is not None:
                assert isinstance(task, DeliveryTask)
                room -= self._consider(task, now_ms, waited=True)
                if not ready:
                    continue
            elif not ready:
                return
            room -= self._consider(ready.popleft(), now_ms, waited=False)

    def on_responses(self, completed: Iterable[CompletedRequest], now_ms: int) -> None:
        """Handle the ends of requests: responses, transport errors, and requests that were never sent."""
        for one in completed:
            task, response = one.request.context, one.response
            assert isinstance(task, DeliveryTask)
            classified = classify(response, now_ms)
            self._admission.completed(task, classified, one.duration_us, now_ms)
            if task.partition.is_lost:
                self._forget(task)
            elif response is CANCELLED:
                if task.trace is not None:
                    task.trace.withdraw()
                self._ready.appendleft(task)
            elif response is RESOLVER_QUEUE_FULL:
                self._defer_for_default(task, "resolver_queue_full")
            else:
                self._handle(task, response, classified, one.duration_us, now_ms)

    def confirm(self, requests: Iterable[Request], *, may_start: bool) -> None:
        """Confirm or cancel requests that waited for DNS, or long for a connection.

        `may_start`: the loop lets requests start at all.
        """
        for request in requests:
            if may_start and self._may_send(request):
                self._client.confirm(request)
            else:
                self._client.cancel(request)

    def _may_send(self, request: Request) -> bool:
        """Whether a request that was started earlier may still be sent."""
        task = request.context
        assert isinstance(task, DeliveryTask)
        if task.partition.ownership is not Ownership.OURS:
            return False
        job = task.job
        found = self._subscriptions.lookup(job.subscription_id, job.subscription_partition, job.subscription_offset)
        if not (isinstance(found, Entry) and found.value is task.endpoint):
            return False
        if not self._subscriptions.is_fresh(self._monotonic_ms()):
            return False
        disabled = self._health.is_disabled(job.subscription_id, found.value.activation)
        return not disabled and (task.permit is not None or self._admission.resume(task, self._clock()))

    def on_stall(self, now_ms: int) -> None:
        """Account for a stall of this process: its time does not count against endpoints."""
        self._admission.on_stall(now_ms)

    def defer_stuck(self, now_ms: int) -> None:
        """Defer the tasks that wait for unresponsive endpoints."""
        for task in self._admission.sweep(now_ms):
            assert isinstance(task, DeliveryTask)
            self._defer(task, now_ms)

    def on_recovered(self, recovered: Recovered, now_ms: int) -> None:
        """Apply an assignment of partitions: load endpoint health, report truncated records, drop lost tasks."""
        self._health.keep(recovered.kept)
        for number, health in recovered.health.items():
            self._health.load(number, health)
        for partition, truncated in recovered.truncated:
            self._metrics.on_truncated(truncated.count)
            self._outbox.attach(partition, (self._recorder.truncated(truncated, now_ms),))
        self._drop_lost(now_ms)

    def _drop_lost(self, now_ms: int) -> None:
        """Forget the tasks of lost partitions, and close their requests."""
        in_memory: list[AdmittedTask] = [*self._ready, *(item[2] for item in self._later)]
        in_memory += self._admission.drop(_is_lost)
        self._ready = deque(task for task in self._ready if not task.partition.is_lost)
        self._later = [item for item in self._later if not item[2].partition.is_lost]
        heapq.heapify(self._later)
        for request in self._client.cancel_matching(lambda request: _is_lost(request.context)):
            self._admission.completed(request.context, classify(CANCELLED, now_ms), 0, now_ms)
            in_memory.append(request.context)
        for task in in_memory:
            if isinstance(task, DeliveryTask) and task.partition.is_lost:
                self._forget(task)

    def _wait_until_due(self, task: DeliveryTask, remaining_ms: int) -> None:
        delay_topic = self._delay_topics.fit(remaining_ms, rounding_ms(remaining_ms))
        if delay_topic is None:
            self._look_again_at(task, task.job.due_at_ms)
        else:
            self._move(task, delay_topic)

    def _look_again_at(self, task: DeliveryTask, at_ms: int) -> None:
        self._number += 1
        heapq.heappush(self._later, (at_ms, self._number, task))

    def _consider(self, task: DeliveryTask, now_ms: int, *, waited: bool) -> bool:
        """Start a task, or cancel it, or make it wait. Return whether it was started."""
        job = task.job
        found = self._subscriptions.lookup(job.subscription_id, job.subscription_partition, job.subscription_offset)
        if isinstance(found, Entry):
            endpoint = found.value
            reason = self._reason_to_cancel(job, endpoint)
            if reason is None:
                return self._admit(task, endpoint, now_ms, waited=waited)
            self._complete(task, self._handler.cancel(task, reason, endpoint.host, now_ms))
        elif isinstance(found, Deleted):
            self._complete(task, self._handler.cancel(task, "deleted", "", now_ms))
        elif isinstance(found, NotYet):
            self._await_record(task, now_ms)
        elif isinstance(found, Unusable):
            self._defer_for_default(task, "unusable_subscription")
        else:
            assert_never(found)
        return False

    def _reason_to_cancel(self, job: Job, endpoint: Endpoint) -> CancelReason | None:
        if endpoint.paused:
            return "paused"
        if job.activation < endpoint.activation:
            return "reactivated"
        health = self._health
        return "disabled" if health.known and health.is_disabled(job.subscription_id, endpoint.activation) else None

    def _await_record(self, task: DeliveryTask, now_ms: int) -> None:
        """Wait for the subscription record that a job names, until the table has passed the barrier of the task."""
        job, subscriptions = task.job, self._subscriptions
        if task.barrier is None:
            task.barrier = subscriptions.barrier()
        if not subscriptions.passed(task.barrier):
            self._look_again_at(task, now_ms + _LOOK_AGAIN_MS)
        elif entry := subscriptions.get(job.subscription_id):  # the topic was created again, with other offsets
            job.subscription_partition, job.subscription_offset = entry.partition, entry.offset
            self._ready.append(task)
        else:
            self._complete(task, self._handler.unknown_subscription(task, now_ms))

    def _admit(self, task: DeliveryTask, endpoint: Endpoint, now_ms: int, *, waited: bool) -> bool:
        target = endpoint.target
        if isinstance(target, str):
            task.endpoint, task.started_ms = endpoint, now_ms
            if task.trace is not None:
                task.trace.start(task.job, endpoint.host, 0, now_ms)
            refused = TransportError("blocked_url", target)
            self._handle(task, refused, classify(refused, now_ms), 0, now_ms)
            return False
        admission = self._admission
        if waited:
            admission.start(endpoint, task, now_ms)
        elif not admission.admit(endpoint, task, now_ms):
            if not (self._may_wait(task) and admission.wait(task, now_ms)):
                self._defer(task, now_ms)
            return False
        task.endpoint, task.started_ms = endpoint, now_ms
        if self._client.start(build_request(task, endpoint, target, now_ms)):
            admission.suspend(task)  # the request waits for the name of its host
        return True

    def _may_wait(self, task: DeliveryTask) -> bool:
        """Whether a task may wait for its endpoint in memory.

        Half of the memory is reserved for other endpoints. In a partition only tasks that start soon may wait beyond
        the number at which a full partition is read again.
        """
        if self.bytes >= MAX_BUFFERED_BYTES // 2:
            return False
        if task.partition.progress.unfinished < ROOMY_UNFINISHED:
            return True
        return task.endpoint_state is not None and task.endpoint_state.starts_soon

    def _handle(
        self, task: DeliveryTask, response: ResponseOrError, classified: Classified, duration_us: int, now_ms: int
    ) -> None:
        self._complete(task, self._handler.handle(task, response, classified, duration_us, now_ms))

    def _defer(self, task: DeliveryTask, now_ms: int) -> None:
        """Write a job to the delay topic that admission control chooses; no attempt is used up."""
        reason, number = self._admission.defer(task, now_ms)
        self._move(task, self._delay_topics.all[number + 1])
        self._metrics.on_deferred(reason)

    def _defer_for_default(self, task: DeliveryTask, reason: str) -> None:
        """Write a job to the delay topic for deferrals about whose length nothing is known."""
        self._move(task, self._delay_topics.deferral)
        self._metrics.on_deferred(reason)

    def _move(self, task: DeliveryTask, delay_topic: DelayTopic) -> None:
        self.moves += 1
        self._complete(task, (self._recorder.moved(task, delay_topic),))

    def _on_unreadable(
        self, partition: PartitionState, message: Message, offset: int, error: UnreadableRecord, now_ms: int
    ) -> None:
        self._outbox.complete(partition, offset, (self._recorder.unreadable(message, error, now_ms),))
        self._metrics.on_unreadable(error.reason)
        place = {"topic": partition.topic, "partition": partition.number, "offset": offset}
        # Without the detail, which may quote the record. The dead letter has it.
        _log.warning("record.dead_lettered", reason=error.reason, **place)

    def _complete(self, task: DeliveryTask, records: Sequence[OutgoingRecord]) -> None:
        """End a task with the records of its result."""
        self._outbox.complete(task.partition, task.offset, records)
        self._forget(task)

    def _forget(self, task: DeliveryTask) -> None:
        """Stop counting the memory of a task that has ended, or that belongs to another process now."""
        self.bytes -= len(task.value)


def _is_lost(task: AdmittedTask) -> bool:
    return isinstance(task, DeliveryTask) and task.partition.is_lost
