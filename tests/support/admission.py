"""Helpers for tests of admission control: endpoints, tasks, an AdmissionControl with small limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from consumers.delivery.admission import AdmissionControl, AdmissionLimits, AdmittedTask
from consumers.delivery.classification import Classified, ResponseKind

NOW: Final = 1_000_000_000
DELAYS_MS: Final = (1_000, 5_000, 20_000, 60_000, 300_000, 1_800_000, 7_200_000, 86_400_000)
FAST_US: Final = 5_000


@dataclass(frozen=True, slots=True)
class EndpointStub:
    """The limits of an endpoint."""

    subscription_id: str
    host: str = "one.example"
    max_in_flight: int | None = None
    rate_limit: float | None = None


class TestedControl:
    """An AdmissionControl with helpers for tests."""

    __test__ = False

    def __init__(self, limits: AdmissionLimits, delays_ms: Sequence[int]) -> None:
        self._control = AdmissionControl(limits, delays_ms)

    def __getattr__(self, name: str) -> Any:
        # Not by inheritance: an interpreted class cannot inherit from a compiled one.
        return getattr(self._control, name)

    def completed(self, task: AdmittedTask, kind: ResponseKind, duration_us: int, now_ms: int, label: str = "") -> None:
        """Complete a task with a response of this kind."""
        self._control.completed(task, Classified(kind, label, None, None), duration_us, now_ms)

    def throttle(self, subscription_id: str, until_ms: int, now_ms: int) -> None:
        """Let the endpoint of a subscription, if known, send a Retry-After that ends at `until_ms`."""
        for state in self._control.endpoints:
            if state.id == subscription_id:
                state.throttle(until_ms, now_ms)

    def offer(self, endpoint: EndpointStub, count: int, now_ms: int = NOW) -> dict[str, list[AdmittedTask]]:
        """Offer `count` tasks; return those that started, wait and are deferred."""
        found: dict[str, list[AdmittedTask]] = {"start": [], "wait": [], "defer": []}
        for _ in range(count):
            task = AdmittedTask()
            if self.admit(endpoint, task, now_ms):
                found["start"].append(task)
            elif self.wait(task, now_ms):
                found["wait"].append(task)
            else:
                self.defer(task, now_ms)
                found["defer"].append(task)
        return found

    def warm(
        self, *endpoints: EndpointStub, responses: int = 40, duration_us: int = FAST_US, now_ms: int = NOW
    ) -> None:
        """Let endpoints respond for a while, one request at a time."""
        for endpoint in endpoints:
            for _ in range(responses):
                task = AdmittedTask()
                assert self.admit(endpoint, task, now_ms)
                self.completed(task, ResponseKind.DELIVERED, duration_us, now_ms)


def admission_control(subscription: int = 2, host: int = 1_000, process: int = 10_000) -> TestedControl:
    """Return an AdmissionControl with these limits."""
    return TestedControl(AdmissionLimits(subscription, host, process, 600_000), DELAYS_MS)
