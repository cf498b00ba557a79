"""A flood for one endpoint: how long others wait behind it, in its partition and in the others."""

from __future__ import annotations

from typing import Any, Final

from schemas.partitioner import partition_of
from tests.bench.measure import cpu_seconds
from tests.bench.stage import PARTITIONS, Bench
from tests.support.players import Players
from tests.support.scenario import Endpoint, Scenario
from tests.support.waiting import wait_until

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
        wanted = {*beside, *elsewhere}

        def waits_ms() -> dict[str, int]:
            found = {
                outcome["job_id"]: outcome["at_ms"] - outcome["appended_at_ms"]
                for outcome in stage.outcomes()
                if outcome["job_id"] in wanted and outcome["attempt"] == 1
            }
            assert len(found) == len(wanted)
            return found

        waits = wait_until(waits_ms, 600, "all others are served")
        return {
            "flood": jobs,
            "behind_it_ms": max(waits[id_] for id_ in beside),
            "other_partitions_ms": max(waits[id_] for id_ in elsewhere),
            "parked": scenario.parked(),
            "cpu_us_a_job": round((cpu_seconds(scenario.role.pid) - before) / jobs * 1e6, 1),
        }
