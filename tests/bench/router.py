"""Router: events and jobs per second at several fan-outs, and the cost of a large table."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from tests.bench.measure import peak_mib, throughput_of
from tests.bench.stage import Bench

_FAN_OUTS = {1: 150_000, 3: 100_000, 100: 6_000}  # number of events
_LARGE = 100_000
_SMALL = 10


def router(bench: Bench) -> dict[str, Any]:
    """Events and jobs per second at fan-out 1, 3 and 100; a table of 100,000 subscriptions next to one of 10."""
    fan_outs = {str(each): route(bench, 10, each, bench.scaled(events)) for each, events in _FAN_OUTS.items()}
    return {"fan_out": fan_outs, **_tables(bench, bench.scaled(150_000))}


def _tables(bench: Bench, events: int) -> dict[str, Any]:
    """Compare tables with one subscription per event; the small one runs before and after, as the load changes.

    The large table runs twice. With events of all customers in turn, lookups miss the processor's caches and jobs have
    100,000 keys. With events of 10 customers, only the size of the table differs from the small one.
    """
    customers = bench.scaled(_LARGE)
    before = route(bench, _SMALL, 1, events)
    all_of_large = route(bench, customers, 1, events)
    few_of_large = route(bench, customers, 1, events, event_customers=_SMALL)
    after = route(bench, _SMALL, 1, events)
    # At a small scale the CPU time may be below one tick of the kernel's clock.
    cost = max(0.1, (before["cpu_us_event"] + after["cpu_us_event"]) / 2)
    return {
        "table": {
            str(_SMALL): [before, after],
            str(customers): {"events_of_all": all_of_large, "events_of_10": few_of_large},
        },
        "large_to_small": round(all_of_large["cpu_us_event"] / cost, 2),
        "large_to_small_same_events": round(few_of_large["cpu_us_event"] / cost, 2),
        # At a small scale the difference is noise, and may be negative.
        "load_s": round(max(0.0, all_of_large["ready_s"] - min(before["ready_s"], after["ready_s"])), 1),
    }


def route(bench: Bench, customers: int, each: int, events: int, event_customers: int | None = None) -> dict[str, Any]:
    """Route waiting events, with `each` subscriptions per customer; events are of `event_customers` (default: all)."""
    with bench.stage() as stage:
        stage.subscribed(customers, each)
        stage.fill_events(event_customers or customers, events)
        began = time.monotonic()
        role = stage.router()
        ready_s = time.monotonic() - began
        routed = partial(role.metric, "signpost_router_events_total")
        throughput = throughput_of([role], routed, begin=min(1_000, 0.1 * events), end=events)
        jobs = role.metric("signpost_router_jobs_total")
        assert jobs == events * each, f"{jobs:g} jobs of {events} events for {each} subscriptions"
        return {
            "events_rate": round(throughput.rate),
            "jobs_rate": round(throughput.rate * each),
            "cpu_us_event": round(throughput.cpu_us, 1),
            "cpu_us_job": round(throughput.cpu_us / each, 1),
            "ready_s": round(ready_s, 2),
            "rss_peak_mib": peak_mib(role),
        }
