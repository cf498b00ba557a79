"""The writer for PostgreSQL, 14 or later: binary COPY, and partitions by day."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import psycopg
from psycopg import sql
from sqlalchemy import BigInteger, Integer, LargeBinary, Table

from consumers.kafka.positions import PartitionKey
from consumers.ledger.database import away
from consumers.ledger.rows import DAY_MS, Delivery, Kept, LedgerBatch
from consumers.ledger.statements import UPSERTED, appended_rows, columns, delivery_of, on_conflict, upserted_rows
from consumers.ledger.tables import DAILY, DELIVERIES, POSITIONS
from consumers.ledger.writer import DatabaseAway, Overtaken

# Compiling a statement would cost more than executing it.
_SESSION: Final = "SET jit = off"
_STAGE: Final = "CREATE TEMPORARY TABLE stage_{name} (LIKE {name} INCLUDING DEFAULTS) ON COMMIT DELETE ROWS"
_UPSERTS: Final = {
    table: f"INSERT INTO {table.name} ({columns(table)}) SELECT {columns(table)} FROM stage_{table.name} "
    + on_conflict(table)
    for table in UPSERTED
}
_KNOWN: Final = (
    f"SELECT {columns(DELIVERIES)} FROM deliveries "
    "WHERE job_id = ANY(%s) AND appended_at_ms >= %s AND appended_at_ms < %s"
)
_ADVANCE: Final = 'UPDATE positions SET next_offset = %s WHERE topic = %s AND "partition" = %s AND next_offset = %s'
_FIRST: Final = "INSERT INTO positions VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
_PARTITIONS: Final = """
    SELECT child.relname FROM pg_inherits
    JOIN pg_class child ON child.oid = inhrelid JOIN pg_class parent ON parent.oid = inhparent
    WHERE parent.relname = %s AND parent.relnamespace = current_schema()::regnamespace
"""


class PostgresWriter:
    """Implements writer.LedgerWriter on a database whose tables exist. It connects at the first call, and again."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: psycopg.Connection | None = None

    def positions(self) -> dict[PartitionKey, int]:
        """Return the next offset of each partition that has one."""
        with self._transaction() as cursor:
            cursor.execute(f"SELECT {columns(POSITIONS)} FROM positions")
            return {(topic, number): offset for topic, number, offset in cursor.fetchall()}

    def known(self, job_ids: Collection[str], within: Kept) -> dict[str, Delivery]:
        """Return those of the deliveries that exist and whose events were appended within the times, by job id."""
        with self._transaction() as cursor:
            cursor.execute(_KNOWN, (list(job_ids), *within))
            return {delivery.job_id: delivery for delivery in map(delivery_of, cursor.fetchall())}

    def write(self, batch: LedgerBatch) -> None:
        """Write a batch in one transaction, the positions first: their locks keep out other processes."""
        try:
            with self._transaction() as cursor:
                _advance(cursor, batch)
                for table, rows in appended_rows(batch):
                    copy_rows(cursor, table, table.name, rows)
                for table, rows in upserted_rows(batch):
                    copy_rows(cursor, table, f"stage_{table.name}", rows)
                    cursor.execute(_UPSERTS[table])
        except DatabaseAway as error:
            if isinstance(error.__cause__, psycopg.errors.UniqueViolation):
                raise Overtaken("another process has written a delivery of this batch") from error
            raise

    def keep(self, kept: Kept) -> bool:
        """Create the partitions of all days to keep, and drop older ones."""
        with self._transaction() as cursor:
            for table in DAILY:
                cursor.execute(_PARTITIONS, (table,))
                found = {name for (name,) in cursor.fetchall()}
                wanted = {_partition(table, begin): begin for begin in range(kept.begin_ms, kept.end_ms, DAY_MS)}
                for name in sorted(wanted.keys() - found):
                    begin = wanted[name]
                    cursor.execute(
                        sql.SQL("CREATE TABLE IF NOT EXISTS {} PARTITION OF {} FOR VALUES FROM ({}) TO ({})").format(
                            sql.Identifier(name), sql.Identifier(table), sql.Literal(begin), sql.Literal(begin + DAY_MS)
                        )
                    )
                for name in sorted(one for one in found if one < min(wanted)):
                    cursor.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))
        return False

    def clear(self) -> None:
        """Remove all rows but totals and positions."""
        with self._transaction() as cursor:
            cursor.execute(f"TRUNCATE {', '.join(DAILY)}")

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[psycopg.Cursor[Any]]:
        try:
            if self._connection is None or self._connection.closed:
                self._connection = _connect(self._url)
            with self._connection.transaction(), self._connection.cursor(binary=True) as cursor:
                yield cursor
        except psycopg.Error as error:
            if self._connection is not None and self._connection.broken:
                self._connection.close()
            raise away(error) from error


def _connect(url: str) -> psycopg.Connection:
    connection = psycopg.connect(url, autocommit=True, connect_timeout=5, application_name="signpost-ledger")
    connection.execute(_SESSION)
    for table in UPSERTED:
        connection.execute(_STAGE.format(name=table.name))
    return connection


def _advance(cursor: psycopg.Cursor[Any], batch: LedgerBatch) -> None:
    """Advance all positions in one round trip."""
    advances = sorted(batch.advances.items())
    first: list[tuple[Any, ...]] = [(*key, to) for key, (expected, to) in advances if expected is None]
    later: list[tuple[Any, ...]] = [(to, *key, expected) for key, (expected, to) in advances if expected is not None]
    for statement, rows in ((_FIRST, first), (_ADVANCE, later)):
        if rows:
            cursor.executemany(statement, rows)
            if cursor.rowcount != len(rows):
                raise Overtaken("another process has written a partition of this batch")


def copy_rows(cursor: psycopg.Cursor[Any], table: Table, target: str, rows: Iterable[tuple[Any, ...]]) -> None:
    """Add rows of a table to `target`, which has its columns."""
    with cursor.copy(f"COPY {target} ({columns(table)}) FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types([_type(column.type) for column in table.columns])
        for row in rows:
            copy.write_row(row)


def _type(column: object) -> str:
    match column:
        case BigInteger():
            return "int8"
        case Integer():
            return "int4"
        case LargeBinary():
            return "bytea"
    return "text"


def _partition(table: str, begin_ms: int) -> str:
    """Return the name of a day's partition, such as `attempts_20261130`; names sort by day."""
    return f"{table}_{datetime.fromtimestamp(begin_ms / 1_000, UTC):%Y%m%d}"
