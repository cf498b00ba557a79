"""Delivery next to a bare socket loop and plain httpx consumers; with a backlog; in several processes."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from statistics import median
from typing import Any

from schemas.records.topics import FIRST
from tests.bench.measure import Throughput, peak_mib, resident_mib, throughput_of
from tests.bench.stage import Bench, Stage, Subscribed
from tests.bench.yardsticks import run
from tests.support.roles import Role

_SUBSCRIPTIONS = 100


def delivery(bench: Bench) -> dict[str, Any]:
    """Delivery of 100,000 jobs of ~320 bytes to 100 subscriptions, next to a bare socket loop and httpx consumers."""
    jobs = bench.scaled(100_000)
    sink = bench.sink
    with bench.stage() as stage:
        stage.fill(stage.jobs_for(stage.subscribed(_SUBSCRIPTIONS), jobs))
        before = run("bare", sink.url, str(jobs // 2), "512")
        role, throughput = _drain(stage, jobs)
        after = run("bare", sink.url, str(jobs // 2), "512")
        figures = {"deferred": role.metric("signpost_delivery_deferred_total"), "rss_peak_mib": peak_mib(role)}
        role.terminate()
        count = str(max(500, jobs // 50))
        topic = stage.names.jobs(FIRST)
        httpx = {tasks: run("httpx", stage.bootstrap_servers, topic, sink.url, count, str(tasks)) for tasks in (8, 64)}
    # The load of the machine changes within a minute, so the bare loop runs before and after.
    bare = {name: median((before[name], after[name])) for name in before}
    return {
        "jobs": jobs,
        **figures_of(throughput),
        **figures,
        "bare_sockets": bare,
        "httpx_8": httpx[8],
        "httpx_64": httpx[64],
        "rate_to_bare": round(throughput.rate / bare["rate"], 2),
        "cpu_to_bare": round(throughput.cpu_us / bare["cpu_us"], 2),
        "rate_to_httpx": round(throughput.rate / max(result["rate"] for result in httpx.values()), 1),
    }


def backlog(bench: Bench) -> dict[str, Any]:
    """CPU per job with 1,000, 100,000 and 1,000,000 jobs waiting."""
    found = {}
    for waiting in sorted({bench.scaled(waiting) for waiting in (1_000, 100_000, 1_000_000)}):
        found[str(waiting)] = _cost_with(bench, waiting, bench.scaled(50_000, 2_000))
    costs = [one["cpu_us"] for one in found.values()]
    return {"waiting": found, "max_to_min_cpu": round(max(costs) / min(costs), 2)}


def processes(bench: Bench) -> dict[str, Any]:
    """Jobs per second with 1, 2 and 4 delivery processes, on one machine with broker and sink."""
    jobs = bench.scaled(100_000)
    found = {}
    for count in (1, 2, 4):
        with bench.stage() as stage:
            subscribed = stage.subscribed(_SUBSCRIPTIONS)
            prepared = list(stage.jobs_for(subscribed, jobs))
            roles = [stage.deliver(instance) for instance in range(count)]
            counted = bench.sink.counted()
            stage.fill(prepared)
            throughput = throughput_of(roles, counted, begin=0.3 * jobs, end=0.95 * jobs)
            found[str(count)] = figures_of(throughput) | {"rss_peak_mib": [peak_mib(role) for role in roles]}
    return {"jobs": jobs, "processes": found}


def _drain(stage: Stage, jobs: int) -> tuple[Role, Throughput]:
    """Start a process with waiting jobs; the first and last twentieth do not count, as deferred jobs come late."""
    counted = stage.bench.sink.counted()
    role = stage.deliver(ready=False)
    return role, throughput_of([role], counted, begin=0.05 * jobs, end=0.95 * jobs)


def _cost_with(bench: Bench, waiting: int, measured: int) -> dict[str, Any]:
    """Deliver `measured` jobs while about `waiting` others wait."""
    with bench.stage() as stage:
        subscribed = stage.subscribed(_SUBSCRIPTIONS)
        stage.fill(stage.jobs_for(subscribed, waiting))
        role = stage.deliver(ready=False)
        feeder = _Feeder(stage, subscribed, waiting)
        counted = bench.sink.counted()
        throughput = throughput_of([role], counted, begin=0.2 * measured, end=1.2 * measured, on_count=feeder.keep)
        return figures_of(throughput) | {"rss_mib": resident_mib(role)}


class _Feeder:
    """Writes a job for each delivered one, so that the number of waiting jobs stays the same."""

    def __init__(self, stage: Stage, subscribed: list[Subscribed], waiting: int) -> None:
        self._stage = stage
        self._waiting = waiting
        self._written = waiting
        # Prepared in advance, so that encoding takes no CPU from the measured process.
        self._prepared = iter(list(stage.jobs_for(subscribed, 100_000, start=waiting)))

    def keep(self, delivered: float) -> None:
        """Write the missing jobs."""
        missing = int(delivered) + self._waiting - self._written
        with suppress(StopIteration):
            self._stage.fill(islice(self._prepared, max(0, missing)))
            self._written += max(0, missing)


def figures_of(throughput: Throughput) -> dict[str, Any]:
    """Return rate, CPU per item and duration."""
    return {
        "rate": round(throughput.rate),
        "cpu_us": round(throughput.cpu_us, 1),
        "seconds": round(throughput.seconds, 1),
    }
