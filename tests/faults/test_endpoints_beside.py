"""Endpoints that misbehave beside healthy ones: nothing is lost, none holds up another, and each gets what it takes.

The long forms have the sizes that the promises are made for: healthy endpoints get two fifths of what the machine
delivers, so that what is measured is the endpoints beside them and not how busy it is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from deploy.local.broker import Broker
from tests.support.dns import SILENCE, DnsServer
from tests.support.ends import rewrites
from tests.support.pipeline import Pipeline
from tests.support.players import Players
from tests.support.roles import RoleStarter
from tests.support.scenario import Endpoint, Scenario
from tests.support.table import RecordProperty, Row
from tests.support.waiting import wait_until
from tests.support.windows import Side, Windows, p99_ms, per_second

# Retries soon enough for a test, in tiers that are there; enough of them that nothing is given up.
SCHEDULE_S = (5, 5, 5, 20, 20, 20, 60, 60, 60, 300)
IN_FLIGHT = 16
MOST_PER_SECOND = 2_000
OF_FULL_SPEED = 0.4


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything; `timeout_s` is that of the faulty endpoints."""

    name: str
    healthy: int
    windows: Windows
    timeout_s: int
    is_long: bool


SHORT = Size("short", 100, Windows(2, 1, 1, 200, 1_000, 1, 400), 2, is_long=False)
LONG = Size("long", 1_000, Windows(6, 8, 20, 500, 20_000, 3, 600), 30, is_long=True)
SIZES = [pytest.param(SHORT, id="short"), pytest.param(LONG, id="long", marks=pytest.mark.long)]
pytestmark = pytest.mark.scenario


@dataclass(frozen=True, slots=True)
class Case:
    """How so many endpoints misbehave, and which failures that is; those that hang are cut off when they are mended.

    They get `once` jobs at the beginning, else a tenth of what the healthy ones get.
    """

    name: str
    how: str
    kinds: tuple[str, ...]
    endpoints: Callable[[Size], int]
    once: Callable[[Size], int] | None = None


CASES = [
    Case("dead", "door", ("refused", "timeout_connect"), lambda _: 1),
    Case("hang", "hang", ("timeout_answer", "reset"), lambda _: 10),
    Case(
        "drip",
        "drip",
        ("timeout_answer", "reset"),
        lambda s: 10_000 if s.is_long else 60,
        lambda s: 10_000 if s.is_long else 60,
    ),
    Case("names", "names", ("dns_timeout",), lambda _: 100),
    Case("flood", "serial:2", (), lambda _: 1, lambda s: 100_000 if s.is_long else 1_000),
]


class Dns:
    """Answers to no name that begins with `silent`, until the third part of it is well."""

    def __init__(self) -> None:
        self.well: set[str] = set()
        self.server = DnsServer(self._zone)

    def _zone(self, name: str, _asked: int) -> list[str]:
        is_silent = name.startswith("silent") and name.split(".")[1] not in self.well
        return [SILENCE] if is_silent else ["127.0.0.1"]


@dataclass(slots=True)
class World:
    """What all tests of this file share."""

    broker: Broker
    prefix: str
    start_role: RoleStarter
    shared: Pipeline
    healthy: Players
    faulty: Players
    dns: Dns
    sides: dict[str, Side] = field(default_factory=dict)
    windows: dict[str, Windows] = field(default_factory=dict)
    compared: dict[str, Compared] = field(default_factory=dict)

    def side(self, size: Size, name: str = "alone") -> Side:
        """Return a delivery process with healthy endpoints; in the short form one is all sides."""
        name = f"{name}-{size.name}" if size.is_long else size.name
        if name not in self.sides:
            pipeline = self.shared
            if size.is_long:
                pipeline = Pipeline(
                    self.broker.bootstrap_servers, f"{self.prefix}{name}.", self.start_role, partitions=12
                )
            scenario = Scenario(pipeline, self.healthy, dns_servers=[self.dns.server.address])
            side = self.sides[name] = Side(scenario, scenario.endpoints(f"healthy-{name}", size.healthy))
            scenario.players = self.faulty
            side.warm(size.windows)
        return self.sides[name]

    def windows_of(self, size: Size) -> Windows:
        """Return the windows at a rate that this machine can do beside much else."""
        if size.name not in self.windows:
            windows = size.windows
            if size.is_long:
                side = self.side(size)
                full = max(side.at_full_speed(windows) for _ in range(2))
                windows = replace(windows, per_second=min(MOST_PER_SECOND, int(OF_FULL_SPEED * full)))
            self.windows[size.name] = windows
        return self.windows[size.name]


class Compared:
    """One case: its faulty endpoints, what they get, and what it came to."""

    def __init__(self, world: World, case: Case, size: Size) -> None:
        self.name, self.case, self.size = f"{case.name}-{size.name}", case, size
        self._players, self._dns = world.faulty, world.dns
        self.side = world.side(size, case.name)
        self._before = len(self.side.sent)
        self.healthy: list[range] = []  # their jobs, in windows with faults
        self.batches: list[range] = []
        self.p99_ms = self.per_second = (0.0, 0.0)
        fields: dict[str, Any] = {"timeout_s": size.timeout_s, "schedule_s": SCHEDULE_S}
        if case.how == "names":
            fields["url"] = f"http://silent-{{}}.{self.name}.example:{world.faulty.port}/"
        elif case.how == "door":
            fields["url"] = f"http://127.0.0.1:{world.faulty.door(self.name)}/"
        else:
            world.faulty.tell(self.name, case.how)
        self.faulty: list[Endpoint] = self.side.scenario.endpoints(self.name, case.endpoints(size), **fields)

    def faults(self, seconds: float, healthy_jobs: int) -> threading.Thread | None:
        """Begin to send what is for the faulty endpoints in this window."""
        once = self.case.once
        if once and self.batches:
            return None
        if self.case.how == "door" and len(self.batches) >= self.size.windows.turns // 2:
            self._players.door(self.name, "drops")
        jobs = once(self.size) if once else healthy_jobs // 10
        rate = 0 if once or not seconds else jobs / seconds
        thread, batch = self.side.scenario.beside(self.faulty, jobs, rate)
        self.batches.append(batch)
        return thread

    def mend(self) -> None:
        """From now on they answer, as the one that was flooded did all the time."""
        self.healthy = self.side.sent[self._before :]
        if self.case.how == "door":
            self._players.door(self.name, "open")
        elif not self.case.how.startswith("serial"):
            self._players.tell(self.name, "ok")
        self._dns.well.add(self.name)

    def errors(self) -> set[str]:
        """Return how its attempts failed."""
        odd = [one for batch in self.batches for one in self.side.scenario.ends.odd(batch)]
        return {one["error"] for one in odd if one["state"] != "delivered"}

    def row(self) -> Row:
        """What it came to."""
        scenario = self.side.scenario
        faulty = [number for batch in self.batches for number in batch]
        everything = [*faulty, *(number for batch in self.healthy for number in batch)]
        seen = list(self._players.seen(self.name).values())
        return Row(
            scenario=self.name,
            events=len(everything),
            faulty=len(faulty),
            lost=scenario.ends.missing(everything),
            repeated=scenario.ends.again(everything) + sum(play["answered_twice"] for play in seen),
            p99_ms=self.p99_ms,
            per_second=self.per_second,
            rewrites=rewrites(scenario.pipeline, faulty),
        )


@pytest.fixture(scope="module")
def world(
    broker: Broker, module_prefix: str, module_start_role: RoleStarter, module_pipeline: Pipeline
) -> Iterator[World]:
    dns = Dns()
    with Players(2) as healthy, Players(1) as faulty:
        yield World(broker, module_prefix, module_start_role, module_pipeline, healthy, faulty, dns)
    dns.server.close()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_healthy_endpoints_beside_others(world: World, case: Case, size: Size) -> None:
    """Healthy endpoints get all their jobs at the first attempt, once, while others misbehave."""
    without, windows = world.side(size), world.windows_of(size)
    compared = world.compared[f"{case.name}-{size.name}"] = Compared(world, case, size)
    compared.p99_ms = p99_ms(without, compared.side, windows, compared.faults)
    compared.per_second = per_second(without, compared.side, windows, compared.faults)
    compared.mend()
    assert [odd for batch in compared.healthy for odd in compared.side.scenario.ends.odd(batch)] == []


class Away:
    """Endpoints that were away together: some said for how long, one did not answer."""

    def __init__(self, world: World, size: Size) -> None:
        self.players, self.scenario = world.faulty, world.side(size).scenario
        self.told, self.back = f"told-{size.name}", f"back-{size.name}"
        wait, count, jobs = ("30/120", 1_000, 50_000) if size.is_long else ("2/5", 20, 500)
        self.players.tell(self.told, f"told:{wait}")
        self.players.tell(self.back, "close")
        told = self.scenario.endpoints(self.told, count, schedule_s=SCHEDULE_S)
        back = self.scenario.endpoints(self.back, 1, schedule_s=SCHEDULE_S, max_in_flight=8)
        self.told_jobs = self.scenario.send(told, 40 * count)
        self.back_jobs = self.scenario.send(back, jobs)

    def row(self, name: str, batch: range, deadline_s: float) -> Row:
        """Wait for the end of all these jobs, and return what it came to, even where they do not come to it."""
        ends = self.scenario.ends
        try:
            self.scenario.ended(batch, deadline_s)
        finally:
            again = ends.again(batch) + sum(play["answered_twice"] for play in self.players.seen(name).values())
            moved = rewrites(self.scenario.pipeline, batch)
            row = Row(name, len(batch), len(batch), ends.missing(batch), again, rewrites=moved)
        return row


@pytest.fixture(scope="module")
def away(world: World) -> Callable[[Size], Away]:
    known: dict[str, Away] = {}

    def begin(size: Size) -> Away:
        if size.name not in known:
            known[size.name] = Away(world, size)
        return known[size.name]

    return begin


@pytest.mark.parametrize("size", SIZES)
def test_an_endpoint_that_comes_back_gets_what_waited_at_its_limit(
    away: Callable[[Size], Away], size: Size, record_property: RecordProperty
) -> None:
    """After an outage the jobs that waited go out as fast as the endpoint's limit lets them, not faster."""
    one, attempts = away(size), 9 if size.is_long else 6
    players, name = one.players, one.back
    wait_until(lambda: sum(play["requests"] for play in players.seen(name).values()) >= attempts, 300, "probes")
    players.tell(name, "slow:10")
    row = one.row(name, one.back_jobs, size.windows.deadline_s)
    row.show(record_property)
    assert (row.lost, row.repeated) == (0, 0)
    [most] = [play["most_at_once"] for play in players.seen(name).values()]
    assert most == 8 if size.is_long else most <= 8


@pytest.mark.parametrize("size", SIZES)
def test_nobody_is_called_before_the_time_that_they_named(
    away: Callable[[Size], Away], size: Size, record_property: RecordProperty
) -> None:
    """While endpoints answer 429 with Retry-After none is called early; the backlog drains within their limits."""
    one = away(size)
    row = one.row(one.told, one.told_jobs, size.windows.deadline_s)
    row.show(record_property)
    seen = one.players.seen(one.told).values()
    assert (row.lost, row.repeated) == (0, 0)
    assert {outcome["status"] for outcome in one.scenario.ends.odd(one.told_jobs)} == {200, 429}
    assert sum(play["early"] for play in seen) == 0
    assert max(play["most_at_once"] for play in seen) <= IN_FLIGHT


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_those_that_are_mended_get_theirs(
    world: World, case: Case, size: Size, record_property: RecordProperty
) -> None:
    """What waited for endpoints that misbehaved is delivered once they do no more, within their limits."""
    if f"{case.name}-{size.name}" not in world.compared:
        pytest.skip("nothing waits: the test that has it wait did not run")
    compared = world.compared[f"{case.name}-{size.name}"]
    try:
        for batch in compared.batches:
            compared.side.scenario.ended(batch, size.windows.deadline_s)
    finally:
        row = compared.row()
        row.show(record_property)
    assert (row.lost, row.repeated) == (0, 0)
    assert max(seen["most_at_once"] for seen in world.faulty.seen(compared.name).values()) <= IN_FLIGHT
    assert compared.errors() <= set(case.kinds)
    if size.is_long:
        assert row.rewrites is not None
        assert row.rewrites <= 5
        assert set(case.kinds[:1]) <= compared.errors()
