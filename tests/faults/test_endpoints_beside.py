"""Endpoints that misbehave beside healthy ones: nothing is lost, none holds up another, and each gets what it takes.

`pytest -s` prints a row for each scenario; the long forms have the sizes that the promises are made for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.dns import SILENCE, DnsServer
from tests.support.pipeline import Pipeline, ends_of
from tests.support.players import Players
from tests.support.scenario import HEAD, Endpoint, Row, Scenario, p99_ms
from tests.support.waiting import wait_until

# Retries soon enough for a test, in tiers that are there; enough of them that nothing is given up.
SCHEDULE_S = (5, 5, 5, 20, 20, 20, 60, 60, 60, 300)
IN_FLIGHT = 16


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything; `timeout_s` is that of the faulty endpoints."""

    name: str
    healthy: int
    per_second: int
    seconds: int
    timeout_s: int
    deadline_s: int


SHORT = Size("short", 100, 200, 4, 2, 400)
LONG = Size("long", 1_000, 2_000, 120, 30, 3_600)
SIZES = [pytest.param(SHORT, id="short"), pytest.param(LONG, id="long", marks=pytest.mark.long)]


@dataclass(frozen=True, slots=True)
class Case:
    """How so many endpoints misbehave, and how many jobs they get."""

    name: str
    how: str
    endpoints: Callable[[Size], int]
    jobs: Callable[[Size], int]
    at_once: bool = False
    url: str | None = None


def tenth(size: Size) -> int:
    """A tenth of what the healthy ones get."""
    return size.per_second * size.seconds // 10


CASES = [
    Case("dead", "close", lambda _: 1, tenth),
    Case("hang", "hang", lambda _: 10, tenth),
    Case("drip", "drip", lambda s: 10 * s.healthy if s is LONG else 60, lambda s: 10 * s.healthy if s is LONG else 60),
    Case("flood", "serial:4", lambda _: 1, lambda s: 100_000 if s is LONG else 1_000, at_once=True),
    Case("names", "ok", lambda _: 100, tenth, url="http://silent-{}.example:PORT/"),
]


@pytest.fixture(scope="module")
def players() -> Iterator[Players]:
    with Players() as players:
        yield players


class Dns:
    """Answers to no name that begins with `silent`, until it is well."""

    def __init__(self) -> None:
        self.well = False
        self.server = DnsServer(self._zone)

    def _zone(self, name: str, _asked: int) -> list[str]:
        return ["127.0.0.1"] if self.well or not name.startswith("silent") else [SILENCE]


@pytest.fixture(scope="module")
def dns() -> Iterator[Dns]:
    dns = Dns()
    yield dns
    dns.server.close()


@pytest.fixture(scope="module")
def scenario(module_pipeline: Pipeline, players: Players, dns: Dns) -> Scenario:
    scenario = Scenario(module_pipeline, players, dns_servers=[dns.server.address])
    print(HEAD)
    return scenario


@pytest.fixture(scope="module")
def without(scenario: Scenario) -> Callable[[Size], tuple[list[Endpoint], float]]:
    """The healthy endpoints of a size, and the 99th percentile of their first attempts while nothing is wrong."""
    known: dict[str, tuple[list[Endpoint], float]] = {}

    def measured(size: Size) -> tuple[list[Endpoint], float]:
        if size.name not in known:
            endpoints = scenario.endpoints(f"healthy-{size.name}", size.healthy, url=scenario.players.url)
            scenario.ended(scenario.send(endpoints, size.healthy, size.per_second), size.deadline_s)
            ids = scenario.send(endpoints, size.per_second * size.seconds, size.per_second)
            known[size.name] = endpoints, p99_ms(scenario.ended(ids, size.deadline_s))
        return known[size.name]

    return measured


def repeated(players: Players, *names: str) -> int:
    """How many requests were answered for a job that had been answered before."""
    return sum(seen["answered_twice"] for name in names for seen in players.seen(name).values())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_healthy_endpoints_beside_others(
    scenario: Scenario, without: Callable[[Size], tuple[list[Endpoint], float]], dns: Dns, case: Case, size: Size
) -> None:
    """Healthy endpoints get all their jobs once while others misbehave, and those get theirs once they are well."""
    healthy, p99_without = without(size)
    players, name, jobs = scenario.players, f"{case.name}-{size.name}", case.jobs(size)
    dns.well = False
    players.tell(name, case.how)
    fields: dict[str, Any] = {"timeout_s": size.timeout_s, "schedule_s": SCHEDULE_S}
    if case.url:
        fields["url"] = case.url.replace("PORT", str(players.port))
    faulty = scenario.endpoints(name, case.endpoints(size), **fields)
    parked = scenario.parked()
    thread, healthy_ids = scenario.beside(healthy, size.per_second * size.seconds, size.per_second)

    faulty_ids = scenario.send(faulty, jobs, 0 if case.at_once else jobs / size.seconds)

    thread.join()
    found = scenario.ended(healthy_ids, size.deadline_s)
    assert {(one["state"], one["attempt"]) for one in found} == {("delivered", 1)}
    if not case.how.startswith("serial"):
        players.tell(name, "ok")
    dns.well = True
    ends = ends_of(scenario.ended(faulty_ids, size.deadline_s))
    row = Row(
        scenario=name,
        events=len(healthy_ids) + jobs,
        faulty=jobs,
        lost=len(set(faulty_ids) - set(ends)),
        repeated=repeated(players, f"healthy-{size.name}", name),
        p99_with_ms=p99_ms(found),
        p99_without_ms=p99_without,
        rewrites=(scenario.parked() - parked) / jobs,
    )
    print(row)
    assert (row.lost, row.repeated) == (0, 0)
    assert set(ends.values()) == {1}
    assert max(seen["most_at_once"] for seen in players.seen(name).values()) <= IN_FLIGHT
    assert row.rewrites <= 5 or case.name == "names" or size is SHORT


@pytest.mark.parametrize("size", SIZES)
def test_nobody_is_called_before_the_time_that_they_named(scenario: Scenario, size: Size) -> None:
    """While endpoints answer 429 with Retry-After none is called early; the backlog drains within their limits."""
    players, name = scenario.players, f"told-{size.name}"
    wait_s, count = (120, 1_000) if size is LONG else (5, 20)
    players.tell(name, f"told:{wait_s}")
    endpoints = scenario.endpoints(name, count, schedule_s=SCHEDULE_S)
    parked = scenario.parked()
    ids = scenario.send(endpoints, 40 * count)
    wait_until(lambda: len(players.seen(name)) == count, what="each was called")
    players.tell(name, "slow:20")
    found = scenario.ended(ids, size.deadline_s)
    seen = players.seen(name).values()
    row = Row(name, len(ids), len(ids), 0, repeated(players, name), 0, 0, (scenario.parked() - parked) / len(ids))
    print(row)
    assert set(ends_of(found).values()) == {1}
    assert {one["state"] for one in found} == {"delivered", "retry"}
    assert sum(play["early"] for play in seen) == 0
    assert max(play["most_at_once"] for play in seen) <= IN_FLIGHT


@pytest.mark.parametrize("size", SIZES)
def test_an_endpoint_that_comes_back_gets_what_waited_at_its_limit(scenario: Scenario, size: Size) -> None:
    """After an outage the jobs that waited go out as fast as the endpoint's limit lets them, not faster."""
    players, name = scenario.players, f"back-{size.name}"
    jobs, attempts = (50_000, 12) if size is LONG else (500, 6)
    players.tell(name, "close")
    endpoints = scenario.endpoints(name, 1, schedule_s=SCHEDULE_S, max_in_flight=8)
    parked = scenario.parked()
    ids = scenario.send(endpoints, jobs)
    wait_until(lambda: sum(play["requests"] for play in players.seen(name).values()) >= attempts, what="probes")
    players.tell(name, "slow:10")
    found = scenario.ended(ids, size.deadline_s)
    print(Row(name, jobs, jobs, 0, repeated(players, name), 0, 0, (scenario.parked() - parked) / jobs))
    assert set(ends_of(found).values()) == {1}
    assert [play["most_at_once"] for play in players.seen(name).values()] <= [8]
    assert scenario.role.metric("signpost_delivery_open_circuits") == 0
