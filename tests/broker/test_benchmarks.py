"""The benchmarks run and print all their figures. The values of the figures are not asserted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any, Final

import pytest

from deploy.dev.broker import Broker
from schemas.catalog.errors import InvalidInput, Unavailable
from tests.bench import router
from tests.bench.__main__ import BENCHMARKS
from tests.bench.before import checked_out, compared
from tests.bench.measure import medians
from tests.bench.sink import Sink
from tests.bench.stage import Bench

_TINY: Final = 0.001
_FIGURES: Final[dict[str, set[str]]] = {
    "delivery": {
        "jobs",
        "rate",
        "cpu_us",
        "bare_sockets",
        "httpx_8",
        "httpx_64",
        "rate_to_bare",
        "cpu_to_bare",
        "rate_to_httpx",
    },
    "router": {"fan_out", "table", "large_to_small", "load_s"},
    "latency": {"events", "rate", "to_post_ms", "to_2xx_ms"},
    "lateness": {"events", "late_ms", "early", "later_than_promised"},
    "memory": {"waiting", "subscriptions"},
    "backlog": {"waiting", "max_to_min_cpu"},
    "processes": {"jobs", "processes"},
    "staleness": {"changes", "attempts", "acknowledged_after_ms", "violations"},
    "endpoints": {"jobs", "hosts", "tls"},
    "flood": {
        "flood",
        "same_partition_ms",
        "other_partitions_ms",
        "without_flood_ms",
        "read_past_per_second",
        "deferred",
        "cpu_us_per_job",
    },
    "scrape": {"jobs", "without", "with", "one", "with_to_without_cpu"},
    "tools": {"records", "dead_letters", "seconds", "command_start"},
    "senders": {"zenoo", "onboarding", "diligent", "riskos", "standard", "standard v1a"},
}


@pytest.fixture
def bench(broker: Broker) -> Iterator[Bench]:
    """A bench with a thousandth of the usual sizes."""
    try:
        sink = Sink()
    except Unavailable as error:
        pytest.skip(str(error))
    with sink:
        yield Bench(broker.bootstrap_servers, sink, _TINY)


def measured(found: dict[str, Any]) -> list[float]:
    """Return all numbers of a benchmark's figures, nested ones included."""
    numbers = []
    for value in found.values():
        if isinstance(value, dict):
            numbers += measured(value)
        elif isinstance(value, (int, float)):
            numbers.append(float(value))
    return numbers


def test_delivery_is_compared_with_bare_sockets_and_httpx(bench: Bench) -> None:
    """The figures have rate and CPU of the delivery process, a bare socket loop and httpx consumers, and ratios."""
    found = BENCHMARKS["delivery"](bench)

    assert _FIGURES["delivery"] <= json.loads(json.dumps(found)).keys()
    assert found["rate"] > 0
    assert found["bare_sockets"].keys() == found["httpx_8"].keys() == {"rate", "cpu_us"}


def test_router_is_measured_by_events_and_jobs(bench: Bench) -> None:
    """A run of the router has events and jobs per second, the CPU of each, and the memory."""
    found = router.route(bench, 10, 3, 1_000)

    assert found["jobs_rate"] >= found["events_rate"] > 0
    assert {"cpu_us_event", "cpu_us_job", "ready_s", "rss_peak_mib"} <= found.keys()


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(_FIGURES))
def test_every_benchmark_prints_its_figures(bench: Bench, name: str) -> None:
    """Each benchmark runs at a small scale and has all its figures."""
    found = BENCHMARKS[name](bench)

    assert _FIGURES[name] <= json.loads(json.dumps(found)).keys()
    # `staleness` counts from the acknowledgement: an earlier effect is negative.
    assert name == "staleness" or all(number >= 0 for number in measured(found))


def test_several_rounds_are_reduced_to_medians() -> None:
    """Each number, nested ones included, is the median of all rounds."""
    rounds = [{"rate": rate, "hosts": {"1": {"cpu_us": rate / 2}}, "rss": [rate, 1], "kind": "x"} for rate in (9, 1, 4)]
    assert medians(rounds) == {"rate": 4, "hosts": {"1": {"cpu_us": 2}}, "rss": [4, 1], "kind": "x"}


def test_commits_are_compared_by_medians() -> None:
    """A comparison has the ratios of rate and CPU to the other commit, by medians of the rounds."""
    rounds: dict[str, list[dict[str, float]]] = {
        "before": [{"rate": 90, "cpu_us": 60}, {"rate": 100, "cpu_us": 50}, {"rate": 300, "cpu_us": 40}],
        "now": [{"rate": 110, "cpu_us": 40}, {"rate": 95, "cpu_us": 40}, {"rate": 10, "cpu_us": 90}],
    }
    found = compared(rounds)
    assert (found["rate_ratio"], found["cpu_ratio"]) == (0.95, 0.8)


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git to check a commit out")
def test_unknown_commit_is_named() -> None:
    """A commit that git does not know is an error, and nothing is run."""
    with pytest.raises(InvalidInput, match="no commit 'never-made'"), checked_out("never-made"):
        pass


def test_missing_nginx_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without nginx `make bench` names the package to install."""
    monkeypatch.setattr(shutil, "which", lambda *_args, **_options: None)

    with pytest.raises(Unavailable, match="apt-get install nginx"):
        Sink()
