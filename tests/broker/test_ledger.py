"""The ledger with a real broker and real databases: each outcome counts exactly once."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from deploy.dev.receiver import Receiver
from deploy.dev.responses import CannedResponse, always, by_path, fail_first
from producers.subscriptions.changes import Pause
from tests.support.ledger import LedgerDatabase, totals_of
from tests.support.parts import need
from tests.support.pipeline import Pipeline
from tests.support.postgres import postgres_server
from tests.support.subscriptions import AUTHOR
from tests.support.tools import Commands, job, outcome_value
from tests.support.topics import produce
from tests.support.waiting import wait_until


@pytest.fixture
def database(database_url: str) -> LedgerDatabase:
    return LedgerDatabase(database_url)


def same_totals(database: LedgerDatabase, pipeline: Pipeline) -> bool:
    """Return whether the totals are those of the topic."""
    found, wanted = database.totals(), totals_of(pipeline.outcomes())
    assert found == wanted
    return True


def test_totals_are_those_of_the_topic(pipeline: Pipeline, receiver: Receiver, database: LedgerDatabase) -> None:
    """After successes, failures, retries and cancelled jobs the totals equal a count over `outcomes`."""
    receiver.behave = by_path(
        {"/gone": always(CannedResponse(410)), "/flaky": fail_first(1, CannedResponse(503), CannedResponse(200))},
        always(CannedResponse(200)),
    )
    base = receiver.url.rstrip("/")
    ids = pipeline.subscribe(f"{base}/well", f"{base}/gone", f"{base}/flaky")
    ledger = pipeline.ledger(database.url)
    pipeline.router()
    pipeline.deliver(delay_speedup=600)
    pipeline.publish_some(20)
    pipeline.wait_for_ends(60)

    wait_until(lambda: same_totals(database, pipeline), what="the totals are those of the topic")
    totals = database.totals()
    assert totals[ids[0]] == (20, 0, 0, 20)
    assert totals[ids[1]][1] >= 1
    assert totals[ids[2]][0] == 20
    assert database.attempts() == len(pipeline.outcomes())
    assert ledger.metric("signpost_ledger_outcomes_total") == len(pipeline.outcomes())
    wait_until(lambda: ledger.metric("signpost_consumer_lag_records") == 0, what="the lag is 0")
    assert ledger.terminate() == 0


def write_outcomes(pipeline: Pipeline, count: int) -> None:
    """Write outcomes of the subscription `sub-1`, spread over the partitions."""
    for number in range(count):
        value = outcome_value(job(number))
        produce(pipeline.bootstrap_servers, pipeline.names.outcomes, value, partition=number % 3)


def test_unreadable_records_are_skipped_and_counted(pipeline: Pipeline, tmp_path: Path) -> None:
    """A record that is no outcome stops nothing: a metric and the log name it, and the next outcome is written."""
    database = LedgerDatabase(f"sqlite:///{tmp_path / 'ledger.db'}")
    for topic in (pipeline.names.outcomes, pipeline.names.dead, pipeline.names.operations):
        for number in range(3):
            produce(pipeline.bootstrap_servers, topic, b"nobody can read this", partition=number)
    write_outcomes(pipeline, 3)
    ledger = pipeline.ledger(database.url)

    wait_until(lambda: database.attempts() == 3, what="the outcomes are written")
    assert ledger.metric("signpost_unreadable_records_total", reason="unknown_format") == 9
    assert ledger.log_text().count("record.skipped") == 9


def test_ledger_that_is_behind_says_how_far(pipeline: Pipeline, tmp_path: Path) -> None:
    """While the database is locked, metrics show the waiting records and the age of the oldest one; then both are 0."""
    file = tmp_path / "ledger.db"
    database = LedgerDatabase(f"sqlite:///{file}")
    ledger = pipeline.ledger(database.url)

    def lag() -> float:
        return ledger.metric("signpost_consumer_lag_records", topic=pipeline.names.outcomes)

    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began_ms = time.time_ns() // 1_000_000
        write_outcomes(pipeline, 7)
        wait_until(lambda: ledger.get("/readyz")[0] == 503, what="the ledger misses its database")
        assert "the database of the ledger cannot be used" in ledger.get("/readyz")[1]
        wait_until(lambda: lag() == 7, what="the outcomes wait")
        oldest_ms = round(ledger.metric("signpost_ledger_lag_seconds") * 1_000)
        assert 0 < oldest_ms <= time.time_ns() // 1_000_000 - began_ms
        other.execute("ROLLBACK")

    wait_until(lambda: database.totals() == {"sub-1": (7, 0, 0, 7)}, what="the outcomes are written")
    wait_until(lambda: lag() == ledger.metric("signpost_ledger_lag_seconds") == 0, what="nothing waits")
    ledger.wait_ready()


def test_dead_letters_and_operations_are_recorded(pipeline: Pipeline, receiver: Receiver, tmp_path: Path) -> None:
    """A subscription whose endpoint is gone leaves its audit record, a dead letter and a report in the tables."""
    database = LedgerDatabase(f"sqlite:///{tmp_path / 'ledger.db'}")
    receiver.behave = always(CannedResponse(410))
    ids = pipeline.subscribe(receiver.url)
    pipeline.ledger(database.url)
    pipeline.router()
    pipeline.deliver()
    pipeline.publish_some(1)

    wait_until(
        lambda: database.rows("SELECT reason, subscription_id FROM dead_letters") == [("gone", ids[0])],
        what="the dead letter is written",
    )
    recorded = [
        ("endpoint_disabled", "gone", 410, None),
        ("subscription_created", "", None, AUTHOR.name),
    ]
    wait_until(
        lambda: database.rows("SELECT kind, reason, status, actor FROM operations ORDER BY kind") == recorded,
        what="the report and the audit record are written",
    )


def test_rebuild_writes_the_same_rows_and_keeps_totals(
    pipeline: Pipeline, receiver: Receiver, database: LedgerDatabase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """After rows were lost, `ledger rebuild` writes them again; totals neither grow nor shrink."""
    receiver.behave = by_path(
        {"/0": fail_first(1, CannedResponse(503), CannedResponse(200))}, always(CannedResponse(200))
    )
    pipeline.subscribe(f"{receiver.url}0", f"{receiver.url}1")
    ledger = pipeline.ledger(database.url)
    pipeline.router()
    pipeline.deliver(delay_speedup=600)
    pipeline.publish_some(10)
    pipeline.wait_for_ends(20)
    wait_until(lambda: same_totals(database, pipeline), what="the totals are those of the topic")
    monkeypatch.chdir(tmp_path)
    signpost = Commands(pipeline.env(database_url=database.url), monkeypatch)
    assert signpost("ledger", "rebuild").code == 1  # the process runs
    assert ledger.terminate() == 0
    queries = [f"SELECT * FROM {table} ORDER BY 1, 2, 3" for table in ("deliveries", "rollups", "totals", "positions")]
    before = [database.rows(query) for query in queries]
    attempts = sorted(database.rows("SELECT * FROM attempts"))
    database.execute("DELETE FROM attempts")
    database.execute("UPDATE rollups SET count = 99")

    wait_until(lambda: signpost("ledger", "rebuild").code == 0, what="the group has no members")

    assert [database.rows(query) for query in queries] == before
    assert sorted(database.rows("SELECT * FROM attempts")) == attempts


def test_killed_ledger_counts_each_outcome_once(
    pipeline: Pipeline, receiver: Receiver, database: LedgerDatabase
) -> None:
    """A ledger that is killed again and again under load ends with the totals of the topic and no attempt twice."""
    pipeline.subscribe(*(f"{receiver.url}{number}" for number in range(20)))
    ledger = pipeline.ledger(database.url)
    pipeline.router()
    pipeline.deliver()
    pipeline.publish_some(200)
    for share in (500, 1_500, 2_500):
        wait_until(lambda share=share: sum(row[3] for row in database.totals().values()) >= share, what="a share")  # type: ignore[misc]  # a default has no type
        ledger.kill()
        ledger = pipeline.ledger(database.url, ready=False)
    pipeline.wait_for_ends(4_000)

    wait_until(lambda: same_totals(database, pipeline), what="the totals are those of the topic")
    assert database.attempts() == len(pipeline.outcomes())
    assert ledger.terminate() == 0


def test_ledger_waits_for_its_database(pipeline: Pipeline, receiver: Receiver) -> None:
    """While PostgreSQL is away, /readyz and a metric say so; afterwards nothing is missing or counted twice."""
    need("postgres")
    with postgres_server() as own:
        database = LedgerDatabase(own.url)
        pipeline.subscribe(receiver.url)
        ledger = pipeline.ledger(database.url)
        pipeline.router()
        pipeline.deliver()
        pipeline.publish_some(10)
        wait_until(lambda: database.attempts() == 10, what="the first outcomes are written")
        own.kill()
        pipeline.publish_some(10, start=10)
        wait_until(lambda: ledger.metric("signpost_ledger_waiting_for_database") == 1, what="the metric")
        assert ledger.get("/readyz")[0] == 503
        assert "the database of the ledger cannot be used" in ledger.get("/readyz")[1]
        own.start()

        wait_until(lambda: database.attempts() == 20, what="all outcomes are written")
        assert same_totals(database, pipeline)
        ledger.wait_ready()
        assert ledger.terminate() == 0


def test_two_ledgers_share_the_partitions(pipeline: Pipeline, receiver: Receiver, postgres_url: str) -> None:
    """A second process takes over partitions while outcomes arrive, and each outcome counts once."""
    database = LedgerDatabase(postgres_url)
    pipeline.subscribe(*(f"{receiver.url}{number}" for number in range(20)))
    first = pipeline.ledger(database.url, 0)
    pipeline.router()
    pipeline.deliver()
    pipeline.publish_some(100)
    second = pipeline.ledger(database.url, 1)
    pipeline.publish_some(50, start=100)
    pipeline.wait_for_ends(3_000)
    wait_until(lambda: same_totals(database, pipeline), what="the totals are those of the topic")
    assert first.terminate() == 0
    pipeline.publish_some(10, start=150)
    pipeline.wait_for_ends(3_200)

    wait_until(lambda: same_totals(database, pipeline), what="the totals are those of the topic")
    assert database.attempts() == len(pipeline.outcomes())
    assert second.terminate() == 0


def test_paused_subscription_counts_cancelled_jobs(pipeline: Pipeline, receiver: Receiver, tmp_path: Path) -> None:
    """Jobs that a pause cancels count as cancelled, not as failed."""
    database = LedgerDatabase(f"sqlite:///{tmp_path / 'ledger.db'}")
    receiver.behave = always(CannedResponse(503))
    ids = pipeline.subscribe(receiver.url)
    pipeline.ledger(database.url)
    pipeline.router()
    pipeline.deliver(delay_speedup=60)
    pipeline.publish_some(3)
    wait_until(lambda: len(receiver.requests) >= 3, what="all jobs have failed once")
    pipeline.write(Pause(ids[0]))
    pipeline.wait_for_ends(3)

    wait_until(lambda: same_totals(database, pipeline), what="the totals are those of the topic")
    assert database.totals()[ids[0]][:3] == (0, 0, 3)
