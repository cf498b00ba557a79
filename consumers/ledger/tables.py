"""The tables of the ledger. `migrations/` creates them; a test compares the two.

In PostgreSQL all tables but `totals` and `positions` are partitioned by day (`DAILY`). The ledger makes the partitions
ahead and drops old ones, so nothing is ever deleted row by row. SQLite deletes old rows in slices (sqlite.py).

No table has a payload: the request body is in `jobs.0s` at `job_partition` and `job_offset`. No query counts rows of
`attempts`; `rollups` and `totals` have the numbers. An index exists only if a query of queries.py uses it, because each
one costs CPU for each attempt.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, Table, Text

from consumers.ledger.rows import BUCKETS

METADATA: Final = MetaData()
# PostgreSQL then compares bytes, as SQLite does. The collation of a language compares more slowly.
TEXT: Final = Text().with_variant(Text(collation="C"), "postgresql")
# The column with the time in Unix ms by which each table is partitioned.
DAILY: Final = {
    "attempts": "recorded_at_ms",
    "dead_letters": "recorded_at_ms",
    "operations": "recorded_at_ms",
    "deliveries": "appended_at_ms",
    "rollups": "hour_ms",
}


def _table(name: str, *items: Column[Any] | Index) -> Table:
    options: dict[str, Any] = {"postgresql_partition_by": f"RANGE ({DAILY[name]})"} if name in DAILY else {}
    return Table(name, METADATA, *items, **options)


def _text(name: str, *, nullable: bool = False) -> Column[str]:
    return Column(name, TEXT, nullable=nullable)


def _number(name: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, Integer, nullable=nullable)


def _big(name: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable)


ATTEMPTS: Final = _table(
    "attempts",
    _big("recorded_at_ms"),
    _number("partition"),
    _big("offset"),
    _text("job_id"),
    _number("run"),
    _number("attempt"),
    _text("subscription_id"),
    _text("customer_id"),
    _text("sender"),
    _text("event_type"),
    _text("event_id"),
    _text("state"),
    _text("reason"),
    _number("status", nullable=True),
    _text("error", nullable=True),
    _text("host"),
    _big("at_ms"),
    _big("duration_us"),
    _big("next_due_at_ms", nullable=True),
    Column("response", LargeBinary, nullable=True),
    _big("response_not_kept"),
    _number("job_partition"),
    _big("job_offset"),
    _big("appended_at_ms"),
    Index("attempts_by_delivery", "appended_at_ms", "job_id"),
)

DEAD_LETTERS: Final = _table(
    "dead_letters",
    _big("recorded_at_ms"),
    _number("partition"),
    _big("offset"),
    _big("at_ms"),
    _text("reason"),
    _text("detail"),
    _text("source_topic"),
    _number("source_partition"),
    _big("source_offset"),
    _text("job_id", nullable=True),
    _text("subscription_id", nullable=True),
    _text("event_id", nullable=True),
    _number("attempts"),
)

OPERATIONS: Final = _table(
    "operations",
    _big("recorded_at_ms"),
    _number("partition"),
    _big("offset"),
    _big("at_ms"),
    _text("kind"),
    _text("subscription_id", nullable=True),
    _text("customer_id", nullable=True),
    _text("sender", nullable=True),
    _big("since_ms", nullable=True),
    _text("reason"),
    _number("status", nullable=True),
    _text("error", nullable=True),
    _text("source_topic", nullable=True),
    _number("source_partition", nullable=True),
    _big("from_offset", nullable=True),
    _big("to_offset", nullable=True),
    _text("actor", nullable=True),
    _text("request_id", nullable=True),
    _text("changed"),
    _text("key_id", nullable=True),
)

DELIVERIES: Final = _table(
    "deliveries",
    Column("job_id", TEXT, primary_key=True),
    Column("appended_at_ms", BigInteger, primary_key=True, autoincrement=False),
    _text("subscription_id"),
    _text("customer_id"),
    _text("sender"),
    _text("event_type"),
    _text("event_id"),
    _number("run"),
    _text("state"),
    _text("reason"),
    _number("attempts"),
    _big("last_at_ms", nullable=True),
    _number("last_status", nullable=True),
    _text("last_error", nullable=True),
    _big("next_due_at_ms", nullable=True),
    _big("ended_runs"),
    Index("deliveries_by_subscription", "subscription_id", "state", "appended_at_ms"),
    Index("deliveries_by_customer", "customer_id", "sender", "state", "appended_at_ms"),
    Index("deliveries_by_event", "event_id"),
)

ROLLUPS: Final = _table(
    "rollups",
    Column("subscription_id", TEXT, primary_key=True),
    Column("hour_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("result", TEXT, primary_key=True),
    _big("count"),
    _big("duration_us"),
    *(_big(f"bucket_{number}") for number in range(BUCKETS)),
)

TOTALS: Final = _table(
    "totals",
    Column("subscription_id", TEXT, primary_key=True),
    _text("customer_id"),
    _text("sender"),
    _big("delivered"),
    _big("dead"),
    _big("cancelled"),
    _big("attempts"),
    _big("last_at_ms", nullable=True),
    _number("last_status", nullable=True),
    _text("last_error", nullable=True),
)

POSITIONS: Final = _table(
    "positions",
    Column("topic", TEXT, primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    _big("next_offset"),
)


def columns_of(table: Table) -> tuple[str, ...]:
    """Return the names of a table's columns, in order."""
    return tuple(column.name for column in table.columns)
