"""The ledger into SQLite and PostgreSQL, next to plain inserts of the same rows, and next to delivery."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import psycopg
from sqlalchemy import Table

from consumers.ledger.database import SQLITE, SQLITE_PRAGMAS, engine_of, migrate
from consumers.ledger.postgresql import PostgresWriter, copy_rows
from consumers.ledger.rows import Kept
from consumers.ledger.sqlite import INSERTS
from consumers.ledger.tables import ATTEMPTS, DELIVERIES
from schemas.catalog.errors import Unavailable
from schemas.records.delivery import Job, Outcome, OutcomeCodec
from tests.bench.ledger_reads import timed_reads
from tests.bench.measure import peak_mib, throughput_of
from tests.bench.stage import EVENT_TYPE, Bench
from tests.support.parts import PARTS
from tests.support.postgres import postgres_server, programs
from tests.support.seeded_ledger import SENDER
from tests.support.waiting import wait_until

_OUTCOMES: Final = 100_000
_BESIDE: Final = 100_000
_SUBSCRIPTIONS: Final = 100
_BATCH: Final = 2_000
_RETENTION_DAYS: Final = 30
# One job in twenty fails first. Its second attempt is this many outcomes later.
_RETRIED: Final = 20
_LATER: Final = 1_000


def ledger(bench: Bench) -> dict[str, Any]:
    """Attempts/s and CPU into SQLite and PostgreSQL and of plain inserts; reads with 10,000,000 attempts."""
    if programs() is None:
        raise Unavailable(f"the benchmark `ledger` needs {PARTS['postgres'][1]}")
    with tempfile.TemporaryDirectory(prefix="signpost-bench-") as folder, postgres_server() as server:
        urls = {
            name: {SQLITE: f"sqlite:///{Path(folder, name)}.db", "postgresql": server.database(name)}
            for name in ("written", "plain", "beside")
        }
        written = _written(bench, urls["written"], urls["plain"])
        beside = _beside(bench, urls["beside"])
        reads = timed_reads(bench, server)
    return {**written, "beside": beside, "reads": reads}


def _written(bench: Bench, urls: dict[str, str], plain_urls: dict[str, str]) -> dict[str, Any]:
    """Let the ledger write the same outcomes into each database, and a loop insert the same rows into another."""
    outcomes = bench.scaled(_OUTCOMES, 10_000)
    found: dict[str, Any] = {"outcomes": outcomes}
    with bench.stage() as stage:
        stage.fill(_records(outcomes), stage.names.outcomes)
        for kind, url in urls.items():
            role = stage.ledger(url)
            counted = partial(role.metric, "signpost_ledger_outcomes_total")
            throughput = throughput_of([role], counted, begin=0.1 * outcomes, end=outcomes)
            plain = _plain(url, plain_urls[kind])
            found[kind] = {
                "rate": round(throughput.rate),
                "cpu_us": round(throughput.cpu_us, 1),
                "rss_peak_mib": peak_mib(role),
                "plain": plain,
                "rate_to_plain": round(throughput.rate / plain["rate"], 2),
                "cpu_to_plain": round(throughput.cpu_us / plain["cpu_us"], 2),
            }
            role.terminate()
    return found


def _records(count: int) -> Iterator[tuple[str, bytes]]:
    """Yield the keys and values of outcomes as delivery writes them."""
    encode = OutcomeCodec().encode
    now_ms = time.time_ns() // 1_000_000
    retried: dict[int, Job] = {}
    for number in range(count):
        job = retried.pop(number, None) or _job(number, now_ms)
        failed = number % _RETRIED == 0 and job.attempt == 1
        outcome = Outcome(
            job=job,
            state="retry" if failed else "delivered",
            reason="status" if failed else "",
            status=503 if failed else 200,
            error=None,
            host=f"hooks-{number % _SUBSCRIPTIONS}.example.com",
            at_ms=now_ms + number // 10,
            duration_us=20_000 + number * 7_919 % 300_000,
            next_due_at_ms=now_ms + 60_000 if failed else None,
            response=b"try again later" if failed else b"ok",
            body_cut=False,
            partition=number % 12,
            first_offset=number,
        )
        yield job.subscription_id, encode(outcome)
        if failed:
            job.attempt = 2
            retried[number + _LATER + 1] = job


def _job(number: int, now_ms: int) -> Job:
    return Job(
        job_id=str(uuid4()),
        subscription_id=f"sub-{number % _SUBSCRIPTIONS:06}",
        subscription_partition=0,
        subscription_offset=0,
        activation=1,
        run=0,
        attempt=1,
        due_at_ms=0,
        first_offset=number,
        sender=SENDER,
        event_type=EVENT_TYPE,
        event_id=f"evt_{uuid4()}",
        customer_id=f"customer-{number % _SUBSCRIPTIONS}",
        source_topic="zenoo.events",
        source_partition=number % 12,
        source_offset=number,
        appended_at_ms=now_ms + number // 10,
        body=b"",
    )


def _plain(written: str, url: str) -> dict[str, float]:
    """Insert the attempts and deliveries that the ledger has written into empty tables, in batches of the same size."""
    engine = engine_of(written)
    with engine.connect() as connection:
        rows = {table: [tuple(row) for row in connection.execute(table.select())] for table in (ATTEMPTS, DELIVERIES)}
    engine.dispose()
    migrate(url)
    insert = _executemany if url.startswith(SQLITE) else _copy
    attempts = len(rows[ATTEMPTS])
    began_s, began_cpu_s = time.monotonic(), time.process_time()
    insert(url, rows, -(-attempts // _BATCH))
    seconds, cpu_s = time.monotonic() - began_s, time.process_time() - began_cpu_s
    return {"rate": round(attempts / seconds), "cpu_us": round(cpu_s / attempts * 1e6, 1)}


def _executemany(url: str, rows: dict[Table, list[tuple[Any, ...]]], batches: int) -> None:
    path = url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as connection:
        for pragma in SQLITE_PRAGMAS:
            connection.execute(pragma)
        for number in range(batches):
            with connection:
                for table, all_rows in rows.items():
                    connection.executemany(INSERTS[table], all_rows[number::batches])


def _copy(url: str, rows: dict[Table, list[tuple[Any, ...]]], batches: int) -> None:
    with closing(PostgresWriter(url)) as writer:
        writer.keep(Kept.at(time.time_ns() // 1_000_000, _RETENTION_DAYS))
    with psycopg.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        for number in range(batches):
            with connection.transaction():
                for table, all_rows in rows.items():
                    copy_rows(cursor, table, table.name, all_rows[number::batches])


def _beside(bench: Bench, urls: dict[str, str]) -> dict[str, Any]:
    """Deliver jobs without a ledger and next to one for each database; `behind_s`: the ledger ends later by this."""
    jobs = bench.scaled(_BESIDE, 2_000)
    found = {"without": _deliver(bench, jobs, None)} | {kind: _deliver(bench, jobs, url) for kind, url in urls.items()}
    for kind in urls:
        found[kind]["rate_to_without"] = round(found[kind]["rate"] / found["without"]["rate"], 2)
    return {"jobs": jobs, **found}


def _deliver(bench: Bench, jobs: int, url: str | None) -> dict[str, Any]:
    with bench.stage() as stage:
        subscribed = stage.subscribed(_SUBSCRIPTIONS)
        stage.fill(stage.jobs_for(subscribed, jobs))
        ledger_role = None if url is None else stage.ledger(url)
        counted = bench.sink.counted()
        role = stage.deliver(ready=False)
        throughput = throughput_of([role], counted, begin=0.25 * jobs, end=0.95 * jobs)
        found: dict[str, Any] = {"rate": round(throughput.rate), "cpu_us": round(throughput.cpu_us, 1)}
        wait_until(lambda: counted() >= jobs, 60, "all jobs are delivered")
        if ledger_role is None:
            return found
        ended_s = time.monotonic()
        written = partial(ledger_role.metric, "signpost_ledger_outcomes_total")
        found["written_at_end"] = round(written() / jobs, 2)
        wait_until(lambda: written() >= jobs, 300, "all outcomes are written")
        return found | {"behind_s": round(time.monotonic() - ended_s, 1)}
