"""Reports the endpoints of a process that need attention, from admission control and endpoint health. Pure.

A report holds nothing secret: no URL path or query, no header, no body.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from consumers.delivery.admission import AdmissionControl, EndpointView, worst_endpoints
from consumers.delivery.endpoint import Endpoint
from consumers.delivery.partitions.reader import Reader
from consumers.delivery.results.health import HealthTracker
from consumers.subscriptions.table import SubscriptionTable
from schemas.records.health import Health
from schemas.records.partitioner import partition_of

# Maximum number of endpoints in a report.
MOST: Final = 200
_STATUS: Final = "status_"


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """One endpoint; times are Unix ms.

    `last_error` is a kind of failure. `silent_since_ms`: requests are in flight, and none has ended since then.
    `deferred` counts jobs in delay topics, as far as this process knows. No request starts before `due_at_ms`.
    `disabled` is the reason, or empty.
    """

    subscription_id: str
    customer_id: str
    sender: str
    host: str
    failing_since_ms: int | None = None
    last_status: int | None = None
    last_error: str | None = None
    silent_since_ms: int | None = None
    in_flight: int = 0
    limit: int | None = None
    waiting: int = 0
    deferred: int = 0
    per_second: float | None = None
    due_at_ms: int | None = None
    circuit: str = "closed"
    limited_by: str | None = None
    disabled: str = ""


@dataclass(frozen=True, slots=True)
class EndpointReport:
    """The endpoints of a process at `at_ms` (Unix ms), worst first, and the number of its disabled subscriptions."""

    at_ms: int
    disabled: int
    endpoints: tuple[EndpointRow, ...]


def rank(row: EndpointRow) -> tuple[int, int, int]:
    """Return the sort key: failing or unresponsive endpoints, longest first; largest backlogs; disabled ones."""
    since = [at_ms for at_ms in (row.failing_since_ms, row.silent_since_ms) if at_ms is not None]
    group = 2 if row.disabled else 0 if since else 1
    return group, min(since, default=0), -(row.waiting + row.deferred)


def row_of(fields: Mapping[str, Any]) -> EndpointRow:
    """Return the row that a process of any version sent; KeyError if it names no subscription."""
    known = {name: fields[name] for name in EndpointRow.__slots__ if name in fields}
    texts = dict.fromkeys(("customer_id", "sender", "host"), "")
    return EndpointRow(**{**texts, "subscription_id": fields["subscription_id"], **known})


class EndpointReports:
    """Makes the reports of a process. `partition_count` is the number of partitions of each delay topic."""

    def __init__(
        self,
        admission: AdmissionControl,
        health: HealthTracker,
        table: SubscriptionTable[Endpoint],
        reader: Reader,
        partition_count: int,
    ) -> None:
        self._admission = admission
        self._health = health
        self._table = table
        self._reader = reader
        self._partition_count = partition_count

    def make(self, now_ms: int) -> EndpointReport:
        """Return the report at `now_ms` (Unix ms): at most `MOST` endpoints."""
        # Admission control knows endpoints for some minutes after their partition went to another process, which
        # reports them now: they are left out.
        views = {view.subscription_id: view for view in worst_endpoints(self._admission.endpoints, 2 * MOST, now_ms)}
        known = (entry.health for entry in self._health.known.values())
        longest = heapq.nsmallest(2 * MOST, known, key=_badness)
        ids = dict.fromkeys((*views, *(health.subscription_id for health in longest)))
        owned = {partition.number for partition in self._reader.partitions.values()}
        ours = (id_ for id_ in ids if partition_of(id_, self._partition_count) in owned)
        rows = [row for id_ in ours if (row := self._row(id_, views.get(id_))) is not None]
        return EndpointReport(now_ms, self._health.disabled, tuple(heapq.nsmallest(MOST, rows, key=rank)))

    def _row(self, id_: str, view: EndpointView | None) -> EndpointRow | None:
        entry = self._table.get(id_)
        if entry is None or entry.value.paused:
            return None
        endpoint = entry.value
        health = self._health.of(id_)
        if health is not None and health.activation < endpoint.activation:
            health = None  # void since a `resume`
        if view is None:
            return None if health is None else EndpointRow(**_identity(endpoint), **_failure(health))
        fields = {name: getattr(view, name) for name in _VIEW_FIELDS}
        if health is not None:
            fields |= _failure(health)
        if view.failing_since_ms is not None:
            since = [at_ms for at_ms in (view.failing_since_ms, fields.get("failing_since_ms")) if at_ms is not None]
            fields |= {"failing_since_ms": min(since), **_last(view.last_label)}
        return EndpointRow(**_identity(endpoint), **fields)


_VIEW_FIELDS: Final = (
    "silent_since_ms",
    "in_flight",
    "limit",
    "waiting",
    "deferred",
    "per_second",
    "due_at_ms",
    "circuit",
    "limited_by",
)


def _badness(health: Health) -> tuple[bool, int]:
    return health.disabled_at_ms is not None, health.failing_since_ms


def _identity(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "subscription_id": endpoint.subscription_id,
        "customer_id": endpoint.customer_id,
        "sender": endpoint.sender.name,
        "host": endpoint.host,
    }


def _failure(health: Health) -> dict[str, Any]:
    return {
        "failing_since_ms": health.failing_since_ms,
        "last_status": health.last_status,
        "last_error": health.last_error,
        "disabled": health.reason if health.disabled_at_ms is not None else "",
    }


def _last(label: str) -> dict[str, Any]:
    if label.startswith(_STATUS):
        return {"last_status": int(label.removeprefix(_STATUS)), "last_error": None}
    return {"last_status": None, "last_error": label or None}
