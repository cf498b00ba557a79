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
    fan_outs = {str(each): _route(bench, 10, each, bench.scaled(events)) for each, events in _FAN_OUTS.items()}
    events = bench.scaled(150_000)
    small = _route(bench, _SMALL, 1, events)
    large = _route(bench, bench.scaled(_LARGE), 1, events)
    again = _route(bench, _SMALL, 1, events)
    cost = (small["cpu_us_event"] + again["cpu_us_event"]) / 2
    return {
        "fan_out": fan_outs,
        "table": {str(_SMALL): small, str(bench.scaled(_LARGE)): large},
        "large_of_small": round(large["cpu_us_event"] / cost, 2),
        "load_s": round(large["ready_s"] - min(small["ready_s"], again["ready_s"]), 1),
    }


def _route(bench: Bench, customers: int, each: int, events: int) -> dict[str, Any]:
    """Route events that wait, `each` subscriptions for each customer."""
    with bench.stage() as stage:
        stage.subscribed(customers, each)
        stage.fill_events(customers, events)
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
