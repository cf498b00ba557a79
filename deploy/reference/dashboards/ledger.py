"""Inside the ledger: what it writes, how far it is behind, its database."""

from __future__ import annotations

from typing import Final

from deploy.reference.dashboards.panels import Board, Number, Panel, PanelQuery, PanelRow, quantiles

_OWN: Final = 'and on (instance, job) signpost_build_info{role="ledger"}'
_OUTCOMES: Final = "sum(rate(signpost_ledger_outcomes_total{@}[$__rate_interval]))"


def board() -> Board:
    """Return the dashboard."""
    return Board("ledger", "ledger", (PanelRow("Now", _now()), PanelRow("Writing", _writing())), role="ledger")


def _now() -> tuple[Number, ...]:
    return (
        Number("Outcomes written", "Per second.", PanelQuery(_OUTCOMES), "ops", 6),
        Number(
            "Behind",
            "Age of the oldest outcome that was read and is not in the database.",
            PanelQuery("max(signpost_ledger_lag_seconds{@})"),
            "s",
            6,
            warning=60,
            bad=300,
        ),
        Number(
            "Tables prepared for",
            "At 0 nothing can be written.",
            PanelQuery("min(signpost_ledger_prepared_seconds{@})"),
            "s",
            6,
            warning=172_800,
            bad=86_400,
            is_good_high=True,
        ),
        Number(
            "Waiting for the database",
            "1 while the database does not respond.",
            PanelQuery("max(signpost_ledger_waiting_for_database{@})"),
            "short",
            6,
            bad=1,
        ),
    )


def _writing() -> tuple[Panel, ...]:
    return (
        Panel("Outcomes written", "Per second.", (PanelQuery(_OUTCOMES, "outcomes"),), "ops"),
        Panel(
            "Behind, in seconds",
            "By process.",
            (PanelQuery("max by (instance) (signpost_ledger_lag_seconds{@})", "{{instance}}"),),
            "s",
        ),
        Panel(
            "Behind, in records",
            "Unread records by topic.",
            (PanelQuery(f"sum by (topic) (signpost_consumer_lag_records{{@}} {_OWN})", "{{topic}}"),),
        ),
        Panel(
            "Batch duration",
            "From the lookup of a batch's deliveries to its commit.",
            quantiles("signpost_ledger_batch_duration_seconds", 0.5, 0.99),
            "s",
        ),
        Panel(
            "Waiting",
            "1 while a process waits for the database or the brokers.",
            (
                PanelQuery("max by (instance) (signpost_ledger_waiting_for_database{@})", "{{instance}}: database"),
                PanelQuery(f"max by (instance) (signpost_waiting_for_broker{{@}} {_OWN})", "{{instance}}: brokers"),
            ),
        ),
        Panel(
            "Truncated or unreadable records",
            "Per second: deleted by retention before they were read, or unreadable, by reason.",
            (
                PanelQuery("sum(rate(signpost_ledger_truncated_records_total{@}[$__rate_interval]))", "truncated"),
                PanelQuery(
                    f"sum by (reason) (rate(signpost_unreadable_records_total{{@}}[$__rate_interval]) {_OWN})",
                    "{{reason}}",
                ),
            ),
            "ops",
        ),
    )
