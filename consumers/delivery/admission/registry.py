"""All endpoint states and hosts of a process. Pure."""

from __future__ import annotations

from typing import Final

from consumers.delivery.admission.endpoint_state import EndpointState, HostState
from consumers.delivery.admission.types import AdmissionLimits, EndpointLimits

_FORGET_AFTER_MS: Final = 300_000
_CHECK_EVERY_MS: Final = 10_000


class EndpointRegistry:
    """Endpoint states by subscription id; hosts by name while they have endpoints."""

    def __init__(self, limits: AdmissionLimits) -> None:
        self._limits = limits
        self._hosts: dict[str, HostState] = {}
        self._next_check_ms = 0
        self.endpoints: dict[str, EndpointState] = {}

    def update(self, limits: EndpointLimits, now_ms: int) -> EndpointState:
        """Return the state of an endpoint, with the current limits of its subscription.

        A change of the host creates a new state. Requests to the former host complete on the former state. Waiting
        tasks and the backlog move to the new one.
        """
        max_in_flight = limits.max_in_flight or self._limits.per_subscription
        former = self.endpoints.get(limits.subscription_id)
        if former is not None and former.host.name == limits.host:
            former.set_limits(limits, max_in_flight)
            return former
        host = self._hosts.setdefault(limits.host, HostState(limits.host, self._limits.per_host))
        state = EndpointState(limits, host, max_in_flight, self._limits.max_endpoint_wait_ms, now_ms)
        host.endpoints += 1
        self.endpoints[state.id] = state
        if former is not None:
            self._leave(former.host)
            state.waiting, former.waiting = former.waiting, state.waiting
            state.imminent = former.imminent
            state.backlog = former.backlog
        return state

    def on_stall(self, now_ms: int) -> None:
        """Account for a stall of this process: its time does not count against endpoints."""
        for state in self.endpoints.values():
            state.on_stall(now_ms)

    def forget_idle(self, now_ms: int) -> None:
        """Forget endpoints that have had no request for five minutes and have nothing waiting or deferred."""
        if now_ms < self._next_check_ms:
            return
        self._next_check_ms = now_ms + _CHECK_EVERY_MS
        for state in list(self.endpoints.values()):
            is_recent = now_ms - state.last_progress_ms < _FORGET_AFTER_MS
            if is_recent or not state.is_idle or not state.breaker.is_closed:
                continue
            if state.backlog is None or not state.backlog.deferred(now_ms):
                del self.endpoints[state.id]
                self._leave(state.host)

    def _leave(self, host: HostState) -> None:
        host.endpoints -= 1
        if not host.endpoints:
            del self._hosts[host.name]
