"""Delivery beside a bare loop of sockets and a plain httpx consumer; with a backlog; in several processes."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from statistics import median
from typing import Any

from schemas.records.topics import FIRST
from tests.bench.measure import Work, peak_mib, resident_mib, work_of
from tests.bench.stage import Bench, Stage, Subscribed
from tests.bench.yardsticks import run
from tests.support.roles import Role

_SUBSCRIPTIONS = 100


def delivery(bench: Bench) -> dict[str, Any]:
    """100,000 jobs of ~320 bytes for 100 subscriptions, and what else would have delivered them."""
    jobs, sink = bench.scaled(100_000), bench.sink
    with bench.stage() as stage:
        stage.fill(stage.jobs_for(stage.subscribed(_SUBSCRIPTIONS), jobs))
        before = run("bare", sink.url, str(jobs // 2), "512")
        role, work = _drain(stage, jobs)
        after = run("bare", sink.url, str(jobs // 2), "512")
        figures = {"deferred": role.metric("signpost_delivery_deferred_total"), "rss_peak_mib": peak_mib(role)}
        role.terminate()
        some, topic = str(max(500, jobs // 50)), stage.names.jobs(FIRST)
        httpx = {tasks: run("httpx", stage.bootstrap_servers, topic, sink.url, some, str(tasks)) for tasks in (8, 64)}
    # The machine is rarely the same for a minute: the bare loop runs before and after.
    bare = {name: median((before[name], after[name])) for name in before}
    return {
        "jobs": jobs,
        **_figures(work),
        **figures,
        "bare_sockets": bare,
        "httpx_8": httpx[8],
        "httpx_64": httpx[64],
        "of_bare_rate": round(work.rate / bare["rate"], 2),
        "of_bare_cpu": round(work.cpu_us / bare["cpu_us"], 2),
        "times_httpx": round(work.rate / max(figures_["rate"] for figures_ in httpx.values()), 1),
    }


def backlog(bench: Bench) -> dict[str, Any]:
    """What a job costs with 1,000, 100,000 and 1,000,000 waiting behind it."""
    found = {}
    for waiting in sorted({bench.scaled(waiting) for waiting in (1_000, 100_000, 1_000_000)}):
        found[str(waiting)] = _cost_with(bench, waiting, bench.scaled(50_000, 2_000))
    costs = [one["cpu_us"] for one in found.values()]
    return {"waiting": found, "most_of_least": round(max(costs) / min(costs), 2)}


def processes(bench: Bench) -> dict[str, Any]:
    """Jobs a second with 1, 2 and 4 delivery processes, which broker and sink share the machine with."""
    jobs = bench.scaled(100_000)
    found = {}
    for count in (1, 2, 4):
        with bench.stage() as stage:
            subscribed = stage.subscribed(_SUBSCRIPTIONS)
            prepared = list(stage.jobs_for(subscribed, jobs))
            roles = [stage.deliver(instance) for instance in range(count)]
            counted = bench.sink.counted()
            stage.fill(prepared)
            work = work_of(roles, counted, begin=0.3 * jobs, end=0.95 * jobs)
            found[str(count)] = _figures(work) | {"rss_peak_mib": [peak_mib(role) for role in roles]}
    return {"jobs": jobs, "processes": found}


def _drain(stage: Stage, jobs: int) -> tuple[Role, Work]:
    """Start a process on jobs that wait; the first and the last twentieth do not count: what is parked comes later."""
    counted = stage.bench.sink.counted()
    role = stage.deliver(ready=False)
    return role, work_of([role], counted, begin=0.05 * jobs, end=0.95 * jobs)


def _cost_with(bench: Bench, waiting: int, measured: int) -> dict[str, Any]:
    """Deliver `measured` jobs while at least about `waiting` others wait."""
    with bench.stage() as stage:
        subscribed = stage.subscribed(_SUBSCRIPTIONS)
        stage.fill(stage.jobs_for(subscribed, waiting))
        role = stage.deliver(ready=False)
        feeder = _Feeder(stage, subscribed, waiting)
        counted = bench.sink.counted()
        work = work_of([role], counted, begin=0.2 * measured, end=1.2 * measured, each=feeder.keep)
        return _figures(work) | {"rss_mib": resident_mib(role)}


class _Feeder:
    """Writes as many jobs as were delivered, so that as many wait as before."""

    def __init__(self, stage: Stage, subscribed: list[Subscribed], waiting: int) -> None:
        self._stage = stage
        self._waiting = self._written = waiting
        # Made before: what the feeder takes of the machine, the process does not have.
        self._prepared = iter(list(stage.jobs_for(subscribed, 100_000, start=waiting)))

    def keep(self, delivered: float) -> None:
        """Write what is lacking."""
        lacking = int(delivered) + self._waiting - self._written
        with suppress(StopIteration):
            self._stage.fill(islice(self._prepared, max(0, lacking)))
            self._written += max(0, lacking)


def _figures(work: Work) -> dict[str, Any]:
    return {"rate": round(work.rate), "cpu_us": round(work.cpu_us, 1), "seconds": round(work.seconds, 1)}
