"""Reads the plan of a query and reports scans of whole tables, and of partitions outside of a period.

`rows_read` of PostgreSQL also shows a query that reads an index but throws most of it away.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import psycopg

from consumers.ledger.queries import Period
from consumers.ledger.rows import DAY_MS

_PARTITION: Final = re.compile(r"_(\d{8})$")
_SQLITE_STEP: Final = re.compile(r"^(?:SCAN|SEARCH) (\S+)(.*)$")
# SQLAlchemy's names of subqueries, and SQLite's.
_SUBQUERY: Final = re.compile(r"anon_\d+|\(subquery-\d+\)")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a plan does wrong, and how many rows of tables it read: None if the database does not count them."""

    faults: list[str]
    tables: set[str]
    rows_read: int | None = None


def postgresql_plan(connection: psycopg.Connection, query: str, parameters: Any, period: Period | None) -> Plan:
    """Execute a query and return its plan. With a period, a partition of another day is a fault."""
    [(found,)] = connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", parameters).fetchall()
    faults: list[str] = []
    tables: set[str] = set()
    rows_read = 0
    for node in _nodes(found[0]["Plan"]):
        kind, table = node["Node Type"], node.get("Relation Name")
        if "Index" in kind and "Index Cond" not in node:
            faults.append(f"{kind} of the whole index {node['Index Name']}")
        if table is None:
            continue
        tables.add(table)
        if kind == "Seq Scan":
            faults.append(f"Seq Scan of {table}")
        if period is not None and not _is_within(table, period):
            faults.append(f"{kind} of {table}, which has no row of the period")
        dropped = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
        rows_read += int(node["Actual Loops"] * (node["Actual Rows"] + dropped))
    return Plan(faults, tables, rows_read)


def sqlite_plan(connection: sqlite3.Connection, query: str, parameters: Sequence[Any] = ()) -> Plan:
    """Return the plan of a query. SQLite names each table and index that it searches or scans."""
    steps = connection.execute(f"EXPLAIN QUERY PLAN {query}", parameters).fetchall()
    faults: list[str] = []
    tables: set[str] = set()
    for _, _, _, detail in steps:
        step = _SQLITE_STEP.match(detail)
        if step is None or _SUBQUERY.fullmatch(step[1]):
            continue
        tables.add(step[1])
        if detail.startswith("SCAN") or "=?" not in step[2]:
            faults.append(detail)
    return Plan(faults, tables)


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def _is_within(table: str, period: Period) -> bool:
    day = _PARTITION.search(table)
    if day is None:
        return True
    begin = datetime.strptime(day[1], "%Y%m%d").replace(tzinfo=UTC)
    begin_ms = int(begin.timestamp() * 1_000)
    return begin_ms < period.until_ms and begin_ms + DAY_MS > period.since_ms
