"""The bulkhead: permits for `capacity` concurrent requests of a process, divided by quotas per traffic class. Pure.

However many endpoints stop responding, permits are left for those that respond. A request in flight counts as
*responsive* while its endpoint is RESPONSIVE and the request is not overdue. A request is overdue when it has been open
for four times the usual response time of its endpoint, but at least 128 ms and at most 1 s. All other requests in
flight count as *slow*.

    class       endpoints                              may start while
    RESPONSIVE  responded within a second              responsive requests < 3/8, and there is headroom
    NEW         no response yet                        slow requests < slow quota
    SLOW        takes longer than a second             slow requests < 3/4 of the slow quota: a quarter is for NEW
    OVERDUE     RESPONSIVE with an overdue request     as SLOW
    IDLE        RESPONSIVE before a mass failure only  all requests < 3/4, or those of IDLE < 1/16
    UNVERIFIED  NEW, during a mass failure             all requests < 3/4

IDLE and UNVERIFIED endpoints have no request in flight: each gets one request, to show that it responds. Rules:

1. Slow quota. Slow requests hold at most 3/8, less where responsive requests need headroom: at most
   capacity - 2 * responsive. This leaves 1/4 while RESPONSIVE endpoints use their whole quota.
2. Headroom. Above 3/4 of the capacity each responsive request leaves another permit free:
   2 * responsive + slow <= capacity. If all endpoints stop at once, their requests hold at most half of the rest.
3. Mass failure. If 1/16 of the capacity becomes overdue, earlier responses of endpoints no longer count.
   Only endpoints that respond from then on are RESPONSIVE. Slow requests hold at most 1/2 - responsive. The mass
   failure is over when 1/32 or less is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from consumers.delivery.admission.types import RESPONSIVE, AdmittedTask, TrafficClass

# Quotas, in sixteenths of the capacity.
_RESPONSIVE_QUOTA: Final = 6
_SLOW_QUOTA: Final = 6
_SLOW_QUOTA_IN_MASS_FAILURE: Final = 8  # less the responsive requests
_HEADROOM_ABOVE: Final = 12
_IDLE_QUOTA: Final = 1
_MASS_FAILURE: Final = 1

# Bound here: reading an enum member from its class is slow in Python 3.11.
_NEW, _OVERDUE, _IDLE = TrafficClass.NEW, TrafficClass.OVERDUE, TrafficClass.IDLE
_UNVERIFIED: Final = TrafficClass.UNVERIFIED

# Time is counted in ticks of 32 ms. A responsive request is filed under the tick in which it becomes overdue.
_TICK_BITS: Final = 5
_RING_SIZE: Final = 64  # more than any request is filed ahead
_MIN_TICKS: Final = 4
_MAX_TICKS: Final = 32
_FOUR_TIMES_BITS: Final = 13  # µs >> 13 is four times the duration, in ticks


class Bulkhead:
    """Counts the requests in flight, and decides which class may start another one.

    A permit is an int. A permit of 0 or more is the tick at which a responsive request becomes overdue: it is overdue
    if its permit is at most `tick`. A negative permit is the traffic class of a request that started as slow.

    `verified_since_ms`: during a mass failure, its start; only a response since then makes an endpoint RESPONSIVE.
    """

    __slots__ = (
        "_accounted_for",
        "_headroom_above",
        "_idle",
        "_idle_quota",
        "_mass_failure",
        "_responsive_quota",
        "_ring",
        "_seen_tick",
        "_settled_tick",
        "_slow_quota",
        "_slow_quota_in_mass_failure",
        "_stopped",
        "capacity",
        "responsive",
        "slow",
        "slow_ceiling",
        "tick",
        "verified_since_ms",
    )

    def __init__(self, capacity: int) -> None:
        def sixteenths(number: int) -> int:
            return max(1, number * capacity // 16)

        self.capacity = capacity
        self._responsive_quota = sixteenths(_RESPONSIVE_QUOTA)
        self._slow_quota = sixteenths(_SLOW_QUOTA)
        self._slow_quota_in_mass_failure = sixteenths(_SLOW_QUOTA_IN_MASS_FAILURE)
        self.slow_ceiling = self._slow_quota  # the slow quota is never higher, but for the OVERDUE request of rule 3
        self._headroom_above = sixteenths(_HEADROOM_ABOVE)
        self._idle_quota = sixteenths(_IDLE_QUOTA)
        self._mass_failure = sixteenths(_MASS_FAILURE)
        self.responsive = 0
        self.slow = 0
        self._idle = 0  # slow requests of IDLE endpoints
        self._stopped = 0  # slow requests that are overdue, or of endpoints with an overdue request
        self._accounted_for = 0  # number of stopped requests that belong to the current mass failure
        self._settled_tick = 0  # from this tick on `_accounted_for` follows `_stopped` down
        self.verified_since_ms = 0
        self._ring: list[set[AdmittedTask]] = [set() for _ in range(_RING_SIZE)]
        self.tick = 0
        self._seen_tick = 0  # tick of the clock, which may be set back; `tick` never decreases

    @property
    def in_flight(self) -> int:
        """Number of permits held."""
        return self.responsive + self.slow

    @property
    def free(self) -> int:
        """Number of free permits."""
        return self.capacity - self.responsive - self.slow

    def allows(self, traffic_class: TrafficClass) -> bool:
        """Return whether another request of this class may start."""
        responsive = self.responsive
        slow = self.slow
        in_flight = responsive + slow
        if in_flight >= self.capacity:
            return False
        if traffic_class is RESPONSIVE:
            if not responsive:
                return True
            if in_flight >= self._headroom_above and 2 * responsive + slow + 2 > self.capacity:
                return False
            return responsive < self._responsive_quota
        if traffic_class is _IDLE or traffic_class is _UNVERIFIED:
            return in_flight < self._headroom_above or (traffic_class is _IDLE and self._idle < self._idle_quota)
        quota = self._current_slow_quota(traffic_class)
        if traffic_class is not _NEW and quota > 1:
            quota -= quota // 4
        return slow < quota

    def acquire(self, traffic_class: TrafficClass, task: AdmittedTask, usual_us: int) -> int:
        """Return a permit for a request that starts. `usual_us` is the usual response time of its endpoint."""
        if traffic_class is not RESPONSIVE:
            self.slow += 1
            if traffic_class is _OVERDUE:
                self._stopped += 1
            elif traffic_class is _IDLE:
                self._idle += 1
            return int(traffic_class)
        self.responsive += 1
        ticks = usual_us >> _FOUR_TIMES_BITS
        if ticks < _MIN_TICKS:
            ticks = _MIN_TICKS
        elif ticks > _MAX_TICKS:
            ticks = _MAX_TICKS
        permit = self.tick + ticks + 1
        self._ring[permit % _RING_SIZE].add(task)
        return permit

    def release(self, permit: int, task: AdmittedTask) -> None:
        """Take a permit back."""
        if permit > self.tick:
            self.responsive -= 1
            self._ring[permit % _RING_SIZE].discard(task)
            return
        self.slow -= 1
        if permit >= 0 or permit == _OVERDUE:
            self._stopped -= 1
        elif permit == _IDLE:
            self._idle -= 1

    def advance(self, now_ms: int) -> Sequence[AdmittedTask]:
        """Advance to `now_ms`. Return the tasks whose requests have become overdue; they count as slow now."""
        tick = now_ms >> _TICK_BITS
        passed = tick - self._seen_tick
        self._seen_tick = tick
        if passed <= 0:  # if the clock was set back, ticks count on from there
            return ()
        overdue: list[AdmittedTask] = []
        for at in range(self.tick + 1, self.tick + 1 + min(passed, _RING_SIZE)):
            if filed := self._ring[at % _RING_SIZE]:
                overdue += filed
                filed.clear()
        self.tick += passed
        self.responsive -= len(overdue)
        self.slow += len(overdue)
        self._stopped += len(overdue)
        self._detect_mass_failure(now_ms)
        return overdue

    def _current_slow_quota(self, traffic_class: TrafficClass) -> int:
        """Apply rule 1, or rule 3 during a mass failure and for the OVERDUE request that would start one."""
        if self.verified_since_ms or (traffic_class is _OVERDUE and self._stopped + 1 >= self._mass_failure):
            return self._slow_quota_in_mass_failure - self.responsive
        return max(1, min(self._slow_quota, self.capacity - 2 * self.responsive))

    def _detect_mass_failure(self, now_ms: int) -> None:
        """Apply rule 3. If another 1/16 of the capacity becomes overdue, the mass failure starts again."""
        stopped = self._stopped
        if stopped >= self._accounted_for + self._mass_failure:
            # The responsive requests in flight belong to this mass failure if they become overdue as well.
            self._accounted_for = stopped + self.responsive
            self._settled_tick = self.tick + _MAX_TICKS + 1
            self.verified_since_ms = now_ms
            self.slow_ceiling = self._slow_quota_in_mass_failure
        elif stopped <= self._mass_failure // 2:
            self._accounted_for = 0
            self.verified_since_ms = 0
            self.slow_ceiling = self._slow_quota
        elif stopped < self._accounted_for and self.tick >= self._settled_tick:
            self._accounted_for = stopped
