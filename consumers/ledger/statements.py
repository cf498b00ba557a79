"""The statements that SQLite and PostgreSQL share. Both know `ON CONFLICT … DO UPDATE` and `excluded`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, Final, TypeAlias

from sqlalchemy import Table

from consumers.ledger.rows import Delivery, LedgerBatch, Totals
from consumers.ledger.tables import ATTEMPTS, DEAD_LETTERS, DELIVERIES, OPERATIONS, ROLLUPS, TOTALS, columns_of

# The latest attempt wins. An older one may arrive later: a subscription's jobs can move between delivery processes.
_LATEST: Final = ("last_at_ms", "last_status", "last_error")
_IS_LATER: Final = "excluded.last_at_ms >= coalesce(totals.last_at_ms, excluded.last_at_ms)"
_OF_EVENT: Final = ("subscription_id", "customer_id", "sender", "event_type", "event_id")


def columns(table: Table) -> str:
    """Return the columns of a table, for INSERT and COPY. `offset` and `partition` are key words of SQL."""
    return ", ".join(f'"{name}"' for name in columns_of(table))


def on_conflict(table: Table) -> str:
    """Return what happens to a row that exists: numbers are added; a delivery keeps its event and subscription.

    SQLite rewrites an index if the statement names one of its columns, even if the value is the same.
    """
    key = [column.name for column in table.primary_key.columns]
    fixed = {*key, *_OF_EVENT} if table is DELIVERIES else set(key)
    updates = ", ".join(f'"{name}" = {_updated(table, name)}' for name in columns_of(table) if name not in fixed)
    return f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {updates}"


def _updated(table: Table, name: str) -> str:
    if table is DELIVERIES or name in ("customer_id", "sender"):
        return f'excluded."{name}"'
    if name in _LATEST:
        return f"CASE WHEN {_IS_LATER} THEN excluded.{name} ELSE totals.{name} END"
    return f'{table.name}."{name}" + excluded."{name}"'


# Rows of these tables are only added. Those of the others may exist; deliveries are in both.
APPENDED: Final = (ATTEMPTS, DEAD_LETTERS, OPERATIONS, DELIVERIES)
UPSERTED: Final = (DELIVERIES, ROLLUPS, TOTALS)
Rows: TypeAlias = list[tuple[Table, Sequence[tuple[Any, ...]]]]
_delivery_row: Callable[[Delivery], tuple[Any, ...]] = attrgetter(*columns_of(DELIVERIES))
_totals_row: Callable[[Totals], tuple[Any, ...]] = attrgetter(*columns_of(TOTALS)[1:])


def appended_rows(batch: LedgerBatch) -> Rows:
    """Return the rows of a batch that are new, in the order of the columns, for each table that gets any."""
    rows: Rows = [
        (ATTEMPTS, batch.attempts),
        (DEAD_LETTERS, batch.dead_letters),
        (OPERATIONS, batch.operations),
        (DELIVERIES, list(map(_delivery_row, batch.deliveries))),
    ]
    return [one for one in rows if one[1]]


def upserted_rows(batch: LedgerBatch) -> Rows:
    """Return the rows of a batch that may exist, in the order of the columns, for each table that gets any."""
    rows: Rows = [
        (DELIVERIES, list(map(_delivery_row, batch.known_deliveries))),
        (ROLLUPS, [(*key, one.count, one.duration_us, *one.buckets) for key, one in batch.rollups.items()]),
        (TOTALS, [(id_, *_totals_row(total)) for id_, total in batch.totals.items()]),
    ]
    return [one for one in rows if one[1]]


def delivery_of(row: Iterable[Any]) -> Delivery:
    """Return a delivery from its row, whose columns are in the order of the fields."""
    return Delivery(*row)
