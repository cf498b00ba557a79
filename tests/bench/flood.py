"""A flood for one endpoint: how long others wait behind it, in its partition and in the others."""

from __future__ import annotations

from typing import Any, Final

from schemas.partitioner import partition_of
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

        before = cpu_seconds(scenario.role.pid)
        scenario.send([flooded], jobs)
        beside = scenario.send([one for one in others if shares_its_partition(one)], _EACH)
        elsewhere = scenario.send([one for one in others if not shares_its_partition(one)], _EACH * _EACH)
        for batch in (beside, elsewhere):
            scenario.ended(batch, 600)
        return {
            "flood": jobs,
            "behind_it_ms": max(scenario.ends.waits_ms(beside)),
            "other_partitions_ms": max(scenario.ends.waits_ms(elsewhere)),
            "parked": scenario.parked(),
            "cpu_us_a_job": round((cpu_seconds(scenario.role.pid) - before) / jobs * 1e6, 1),
        }
