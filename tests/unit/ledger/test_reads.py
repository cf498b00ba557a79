"""The reads of the ledger, on real databases: most tests run on SQLite and PostgreSQL."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from threading import Thread
from typing import Any, Final

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from consumers.ledger.queries import DeliveryScope, OfCustomer, OfEvent, OfSubscription, Period
from consumers.ledger.reads import LedgerReads
from consumers.ledger.rows import DAY_MS, HOUR_MS, RollupKey
from consumers.ledger.writer import DatabaseAway
from schemas.records.delivery import State
from tests.support.postgres import PostgresServer, postgres_server
from tests.unit.ledger.database import Database
from tests.unit.ledger.test_fold import NOW_MS, cancelled, outcome, retry

PERIOD: Final = Period(NOW_MS - DAY_MS, NOW_MS + DAY_MS)


@pytest.fixture
def reads(database: Database) -> Iterator[LedgerReads]:
    with closing(LedgerReads(database.url)) as found:
        yield found


def job_ids(reads: LedgerReads, scope: DeliveryScope, period: Period = PERIOD, **more: Any) -> list[str]:
    """Return the job ids of a list of deliveries."""
    return [delivery.job_id for delivery in reads.deliveries(scope, period, **more).deliveries]


def test_totals_are_by_subscription(database: Database, reads: LedgerReads) -> None:
    """Totals contain the ends, the attempts and the last attempt; an unknown subscription has none."""
    with closing(database.writer()) as writer:
        database.write(
            writer,
            retry(0, at_ms=NOW_MS + 5),
            outcome(1, job_id="job-2", subscription_id="sub-2"),
            cancelled(2, job_id="job-3", subscription_id="sub-2"),
            expected=None,
            next_offset=3,
        )

    totals = reads.totals(["sub-1", "sub-2", "sub-3"])

    assert totals.keys() == {"sub-1", "sub-2"}
    one, two = totals["sub-1"], totals["sub-2"]
    assert (one.delivered, one.dead, one.attempts, one.last_at_ms, one.last_status) == (0, 0, 1, NOW_MS + 5, 503)
    assert (two.delivered, two.dead, two.cancelled, two.attempts, two.last_status) == (1, 0, 1, 1, 200)
    assert (two.customer_id, two.sender) == ("acme", "zenoo")
    assert reads.totals([]) == {}


def test_totals_of_any_number_of_subscriptions_are_found(database: Database, reads: LedgerReads) -> None:
    """More ids than a statement may have parameters are no error."""
    with closing(database.writer()) as writer:
        database.write(writer, outcome(0), expected=None, next_offset=1)

    assert reads.totals([*(f"other-{number}" for number in range(70_000)), "sub-1"]).keys() == {"sub-1"}


def test_lists_are_newest_first_and_pages_leave_nothing_out(database: Database, reads: LedgerReads) -> None:
    """Pages of any size contain each delivery once, in order, also those of the same millisecond."""
    states: tuple[State, ...] = ("delivered", "dead", "retry", "cancelled")
    rows = [
        outcome(number, job_id=f"job-{number:02}", appended_at_ms=NOW_MS - number // 5, state=states[number % 4])
        for number in range(23)
    ]
    with closing(database.writer()) as writer:
        database.write(writer, *rows, expected=None, next_offset=23)
    order = [(-row.appended_at_ms, row.job_id, row.state) for row in rows]
    order.sort(key=lambda row: row[1], reverse=True)
    order.sort(key=lambda row: row[0])

    for scope in (OfSubscription("sub-1"), OfCustomer("zenoo", "acme"), OfEvent("evt_1")):
        for wanted in (None, ("dead",), ("delivered", "retry")):
            for limit in (1, 4, 23, 500):
                found = []
                page = reads.deliveries(scope, PERIOD, states=wanted, limit=limit)
                found += page.deliveries
                while page.next is not None:
                    assert len(page.deliveries) == limit
                    page = reads.deliveries(scope, PERIOD, states=wanted, after=page.next, limit=limit)
                    found += page.deliveries
                expected = [job_id for _, job_id, state in order if wanted is None or state in wanted]
                assert [one.job_id for one in found] == expected
    assert reads.deliveries(OfSubscription("sub-1"), PERIOD, states=()).deliveries == []


def test_pages_over_many_days_leave_nothing_out(database: Database, reads: LedgerReads) -> None:
    """A list reads days and weeks in turn. A delivery at the boundary of two of them is in it once."""
    day_ms = [0, 1, DAY_MS - 1, DAY_MS, DAY_MS + 1, 7 * DAY_MS - 1, 7 * DAY_MS, 7 * DAY_MS + 1, 20 * DAY_MS]
    rows = [
        outcome(number, job_id=f"job-{number}", appended_at_ms=NOW_MS - ago_ms) for number, ago_ms in enumerate(day_ms)
    ]
    with closing(database.writer()) as writer:
        database.write(writer, *rows, expected=None, next_offset=len(rows))
    period = Period(NOW_MS - 20 * DAY_MS, NOW_MS + 1)

    for limit in (1, 2, 5, 9, 10):
        for until_ms in (NOW_MS + 1, NOW_MS, NOW_MS + 10 * DAY_MS):
            found = []
            page = reads.deliveries(OfSubscription("sub-1"), period._replace(until_ms=until_ms), limit=limit)
            found += page.deliveries
            while page.next is not None:
                page = reads.deliveries(
                    OfSubscription("sub-1"), period._replace(until_ms=until_ms), after=page.next, limit=limit
                )
                found += page.deliveries
            wanted = [row.job_id for row in rows if row.appended_at_ms < until_ms]
            assert [one.job_id for one in found] == wanted


def test_lists_are_of_one_subscription_customer_or_event(database: Database, reads: LedgerReads) -> None:
    """A list contains nothing of another customer, also not of one with the same id at another sender."""
    with closing(database.writer()) as writer:
        database.write(
            writer,
            outcome(0, job_id="a"),
            outcome(1, job_id="b", subscription_id="sub-2"),
            outcome(2, job_id="c", customer_id="other", subscription_id="sub-3"),
            outcome(3, job_id="d", sender="riskos", subscription_id="sub-4", event_id="evt_2"),
            expected=None,
            next_offset=4,
        )

    assert job_ids(reads, OfSubscription("sub-1")) == ["a"]
    assert job_ids(reads, OfCustomer("zenoo", "acme")) == ["b", "a"]
    assert job_ids(reads, OfCustomer("riskos", "acme")) == ["d"]
    assert job_ids(reads, OfEvent("evt_1")) == ["c", "b", "a"]
    assert job_ids(reads, OfEvent("evt_1", OfCustomer("zenoo", "acme"))) == ["b", "a"]
    assert job_ids(reads, OfEvent("evt_1", OfCustomer("riskos", "acme"))) == []


def test_period_includes_its_begin_and_not_its_end(database: Database, reads: LedgerReads) -> None:
    """A delivery at the end of one period is in the next one only."""
    with closing(database.writer()) as writer:
        database.write(writer, outcome(0, appended_at_ms=NOW_MS), expected=None, next_offset=1)

    scope = OfSubscription("sub-1")
    assert job_ids(reads, scope, Period(NOW_MS, NOW_MS + 1)) == ["job-1"]
    assert job_ids(reads, scope, Period(NOW_MS - 1, NOW_MS)) == []
    assert reads.delivery("job-1", Period(NOW_MS - 1, NOW_MS)) is None


def test_delivery_has_its_attempts(database: Database, reads: LedgerReads) -> None:
    """A delivery is found by its job id, with all its attempts, the newest first."""
    later = NOW_MS + HOUR_MS
    with closing(database.writer()) as writer:
        database.write(
            writer,
            retry(0, response=b"try later"),
            outcome(1, attempt=2, recorded_at_ms=later, at_ms=later),
            outcome(2, job_id="job-2"),
            expected=None,
            next_offset=3,
        )

    delivery = reads.delivery("job-1", PERIOD)

    assert delivery is not None
    assert (delivery.state, delivery.attempts, delivery.last_status, delivery.ended_runs) == ("delivered", 2, 200, 1)
    attempts = reads.attempts(delivery, PERIOD.until_ms)
    assert [(one.attempt, one.status, one.response) for one in attempts] == [(2, 200, None), (1, 503, b"try later")]
    assert [one.attempt for one in reads.attempts(delivery, later)] == [1]
    assert reads.delivery("job-3", PERIOD) is None


def test_hours_are_the_numbers_of_a_subscription(database: Database, reads: LedgerReads) -> None:
    """Hours have numbers by result, with the sum of durations and the histogram, for the hours of the period."""
    hour = NOW_MS // HOUR_MS * HOUR_MS
    with closing(database.writer()) as writer:
        database.write(
            writer,
            outcome(0, duration_us=100_000),
            outcome(1, job_id="job-2", duration_us=200_000),
            retry(2, job_id="job-3", at_ms=NOW_MS + HOUR_MS, duration_us=40_000_000),
            outcome(3, job_id="job-4", subscription_id="sub-2"),
            expected=None,
            next_offset=4,
        )

    hours = reads.hours("sub-1", PERIOD)

    assert list(hours) == [RollupKey("sub-1", hour, "delivered"), RollupKey("sub-1", hour + HOUR_MS, "retry")]
    first, second = hours.values()
    assert (first.count, first.duration_us, first.buckets) == (2, 300_000, [1, 1, 0, 0, 0, 0, 0])
    assert (second.count, second.buckets[-1]) == (1, 1)
    assert len(reads.hours("sub-1", Period(hour + HOUR_MS, hour + 2 * HOUR_MS))) == 1


@pytest.mark.parametrize("odd", ["a\0b", "\ud800", "'; DROP TABLE totals; --", "", "é" * 5_000])
def test_any_text_and_time_of_a_request_is_answered(database: Database, reads: LedgerReads, odd: str) -> None:
    """Ids that no database can store, and times that no clock has, find nothing. They are no error."""
    with closing(database.writer()) as writer:
        database.write(writer, outcome(0), expected=None, next_offset=1)
    ever = Period(-(10**30), 10**30)

    assert reads.totals([odd]) == {}
    for scope in (OfSubscription(odd), OfCustomer(odd, odd), OfEvent(odd), OfEvent(odd, OfCustomer(odd, odd))):
        assert job_ids(reads, scope, ever) == []
    assert reads.delivery(odd, ever) is None
    assert reads.hours(odd, ever) == {}
    assert job_ids(reads, OfSubscription("sub-1"), ever, limit=-5) == ["job-1"]


def test_id_is_found_as_the_ledger_stores_it(database: Database, reads: LedgerReads) -> None:
    """An event whose id has a NUL character, which PostgreSQL cannot store, is found by that id."""
    with closing(database.writer()) as writer:
        database.write(writer, outcome(0, event_id="a\0b"), expected=None, next_offset=1)

    assert job_ids(reads, OfEvent("a\0b")) == ["job-1"]


def test_reads_go_on_while_the_ledger_writes(database: Database, reads: LedgerReads) -> None:
    """A transaction of the writer blocks no read, which sees the rows before it."""
    with closing(database.writer()) as writer:
        database.write(writer, outcome(0), expected=None, next_offset=1)
        with database.writing("UPDATE totals SET delivered = 99"):
            assert reads.totals(["sub-1"])["sub-1"].delivered == 1

        assert reads.totals(["sub-1"])["sub-1"].delivered == 99


def test_reads_work_without_a_writer(database: Database) -> None:
    """The tables of a ledger that has ended can be read."""
    with closing(database.writer()) as writer:
        database.write(writer, outcome(0), expected=None, next_offset=1)

    with closing(LedgerReads(database.url)) as reads:
        assert reads.totals(["sub-1"])["sub-1"].delivered == 1


def test_reads_cannot_write(database: Database, reads: LedgerReads) -> None:
    """The connections are read-only: the database refuses a change."""
    with reads.connections.engine.connect() as connection, pytest.raises(DBAPIError, match=r"read-?only"):
        connection.execute(text("DELETE FROM totals"))


def test_slow_statement_is_ended(database: Database) -> None:
    """A statement that takes too long ends with an error, and its connection can be used again."""
    endless = text(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 1e12) SELECT max(i) FROM n"
    )
    with closing(LedgerReads(database.url, statement_s=0.1)) as reads:
        for _ in range(6):
            with pytest.raises(DatabaseAway, match=r"interrupted|statement timeout"):
                reads.connections.rows(endless)
        assert reads.totals(["sub-1"]) == {}


def test_missing_tables_and_files_are_an_absent_ledger(tmp_path: Path, postgres: PostgresServer) -> None:
    """Before the first start of the ledger its reads say that the database cannot be used. No file appears."""
    file = tmp_path / "odd ?#%41 name.db"
    empty = postgres.new_database()
    for url in (f"sqlite:///{file}", empty):
        with closing(LedgerReads(url)) as reads, pytest.raises(DatabaseAway, match="cannot be used"):
            reads.totals(["sub-1"])
    assert not file.exists()


def test_file_with_any_name_is_read(tmp_path: Path) -> None:
    """Characters of a path that mean something in a URI are part of the name."""
    database = Database(f"sqlite:///{tmp_path / 'odd %41 name.db'}")

    with closing(LedgerReads(database.url)) as reads:
        assert reads.totals(["sub-1"]) == {}


def test_reads_recover_from_a_restart_of_the_server() -> None:
    """While PostgreSQL is away each read fails at once; after its start the first one succeeds."""
    with postgres_server() as own:
        database = Database(own.url)
        with closing(database.writer()) as writer:
            database.write(writer, outcome(0), expected=None, next_offset=1)
        with closing(LedgerReads(own.url)) as reads:
            assert reads.totals(["sub-1"])["sub-1"].delivered == 1
            own.kill()
            with pytest.raises(DatabaseAway, match="the database of the ledger cannot be used"):
                reads.totals(["sub-1"])
            own.start()
            assert reads.totals(["sub-1"])["sub-1"].delivered == 1
            own.kill()
            own.start()
            assert reads.totals(["sub-1"])["sub-1"].delivered == 1


def test_server_that_stops_in_the_middle_is_away(postgres_url: str) -> None:
    """A connection over which nothing arrives any more, and which stays open, ends with its deadline."""
    Database(postgres_url)
    with Stalling(postgres_url) as stalling, closing(LedgerReads(stalling.url, statement_s=0.1)) as reads:
        assert reads.totals(["sub-1"]) == {}
        stalling.is_stalled = True
        with pytest.raises(DatabaseAway, match="the database of the ledger does not respond"):
            reads.totals(["sub-1"])


def test_password_is_in_no_error(postgres: PostgresServer) -> None:
    """The error of a refused login names the reason, not the password."""
    url = postgres.url.replace("signpost@", "nobody:Hidden-Password@")
    with closing(LedgerReads(url)) as reads, pytest.raises(DatabaseAway) as caught:
        reads.totals(["sub-1"])

    assert "nobody" in str(caught.value)
    assert "Hidden-Password" not in str(caught.value)


class Stalling:
    """Forwards one connection to a server; while `is_stalled`, bytes of the server are not forwarded."""

    def __init__(self, url: str) -> None:
        port = psycopg.conninfo.conninfo_to_dict(url)["port"]
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._server = socket.create_connection(("127.0.0.1", int(str(port))))
        self._client: socket.socket | None = None
        self._threads: list[Thread] = []
        self.url = url.replace(f":{port}/", f":{self._listener.getsockname()[1]}/")
        self.is_stalled = False

    def __enter__(self) -> Stalling:
        self._start(self._forward_requests)
        return self

    def __exit__(self, *_: object) -> None:
        """End the threads: they read the end of each connection."""
        for one in (self._server, self._client):
            if one is not None:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for one in (self._listener, self._server, self._client):
            if one is not None:
                one.close()

    def _forward_requests(self) -> None:
        self._client, _ = self._listener.accept()
        self._start(self._forward_responses)
        with suppress(OSError):
            while data := self._client.recv(65_536):
                self._server.sendall(data)

    def _forward_responses(self) -> None:
        assert self._client is not None
        with suppress(OSError):
            while data := self._server.recv(65_536):
                if not self.is_stalled:
                    self._client.sendall(data)

    def _start(self, run: Callable[[], None]) -> None:
        self._threads.append(Thread(target=run, daemon=True))
        self._threads[-1].start()
