"""Reads the ledger, for the API and consoles. It works while the ledger writes, and writes nothing itself.

Calls block: a process with an event loop makes them in threads of their own. A statement may take 5 s. Waiting for a
free connection, and connecting, may take another 5 s each. Every method raises DatabaseAway if the database does not
respond in that time, or refuses the request.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import ceil
from typing import Final, NamedTuple

from consumers.ledger.queries import (
    MAX_PAGE,
    Cursor,
    DeliveryScope,
    OfEvent,
    Period,
    attempts_of,
    deliveries_of,
    delivery_of,
    hours_of,
    totals_of,
)
from consumers.ledger.read_connections import ReadConnections
from consumers.ledger.rows import DAY_MS, Attempt, Delivery, Rollup, RollupKey, Totals
from schemas.records.delivery import State

STATEMENT_S: Final = 5.0
# Databases limit the parameters of a statement: SQLite to 32,766, PostgreSQL to 65,535.
_MAX_IDS: Final = 1_000


class Page(NamedTuple):
    """A page of a list, newest first. `next` is None if there are no more."""

    deliveries: list[Delivery]
    next: Cursor | None


class LedgerReads:
    """Reads the ledger at a URL: `sqlite:///<path>` or `postgresql://…`. Any thread may use it."""

    def __init__(self, url: str, *, statement_s: float = STATEMENT_S) -> None:
        self.connections = ReadConnections(url, statement_s)

    def totals(self, ids: Collection[str]) -> dict[str, Totals]:
        """Return the totals of those subscriptions that have any, by id. They never expire."""
        wanted = list(ids)
        parts = (wanted[begin : begin + _MAX_IDS] for begin in range(0, len(wanted), _MAX_IDS))
        return {row[0]: Totals(*row[1:]) for part in parts for row in self.connections.rows(*totals_of(part))}

    def deliveries(
        self,
        scope: DeliveryScope,
        period: Period,
        *,
        states: Sequence[State] | None = None,
        after: Cursor | None = None,
        limit: int = 50,
    ) -> Page:
        """Return deliveries whose events were appended within a period, newest first: at most 500 a page.

        `states` selects some states; None selects all. `after` is the `next` of the page before.
        """
        if states is not None and not states:
            return Page([], None)
        limit = max(1, min(limit, MAX_PAGE))
        since_ms, until_ms = period
        if after is not None:
            until_ms = min(until_ms, after.appended_at_ms + 1)
        found: list[Delivery] = []
        # All deliveries of an event have the same time: its list is not divided.
        days = None if isinstance(scope, OfEvent) else 1
        while since_ms < until_ms and len(found) <= limit:
            window = Period(since_ms if days is None else max(since_ms, until_ms - days * DAY_MS), until_ms)
            wanted = limit + 1 - len(found)
            rows = self.connections.rows(*deliveries_of(scope, window, states, after, wanted))
            found += [Delivery(*row) for row in rows]
            until_ms = window.since_ms
            days = _next_days(days, len(rows), wanted)
        page = found[:limit]
        return Page(page, Cursor(page[-1].appended_at_ms, page[-1].job_id) if len(found) > limit else None)

    def delivery(self, job_id: str, period: Period) -> Delivery | None:
        """Return the delivery of a job whose event was appended within a period; None if there is none."""
        rows = self.connections.rows(*delivery_of(job_id, period))
        return Delivery(*rows[0]) if rows else None

    def attempts(self, delivery: Delivery, until_ms: int) -> list[Attempt]:
        """Return the attempts of a delivery that were recorded before a time, newest first: the latest 1,000."""
        return [Attempt(*row) for row in self.connections.rows(*attempts_of(delivery, until_ms))]

    def hours(self, subscription_id: str, period: Period) -> dict[RollupKey, Rollup]:
        """Return the numbers of a subscription by hour and result, for the hours that begin within a period."""
        return {
            RollupKey(*row[:3]): Rollup(row[3], row[4], list(row[5:]))
            for row in self.connections.rows(*hours_of(subscription_id, period))
        }

    def close(self) -> None:
        """Close all connections."""
        self.connections.close()


def _next_days(days: int | None, rows: int, wanted: int) -> int | None:
    """Return the days of the next window, None for the rest of the period.

    The window is twice what the missing rows need if each day has as many rows as those of the last window.

    Most pages are full after the newest day. PostgreSQL takes longer to plan a query over 30 partitions than to execute
    it, but two such queries take longer than one.
    """
    return ceil(2 * days * (wanted - rows) / rows) if days and rows else None
