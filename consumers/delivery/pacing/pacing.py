"""Which job starts, waits in memory, or is parked; over all subscriptions of a process. Pure.

    admit ──► runs ──────────────────────────────► ended
      └─► wait ──► next_waiting ──► begin ──► runs ──► ended
            └─► park: in which tier, and why

Whoever waits for a place of the process or of a host is in a queue for it, and gets one in turn.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Generic

from consumers.delivery.pacing.kinds import Reason, Result
from consumers.delivery.pacing.pace import Pace
from consumers.delivery.pacing.parties import Subscriber, T
from consumers.delivery.pacing.places import PROMPT, Places
from consumers.delivery.pacing.registry import PacingLimits, Registry
from consumers.delivery.pacing.waiters import Waiters

# With so many waiting in memory nothing more is read while they start soon; with twice as many each has the least room.
_MANY: Final = 2_048
_LEAST_ROOM: Final = 64
# With so many of those starting in 0.1 s, they are better awaited than parked: nothing more is read.
_SOON: Final = 64
_IN_FLIGHT, _HOST = Reason.IN_FLIGHT, Reason.HOST  # of each job: see places.QUICK


class Pacing(Generic[T]):
    """All paces of a process; `waits_ms` are the delays of the tiers for parked jobs, ascending. Times are in ms."""

    def __init__(self, limits: PacingLimits, waits_ms: Sequence[int]) -> None:
        self._waits_ms = waits_ms
        self._registry = Registry[T](limits)
        self._paces, self.stood_still = self._registry.paces, self._registry.stood_still
        self.told_to_wait = self._registry.told_to_wait
        self.places = Places[T](limits.per_process)
        self._runnable: deque[Pace[T]] = deque()  # with something waiting, and perhaps a place
        self._for_quick: deque[Pace[T]] = deque()  # waiting for a place of the process
        self._for_slow: deque[Pace[T]] = deque()  # waiting for one that slow endpoints may hold
        self._timed: list[tuple[int, int, Pace[T]]] = []  # waiting for their rate
        self._waiters = Waiters[T]()
        self._number = self._swept_ms = 0
        self.waiting = self.soon = 0  # jobs; those of them that will have started in a moment

    @property
    def paces(self) -> Iterable[Pace[T]]:
        """Everything that is known of endpoints."""
        return self._paces.values()

    @property
    def has_waiting(self) -> bool:
        """Whether `next_waiting` may give something, now or as soon as `advance` finds requests overdue."""
        return self.waiting > 0 and bool(self._runnable or self._for_quick)

    @property
    def pressing(self) -> int:
        """How many of those that wait are reason not to read on: not those of a few endpoints that are full."""
        return self.waiting if self.waiting >= _MANY and self.soon >= _SOON else self.soon

    @property
    def next_ms(self) -> int | None:
        """When the rate of a subscription lets its next waiting job start."""
        return self._timed[0][0] if self._timed else None

    def advance(self, now_ms: int) -> None:
        """Let time pass, before jobs are admitted."""
        if overdue := self.places.advance(now_ms):
            for job in overdue:
                job.pace.overdue += 1
            self._look_again(self._for_quick, self.places.free)

    def admit(self, who: Subscriber, job: T, now_ms: int) -> bool:
        """Start a job, and count it; False: it has to `wait` or to be parked."""
        pace = self._paces.get(who.subscription_id)
        if pace is None or pace.who is not who:
            pace = self._pace_of(who, now_ms)
        if not pace.waiting:
            reason = self._reason(pace, now_ms)
            if reason is None:
                self._begin(pace, job, now_ms)
                return True
            pace.limited_by = reason
        elif not pace.circuit.is_closed:
            pace.limited_by = pace.closed_by
        job.pace = pace
        return False

    def wait(self, job: T, now_ms: int) -> bool:
        """Keep a job that was not admitted in memory; False: it has to be parked."""
        pace: Pace[T] = job.pace
        if not pace.circuit.is_closed:
            return False
        if pace.is_stuck(now_ms):
            pace.limited_by = Reason.NO_ANSWER
            return False
        waiting = pace.waiting
        if len(waiting) >= _LEAST_ROOM and (self.waiting >= 2 * _MANY or len(waiting) >= pace.room(now_ms)):
            return False
        if not waiting:
            pace.soon = pace.soon_of(pace.backed_up(self._waits_ms, now_ms), now_ms)
            self._waiters[pace.id] = pace
            self._enqueue(pace, now_ms)
        waiting.append(job)
        self.waiting += 1
        self.soon += len(waiting) <= pace.soon
        return True

    def park(self, job: T, now_ms: int) -> tuple[str, int]:
        """Return why a job that may not wait is parked, and in which tier."""
        pace: Pace[T] = job.pace
        job.pace = None
        backlog = pace.backed_up(self._waits_ms, now_ms)
        tier = backlog.tier_for(len(pace.waiting), pace.closed_for_ms(now_ms), now_ms)
        backlog.put(tier, now_ms)
        return (pace.limited_by or Reason.IN_FLIGHT).value, tier

    def came_back(self, subscription: str, tier: int) -> None:
        """Note that a job was read from a tier."""
        pace = self._paces.get(subscription)
        if pace is not None and pace.backlog is not None:
            pace.backlog.came_back(tier)

    def next_waiting(self, now_ms: int) -> T | None:
        """Take the job that is next: there is a place for it, which `begin` takes."""
        while self._timed and self._timed[0][0] <= now_ms:
            self._wake(heapq.heappop(self._timed)[2])
        runnable = self._runnable
        while runnable:
            pace = runnable.popleft()
            pace.queued = False
            if not (waiting := pace.waiting):
                continue
            pace.limited_by = self._reason(pace, now_ms)
            if pace.limited_by is not None:
                self._enqueue(pace, now_ms)
                continue
            self.waiting -= 1
            self.soon -= len(waiting) <= pace.soon
            job = waiting.popleft()
            if waiting:
                pace.queued = True
                runnable.append(pace)
            else:
                self._waiters.pop(pace.id, None)
            return job
        return None

    def begin(self, who: Subscriber, job: T, now_ms: int) -> None:
        """Count a job that `next_waiting` gave as running."""
        pace = self._paces.get(who.subscription_id)
        if pace is None or pace.who is not who:
            pace = self._pace_of(who, now_ms)
        self._begin(pace, job, now_ms)

    def ended(self, job: T, result: Result, took_us: int, now_ms: int, said: str = "") -> None:
        """Give the places of an ended request back, and take in how it ended; `said` names what was no delivery."""
        pace: Pace[T] = job.pace
        if job.ticket is not None:
            self._give_back(pace, job)
        pace.ended(job, result, took_us, now_ms, said)
        if pace.waiting and not pace.queued:
            self._wake(pace)
        job.pace = None

    def suspend(self, job: T) -> None:
        """Give back all but the subscription's own place: the request waits for the name of its host."""
        self._give_back(job.pace, job)

    def resume(self, job: T, now_ms: int) -> bool:
        """Take the places again that `suspend` gave back; False: there are none now."""
        pace: Pace[T] = job.pace
        if pace.rate is not None:  # the ones that waited for the name together do not start together
            if pace.rate.ready_at(now_ms) > now_ms:
                return False
            pace.rate.begin(now_ms)
        pacer = pace.pacer_now(self.places.proven_ms)
        if not (pace.host.lets(pacer) and self.places.lets(pacer)):
            return False
        self._take(pace, job)
        return True

    def sweep(self, now_ms: int) -> list[T]:
        """Take what waits for endpoints that do not answer: it is to be parked. Look again at who waits for places."""
        taken: list[T] = []
        for pace in self._waiters.next():
            if pace.is_stuck(now_ms) or not pace.circuit.is_closed:
                pace.limited_by = pace.closed_by or Reason.NO_ANSWER
                taken += self._empty(pace, lambda _job: True)
            else:
                self.soon += pace.recount(now_ms)
            self._look_again(pace.host.blocked, pace.host.most - pace.host.in_flight)
        self._look_again(self._for_quick, self.places.free)
        self._look_again(self._for_slow, self.places.free)
        while self._timed and now_ms < self._swept_ms:  # the clock was set back
            self._wake(self._timed.pop()[2])
        self._swept_ms = now_ms
        self._registry.forget(now_ms)
        return taken

    def drop(self, is_lost: Callable[[T], bool]) -> list[T]:
        """Forget, and return, what waits and is lost with its partition."""
        taken = [job for pace in list(self._waiters.values()) for job in self._empty(pace, is_lost)]
        self._look_again(self._for_quick, len(self._for_quick))  # who waits no longer is not to wake the loop
        return taken

    def _reason(self, pace: Pace[T], now_ms: int) -> Reason | None:
        """Return what keeps the next job of an endpoint from starting."""
        if pace.in_flight >= pace.limit.value:
            return pace.closed_by or _IN_FLIGHT
        if not pace.free:
            circuit, rate = pace.circuit, pace.rate
            if not circuit.is_closed and (pace.probe is not None or not circuit.lets_probe(now_ms)):
                return pace.closed_by
            if rate is not None and rate.ready_at(now_ms) > now_ms:
                return Reason.RATE
        pacer = pace.pacer_now(self.places.proven_ms)
        if not pace.host.lets(pacer):
            return _HOST
        return None if self.places.lets(pacer) else Reason.PROCESS

    def _enqueue(self, pace: Pace[T], now_ms: int) -> None:
        """Put an endpoint with something waiting where it will be woken: by its own requests, or as here."""
        if pace.queued or pace.limited_by is _IN_FLIGHT:
            return
        if pace.limited_by is _HOST:
            pace.host.blocked.append(pace)
        elif pace.limited_by is Reason.PROCESS:
            (self._for_quick if pace.counts_as in PROMPT else self._for_slow).append(pace)
        elif pace.limited_by is Reason.RATE:
            assert pace.rate is not None
            self._number += 1
            heapq.heappush(self._timed, (pace.rate.ready_at(now_ms), self._number, pace))
        else:
            return  # what waits for a closed circuit is parked by the next sweep
        pace.queued = True

    def _begin(self, pace: Pace[T], job: T, now_ms: int) -> None:
        job.pace = pace
        pace.begins(job, now_ms)
        self._take(pace, job)

    def _take(self, pace: Pace[T], job: T) -> None:
        ticket = job.ticket = self.places.take(pace.counts_as, job, pace.limit.mean_us)
        pace.host.in_flight += 1
        if ticket < 0:
            pace.host.slow += 1

    def _give_back(self, pace: Pace[T], job: T) -> None:
        host, ticket, places = pace.host, job.ticket, self.places
        assert ticket is not None
        job.ticket = None
        host.in_flight -= 1
        if ticket < 0:
            host.slow -= 1
        elif ticket <= places.tick:
            pace.overdue -= 1
        places.give_back(ticket, job)
        if self._for_slow and (ticket < 0 or (not self._for_quick and places.lets(self._for_slow[0].counts_as))):
            self._wake(self._for_slow.popleft())
        if host.blocked:
            self._wake(host.blocked.popleft())
        if self._for_quick:
            self._wake(self._for_quick.popleft())

    def _wake(self, pace: Pace[T]) -> None:
        """Have one that is in no other queue look for a place, if anything of it waits."""
        pace.queued = bool(pace.waiting)
        if pace.queued:
            self._runnable.append(pace)

    def _look_again(self, blocked: deque[Pace[T]], free: int) -> None:
        """Have as many look as there are free places: who was woken for one may have left it to the next."""
        for _ in range(min(free, len(blocked))):
            self._wake(blocked.popleft())

    def _empty(self, pace: Pace[T], which: Callable[[T], bool]) -> list[T]:
        taken = [job for job in pace.waiting if which(job)]
        if taken:
            before = min(len(pace.waiting), pace.soon)
            pace.waiting = deque(job for job in pace.waiting if not which(job))
            self.waiting -= len(taken)
            self.soon -= before - min(len(pace.waiting), pace.soon)
            if not pace.waiting:
                self._waiters.pop(pace.id, None)
        return taken

    def _pace_of(self, who: Subscriber, now_ms: int) -> Pace[T]:
        pace = self._registry.pace_of(who, now_ms)
        if pace.waiting:
            self._waiters[pace.id] = pace
            timed = [one for one in self._timed if one[2] is not pace]
            if len(timed) < len(self._timed):  # its rate may be another one now
                self._timed, pace.queued = sorted(timed), False
            if not pace.queued:
                self._wake(pace)
        return pace
