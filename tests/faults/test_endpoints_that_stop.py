"""Many responsive endpoints stop responding at the same moment: the bulkhead keeps permits for the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from tests.support.pipeline import Pipeline
from tests.support.players import Players
from tests.support.scenario import Scenario
from tests.support.waiting import wait_until

pytestmark = pytest.mark.promise(4)

PERMITS: Final = 512
STOPPING: Final = 40
# Longer than the test: no hanging request times out.
HANGS_S: Final = 120
DEADLINE_S: Final = 100


@pytest.fixture(scope="module")
def scenario(module_pipeline: Pipeline) -> Iterator[Scenario]:
    with Players() as players:
        yield Scenario(module_pipeline, players)


def test_forty_endpoints_that_stop_hold_half_of_the_permits(scenario: Scenario) -> None:
    """Forty flooded endpoints that stop together hold half of the permits and one each; others get their jobs."""
    players = scenario.players
    stopping = scenario.endpoints("stop", STOPPING, timeout_s=HANGS_S)
    others = scenario.endpoints("others", 20)
    unknown = scenario.endpoints("unknown", 5)
    # At an even rate: in a burst on a busy machine responses may take over a second, which makes an endpoint slow.
    scenario.ended(scenario.send([*stopping, *others], 10 * (STOPPING + 20), 200), DEADLINE_S)

    def held() -> int:
        return sum(play["requests"] - play["answered"] for play in players.seen("stop").values())

    players.behave("stop", "hang")
    hanging = scenario.send(stopping, 50 * STOPPING)
    wait_until(lambda: held() >= STOPPING, DEADLINE_S, "they hang")
    healthy = scenario.send(others, 100 * len(others))
    new = scenario.send(unknown, 5 * len(unknown))
    scenario.ended(healthy, DEADLINE_S)
    scenario.ended(new, DEADLINE_S)

    assert scenario.ends.odd(healthy) == scenario.ends.odd(new) == []
    assert scenario.ends.missing(hanging) == len(hanging)
    assert STOPPING <= held() <= PERMITS // 2 + STOPPING
    assert scenario.role.metric("signpost_delivery_slow_requests") <= PERMITS // 2 + STOPPING
