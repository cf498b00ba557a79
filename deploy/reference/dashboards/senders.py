"""One sender, or several: their events, attempts, errors and latencies."""

from __future__ import annotations

from typing import Final

from deploy.reference.dashboards.panels import Board, Number, Panel, PanelQuery, PanelRow, quantiles, variable

_SENDER: Final = 'sender=~"$sender"'
_ATTEMPTS: Final = "rate(signpost_delivery_attempts_total{@, %s}[$__rate_interval])"
_ALL: Final = _ATTEMPTS % _SENDER
_FAILED: Final = _ATTEMPTS % f'{_SENDER}, result!="delivered"'
_EVENTS: Final = f"rate(signpost_router_events_total{{@, {_SENDER}}}[$__rate_interval])"
_JOBS: Final = f"rate(signpost_router_jobs_total{{@, {_SENDER}}}[$__rate_interval])"


def board() -> Board:
    """Return the dashboard."""
    rows = (
        PanelRow("Senders: $sender", _now()),
        PanelRow("Events and jobs", _events()),
        PanelRow("Attempts", _attempts()),
        PanelRow("Latency", _latency()),
    )
    senders = variable("sender", "Sender", "label_values(signpost_delivery_attempts_total, sender)")
    return Board("senders", "senders", rows, variables=(senders,))


def _now() -> tuple[Number, ...]:
    return (
        Number("Events", "Events routed, per second.", PanelQuery(f"sum({_EVENTS})"), "ops", 6),
        Number(
            "Delivered",
            "Attempts with a 2xx response, per second.",
            PanelQuery(f"sum({_ATTEMPTS})" % f'{_SENDER}, result="delivered"'),
            "ops",
            6,
        ),
        Number(
            "Failed attempts",
            "Share of the attempts without a 2xx response.",
            PanelQuery(f"sum({_FAILED}) / sum({_ALL})"),
            "percentunit",
            6,
            warning=0.1,
            bad=0.5,
        ),
        Number(
            "Jobs per event",
            "How many subscriptions take an event.",
            PanelQuery(f"sum({_JOBS}) / sum({_EVENTS})"),
            "short",
            6,
        ),
    )


def _events() -> tuple[Panel, ...]:
    return (
        Panel(
            "Events by type",
            "Events routed, per second.",
            (PanelQuery(f"sum by (sender, event_type) ({_EVENTS})", "{{sender}} {{event_type}}"),),
            "ops",
        ),
        Panel(
            "Jobs by type",
            "Jobs created, per second.",
            (PanelQuery(f"sum by (sender, event_type) ({_JOBS})", "{{sender}} {{event_type}}"),),
            "ops",
        ),
        Panel(
            "Age of events",
            "From `created_at`, as the producer set it, to the routing of the event.",
            quantiles(
                "signpost_router_event_age_seconds", 0.99, by="sender", matching=_SENDER, legend="{{sender}} p99"
            ),
            "s",
        ),
    )


def _attempts() -> tuple[Panel, ...]:
    return (
        Panel(
            "By result",
            "Attempts per second.",
            (PanelQuery(f"sum by (sender, result) ({_ALL})", "{{sender}} {{result}}"),),
            "ops",
        ),
        Panel(
            "By type",
            "Attempts per second.",
            (PanelQuery(f"sum by (sender, event_type) ({_ALL})", "{{sender}} {{event_type}}"),),
            "ops",
        ),
        Panel(
            "Failed, by sender",
            "Share of the attempts without a 2xx response.",
            (PanelQuery(f"sum by (sender) ({_FAILED}) / sum by (sender) ({_ALL})", "{{sender}}"),),
            "percentunit",
        ),
    )


def _latency() -> tuple[Panel, ...]:
    first, duration = "signpost_delivery_first_attempt_latency_seconds", "signpost_delivery_attempt_duration_seconds"
    own, waited = (f'{_SENDER}, limited="{limited}"' for limited in ("no", "yes"))
    return (
        Panel(
            "Event to first attempt",
            "From when the event could be read. Jobs that waited for a limit of their endpoint do not count.",
            quantiles(first, 0.99, by="sender", matching=own, legend="{{sender}} p99"),
            "s",
            12,
        ),
        Panel(
            "Attempt duration",
            "From the start of an attempt to its response.",
            quantiles(duration, 0.99, by="sender", matching=_SENDER, legend="{{sender}} p99"),
            "s",
            12,
        ),
        Panel(
            "First attempts that started within 5 s",
            "Share of the first attempts. Jobs that waited for a limit of their endpoint do not count.",
            (
                PanelQuery(
                    f'sum by (sender) (rate({first}_bucket{{@, {own}, le="5.0"}}[$__rate_interval])) '
                    f"/ sum by (sender) (rate({first}_count{{@, {own}}}[$__rate_interval]))",
                    "{{sender}}",
                ),
            ),
            "percentunit",
            12,
        ),
        Panel(
            "First attempts that waited for their endpoint",
            "Per second. A limit of the endpoint delayed them.",
            (PanelQuery(f"sum(rate({first}_count{{@, {waited}}}[$__rate_interval])) or vector(0)", "waited"),),
            "ops",
            12,
        ),
    )
