"""The REST APIs: requests, errors, durations, changes."""

from __future__ import annotations

from typing import Final

from deploy.reference.dashboards.panels import (
    Board,
    Number,
    Panel,
    PanelQuery,
    PanelRow,
    cpu_panel,
    memory_panel,
    quantiles,
)

_OWN: Final = 'and on (instance, job) signpost_build_info{role="api"}'
_REQUESTS: Final = "rate(signpost_api_requests_total{%s}[$__rate_interval])"
# A test whose endpoint fails is answered with 502.
_OURS: Final = '@, operation!="test"'
_5XX: Final = ', status="5xx"'
_ERRORS: Final = f"(sum({_REQUESTS % (_OURS + _5XX)}) or vector(0))"
_SHARE: Final = f"{_ERRORS} / sum({_REQUESTS % _OURS})"
_DURATION: Final = "signpost_api_request_duration_seconds"


def board() -> Board:
    """Return the dashboard."""
    return Board(
        "api",
        "API",
        (PanelRow("Now", _now()), PanelRow("Requests", _requests()), PanelRow("Process", _process())),
        "api",
    )


def _now() -> tuple[Number, ...]:
    return (
        Number("Requests", "Per second.", PanelQuery(f"sum({_REQUESTS % '@'})"), "ops", 8),
        Number(
            "Errors of the API",
            "Share of the requests with a 5xx response. Test deliveries do not count.",
            PanelQuery(_SHARE),
            "percentunit",
            8,
            warning=0.01,
            bad=0.05,
        ),
        Number(
            "Duration, p99",
            "99th percentile. Test deliveries do not count: they wait for the endpoint.",
            quantiles(_DURATION, 0.99, matching='operation!="test"')[0],
            "s",
            8,
            warning=1,
            bad=5,
        ),
    )


def _requests() -> tuple[Panel, ...]:
    refused = _REQUESTS % '@, status="4xx"'
    return (
        Panel(
            "Requests",
            "Per second, by API and operation.",
            (PanelQuery(f"sum by (flavour, operation) ({_REQUESTS % '@'})", "{{flavour}} {{operation}}"),),
            "ops",
        ),
        Panel(
            "Statuses",
            "Responses per second, by class of the status.",
            (PanelQuery(f"sum by (status) ({_REQUESTS % '@'})", "{{status}}"),),
            "ops",
        ),
        Panel(
            "Errors of the API",
            "Share of the requests with a 5xx response. Test deliveries do not count.",
            (PanelQuery(_SHARE, "5xx"),),
            "percentunit",
        ),
        Panel(
            "Duration",
            "From the headers of a request to its response. Test deliveries do not count.",
            quantiles(_DURATION, 0.5, 0.99, matching='operation!="test"'),
            "s",
        ),
        Panel(
            "Duration by operation",
            "The 99th percentile.",
            quantiles(_DURATION, 0.99, by="operation", legend="{{operation}} p99"),
            "s",
        ),
        Panel(
            "Changes",
            "Changes of subscriptions per second, by their effect.",
            (PanelQuery("sum by (effect) (rate(signpost_api_writes_total{@}[$__rate_interval]))", "{{effect}}"),),
            "ops",
        ),
        Panel(
            "Refused requests",
            "4xx responses per second, by operation.",
            (PanelQuery(f"sum by (operation) ({refused}) or vector(0)", "{{operation}}"),),
            "ops",
        ),
    )


def _process() -> tuple[Panel, ...]:
    return (
        Panel(
            "Waiting for the brokers",
            "1 while a process waits.",
            (PanelQuery(f"max by (instance) (signpost_waiting_for_broker{{@}} {_OWN})", "{{instance}}"),),
        ),
        cpu_panel(_OWN),
        memory_panel(_OWN),
    )
