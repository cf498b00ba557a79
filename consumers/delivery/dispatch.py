"""From a job that was read to its end: when it may start, how, and what its answer means.

    record ─► ready ─► start ─► transport ─► judge ─► outbox
                │        └─► waits for its subscription (pacing), is parked, moved or cancelled
                └─► later (due within the shortest tier, or its subscription record is not read yet)

No Kafka here: the loop reads and commits.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol, assert_never

from confluent_kafka import Message

from consumers.delivery.answer import CROWDED, WITHDRAWN, Answer, Answered, Request, Unanswered
from consumers.delivery.endpoint import Endpoint
from consumers.delivery.lane import Lane
from consumers.delivery.pacing import Admission, Pacing
from consumers.delivery.recorder import CancelReason, Recorder
from consumers.delivery.tiers import Schedule, Tier, Tiers
from consumers.delivery.transport import Transport
from consumers.delivery.verdict import judge
from consumers.delivery.work import Work
from consumers.table_state import Entry, Gone, Lookup, NotYet, Unusable
from schemas.delivery import JobCodec, Outcome
from schemas.durations import milliseconds
from schemas.errors import UnreadableRecord
from schemas.sender import Sender

# A job whose subscription record is not read yet is looked at again so much later.
_LOOK_AGAIN_MS: Final = 20
# Records at hand, each of which is in memory twice, as it was read and as a body.
MAX_BYTES_AT_HAND: Final = 32 * 1024 * 1024


class Subscriptions(Protocol):
    """What is known of subscriptions (consumers.table)."""

    def lookup(self, id_: str, partition: int, offset: int) -> Lookup[Endpoint]:
        """Return what counts for a subscription."""
        ...


class Observer(Protocol):
    """Who wants to know what happened: metrics and log."""

    def ended(self, outcome: Outcome) -> None:
        """Hear of an attempt, or of a job that was cancelled."""
        ...

    def parked(self, reason: str) -> None:
        """Hear of a job that was written to the parking tier."""
        ...

    def poison(self, reason: str) -> None:
        """Hear of a record that could not be read."""
        ...


@dataclass(slots=True)
class _Rules:
    """What a sender says about attempts."""

    schedule: Schedule
    timeout_ms: int


class Dispatcher:
    """Jobs at hand, by what they wait for."""

    def __init__(
        self,
        *,
        subscriptions: Subscriptions,
        transport: Transport,
        recorder: Recorder,
        tiers: Tiers,
        pacing: Pacing[Work],
        speedup: float,
        observer: Observer,
        is_fresh: Callable[[], bool],
    ) -> None:
        self._subscriptions = subscriptions
        self._transport = transport
        self._recorder = recorder
        self._tiers = tiers
        self._pacing = pacing
        self._speedup = speedup
        self._observer = observer
        self._is_fresh = is_fresh
        self._decode = JobCodec().decode
        self._ready: deque[Work] = deque()
        self._later: list[tuple[int, int, Work]] = []
        self._number = 0
        self._rules: dict[str, _Rules] = {}
        self.bytes = 0  # of the records at hand, bodies included

    @property
    def at_hand(self) -> int:
        """How many jobs wait for a free place of the process or of their subscription."""
        return len(self._ready) + self._pacing.waiting

    def has_startable(self, now_ms: int) -> bool:
        """Whether `start` has anything to do."""
        if self._ready or self._pacing.has_waiting:
            return True
        return bool(self._later) and self._later[0][0] <= now_ms

    @property
    def next_due_ms(self) -> int | None:
        """When the next of the jobs that wait in memory is due."""
        return self._later[0][0] if self._later else None

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
        if job.due_at_ms > now_ms:
            self._not_due(work, job.due_at_ms - now_ms)
        else:
            self._ready.append(work)

    def start(self, room: int, now_ms: int) -> None:
        """Start up to `room` requests."""
        while self._later and self._later[0][0] <= now_ms:
            self._ready.append(heapq.heappop(self._later)[2])
        ready, pacing = self._ready, self._pacing
        while room > 0:
            work = pacing.next_waiting()
            if work is not None:
                if self._consider(work, now_ms, waited=True):
                    room -= 1
            elif ready:
                if self._consider(ready.popleft(), now_ms, waited=False):
                    room -= 1
            else:
                return

    def answered(self, answers: Iterable[Answered], now_ms: int) -> None:
        """Judge answers and record what follows."""
        for answered in answers:
            work = answered.request.context
            assert isinstance(work, Work)
            self._pacing.done(work.job.subscription_id, answered.duration_us, now_ms)
            if answered.answer is WITHDRAWN and not work.lane.is_lost:
                self._ready.appendleft(work)
            elif answered.answer is CROWDED and not work.lane.is_lost:
                self._park(work, "names")
            elif not work.lane.is_lost:
                self._judge(work, answered.answer, answered.duration_us, now_ms)
            else:
                self.bytes -= len(work.value)

    def confirms(self, request: Request) -> bool:
        """Tell whether a request that waited for its host's name may still be sent: nothing has changed meanwhile."""
        work = request.context
        assert isinstance(work, Work)
        job = work.job
        found = self._subscriptions.lookup(job.subscription_id, job.subscription_partition, job.subscription_offset)
        return self._is_fresh() and isinstance(found, Entry) and found.value is work.endpoint

    def park_stuck(self, now_ms: int) -> None:
        """Park what waits for endpoints that do not answer."""
        if self._pacing.waiting:
            for work in self._pacing.take_stuck(now_ms):
                self._park(work, "no_answer")

    def drop_lost(self, now_ms: int) -> None:
        """Forget the jobs of lanes that are lost, and close their requests."""
        lost = [work for work in self._ready if work.lane.is_lost]
        lost += [item[2] for item in self._later if item[2].lane.is_lost]
        lost += self._pacing.drop(lambda work: work.lane.is_lost)
        self.bytes -= sum(len(work.value) for work in lost)
        self._ready = deque(work for work in self._ready if not work.lane.is_lost)
        self._later = [item for item in self._later if not item[2].lane.is_lost]
        heapq.heapify(self._later)
        for request in self._transport.cancel(_is_lost):
            work = request.context
            assert isinstance(work, Work)
            self._pacing.done(work.job.subscription_id, 0, now_ms)
            self.bytes -= len(work.value)

    def _not_due(self, work: Work, remaining_ms: int) -> None:
        tier = self._tiers.fit(remaining_ms)
        if tier is None:
            self._keep(work, work.job.due_at_ms)
        else:
            self._move(work, tier)

    def _move(self, work: Work, tier: Tier) -> None:
        self._recorder.move(work, tier)
        self.bytes -= len(work.value)

    def _park(self, work: Work, reason: str) -> None:
        self._move(work, self._tiers.parking)
        self._observer.parked(reason)

    def _cancel(self, work: Work, reason: CancelReason, host: str, now_ms: int) -> None:
        self._observer.ended(self._recorder.cancel(work, reason, host, now_ms))
        self.bytes -= len(work.value)

    def _keep(self, work: Work, until_ms: int) -> None:
        self._number += 1
        heapq.heappush(self._later, (until_ms, self._number, work))

    def _consider(self, work: Work, now_ms: int, *, waited: bool) -> bool:
        """Start a job, or see what else becomes of it; True: it was started."""
        job = work.job
        found = self._subscriptions.lookup(job.subscription_id, job.subscription_partition, job.subscription_offset)
        match found:
            case Entry(value=endpoint):
                if not endpoint.paused and job.activation >= endpoint.activation:
                    return self._admit(work, endpoint, now_ms, waited=waited)
                reason: CancelReason = "paused" if endpoint.paused else "reactivated"
                self._cancel(work, reason, endpoint.host, now_ms)
            case Gone():
                self._cancel(work, "deleted", "", now_ms)
            case NotYet():
                self._keep(work, now_ms + _LOOK_AGAIN_MS)
            case Unusable():
                self._park(work, "unusable_subscription")
            case _:
                assert_never(found)
        if waited:
            self._pacing.skip(job.subscription_id)
        return False

    def _admit(self, work: Work, endpoint: Endpoint, now_ms: int, *, waited: bool) -> bool:
        if waited:
            self._pacing.retake(endpoint.subscription_id)
        else:
            may_wait = self.bytes < MAX_BYTES_AT_HAND // 2  # the other half is for other endpoints
            match self._pacing.admit(endpoint.subscription_id, work, now_ms, may_wait=may_wait):
                case Admission.WAIT:
                    return False
                case Admission.PARK:
                    self._park(work, "in_flight_limit")
                    return False
        work.endpoint = endpoint
        work.started_ms = now_ms
        if isinstance(endpoint.target, str):
            self._pacing.done(endpoint.subscription_id, 0, now_ms)
            self._judge(work, Unanswered("blocked_url", endpoint.target), 0, now_ms)
            return False
        job = work.job
        headers = endpoint.sender.headers(job, job.body, endpoint.keys_at(now_ms), now_ms // 1_000)
        timeout_ms = self._rules_of(endpoint.sender).timeout_ms
        identity = endpoint.client_certificate
        self._transport.start(Request(endpoint.target, headers, job.body, timeout_ms, work, identity))
        return True

    def _judge(self, work: Work, answer: Answer, duration_us: int, now_ms: int) -> None:
        assert work.endpoint is not None
        schedule = self._rules_of(work.endpoint.sender).schedule
        verdict = judge(work.job.attempt, answer, schedule, now_ms)
        self._observer.ended(self._recorder.attempt(work, answer, verdict, duration_us, now_ms))
        self.bytes -= len(work.value)

    def _rules_of(self, sender: Sender) -> _Rules:
        rules = self._rules.get(sender.name)
        if rules is None:
            schedule = Schedule.of(sender.schedule, self._speedup)
            rules = self._rules[sender.name] = _Rules(schedule, milliseconds(sender.timeout))
        return rules


def _is_lost(request: Request) -> bool:
    work = request.context
    return isinstance(work, Work) and work.lane.is_lost
