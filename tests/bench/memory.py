"""Memory of router and delivery with a million waiting jobs, and with a table of 100,000 subscriptions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from tests.bench.measure import peak_mib, resident_mib, throughput_of
from tests.bench.stage import Bench
from tests.support.roles import Role

_CUSTOMERS: Final = 25
_EACH: Final = 4
_WAITING: Final = 1_000_000
# Half of them show what memory delivery needs.
_DELIVERED: Final = 500_000
_SUBSCRIPTIONS: Final = 100_000
_EVENTS: Final = 20_000


def memory(bench: Bench) -> dict[str, Any]:
    """RSS in MiB with 1,000,000 waiting events or jobs for 100 subscriptions, and with 100,000 subscriptions."""
    return {"waiting": _with_backlog(bench), "subscriptions": _with_table(bench)}


def _with_backlog(bench: Bench) -> dict[str, Any]:
    """Let a million events wait; the router makes a million jobs of the first quarter, delivery sends half of them."""
    waiting = bench.scaled(_WAITING)
    delivered = bench.scaled(_DELIVERED, 500)
    with bench.stage() as stage:
        stage.subscribed(_CUSTOMERS, _EACH)
        stage.fill_events(_CUSTOMERS, waiting)
        router = stage.router()
        routed = _drained(router, partial(router.metric, "signpost_router_jobs_total"), waiting)
        router.terminate()
        counted = bench.sink.counted()
        delivery = stage.deliver(ready=False)
        done = _drained(delivery, counted, delivered)
    return {"events": waiting, "jobs": waiting, "router": routed, "delivery": done}


def _drained(role: Role, count: Callable[[], float], end: int) -> dict[str, Any]:
    """Measure a process until a counter reaches `end`: memory after each tenth, and its peak."""
    series: list[float] = []

    def collect(done: float) -> None:
        if done >= (len(series) + 1) * end / 10:
            series.append(resident_mib(role))

    throughput = throughput_of([role], count, begin=1, end=end, on_count=collect)
    return {"by_tenths": series, "peak": peak_mib(role), "rate": round(throughput.rate)}


def _with_table(bench: Bench) -> dict[str, Any]:
    customers = bench.scaled(_SUBSCRIPTIONS)
    events = bench.scaled(_EVENTS)
    with bench.stage() as stage:
        stage.subscribed(customers)
        router = stage.router()
        delivery = stage.deliver()
        router_ready = resident_mib(router)
        delivery_ready = resident_mib(delivery)
        counted = bench.sink.counted()
        stage.fill_events(customers, events)
        throughput_of([router, delivery], counted, begin=0, end=events)
        return {
            "subscriptions": customers,
            "router": {"ready": router_ready, "end": resident_mib(router), "peak": peak_mib(router)},
            "delivery": {"ready": delivery_ready, "end": resident_mib(delivery), "peak": peak_mib(delivery)},
        }
