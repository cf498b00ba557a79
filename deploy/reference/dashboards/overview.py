"""The overview: what is wrong, the promises, deliveries, backlog, Kafka and processes."""

from __future__ import annotations

from typing import Final

from deploy.reference.dashboards.alerts import firing_alerts
from deploy.reference.dashboards.panels import (
    Board,
    Number,
    Panel,
    PanelQuery,
    PanelRow,
    Words,
    cpu_panel,
    memory_panel,
    quantiles,
)

_FIRST_ATTEMPT: Final = "signpost_delivery_first_attempt_latency_seconds"
_DURATION: Final = "signpost_delivery_attempt_duration_seconds"
_TRUNCATED: Final = " + ".join(
    f"(sum(increase(signpost_{role}_truncated_records_total{{@}}[1d])) or vector(0))"
    for role in ("router", "delivery", "ledger")
)


def board() -> Board:
    """Return the dashboard."""
    rows = (
        PanelRow("What is wrong", (firing_alerts(), *_in_words())),
        PanelRow("Promises", _promises()),
        PanelRow("Deliveries: rate, errors, duration", _deliveries()),
        PanelRow("Backlog", _backlog()),
        PanelRow("Kafka", _kafka()),
        PanelRow("Processes", _processes()),
    )
    return Board("overview", "overview", rows)


def _in_words() -> tuple[Words, ...]:
    router = 'signpost_unread_age_seconds{@} and on (instance, job) signpost_build_info{role="router"}'
    return (
        Words(
            "Kafka",
            "Whether the brokers respond, acknowledge and commit.",
            PanelQuery("max(signpost_waiting_for_broker{@})"),
            good="the brokers respond",
            bad="the brokers do not respond",
        ),
        Words(
            "Subscriptions",
            "Whether each process has a complete table of subscriptions, and can read all records of it.",
            PanelQuery(
                "max(signpost_table_staleness_seconds{@} > bool 5) + max(signpost_table_unusable_records{@} > bool 0)"
            ),
            good="all tables are current",
            bad="a table is old or unreadable",
        ),
        Words(
            "Router",
            "Whether an event has waited for over a minute to be routed, or a partition is paused.",
            PanelQuery(f"max(({router}) > bool 60) + max(signpost_router_paused_partitions{{@}} > bool 0)"),
            good="the router keeps up",
            bad="events wait",
        ),
        Words(
            "Delivery",
            "Whether a job has been due for over a minute and is unread.",
            PanelQuery("max(signpost_delivery_unread_due_age_seconds{@} > bool 60)"),
            good="delivery keeps up",
            bad="jobs are not read",
        ),
        Words(
            "Ledger",
            "Whether outcomes have waited for over five minutes, or the database does not respond.",
            PanelQuery("max(signpost_ledger_lag_seconds{@} > bool 300) + max(signpost_ledger_waiting_for_database{@})"),
            good="the ledger keeps up",
            bad="statistics are old",
        ),
        Words(
            "Endpoints of customers",
            "Whether each endpoint responds. An unresponsive endpoint does not delay the others.",
            PanelQuery('sum(signpost_delivery_open_circuits{@, reason="circuit_open"})'),
            good="all endpoints respond",
            bad="some do not respond",
        ),
    )


def _promises() -> tuple[Number | Panel, ...]:
    late = "signpost:first_attempts_late:ratio_rate%s{@@}"
    return (
        Number(
            "First attempts within 5 s, 30 days",
            "The objective is 99 %. Jobs that waited for a limit of their endpoint do not count.",
            PanelQuery(f"1 - max({late % '30d'})"),
            unit="percentunit",
            warning=0.99,
            bad=0.985,
            is_good_high=True,
        ),
        Number(
            "Error budget left",
            "The unused share of the 1 % of first attempts that may be late within 30 days.",
            PanelQuery(f"1 - max({late % '30d'}) / 0.01"),
            unit="percentunit",
            warning=0.5,
            bad=0.0,
            is_good_high=True,
        ),
        Panel(
            "Burn rate",
            "1 uses up the error budget in exactly 30 days. Alerts fire at 14.4 (1 h), 6 (6 h) and 3 (1 d).",
            [PanelQuery(f"max({late % window}) / 0.01", f"over {window}") for window in ("1h", "6h", "1d")],
            width=8,
            height=8,
        ),
        Number(
            "Deleted before they were read, 1 day",
            "Records that retention deleted before a role read them. There must be none.",
            PanelQuery(_TRUNCATED),
            bad=1,
        ),
        Number(
            "Oldest due job",
            "For how long the oldest due job has been due. Jobs that wait for their endpoint count, too.",
            PanelQuery("max(signpost_delivery_oldest_due_age_seconds{@})"),
            unit="s",
            warning=60,
            bad=3_600,
        ),
        Number(
            "Age of the tables",
            "For how long it is unknown whether a table is complete. Beyond 5 s nothing is routed or sent.",
            PanelQuery("max(signpost_table_staleness_seconds{@})"),
            unit="s",
            warning=1,
            bad=5,
        ),
        Number(
            "Dead jobs, 1 day",
            "Jobs that ended without a delivery.",
            PanelQuery("sum(increase(signpost_dead_jobs_total{@}[1d]))"),
            warning=1,
        ),
    )


def _deliveries() -> tuple[Panel, ...]:
    return (
        Panel(
            "Events, jobs, attempts",
            "Per second: events routed, jobs created, attempts with any result.",
            (
                PanelQuery("sum(rate(signpost_router_events_total{@}[$__rate_interval]))", "events"),
                PanelQuery("sum(rate(signpost_router_jobs_total{@}[$__rate_interval]))", "jobs"),
                PanelQuery("sum(rate(signpost_delivery_attempts_total{@}[$__rate_interval]))", "attempts"),
            ),
            "ops",
        ),
        Panel(
            "Attempts by result",
            "Attempts per second. `dead`: the job has no attempt left, or its endpoint is gone.",
            (
                PanelQuery(
                    "sum by (result) (rate(signpost_delivery_attempts_total{@}[$__rate_interval]))", "{{result}}"
                ),
            ),
            "ops",
        ),
        Panel(
            "Failed attempts",
            "Share of the attempts without a 2xx response.",
            (
                PanelQuery(
                    'sum(rate(signpost_delivery_attempts_total{@, result!="delivered"}[$__rate_interval])) '
                    "/ sum(rate(signpost_delivery_attempts_total{@}[$__rate_interval]))",
                    "failed",
                ),
            ),
            "percentunit",
        ),
        Panel(
            "Event to first attempt",
            "From when the event could be read. Jobs that waited for a limit of their endpoint do not count.",
            quantiles(_FIRST_ATTEMPT, 0.5, 0.9, 0.99, matching='limited="no"'),
            "s",
        ),
        Panel(
            "Attempt duration", "From the start of an attempt to its response.", quantiles(_DURATION, 0.5, 0.99), "s"
        ),
        Panel(
            "Errors",
            "Attempts without a response by kind, and dead jobs by reason, per second.",
            (
                PanelQuery(
                    "sum by (kind) (rate(signpost_delivery_transport_errors_total{@}[$__rate_interval]))", "{{kind}}"
                ),
                PanelQuery("sum by (reason) (rate(signpost_dead_jobs_total{@}[$__rate_interval]))", "dead: {{reason}}"),
            ),
            "ops",
        ),
    )


def _backlog() -> tuple[Panel, ...]:
    return (
        Panel(
            "Unread records",
            "By topic. In a delay topic records are unread until their delay is over.",
            (PanelQuery("sum by (topic) (signpost_consumer_lag_records{@})", "{{topic}}"),),
            width=6,
        ),
        Panel(
            "Age of the oldest unread record",
            "By topic. In a delay topic it is usually as old as the delay.",
            (PanelQuery("max by (topic) (signpost_unread_age_seconds{@})", "{{topic}}"),),
            "s",
            width=6,
        ),
        Panel(
            "Jobs waiting",
            "By delay topic: unread, or read and unfinished.",
            (PanelQuery("sum by (delay) (signpost_delivery_jobs_waiting{@})", "{{delay}}"),),
            width=6,
        ),
        Panel(
            "Oldest due job",
            "By delay topic: for how long it has been due.",
            (PanelQuery("max by (delay) (signpost_delivery_oldest_due_age_seconds{@})", "{{delay}}"),),
            "s",
            width=6,
        ),
    )


def _kafka() -> tuple[Panel, ...]:
    return (
        Panel(
            "Waiting for the brokers",
            "1 while a process waits.",
            (PanelQuery("max by (instance) (signpost_waiting_for_broker{@})", "{{instance}}"),),
            width=6,
        ),
        Panel(
            "Transactions",
            "Of delivery, per second.",
            (
                PanelQuery(
                    "sum by (result) (rate(signpost_delivery_transactions_total{@}[$__rate_interval]))", "{{result}}"
                ),
            ),
            "ops",
            width=6,
        ),
        Panel(
            "Unreadable records",
            "Per second, by reason. They became dead letters.",
            (
                PanelQuery(
                    "sum by (reason) (rate(signpost_unreadable_records_total{@}[$__rate_interval]))", "{{reason}}"
                ),
            ),
            "ops",
            width=6,
        ),
        Panel(
            "Retention used up by unread records",
            "At 100 % retention deletes records before they are read.",
            (
                PanelQuery(
                    "max by (topic) (signpost_unread_age_seconds{@}) "
                    "/ min by (topic) (signpost_topic_retention_seconds{@})",
                    "{{topic}}",
                ),
            ),
            "percentunit",
            width=6,
        ),
    )


def _processes() -> tuple[Panel, ...]:
    own = "and on (instance, job) signpost_build_info{@}"
    return (
        Panel(
            "Processes",
            "By role and version.",
            (PanelQuery("count by (role, version) (signpost_build_info{@})", "{{role}} {{version}}"),),
            width=6,
        ),
        Panel(
            "Restarts",
            "Restarts of a role within the last hour.",
            (PanelQuery("sum by (instance) (changes(signpost_role_start_time_seconds{@}[1h]))", "{{instance}}"),),
            width=6,
        ),
        cpu_panel(own, width=6),
        memory_panel(own, width=6),
        Panel(
            "Spans of traces",
            "Per second. Failed: the collector did not take them. Dropped: the queue was full.",
            (PanelQuery("sum by (result) (rate(signpost_trace_spans_total{@}[$__rate_interval]))", "{{result}}"),),
            "ops",
            width=24,
        ),
    )
