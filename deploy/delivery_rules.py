"""Settings as the rules of delivery take them."""

from __future__ import annotations

from consumers.delivery.health import HealthPolicy
from consumers.delivery.pacing import PacingLimits
from schemas.durations import milliseconds
from schemas.settings import Settings


def pacing_limits(settings: Settings) -> PacingLimits:
    """Return how much endpoints may have at a time."""
    return PacingLimits(
        per_subscription=settings.max_in_flight_per_subscription,
        per_host=settings.max_in_flight_per_host,
        per_process=settings.max_in_flight,
        max_endpoint_wait_ms=milliseconds(settings.max_endpoint_wait),
    )


def health_policy(settings: Settings) -> HealthPolicy:
    """Return when an endpoint is reported and disabled."""
    return HealthPolicy(
        report_after_ms=milliseconds(settings.report_failing_after),
        disable_after_ms=milliseconds(settings.disable_failing_after) or None,
        disable_when_gone=settings.disable_gone,
    )
