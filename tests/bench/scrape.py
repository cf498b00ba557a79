"""What a scrape of /metrics costs a delivery process: next to a busy loop, and by itself."""

from __future__ import annotations

import time
from typing import Any, Final

import httpx

from tests.bench.delivery import figures_of
from tests.bench.measure import cpu_seconds, throughput_of
from tests.bench.stage import Bench, Stage
from tests.support.roles import Role
from tests.support.waiting import wait_until

_SUBSCRIPTIONS: Final = 100
_EVERY_S: Final = 1.0
_SCRAPES: Final = 200
_OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0"


def scrape(bench: Bench) -> dict[str, Any]:
    """CPU of a delivery with and without a scrape each second, and CPU and duration of one scrape."""
    jobs = bench.scaled(100_000)
    found: dict[str, dict[str, Any]] = {}
    for name, scrapes in (("without", False), ("with", True)):
        with bench.stage() as stage:
            role, scraper = _prepared(stage, jobs)
            counted = bench.sink.counted()
            throughput = throughput_of(
                [role],
                counted,
                begin=0.05 * jobs,
                end=0.95 * jobs,
                on_count=scraper.keep if scrapes else lambda _count: None,
            )
            found[name] = figures_of(throughput) | {"scrapes": scraper.scrapes}
            if scrapes:
                found["one"] = _cost_of_one(role, scraper, bench.scaled(_SCRAPES, 10))
    ratio = found["with"]["cpu_us"] / max(0.1, found["without"]["cpu_us"])
    return {"jobs": jobs, **found, "with_to_without_cpu": round(ratio, 3)}


class _Scraper:
    """Scrapes a role as Prometheus does: OpenMetrics, over one connection."""

    def __init__(self, role: Role) -> None:
        self._client = httpx.Client(headers={"Accept": _OPENMETRICS}, timeout=60)
        self._url = f"{role.address}/metrics"
        self._due_s = 0.0
        self.scrapes = 0
        self.size = 0

    def keep(self, delivered: float) -> None:
        """Scrape if the last scrape is a second ago, once the process delivers."""
        if delivered > 0 and time.monotonic() >= self._due_s:
            self._due_s = time.monotonic() + _EVERY_S
            self.scrape()

    def scrape(self) -> None:
        """Scrape once."""
        self.size = len(self._client.get(self._url).raise_for_status().content)
        self.scrapes += 1


def _prepared(stage: Stage, jobs: int) -> tuple[Role, _Scraper]:
    stage.fill(stage.jobs_for(stage.subscribed(_SUBSCRIPTIONS), jobs))
    role = stage.deliver(ready=False)
    return role, _Scraper(role)


def _cost_of_one(role: Role, scraper: _Scraper, scrapes: int) -> dict[str, Any]:
    """Scrape an idle process; its CPU without scrapes does not count."""
    idle_from, begun_s = cpu_seconds(role.pid), time.monotonic()
    wait_until(lambda: time.monotonic() - begun_s >= 2 * _EVERY_S, what="two seconds have passed")
    idle = (cpu_seconds(role.pid) - idle_from) / (time.monotonic() - begun_s)
    cpu_from, begun_s = cpu_seconds(role.pid), time.monotonic()
    for _ in range(scrapes):
        scraper.scrape()
    seconds = time.monotonic() - begun_s
    cpu = max(0.0, cpu_seconds(role.pid) - cpu_from - idle * seconds)
    return {
        "bytes": scraper.size,
        "ms": round(seconds / scrapes * 1_000, 2),
        "cpu_ms": round(cpu / scrapes * 1_000, 2),
        "core_percent_each_second": round(cpu / scrapes * 100, 2),
    }
