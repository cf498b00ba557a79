"""The reads of the ledger in PostgreSQL with ten million attempts."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import closing
from statistics import quantiles
from typing import Any, Final

from consumers.ledger.queries import OfCustomer, OfEvent, OfSubscription
from consumers.ledger.reads import LedgerReads
from tests.bench.stage import Bench
from tests.support.postgres import PostgresServer
from tests.support.seeded_ledger import ATTEMPTS_PER_DELIVERY, SENDER, Seeded, seed

_ATTEMPTS: Final = 10_000_000
_SUBSCRIPTIONS: Final = 30_000
_DAYS: Final = 30
_READS: Final = 300
_PAGE: Final = 50


def timed_reads(bench: Bench, server: PostgresServer) -> dict[str, Any]:
    """Return p50 and p99 in ms of each read, one after the other, each time of other ids and over all days."""
    attempts = bench.scaled(_ATTEMPTS, 100_000)
    began_s = time.monotonic()
    seeded = seed(
        server.database("seeded"),
        deliveries=int(attempts / ATTEMPTS_PER_DELIVERY),
        subscriptions=bench.scaled(_SUBSCRIPTIONS),
        days=_DAYS,
        end_ms=time.time_ns() // 1_000_000,
    )
    seeded_s = time.monotonic() - began_s
    count = bench.scaled(_READS, 100)
    with closing(LedgerReads(seeded.url)) as reads:
        found = {name: _timed(read, count) for name, read in _reads_of(reads, seeded).items()}
    return {"attempts": attempts, "seeded_s": round(seeded_s, 1), "ms": found}


def _reads_of(reads: LedgerReads, seeded: Seeded) -> dict[str, Callable[[], object]]:
    chance = random.Random(7)  # the same ids in each run
    period = seeded.period(seeded.days)
    largest = OfSubscription(seeded.subscription(0))

    def number() -> int:
        """Return the number of a subscription: one with many deliveries is read more often."""
        return int(seeded.subscriptions * chance.random() ** 3)

    def delivery() -> int:
        return chance.randrange(seeded.deliveries)

    def next_page() -> object:
        page = reads.deliveries(largest, seeded.period(1, before=chance.randrange(seeded.days)), limit=1)
        assert page.next is not None
        return reads.deliveries(largest, period, after=page.next, limit=_PAGE)

    def attempts() -> object:
        found = reads.delivery(seeded.job_id(delivery()), period)
        assert found is not None
        return reads.attempts(found, period.until_ms)

    return {
        "list_of_subscription": lambda: reads.deliveries(
            OfSubscription(seeded.subscription(number())), period, limit=_PAGE
        ),
        "list_of_customer": lambda: reads.deliveries(
            OfCustomer(SENDER, seeded.customer(number() // 3)), period, limit=_PAGE
        ),
        "dead_of_customer": lambda: reads.deliveries(
            OfCustomer(SENDER, seeded.customer(number() // 3)), period, states=("dead",), limit=_PAGE
        ),
        "next_page_of_largest": next_page,
        "search_event": lambda: reads.deliveries(OfEvent(seeded.event_id(delivery())), period, limit=_PAGE),
        "delivery_and_attempts": attempts,
        "hours_of_subscription": lambda: reads.hours(seeded.subscription(number()), seeded.period(7)),
        "totals_of_50": lambda: reads.totals([seeded.subscription(number()) for _ in range(50)]),
    }


def _timed(read: Callable[[], object], count: int) -> dict[str, float]:
    read()  # connects
    found = []
    for _ in range(count):
        began_s = time.perf_counter()
        assert read() is not None
        found.append((time.perf_counter() - began_s) * 1_000)
    cuts = quantiles(found, n=100)
    return {"p50": round(cuts[49], 2), "p99": round(cuts[98], 2)}
