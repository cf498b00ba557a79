"""Fills the ledger's tables in PostgreSQL with many rows, by SQL alone: a million takes seconds.

Subscription 0 has most deliveries: of 1,000 subscriptions a tenth. Most others have few. Of 1,000 deliveries 20 are
dead after six attempts, 5 are cancelled, 5 wait for their next attempt, and the others were delivered by their first
attempt.
"""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import dataclass
from typing import Final, LiteralString
from uuid import UUID

import psycopg

from consumers.ledger.database import engine_of, migrate
from consumers.ledger.postgresql import PostgresWriter
from consumers.ledger.queries import Period
from consumers.ledger.rows import DAY_MS, DAYS_AHEAD, Kept
from consumers.ledger.tables import ATTEMPTS, DELIVERIES

SENDER: Final = "zenoo"
EVENT_TYPE: Final = "case.created"
ATTEMPTS_PER_DELIVERY: Final = 1.1

# `at_ms` spreads the deliveries evenly over the days. Three subscriptions of a customer get the same event.
_NUMBERED: Final[LiteralString] = """
    CREATE UNLOGGED TABLE seeds AS
    SELECT i, md5(i::text)::uuid::text AS job_id, 'evt_' || md5('event' || i / 3)::uuid AS event_id,
        %(begin_ms)s + i * (%(span_ms)s)::bigint / %(deliveries)s AS at_ms,
        floor(%(subscriptions)s * power((i * 7919 %% %(deliveries)s) / %(deliveries)s::float, 3))::int AS subscription,
        CASE WHEN i %% 200 = 1 THEN 'cancelled' WHEN i %% 200 = 2 THEN 'retry' WHEN i %% 50 = 3 THEN 'dead'
            ELSE 'delivered' END AS state
    FROM generate_series(0::bigint, %(deliveries)s - 1) AS numbers(i)
"""
_NAMED: Final[LiteralString] = "'sub-' || lpad(subscription::text, 6, '0'), 'customer-' || subscription / 3"
_FILLS: Final[tuple[LiteralString, ...]] = (
    f"""
    INSERT INTO deliveries
    SELECT job_id, at_ms, {_NAMED}, %(sender)s, %(event_type)s, event_id, 0, state,
        CASE state WHEN 'delivered' THEN '' ELSE 'exhausted' END, CASE state WHEN 'dead' THEN 6 ELSE 1 END,
        at_ms + 20, CASE state WHEN 'delivered' THEN 200 ELSE 503 END, NULL,
        CASE state WHEN 'retry' THEN at_ms + 60000 END, CASE state WHEN 'retry' THEN 0 ELSE 1 END
    FROM seeds
    """,
    f"""
    INSERT INTO attempts
    SELECT at_ms + number * 60, i %% 12, i, job_id, 0, number, {_NAMED}, %(sender)s, %(event_type)s, event_id,
        CASE WHEN number < 6 AND state = 'dead' THEN 'retry' ELSE state END, '',
        CASE state WHEN 'delivered' THEN 200 ELSE 503 END, NULL, 'hooks.example.com', at_ms + number * 50, 20000, NULL,
        CASE state WHEN 'delivered' THEN NULL ELSE 'try again later'::bytea END, 0, i %% 12, i, at_ms
    FROM seeds, generate_series(1, CASE state WHEN 'dead' THEN 6 ELSE 1 END) AS number
    """,
    """
    INSERT INTO rollups
    SELECT subscription_id, hour_ms, state, count(*), 20000 * count(*), count(*), 0, 0, 0, 0, 0, 0
    FROM (SELECT 'sub-' || lpad(subscription::text, 6, '0') AS subscription_id, at_ms / 3600000 * 3600000 AS hour_ms,
        state FROM seeds) AS named
    GROUP BY 1, 2, 3
    """,
    f"""
    INSERT INTO totals
    SELECT {_NAMED}, %(sender)s, count(*) FILTER (WHERE state = 'delivered'), count(*) FILTER (WHERE state = 'dead'),
        count(*) FILTER (WHERE state = 'cancelled'), count(*), max(at_ms), 200, NULL
    FROM seeds GROUP BY subscription
    """,
)


@dataclass(frozen=True, slots=True)
class Seeded:
    """A ledger with rows of whole days up to, not including, the day of `end_ms`."""

    url: str
    deliveries: int
    subscriptions: int
    days: int
    end_ms: int

    def period(self, days: int, before: int = 0) -> Period:
        """Return the period of some days, which ends some days before the end."""
        end_ms = self.end_ms - before * DAY_MS
        return Period(end_ms - days * DAY_MS, end_ms)

    def subscription(self, number: int) -> str:
        """Return the id of a subscription: those with low numbers have most deliveries."""
        return f"sub-{number:06}"

    def customer(self, number: int) -> str:
        """Return the id of a customer, who has three subscriptions."""
        return f"customer-{number}"

    def job_id(self, number: int) -> str:
        """Return the job id of a delivery."""
        return str(UUID(_md5(str(number))))

    def event_id(self, number: int) -> str:
        """Return the id of a delivery's event."""
        return f"evt_{UUID(_md5(f'event{number // 3}'))}"


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def seed(url: str, *, deliveries: int, subscriptions: int, days: int, end_ms: int) -> Seeded:
    """Fill an empty database; its tables are analysed at the end, as autovacuum does."""
    end_ms = end_ms // DAY_MS * DAY_MS
    migrate(url)
    with closing(PostgresWriter(url)) as writer:
        writer.keep(Kept(end_ms - days * DAY_MS, end_ms + (DAYS_AHEAD + 1) * DAY_MS))
    indexes = sorted(DELIVERIES.indexes | ATTEMPTS.indexes, key=lambda index: str(index.name))
    engine = engine_of(url)
    numbers = {
        "begin_ms": end_ms - days * DAY_MS,
        "span_ms": days * DAY_MS,
        "deliveries": deliveries,
        "subscriptions": subscriptions,
        "sender": SENDER,
        "event_type": EVENT_TYPE,
    }
    for index in indexes:  # an index is built faster than filled
        index.drop(engine)
    with psycopg.connect(url, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute(_NUMBERED, numbers)
        for fill in _FILLS:
            connection.execute(fill, numbers)
        connection.execute("DROP TABLE seeds")
    for index in indexes:
        index.create(engine)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
    engine.dispose()
    return Seeded(url, deliveries, subscriptions, days, end_ms)
