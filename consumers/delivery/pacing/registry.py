"""The paces of a process, and what the subscriptions of a host share. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Generic

from consumers.delivery.pacing.pace import Host, Pace
from consumers.delivery.pacing.parties import Subscriber, T

_FORGET_AFTER_MS: Final = 300_000
_LOOK_EVERY_MS: Final = 10_000


@dataclass(frozen=True, slots=True)
class PacingLimits:
    """Settings; a subscription may have its own `max_in_flight` in place of `per_subscription`."""

    per_subscription: int
    per_host: int
    per_process: int
    max_endpoint_wait_ms: int


class Registry(Generic[T]):
    """Paces by subscription."""

    def __init__(self, limits: PacingLimits) -> None:
        self._most, self._per_host = limits.per_subscription, limits.per_host
        self._longest_ms = limits.max_endpoint_wait_ms
        self._hosts: dict[str, Host[T]] = {}
        self._look_ms = 0
        self.paces: dict[str, Pace[T]] = {}

    def pace_of(self, who: Subscriber, now_ms: int) -> Pace[T]:
        """Return the pace of a subscription as it is now, made anew where its requests go to another host.

        Requests to the former host end with the former pace; what waits is taken along.
        """
        most = who.max_in_flight or self._most
        former = self.paces.get(who.subscription_id)
        if former is not None and former.host.name == who.host:
            former.adopt(who, most)
            return former
        host = self._hosts.setdefault(who.host, Host(who.host, self._per_host))
        pace = Pace(who, host, most, self._longest_ms, now_ms)
        host.paces += 1
        self.paces[pace.id] = pace
        if former is not None:
            self._leave(former.host)
            pace.waiting, former.waiting = former.waiting, pace.waiting
            pace.soon, pace.backlog = former.soon, former.backlog
        return pace

    def stood_still(self, now_ms: int) -> None:
        """Hear that this process stood still: what passed meanwhile says nothing of endpoints."""
        for pace in self.paces.values():
            pace.stood_still(now_ms)

    def told_to_wait(self, subscription: str, until_ms: int, now_ms: int) -> None:
        """Close an endpoint until then."""
        pace = self.paces.get(subscription)
        if pace is not None:
            pace.told_to_wait(until_ms, now_ms)

    def forget(self, now_ms: int) -> None:
        """Forget endpoints of which nothing was heard for five minutes, and of which nothing waits."""
        if now_ms < self._look_ms:
            return
        self._look_ms = now_ms + _LOOK_EVERY_MS
        for pace in list(self.paces.values()):
            if now_ms - pace.moved_ms < _FORGET_AFTER_MS or not pace.is_idle or not pace.circuit.is_closed:
                continue
            if pace.backlog is None or not pace.backlog.parked(now_ms):
                del self.paces[pace.id]
                self._leave(pace.host)

    def _leave(self, host: Host[T]) -> None:
        host.paces -= 1
        if not host.paces:
            del self._hosts[host.name]
