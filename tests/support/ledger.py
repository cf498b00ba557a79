"""Databases of the ledger for tests with a broker, and what they have to contain."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from typing import Any

import psycopg

from schemas.avro.codec import DecodedRecord
from tests.support.pipeline import ENDS

Totals = dict[str, tuple[int, int, int, int]]
"""Delivered, dead and cancelled runs and attempts, by subscription."""


class LedgerDatabase:
    """The database of a ledger, read as a tool would read it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query; none while the tables do not exist."""
        try:
            if self.url.startswith("sqlite"):
                with closing(sqlite3.connect(self.url.removeprefix("sqlite:///"))) as file:
                    return file.execute(query).fetchall()
            with psycopg.connect(self.url) as connection:
                return connection.execute(query).fetchall()
        except (sqlite3.OperationalError, psycopg.Error):
            return []

    def execute(self, statement: str) -> None:
        """Change rows."""
        if self.url.startswith("sqlite"):
            with closing(sqlite3.connect(self.url.removeprefix("sqlite:///"))) as file, file:
                file.execute(statement)
            return
        with psycopg.connect(self.url) as connection:
            connection.execute(statement)

    def totals(self) -> Totals:
        """Return the totals of all subscriptions."""
        rows = self.rows("SELECT subscription_id, delivered, dead, cancelled, attempts FROM totals")
        return {row[0]: (row[1], row[2], row[3], row[4]) for row in rows}

    def attempts(self) -> int:
        """Return the number of rows of attempts."""
        [(count,)] = self.rows("SELECT count(*) FROM attempts")
        return int(count)


def totals_of(outcomes: Iterable[DecodedRecord]) -> Totals:
    """Return the totals that follow from the topic: each run of a job ends once, each request is an attempt."""
    ends: dict[tuple[str, int], tuple[str, str]] = {}
    counted: dict[str, Counter[str]] = {}
    for outcome in outcomes:
        numbers = counted.setdefault(outcome["subscription_id"], Counter())
        numbers["attempts"] += outcome["status"] is not None or outcome["error"] is not None
        if outcome["state"] in ENDS:
            ends.setdefault((outcome["job_id"], outcome["run"]), (outcome["subscription_id"], outcome["state"]))
    for subscription, state in ends.values():
        counted[subscription][state] += 1
    return {
        id_: (numbers["delivered"], numbers["dead"], numbers["cancelled"], numbers["attempts"])
        for id_, numbers in counted.items()
    }
