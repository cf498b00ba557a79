"""What is kept of one subscription's endpoint, and what its answers do to it. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, Generic

from consumers.delivery.pacing.backlog import SOON_S, Backlog
from consumers.delivery.pacing.circuit import Circuit, State, away_for_ms
from consumers.delivery.pacing.kinds import ANSWERS, DELIVERED, Reason, Result
from consumers.delivery.pacing.limit import Limit
from consumers.delivery.pacing.parties import Subscriber, T
from consumers.delivery.pacing.places import QUICK, Pacer
from consumers.delivery.pacing.rate import Rate

STUCK_AFTER_MS: Final = 1_000
_SLOW_US: Final = STUCK_AFTER_MS * 1_000
# Who has not answered within so long since its first request may never do.
_UNKNOWN_MS: Final = 200
# Waits in memory: what the endpoint takes in so long, within these bounds (the last while nothing is known of it).
_ROOM_S, _ROOM, _LEAST_ROOM, _ROOM_AT_FIRST = 20, 1_000, 64, 256
_OURS: Final = Reason.PROCESS
_PLACES: Final = (Reason.HOST, _OURS)


class Host(Generic[T]):
    """What the subscriptions of a host share in this process."""

    __slots__ = ("blocked", "in_flight", "most", "name", "paces", "slow")

    def __init__(self, name: str, most: int) -> None:
        self.name = name
        self.most = most  # requests at a time
        self.in_flight = 0
        self.slow = 0  # of those: started as slow or new
        self.paces = 0
        self.blocked: deque[Pace[T]] = deque()  # in turn for a place

    def lets(self, pacer: Pacer) -> bool:
        """Tell whether another request may start: half of the places are not for slow ones."""
        return self.in_flight < self.most and (pacer is QUICK or self.slow < max(1, self.most // 2))


class Pace(Generic[T]):
    """Of one subscription; times are in ms."""

    __slots__ = (
        "answered_ms",
        "backlog",
        "circuit",
        "counts_as",
        "failing_since_ms",
        "free",
        "host",
        "id",
        "in_flight",
        "last_answer",
        "limit",
        "limited_by",
        "moved_ms",
        "overdue",
        "pacer",
        "probe",
        "queued",
        "rate",
        "soon",
        "stood",
        "waiting",
        "who",
    )

    def __init__(self, who: Subscriber, host: Host[T], most: int, longest_wait_ms: int, now_ms: int) -> None:
        self.id = who.subscription_id
        self.circuit = Circuit(longest_wait_ms)
        self.limit = Limit(most)
        self.rate: Rate | None = None
        self.backlog: Backlog | None = None  # while more comes than goes
        self.waiting: deque[T] = deque()
        self.in_flight = 0
        self.probe: T | None = None
        self.pacer = self.counts_as = Pacer.NEW
        self.answered_ms = 0  # when the last answer came
        self.overdue = 0  # requests that were quick, and are open for too long
        self.moved_ms = now_ms  # when the last request ended, or the first of them began
        self.stood = 0  # so many of its open requests took as long as this process stood still
        self.queued = False  # in a queue of those with something waiting
        self.free = True  # neither circuit nor rate is to be asked
        self.limited_by: Reason | None = None  # what kept a job from starting last
        self.soon = 0  # so many of those that wait will have started in a moment
        self.failing_since_ms: int | None = None
        self.last_answer = ""  # what the last one was, if no delivery: status_503, refused
        self.host = host
        self.adopt(who, most)

    def adopt(self, who: Subscriber, most: int) -> None:
        """Take the limits of the subscription as it is now."""
        self.who = who
        if self.limit.most != most:
            self.limit.bound(most)
        per_second = who.rate_limit
        if per_second is None:
            self.rate = None
        elif self.rate is None or self.rate.per_second != per_second:
            self.rate = Rate(per_second)
        self._set_free()

    @property
    def is_idle(self) -> bool:
        """Whether nothing of it is at hand."""
        return self.in_flight == 0 and not self.waiting

    @property
    def closed_by(self) -> Reason | None:
        """Why the endpoint is left alone."""
        if self.circuit.is_closed:
            return None
        return Reason.TOLD_TO_WAIT if self.circuit.state is State.TOLD_TO_WAIT else Reason.FAILING

    def pacer_now(self, proven_ms: int) -> Pacer:
        """Find what its next request counts as; nothing is known of a quick one that answered before `proven_ms`."""
        pacer = self.pacer
        if pacer is QUICK:
            if self.overdue:
                pacer = Pacer.OVERDUE
            elif self.answered_ms < proven_ms:
                pacer = Pacer.NEW if self.in_flight else Pacer.IDLE
        elif proven_ms and not self.in_flight and pacer is Pacer.NEW:
            pacer = Pacer.UNPROVEN
        self.counts_as = pacer
        return pacer

    def is_stuck(self, now_ms: int) -> bool:
        """Whether requests are open, and none has ended for a second, or for twice the time that it usually takes."""
        passed_ms = now_ms - self.moved_ms
        return passed_ms >= STUCK_AFTER_MS and self.in_flight > 0 and passed_ms >= self.limit.mean_us // 500

    def recount(self, now_ms: int) -> int:
        """See again how many jobs start soon, none where nothing has moved for a second; return how many more."""
        waiting, before = len(self.waiting), self.soon
        self.soon = self.soon_of(self.backlog, now_ms)
        return min(waiting, self.soon) - min(waiting, before)

    def soon_of(self, backlog: Backlog | None, now_ms: int) -> int:
        """Return how many of its jobs will have started in a moment: of who has not answered yet, for a moment only."""
        if backlog is None or self.lacks_place:
            return 0
        if self.may_answer_yet(now_ms):
            return _ROOM
        if not self.limit.mean_us or now_ms - self.moved_ms >= STUCK_AFTER_MS:
            return 0
        # Who waits for a place of the process got less than it could take: that is for us to mend, not for a tier.
        return max(backlog.soon, int(self._could_per_second() * SOON_S)) if self.limited_by is _OURS else backlog.soon

    def may_answer_yet(self, now_ms: int) -> bool:
        """Whether its first answer may come at any moment; one that only says 429 or 503 is measured by none."""
        return not self.answered_ms and self.failing_since_ms is None and now_ms - self.moved_ms < _UNKNOWN_MS

    @property
    def lacks_place(self) -> bool:
        """Whether it waits for one of the places that slow and new endpoints share: nobody knows for how long."""
        return self.counts_as is not QUICK and self.limited_by in _PLACES

    def closed_for_ms(self, now_ms: int) -> int:
        """Return for how long nothing is likely to start."""
        if not self.circuit.is_closed:
            return self.circuit.park_for_ms(now_ms)
        return away_for_ms(now_ms - self.moved_ms) if self.is_stuck(now_ms) else 0

    def room(self, now_ms: int) -> int:
        """Return how many jobs may wait in memory."""
        if self.backlog is None or not self.limit.mean_us:
            return _ROOM if self.may_answer_yet(now_ms) else _ROOM_AT_FIRST
        return min(_ROOM, max(self.limit.most, _LEAST_ROOM, int(self.backlog.per_second * _ROOM_S)))

    @property
    def starts_soon(self) -> bool:
        """Whether what waits has started within a second or so."""
        if self.lacks_place:
            return False
        if self.backlog is None or not self.waiting:
            return True
        a_second = max(self.backlog.per_second, self.backlog.soon, self._could_per_second())
        return bool(self.soon or self.limit.mean_us) and len(self.waiting) <= a_second

    def backed_up(self, waits_ms: Sequence[int], now_ms: int) -> Backlog:
        """Return the backlog; it is measured from the first job on that could not start at once."""
        if self.backlog is None:
            self.backlog = Backlog(waits_ms, self._likely_per_second(), now_ms)
        return self.backlog

    def begins(self, job: T, now_ms: int) -> None:
        """Count a request that begins."""
        if not self.in_flight:
            self.moved_ms = now_ms
        self.in_flight += 1
        if not self.free:
            if not self.circuit.is_closed:
                self.circuit.probes()
                self.probe = job
            if self.rate is not None:
                self.rate.begin(now_ms)

    def ended(self, job: T, result: Result, took_us: int, now_ms: int, said: str) -> None:
        """Take in how a request ended; `said` names what was no delivery."""
        self.in_flight -= 1
        self.moved_ms = now_ms
        if self.stood:
            self.stood, took_us = self.stood - 1, 0
        if result is DELIVERED and self.free:
            limit = self.limit
            limit.answered(took_us)
            self.answered_ms = now_ms
            self.circuit.failures = 0
            self.failing_since_ms = None
            self.pacer = QUICK if limit.mean_us <= _SLOW_US else Pacer.SLOW
        else:
            if result is not Result.NOTHING:
                self.last_answer = said
            self._ended_otherwise(job, result, took_us, now_ms)
        if self.backlog is not None and self.circuit.is_closed and result in ANSWERS:  # what the endpoint took
            busy = bool(self.waiting) and not self.limit.is_restarting
            if not self.backlog.ended(now_ms, busy=busy):
                self.backlog.expect(self._likely_per_second())

    def stood_still(self, now_ms: int) -> None:
        """Take in that this process stood still: what passed meanwhile says nothing of the endpoint."""
        self.stood, self.moved_ms = self.in_flight, now_ms
        if self.backlog is not None:
            self.backlog.restart(self._likely_per_second(), now_ms)

    def told_to_wait(self, until_ms: int, now_ms: int) -> None:
        """Take in a Retry-After."""
        self.circuit.told_to_wait(until_ms, now_ms)
        self._set_free()

    def _ended_otherwise(self, job: T, result: Result, took_us: int, now_ms: int) -> None:
        probe = self.probe is job and not self.circuit.is_closed
        if self.probe is job:
            self.probe = None
        if result is Result.NOTHING:
            if probe:  # it told nothing: the next one may
                self.circuit.reopens_ms = now_ms
            return
        if result is Result.DELIVERED:
            self.failing_since_ms = None
        elif self.failing_since_ms is None:
            self.failing_since_ms = now_ms
        if result is Result.TIMEOUT or result is Result.UNREACHABLE:
            self.circuit.failed(now_ms, probe=probe)
            if result is Result.TIMEOUT:
                self.limit.overloaded()
                self.pacer = Pacer.SLOW
        else:
            self._answered(result, took_us, now_ms, probe=probe)
        self._set_free()

    def _answered(self, result: Result, took_us: int, now_ms: int, *, probe: bool) -> None:
        overloaded = result is Result.OVERLOADED
        self.answered_ms = now_ms
        if self.circuit.answered(now_ms, probe=probe, overloaded=overloaded):
            self.probe = None  # whatever becomes of it says nothing of the next outage
            self.limit.restart()
            if self.backlog is not None:
                self.backlog.restart(self._likely_per_second(), now_ms)
        if overloaded:
            self.limit.overloaded()
        else:
            self.limit.answered(took_us)
            self.pacer = Pacer.QUICK if self.limit.mean_us <= _SLOW_US else Pacer.SLOW

    def _likely_per_second(self) -> float:
        """Return what the endpoint takes by its limit and its time to an answer."""
        a_second = self.limit.most * 1_000_000 / (self.limit.mean_us or 1_000_000)
        return a_second if self.rate is None else min(a_second, self.rate.per_second)

    def _could_per_second(self) -> float:
        """Return what it takes a second with the places that it finds, however few jobs it gets; 0: nobody knows.

        What was measured is less where this process, or the way in which it reads partitions, is what is slow.
        """
        mean_us, places = self.limit.mean_us, float(self.limit.value)
        if not mean_us:
            return 0
        if self.limited_by is Reason.HOST:
            places = min(places, self.host.most / self.host.paces)
        a_second = places * 1_000_000 / mean_us
        return a_second if self.rate is None else min(a_second, self.rate.per_second)

    def _set_free(self) -> None:
        self.free = self.rate is None and self.circuit.is_closed
