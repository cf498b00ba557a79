"""The statements that SQLite and PostgreSQL share. Both know `ON CONFLICT … DO UPDATE` and `excluded`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import Table

from consumers.ledger.rows import Delivery, LedgerBatch, Rollup, RollupKey, Totals
from consumers.ledger.tables import ATTEMPTS, DEAD_LETTERS, DELIVERIES, OPERATIONS, ROLLUPS, TOTALS, columns_of

# The latest attempt wins. An older one may arrive later: a subscription's jobs can move between delivery processes.
_LATEST: Final = ("last_at_ms", "last_status", "last_error")
_IS_LATER: Final = "excluded.last_at_ms >= coalesce(totals.last_at_ms, excluded.last_at_ms)"


def columns(table: Table) -> str:
    """Return the columns of a table, for INSERT and COPY. `offset` and `partition` are key words of SQL."""
    return ", ".join(f'"{name}"' for name in columns_of(table))


def on_conflict(table: Table) -> str:
    """Return what happens to a row that exists: a delivery is replaced, numbers are added."""
    key = [column.name for column in table.primary_key.columns]
    updates = ", ".join(f'"{name}" = {_updated(table, name)}' for name in columns_of(table) if name not in key)
    return f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {updates}"


def _updated(table: Table, name: str) -> str:
    if table is DELIVERIES or name in ("customer_id", "sender"):
        return f'excluded."{name}"'
    if name in _LATEST:
        return f"CASE WHEN {_IS_LATER} THEN excluded.{name} ELSE totals.{name} END"
    return f'{table.name}."{name}" + excluded."{name}"'


# Rows of these tables are only added; those of the others may exist.
APPENDED: Final = (ATTEMPTS, DEAD_LETTERS, OPERATIONS)
UPSERTED: Final = (DELIVERIES, ROLLUPS, TOTALS)
_delivery_row: Callable[[Delivery], tuple[Any, ...]] = attrgetter(*columns_of(DELIVERIES))
_totals_row: Callable[[Totals], tuple[Any, ...]] = attrgetter(*columns_of(TOTALS)[1:])


def rows_of(batch: LedgerBatch) -> list[tuple[Table, Iterable[tuple[Any, ...]]]]:
    """Return the rows of a batch by table, in the order of the columns."""
    return [
        (ATTEMPTS, batch.attempts),
        (DEAD_LETTERS, batch.dead_letters),
        (OPERATIONS, batch.operations),
        (DELIVERIES, map(_delivery_row, batch.deliveries)),
        (ROLLUPS, (_rollup_row(key, rollup) for key, rollup in batch.rollups.items())),
        (TOTALS, ((id_, *_totals_row(total)) for id_, total in batch.totals.items())),
    ]


def _rollup_row(key: RollupKey, rollup: Rollup) -> tuple[Any, ...]:
    return (*key, rollup.count, rollup.duration_us, *rollup.buckets)


def delivery_of(row: Iterable[Any]) -> Delivery:
    """Return a delivery from its row."""
    return Delivery(**dict(zip(columns_of(DELIVERIES), row, strict=True)))
