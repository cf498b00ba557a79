"""Each query of the ledger reads an index, and only partitions of the asked time. The tests read the plans."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from inspect import getmembers, isfunction
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from sqlalchemy import event

from consumers.ledger.database import migrate
from consumers.ledger.queries import OfCustomer, OfEvent, OfSubscription, Period
from consumers.ledger.reads import LedgerReads
from consumers.ledger.rows import DAY_MS, Delivery
from consumers.ledger.tables import METADATA
from tests.support.plans import postgresql_plan, sqlite_plan
from tests.support.postgres import PostgresServer
from tests.support.seeded_ledger import SENDER, Seeded, seed
from tests.unit.ledger.test_fold import NOW_MS

_LIMIT: Final = 20
Statement = tuple[str, Any]


@pytest.fixture(scope="module")
def seeded(postgres: PostgresServer) -> Seeded:
    """A PostgreSQL ledger with six days of 10,000 deliveries each."""
    url = postgres.new_database()
    return seed(url, deliveries=60_000, subscriptions=3_000, days=6, end_ms=NOW_MS)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A SQLite ledger."""
    migrate(f"sqlite:///{tmp_path / 'ledger.db'}")
    return tmp_path / "ledger.db"


@contextmanager
def executed(reads: LedgerReads) -> Iterator[list[Statement]]:
    """Collect the statements that the ledger's reads execute."""
    found: list[Statement] = []

    def collect(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        found.append((statement, parameters))

    engine = reads.connections.engine
    event.listen(engine, "before_cursor_execute", collect)
    yield found
    event.remove(engine, "before_cursor_execute", collect)


def lists(reads: LedgerReads, period: Period) -> None:
    """Read lists of all scopes: all states, rare states, the first page and the next one."""
    scopes = (
        OfSubscription("sub-000000"),
        OfSubscription("sub-000250"),
        OfCustomer(SENDER, "customer-0"),
        OfEvent("evt_1"),
        OfEvent("evt_1", OfCustomer(SENDER, "customer-0")),
    )
    for scope in scopes:
        for states in (None, ("dead",), ("retry", "cancelled")):
            page = reads.deliveries(scope, period, states=states, limit=_LIMIT)
            if page.next is not None:
                reads.deliveries(scope, period, states=states, after=page.next, limit=_LIMIT)


def attempts(reads: LedgerReads, period: Period) -> None:
    """Read the attempts of a dead delivery, which has six."""
    dead = reads.deliveries(OfSubscription("sub-000000"), period, states=("dead",), limit=1).deliveries
    reads.attempts(dead[0] if dead else new_delivery(period.since_ms), period.until_ms)


def new_delivery(appended_at_ms: int) -> Delivery:
    """Return a delivery without attempts."""
    return Delivery("job-1", appended_at_ms, "sub-1", "acme", SENDER, "case.created", "evt_1")


# Each method that reads, called for a period.
CALLS: Final[dict[str, Callable[[LedgerReads, Period], object]]] = {
    "totals": lambda reads, _: reads.totals([f"sub-{number:06}" for number in range(10)]),
    "deliveries": lists,
    "delivery": lambda reads, period: reads.delivery("4b4dbd7a-0d36-5be8-9e29-b3fd4cd53a34", period),
    "attempts": attempts,
    "hours": lambda reads, period: reads.hours("sub-000000", period),
}
# Most rows that one statement may read: pages of four states and the row that shows a next page, or days of hours.
_MOST_ROWS: Final = 4 * (_LIMIT + 1)


def test_every_method_that_reads_is_checked() -> None:
    """A new read cannot be without a check of its plan."""
    methods = {name for name, _ in getmembers(LedgerReads, isfunction) if not name.startswith("_")}

    assert methods - {"close"} == CALLS.keys()


@pytest.mark.parametrize("name", CALLS)
def test_postgres_reads_indexes_of_the_asked_days(seeded: Seeded, name: str) -> None:
    """With analysed partitions, PostgreSQL scans no whole table, and no partition outside of the period."""
    period = seeded.period(2, before=2)
    # Attempts are recorded when or after the event was appended; clocks may differ by a day.
    searched = Period(period.since_ms - DAY_MS, period.until_ms) if name == "attempts" else period
    with closing(LedgerReads(seeded.url)) as reads, executed(reads) as statements:
        CALLS[name](reads, period)
    with psycopg.connect(seeded.url) as connection:
        plans = [postgresql_plan(connection, *statement, searched) for statement in statements]

    assert plans
    for plan, (statement, _) in zip(plans, statements, strict=True):
        assert plan.tables, statement
        assert plan.faults == [], statement
        assert plan.rows_read is not None
        assert plan.rows_read <= _MOST_ROWS, statement


@pytest.mark.parametrize("name", CALLS)
def test_sqlite_reads_indexes(file: Path, name: str) -> None:
    """SQLite scans no whole table."""
    with closing(LedgerReads(f"sqlite:///{file}")) as reads, executed(reads) as statements:
        CALLS[name](reads, Period(0, NOW_MS))
    with closing(sqlite3.connect(file)) as connection:
        plans = [sqlite_plan(connection, *statement) for statement in statements]

    assert plans
    for plan, (statement, _) in zip(plans, statements, strict=True):
        assert plan.tables, statement
        assert plan.faults == [], statement


def test_search_of_a_customers_event_reads_the_event(file: Path) -> None:
    """SQLite has no statistics: it still reads the deliveries of the event, not those of the customer."""
    with closing(LedgerReads(f"sqlite:///{file}")) as reads, executed(reads) as statements:
        reads.deliveries(OfEvent("evt_1", OfCustomer(SENDER, "customer-0")), Period(0, NOW_MS))
    [(statement, values)] = statements
    with closing(sqlite3.connect(file)) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()

    assert any("USING INDEX deliveries_by_event (event_id=?)" in row[3] for row in plan)


def test_check_of_postgres_finds_scans(seeded: Seeded) -> None:
    """The check itself fails for a query without an index, without a period, and for one that drops most rows."""
    period = seeded.period(1)
    within = f"recorded_at_ms >= {period.since_ms} AND recorded_at_ms < {period.until_ms}"
    with psycopg.connect(seeded.url) as connection:
        no_index = postgresql_plan(connection, f"SELECT * FROM attempts WHERE {within} AND host = 'a'", None, period)
        counting = postgresql_plan(connection, f"SELECT count(*) FROM attempts WHERE {within}", None, period)
        no_period = postgresql_plan(
            connection, "SELECT * FROM attempts WHERE appended_at_ms = 1 AND job_id = 'a'", None, period
        )
        wasteful = postgresql_plan(
            connection, "SELECT * FROM deliveries WHERE subscription_id = 'sub-000000' AND reason = 'a'", None, None
        )

    assert any(fault.startswith("Seq Scan of attempts_2026") for fault in no_index.faults)
    assert counting.faults
    # A partition for each day with rows, but one, and those of today and two days ahead.
    assert len([one for one in no_period.faults if "which has no row of the period" in one]) == seeded.days - 1 + 3
    assert wasteful.rows_read is not None
    assert wasteful.rows_read > _MOST_ROWS


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM deliveries WHERE reason = 'a'",
        "SELECT count(*) FROM attempts",
        "SELECT event_id FROM deliveries ORDER BY event_id",
        "SELECT d.job_id FROM deliveries AS d WHERE d.reason = 'a'",
        "SELECT * FROM deliveries WHERE job_id > 'a'",
    ],
)
def test_check_of_sqlite_finds_scans(file: Path, query: str) -> None:
    """The check itself fails for queries without an index, and for those that read a whole index."""
    with closing(sqlite3.connect(file)) as connection:
        assert sqlite_plan(connection, query).faults


def test_every_index_has_a_query(file: Path) -> None:
    """No table has more than three indexes beside its key, and the reads use each one."""
    indexes = {str(index.name) for table in METADATA.tables.values() for index in table.indexes}
    with closing(LedgerReads(f"sqlite:///{file}")) as reads, executed(reads) as statements:
        for call in CALLS.values():
            call(reads, Period(0, NOW_MS))
    with closing(sqlite3.connect(file)) as connection:
        details = " ".join(
            row[3] for text, values in statements for row in connection.execute(f"EXPLAIN QUERY PLAN {text}", values)
        )

    assert {name for name in indexes if f"USING INDEX {name} " not in details} == set()
    assert all(len(table.indexes) <= 3 for table in METADATA.tables.values())
