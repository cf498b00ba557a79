"""From a job that was read to its end: when it may start, how, and what its answer means.

    record ─► ready ─► start ─► transport ─► judge ─► outbox
                │        └─► waits in memory (admission control), is deferred, moved or cancelled
                └─► later (due within the shortest tier, or its subscription record is not read yet)

No Kafka here: the loop reads and commits.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, assert_never

from confluent_kafka import Message

from consumers.delivery.admission import DELIVERED, AdmissionControl, AdmittedTask, ResponseKind
from consumers.delivery.answer import CROWDED, WITHDRAWN, Answer, Answered, Request, Unanswered
from consumers.delivery.endpoint import Endpoint
from consumers.delivery.health import HealthBook
from consumers.delivery.judging import Judging, Observer, Subscriptions
from consumers.delivery.lane import Lane, Ownership
from consumers.delivery.recorder import CancelReason, Recorder
from consumers.delivery.sending import Sending, label_of, result_of
from consumers.delivery.tiers import Tier, Tiers
from consumers.delivery.transport import Transport
from consumers.delivery.work import Work
from consumers.table_state import Entry, Gone, NotYet, Unusable
from schemas.delivery import Job, JobCodec
from schemas.errors import UnreadableRecord

# A job whose subscription record is not read yet is looked at again so much later.
_LOOK_AGAIN_MS: Final = 20
# A wait may end so much later than it has to, if that saves the steps of shorter tiers.
_LATE_MS: Final = 1_000
# A table that is fresh, partitions that are ours: that was asked before the first start and holds for so long.
_STARTS_MS: Final = 25
# Of a partition, so many jobs may wait in memory: what is unfinished of it is bounded (progress.py), and others need
# the rest. For endpoints that soon have theirs all of it: then the partition is read no further for a moment.
_MAY_WAIT_OF_LANE: Final = 1_000
# Records at hand, each of which is in memory twice, as it was read and as a body.
MAX_BYTES_AT_HAND: Final = 32 * 1024 * 1024


class Dispatcher:
    """Jobs at hand, by what they wait for."""

    def __init__(
        self,
        *,
        subscriptions: Subscriptions,
        transport: Transport,
        recorder: Recorder,
        tiers: Tiers,
        admission: AdmissionControl,
        sending: Sending,
        health: HealthBook,
        observer: Observer,
        is_fresh: Callable[[], bool],
        clock: Callable[[], int],
    ) -> None:
        self._subscriptions = subscriptions
        self._transport = transport
        self._recorder = recorder
        self._tiers = tiers
        self._admission = admission
        self._sending = sending
        self._health = health
        self._observer = observer
        self._is_fresh = is_fresh
        self._clock = clock  # Unix ms
        self._decode = JobCodec().decode
        self._ready: deque[Work] = deque()
        self._later: list[tuple[int, int, Work]] = []
        self._number = 0
        self._judging = Judging(
            subscriptions=subscriptions,
            recorder=recorder,
            sending=sending,
            admission=admission,
            health=health,
            observer=observer,
            longest_ms=tiers.waits_ms[-1],
        )
        self.bytes = 0  # of the records at hand, bodies included
        self.may_start = False  # as the loop said last: asked for what waited (`confirms`), which no `start` lets go on
        self.moves = 0  # jobs that were written to another tier as they are, since the start

    @property
    def at_hand(self) -> int:
        """How many jobs will start in a moment; those of endpoints that are full do not count."""
        return len(self._ready) + self._admission.backpressure

    @property
    def soon(self) -> int:
        """How many jobs will start within a second."""
        return len(self._ready) + self._admission.soon

    def has_startable(self, now_ms: int) -> bool:
        """Whether `start` has anything to do."""
        due_ms = self.next_due_ms
        return bool(self._ready or self._admission.has_startable) or (due_ms is not None and due_ms <= now_ms)

    @property
    def next_due_ms(self) -> int | None:
        """When the next of the jobs that wait in memory is due."""
        start_ms = self._admission.next_start_ms
        if self._later and (start_ms is None or self._later[0][0] < start_ms):
            return self._later[0][0]
        return start_ms

    def take(self, lane: Lane, message: Message, now_ms: int) -> None:
        """Take a record that was read and is not finished."""
        offset, value = message.offset(), message.value()
        assert offset is not None
        try:
            job = self._decode(value)
        except UnreadableRecord as error:
            self._recorder.poison(lane, message, error, now_ms)
            self._observer.poison(error.reason)
            return
        assert isinstance(value, bytes)
        work = Work(job, lane, offset, value)
        self.bytes += len(value)
        if lane.tier.wait_ms and (number := self._tiers.number_of(lane.tier)):
            self._admission.on_deferred_record(job.subscription_id, number - 1)
        if job.due_at_ms > now_ms:
            self._not_due(work, job.due_at_ms - now_ms)
        else:
            self._ready.append(work)

    def start(self, room: int, now_ms: int) -> None:
        """Start up to `room` requests while what was asked before holds: one that waited, one just read, in turn."""
        while self._later and self._later[0][0] <= now_ms:
            self._ready.append(heapq.heappop(self._later)[2])
        ready, admission = self._ready, self._admission
        admission.advance(now_ms)
        while room > 0 and self._clock() - now_ms <= _STARTS_MS:
            work = admission.next_waiting(now_ms)
            if work is not None:
                assert isinstance(work, Work)
                room -= self._consider(work, now_ms, waited=True)
                if not ready:
                    continue
            elif not ready:
                return
            room -= self._consider(ready.popleft(), now_ms, waited=False)

    def answered(self, answers: Iterable[Answered], now_ms: int) -> None:
        """Judge answers and record what follows."""
        for answered in answers:
            work, answer = answered.request.context, answered.answer
            assert isinstance(work, Work)
            result = result_of(answer)
            label = "" if result is DELIVERED else label_of(answer)
            self._admission.completed(work, result, answered.duration_us, now_ms, label)
            if work.lane.is_lost:
                self.bytes -= len(work.value)
            elif answer is WITHDRAWN:
                self._ready.appendleft(work)
            elif answer is CROWDED:
                self._park_blindly(work, "resolver_queue_full")
            else:
                self._judge(work, answer, answered.duration_us, now_ms)

    def confirms(self, request: Request) -> bool:
        """Tell whether a request that waited, for a name or long for a connection, may be sent: nothing has changed."""
        work = request.context
        assert isinstance(work, Work)
        if not self.may_start or work.lane.ownership is not Ownership.OURS:
            return False
        job = work.job
        found = self._subscriptions.lookup(job.subscription_id, job.subscription_partition, job.subscription_offset)
        if not (isinstance(found, Entry) and found.value is work.endpoint and self._is_fresh()):
            return False
        disabled = self._health.is_disabled(job.subscription_id, found.value.activation)
        return not disabled and (work.permit is not None or self._admission.resume(work, self._clock()))

    def park_stuck(self, now_ms: int) -> None:
        """Park what waits for endpoints that do not answer."""
        for work in self._admission.sweep(now_ms):
            assert isinstance(work, Work)
            self._park(work, now_ms)

    def drop_lost(self, now_ms: int) -> None:
        """Forget the jobs of lanes that are lost, and close their requests."""
        at_hand = [*self._ready, *(item[2] for item in self._later)]
        lost = [*(work for work in at_hand if work.lane.is_lost), *self._admission.drop(_is_lost_task)]
        for task in lost:
            assert isinstance(task, Work)
            self.bytes -= len(task.value)
        self._ready = deque(work for work in self._ready if not work.lane.is_lost)
        self._later = [item for item in self._later if not item[2].lane.is_lost]
        heapq.heapify(self._later)
        for work in (request.context for request in self._transport.cancel(_is_lost)):
            assert isinstance(work, Work)
            self._admission.completed(work, ResponseKind.UNRELATED, 0, now_ms)
            self.bytes -= len(work.value)

    def stood_still(self, now_ms: int) -> None:
        """Take in that this process stalled."""
        self._admission.on_stall(now_ms)

    def _not_due(self, work: Work, remaining_ms: int) -> None:
        tier = self._tiers.fit(remaining_ms, min(_LATE_MS, remaining_ms // 50))
        if tier is None:
            self._keep(work, work.job.due_at_ms)
        else:
            self._move(work, tier)

    def _move(self, work: Work, tier: Tier) -> None:
        self._recorder.move(work, tier)
        self.moves += 1
        self.bytes -= len(work.value)

    def _park(self, work: Work, now_ms: int) -> None:
        reason, delay_topic = self._admission.defer(work, now_ms)
        self._move(work, self._tiers.all[delay_topic + 1])
        self._observer.deferred(reason)

    def _park_blindly(self, work: Work, reason: str) -> None:
        self._move(work, self._tiers.parking)
        self._observer.deferred(reason)

    def _cancel(self, work: Work, reason: CancelReason, host: str, now_ms: int) -> None:
        self._judging.cancel(work, reason, host, now_ms)
        self.bytes -= len(work.value)

    def _keep(self, work: Work, until_ms: int) -> None:
        self._number += 1
        heapq.heappush(self._later, (until_ms, self._number, work))

    def _consider(self, work: Work, now_ms: int, *, waited: bool) -> bool:
        """Start a job, or see what else becomes of it; True: it was started."""
        job = work.job
        found = self._subscriptions.lookup(job.subscription_id, job.subscription_partition, job.subscription_offset)
        if isinstance(found, Entry):
            endpoint = found.value
            reason = self._reason_to_cancel(job, endpoint)
            if reason is None:
                return self._admit(work, endpoint, now_ms, waited=waited)
            self._cancel(work, reason, endpoint.host, now_ms)
        elif isinstance(found, Gone):
            self._cancel(work, "deleted", "", now_ms)
        elif isinstance(found, NotYet):
            self._await_record(work, now_ms)
        elif isinstance(found, Unusable):
            self._park_blindly(work, "unusable_subscription")
        else:
            assert_never(found)
        return False

    def _await_record(self, work: Work, now_ms: int) -> None:
        """Look again for the record that a job matched, until all has been read that there is."""
        job, subscriptions = work.job, self._subscriptions
        if work.mark is None:
            work.mark = subscriptions.mark()
        if not subscriptions.passed_since(work.mark):
            self._keep(work, now_ms + _LOOK_AGAIN_MS)
        elif entry := subscriptions.get(job.subscription_id):  # its topic was made anew
            job.subscription_partition, job.subscription_offset = entry.partition, entry.offset
            self._ready.append(work)
        else:
            self._judging.unknown(work, now_ms)
            self.bytes -= len(work.value)

    def _reason_to_cancel(self, job: Job, endpoint: Endpoint) -> CancelReason | None:
        if endpoint.paused:
            return "paused"
        if job.activation < endpoint.activation:
            return "reactivated"
        health = self._health
        return "disabled" if health.known and health.is_disabled(job.subscription_id, endpoint.activation) else None

    def _admit(self, work: Work, endpoint: Endpoint, now_ms: int, *, waited: bool) -> bool:
        target = endpoint.target
        if isinstance(target, str):
            work.endpoint, work.started_ms = endpoint, now_ms
            self._judge(work, Unanswered("blocked_url", target), 0, now_ms)
            return False
        admission = self._admission
        if waited:
            admission.start(endpoint, work, now_ms)
        elif not admission.admit(endpoint, work, now_ms):
            if not (self._may_wait(work) and admission.wait(work, now_ms)):
                self._park(work, now_ms)
            return False
        work.endpoint, work.started_ms = endpoint, now_ms
        if self._transport.start(self._sending.request(work, endpoint, target, now_ms)):
            admission.suspend(work)  # until its host is known
        return True

    def _may_wait(self, work: Work) -> bool:
        """Whether there is room in memory: half of it, and of what may be unfinished, is for other endpoints."""
        if self.bytes >= MAX_BYTES_AT_HAND // 2:
            return False
        if work.lane.progress.unfinished < _MAY_WAIT_OF_LANE:
            return True
        return work.endpoint_state is not None and work.endpoint_state.starts_soon

    def _judge(self, work: Work, answer: Answer, duration_us: int, now_ms: int) -> None:
        self._judging.judge(work, answer, duration_us, now_ms)
        self.bytes -= len(work.value)


def _is_lost(request: Request) -> bool:
    work = request.context
    return isinstance(work, Work) and work.lane.is_lost


def _is_lost_task(task: AdmittedTask) -> bool:
    return isinstance(task, Work) and task.lane.is_lost
