"""Router: events and jobs a second at several fan-outs, and what a large table costs."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from tests.bench.measure import peak_mib, work_of
from tests.bench.stage import Bench

_FAN_OUTS = {1: 150_000, 3: 100_000, 100: 6_000}  # and how many events
_LARGE, _SMALL = 100_000, 10


def router(bench: Bench) -> dict[str, Any]:
    """Events and jobs a second at fan-out 1, 3 and 100; a table of 100,000 subscriptions beside one of 10."""
    fan_outs = {str(each): route(bench, 10, each, bench.scaled(events)) for each, events in _FAN_OUTS.items()}
    return {"fan_out": fan_outs, **_tables(bench, bench.scaled(150_000))}


def _tables(bench: Bench, events: int) -> dict[str, Any]:
    """One subscription takes each event; the machine changes, so the small table is measured before and after.

    In the large one events are of all customers in turn, so that none is still in the processor's caches, and their
    jobs have as many keys; and then of as many customers as the small one has, which leaves the size alone.
    """
    customers = bench.scaled(_LARGE)
    before = route(bench, _SMALL, 1, events)
    all_of_large = route(bench, customers, 1, events)
    some_of_large = route(bench, customers, 1, events, of=_SMALL)
    after = route(bench, _SMALL, 1, events)
    # At a small scale all may be routed within one tick of the kernel's clock of CPU time.
    cost = max(0.1, (before["cpu_us_event"] + after["cpu_us_event"]) / 2)
    return {
        "table": {
            str(_SMALL): [before, after],
            str(customers): {"events_of_all": all_of_large, "of_10": some_of_large},
        },
        "large_of_small": round(all_of_large["cpu_us_event"] / cost, 2),
        "large_of_small_same_events": round(some_of_large["cpu_us_event"] / cost, 2),
        "load_s": round(all_of_large["ready_s"] - min(before["ready_s"], after["ready_s"]), 1),
    }


def route(bench: Bench, customers: int, each: int, events: int, of: int | None = None) -> dict[str, Any]:
    """Route events that wait, `each` subscriptions for each customer; the events are `of` so many (default: all)."""
    with bench.stage() as stage:
        stage.subscribed(customers, each)
        stage.fill_events(of or customers, events)
        began = time.monotonic()
        role = stage.router()
        ready_s = time.monotonic() - began
        routed = partial(role.metric, "signpost_router_events_total")
        work = work_of([role], routed, begin=min(1_000, 0.1 * events), end=events)
        jobs = role.metric("signpost_router_jobs_total")
        assert jobs == events * each, f"{jobs:g} jobs of {events} events for {each} subscriptions"
        return {
            "events_rate": round(work.rate),
            "jobs_rate": round(work.rate * each),
            "cpu_us_event": round(work.cpu_us, 1),
            "cpu_us_job": round(work.cpu_us / each, 1),
            "ready_s": round(ready_s, 2),
            "rss_peak_mib": peak_mib(role),
        }
