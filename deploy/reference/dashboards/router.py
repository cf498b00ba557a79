"""Inside the router: events, lag, commits, paused partitions."""

from __future__ import annotations

from typing import Final

from deploy.reference.dashboards.panels import Board, Number, Panel, Query, Row, quantiles

_OWN: Final = 'and on (instance, job) signpost_build_info{role="router"}'
_EVENTS: Final = "sum(rate(signpost_router_events_total{@}[$__rate_interval]))"
_JOBS: Final = "sum(rate(signpost_router_jobs_total{@}[$__rate_interval]))"


def board() -> Board:
    """Return the dashboard."""
    rows = (Row("Now", _now()), Row("Events", _events()), Row("Lag", _lag()), Row("Kafka and process", _kafka()))
    return Board("router", "router", rows, role="router")


def _now() -> tuple[Number, ...]:
    return (
        Number("Events", "Events routed, per second.", Query(_EVENTS), "ops", 6),
        Number("Jobs", "Jobs created, per second.", Query(_JOBS), "ops", 6),
        Number(
            "Oldest event without jobs",
            "Its age, by the timestamp of its record.",
            Query(f"max(signpost_unread_age_seconds{{@}} {_OWN})"),
            "s",
            6,
            warning=10,
            bad=60,
        ),
        Number(
            "Paused partitions",
            "Partitions of sources that wait before a record that cannot be routed yet.",
            Query("sum(signpost_router_paused_partitions{@})"),
            "short",
            6,
            bad=1,
        ),
    )


def _events() -> tuple[Panel, ...]:
    return (
        Panel(
            "Events and jobs",
            "Per second. A withheld match has no job: its subscription is paused or disabled.",
            (
                Query(_EVENTS, "events"),
                Query(_JOBS, "jobs"),
                Query("sum(rate(signpost_router_withheld_total{@}[$__rate_interval]))", "withheld"),
            ),
            "ops",
        ),
        Panel(
            "Events by type",
            "Per second.",
            (
                Query(
                    "sum by (sender, event_type) (rate(signpost_router_events_total{@}[$__rate_interval]))",
                    "{{sender}} {{event_type}}",
                ),
            ),
            "ops",
        ),
        Panel(
            "Age of events",
            "From `created_at`, as the producer set it, to the routing of the event.",
            quantiles("signpost_router_event_age_seconds", 0.5, 0.99),
            "s",
        ),
    )


def _lag() -> tuple[Panel, ...]:
    return (
        Panel(
            "Unread records",
            "By topic.",
            (Query(f"sum by (topic) (signpost_consumer_lag_records{{@}} {_OWN})", "{{topic}}"),),
        ),
        Panel(
            "Age of the oldest unread record",
            "By topic.",
            (Query(f"max by (topic) (signpost_unread_age_seconds{{@}} {_OWN})", "{{topic}}"),),
            "s",
        ),
        Panel(
            "Paused partitions",
            "By reason; and whether an event waits for the schema registry.",
            (
                Query("sum by (reason) (signpost_router_paused_partitions{@})", "{{reason}}"),
                Query("max(signpost_router_waiting_for_registry{@})", "waits for the registry"),
            ),
        ),
    )


def _kafka() -> tuple[Panel, ...]:
    return (
        Panel(
            "Flush and commit",
            "From the start of a flush to the end of its commit.",
            quantiles("signpost_router_commit_duration_seconds", 0.5, 0.99),
            "s",
        ),
        Panel(
            "Uncommitted jobs",
            "Since the last commit.",
            (Query("sum by (instance) (signpost_router_uncommitted_jobs{@})", "{{instance}}"),),
        ),
        Panel(
            "Unreadable or truncated records",
            "Per second: dead letters by reason, and records that retention deleted before they were read.",
            (
                Query(
                    f"sum by (reason) (rate(signpost_unreadable_records_total{{@}}[$__rate_interval]) {_OWN})",
                    "{{reason}}",
                ),
                Query("sum(rate(signpost_router_truncated_records_total{@}[$__rate_interval]))", "truncated"),
            ),
            "ops",
        ),
        Panel(
            "Waiting for the brokers",
            "1 while a process waits.",
            (Query(f"signpost_waiting_for_broker{{@}} {_OWN}", "{{instance}}"),),
        ),
        Panel(
            "Age of the table",
            "For how long it is unknown whether the table of subscriptions is complete.",
            (Query(f"max by (instance) (signpost_table_staleness_seconds{{@}} {_OWN})", "{{instance}}"),),
            "s",
        ),
        Panel(
            "CPU",
            "Cores in use.",
            (Query(f"rate(process_cpu_seconds_total{{@}}[$__rate_interval]) {_OWN}", "{{instance}}"),),
        ),
    )
