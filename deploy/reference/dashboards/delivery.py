"""Inside delivery: attempts, admission control, delay topics, transactions."""

from __future__ import annotations

from typing import Final

from deploy.reference.dashboards.panels import Board, Number, Panel, PanelQuery, PanelRow, quantiles

_ATTEMPTS: Final = "sum(rate(signpost_delivery_attempts_total{%s}[$__rate_interval]))"
_DELIVERED: Final = _ATTEMPTS % '@, result="delivered"'
_FAILED: Final = _ATTEMPTS % '@, result!="delivered"'


def board() -> Board:
    """Return the dashboard."""
    rows = (
        PanelRow("Now", _now()),
        PanelRow("Attempts", _attempts()),
        PanelRow("Latency", _latency()),
        PanelRow("Admission control", _admission()),
        PanelRow("Delay topics", _delay_topics()),
        PanelRow("Kafka and process", _kafka()),
    )
    return Board("delivery", "delivery", rows, role="deliver")


def _now() -> tuple[Number, ...]:
    return (
        Number("Delivered", "Attempts with a 2xx response, per second.", PanelQuery(_DELIVERED), "ops"),
        Number(
            "Failed attempts",
            "Share of the attempts without a 2xx response.",
            PanelQuery(f"{_FAILED} / {_ATTEMPTS % '@'}"),
            "percentunit",
            warning=0.1,
            bad=0.5,
        ),
        Number(
            "Open circuits",
            "Endpoints that do not respond, or that sent Retry-After.",
            PanelQuery("sum(signpost_delivery_open_circuits{@})"),
            warning=1,
        ),
        Number(
            "Disabled subscriptions",
            "Their endpoint is gone, or failed for days.",
            PanelQuery("sum(signpost_delivery_disabled_subscriptions{@})"),
            warning=1,
        ),
        Number(
            "In flight",
            "Share of `max_in_flight`.",
            PanelQuery("sum(signpost_delivery_in_flight_requests{@}) / sum(signpost_delivery_in_flight_limit{@})"),
            "percentunit",
            warning=0.75,
        ),
        Number(
            "Oldest due job",
            "For how long it has been due. Jobs that wait for their endpoint count, too.",
            PanelQuery("max(signpost_delivery_oldest_due_age_seconds{@})"),
            "s",
            warning=60,
            bad=3_600,
        ),
    )


def _by(labels: str, metric: str, legend: str) -> tuple[PanelQuery, ...]:
    return (PanelQuery(f"sum by ({labels}) (rate({metric}{{@}}[$__rate_interval]))", legend),)


def _attempts() -> tuple[Panel, ...]:
    return (
        Panel(
            "By result", "Per second.", _by("result", "signpost_delivery_attempts_total", "{{result}}"), "ops", width=12
        ),
        Panel(
            "Transport errors, by kind",
            "Attempts without a response, per second.",
            _by("kind", "signpost_delivery_transport_errors_total", "{{kind}}"),
            "ops",
            width=12,
        ),
        Panel(
            "Rejected, by status",
            "Attempts with a response other than 2xx, per second.",
            _by("status", "signpost_delivery_rejected_total", "{{status}}"),
            "ops",
        ),
        Panel(
            "Dead, by reason",
            "Jobs that ended without a delivery, per second.",
            _by("reason", "signpost_dead_jobs_total", "{{reason}}"),
            "ops",
        ),
        Panel(
            "Cancelled, by reason",
            "Jobs cancelled before an attempt, per second.",
            _by("reason", "signpost_delivery_cancelled_total", "{{reason}}"),
            "ops",
        ),
    )


def _latency() -> tuple[Panel, ...]:
    return (
        Panel(
            "Event to first attempt",
            "From when the event could be read. Jobs that waited for a limit of their endpoint do not count.",
            quantiles("signpost_delivery_first_attempt_latency_seconds", 0.5, 0.9, 0.99, matching='limited="no"'),
            "s",
        ),
        Panel(
            "Attempt duration",
            "From the start of an attempt to its response.",
            quantiles("signpost_delivery_attempt_duration_seconds", 0.5, 0.9, 0.99),
            "s",
        ),
        Panel(
            "Attempt duration by sender",
            "The 99th percentile.",
            quantiles("signpost_delivery_attempt_duration_seconds", 0.99, by="sender", legend="{{sender}} p99"),
            "s",
        ),
    )


def _admission() -> tuple[Panel, ...]:
    return (
        Panel(
            "In flight, and the limit",
            "Requests of a process, and `max_in_flight`.",
            (
                PanelQuery("sum by (instance) (signpost_delivery_in_flight_requests{@})", "{{instance}}"),
                PanelQuery("max(signpost_delivery_in_flight_limit{@})", "limit"),
            ),
        ),
        Panel(
            "Slow requests, and their quota",
            "Requests that are overdue, go to slow endpoints, or are the first contact with an endpoint.",
            (
                PanelQuery("sum by (instance) (signpost_delivery_slow_requests{@})", "{{instance}}"),
                PanelQuery("max(signpost_delivery_in_flight_limit{@}) * 3 / 8", "quota"),
            ),
        ),
        Panel(
            "Waiting for DNS",
            "Requests whose host is being resolved.",
            (PanelQuery("sum by (instance) (signpost_delivery_resolving_requests{@})", "{{instance}}"),),
        ),
        Panel(
            "Deferred, by reason",
            "Jobs deferred without an attempt, per second.",
            _by("reason", "signpost_delivery_deferred_total", "{{reason}}"),
            "ops",
        ),
        Panel(
            "Limited endpoints, by reason",
            "Endpoints with jobs that wait in memory.",
            (PanelQuery("sum by (reason) (signpost_delivery_limited_endpoints{@})", "{{reason}}"),),
        ),
        Panel(
            "Endpoints without deliveries",
            "Open circuits by reason, and disabled subscriptions.",
            (
                PanelQuery("sum by (reason) (signpost_delivery_open_circuits{@})", "{{reason}}"),
                PanelQuery("sum(signpost_delivery_disabled_subscriptions{@})", "disabled"),
            ),
        ),
    )


def _delay_topics() -> tuple[Panel, ...]:
    return (
        Panel(
            "Jobs waiting",
            "Unread, or read and unfinished.",
            (PanelQuery("sum by (delay) (signpost_delivery_jobs_waiting{@})", "{{delay}}"),),
            width=6,
        ),
        Panel(
            "Oldest due job",
            "For how long it has been due.",
            (PanelQuery("max by (delay) (signpost_delivery_oldest_due_age_seconds{@})", "{{delay}}"),),
            "s",
            width=6,
        ),
        Panel(
            "Oldest unread job",
            "For how long it has been due. No endpoint causes this delay.",
            (PanelQuery("max by (delay) (signpost_delivery_unread_due_age_seconds{@})", "{{delay}}"),),
            "s",
            width=6,
        ),
        Panel(
            "Truncated or unreadable records",
            "Per second: deleted by retention before they were read, or unreadable, by reason.",
            (
                PanelQuery("sum(rate(signpost_delivery_truncated_records_total{@}[$__rate_interval]))", "truncated"),
                PanelQuery(
                    "sum by (reason) (rate(signpost_unreadable_records_total{@}[$__rate_interval]) "
                    'and on (instance, job) signpost_build_info{role="deliver"})',
                    "{{reason}}",
                ),
            ),
            "ops",
            width=6,
        ),
    )


def _kafka() -> tuple[Panel, ...]:
    own = 'and on (instance, job) signpost_build_info{role="deliver"}'
    return (
        Panel(
            "Transactions", "Per second.", _by("result", "signpost_delivery_transactions_total", "{{result}}"), "ops"
        ),
        Panel(
            "Transaction duration",
            "From the first call of a transaction to the last.",
            quantiles("signpost_delivery_transaction_duration_seconds", 0.5, 0.99),
            "s",
        ),
        Panel(
            "Uncommitted outcomes",
            "Since the last commit.",
            (PanelQuery("sum by (instance) (signpost_delivery_uncommitted_outcomes{@})", "{{instance}}"),),
        ),
        Panel(
            "Waiting for the brokers",
            "1 while a process waits.",
            (PanelQuery(f"signpost_waiting_for_broker{{@}} {own}", "{{instance}}"),),
        ),
        Panel(
            "Table of subscriptions",
            "Entries, and records that cannot be read.",
            (
                PanelQuery(f"max by (table) (signpost_table_entries{{@}} {own})", "{{table}}"),
                PanelQuery(f"max by (table) (signpost_table_unusable_records{{@}} {own})", "{{table}}: unusable"),
            ),
        ),
        Panel(
            "Log lines left out",
            "Lines of successes that sampling left out, per second.",
            (
                PanelQuery(
                    f"sum by (instance) (rate(signpost_log_lines_omitted_total{{@}}[$__rate_interval]) {own})",
                    "{{instance}}",
                ),
            ),
            "ops",
        ),
    )
