"""Inside the router: events, lag, commits, paused partitions."""

from __future__ import annotations

from typing import Final

from deploy.reference.dashboards.panels import Board, Number, Panel, PanelQuery, PanelRow, cpu_panel, quantiles

_OWN: Final = 'and on (instance, job) signpost_build_info{role="router"}'
_EVENTS: Final = "sum(rate(signpost_router_events_total{@}[$__rate_interval]))"
_JOBS: Final = "sum(rate(signpost_router_jobs_total{@}[$__rate_interval]))"


def board() -> Board:
    """Return the dashboard."""
    rows = (
        PanelRow("Now", _now()),
        PanelRow("Events", _events()),
        PanelRow("Lag", _lag()),
        PanelRow("Kafka and process", _kafka()),
    )
    return Board("router", "router", rows, role="router")


def _now() -> tuple[Number, ...]:
    return (
        Number("Events", "Events routed, per second.", PanelQuery(_EVENTS), "ops", 6),
        Number("Jobs", "Jobs created, per second.", PanelQuery(_JOBS), "ops", 6),
        Number(
            "Oldest event not routed",
            "Its age, by the timestamp of its record.",
            PanelQuery(f"max(signpost_unread_age_seconds{{@}} {_OWN})"),
            "s",
            6,
            warning=10,
            bad=60,
        ),
        Number(
            "Paused partitions",
            "Partitions of sources that are paused at a record that cannot be routed yet.",
            PanelQuery("sum(signpost_router_paused_partitions{@})"),
            "short",
            6,
            bad=1,
        ),
    )


def _events() -> tuple[Panel, ...]:
    return (
        Panel(
            "Events and jobs",
            "Per second. Withheld: a match without a job, because the subscription is paused or disabled.",
            (
                PanelQuery(_EVENTS, "events"),
                PanelQuery(_JOBS, "jobs"),
                PanelQuery("sum(rate(signpost_router_withheld_total{@}[$__rate_interval]))", "withheld"),
            ),
            "ops",
        ),
        Panel(
            "Events by type",
            "Per second.",
            (
                PanelQuery(
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
            (PanelQuery(f"sum by (topic) (signpost_consumer_lag_records{{@}} {_OWN})", "{{topic}}"),),
        ),
        Panel(
            "Age of the oldest unread record",
            "By topic.",
            (PanelQuery(f"max by (topic) (signpost_unread_age_seconds{{@}} {_OWN})", "{{topic}}"),),
            "s",
        ),
        Panel(
            "Paused partitions",
            "By reason; and whether an event waits for the schema registry.",
            (
                PanelQuery("sum by (reason) (signpost_router_paused_partitions{@})", "{{reason}}"),
                PanelQuery("max(signpost_router_waiting_for_registry{@})", "waits for the registry"),
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
            (PanelQuery("sum by (instance) (signpost_router_uncommitted_jobs{@})", "{{instance}}"),),
        ),
        Panel(
            "Unreadable or truncated records",
            "Per second: dead letters by reason, and records that retention deleted before they were read.",
            (
                PanelQuery(
                    f"sum by (reason) (rate(signpost_unreadable_records_total{{@}}[$__rate_interval]) {_OWN})",
                    "{{reason}}",
                ),
                PanelQuery("sum(rate(signpost_router_truncated_records_total{@}[$__rate_interval]))", "truncated"),
            ),
            "ops",
        ),
        Panel(
            "Waiting for the brokers",
            "1 while a process waits.",
            (PanelQuery(f"signpost_waiting_for_broker{{@}} {_OWN}", "{{instance}}"),),
        ),
        Panel(
            "Age of the table",
            "For how long it is unknown whether the table of subscriptions is complete.",
            (PanelQuery(f"max by (instance) (signpost_table_staleness_seconds{{@}} {_OWN})", "{{instance}}"),),
            "s",
        ),
        cpu_panel(_OWN),
    )
