"""A flood of jobs for one endpoint: waiting times of other endpoints, in its partition and in others."""

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
    """Longest wait of jobs for 120 endpoints behind 100,000 jobs for an endpoint that takes 50 per second."""
    jobs = bench.scaled(_JOBS)
    with Players() as players, bench.stage() as stage:
        scenario = Scenario(stage, players)
        healthy = scenario.endpoints("others", _OTHERS, url=players.url)
        scenario.ended(scenario.send(healthy, _EACH * _OTHERS), 60)
        players.behave("flooded", "serial:20")
        (flooded,) = scenario.endpoints("flooded", 1)

        def is_in_same_partition(one: Endpoint) -> bool:
            return partition_of(one.id, PARTITIONS) == partition_of(flooded.id, PARTITIONS)

        same = [one for one in healthy if is_in_same_partition(one)]
        others = [one for one in healthy if not is_in_same_partition(one)]
        same_without, others_without = _waits(scenario, same, others)
        before = cpu_seconds(scenario.role.pid)
        scenario.send([flooded], jobs)
        same_ms, others_ms = _waits(scenario, same, others)
        return {
            "flood": jobs,
            "same_partition_ms": same_ms,
            "other_partitions_ms": others_ms,
            "without_flood_ms": {"same_partition": same_without, "other_partitions": others_without},
            "read_past_per_second": round(jobs * 1_000 / max(1, same_ms)),
            "deferred": scenario.deferred(),
            "cpu_us_per_job": round((cpu_seconds(scenario.role.pid) - before) / jobs * 1e6, 1),
        }


def _waits(scenario: Scenario, same: list[Endpoint], others: list[Endpoint]) -> tuple[int, int]:
    """Send jobs to endpoints of the same and of other partitions; return the longest wait for a first attempt."""
    batches = (scenario.send(same, _EACH), scenario.send(others, _EACH * _EACH))
    for batch in batches:
        scenario.ended(batch, 600)
    same_ms, others_ms = (max(scenario.ends.waits_ms(batch)) for batch in batches)
    return same_ms, others_ms
