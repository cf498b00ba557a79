"""Converts settings into limits and policies of delivery."""

from __future__ import annotations

import sys

from consumers.delivery.admission import AdmissionLimits
from consumers.delivery.results.health import HealthPolicy
from consumers.delivery.results.outcome_log import OutcomeLog
from deploy.config.logs import is_json
from schemas.input.durations import milliseconds
from schemas.settings.settings import Settings


def admission_limits(settings: Settings) -> AdmissionLimits:
    """Return the limits of admission control."""
    return AdmissionLimits(
        per_subscription=settings.max_in_flight_per_subscription,
        per_host=settings.max_in_flight_per_host,
        per_process=settings.max_in_flight,
        max_endpoint_wait_ms=milliseconds(settings.max_endpoint_wait),
    )


def health_policy(settings: Settings) -> HealthPolicy:
    """Return the policy that reports and disables failing endpoints."""
    return HealthPolicy(
        report_after_ms=milliseconds(settings.report_failing_after),
        disable_after_ms=milliseconds(settings.disable_failing_after) or None,
        disable_when_gone=settings.disable_gone,
    )


def outcome_log_of(settings: Settings) -> OutcomeLog:
    """Return the log of outcomes on standard error; above the level info, it has only outcomes of dead jobs."""
    as_json = is_json(settings.log_format, sys.stderr)
    dead_only = settings.log_level in {"warning", "error"}
    return OutcomeLog(
        sys.stderr.buffer,
        as_json,
        colours=sys.stderr.isatty(),
        dead_only=dead_only,
        successes_per_second=settings.log_successes_per_second,
    )
