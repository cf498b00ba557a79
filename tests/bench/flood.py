"""A flood for one endpoint: how long others wait behind it, in its partition and in the others, and without it."""

from __future__ import annotations

from typing import Any, Final

from schemas.records.partitioner import partition_of
from tests.bench.measure import cpu_seconds
from tests.bench.stage import PARTITIONS, Bench
from tests.support.players import Players
from tests.support.scenario import Endpoint, Scenario

_JOBS: Final = 100_000
_OTHERS: Final = 120
_EACH: Final = 10


def flood(bench: Bench) -> dict[str, Any]:
    """100,000 jobs at once for an endpoint that takes 50 a second; jobs for 120 others behind it: the worst wait."""
    jobs = bench.scaled(_JOBS)
    with Players() as players, bench.stage() as stage:
        scenario = Scenario(stage, players)
        others = scenario.endpoints("others", _OTHERS, url=players.url)
        scenario.ended(scenario.send(others, _EACH * _OTHERS), 60)
        players.tell("flooded", "serial:20")
        (flooded,) = scenario.endpoints("flooded", 1)

        def shares_its_partition(one: Endpoint) -> bool:
            return partition_of(one.id, PARTITIONS) == partition_of(flooded.id, PARTITIONS)

        beside = [one for one in others if shares_its_partition(one)]
        elsewhere = [one for one in others if not shares_its_partition(one)]
        without = _waits(scenario, beside, elsewhere)
        before = cpu_seconds(scenario.role.pid)
        scenario.send([flooded], jobs)
        behind, apart = _waits(scenario, beside, elsewhere)
        return {
            "flood": jobs,
            "behind_it_ms": behind,
            "other_partitions_ms": apart,
            "without_it_ms": dict(zip(("its_partition", "other_partitions"), without, strict=True)),
            "read_past_a_second": round(jobs * 1_000 / max(1, behind)),
            "deferred": scenario.deferred(),
            "cpu_us_a_job": round((cpu_seconds(scenario.role.pid) - before) / jobs * 1e6, 1),
        }


def _waits(scenario: Scenario, beside: list[Endpoint], elsewhere: list[Endpoint]) -> tuple[int, int]:
    """Send jobs to endpoints in a partition and in the others; return the longest wait for a first attempt of each."""
    batches = scenario.send(beside, _EACH), scenario.send(elsewhere, _EACH * _EACH)
    for batch in batches:
        scenario.ended(batch, 600)
    here, there = (max(scenario.ends.waits_ms(batch)) for batch in batches)
    return here, there
