"""The writer for SQLite: one file, one writing process at a time."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from consumers.kafka.positions import PartitionKey
from consumers.ledger.database import SQLITE_PRAGMAS, away
from consumers.ledger.rows import Delivery, Kept, LedgerBatch
from consumers.ledger.statements import (
    APPENDED,
    UPSERTED,
    appended_rows,
    columns,
    delivery_of,
    on_conflict,
    upserted_rows,
)
from consumers.ledger.tables import DAILY, DELIVERIES, POSITIONS, columns_of
from consumers.ledger.writer import Overtaken

# A slice of old rows takes a few milliseconds. Between two slices the ledger writes what has arrived.
_SLICE: Final = 2_000
_DUPLICATES: Final = frozenset({sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE})
_PAGES: Final = 500
INSERTS: Final = {
    table: f"INSERT INTO {table.name} ({columns(table)}) VALUES ({', '.join('?' * len(columns_of(table)))})"
    for table in {*APPENDED, *UPSERTED, POSITIONS}
}
_FIRST: Final = f"{INSERTS[POSITIONS]} ON CONFLICT DO NOTHING"
_UPSERTS: Final = {table: f"{INSERTS[table]} {on_conflict(table)}" for table in UPSERTED}
_KNOWN: Final = (
    f"SELECT {columns(DELIVERIES)} FROM deliveries "
    "WHERE job_id IN (SELECT value FROM json_each(?)) AND appended_at_ms >= ? AND appended_at_ms < ?"
)
_ADVANCE: Final = 'UPDATE positions SET next_offset = ? WHERE topic = ? AND "partition" = ? AND next_offset = ?'


class SqliteWriter:
    """Implements writer.LedgerWriter on the file at `path`, whose tables exist."""

    def __init__(self, path: Path) -> None:
        with _translated():
            self._connection = sqlite3.connect(path, isolation_level=None)
            for pragma in SQLITE_PRAGMAS:
                self._connection.execute(pragma)

    def positions(self) -> dict[PartitionKey, int]:
        """Return the next offset of each partition that has one."""
        with _translated():
            rows = self._connection.execute(f"SELECT {columns(POSITIONS)} FROM positions")
            return {(topic, number): offset for topic, number, offset in rows}

    def known(self, job_ids: Collection[str], within: Kept) -> dict[str, Delivery]:
        """Return those of the deliveries that exist and whose events were appended within the times, by job id."""
        with _translated():
            rows = self._connection.execute(_KNOWN, (json.dumps(list(job_ids)), *within))
            return {delivery.job_id: delivery for delivery in map(delivery_of, rows)}

    def write(self, batch: LedgerBatch) -> None:
        """Write a batch in one transaction."""
        with _translated(), self._transaction():
            for (topic, number), (expected, next_offset) in batch.advances.items():
                self._advance(topic, number, expected, next_offset)
            for table, rows in appended_rows(batch):
                self._connection.executemany(INSERTS[table], rows)
            for table, rows in upserted_rows(batch):
                self._connection.executemany(_UPSERTS[table], rows)

    def keep(self, kept: Kept) -> bool:
        """Remove a slice of each table's oldest rows; their pages return to the file system in slices as well.

        Rows are in order of arrival, so a slice from the beginning finds the old ones without an index.
        """
        remaining = False
        with _translated():
            for name, column in DAILY.items():
                oldest = f"SELECT rowid, {column} AS at FROM {name} ORDER BY rowid LIMIT {_SLICE}"
                deleted = self._connection.execute(
                    f"DELETE FROM {name} WHERE rowid IN (SELECT rowid FROM ({oldest}) WHERE at < ?)", (kept.begin_ms,)
                )
                remaining |= deleted.rowcount > 0
            self._connection.execute(f"PRAGMA incremental_vacuum({_PAGES})").fetchall()
        return remaining

    def clear(self) -> None:
        """Remove all rows but totals and positions."""
        with _translated(), self._transaction():
            for name in DAILY:
                self._connection.execute(f"DELETE FROM {name}")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _advance(self, topic: str, number: int, expected: int | None, next_offset: int) -> None:
        if expected is None:
            changed = self._connection.execute(_FIRST, (topic, number, next_offset))
        else:
            changed = self._connection.execute(_ADVANCE, (next_offset, topic, number, expected))
        if changed.rowcount != 1:
            raise Overtaken(f"another process has written {topic} partition {number}")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError as error:
        if error.sqlite_errorcode not in _DUPLICATES:
            raise away(error) from error
        raise Overtaken("another process has written a delivery of this batch") from error
    except sqlite3.Error as error:
        raise away(error) from error
