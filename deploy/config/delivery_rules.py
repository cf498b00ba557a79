"""Settings as the parts of delivery take them."""

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
    """Return when an endpoint is reported and disabled."""
    return HealthPolicy(
        report_after_ms=milliseconds(settings.report_failing_after),
        disable_after_ms=milliseconds(settings.disable_failing_after) or None,
        disable_when_gone=settings.disable_gone,
    )


def outcome_log_of(settings: Settings) -> OutcomeLog:
    """Return where outcomes are logged: standard error, all of them unless the level is above info."""
    as_json, colours = is_json(settings.log_format, sys.stderr), sys.stderr.isatty()
    quiet = settings.log_level in {"warning", "error"}
    return OutcomeLog(sys.stderr.buffer, as_json, colours=colours, dead_only=quiet)
