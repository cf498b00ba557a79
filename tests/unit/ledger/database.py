"""A database with the tables of the ledger, written by its writers and read as a tool would read it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg

from consumers.ledger.database import migrate
from consumers.ledger.fold import fold
from consumers.ledger.lookup import look_up
from consumers.ledger.postgresql import PostgresWriter
from consumers.ledger.rows import Advance, Attempt, Kept, Unwritten
from consumers.ledger.sqlite import SqliteWriter
from consumers.ledger.writer import LedgerWriter
from tests.unit.ledger.test_fold import KEPT

TOPIC = "outcomes"


class Database:
    """An empty database with the tables of the ledger."""

    def __init__(self, url: str) -> None:
        self.url = url
        migrate(url)

    def writer(self) -> LedgerWriter:
        """Return a writer of its own connection, which has prepared the days to keep."""
        writer = self.opened()
        writer.keep(KEPT)
        return writer

    def opened(self) -> LedgerWriter:
        """Return a writer of its own connection."""
        if self.url.startswith("sqlite"):
            return SqliteWriter(Path(self.url.removeprefix("sqlite:///")))
        return PostgresWriter(self.url)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        if self.url.startswith("sqlite"):
            with closing(sqlite3.connect(self.url.removeprefix("sqlite:///"))) as file:
                return file.execute(query).fetchall()
        with psycopg.connect(self.url) as connection:
            return connection.execute(query).fetchall()

    @contextmanager
    def writing(self, statement: str) -> Iterator[None]:
        """Hold a transaction that has executed a statement; it is committed at the end."""
        connection: Any = (
            sqlite3.connect(self.url.removeprefix("sqlite:///"))
            if self.url.startswith("sqlite")
            else psycopg.connect(self.url)
        )
        with closing(connection):
            connection.execute(statement)
            yield
            connection.commit()

    def write(
        self, writer: LedgerWriter, *outcomes: Attempt, expected: int | None, next_offset: int, kept: Kept = KEPT
    ) -> None:
        """Write a batch of partition 3."""
        unwritten = Unwritten(list(outcomes))
        known = look_up(writer, unwritten.outcomes, kept)
        writer.write(fold(unwritten, known, {(TOPIC, 3): Advance(expected, next_offset)}, kept))
