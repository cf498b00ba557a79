"""Healthy and misbehaving endpoints together: no job is lost, no endpoint delays another, limits are kept.

The long forms have the sizes that the promises state. Healthy endpoints get 40 % of the rate that the machine can
deliver, so that the comparison shows the effect of the faulty endpoints and not of a busy machine.
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
# An endpoint that is repaired just before the timeout of an attempt may still miss it. If only the query for IPv6 is
# answered by then, the name has no address (`dns`).
LATE = ("timeout_connect", "timeout_answer", "dns")
SHORT = Size("short", 100, Windows(2, 1, 1, 200, 1_000, 1, 400), 2, is_long=False)
LONG = Size("long", 1_000, Windows(6, 10, 20, 500, 60_000, 5, 1_800), 30, is_long=True)
SIZES = [pytest.param(SHORT, id="short"), pytest.param(LONG, id="long", marks=pytest.mark.long)]
pytestmark = [pytest.mark.scenario, pytest.mark.promise(1, 4)]


CASES = [
    Case("dead", "port", ("refused", "timeout_connect"), lambda _: 1),
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
def test_faulty_endpoints_do_not_affect_healthy_ones(world: World, case: Case, size: Size) -> None:
    """While other endpoints misbehave, healthy ones get each of their jobs once, at the first attempt."""
    without = world.side(size)
    windows = world.windows_of(size)
    compared = Compared(world, case, size)
    world.compared[f"{case.name}-{size.name}"] = compared
    compared.compare(without, windows)
    compared.repair()
    if size.is_long:
        compared.leave()  # its process takes no CPU from the next case
    assert [odd for batch in compared.healthy for odd in compared.side.scenario.ends.odd(batch)] == []


class Away:
    """Endpoints with an outage at the same time: some throttle with Retry-After, one closes connections."""

    def __init__(self, world: World, size: Size) -> None:
        self.players = world.faulty
        self.scenario = world.side(size).scenario
        self.throttled = f"throttled-{size.name}"
        self.back = f"back-{size.name}"
        wait, count, jobs = ("60/120", 1_000, 50_000) if size.is_long else ("2/5", 20, 500)
        self.players.behave(self.throttled, f"throttle:{wait}")
        self.players.behave(self.back, "close")
        self.throttled_endpoints = count
        self.retry_after_ms = int(wait.partition("/")[0]) * 1_000
        throttled = self.scenario.endpoints(self.throttled, count, schedule_s=SCHEDULE_S)
        back = self.scenario.endpoints(self.back, 1, schedule_s=SCHEDULE_S, max_in_flight=8)
        self.throttled_jobs = self.scenario.send(throttled, 40 * count)
        self.back_jobs = self.scenario.send(back, jobs)

    def row(self, name: str, batch: range, deadline_s: float) -> Row:
        """Wait until these jobs have ended; return the row of the table, also if they have not."""
        ends = self.scenario.ends
        try:
            self.scenario.ended(batch, deadline_s)
        finally:
            repeated = ends.again(batch) + sum(play["answered_twice"] for play in self.players.seen(name).values())
            written = rewrites(self.scenario.pipeline, batch)
            row = Row(name, len(batch), len(batch), ends.missing(batch), repeated, rewrites=written)
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
def test_backlog_after_an_outage_drains_within_the_limit(
    away: Callable[[Size], Away], size: Size, record_property: RecordProperty
) -> None:
    """After an outage the waiting jobs of an endpoint are sent within its concurrency limit."""
    one = away(size)
    attempts = 8 if size.is_long else 6
    players = one.players
    name = one.back
    wait_until(lambda: sum(play["requests"] for play in players.seen(name).values()) >= attempts, 300, "probes")
    players.behave(name, "slow:10")
    row = one.row(name, one.back_jobs, size.windows.deadline_s)
    row.show(record_property)
    assert (row.lost, row.repeated) == (0, 0)
    [most] = [play["most_at_once"] for play in players.seen(name).values()]
    assert most == 8 if size.is_long else most <= 8


@pytest.mark.parametrize("size", SIZES)
def test_retry_after_of_many_endpoints_is_honoured(
    away: Callable[[Size], Away], size: Size, record_property: RecordProperty
) -> None:
    """No endpoint gets a request before its Retry-After has passed; the backlog drains within the limits."""
    one = away(size)
    row = one.row(one.throttled, one.throttled_jobs, size.windows.deadline_s)
    row.show(record_property)
    seen = one.players.seen(one.throttled).values()
    assert (row.lost, row.repeated) == (0, 0)
    assert {outcome["status"] for outcome in one.scenario.ends.odd(one.throttled_jobs)} == {200, 429}
    assert one.scenario.ends.early(one.throttled_jobs, one.throttled_endpoints, one.retry_after_ms) == []
    assert max(play["most_at_once"] for play in seen) <= IN_FLIGHT


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_repaired_endpoints_get_their_jobs(
    world: World, case: Case, size: Size, record_property: RecordProperty
) -> None:
    """When misbehaving endpoints respond again, all their jobs are delivered, within their limits."""
    if f"{case.name}-{size.name}" not in world.compared:
        pytest.skip("no job waits: test_faulty_endpoints_do_not_affect_healthy_ones did not run")
    compared = world.compared[f"{case.name}-{size.name}"]
    try:
        compared.ended()
    finally:
        row = compared.row()
        row.show(record_property)
        if case.is_flood:
            compared.row_behind().show(record_property)
    errors = compared.errors()
    # On a busy machine a repaired endpoint may respond after the timeout. Such an attempt is repeated.
    late = 0 if "timeout_answer" in case.kinds else errors["timeout_answer"]
    assert row.lost == 0
    assert row.repeated <= late
    assert max(seen["most_at_once"] for seen in world.faulty.seen(compared.name).values()) <= IN_FLIGHT
    assert set(errors) <= {*case.kinds, *LATE}
    if size.is_long:
        assert row.rewrites is not None
        assert row.rewrites <= 5
        assert set(case.kinds[:1]) <= set(errors)
