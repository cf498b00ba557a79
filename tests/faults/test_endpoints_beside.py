"""Endpoints that misbehave beside healthy ones: nothing is lost, none holds up another, and each gets what it takes.

The long forms have the sizes that the promises are made for: healthy endpoints get two fifths of what the machine
delivers, so that what is measured is the endpoints beside them and not how busy it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from deploy.dev.broker import Broker
from tests.support.compared import SCHEDULE_S, Case, Compared, Dns, Size, World
from tests.support.ends import rewrites
from tests.support.pipeline import Pipeline
from tests.support.players import Players
from tests.support.roles import RoleStarter
from tests.support.table import RecordProperty, Row
from tests.support.waiting import wait_until
from tests.support.windows import Windows

IN_FLIGHT = 16
# Whoever is mended at the end of an attempt's time may still be too late for it.
LATE = ("timeout_connect", "timeout_answer")
SHORT = Size("short", 100, Windows(2, 1, 1, 200, 1_000, 1, 400), 2, is_long=False)
LONG = Size("long", 1_000, Windows(6, 10, 20, 500, 60_000, 5, 600), 30, is_long=True)
SIZES = [pytest.param(SHORT, id="short"), pytest.param(LONG, id="long", marks=pytest.mark.long)]
pytestmark = [pytest.mark.scenario, pytest.mark.promise(1, 4)]


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
    Case("flood", "serial:2", (), lambda _: 1, lambda s: 100_000 if s.is_long else 1_000, is_flood=True),
]


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
    compared.compare(without, windows)
    compared.mend()
    if size.is_long:
        compared.leave()  # nothing of it is in the way of the next
    assert [odd for batch in compared.healthy for odd in compared.side.scenario.ends.odd(batch)] == []


class Away:
    """Endpoints that were away together: some said for how long, one did not answer."""

    def __init__(self, world: World, size: Size) -> None:
        self.players, self.scenario = world.faulty, world.side(size).scenario
        self.told, self.back = f"told-{size.name}", f"back-{size.name}"
        wait, count, jobs = ("60/120", 1_000, 50_000) if size.is_long else ("2/5", 20, 500)
        self.players.tell(self.told, f"told:{wait}")
        self.players.tell(self.back, "close")
        self.told_endpoints, self.told_ms = count, int(wait.partition("/")[0]) * 1_000
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
    one, attempts = away(size), 8 if size.is_long else 6
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
    assert one.scenario.ends.early(one.told_jobs, one.told_endpoints, one.told_ms) == []
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
        compared.ended()
    finally:
        row = compared.row()
        row.show(record_property)
        if case.is_flood:
            compared.row_behind().show(record_property)
    assert (row.lost, row.repeated) == (0, 0)
    assert max(seen["most_at_once"] for seen in world.faulty.seen(compared.name).values()) <= IN_FLIGHT
    assert compared.errors() <= {*case.kinds, *LATE}
    if size.is_long:
        assert row.rewrites is not None
        assert row.rewrites <= 5
        assert set(case.kinds[:1]) <= compared.errors()
