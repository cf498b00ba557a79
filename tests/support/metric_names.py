"""Every metric that a query may use, with its labels: for tests of dashboards and alerts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Final

from consumers.service.metrics import SPECS, ApiMetrics, DeliveryMetrics, LedgerMetrics, RoleMetrics, RouterMetrics

# Labels that Prometheus adds: of the scrape, of the cluster, and the bounds of histograms.
SCRAPED: Final = frozenset({"cluster", "namespace", "job", "instance", "le"})
_NAME: Final = re.compile(r"\b(?:signpost|process)_[a-z0-9_]+\b")
_RECORDED: Final = re.compile(r"\bsignpost(?::\w+)+")
_TEXT: Final = re.compile(r'"[^"]*"')
_GROUPING: Final = re.compile(r"\b(?:by|on|without|ignoring) \(([^)]*)\)")
_SELECTOR: Final = re.compile(r"\{([^{}]*)\}")
_MATCHER: Final = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")


@cache
def names_and_labels() -> dict[str, set[str]]:
    """Return every metric name that a query can use, with its labels."""
    names: dict[str, set[str]] = {}
    labels = {spec.name.removesuffix("_total"): set(spec.labels) for spec in SPECS}
    roles: tuple[RoleMetrics, ...] = (RouterMetrics({}), DeliveryMetrics({}), LedgerMetrics(), ApiMetrics())
    for metrics in roles:
        for family in metrics.registry.collect():
            suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
            names |= {family.name + suffix: labels.get(family.name, set()) for suffix in suffixes}
    return names


def metrics_in(query: str) -> set[str]:
    """Return the names of the metrics in a query."""
    return set(_NAME.findall(_RECORDED.sub("", _TEXT.sub("", query))))


def recorded_in(query: str) -> set[str]:
    """Return the names of recording rules in a query."""
    return set(_RECORDED.findall(query))


def labels_in(query: str) -> set[str]:
    """Return the labels in the selectors and groupings of a query."""
    grouped = {label.strip() for group in _GROUPING.findall(query) for label in group.split(",")} - {""}
    return grouped | {label for selector in _SELECTOR.findall(query) for label in _MATCHER.findall(selector)}


def unknown_in(query: str, recorded: Mapping[str, set[str]], names: Mapping[str, set[str]]) -> set[str]:
    """Return the metrics and labels of a query that do not exist. `recorded` are the labels of recording rules."""
    metrics, rules = metrics_in(query), recorded_in(query)
    known = set(SCRAPED).union(
        *(names.get(metric, set()) for metric in metrics), *(recorded.get(rule, set()) for rule in rules)
    )
    return (metrics - names.keys()) | (rules - recorded.keys()) | (labels_in(query) - known)
