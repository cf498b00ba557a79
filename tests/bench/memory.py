"""Memory: router and delivery with a million jobs waiting, and with a table of 100,000 subscriptions."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from tests.bench.measure import peak_mib, resident_mib, work_of
from tests.bench.stage import Bench

_CUSTOMERS, _EACH = 25, 4
_JOBS: Final = 1_000_000
# The last of a million are no other than those before; what delivery needs shows by then.
_DELIVERED: Final = 500_000
_SUBSCRIPTIONS: Final = 100_000
_SOME: Final = 20_000


def memory(bench: Bench) -> dict[str, Any]:
    """RSS in MiB with 1,000,000 jobs waiting for 100 subscriptions, and with 100,000 subscriptions."""
    return {"waiting": _with_backlog(bench), "subscriptions": _with_table(bench)}


def _with_backlog(bench: Bench) -> dict[str, Any]:
    jobs, delivered = bench.scaled(_JOBS), bench.scaled(_DELIVERED, 500)
    with bench.stage() as stage:
        stage.subscribed(_CUSTOMERS, _EACH)
        stage.fill_events(_CUSTOMERS, jobs // _EACH)
        router = stage.router()
        ready = resident_mib(router)
        made = partial(router.metric, "signpost_router_jobs_total")
        work = work_of([router], made, begin=1, end=jobs)
        routed = {"ready": ready, "end": resident_mib(router), "peak": peak_mib(router), "jobs_rate": round(work.rate)}
        router.terminate()
        before = bench.sink.requests()
        delivery = stage.deliver(ready=False)
        series: list[tuple[float, float]] = []

        def look(count: float) -> None:
            if count >= (len(series) + 1) * delivered / 10:
                series.append((count, resident_mib(delivery)))

        done = lambda: float(bench.sink.requests() - before)  # noqa: E731  # a counter as the others
        work = work_of([delivery], done, begin=1, end=delivered, each=look)
        peak = peak_mib(delivery)
    return {
        "jobs": jobs,
        "router": routed,
        "delivery": {"by_tenths": [mib for _, mib in series], "peak": peak, "rate": round(work.rate)},
    }


def _with_table(bench: Bench) -> dict[str, Any]:
    customers, events = bench.scaled(_SUBSCRIPTIONS), bench.scaled(_SOME)
    with bench.stage() as stage:
        stage.subscribed(customers)
        router, delivery = stage.router(), stage.deliver()
        ready = [resident_mib(router), resident_mib(delivery)]
        before = bench.sink.requests()
        stage.fill_events(customers, events)
        work_of([router, delivery], lambda: bench.sink.requests() - before, begin=0, end=events)
        return {
            "subscriptions": customers,
            "router": {"ready": ready[0], "end": resident_mib(router), "peak": peak_mib(router)},
            "delivery": {"ready": ready[1], "end": resident_mib(delivery), "peak": peak_mib(delivery)},
        }
